// Code objects as compilers make them: notes, symbols and sections of ELF files, AMD's metadata and
// NVIDIA's cubins.
#include <elf.h>

#include <cstring>
#include <filesystem>

#include "runtime/compile/object_file.h"
#include "tests/fuzz/fuzz.h"

namespace hetune::fuzz {
namespace {

void run(std::string_view input) {
    const auto bytes = bytes_of(input);
    may_throw<std::runtime_error>([&] { read_resources(bytes, "k"); });
    may_throw<std::runtime_error>([&] {
        const auto code = kernel_code(bytes, "k");
        require(code.empty() || (code.data() >= bytes.data() &&
                                 code.data() + code.size() <= bytes.data() + bytes.size()),
                "machine code outside of its object");
    });
    build_id(scratch_file("object.elf", input));
}

// Sections as an assembler lays them out: null, text, symbols, their names, a note, names.
std::string small_elf(uint16_t machine, const std::string& text_name, const std::string& note) {
    const std::string names = '\0' + text_name + '\0' + ".symtab" + '\0' + ".strtab" + '\0' +
                              ".note" + '\0' + ".shstrtab" + '\0';
    const std::string strings = std::string("\0k\0", 3);
    const std::string code(32, '\x11');
    Elf64_Sym symbols[2]{};
    symbols[1].st_name = 1;
    symbols[1].st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
    symbols[1].st_shndx = 1;
    symbols[1].st_size = code.size();
    const std::string symbol_bytes(reinterpret_cast<const char*>(symbols), sizeof(symbols));
    std::string file(sizeof(Elf64_Ehdr), '\0');
    Elf64_Shdr sections[6]{};
    const auto add = [&](int index, const std::string& name, uint32_t type,
                         const std::string& content) {
        while (file.size() % 8 != 0) file += '\0';
        sections[index].sh_name = static_cast<uint32_t>(names.find(name));
        sections[index].sh_type = type;
        sections[index].sh_offset = file.size();
        sections[index].sh_size = content.size();
        file += content;
    };
    add(1, text_name, SHT_PROGBITS, code);
    add(2, ".symtab", SHT_SYMTAB, symbol_bytes);
    sections[2].sh_link = 3;
    sections[2].sh_entsize = sizeof(Elf64_Sym);
    add(3, ".strtab", SHT_STRTAB, strings);
    add(4, ".note", SHT_NOTE, note);
    add(5, ".shstrtab", SHT_STRTAB, names);
    while (file.size() % 8 != 0) file += '\0';
    Elf64_Ehdr head{};
    std::memcpy(head.e_ident, ELFMAG, SELFMAG);
    head.e_ident[EI_CLASS] = ELFCLASS64;
    head.e_ident[EI_DATA] = ELFDATA2LSB;
    head.e_ident[EI_VERSION] = EV_CURRENT;
    head.e_type = ET_DYN;
    head.e_machine = machine;
    head.e_version = EV_CURRENT;
    head.e_shoff = file.size();
    head.e_ehsize = sizeof(head);
    head.e_shentsize = sizeof(Elf64_Shdr);
    head.e_shnum = 6;
    head.e_shstrndx = 5;
    std::memcpy(file.data(), &head, sizeof(head));
    return file + std::string(reinterpret_cast<const char*>(sections), sizeof(sections));
}

std::string note(const std::string& owner, uint32_t type, std::string content) {
    const auto size = static_cast<uint32_t>(content.size());
    const auto owner_size = static_cast<uint32_t>(owner.size() + 1);
    std::string bytes;
    for (const uint32_t word : {owner_size, size, type})
        bytes.append(reinterpret_cast<const char*>(&word), sizeof(word));
    bytes += owner + '\0';
    while (bytes.size() % 4 != 0) bytes += '\0';
    bytes += content;
    while (bytes.size() % 4 != 0) bytes += '\0';
    return bytes;
}

std::vector<std::string> seeds() {
    // AMD's metadata is msgpack: {"amdhsa.kernels": [{".name": "k", ".symbol": "k.kd", ...}]}.
    const auto text = [](const std::string& word) {
        return std::string(1, static_cast<char>(0xa0 + word.size())) + word;
    };
    std::string kernel =
        std::string("\x89") + text(".name") + text("k") + text(".symbol") + text("k.kd");
    for (const char* name :
         {".vgpr_count", ".sgpr_count", ".vgpr_spill_count", ".sgpr_spill_count"})
        kernel += text(name) + '\x10';
    for (const char* name :
         {".private_segment_fixed_size", ".group_segment_fixed_size", ".max_flat_workgroup_size"})
        kernel +=
            (std::strlen(name) < 32 ? text(name) : std::string()) + std::string("\xcd\x01\x00", 3);
    const std::string metadata =
        std::string("\x81") + text("amdhsa.kernels") + std::string("\x91") + kernel;
    return {small_elf(EM_AMDGPU, ".text", note("AMDGPU", 32, metadata)),
            small_elf(EM_X86_64, ".text", note("GNU", NT_GNU_BUILD_ID, "\x01\x02\x03\x04")),
            small_elf(EM_CUDA, ".text.k", note("NVIDIA Corp", 1, "\x01"))};
}

const RegisterTarget kTarget({"elf", run, seeds});

}  // namespace
}  // namespace hetune::fuzz
