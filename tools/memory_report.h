// The memory that a model and its contexts take, as commands print it.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>

#include "runtime/load/memory.h"

namespace hetune {

// Bytes of each row of memory_table(), and the --parallel and --ctx that they are for.
inline nlohmann::ordered_json memory_json(const MemoryNeeds& needs) {
    return {{"parallel", needs.sequences},
            {"context", needs.context},
            {"kv_pages", needs.kv_pages()},
            {"weights_bytes", needs.weights},
            {"kv_bytes", needs.kv()},
            {"state_bytes", needs.state},
            {"snapshots_bytes", needs.snapshots},
            {"checkpoints_bytes", needs.checkpoints},
            {"activations_bytes", needs.scratch},
            {"code_bytes", needs.code},
            {"total_bytes", needs.total()}};
}

// The table, below the options that it is for.
inline std::string memory_text(const MemoryNeeds& needs) {
    return fmt::format("memory for --parallel {} with --ctx {}:\n{}", needs.sequences,
                       needs.context, memory_table(needs));
}

}  // namespace hetune
