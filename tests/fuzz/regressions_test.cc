// Each fuzz target over its seeds, cuts and flips of them, and what once broke it
// (regressions/TARGET/*).
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "tests/fuzz/fuzz.h"

namespace hetune::fuzz {
namespace {

namespace fs = std::filesystem;

void run(const Target& target, const std::string& input, const std::string& name) {
    CAPTURE(name);
    CHECK_NOTHROW(target.run(input));
}

TEST_CASE("what once broke a parser breaks it no more") {
    std::error_code none;
    for (const auto& folder : fs::directory_iterator(HETUNE_FUZZ_REGRESSIONS, none)) {
        const std::string name = folder.path().filename();
        const auto target = std::ranges::find(targets(), name, &Target::name);
        REQUIRE_MESSAGE(target != targets().end(), "there is no fuzz target ", name);
        for (const auto& file : fs::directory_iterator(folder))
            run(*target, file_content(file.path()), file.path());
    }
}

TEST_CASE("every fuzz target takes its seeds, and cuts and flips of them") {
    CHECK(targets().size() >= 12);
    for (const Target& target : targets()) {
        CAPTURE(target.name);
        const std::vector<std::string> seeds = target.seeds();
        REQUIRE(!seeds.empty());
        std::mt19937 random(1);
        run(target, "", "empty");
        for (size_t i = 0; i < seeds.size(); ++i) {
            run(target, seeds[i], "seed " + std::to_string(i));
            for (int round = 0; round < 4; ++round) {
                std::string changed = seeds[i];
                if (changed.empty()) continue;
                changed[random() % changed.size()] ^= static_cast<char>(1u << random() % 8);
                run(target, changed, "a flip of seed " + std::to_string(i));
                run(target, seeds[i].substr(0, random() % seeds[i].size()),
                    "a cut of seed " + std::to_string(i));
            }
        }
    }
}

}  // namespace
}  // namespace hetune::fuzz
