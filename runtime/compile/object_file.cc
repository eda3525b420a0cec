#include "runtime/compile/object_file.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <vector>

#include "cache/key.h"
#include "planner/file/mapped_file.h"

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

std::string section_name(Bytes object, const Elf64_Shdr& section) {
    const Elf64_Ehdr elf = header(object);
    const auto names =
        record<Elf64_Shdr>(object, elf.e_shoff + elf.e_shstrndx * sizeof(Elf64_Shdr));
    const Bytes text = part(object, names.sh_offset, names.sh_size);
    if (section.sh_name >= text.size()) return {};
    const auto* start = reinterpret_cast<const char*>(text.data()) + section.sh_name;
    return {start, strnlen(start, text.size() - section.sh_name)};
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
    uint64_t number;  // in its table
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
                found = Symbol{symbol, at / sizeof(Elf64_Sym)};
                return;
            }
        }
    });
    return found;
}

// Ends the parse at a depth that no compiler writes: the parser of msgpack is recursive.
class DepthLimit : public nlohmann::json_sax<nlohmann::json> {
  public:
    bool null() override { return true; }
    bool boolean(bool) override { return true; }
    bool number_integer(number_integer_t) override { return true; }
    bool number_unsigned(number_unsigned_t) override { return true; }
    bool number_float(number_float_t, const string_t&) override { return true; }
    bool string(string_t&) override { return true; }
    bool binary(binary_t&) override { return true; }
    bool key(string_t&) override { return true; }
    bool start_object(size_t) override { return ++depth_ <= kDeepest; }
    bool start_array(size_t) override { return ++depth_ <= kDeepest; }
    bool end_object() override { return --depth_, true; }
    bool end_array() override { return --depth_, true; }
    bool parse_error(size_t, const std::string&, const nlohmann::json::exception&) override {
        return false;
    }

  private:
    static constexpr int kDeepest = 32;  // LLVM 19 writes 5
    int depth_ = 0;
};

nlohmann::json parse_metadata(Bytes note) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(note.data());
    DepthLimit limit;
    if (!nlohmann::json::sax_parse(bytes, bytes + note.size(), &limit,
                                   nlohmann::json::input_format_t::msgpack))
        return nullptr;
    return nlohmann::json::from_msgpack(bytes, bytes + note.size(), true,
                                        /*allow_exceptions=*/false);
}

int number(const nlohmann::json& kernel, const char* key) {
    const auto at = kernel.find(key);
    return at == kernel.end() || !at->is_number_integer() ? -1 : at->get<int>();
}

KernelResources amd_resources(Bytes object, const std::string& entry) {
    const auto note = find_note(object, "AMDGPU", kAmdgpuMetadata);
    if (!note) broken("no AMDGPU metadata note");
    const nlohmann::json metadata = parse_metadata(*note);
    if (!metadata.is_object() || !metadata.contains("amdhsa.kernels"))
        broken("its metadata note cannot be read");
    for (const nlohmann::json& kernel : metadata["amdhsa.kernels"]) {
        if (!kernel.is_object() || !kernel.contains(".name") || kernel[".name"] != entry) continue;
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

// Attributes of a kernel in `.nv.info` (of all kernels, by symbol number) and `.nv.info.<kernel>`.
// NVIDIA does not document them; the numbers are those of CuAssembler (github.com/cloudcores/
// CuAssembler) and were checked with the register, stack and shared-memory counts of `ptxas
// -v` 13.0.
enum CubinFormat : uint8_t { kPayload = 4 };
enum CubinAttribute : uint8_t { kMaxThreads = 0x05, kFrameSize = 0x11, kRegisters = 0x2f };

template <class Visit>
void each_attribute(Bytes info, Visit&& visit) {
    for (uint64_t at = 0; at + 4 <= info.size();) {
        const auto format = record<uint8_t>(info, at), attribute = record<uint8_t>(info, at + 1);
        const uint64_t bytes = format == kPayload ? record<uint16_t>(info, at + 2) : 0;
        if (format == kPayload) visit(attribute, part(info, at + 4, bytes));
        at += 4 + bytes;
    }
}

KernelResources cubin_resources(Bytes object, const std::string& entry) {
    const auto kernel = find_symbol(object, entry);
    if (!kernel) throw std::runtime_error(fmt::format("the cubin has no kernel '{}'", entry));
    KernelResources resources{.lds_bytes = 0};
    // A cubin for sm_90 or later counts the driver's share of shared memory in, and marks that.
    constexpr int kReserved = 1024;
    int reserved = 0;
    each_section(object, [&](const Elf64_Shdr& section) {
        const std::string name = section_name(object, section);
        if (name == ".nv.shared." + entry) resources.lds_bytes = static_cast<int>(section.sh_size);
        if (name == ".nv.shared.reserved.0") reserved = kReserved;
        const bool shared_info = name == ".nv.info";
        if (!shared_info && name != ".nv.info." + entry) return;
        each_attribute(part(object, section.sh_offset, section.sh_size), [&](uint8_t attribute,
                                                                             Bytes value) {
            if (attribute == kMaxThreads && !shared_info)
                resources.max_threads =
                    static_cast<int>(record<uint32_t>(value, 0) * record<uint32_t>(value, 4) *
                                     record<uint32_t>(value, 8));
            if (!shared_info || value.size() < 8 || record<uint32_t>(value, 0) != kernel->number)
                return;
            if (attribute == kRegisters) resources.vgprs = record<int>(value, 4);
            if (attribute == kFrameSize) resources.scratch_bytes = record<int>(value, 4);
        });
    });
    resources.lds_bytes = std::max(0, resources.lds_bytes - reserved);
    return resources;
}

std::string hex_of(Bytes bytes) {
    std::string hex;
    for (const std::byte byte : bytes) hex += fmt::format("{:02x}", static_cast<int>(byte));
    return hex;
}

}  // namespace

Bytes kernel_code(Bytes object, const std::string& entry) {
    const std::string symbol = header(object).e_machine == EM_X86_64 ? "hetune_cpu_entry" : entry;
    const auto found = find_symbol(object, symbol);
    if (!found || found->record.st_shndx == SHN_UNDEF) return {};
    const Elf64_Ehdr elf = header(object);
    const auto section =
        record<Elf64_Shdr>(object, elf.e_shoff + found->record.st_shndx * sizeof(Elf64_Shdr));
    if (section.sh_type != SHT_PROGBITS || found->record.st_value < section.sh_addr) return {};
    return part(object, section.sh_offset + (found->record.st_value - section.sh_addr),
                found->record.st_size);
}

KernelResources read_resources(Bytes object, const std::string& entry) {
    KernelResources resources;
    switch (const auto machine = header(object).e_machine) {
        case EM_AMDGPU:
            resources = amd_resources(object, entry);
            break;
        case EM_CUDA:
            resources = cubin_resources(object, entry);
            break;
        case EM_X86_64:
            break;
        default:
            broken(fmt::format("machine {} is none that hetune compiles for", machine).c_str());
    }
    resources.code_bytes = static_cast<int64_t>(kernel_code(object, entry).size());
    return resources;
}

std::string build_id(const std::filesystem::path& file) try {
    const MappedFile mapped(file);
    try {
        if (const auto note = find_note(mapped.bytes(), "GNU", NT_GNU_BUILD_ID))
            return hex_of(*note);
    } catch (const std::runtime_error&) {  // no ELF file, such as a wrapper script
    }
    return content_hash(mapped.bytes().data(), mapped.bytes().size()).hex();
} catch (const std::exception&) {
    return {};
}

}  // namespace hetune
