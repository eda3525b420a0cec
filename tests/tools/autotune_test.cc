// hetune autotune and hetune tune as a user runs them, on the CPU device.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "cache/json_text.h"
#include "tests/cpu_arch.h"
#include "tests/planner/small_model.h"
#include "tests/tools/hetune_command.h"

namespace hetune {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// A small model and the sweep of one template, whose kernels are compiled once for all cases.
struct Box {
    TestFolder folder;
    fs::path model = folder.path() / "small.gguf";
    fs::path cache = folder.path() / "cache";
    Box() {
        small_model(8).write(model);
        // Results are each case's own; compiled kernels come from a layer.
        static const TestFolder kernels;
        layer_ = kernels.path() / "cache";
    }
    std::string sweep() const {
        return "autotune " + model.string() +
               " --backend cpu --weights synthetic --ctx 32 --rows 1 --kernel gemv_residual "
               "--kernels-only ";
    }
    CommandResult run(const std::string& arguments, const std::string& environment = {}) const {
        if (!fs::exists(layer_)) run_hetune(layer_, sweep());
        fs::create_directories(cache);
        fs::permissions(cache, fs::perms::owner_all);
        return run_hetune(cache, arguments,
                          "HETUNE_CACHE_PATH='" + kernels_only().string() + "' " + environment);
    }
    // The layer without its results.
    fs::path kernels_only() const {
        fs::remove_all(layer_ / "tunings");
        return layer_;
    }
    size_t results() const {
        size_t count = 0;
        if (fs::exists(cache / "tunings"))
            for (const auto& entry : fs::directory_iterator(cache / "tunings"))
                count += entry.path().extension() == ".json";
        return count;
    }

  private:
    fs::path layer_;
};

TEST_CASE("a sweep lists its shapes, keeps what it found, and finds it again") {
    const Box box;
    const CommandResult first = box.run(box.sweep() + "--json 2>/dev/null");
    CAPTURE(first.output);
    REQUIRE(first.status == 0);
    CHECK(first.json()["measured"] == true);
    REQUIRE(first.json()["kernels"].size() == 2);
    for (const Json list = first.json()["kernels"]; const auto& kernel : list) {
        CHECK(kernel["source"] == "measured");
        CHECK(kernel["trials"].size() >= 3);
        // Each point once; both times are of points that were timed, and no time is nothing.
        std::map<std::string, Json> by_point;
        for (const auto& trial : kernel["trials"]) by_point[trial["point"].dump()] = trial;
        CHECK(by_point.size() == kernel["trials"].size());
        for (const char* point : {"point", "default_point"}) {
            CAPTURE(point);
            REQUIRE(by_point.contains(kernel[point].dump()));
            CHECK(by_point[kernel[point].dump()]["state"] == "timed");
        }
        CHECK(kernel["us"] > 0);
        CHECK(kernel["default_us"] > 0);
    }
    CHECK(box.results() == 2);
    const CommandResult second = box.run(box.sweep() + "--json 2>/dev/null");
    for (const Json list = second.json()["kernels"]; const auto& kernel : list)
        CHECK(kernel["source"] == "stored");
    const CommandResult text = box.run(box.sweep() + "2>/dev/null");
    CHECK(text.says("(from an earlier sweep)"));
    CHECK(text.says("geometric mean"));
}

TEST_CASE("a sweep that is killed goes on where it was") {
    const Box box;
    box.run("tune ls");  // makes the layer
    const pid_t child = fork();
    if (child == 0) {
        setenv("HETUNE_CACHE_DIR", box.cache.c_str(), 1);
        setenv("HETUNE_CACHE_PATH", box.kernels_only().c_str(), 1);
        const std::string program = HETUNE_BUILD_DIR "/bin/hetune", model = box.model.string();
        freopen("/dev/null", "w", stdout);
        freopen("/dev/null", "w", stderr);
        // All kernels: there is much left to do when the first result appears.
        execl(program.c_str(), "hetune", "autotune", model.c_str(), "--backend", "cpu", "--weights",
              "synthetic", "--ctx", "32", "--rows", "1", "--kernels-only", nullptr);
        _exit(127);
    }
    for (int i = 0; i < 2400 && box.results() == 0; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(25));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    const size_t kept = box.results();
    REQUIRE(kept >= 1);
    const CommandResult rest = box.run(
        "autotune " + box.model.string() +
        " --backend cpu --weights synthetic --ctx 32 --rows 1 --kernels-only --json 2>/dev/null");
    REQUIRE(rest.status == 0);
    size_t stored = 0;
    CAPTURE(rest.output);
    for (const Json list = rest.json()["kernels"]; const auto& kernel : list)
        stored += kernel["source"] == "stored";
    CHECK(stored == kept);
    CHECK(rest.json()["kernels"].size() == box.results());
}

TEST_CASE("a budget that is over stops the sweep, says so, and is no failure") {
    const Box box;
    const CommandResult result = box.run(box.sweep() + "--budget 0.001s 2>/dev/null");
    CHECK(result.status == 0);
    CHECK(result.says("stopped; the same command goes on where it was"));
    CHECK(box.results() == 0);
}

TEST_CASE("without a device of the arch the static model ranks, and the results say so") {
    const Box box;
    const CommandResult result =
        box.run("autotune " + box.model.string() +
                " --arch gfx1100 --rows 1 --kernel gemv_residual --json 2>/dev/null");
    CAPTURE(result.output);
    REQUIRE(result.status == 0);
    CHECK(result.json()["measured"] == false);
    for (const Json list = result.json()["kernels"]; const auto& kernel : list) {
        CHECK(kernel["source"] == "ranked");
        CHECK(kernel["measured"] == false);
    }
    CHECK(box.run("tune ls").says("(ranked, not measured)"));
    // Plans do not take it unless they are told to.
    const std::string plan = "plan " + box.model.string() + " --arch gfx1100 --json";
    CHECK(box.run(plan).json()["tuned"].empty());
    bool differs = false;
    for (const Json list = result.json()["kernels"]; const auto& kernel : list)
        differs |= kernel["point"] != kernel["default_point"];
    const auto tuned = box.run(plan, "HETUNE_TUNE=all").json()["tuned"];
    CAPTURE(tuned.dump());
    CHECK(tuned.empty() == !differs);
    CHECK(
        box.run(plan, "HETUNE_TUNE=maybe").says("HETUNE_TUNE='maybe'; known: off, measured, all"));
}

TEST_CASE("a prompt's step is tuned as it runs: on the matrix units where the arch has them") {
    const Box box;
    const CommandResult result =
        box.run("autotune " + box.model.string() +
                " --arch gfx1100 --phase prefill --kernel 'gem*' --json 2>/dev/null");
    CAPTURE(result.output);
    REQUIRE(result.status == 0);
    std::set<std::string> kernels;
    for (const Json list = result.json()["kernels"]; const auto& kernel : list)
        kernels.insert(kernel["kernel"]);
    CHECK(kernels.contains("gemm"));
}

// A point that was timed and is neither the best nor the default, whichever won.
nlohmann::json another_point(const nlohmann::json& tuning) {
    for (const auto& trial : tuning["trials"])
        if (trial["state"] == "timed" && trial["point"] != tuning["point"] &&
            trial["point"] != tuning["default_point"])
            return trial["point"];
    FAIL("all points of a sweep but two failed: ", tuning.dump());
    return {};
}

// An export whose results name other points, with times better than any that is measured here.
// `points` gets the point of each kernel.
std::string planted(const Box& box, const std::string& compiler,
                    std::map<std::string, nlohmann::json>& points) {
    const CommandResult exported = box.run("tune export 2>/dev/null");
    auto json = nlohmann::ordered_json::parse(exported.output);
    json.erase("check");
    for (auto& one : json["tunings"]) {
        one["point"] = another_point(one);
        points[one["shape"].get<std::string>()] = one["point"];
        one["us"] = 0.001;
        one["compiler"] = compiler.empty() ? one["compiler"].get<std::string>() : compiler;
        one["origin"] = {{"box", "other"}};
    }
    const fs::path path = box.folder.path() / "planted.json";
    std::ofstream(path) << sealed_json(json);
    return path.string();
}

TEST_CASE(
    "tune ls, show, diff, export, import and reset; plans and prewarm take what was imported") {
    const Box box;
    REQUIRE(box.run(box.sweep() + "2>/dev/null").status == 0);
    std::map<std::string, nlohmann::json> points;
    const std::string better = planted(box, "", points);
    REQUIRE(points.size() == 2);
    CHECK(box.run("tune diff --json " + better).json().size() == 2);
    CHECK(box.run("tune import --json " + better).json()["imported"] == 2);
    CHECK(box.run("tune diff --json " + better).json().empty());
    const auto list = box.run("tune ls --json").json();
    REQUIRE(list.size() == 2);
    for (const auto& one : list) {
        CHECK(one["point"] == points[one["shape"]]);
        CHECK(one["origin"]["box"] == "other");
        CHECK(one["also"].size() == 1);
        CHECK(one["stale"] == false);
    }
    const std::string id = list[0]["id"];
    CHECK(box.run("tune show " + id.substr(0, 12)).says("1 slower results merged"));
    CHECK(box.run("tune show --json " + id).json()["id"] == id);
    CHECK(box.run("tune show nothing").status == 1);

    const std::string plan =
        "plan " + box.model.string() + " --arch " + test::cpu_arch() + " --json";
    CHECK(box.run(plan).json()["tuned"].size() == 2);
    CHECK(box.run(plan, "HETUNE_TUNE=off").json()["tuned"].empty());
    // Prewarm compiles the tuned kernels beside the defaults, and its bundle brings the results.
    const std::string missing = "prewarm --dry-run --json " + box.model.string() + " --arch " +
                                test::cpu_arch() + " 2>/dev/null";
    const auto with = box.run(missing).json()["jobs"][0]["kernels"],
               without = box.run(missing, "HETUNE_TUNE=off").json()["jobs"][0]["kernels"];
    CHECK(with > without);
    const fs::path bundle = box.folder.path() / "tuned.htb";
    REQUIRE(box.run("cache export -o " + bundle.string()).says("2 tunings"));
    const Box other;
    CHECK(other.run("tune import --json " + bundle.string()).json()["imported"] == 2);
    CHECK(other.run("tune ls --json").json().size() == 2);

    CHECK(box.run("tune reset").status == 1);
    CHECK(box.results() == 2);
    CHECK(box.run("tune reset --kernel gemm --yes --json").json()["removed"] == 0);
    CHECK(box.run("tune reset --yes --json").json()["removed"] == 2);
    CHECK(box.run(plan).json()["tuned"].empty());
}

TEST_CASE("results of another compiler are used, said to be stale, and measured again") {
    const Box box;
    REQUIRE(box.run(box.sweep() + "2>/dev/null").status == 0);
    std::map<std::string, nlohmann::json> points;
    const std::string old = planted(box, "clang of last year", points);
    REQUIRE(box.run("tune reset --yes").status == 0);
    REQUIRE(box.run("tune import " + old).status == 0);
    for (const auto& one : box.run("tune ls --json").json()) CHECK(one["stale"] == true);
    const CommandResult plan =
        box.run("plan " + box.model.string() + " --arch " + test::cpu_arch());
    CHECK(plan.says("2 of 2 tunings are stale"));
    CHECK(plan.says("tuned: gemv_residual"));
    for (const Json list = box.run(box.sweep() + "--json 2>/dev/null").json()["kernels"];
         const auto& kernel : list)
        CHECK(kernel["source"] == "measured");
    CHECK(box.results() == 4);
}

TEST_CASE("steps of several sequences are tuned with the kernels of one row, and as a whole") {
    const Box box;
    const auto sweep = [&](const std::string& options) {
        return box.run("autotune " + box.model.string() +
                       " --backend cpu --weights synthetic --kernel gemv_residual " + options);
    };
    const auto json = sweep("--rows 4,1 --ctx 32 --json --report " +
                            (box.folder.path() / "page.html").string() + " 2>/dev/null")
                          .json();
    std::map<int, std::map<std::string, int>> sources;  // by sequences
    for (const auto& kernel : json["kernels"]) ++sources[kernel["sequences"]][kernel["source"]];
    CHECK(sources ==
          std::map<int, std::map<std::string, int>>{{1, {{"measured", 2}}}, {4, {{"shared", 2}}}});
    REQUIRE(json["plans"].size() == 2);
    CHECK(json["plans"][0]["sequences"] == 1);
    CHECK(json["plans"][1]["sequences"] == 4);
    CHECK(json["plans"][1]["kl"] <= 0.05);
    CHECK(json["plans"][1]["variants"].size() == 2);  // no choice of its own between variants
    for (const auto& note : json["notes"])  // one that is slow beside other work is no fault
        CHECK(note.get<std::string>().find("not tuned as a whole") == std::string::npos);
    CHECK(box.results() == 3);  // two kernels, and the plan of one row

    // On its own a step of several finds results of kernels that one row has, too.
    CHECK(box.run("tune reset --yes").status == 0);
    const CommandResult alone = sweep("--rows 4 --kernels-only --json 2>/dev/null");
    REQUIRE(alone.json()["kernels"].size() == 2);
    for (const Json list = alone.json()["kernels"]; const auto& kernel : list) {
        CHECK(kernel["source"] == "measured");
        CHECK(kernel["sequences"] == 4);
        CHECK(kernel["context"] == 128);
        CHECK(kernel["origin"]["sequences"] == "4");
    }
    for (const Json list = box.run(box.sweep() + "--json 2>/dev/null").json()["kernels"];
         const auto& kernel : list)
        CHECK(kernel["source"] == "stored");
    const CommandResult text = sweep("--rows 4 --kernels-only");
    CHECK(text.says("gemv_residual         4 "));
    CHECK(text.says("(from an earlier sweep)"));
}

TEST_CASE("A budget ends a sweep and a bench whose compiler does not answer") {
    TestFolder folder;
    for (const char* name : {"clang", "ld.lld"}) {
        const fs::path program = folder.path() / name;
        std::ofstream(program) << "#!/bin/sh\nexec sleep 1000\n";
        fs::permissions(program, fs::perms::owner_all);
    }
    const fs::path model = folder.path() / "small.gguf";
    small_model(8).write(model);
    const std::string environment =
        fmt::format("HETUNE_COMPILE_TIMEOUT=500 HETUNE_CLANG='{}/clang'", folder.path().string());
    const CommandResult sweep = run_hetune(
        folder.path() / "cache",
        fmt::format(
            "autotune '{}' --backend cpu --weights synthetic --ctx 32 --rows 1 --budget 1s --json "
            "2>/dev/null",
            model.string()),
        environment);
    CHECK(sweep.status == 0);
    CHECK(sweep.json()["stopped"] == true);
    for (const Json list = sweep.json()["kernels"]; const auto& kernel : list)
        CHECK(kernel["source"] == "stopped");
    const CommandResult bench = run_hetune(
        folder.path() / "cache",
        fmt::format("bench '{}' --backend cpu --budget 1s", model.string()), environment);
    CHECK(bench.status == 1);
    CHECK(bench.says("--budget 1s was over and nothing was measured"));
    // No refusal is stored: the compiler did not say anything.
    for (const auto& entry : fs::recursive_directory_iterator(folder.path() / "cache" / "facts"))
        CHECK(entry.is_directory());
}

TEST_CASE("Without a measured rate a bench says that its shares are predicted") {
    const Box box;
    const CommandResult bench =
        box.run("bench " + box.model.string() + " --backend cpu -p 0 -n 2 -r 1 --no-rates --steps");
    CHECK(bench.status == 0);
    CHECK(bench.says("predicted floor us"));
    CHECK(bench.says("predicted share"));
    CHECK_FALSE(bench.says(" 0.0%  "));
    const auto json = box.run("bench " + box.model.string() +
                              " --backend cpu -p 0 -n 2 -r 1 --no-rates --steps --json "
                              "2>/dev/null")
                          .json();
    CHECK(json["tests"][0]["read_percent"].is_null());
    CHECK(json["kernels"][0]["floor_is"] == "predicted");
}

TEST_CASE("autotune refuses what it does not know, in one line") {
    const Box box;
    const auto refused = [&](const std::string& options, const char* word, int status = 1) {
        const CommandResult result = box.run("autotune " + box.model.string() +
                                             " --backend cpu --weights synthetic " + options);
        CAPTURE(result.output);
        CHECK(result.status == status);
        CHECK(result.says(word));
    };
    refused("--strategy luck",
            "'luck' is unknown; known: exhaustive, successive-halving, model-guided", 2);
    refused("--budget soon", "--budget: 'soon' is no time", 2);
    refused("--arch gfx9999", "'gfx9999' is unknown", 2);
    refused("--kernel nosuch", "no kernel has the name 'nosuch'", 2);
    refused("--kernel delta_step --rows 1",
            "has no such kernel to tune in steps of so many rows; it has ", 2);
    refused("--phase prefill --rows 64 --ctx 32", "64 rows need a context of as many tokens", 2);
    refused("--rows 3", "steps that decode have 1, 2, 4, 8, 16, 32 or 64 rows", 2);
}

}  // namespace
}  // namespace hetune
