// The families of targets: which prelude a rendered source gets, and who can compile for them.
#pragma once

namespace hetune {

enum class TargetFamily { kAmd, kNvidia, kCpu };

}  // namespace hetune
