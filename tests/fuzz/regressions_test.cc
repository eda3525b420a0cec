// Each fuzz target over its seeds, changes of them, and what once broke it
// (regressions/TARGET/*).
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "tests/fuzz/fuzz.h"

namespace hetune::fuzz {
namespace {

namespace fs = std::filesystem;

void run(const Target& target, const std::string& input, const std::string& name) {
    CAPTURE(name);
    // The input of a crash is left here.
    if (const char* kept = std::getenv("HETUNE_FUZZ_KEEP")) {
        std::ofstream(kept, std::ios::binary) << input;
    }
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

// A copy with one to four bits flipped, pieces left out, repeated or cut off.
std::string changed(std::string text, std::mt19937& random) {
    for (unsigned times = 1 + random() % 4; times > 0 && !text.empty(); --times) {
        const size_t at = random() % text.size();
        const size_t length = 1 + random() % std::min<size_t>(text.size() - at, 16);
        switch (random() % 6) {
            case 0:
                text.erase(at, length);
                break;
            case 1:
                text.insert(random() % text.size(), text.substr(at, length));
                break;
            case 2:
                text.resize(at);
                break;
            default:
                text[at] = static_cast<char>(text[at] ^ (1 << random() % 8));
        }
    }
    return text;
}

// HETUNE_FUZZ_ROUNDS: how many changes of each seed are tried, for machines without libFuzzer.
TEST_CASE("every fuzz target takes its seeds, and changes of them") {
    const char* wanted = std::getenv("HETUNE_FUZZ_ROUNDS");
    const int rounds = wanted == nullptr ? 16 : std::atoi(wanted);
    CHECK(targets().size() >= 12);
    for (const Target& target : targets()) {
        CAPTURE(target.name);
        const std::vector<std::string> seeds = target.seeds();
        REQUIRE(!seeds.empty());
        std::mt19937 random(1);
        run(target, "", "empty");
        for (size_t i = 0; i < seeds.size(); ++i) {
            run(target, seeds[i], "seed " + std::to_string(i));
            for (int round = 0; round < rounds; ++round)
                run(target, changed(seeds[i], random),
                    "change " + std::to_string(round) + " of seed " + std::to_string(i));
        }
    }
}

}  // namespace
}  // namespace hetune::fuzz
