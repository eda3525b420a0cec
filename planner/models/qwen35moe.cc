// Qwen3.5 / 3.6 with experts, routed and shared: see hybrid.h.
#include "planner/models/hybrid.h"

namespace hetune {
namespace {

const RegisterModel kQwen35moe("qwen35moe", build_hybrid);

}  // namespace
}  // namespace hetune
