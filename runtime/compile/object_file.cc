#include "runtime/compile/object_file.h"

#include <elf.h>
#include <fmt/format.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <vector>

#include "cache/key.h"
#include "planner/mapped_file.h"

namespace hetune {
namespace {

using Bytes = std::span<const std::byte>;

constexpr uint32_t kAmdgpuMetadata = 32;  // NT_AMDGPU_METADATA

[[noreturn]] void broken(const char* what) {
    throw std::runtime_error(fmt::format("not a code object: {}", what));
}

Bytes part(Bytes all, uint64_t offset, uint64_t bytes) {
    if (offset > all.size() || bytes > all.size() - offset) broken("a part lies outside the file");
    return all.subspan(offset, bytes);
}

template <class T>
T record(Bytes all, uint64_t offset) {
    T value;
    std::memcpy(&value, part(all, offset, sizeof(T)).data(), sizeof(T));
    return value;
}

Elf64_Ehdr header(Bytes object) {
    const auto elf = record<Elf64_Ehdr>(object, 0);
    if (std::memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 || elf.e_ident[EI_CLASS] != ELFCLASS64)
        broken("no 64-bit ELF magic");
    return elf;
}

template <class Visit>
void each_section(Bytes object, Visit&& visit) {
    const Elf64_Ehdr elf = header(object);
    for (uint64_t i = 0; i < elf.e_shnum; ++i)
        visit(record<Elf64_Shdr>(object, elf.e_shoff + i * sizeof(Elf64_Shdr)));
}

// The description of the first note of this owner and type.
std::optional<Bytes> find_note(Bytes object, std::string_view owner, uint32_t type) {
    const Elf64_Ehdr elf = header(object);
    for (uint64_t i = 0; i < elf.e_phnum; ++i) {
        const auto segment = record<Elf64_Phdr>(object, elf.e_phoff + i * sizeof(Elf64_Phdr));
        if (segment.p_type != PT_NOTE) continue;
        const Bytes notes = part(object, segment.p_offset, segment.p_filesz);
        for (uint64_t at = 0; at + sizeof(Elf64_Nhdr) <= notes.size();) {
            const auto note = record<Elf64_Nhdr>(notes, at);
            const uint64_t name = at + sizeof(Elf64_Nhdr);
            const uint64_t text = name + (uint64_t{note.n_namesz} + 3) / 4 * 4;
            const Bytes owned = part(notes, name, note.n_namesz);
            if (note.n_type == type && note.n_namesz == owner.size() + 1 &&
                std::memcmp(owned.data(), owner.data(), owner.size()) == 0)
                return part(notes, text, note.n_descsz);
            at = text + (uint64_t{note.n_descsz} + 3) / 4 * 4;
        }
    }
    return std::nullopt;
}

struct Symbol {
    Elf64_Sym record;
    std::string name;
};

std::optional<Symbol> find_symbol(Bytes object, const std::string& name) {
    std::optional<Symbol> found;
    each_section(object, [&](const Elf64_Shdr& section) {
        if (found || (section.sh_type != SHT_DYNSYM && section.sh_type != SHT_SYMTAB)) return;
        const Elf64_Ehdr elf = header(object);
        const auto names =
            record<Elf64_Shdr>(object, elf.e_shoff + section.sh_link * sizeof(Elf64_Shdr));
        const Bytes text = part(object, names.sh_offset, names.sh_size);
        for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= section.sh_size; at += sizeof(Elf64_Sym)) {
            const auto symbol = record<Elf64_Sym>(object, section.sh_offset + at);
            if (symbol.st_name + name.size() + 1 > text.size()) continue;
            if (std::memcmp(text.data() + symbol.st_name, name.c_str(), name.size() + 1) == 0) {
                found = Symbol{symbol, name};
                return;
            }
        }
    });
    return found;
}

int number(const nlohmann::json& kernel, const char* key) {
    const auto at = kernel.find(key);
    return at == kernel.end() || !at->is_number_integer() ? -1 : at->get<int>();
}

KernelResources amd_resources(Bytes object, const std::string& entry) {
    const auto note = find_note(object, "AMDGPU", kAmdgpuMetadata);
    if (!note) broken("no AMDGPU metadata note");
    const auto* bytes = reinterpret_cast<const uint8_t*>(note->data());
    const auto metadata =
        nlohmann::json::from_msgpack(bytes, bytes + note->size(), true, /*allow_exceptions=*/false);
    if (!metadata.is_object() || !metadata.contains("amdhsa.kernels"))
        broken("its metadata note cannot be read");
    for (const nlohmann::json& kernel : metadata["amdhsa.kernels"]) {
        if (!kernel.is_object() || kernel.value(".name", "") != entry) continue;
        return {.vgprs = number(kernel, ".vgpr_count"),
                .sgprs = number(kernel, ".sgpr_count"),
                .lds_bytes = number(kernel, ".group_segment_fixed_size"),
                .scratch_bytes = number(kernel, ".private_segment_fixed_size"),
                .spilled_vgprs = number(kernel, ".vgpr_spill_count"),
                .spilled_sgprs = number(kernel, ".sgpr_spill_count"),
                .max_threads = number(kernel, ".max_flat_workgroup_size")};
    }
    throw std::runtime_error(fmt::format("the object has no kernel '{}'", entry));
}

}  // namespace

Bytes code_of(Bytes object, const std::string& symbol) {
    const auto found = find_symbol(object, symbol);
    if (!found || found->record.st_shndx == SHN_UNDEF) return {};
    Bytes code;
    // Symbol values are addresses; sections map them to places in the file.
    each_section(object, [&](const Elf64_Shdr& section) {
        const uint64_t at = found->record.st_value - section.sh_addr;
        if (section.sh_type != SHT_PROGBITS || (section.sh_flags & SHF_EXECINSTR) == 0) return;
        if (found->record.st_value < section.sh_addr || at >= section.sh_size) return;
        code = part(object, section.sh_offset + at, found->record.st_size);
    });
    return code;
}

KernelResources read_resources(Bytes object, const std::string& entry, ArchFamily family) {
    KernelResources resources;
    if (family == ArchFamily::kAmd) resources = amd_resources(object, entry);
    const Bytes code = code_of(object, family == ArchFamily::kCpu ? "hetune_cpu_entry" : entry);
    resources.code_bytes = static_cast<int64_t>(code.size());
    return resources;
}

std::string build_id(const std::filesystem::path& file) try {
    const MappedFile mapped(file);
    if (const auto note = find_note(mapped.bytes(), "GNU", NT_GNU_BUILD_ID)) {
        std::string hex;
        for (const std::byte byte : *note) hex += fmt::format("{:02x}", static_cast<int>(byte));
        return hex;
    }
    return content_hash(mapped.bytes().data(), mapped.bytes().size()).hex();
} catch (const std::exception&) {
    return {};
}

}  // namespace hetune
