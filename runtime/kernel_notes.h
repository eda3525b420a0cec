// What else is known about a code object, as JSON beside it in the same store: it goes where the
// object goes, into memory where the folder is read-only, and into bundles.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "cache/code_store.h"

namespace hetune {

struct KernelNote {
    std::string kind;    // "certificate", "refusal", "instructions"
    CacheKey object;     // the kernel's key, which holds source, options, arch and compiler
    std::string about;   // what else it depends on: the device and its driver
    std::string kernel;  // the template; for people
    std::string arch;

    CacheKey key() const;
    KeyParts parts() const;
};

std::optional<nlohmann::ordered_json> find_note(CodeStore& store, const KernelNote& note);
void put_note(CodeStore& store, const KernelNote& note, const nlohmann::ordered_json& json);

}  // namespace hetune
