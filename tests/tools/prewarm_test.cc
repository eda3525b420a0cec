// hetune prewarm, and that nothing is left to compile behind it.
#include <doctest/doctest.h>

#include <fstream>
#include <set>

#include "cache/bundle.h"
#include "planner/file/model_file.h"
#include "runtime/load/model_plans.h"
#include "tests/cpu_arch.h"
#include "tests/runtime/broken_templates.h"
#include "tests/tools/hetune_command.h"

namespace hetune {
namespace {

namespace fs = std::filesystem;

const std::string kTiny = HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf";
// Without certificates, which would be new entries of the cache.
const std::string kRun =
    kTiny + " --backend cpu --no-jit --certify off -p Once -n 4 --json 2>/dev/null";
const std::string kCpuArch = test::cpu_arch();
const std::string kArch = " --arch " + kCpuArch + " ";

std::set<std::string> objects_in(const fs::path& cache) {
    std::set<std::string> names;
    if (fs::exists(cache / "objects"))
        for (const auto& entry : fs::recursive_directory_iterator(cache / "objects"))
            if (entry.is_regular_file()) names.insert(entry.path().filename().string());
    return names;
}

std::string content(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// A cache that was prewarmed once for all cases, and the bundle that was written by it.
const TestFolder kWarm;
const fs::path kBundle = kWarm.path() / "kernels.htb";
fs::path warm_cache() {
    static const CommandResult made = run_hetune(
        kWarm.path() / "cache", "prewarm " + kTiny + kArch + "--tiles -o " + kBundle.string());
    CAPTURE(made.output);
    REQUIRE(made.status == 0);
    return kWarm.path() / "cache";
}

TEST_CASE("a warm cache, or a bundle, needs no compiler on the machine") {
    const fs::path cache = warm_cache();
    const std::string nowhere = "PATH=/nonexistent ROCM_PATH=/nonexistent ";
    const std::string run = "run " + kTiny + " --backend cpu -p Ownership -n 2";
    const CommandResult warm = run_hetune(cache, run, nowhere);
    CAPTURE(warm.output);
    CHECK(warm.status == 0);
    CHECK(warm.says("kernels by clang, which is not installed (from the cache)"));
    TestFolder other;
    const CommandResult shipped =
        run_hetune(other.path() / "cache", run, nowhere + "HETUNE_CACHE_PATH=" + kBundle.string());
    CAPTURE(shipped.output);
    CHECK(shipped.status == 0);
    const CommandResult none = run_hetune(other.path() / "cold", run, nowhere);
    CHECK(none.status == 1);
    CHECK(none.says("no compiler for " + kCpuArch + " is installed"));
}

TEST_CASE("behind prewarm, run, verify and the chain of primitives compile and repack nothing") {
    const fs::path cache = warm_cache();
    const auto before = objects_in(cache);
    REQUIRE(before.size() > 10);
    const CommandResult run = run_hetune(cache, "run " + kRun);
    REQUIRE(run.status == 0);
    CHECK(run.json()["kernels_compiled"] == 0);
    CHECK(run.json()["kernels_cached"] > 0);
    CHECK(run.json()["weights_repacked"] == false);
    CHECK(run_hetune(cache, "run --fusion off --ctx 77 " + kRun).status == 0);
    CHECK(
        run_hetune(
            cache,
            "verify --backend cpu --rows 8 --no-jit --certify off --max-kl 1 --min-top1 0 " + kTiny)
            .status == 0);
    CHECK(objects_in(cache) == before);
    CHECK(run_hetune(cache, "prewarm --check --tiles " + kTiny + kArch).status == 0);
}

TEST_CASE(
    "run --no-jit lists what is missing and exits 1 before it repacks; so does HETUNE_NO_JIT") {
    const TestFolder empty;
    for (const auto& [option, variable] : {std::pair{"--no-jit", ""}, {"", "HETUNE_NO_JIT=1"}}) {
        const CommandResult run = run_hetune(
            empty.path(), fmt::format("run {} {} --backend cpu -p Once -n 4", kTiny, option),
            variable);
        CHECK(run.status == 1);
        CHECK(run.says(kCpuArch));
        CHECK(run.says("hetune prewarm"));
        CHECK(run.says("\n  gemv"));
        CHECK(run.lines() > 5);
        CHECK(objects_in(empty.path()).empty());
        CHECK(fs::is_empty(empty.path() / "tiles"));
    }
}

TEST_CASE("a bundle of prewarm serves as a layer, and nothing is written beside it") {
    warm_cache();
    const TestFolder empty;
    const std::string layer = "HETUNE_CACHE_PATH=" + kBundle.string();
    const CommandResult run = run_hetune(empty.path(), "run " + kRun, layer);
    REQUIRE(run.status == 0);
    CHECK(run.json()["kernels_compiled"] == 0);
    CHECK(run.json()["weights_repacked"] == false);
    CHECK(objects_in(empty.path()).empty());
    CHECK(fs::is_empty(empty.path() / "tiles"));
    // And prewarm finds everything in the layer, from which it writes the same bundle again.
    const fs::path again = empty.path() / "again.htb";
    CHECK(
        run_hetune(empty.path(), "prewarm --tiles " + kTiny + kArch + "-o " + again.string(), layer)
            .status == 0);
    CHECK(objects_in(empty.path()).empty());
    const Bundle one(kBundle), two(again);
    CHECK(std::ranges::count_if(one.members(), &BundleMember::is_object) ==
          std::ranges::count_if(two.members(), &BundleMember::is_object));
}

// Every file below a folder, with its size; not what SQLite keeps beside its database.
std::set<std::string> files_in(const fs::path& folder) {
    std::set<std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
        if (entry.is_regular_file()) files.insert(entry.path().string());
    return files;
}

TEST_CASE(
    "the files of a target do not grow by a run from a bundle, nor does a read-only one need any") {
    warm_cache();
    const TestFolder target;
    const std::string layer = "HETUNE_CACHE_PATH=" + kBundle.string();
    REQUIRE(run_hetune(target.path(), "run " + kRun, layer).status == 0);  // makes folder and tiles
    const auto before = files_in(target.path());
    REQUIRE(run_hetune(target.path(), "run " + kRun, layer).status == 0);
    CHECK(files_in(target.path()) == before);
    CHECK(fs::is_empty(target.path() / "objects"));
    CHECK(fs::is_empty(target.path() / "recipes"));
    const CommandResult run = run_hetune("/proc/nothing can be made here", "run " + kRun, layer);
    REQUIRE(run.status == 0);
    CHECK(run.json()["kernels_compiled"] == 0);
}

TEST_CASE("a description in JSON is as good as the model; a batch and a context are asked for") {
    const fs::path cache = warm_cache();
    const fs::path json = kWarm.path() / "tiny.json";
    REQUIRE(std::system(fmt::format("'{}/bin/hetune' inspect {} --json --tensors > {}",
                                    HETUNE_BUILD_DIR, kTiny, json.string())
                            .c_str()) == 0);
    const CommandResult check =
        run_hetune(cache, "prewarm --check --json --ctx 100 --ctx 200 " + json.string() + kArch);
    REQUIRE(check.status == 0);
    const auto job = check.json()["jobs"][0];
    CHECK(job["memory"][0]["context"] == 100);
    CHECK(job["memory"][1]["bytes"] > job["memory"][0]["bytes"]);
    // Another number of rows is other kernels.
    const CommandResult batch =
        run_hetune(cache, "prewarm --dry-run --json --batch 3 " + json.string() + kArch);
    REQUIRE(batch.status == 0);
    CHECK(batch.json()["jobs"][0]["kernels"] > job["kernels"]);
    const CommandResult memory =
        run_hetune(cache, "prewarm --dry-run --json --batch 4 --ctx 100 " + json.string() + kArch);
    REQUIRE(memory.status == 0);
    const auto of_batch = memory.json()["jobs"][0]["memory"][0];
    CHECK(of_batch["parallel"] == 4);
    CHECK(of_batch["bytes"] > job["memory"][0]["bytes"]);

    std::ofstream(json) << R"({"metadata": {}, "tensors": [{"name": "a", "type": "Q9_K"}]})";
    const CommandResult broken = run_hetune(cache, "prewarm " + json.string() + kArch);
    CHECK(broken.status == 1);
    CHECK(broken.lines() == 1);
    CHECK(broken.says("tiny.json: tensor 'a' has the unknown type 'Q9_K'"));
}

TEST_CASE(
    "a byte of the tiles that flips is found when a model is loaded, and the answer is right") {
    const TestFolder other;
    fs::copy(warm_cache(), other.path() / "cache", fs::copy_options::recursive);
    const CommandResult good = run_hetune(other.path() / "cache", "run " + kRun);
    REQUIRE(good.json()["weights_repacked"] == false);
    for (const auto& entry : fs::recursive_directory_iterator(other.path() / "cache" / "tiles"))
        if (entry.path().extension() == ".tiles") {
            std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
            file.seekp(static_cast<std::streamoff>(fs::file_size(entry.path()) / 2));
            file.put('\xA5');
        }
    const CommandResult damaged = run_hetune(other.path() / "cache", "run " + kRun);
    CHECK(damaged.json()["weights_repacked"] == true);
    CHECK(damaged.json()["text"] == good.json()["text"]);
    CHECK(run_hetune(other.path() / "cache", "run " + kRun).json()["weights_repacked"] == false);
}

TEST_CASE("two folders, a shard at a time or all at once, of the header alone: the same bytes") {
    const TestFolder other;
    const fs::path header = other.path() / "header.gguf";
    fs::copy_file(kTiny, header);
    fs::resize_file(header, ModelFile(kTiny).headers()[0].size());

    const auto cache = other.path() / "a cache elsewhere";
    int64_t kernels = 0;
    std::set<std::string> first;
    for (const char* shard : {"1/2", "2/2"}) {
        const CommandResult made =
            run_hetune(cache, fmt::format("prewarm {} {} --shard {} --json 2>/dev/null",
                                          header.string(), kArch, shard));
        REQUIRE(made.status == 0);
        const auto job = made.json()["jobs"][0];
        CHECK(job["kernels"] > 0);
        CHECK(job["compiled"] == job["kernels"]);
        kernels += job["kernels"].get<int64_t>();
    }
    const auto objects = objects_in(cache);
    CHECK(std::ssize(objects) == kernels);
    CHECK(objects == objects_in(warm_cache()));

    const auto bundle_of = [&](const fs::path& from, const std::string& name) {
        const fs::path bundle = other.path() / name;
        REQUIRE(run_hetune(from, "prewarm " + header.string() + kArch + "-o " + bundle.string())
                    .status == 0);
        return content(bundle);
    };
    const std::string bytes = bundle_of(cache, "a.htb");
    CHECK(bytes.size() > 10000);
    CHECK(bytes == bundle_of(warm_cache(), "b.htb"));
}

TEST_CASE("--check and --dry-run compile nothing; --check exits 1 where something is missing") {
    const TestFolder empty;
    const CommandResult check = run_hetune(empty.path(), "prewarm --check " + kTiny + kArch);
    CHECK(check.status == 1);
    CHECK(check.says("missing: gemv"));
    const CommandResult dry = run_hetune(empty.path(), "prewarm --dry-run --json " + kTiny + kArch);
    CHECK(dry.status == 0);
    const auto job = dry.json()["jobs"][0];
    CHECK(job["missing"].size() == job["kernels"]);
    CHECK(job["compiled"] == 0);
    CHECK(objects_in(empty.path()).empty());
}

TEST_CASE(
    "prewarm refuses an unknown arch, a shard that is none and tiles of a header, in one line") {
    const TestFolder folder;
    const fs::path header = folder.path() / "header.gguf";
    fs::copy_file(kTiny, header);
    fs::resize_file(header, ModelFile(kTiny).headers()[0].size());
    const auto refused = [&](const std::string& arguments, const char* word, int status = 2) {
        const CommandResult result = run_hetune(folder.path() / "cache", "prewarm " + arguments);
        CAPTURE(arguments);
        CHECK(result.status == status);
        CHECK(result.lines() == 1);
        CHECK(result.says(word));
    };
    refused(kTiny + " --arch gfx9999", "'gfx9999' is unknown");
    refused(kTiny + " --arch x86-64-v3 --shard 3/2", "--shard '3/2'");
    refused(kTiny + " --arch x86-64-v3 --shard 1/2x", "--shard '1/2x'");
    refused(kTiny + " --arch x86-64-v3 --compiler gcc", "'gcc' is unknown");
    refused(header.string() + " --arch x86-64-v3 --tiles", "header.gguf", 1);
}

TEST_CASE("prewarm compiles another variant for what cannot be compiled, and its bundle says so") {
    testing::BrokenTemplates templates;
    templates.replace("linear/gemv_swiglu.hip", "EXPORT_KERNEL(gemv_swiglu)", "nonsense");
    const std::string broken = "HETUNE_TEMPLATE_DIR=" + templates.path();
    const TestFolder here, there;
    const fs::path bundle = here.path() / "kernels.htb";
    const CommandResult made =
        run_hetune(here.path() / "cache",
                   "prewarm --json 2>/dev/null " + kTiny + kArch + "-o " + bundle.string(), broken);
    CHECK(made.status == 0);
    const auto json = made.json();
    CHECK(json["complete"] == true);
    // All that the planner takes one after the other of the broken template, and nothing else.
    LoadOptions options;
    std::set<std::string> wanted, refused;
    for (size_t before = 1; before != wanted.size();) {
        before = wanted.size();
        for (const KernelSpec& kernel :
             kernels_of_loads(ModelFile(kTiny), find_arch(kCpuArch), std::span(&options, 1)))
            if (kernel.name == "gemv_swiglu") wanted.insert(kernel.to_string());
        for (const std::string& kernel : wanted) options.refused[kernel] = "broken";
    }
    for (const auto& [kernel, why] : json["jobs"][0]["refused"].items()) refused.insert(kernel);
    CHECK(wanted.size() >= 2);  // for one row and for many
    CHECK(refused == wanted);
    const std::string warm = "HETUNE_CACHE_PATH=" + bundle.string() + " " + broken;
    CHECK(run_hetune(there.path(), "prewarm --check " + kTiny + kArch, warm).status == 0);
    const CommandResult run =
        run_hetune(there.path(), "run --no-jit --backend cpu -p Once -n 2 " + kTiny, warm);
    CHECK(run.status == 0);
    CHECK(run.says("is not used, the planner's next variant is: compiling gemv_swiglu"));
}

}  // namespace
}  // namespace hetune
