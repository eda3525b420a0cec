#include "cache/facts.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "cache/error.h"
#include "cache/json_text.h"
#include "cache/temp_file.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFactVersion = 1;
constexpr uint64_t kMaxFactBytes = 1 << 20;

std::string_view text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A fact whose value is only known to be as it was written: whoever asks for the fact parses that.
Fact decode_but_value(std::string_view text) {
    const auto parts = split_sealed(text, "value");
    const Json json = parse_json(parts ? parts->object : text);
    require_format(json, "fact", kFactVersion);
    if (!parts) throw CacheError("it is damaged");
    const auto object = CacheKey::from_hex(json_value<std::string>(json, "object"));
    if (!object) throw CacheError("it is no fact");
    return {.key = {.kind = json_value<std::string>(json, "kind"),
                    .object = *object,
                    .arch = json_value<std::string>(json, "arch"),
                    .device = json_value<std::string>(json, "device"),
                    .version = json_value<std::string>(json, "version"),
                    .about = json_value<std::string>(json, "about")},
            .kernel = json_value<std::string>(json, "kernel"),
            .good = json_value<bool>(json, "good"),
            .value = std::string(parts->last),
            .created = json_value<int64_t>(json, "created")};
}

// The fact of `key` in the file that is called after it; nothing where it is damaged.
std::optional<Fact> find_in_file(const std::filesystem::path& path, const FactKey& key) try {
    const auto bytes = read_file(path, kMaxFactBytes);
    if (!bytes) return std::nullopt;
    Fact fact = decode_but_value(text_of(*bytes));
    return fact.key == key ? std::optional(std::move(fact)) : std::nullopt;
} catch (const CacheError&) {
    return std::nullopt;
}

}  // namespace

CacheKey FactKey::hash() const {
    std::string text = object.hex();
    for (const std::string* part : {&kind, &arch, &device, &version, &about})
        text += fmt::format("\n{} {}", part->size(), *part);
    return content_hash(text.data(), text.size());
}

std::string fact_name(const CacheKey& key) {
    const std::string hex = key.hex();
    return fmt::format("facts/{}/{}", hex.substr(0, 2), hex);
}

bool is_fact_name(std::string_view path) {
    if (!path.starts_with("facts/") || path.size() != 41) return false;
    const auto key = CacheKey::from_hex(path.substr(9));
    return key && fact_name(*key) == path;
}

std::string encode_fact(const Fact& fact) {
    return sealed_json({{"fact", kFactVersion},
                        {"kind", fact.key.kind},
                        {"object", fact.key.object.hex()},
                        {"arch", fact.key.arch},
                        {"device", fact.key.device},
                        {"version", fact.key.version},
                        {"about", fact.key.about},
                        {"kernel", fact.kernel},
                        {"good", fact.good},
                        {"created", fact.created},
                        {"value", parse_json(fact.value)}}) +
           "\n";
}

Fact decode_fact(std::string_view text) {
    Fact fact = decode_but_value(text);
    if (!is_whole(fact)) throw CacheError("it is no fact");
    return fact;
}

bool is_whole(const Fact& fact) try {
    return parse_json(fact.value).is_object();
} catch (const CacheError&) {
    return false;
}

Fact load_fact(const std::filesystem::path& path) {
    const auto bytes = read_file(path, kMaxFactBytes);
    if (!bytes) throw CacheError("it cannot be read");
    Fact fact = decode_fact(text_of(*bytes));
    if (fact.key.hash().hex() != path.filename())
        throw CacheError("a fact under the name of another");
    return fact;
}

std::optional<Fact> read_fact(const std::filesystem::path& path) try {
    return load_fact(path);
} catch (const CacheError&) {
    return std::nullopt;
}

std::vector<std::filesystem::path> fact_files(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> files;
    std::error_code error;
    for (std::filesystem::recursive_directory_iterator at(folder / "facts", error), end;
         !error && at != end; at.increment(error))
        if (!at->is_directory(error)) files.push_back(at->path());
    std::ranges::sort(files);
    return files;
}

uint64_t drop_oldest_facts(const std::filesystem::path& folder, size_t most) {
    std::vector<std::pair<std::filesystem::file_time_type, std::filesystem::path>> files;
    std::error_code error;
    for (auto& path : fact_files(folder))
        files.emplace_back(std::filesystem::last_write_time(path, error), std::move(path));
    if (files.size() <= most) return 0;
    std::ranges::sort(files);
    files.resize(files.size() - most);
    uint64_t dropped = 0;
    for (const auto& [time, path] : files) dropped += unlink(path.c_str()) == 0 ? 1 : 0;
    return dropped;
}

std::optional<Fact> FactStore::find(const FactKey& key) {
    const CacheKey hash = key.hash();
    {
        const std::scoped_lock lock(mutex_);
        if (const auto found = memory_.find(hash); found != memory_.end()) return found->second;
    }
    if (!folder_.readable().empty())
        if (auto fact = find_in_file(folder_.readable() / fact_name(hash), key)) return fact;
    return find_in_layers(key);
}

std::optional<Fact> FactStore::find_in_layers(const FactKey& key) const {
    const std::string name = fact_name(key.hash());
    for (size_t i = 0; i < folder_.layers().size(); ++i) {
        std::optional<Fact> fact;
        if (folder_.layers()[i].empty()) continue;
        if (bundles_[i] == nullptr) {
            fact = find_in_file(folder_.layers()[i] / name, key);
        } else if (const BundleMember* member = bundles_[i]->find(name)) {
            try {
                fact = decode_but_value(text_of(bundles_[i]->read(*member)));
            } catch (const CacheError& error) {
                folder_.warn_once("damaged", fmt::format("{}: {}: {}", folder_.layers()[i].string(),
                                                         name, error.what()));
            }
        }
        if (fact && fact->good && fact->key == key) return fact;
    }
    return std::nullopt;
}

void FactStore::put(Fact fact) {
    const CacheKey hash = fact.key.hash();
    fact.created = std::time(nullptr);
    try {
        if (!folder_.writable().empty()) {
            const std::string text = encode_fact(fact);
            TempFile file(folder_.writable() / "tmp");
            file.write(std::as_bytes(std::span(text)));
            file.commit(folder_.writable() / fact_name(hash));
            const std::scoped_lock lock(mutex_);
            memory_.erase(hash);
            return;
        }
    } catch (const std::exception& error) {
        folder_.warn_once("write", fmt::format("a fact is kept in memory only: {}", error.what()));
    }
    const std::scoped_lock lock(mutex_);
    memory_.insert_or_assign(hash, std::move(fact));
}

void FactStore::forget(const FactKey& key) {
    const CacheKey hash = key.hash();
    if (!folder_.writable().empty()) unlink((folder_.writable() / fact_name(hash)).c_str());
    const std::scoped_lock lock(mutex_);
    memory_.erase(hash);
}

}  // namespace hetune
