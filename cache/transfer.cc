#include "cache/transfer.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <optional>
#include <type_traits>

#include "cache/object_file.h"
#include "cache/tile_store.h"
#include "cache/tuning_store.h"

namespace hetune {
namespace {

// Without the compile time, so that equal kernels give equal bundles.
void add_object(const CacheKey& key, CodeObject code, const KeyParts& parts, BundleWriter& writer,
                Transferred& done) {
    code.compile_ms = 0;
    const auto file = encode_object(key, code, parts);
    writer.add_object(key, file);
    ++done.objects;
    done.bytes += file.size();
}

bool is_selected(const ObjectInfo& info, const ExportSelection& selection) {
    if (selection.archs.empty()) return true;
    const auto arch = info.parts.find("arch");
    return arch != info.parts.end() && std::ranges::count(selection.archs, arch->second) > 0;
}

void export_object(const CacheKey& key, const std::filesystem::path& path,
                   const ExportSelection& selection, BundleWriter& writer, Transferred& done) {
    const auto file = read_file(path, kMaxObjectBytes);
    if (!file) return;
    auto code = decode_object(*file, key);
    const auto info = decode_object_info(*file);
    if (!code || !info || !is_selected(*info, selection)) return;
    if (is_former_fact(info->parts)) {
        ++done.other_format;
        return;
    }
    add_object(key, *std::move(code), info->parts, writer, done);
}

// In the order of their paths. Without the time, so that equal facts give equal bundles.
void add_facts(std::vector<Fact> facts, BundleWriter& writer, Transferred& done) {
    std::erase_if(facts, [](const Fact& fact) { return !fact.good || !is_whole(fact); });
    std::ranges::sort(facts, {}, [](const Fact& fact) { return fact.key.hash(); });
    const auto twice = std::ranges::unique(facts, {}, &Fact::key);
    facts.erase(twice.begin(), twice.end());
    for (Fact& fact : facts) {
        fact.created = 0;
        const std::string text = encode_fact(fact);
        writer.add_fact(fact_name(fact.key.hash()), text);
        ++done.facts;
        done.bytes += text.size();
    }
}

// In the order of their paths.
void add_tunings(std::vector<TuningRecord> records, BundleWriter& writer, Transferred& done) {
    std::ranges::sort(records, {}, [](const TuningRecord& r) { return r.key.hash(); });
    for (const TuningRecord& record : records) {
        const std::string text = encode_tuning(record);
        writer.add_tuning(tuning_name(record.key.hash()), text);
        ++done.tunings;
        done.bytes += text.size();
    }
}

// Whether a good file is there already.
bool is_present(const std::filesystem::path& target, const BundleMember& member) {
    if (!member.is_object()) return TilePack::open(target).state == TilePack::State::kGood;
    const auto key = CacheKey::from_hex(target.filename().string());
    const auto file = read_file(target, kMaxObjectBytes);
    return key && file && decode_object(*file, *key);
}

enum class Imported { kNew, kPresent, kOtherFormat };

[[noreturn]] void refuse(const BundleMember& member, std::string_view why) {
    throw CacheError(fmt::format("bundle: '{}' {}", member.path, why));
}

// The result of `decode`; nothing for another version of the format. A CacheError names the member.
template <class Decode>
auto decoded(const BundleMember& member, const Decode& decode) try {
    return std::optional(decode());
} catch (const OtherFormat&) {
    return std::optional<std::invoke_result_t<Decode>>();
} catch (const CacheError& error) {
    refuse(member, fmt::format("cannot be read: {}", error.what()));
}

Imported import_object(CacheFolder& folder, const Bundle& bundle, const BundleMember& member) {
    const auto target = folder.writable() / member.path;
    if (is_present(target, member)) return Imported::kPresent;
    const auto file = bundle.read(member);
    const auto key = CacheKey::from_hex(target.filename().string());
    const auto info = decode_object_info(file);
    if (!key || !info || !decode_object(file, *key))
        refuse(member, "is no code object of this hetune");
    if (is_former_fact(info->parts)) return Imported::kOtherFormat;
    TempFile temp(folder.writable() / "tmp");
    temp.write(file);
    temp.commit(target);
    folder.with_index([&](Index& index) { index.add(*info, std::time(nullptr)); });
    return Imported::kNew;
}

// A fact that this machine has of its own is newer. What another machine says is wrong is refused.
Imported import_fact(CacheFolder& folder, const Bundle& bundle, const BundleMember& member) {
    const auto bytes = bundle.read(member);
    const auto fact = decoded(member, [&] {
        return decode_fact({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    });
    if (!fact) return Imported::kOtherFormat;
    if (fact_name(fact->key.hash()) != member.path) refuse(member, "is another fact");
    if (!fact->good) refuse(member, "tells of a failure, which is no fact for others");
    const auto target = folder.writable() / member.path;
    if (read_fact(target)) return Imported::kPresent;
    TempFile temp(folder.writable() / "tmp");
    temp.write(bytes);
    temp.commit(target);
    return Imported::kNew;
}

Imported import_tuning(CacheFolder& folder, const Bundle& bundle, const BundleMember& member) {
    const auto bytes = bundle.read(member);
    auto record = decoded(member, [&] { return decode_tuning(bytes); });
    if (!record) return Imported::kOtherFormat;
    TuningStore(folder).put(*std::move(record));
    return Imported::kNew;
}

Imported import_pack(CacheFolder& folder, const Bundle& bundle, const BundleMember& member) {
    const auto target = folder.writable() / member.path;
    if (is_present(target, member)) return Imported::kPresent;
    TempFile temp(folder.writable() / "tmp");
    bundle.read(member, [&](std::span<const std::byte> piece) { temp.write(piece); });
    const auto [state, pack] = TilePack::open_any(temp.path());
    if (is_other_version(state)) return Imported::kOtherFormat;
    if (!pack || pack->model().hex() != target.parent_path().filename() ||
        pack->layout() != target.stem())
        refuse(member, "is no tile pack of this hetune");
    temp.commit(target);
    return Imported::kNew;
}

}  // namespace

Transferred export_bundle(const CacheFolder& folder, const ExportSelection& selection,
                          const std::filesystem::path& target) {
    if (folder.readable().empty()) throw CacheError("there is no cache folder to export");
    std::vector<std::pair<CacheKey, std::filesystem::path>> objects;
    each_object_file(folder.readable(),
                     [&](const CacheKey& key, const std::filesystem::path& path) {
                         objects.emplace_back(key, path);
                     });
    std::ranges::sort(objects);
    Transferred done;
    BundleWriter writer(target);
    std::vector<Fact> facts;
    for (const auto& path : fact_files(folder.readable()))
        if (auto fact = read_fact(path);
            fact &&
            (selection.archs.empty() || std::ranges::count(selection.archs, fact->key.arch) > 0))
            facts.push_back(*std::move(fact));
    add_facts(std::move(facts), writer, done);
    for (const auto& [key, path] : objects) export_object(key, path, selection, writer, done);

    auto packs = selection.tiles ? list_tile_packs(folder.readable()) : std::vector<TilePackFile>();
    std::ranges::sort(packs, {}, &TilePackFile::path);
    for (const TilePackFile& file : packs) {
        if (file.partial) continue;
        const auto [state, pack] = TilePack::open(file.path);
        done.other_format += is_other_version(state) ? 1 : 0;
        if (!pack || !pack->verify_all()) continue;
        writer.add_pack(file.model, file.layout, pack->file_bytes());
        ++done.packs;
        done.bytes += pack->file_bytes().size();
    }
    if (selection.tunings) {
        std::vector<TuningRecord> records = TuningStore(folder).all();
        std::erase_if(records, [&](const TuningRecord& r) {
            return !selection.archs.empty() && std::ranges::count(selection.archs, r.key.arch) == 0;
        });
        add_tunings(std::move(records), writer, done);
    }
    done.bundle_bytes = writer.commit(selection.key);
    return done;
}

Transferred write_bundle(CodeStore& store, const std::map<CacheKey, KeyParts>& objects,
                         const std::vector<BundledPack>& packs,
                         const std::vector<TuningRecord>& tunings, const std::vector<Fact>& facts,
                         const std::filesystem::path& target, const SigningKey* key) {
    Transferred done;
    BundleWriter writer(target);
    add_facts(facts, writer, done);
    for (const auto& [key, parts] : objects)
        if (auto code = store.find(key)) add_object(key, *std::move(code), parts, writer, done);
    for (const BundledPack& member : packs) {
        writer.add_pack(member.model, member.layout, member.pack->file_bytes());
        ++done.packs;
        done.bytes += member.pack->file_bytes().size();
    }
    add_tunings(tunings, writer, done);
    done.bundle_bytes = writer.commit(key);
    return done;
}

Transferred import_bundle(CacheFolder& folder, const Bundle& bundle) {
    if (folder.writable().empty())
        throw CacheError("there is no writable cache folder to import into");
    Transferred done;
    const auto add = [&](const BundleMember& member, auto import, uint64_t& kind) {
        switch (import(folder, bundle, member)) {
            case Imported::kNew:
                ++kind;
                done.bytes += member.bytes;
                break;
            case Imported::kPresent:
                ++done.present;
                break;
            case Imported::kOtherFormat:
                ++done.other_format;
                break;
        }
    };
    for (const BundleMember& member : bundle.members()) {
        if (member.is_tuning())
            add(member, import_tuning, done.tunings);
        else if (member.is_fact())
            add(member, import_fact, done.facts);
        else if (member.is_object())
            add(member, import_object, done.objects);
        else
            add(member, import_pack, done.packs);
    }
    return done;
}

}  // namespace hetune
