// `hetune doctor` as a user runs it.
#include <doctest/doctest.h>

#include "tests/tools/hetune_command.h"

namespace hetune {
namespace {

TEST_CASE("doctor lists each backend and compiler, with identity and archs or the reason") {
    TestFolder folder;
    const auto report = run_hetune(folder.path() / "cache", "doctor --json 2>/dev/null").json();
    bool cpu = false;
    for (const auto& device : report["devices"])
        cpu |= device["backend"] == "cpu" && device["unavailable"] == "";
    CHECK(cpu);
    std::vector<std::string> names;
    for (const auto& compiler : report["compilers"]) {
        names.push_back(compiler["name"]);
        if (compiler["unavailable"] != "") {
            CHECK_FALSE(compiler["install"].get<std::string>().empty());
            continue;
        }
        CHECK(compiler["identity"].get<std::string>().starts_with(names.back() + " "));
        CHECK_FALSE(compiler["archs"].empty());
    }
    CHECK(names.size() == 4);
    CHECK(report["cache"]["writable"] == true);
    CHECK(report["cache"]["objects"] == 0);
}

TEST_CASE("doctor --compiler looks at one, and knows no other name") {
    TestFolder folder;
    const auto one = run_hetune(folder.path() / "cache", "doctor --compiler clang --json");
    CHECK(one.json()["compilers"].size() == 1);
    const auto none = run_hetune(folder.path() / "cache", "doctor --compiler icc");
    CHECK(none.status == 2);
    CHECK(none.says("'icc' is unknown; known: "));
}

TEST_CASE("doctor says what a library or worker that cannot be used is lacking") {
    TestFolder folder;
    const auto missing =
        run_hetune(folder.path() / "cache",
                   "--version >/dev/null; HETUNE_NVRTC_LIBRARY=/no/such.so "
                   "HETUNE_CACHE_DIR='" +
                       (folder.path() / "cache").string() +
                       "' " HETUNE_BUILD_DIR "/bin/hetune doctor --compiler nvrtc");
    CHECK(missing.says("/no/such.so cannot be opened"));
}

}  // namespace
}  // namespace hetune
