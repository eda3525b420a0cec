#include "cache/transfer.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>

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
    add_object(key, *std::move(code), info->parts, writer, done);
}

// In the order of their paths. Without the time, so that equal facts give equal bundles.
void add_facts(std::vector<Fact> facts, BundleWriter& writer, Transferred& done) {
    std::erase_if(facts, [](const Fact& fact) { return !fact.good; });
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

void import_object(CacheFolder& folder, const Bundle& bundle, const BundleMember& member,
                   const std::filesystem::path& target) {
    const auto file = bundle.read(member);
    const auto key = CacheKey::from_hex(target.filename().string());
    const auto info = decode_object_info(file);
    if (!key || !info || !decode_object(file, *key))
        throw CacheError(fmt::format("bundle: '{}' is no code object of this hetune", member.path));
    TempFile temp(folder.writable() / "tmp");
    temp.write(file);
    temp.commit(target);
    folder.with_index([&](Index& index) { index.add(*info, std::time(nullptr)); });
}

// False where the machine has a fact of its own of that key: its own is newer. What another machine
// says is wrong is left out.
bool import_fact(CacheFolder& folder, const Bundle& bundle, const BundleMember& member,
                 const std::filesystem::path& target) {
    const auto bytes = bundle.read(member);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    try {
        const Fact fact = decode_fact(text);
        if (fact_name(fact.key.hash()) != member.path) throw CacheError("it is another fact");
        if (!fact.good) throw CacheError("it tells of a failure, which is no fact for others");
    } catch (const CacheError& error) {
        throw CacheError(fmt::format("bundle: '{}': {}", member.path, error.what()));
    }
    if (read_fact(target)) return false;
    TempFile temp(folder.writable() / "tmp");
    temp.write(bytes);
    temp.commit(target);
    return true;
}

void import_pack(CacheFolder& folder, const Bundle& bundle, const BundleMember& member,
                 const std::filesystem::path& target) {
    TempFile temp(folder.writable() / "tmp");
    bundle.read(member, [&](std::span<const std::byte> piece) { temp.write(piece); });
    const auto pack = TilePack::open_any(temp.path()).pack;
    if (!pack || pack->model().hex() != target.parent_path().filename() ||
        pack->layout() != target.stem())
        throw CacheError(fmt::format("bundle: '{}' is no tile pack of this hetune", member.path));
    temp.commit(target);
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
        const auto pack = file.partial ? std::nullopt : TilePack::open(file.path).pack;
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
    for (const BundleMember& member : bundle.members()) {
        if (member.is_tuning()) {
            TuningStore(folder).put(decode_tuning(bundle.read(member)));
            ++done.tunings;
            done.bytes += member.bytes;
            continue;
        }
        const std::filesystem::path target = folder.writable() / member.path;
        if (member.is_fact()) {
            if (import_fact(folder, bundle, member, target))
                ++done.facts;
            else
                ++done.present;
            done.bytes += member.bytes;
            continue;
        }
        if (is_present(target, member)) {
            ++done.present;
            continue;
        }
        if (member.is_object()) {
            import_object(folder, bundle, member, target);
            ++done.objects;
        } else {
            import_pack(folder, bundle, member, target);
            ++done.packs;
        }
        done.bytes += member.bytes;
    }
    return done;
}

}  // namespace hetune
