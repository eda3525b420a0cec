#include "planner/lower/registry.h"

#include <utility>

namespace hetune {

std::vector<Lowering>& lowerings() {
    static std::vector<Lowering> list;
    return list;
}
RegisterLowering::RegisterLowering(Lowering lowering) {
    lowerings().push_back(std::move(lowering));
}

}  // namespace hetune
