// Tokens to nodes. The grammar is Jinja's (jinja.palletsprojects.com/templates), less what loads
// other templates, call and filter blocks, and recursive loops.
#pragma once

#include <string_view>

#include "runtime/tokenizer/jinja/ast.h"

namespace hetune::jinja {

// Throws TemplateError; also for filters and tests that hetune lacks.
Body parse(std::string_view source);

}  // namespace hetune::jinja
