# Stand-ins for drivers, for tests only: tests/doubles/fake_hip.h.
function(hetune_hip_double target)
    add_library(${target} MODULE
        doubles/fake_hip.cc
        doubles/fake_memory.cc
        ${CMAKE_SOURCE_DIR}/cache/folder.cc
        ${CMAKE_SOURCE_DIR}/cache/scratch_folder.cc
        ${CMAKE_SOURCE_DIR}/cache/temp_file.cc
        ${CMAKE_SOURCE_DIR}/runtime/compile/compiler_end.cc
        ${CMAKE_SOURCE_DIR}/runtime/device/cpu_kernel.cc
        ${CMAKE_SOURCE_DIR}/runtime/device/lane_fibers.cc)
    target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
    target_link_libraries(${target} PRIVATE ${HETUNE_SHARED_CONTEXT} fmt::fmt Threads::Threads ${CMAKE_DL_LIBS})
    set_target_properties(${target} PROPERTIES CXX_VISIBILITY_PRESET hidden
                                               VISIBILITY_INLINES_HIDDEN ON)
    add_dependencies(device_test ${target})
endfunction()
# Static archives, which a portable build takes, do not link into a shared object.
find_library(HETUNE_SHARED_CONTEXT NAMES libboost_context.so REQUIRED)
hetune_hip_double(amdhip64_double)
hetune_hip_double(amdhip64_double_hip5)
target_compile_definitions(amdhip64_double_hip5 PRIVATE HETUNE_FAKE_HIP_5)
target_compile_definitions(device_test PRIVATE
    HETUNE_FAKE_EMULATOR="${CMAKE_CURRENT_SOURCE_DIR}/doubles/fake_emulator.py"
    HETUNE_HIP_DOUBLE="$<TARGET_FILE:amdhip64_double>"
    HETUNE_HIP5_DOUBLE="$<TARGET_FILE:amdhip64_double_hip5>")

# Our declarations of driver functions against the vendors' headers, where those are installed.
find_path(HETUNE_CUDA_HEADERS cuda.h HINTS $ENV{CUDA_PATH}/include /usr/local/cuda/include)
find_path(HETUNE_HIP_HEADERS hip/hip_runtime_api.h HINTS $ENV{ROCM_PATH}/include /opt/rocm/include)
foreach(driver CUDA HIP)
    if(HETUNE_${driver}_HEADERS)
        string(TOLOWER ${driver} name)
        hetune_test(${name}_declarations_test LABEL unit TIMEOUT 10 SOURCES
            runtime/${name}_declarations_test.cc)
        target_include_directories(${name}_declarations_test SYSTEM PRIVATE ${HETUNE_${driver}_HEADERS})
    endif()
endforeach()
