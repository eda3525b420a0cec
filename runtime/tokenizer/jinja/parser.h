// Tokens to nodes. The grammar is Jinja's (jinja.palletsprojects.com/templates) with loop controls;
// tags that load other templates are read, and fail once they run.
#pragma once

#include <string_view>

#include "runtime/tokenizer/jinja/ast.h"

namespace hetune::jinja {

// Throws TemplateError. Filters and tests that do not exist are errors once they run, as Jinja has
// it for those in branches.
Body parse(std::string_view source);

}  // namespace hetune::jinja
