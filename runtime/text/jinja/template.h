// A Jinja template, as chat templates use the language: parsed once, rendered often.
#pragma once

#include <string>
#include <string_view>

#include "runtime/text/jinja/parser.h"

namespace hetune::jinja {

// Any number of threads may render one.
class Template {
  public:
    // `name` stands in front of every error. Throws TemplateError.
    Template(std::string name, std::string_view source);

    // `variables`: an object whose members the template sees by name. Throws TemplateError, also
    // where the template calls raise_exception.
    std::string render(const Json& variables) const;
    std::string render(const Value& variables) const;  // a dict

  private:
    std::string name_;
    ParsedTemplate parsed_;
};

}  // namespace hetune::jinja
