// Qwen3.5 / 3.6, dense: see hybrid.h.
#include "planner/models/hybrid.h"

namespace hetune {
namespace {

const RegisterModel kQwen35("qwen35", build_hybrid);

}  // namespace
}  // namespace hetune
