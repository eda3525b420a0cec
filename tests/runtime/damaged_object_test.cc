// Damaged code objects and messages of a worker: an error or nothing, never a crash.
#include <doctest/doctest.h>
#include <elf.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

#include "runtime/compile/object_file.h"
#include "runtime/compile/worker_protocol.h"

namespace hetune::testing {
namespace {

// A program is an ELF file with notes, sections and symbols, as a code object is.
std::string some_object() {
    std::ifstream file(HETUNE_FAKE_WORKER, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void read_all(const std::string& object) {
    for (const uint16_t machine : {EM_AMDGPU, EM_CUDA, EM_X86_64}) {
        std::string altered = object;
        if (altered.size() >= sizeof(Elf64_Ehdr))
            std::memcpy(altered.data() + offsetof(Elf64_Ehdr, e_machine), &machine, sizeof machine);
        const auto bytes = std::as_bytes(std::span(altered));
        try {
            read_resources(bytes, "main");
        } catch (const std::runtime_error&) {
        }
        try {
            kernel_code(bytes, "main");
        } catch (const std::runtime_error&) {
        }
    }
}

TEST_CASE("a code object cut anywhere is an error or has no such kernel") {
    const std::string whole = some_object();
    REQUIRE(whole.size() > 4096);
    for (size_t bytes = 0; bytes < 256; ++bytes) read_all(whole.substr(0, bytes));
    for (int part = 1; part < 64; ++part) read_all(whole.substr(0, whole.size() * part / 64));
}

TEST_CASE("a code object with wrong headers, offsets and sizes is an error or has no such kernel") {
    const std::string whole = some_object();
    Elf64_Ehdr elf;
    std::memcpy(&elf, whole.data(), sizeof elf);
    const size_t sections = elf.e_shnum * sizeof(Elf64_Shdr);
    REQUIRE(elf.e_shoff + sections <= whole.size());
    std::mt19937_64 random(7);
    const uint64_t values[] = {0,      1,          0x7f,         0xff,
                               0xffff, 0xffffffff, ~uint64_t{0}, uint64_t{1} << 63};
    for (int round = 0; round < 1500; ++round) {
        CAPTURE(round);
        std::string damaged = whole;
        for (int edits = 1 + static_cast<int>(random() % 3); edits > 0; --edits) {
            const size_t widths[] = {1, 2, 4, 8};
            const size_t width = widths[random() % 4];
            const size_t header = random() % sizeof(Elf64_Ehdr);
            const size_t segment = elf.e_phoff + random() % (elf.e_phnum * sizeof(Elf64_Phdr));
            const size_t section = elf.e_shoff + random() % sections;
            const size_t places[] = {header, segment, section, random() % whole.size()};
            const size_t at = std::min(places[random() % 4], whole.size() - width);
            const uint64_t value =
                random() % 2 == 0 ? values[random() % std::size(values)] : random();
            std::memcpy(damaged.data() + at, &value, width);
        }
        read_all(damaged);
    }
}

TEST_CASE("a damaged message of a worker is a ProtocolError or another message") {
    const std::string good = encode({{{"status", "done"}, {"log", "l"}}, "object"});
    std::mt19937 random(7);
    for (int round = 0; round < 20000; ++round) {
        CAPTURE(round);
        std::string bytes = good;
        bytes[random() % bytes.size()] = static_cast<char>(random());
        if (round % 2 == 0) bytes.resize(random() % bytes.size());
        MessageReader reader;
        try {
            for (const char byte : bytes) {
                reader.feed({&byte, 1});
                if (const auto message = reader.take()) CHECK(message->header.is_object());
            }
        } catch (const ProtocolError&) {
        }
    }
}

TEST_CASE(
    "an answer whose fields are of other types is a crash of that worker, not of this process") {
    for (const char* header : {R"({"status": 7})", R"({"status": null, "error": {}})", R"({})",
                               R"({"status": "done", "version": [], "loaded": 3})"}) {
        CAPTURE(header);
        const WorkerMessage message{nlohmann::json::parse(header), {}};
        CHECK(text_field(message, "status").size() <= 4);
        CHECK(text_field(message, "error").empty());
    }
}

}  // namespace
}  // namespace hetune::testing
