// hetune synth: a model file of a known shape with random weights.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "cache/temp_file.h"
#include "tools/command.h"
#include "tools/options.h"
#include "tools/synth/quant_mix.h"
#include "tools/synth/synthetic.h"

namespace hetune {
namespace {

struct Options {
    std::string like;
    std::string output;
    int layers = 0;
    bool json = false;
    SyntheticOptions synthetic;
};

int run(const Options& options) {
    ModelShape shape = find_shape(options.like);
    if (options.layers > 0) shape.layers = options.layers;
    OutputFile file(options.output);
    const int64_t bytes =
        write_synthetic(shape, options.synthetic,
                        [&](std::span<const uint8_t> part) { file.write(std::as_bytes(part)); });
    file.commit();
    if (options.json)
        fmt::print("{}\n", nlohmann::ordered_json{{"file", options.output},
                                                  {"like", shape.name},
                                                  {"layers", shape.layers},
                                                  {"quant", options.synthetic.quant},
                                                  {"seed", options.synthetic.seed},
                                                  {"header_only", options.synthetic.header_only},
                                                  {"bytes", bytes}}
                               .dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    else
        fmt::print("{}: {} layers of {}, {}, {:.3f} GB\n", options.output, shape.layers, shape.name,
                   options.synthetic.quant, static_cast<double>(bytes) / 1e9);
    return 0;
}

const RegisterCommand kSynth{
    "synth", "Writes a model file of a known shape with random weights", [](CLI::App& app) {
        auto options = std::make_shared<Options>();
        std::vector<std::string> shapes;
        for (const ModelShape& shape : known_shapes()) shapes.push_back(shape.name);
        app.add_option("FILE", options->output, "file to write")->check(not_empty())->required();
        app.add_option("--like", options->like, fmt::format("model: {}", fmt::join(shapes, ", ")))
            ->check(one_of(shapes))
            ->required();
        app.add_option("--quant", options->synthetic.quant,
                       fmt::format("quantisation: {}", fmt::join(quant_mixes(), ", ")))
            ->check(one_of(quant_mixes()))
            ->capture_default_str();
        app.add_option("--seed", options->synthetic.seed, "seed of the weights")
            ->check(whole_number(0, INT64_MAX))
            ->capture_default_str();
        app.add_option("--layers", options->layers, "keep this many layers instead of all")
            ->check(whole_number(1, 10000));
        app.add_flag("--header-only", options->synthetic.header_only,
                     "write metadata and tensor list only: enough for planning and compiling");
        app.add_flag("--json", options->json, "describe the file as JSON");
        app.footer("Example:\n  hetune synth --like qwen3-8b --quant Q4_K_M /tmp/qwen3-8b.gguf");
        return [options] { return run(*options); };
    }};

}  // namespace
}  // namespace hetune
