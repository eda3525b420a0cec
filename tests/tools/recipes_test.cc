// What a run records, replayed elsewhere: for another arch, after a kill, past a compiler that
// dies.
#include <doctest/doctest.h>
#include <signal.h>

#include <fstream>
#include <set>
#include <thread>

#include "cache/bundle.h"
#include "cache/recipe.h"
#include "tests/cache/child_process.h"
#include "tests/cpu_arch.h"
#include "tests/tools/hetune_command.h"

namespace hetune {
namespace {

namespace fs = std::filesystem;

const std::string kTiny = HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf";
const std::string kRun = "run " + kTiny + " --backend cpu -p Once -n 4 --json 2>/dev/null";

std::set<std::string> objects_in(const fs::path& cache) {
    std::set<std::string> names;
    if (fs::exists(cache / "objects"))
        for (const auto& entry : fs::recursive_directory_iterator(cache / "objects"))
            if (entry.is_regular_file()) names.insert(entry.path().filename().string());
    return names;
}

// The cache of a box where the model ran, and the recipes that it exported.
const TestFolder kBox;
const std::string kRecipes = (kBox.path() / "box.recipes").string();
const fs::path& used_cache() {
    static const fs::path cache = [] {
        const fs::path folder = kBox.path() / "cache";
        REQUIRE(run_hetune(folder, kRun).status == 0);
        REQUIRE(run_hetune(folder, "cache recipes export -o " + kRecipes).status == 0);
        return folder;
    }();
    return cache;
}

TEST_CASE("a run records one recipe for each plan, once, and no arch or compiler in it") {
    const fs::path cache = used_cache();
    REQUIRE(run_hetune(cache, kRun).status == 0);
    const auto recipes = run_hetune(cache, "cache recipes ls --json").json()["recipes"];
    REQUIRE(recipes.size() == 2);
    std::set<std::string> phases;
    for (const auto& recipe : recipes) {
        phases.insert(recipe["plan"]["phase"].get<std::string>());
        CHECK(recipe["architecture"] == "qwen3");
        CHECK(recipe["plan"]["kv"] == "f16");
        CHECK(recipe["tensors"] > 10);
    }
    CHECK(phases == std::set<std::string>{"decode", "prefill"});
    std::ifstream file(kRecipes);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    CHECK(text.find("x86-64") == std::string::npos);
    CHECK(text.find("clang") == std::string::npos);
    CHECK(text.size() < 40000);  // no vocabulary, no weights
    CHECK(run_hetune(cache, "cache recipes ls").says("rows default"));
    CHECK(run_hetune(cache, "cache stats --json").json()["recipes"] == 2);
}

TEST_CASE("recipes of two boxes are merged, in a file or in the folder") {
    used_cache();
    const TestFolder other;
    const std::string two = (other.path() / "two.recipes").string();
    REQUIRE(run_hetune(other.path() / "cache",
                       kRun.substr(0, kRun.find(" 2>")) + " --prefill-rows 16 2>/dev/null")
                .status == 0);
    REQUIRE(run_hetune(other.path() / "cache", "cache recipes export -o " + two).status == 0);
    const std::string all = (other.path() / "all.recipes").string();
    const CommandResult merged = run_hetune(
        other.path() / "cache",
        fmt::format("cache recipes merge {} {} {} -o {} --json", kRecipes, two, two, all));
    REQUIRE(merged.status == 0);
    CHECK(merged.json()["recipes"] == 3);  // decode is the same on both
    CHECK(run_hetune(other.path() / "cache", "cache recipes merge --json " + kRecipes)
              .json()["recipes"] == 3);
    CHECK(run_hetune(other.path() / "cache", "cache recipes ls --json").json()["recipes"].size() ==
          3);
    std::ofstream(two, std::ios::app) << "rubbish\n";
    const CommandResult broken =
        run_hetune(other.path() / "cache", fmt::format("cache recipes merge {} -o {}", two, all));
    CHECK(broken.status == 1);
    CHECK(broken.lines() == 1);
    CHECK(broken.says("two.recipes:3: it is no JSON"));
}

TEST_CASE("recipes replayed on another box serve the run, and compile for another arch") {
    const fs::path cache = used_cache();
    const TestFolder box;
    const std::string bundle = (box.path() / "kernels.htb").string();
    const CommandResult replayed = run_hetune(
        box.path() / "cache", fmt::format("prewarm --recipes {} --arch {} -o {} --json 2>/dev/null",
                                          kRecipes, test::cpu_arch(), bundle));
    REQUIRE(replayed.status == 0);
    CHECK(replayed.json()["recipes"] == 2);
    CHECK(objects_in(box.path() / "cache") == objects_in(cache));
    CHECK(replayed.json()["jobs"][0]["kernels"] == objects_in(cache).size());
    const TestFolder target;
    CHECK(run_hetune(target.path(), "run --no-jit " + kRun.substr(4), "HETUNE_CACHE_PATH=" + bundle)
              .status == 0);

    const CommandResult amd = run_hetune(
        box.path() / "cache",
        fmt::format("prewarm --recipes {} --arch gfx1100 --compiler clang --json 2>/dev/null",
                    kRecipes));
    REQUIRE(amd.status == 0);
    CHECK(amd.json()["jobs"][0]["compiled"] > 10);
    CHECK(amd.json()["complete"] == true);
}

TEST_CASE("a replay that is killed goes on where it stopped") {
    used_cache();
    const TestFolder box;
    const std::string command = fmt::format(
        "HETUNE_CACHE_DIR='{}' exec '{}/bin/hetune' prewarm --recipes {} --arch {} -j 1 "
        ">/dev/null 2>&1",
        box.path().string(), HETUNE_BUILD_DIR, kRecipes, test::cpu_arch());
    const pid_t child = start_child([&] {
        execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
        return 127;
    });
    while (objects_in(box.path()).size() < 3)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    kill(child, SIGKILL);
    REQUIRE(wait_for_child(child) == 128 + SIGKILL);
    const size_t done = objects_in(box.path()).size();
    const CommandResult resumed =
        run_hetune(box.path(), fmt::format("prewarm --recipes {} --arch {} --json 2>/dev/null",
                                           kRecipes, test::cpu_arch()));
    REQUIRE(resumed.status == 0);
    const auto job = resumed.json()["jobs"][0];
    CHECK(job["compiled"] == job["kernels"].get<size_t>() - done);
    CHECK(run_hetune(box.path(), "cache verify").status == 0);
}

TEST_CASE("what a compiler dies on is reported, and the kernels that do without it are compiled") {
    used_cache();
    const TestFolder box;
    const fs::path templates = box.path() / "templates";
    fs::copy(HETUNE_SOURCE_DIR "/kernel_templates", templates, fs::copy_options::recursive);
    std::ofstream(templates / "linear" / "gemv_swiglu.hip", std::ios::app)
        << "#pragma clang __debug crash\n";
    const CommandResult replayed =
        run_hetune(box.path() / "cache",
                   fmt::format("prewarm --recipes {} --arch {} --json 2>/dev/null", kRecipes,
                               test::cpu_arch()),
                   fmt::format("HETUNE_TEMPLATE_DIR='{}'", templates.string()));
    CHECK(replayed.status == 0);
    const auto job = replayed.json()["jobs"][0];
    REQUIRE(job["refused"].size() >= 1);
    for (const auto& [kernel, why] : job["refused"].items()) {
        CHECK(kernel.starts_with("gemv_swiglu"));
        CHECK(why.get<std::string>().find("gemv_swiglu") != std::string::npos);
    }
    CHECK(job["missing"].empty());
    CHECK(job["compiled"].get<size_t>() >= job["kernels"].get<size_t>());
}

}  // namespace
}  // namespace hetune
