# A program built against an installed copy: install_test.sh. A portable build has no library.
if(NOT HETUNE_PORTABLE)
    add_test(NAME install_test COMMAND ${CMAKE_CURRENT_LIST_DIR}/install_test.sh
        ${CMAKE_BINARY_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/models/tiny-Q4_K_M.gguf ${CMAKE_CXX_COMPILER}
        ${CMAKE_INSTALL_LIBDIR} $<$<BOOL:${HETUNE_SANITIZE}>:-fsanitize=address,undefined>)
    set_tests_properties(install_test PROPERTIES LABELS compile TIMEOUT 300)
    if(NOT HETUNE_TEST_CLANG AND NOT DEFINED ENV{HETUNE_CLANG})
        set_tests_properties(install_test PROPERTIES DISABLED ON)
    endif()
endif()
