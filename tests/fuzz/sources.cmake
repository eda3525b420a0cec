# The fuzz targets and what they share (fuzz.h), relative to this folder.
set(HETUNE_FUZZ_SOURCES
    fuzz.cc
    chat.cc
    description.cc
    elf.cc
    encode.cc
    gguf.cc
    jinja.cc
    options.cc
    stored_files.cc
    stored_json.cc
    vocabulary.cc
    worker.cc
)
list(TRANSFORM HETUNE_FUZZ_SOURCES PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
set(HETUNE_FUZZ_TARGETS bundle chat description elf encode gguf jinja json object options prompt
                        recipe remote tiles tuning vocabulary worker)
