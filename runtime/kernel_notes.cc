#include "runtime/kernel_notes.h"

#include <nlohmann/json.hpp>
#include <span>

namespace hetune {

using Json = nlohmann::ordered_json;

CacheKey KernelNote::key() const {
    const std::string hex = object.hex();
    return make_key({.source = hex, .options = kind, .arch = arch, .compiler = about});
}

KeyParts KernelNote::parts() const {
    KeyParts parts = {{"template", kind}, {"of", kernel}, {"object", object.hex()}, {"arch", arch}};
    if (!about.empty()) parts["device"] = about;
    return parts;
}

std::optional<Json> find_note(CodeStore& store, const KernelNote& note) {
    const auto found = store.find(note.key());
    if (!found) return std::nullopt;
    const auto* text = reinterpret_cast<const char*>(found->bytes.data());
    Json json = Json::parse(text, text + found->bytes.size(), nullptr, false);
    if (!json.is_object()) return std::nullopt;
    return json;
}

void put_note(CodeStore& store, const KernelNote& note, const Json& json) {
    CodeObject object{.entry = note.kind};
    const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
    const auto bytes = std::as_bytes(std::span(text));
    object.bytes.assign(bytes.begin(), bytes.end());
    store.put(note.key(), object, note.parts());
}

}  // namespace hetune
