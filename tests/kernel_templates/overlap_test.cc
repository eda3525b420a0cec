// Templates whose launches may overlap the one before (TemplateInfo::overlaps).
#include <doctest/doctest.h>

#include <algorithm>
#include <regex>
#include <string>

#include "kernel_templates/catalogue.h"
#include "kernel_templates/embedded.h"

namespace hetune {
namespace {

std::string text_of(const TemplateInfo& info) {
    return std::string(embedded_file(info.file).value());
}

bool awaits(const std::string& text) {
    return text.find("    begin();\n") != std::string::npos ||
           text.find("    await_inputs();\n") != std::string::npos;
}

TEST_CASE("a template awaits its inputs if and only if its launches may overlap") {
    for (const TemplateInfo* info : all_templates()) {
        CAPTURE(info->name);
        CHECK(awaits(text_of(*info)) == info->overlaps);
    }
    CHECK(std::ranges::any_of(all_templates(), &TemplateInfo::overlaps));
}

// A compiler may move loads through such a pointer ahead of the wait.
TEST_CASE(
    "a template that overlaps has __restrict__ on constant pointers to weights in bytes alone") {
    const std::regex constant("const ([A-Za-z0-9_:]+)\\* __restrict__");
    for (const TemplateInfo* info : all_templates()) {
        if (!info->overlaps) continue;
        CAPTURE(info->name);
        const std::string text = text_of(*info);
        for (std::sregex_iterator at(text.begin(), text.end(), constant), end; at != end; ++at)
            CHECK((*at)[1] == "u8");
    }
}

}  // namespace
}  // namespace hetune
