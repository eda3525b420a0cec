// `hetune plan --dump`: enough to run and to study a kernel elsewhere.
#include <doctest/doctest.h>

#include <fstream>

#include "kernel_templates/catalogue.h"
#include "tests/run_store.h"
#include "tests/tools/hetune_command.h"

namespace hetune {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::string kTiny = HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf";

TEST_CASE(
    "plan --dump writes source, object and what it takes to launch it, for every kernel of the "
    "plan") {
    const TestFolder folder;
    const fs::path dump = folder.path() / "dump";
    const CommandResult result = run_hetune(
        run_store(), "plan " + kTiny + " --arch gfx1100 --compiler clang --dump " + dump.string());
    CHECK(result.status == 0);
    int kernels = 0;
    for (const auto& entry : fs::directory_iterator(dump)) {
        if (entry.path().extension() != ".json") continue;
        ++kernels;
        CAPTURE(entry.path().string());
        fs::path sibling = entry.path();
        CHECK(fs::file_size(sibling.replace_extension(".hip")) > 100);
        CHECK(fs::file_size(sibling.replace_extension(".co")) > 100);
        const Json json = Json::parse(std::ifstream(entry.path()));
        const TemplateInfo* info = find_template(json["template"].get<std::string>());
        REQUIRE(info != nullptr);
        CHECK(json["entry"] == info->name);
        for (const TemplateConstant& constant : info->constants)
            CHECK(json["constants"].contains(constant.name));
        CHECK(json["launch"]["groups"].size() == 3);
        CHECK(json["launch"]["threads"] == json["resources"]["max_threads"]);
        REQUIRE(json["args"].size() == info->params.size());
        for (size_t i = 0; i < info->params.size(); ++i) {
            CHECK(json["args"][i]["name"] == info->params[i].name);
            CHECK(json["args"][i]["type"] == info->params[i].type);
            CHECK(json["args"][i]["role"] == to_string(info->params[i].role));
            CHECK(json["args"][i]["shape"] == info->params[i].shape);
        }
        CHECK(json["resources"]["vgprs"] > 0);
        CHECK(json["resources"]["scratch_bytes"] == 0);
        CHECK(json["occupancy"]["waves_per_simd"] > 0);
    }
    CHECK(kernels > 6);
}

}  // namespace
}  // namespace hetune
