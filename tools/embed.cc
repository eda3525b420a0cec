// hetune embed: texts to vectors.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "planner/file/read_file.h"
#include "tools/command.h"
#include "tools/model_options.h"
#include "tools/options.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

struct EmbedArguments {
    ModelArguments model;
    std::vector<std::string> texts;
    std::string text_file, pooling = "model";
    bool not_scaled = false;
    bool json = false;
};

std::vector<std::string> texts_of(const EmbedArguments& args) {
    if (args.text_file.empty()) return args.texts;
    std::vector<std::string> lines;
    const std::string all = read_file(args.text_file == "-" ? "/dev/stdin" : args.text_file);
    for (size_t at = 0; at < all.size();) {
        const size_t end = std::min(all.find('\n', at), all.size());
        std::string line = all.substr(at, end - at);
        if (line.ends_with('\r')) line.pop_back();  // of a file made on Windows
        if (!line.empty()) lines.push_back(std::move(line));
        at = end + 1;
    }
    if (lines.empty()) throw std::runtime_error(args.text_file + ": has no line of text");
    return lines;
}

int run(EmbedArguments& args) {
    const std::vector<std::string> texts = texts_of(args);
    args.model.options.embeddings = true;
    const Model model = args.model.load();
    const Pooling pooling = args.pooling == "mean"   ? Pooling::kMean
                            : args.pooling == "last" ? Pooling::kLast
                                                     : Pooling::kModel;
    Json data = Json::array();
    size_t tokens = 0;
    for (size_t i = 0; i < texts.size(); ++i) {
        const std::vector<int32_t> ids = model.tokenize_for_embedding(texts[i]);
        const std::vector<float> vector = [&] {
            try {
                return model.embed(ids, pooling, !args.not_scaled);
            } catch (const RequestError& error) {
                if (texts.size() == 1) throw;
                throw RequestError(
                    fmt::format("text {} of {}: {}", i + 1, texts.size(), error.what()));
            }
        }();
        tokens += ids.size();
        if (args.json)
            data.push_back(
                {{"object", "embedding"}, {"index", data.size()}, {"embedding", vector}});
        else
            fmt::print("{}\n", fmt::join(vector, " "));
    }
    if (args.json)
        fmt::print("{}\n", Json{{"object", "list"},
                                {"data", std::move(data)},
                                {"model", model.info().name},
                                {"usage", {{"prompt_tokens", tokens}, {"total_tokens", tokens}}}}
                               .dump(-1, ' ', false, Json::error_handler_t::replace));
    return 0;
}

const RegisterCommand kEmbed{
    "embed", "Prints texts as vectors of numbers (embeddings)", [](CLI::App& app) {
        auto args = std::make_shared<EmbedArguments>();
        args->model.add_to(app);
        auto* source = app.add_option_group("source", "The texts");
        source->add_option("-p,--text", args->texts, "a text; may be given several times")
            ->check(not_empty());
        source
            ->add_option("-f,--text-file", args->text_file,
                         "file with a text in each line; -: stdin")
            ->check(not_empty());
        source->require_option(1);
        app.add_option("--pooling", args->pooling,
                       "how the states of all tokens become one vector: mean, last, or model: as "
                       "the file says, else last")
            ->check(one_of({"model", "mean", "last"}))
            ->capture_default_str();
        app.add_flag("--not-scaled", args->not_scaled, "do not scale vectors to length 1");
        app.add_flag("--json", args->json, "as one JSON object, in OpenAI's form");
        app.add_flag("-q,--quiet", args->model.quiet, "no progress");
        app.footer("Example: hetune embed model.gguf -p \"a cat\" -p \"a dog\" --json");
        return [args] { return run(*args); };
    }};

}  // namespace
}  // namespace hetune
