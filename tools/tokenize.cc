// hetune tokenize: text to token ids and back.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "planner/file/read_file.h"
#include "planner/graph/layer_graph.h"
#include "runtime/text/pre_tokenizer.h"
#include "runtime/text/tokenizer.h"
#include "runtime/text/utf8.h"
#include "tools/command.h"
#include "tools/options.h"
#include "tools/terminal.h"
#include "tools/token_input.h"

namespace hetune {
namespace {

struct Options {
    std::string file;
    std::string text;
    std::string text_file;
    std::string ids;
    std::string pre;
    bool decode = false;
    bool json = false;
    bool no_special = false;
};

void print_encoded(const Options& options, const Tokenizer& tokenizer) {
    const std::string text =
        options.text_file.empty() ? options.text : read_file(options.text_file);
    const std::vector<int32_t> ids =
        tokenizer.encode(text, !options.no_special, !options.no_special);
    if (!options.json) {
        fmt::print("{}\n", fmt::join(ids, " "));
        return;
    }
    nlohmann::ordered_json pieces = nlohmann::ordered_json::array();
    for (int32_t id : ids) pieces.push_back(to_valid_utf8(tokenizer.piece(id, true)));
    fmt::print(
        "{}\n",
        nlohmann::ordered_json{{"count", ids.size()}, {"ids", ids}, {"pieces", std::move(pieces)}}
            .dump());
}

void print_decoded(const Options& options, const Tokenizer& tokenizer) {
    const std::vector<int32_t> ids = parse_token_ids(options.ids, "--decode");
    const std::string text = tokenizer.decode(ids, !options.no_special);
    if (options.json) {
        fmt::print("{}\n",
                   nlohmann::ordered_json{
                       {"count", ids.size()}, {"ids", ids}, {"text", to_valid_utf8(text)}}
                       .dump());
        return;
    }
    write_result(text);
    fmt::print("\n");
}

const RegisterCommand kTokenize{
    "tokenize", "Prints the token ids of a text, or the text of token ids", [](CLI::App& app) {
        auto options = std::make_shared<Options>();
        app.add_option("FILE", options->file, "model file (its header will do)")
            ->check(not_empty())
            ->required();
        app.add_option("--pre", options->pre,
                       "pre-tokenizer, instead of the file's: qwen2, llama-bpe, ...")
            ->check(one_of(pre_tokenizer_names()));
        auto* source = app.add_option_group("source", "What to convert");
        source->add_option("--text", options->text, "Text to encode");
        source->add_option("--text-file", options->text_file, "File with the text to encode")
            ->check(not_empty());
        auto* ids = source
                        ->add_option("--decode", options->ids,
                                     "Token ids to decode, as \"1 2 3\" or \"[1, 2, 3]\"")
                        ->check(token_ids());
        source->require_option(1);
        app.add_flag("--json", options->json, "Print count, ids and pieces (or text) as JSON");
        app.add_flag("--no-special", options->no_special,
                     "Add no BOS or EOS, take control tokens in the text as text, and leave them "
                     "out when decoding");
        app.footer(
            "Example:\n  hetune tokenize model.gguf --text 'Hello <|im_end|>' --json\n"
            "  hetune tokenize model.gguf --decode '9707 11 1879'");
        return [options, ids] {
            const ModelFile file(options->file, ModelFile::Open::kHeaderOnly);
            // A file without a vocabulary may be no model at all: then the error says what it is.
            if (file.find("tokenizer.ggml.tokens") == nullptr) require_language_model(file);
            const Tokenizer tokenizer(file, options->pre);
            if (!tokenizer.warning().empty()) tell("hetune: warning: {}\n", tokenizer.warning());
            if (ids->count() > 0)
                print_decoded(*options, tokenizer);
            else
                print_encoded(*options, tokenizer);
            return 0;
        };
    }};

}  // namespace
}  // namespace hetune
