// Cuts a template into text and the tokens of its tags, with the white space rules that chat
// templates are written for: trim_blocks and lstrip_blocks, and {%- -%} {%+ +%} by hand.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace hetune::jinja {

// A template that cannot be read or rendered. One line that names line and construct.
class TemplateError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    TemplateError(int line, std::string_view construct, std::string_view what);
};

struct Token {
    enum class Kind {
        kText,          // output as it stands
        kStatement,     // {%
        kStatementEnd,  // %}
        kOutput,        // {{
        kOutputEnd,     // }}
        kName,
        kString,  // value: without quotes, escapes resolved
        kInteger,
        kFloat,
        kOperator,
        kEnd,  // of the template
    };
    Kind kind;
    std::string value;
    int line;
};

// The last token is kEnd. Throws TemplateError.
std::vector<Token> tokenize(std::string_view source);

}  // namespace hetune::jinja
