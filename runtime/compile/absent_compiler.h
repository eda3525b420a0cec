// A compiler that made objects of the cache and is not on this machine: it has a name and keys, so
// that a warm start needs no compiler, and it compiles nothing.
#pragma once

#include <memory>
#include <string>

#include "runtime/compile/compiler.h"

namespace hetune {

// `options` as one text, as it stands in keys. `why` is said for what has to be compiled.
std::unique_ptr<Compiler> make_absent_compiler(const std::string& identity,
                                               const std::string& options, const std::string& why);

}  // namespace hetune
