# cmake -DROOT=... -DFILES=a;b -DOUTPUT=... -P embed.cmake: writes files into a C++ source.
# -DFUNCTION= and -DHEADER= name another function that gives them, and where it is declared.
if(NOT DEFINED FUNCTION)
    set(FUNCTION embedded_file)
    set(HEADER kernel_templates/embedded.h)
endif()
set(text "// Made by embed.cmake.\n#include \"${HEADER}\"\n\n#include <map>\n\n"
         "namespace hetune {\n\n"
         "std::optional<std::string_view> ${FUNCTION}(std::string_view name) {\n"
         "    static const std::map<std::string_view, std::string_view> files = {\n")
string(CONCAT text ${text})
foreach(file IN LISTS FILES)
    file(READ "${ROOT}/${file}" content)
    string(APPEND text "{\"${file}\", R\"HETUNE(${content})HETUNE\"},\n")
endforeach()
string(APPEND text "    };\n    const auto found = files.find(name);\n"
       "    if (found == files.end()) return std::nullopt;\n    return found->second;\n}\n\n"
       "}  // namespace hetune\n")
file(WRITE "${OUTPUT}" "${text}")
