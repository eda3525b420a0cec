// hetune logits: a file of raw logits, for checks by other programs.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cache/temp_file.h"
#include "tools/command.h"
#include "tools/model_options.h"
#include "tools/options.h"
#include "tools/token_input.h"

namespace hetune {
namespace {

struct LogitsArguments {
    ModelArguments model;
    TokenInput input;
    std::string out;
    bool last = false;
    bool one_by_one = false;
    bool json = false;
};

int run(LogitsArguments& args) {
    args.model.options.all_logits = !args.last;
    // float32 in the byte order of the machines that hetune runs on, little-endian. Opened before
    // the load: a file that cannot be written is said at once.
    OutputFile file(args.out);
    const Model model = args.model.load();
    const std::vector<int32_t> tokens = args.input.read(model);
    check_fits(tokens, model);
    // In chunks, so that the logits of a long text need not fit in memory.
    constexpr int kChunk = 512;
    const int asked = args.model.options.prefill_rows;
    const auto chunk = static_cast<size_t>(args.one_by_one ? 1 : asked > 0 ? asked : kChunk);
    Sequence sequence = model.open();
    for (size_t at = 0; at < tokens.size(); at += chunk) {
        const auto part = std::span(tokens).subspan(at, std::min(chunk, tokens.size() - at));
        const std::vector<float> rows =
            sequence.logits(part, {.every_position = !args.last, .one_by_one = args.one_by_one});
        if (!args.last || at + chunk >= tokens.size()) file.write(std::as_bytes(std::span(rows)));
    }
    file.commit();

    const size_t positions = args.last ? 1 : tokens.size();
    if (args.json)
        fmt::print("{}\n", nlohmann::ordered_json{{"out", args.out},
                                                  {"positions", positions},
                                                  {"vocabulary", model.info().vocabulary},
                                                  {"tokens", tokens},
                                                  {"backend", model.info().backend}}
                               .dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    else
        fmt::print("{}: {} x {} float32\n", args.out, positions, model.info().vocabulary);
    return 0;
}

const RegisterCommand kLogits{
    "logits", "Writes the logits of a text or of tokens to a file", [](CLI::App& app) {
        auto args = std::make_shared<LogitsArguments>();
        args->model.add_to(app);
        args->input.add_to(app, true);
        app.add_option("-o,--out", args->out, "file of float32 [positions, vocabulary]")
            ->check(not_empty())
            ->required();
        app.add_flag("--last", args->last, "only the logits behind the last token");
        app.add_flag("--one-by-one", args->one_by_one,
                     "feed tokens by decoding, not in prefill steps");
        app.add_flag("--json", args->json, "describe the file as JSON");
        app.footer(
            "Example: hetune logits model.gguf --text \"Once upon a time\" --out logits.f32");
        return [args] { return run(*args); };
    }};

}  // namespace
}  // namespace hetune
