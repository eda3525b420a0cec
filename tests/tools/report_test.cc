// The pages of `plan --html` and `autotune --report` in a browser without a screen.
#include <doctest/doctest.h>
#include <unistd.h>

#include <fstream>
#include <regex>

#include "tests/planner/small_model.h"
#include "tests/skip.h"
#include "tests/tools/hetune_command.h"

namespace hetune {
namespace {

namespace fs = std::filesystem;

std::string browser() {
    for (const char* name : {"chromium", "chromium-browser", "google-chrome"})
        for (const char* folder : {"/usr/bin/", "/usr/local/bin/"})
            if (access((std::string(folder) + name).c_str(), X_OK) == 0)
                return std::string(folder) + name;
    return {};
}

struct Page {
    std::string text;    // what is shown, without scripts and style
    std::string errors;  // of the console
    bool says(const std::string& what) const { return text.find(what) != std::string::npos; }
};

std::string content(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// The document once its scripts have run.
Page open_page(const fs::path& page, const fs::path& folder) {
    const fs::path dom = folder / "dom.html", log = folder / "log.txt";
    const std::string command = fmt::format(
        "timeout 100 {} --headless --no-sandbox --disable-gpu --user-data-dir='{}' "
        "--enable-logging=stderr --v=0 "
        "--dump-dom 'file://{}' > '{}' 2> '{}'",
        browser(), (folder / "profile").string(), page.string(), dom.string(), log.string());
    CHECK(std::system(command.c_str()) == 0);
    Page result{.text = content(dom)};
    for (const char* element : {"script", "style"})
        for (size_t at = 0;
             (at = result.text.find(fmt::format("<{}", element), at)) != std::string::npos;) {
            const std::string end = fmt::format("</{}>", element);
            result.text.erase(at, result.text.find(end, at) + end.size() - at);
        }
    std::ifstream lines(log);
    for (std::string line; std::getline(lines, line);)
        if (line.find("CONSOLE") != std::string::npos) result.errors += line + "\n";
    return result;
}

std::string fixed(const nlohmann::json& number, int digits = 2) {
    return fmt::format("{:.{}f}", number.get<double>(), digits);
}

TEST_CASE(
    "a report is one file that asks for nothing else, with uPlot and its licence in the sources") {
    const TestFolder folder;
    const fs::path model = folder.path() / "small.gguf", page = folder.path() / "plan.html";
    small_model(8).write(model);
    REQUIRE(run_hetune(folder.path() / "cache", fmt::format("plan {} --arch x86-64-v3 --html {}",
                                                            model.string(), page.string()))
                .status == 0);
    const std::string html = content(page);
    CHECK(html.find("uPlot=function") != std::string::npos);
    CHECK_FALSE(std::regex_search(html, std::regex("(src|href)=\"")));
    CHECK(html.find("@import") == std::string::npos);
    // Sources of kernels in the page may prefetch(.
    CHECK_FALSE(std::regex_search(html, std::regex("(window\\.|[^\\w.])fetch\\(")));
    CHECK(run_hetune(
              folder.path() / "cache",
              fmt::format("plan {} --arch x86-64-v3 --html /nowhere/plan.html", model.string()))
              .says("/nowhere/plan.html: cannot be written"));
}

TEST_CASE("a plan's page renders without errors and shows the numbers of its JSON") {
    if (browser().empty()) return testing::skip("there is no chromium (apt install chromium)");
    const TestFolder folder;
    const fs::path model = folder.path() / "small.gguf", html = folder.path() / "plan.html";
    small_model(8).write(model);
    const std::string plan = fmt::format("plan {} --arch gfx1100 ", model.string());
    const fs::path cache = folder.path() / "cache";
    REQUIRE(run_hetune(cache, plan + "--html " + html.string()).status == 0);
    const auto json = run_hetune(cache, plan + "--json --resources").json();
    const Page page = open_page(html, folder.path());
    CAPTURE(page.errors);
    CHECK(page.errors.empty());
    CHECK(page.says("id=\"done\""));
    CHECK(page.says("<canvas"));
    for (const auto& step : json["steps"]) {
        CHECK(page.says(step["label"].get<std::string>()));
        CHECK(page.says(fixed(step["roofline_us"])));
        CHECK(page.says(fixed(step["bytes"].get<double>() / 1024, 1)));
    }
    for (const auto& [name, resources] : json["resources"].items()) {
        if (name == "sample.0") continue;
        CHECK(page.says(name));
        CHECK(page.says(fmt::format(">{}<", resources["vgprs"].get<int>())));
        CHECK(page.says(fmt::format(">{}<", resources["code_bytes"].get<int64_t>())));
    }
    CHECK(page.says("v_dot4_i32_iu8"));       // ISA
    CHECK(page.says("extern \"C\" KERNEL"));  // source
}

TEST_CASE("a sweep's page renders without errors and shows the numbers of its JSON") {
    if (browser().empty()) return testing::skip("there is no chromium (apt install chromium)");
    const TestFolder folder;
    const fs::path model = folder.path() / "small.gguf", html = folder.path() / "tuned.html";
    small_model(8).write(model);
    const CommandResult tuned = run_hetune(
        folder.path() / "cache", fmt::format("autotune {} --backend cpu --weights synthetic --ctx "
                                             "32 --rows 1 --kernel gemv_residual "
                                             "--report {} --json 2>/dev/null",
                                             model.string(), html.string()));
    REQUIRE(tuned.status == 0);
    const auto json = tuned.json();
    const Page page = open_page(html, folder.path());
    CAPTURE(page.errors);
    CHECK(page.errors.empty());
    CHECK(page.says("id=\"done\""));
    for (const auto& kernel : json["kernels"]) {
        CHECK(page.says(kernel["label"].get<std::string>()));
        CHECK(page.says(kernel["shape"].get<std::string>()));
        CHECK(page.says(fixed(kernel["us"])));
        CHECK(page.says(fixed(kernel["default_us"])));
        CHECK(page.says(fixed(kernel["noise_us"], 3)));
    }
    for (const auto& plan : json["plans"])
        for (const auto& variant : plan["variants"]) CHECK(page.says(fixed(variant["us"])));
    CHECK(page.says("Whole plans, end to end"));
    CHECK(page.says(fixed(json["geometric_mean_gain"]) + "x"));
}

}  // namespace
}  // namespace hetune
