// Tokens from the command line: as ids, or as text that the model's tokenizer cuts.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/api/hetune.h"
#include "tools/options.h"

namespace hetune {

// "1 2,3" and "[1, 2, 3]" alike. Throws std::runtime_error that names `option` and the word.
std::vector<int32_t> parse_token_ids(const std::string& text, const std::string& option);

// Takes what parse_token_ids() takes.
OptionCheck token_ids();

struct TokenInput {
    std::string tokens, tokens_file, text, text_file;

    // --tokens, --tokens-file, --text, --text-file, of which one is given.
    void add_to(CLI::App& app, bool required);
    // Empty when no option was given. Throws std::runtime_error where it was, and has no token.
    std::vector<int32_t> read(const Model& model) const;
};

// Throws std::runtime_error for more tokens than the context holds.
void check_fits(const std::vector<int32_t>& tokens, const Model& model);

}  // namespace hetune
