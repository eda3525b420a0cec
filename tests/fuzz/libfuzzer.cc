// The entry points that libFuzzer calls. hetune_fuzz --target=NAME --seeds=FOLDER [its options]:
// writes the target's seeds into the folder first. hetune_fuzz --targets lists their names.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/fuzz/fuzz.h"

namespace {

const hetune::fuzz::Target* chosen = nullptr;

std::string option(int count, char** words, const std::string& name) {
    const std::string prefix = "--" + name + "=";
    for (int i = 1; i < count; ++i)
        if (const std::string word = words[i]; word.starts_with(prefix))
            return word.substr(prefix.size());
    return {};
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* count, char*** words) {
    for (int i = 1; i < *count; ++i)
        if (std::string((*words)[i]) == "--targets") {
            for (const auto& target : hetune::fuzz::targets()) std::puts(target.name.c_str());
            std::exit(0);
        }
    const std::string name = option(*count, *words, "target");
    for (const auto& target : hetune::fuzz::targets())
        if (target.name == name) chosen = &target;
    if (chosen == nullptr) {
        std::fprintf(stderr, "hetune_fuzz: --target=NAME takes a name of --targets\n");
        std::exit(2);
    }
    if (const std::string folder = option(*count, *words, "seeds"); !folder.empty()) {
        std::filesystem::create_directories(folder);
        int number = 0;
        for (const std::string& seed : chosen->seeds())
            std::ofstream(folder + "/seed-" + std::to_string(number++), std::ios::binary) << seed;
    }
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    chosen->run({reinterpret_cast<const char*>(data), size});
    return 0;
}
