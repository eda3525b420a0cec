// Tokens to nodes. The grammar is Jinja's (jinja.palletsprojects.com/templates) with loop controls;
// tags that load other templates are read, and fail once they run.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "runtime/text/jinja/ast.h"

namespace hetune::jinja {

struct ParsedTemplate {
    Body body;
    std::map<std::string, const Statement*, std::less<>> blocks;  // by name, within `body`
};

// Throws TemplateError. Filters and tests that do not exist are errors once they run, as Jinja has
// it for those in branches.
ParsedTemplate parse(std::string_view source);

}  // namespace hetune::jinja
