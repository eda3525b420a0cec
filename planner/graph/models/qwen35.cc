// Qwen3.5 / 3.6, dense: see hybrid.h.
#include "planner/graph/models/hybrid.h"

namespace hetune {
namespace {

const RegisterModel kQwen35("qwen35", [](const ModelFile& file) {
    return build_hybrid(file, {.rope_sections = true});
});

}  // namespace
}  // namespace hetune
