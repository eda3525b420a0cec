# The library as others use it. A portable build has none.
if(NOT HETUNE_PORTABLE)
    hetune_test(c_api_test LABEL unit TIMEOUT 200 SOURCES
        install/c_api_test.cc
    )
    if(NOT HETUNE_SANITIZE)  # sanitised tests need all symbols (hetune_parts)
        add_test(NAME symbols_test COMMAND ${CMAKE_CURRENT_LIST_DIR}/symbols_test.sh
            $<TARGET_FILE:libhetune>)
        set_tests_properties(symbols_test PROPERTIES LABELS unit TIMEOUT 20)
    endif()

    # On the oracle, so without a compiler.
    add_test(NAME ctypes_test COMMAND python3 ${CMAKE_CURRENT_LIST_DIR}/ctypes_test.py
        $<TARGET_FILE:libhetune> ${CMAKE_CURRENT_SOURCE_DIR}/models/tiny-Q4_K_M.gguf reference)
    set_tests_properties(ctypes_test PROPERTIES LABELS unit TIMEOUT 200)
    if(HETUNE_SANITIZE)  # Python is built without, and loads the C++ library behind the sanitizer
        foreach(library asan stdc++)
            execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=lib${library}.so
                OUTPUT_VARIABLE path OUTPUT_STRIP_TRAILING_WHITESPACE)
            string(APPEND preload "${path}:")
        endforeach()
        set_tests_properties(ctypes_test PROPERTIES
            ENVIRONMENT "LD_PRELOAD=${preload};ASAN_OPTIONS=detect_leaks=0")
    endif()

    # Programs built against an installed copy.
    add_test(NAME install_test COMMAND ${CMAKE_CURRENT_LIST_DIR}/install_test.sh
        ${CMAKE_BINARY_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/models/tiny-Q4_K_M.gguf ${CMAKE_CXX_COMPILER}
        ${CMAKE_INSTALL_LIBDIR} $<$<BOOL:${HETUNE_SANITIZE}>:-fsanitize=address,undefined>)
    set_tests_properties(install_test PROPERTIES LABELS compile TIMEOUT 300)
    if(NOT HETUNE_TEST_CLANG AND NOT DEFINED ENV{HETUNE_CLANG})
        set_tests_properties(install_test PROPERTIES DISABLED ON)
    endif()
endif()
