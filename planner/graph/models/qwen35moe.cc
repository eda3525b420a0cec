// Qwen3.5 / 3.6 with experts, routed and shared: see hybrid.h.
#include "planner/graph/models/hybrid.h"

namespace hetune {
namespace {

const RegisterModel kQwen35moe("qwen35moe", [](const ModelFile& file) {
    return build_hybrid(
        file, {.rope_sections = true, .experts = true, .dense = false, .shared_expert = true});
});

}  // namespace
}  // namespace hetune
