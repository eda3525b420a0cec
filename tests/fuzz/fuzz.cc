#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "tests/cache/test_folder.h"

namespace hetune::fuzz {

std::vector<Target>& targets() {
    static std::vector<Target> list;
    return list;
}

std::string file_content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + ": cannot be read");
    return {std::istreambuf_iterator<char>(file), {}};
}

const std::string& scratch_folder() {
    static const TestFolder folder("hetune-fuzz");
    static const std::string path = folder.path().string();
    return path;
}

std::string scratch_file(const std::string& name, std::string_view content) {
    const std::string path = scratch_folder() + "/" + name;
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 ||
        write(file, content.data(), content.size()) != static_cast<ssize_t>(content.size()))
        throw std::runtime_error(path + ": cannot be written");
    close(file);
    return path;
}

}  // namespace hetune::fuzz
