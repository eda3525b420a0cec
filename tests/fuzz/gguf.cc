// A GGUF file: header, metadata and tensors; of a good header the layer graph, the plans for decode
// and prefill, and the header that recipes keep.
#include "planner/file/gguf.h"

#include "planner/file/model_header.h"
#include "planner/graph/layer_graph.h"
#include "planner/make_plan.h"
#include "planner/plan/plan.h"
#include "tests/fuzz/fuzz.h"
#include "tests/gguf_writer.h"
#include "tests/runtime/small_shapes.h"
#include "tools/synth/synthetic.h"

namespace hetune::fuzz {
namespace {

constexpr size_t kMostOperations = 200;  // of a graph that is planned: a run stays below 10 ms

void run(std::string_view input) {
    const auto bytes = bytes_of(input);
    may_throw<ModelError>([&] { parse_gguf("fuzz.gguf", bytes, false); });
    may_throw<ModelError>([&] {
        const ModelFile file("fuzz.gguf", {bytes.begin(), bytes.end()});
        const std::vector<std::byte> header = planning_header(file);
        const LayerGraph graph = build_layer_graph(file);
        if (graph.ops.size() > kMostOperations) return;
        for (const int rows : {1, 64}) make_plan(graph, file, find_arch("gfx1100"), {.rows = rows});
        require(build_layer_graph(ModelFile("header", header)).ops == graph.ops,
                "the planning header gives another graph");
    });
}

std::vector<std::string> seeds() {
    std::vector<std::string> list;
    for (const ModelShape& shape : small_models()) {
        const std::string path = scratch_folder() + "/seed.gguf";
        write_synthetic(shape, {.header_only = true}, path);
        // Without the vocabulary, which is most of the header.
        const ModelFile file(path, ModelFile::Open::kHeaderOnly);
        list.push_back(text_of(planning_header(file)));
    }
    GgufWriter every_type;
    every_type.set("general.architecture", "llama")
        .set("a.u32", uint32_t{1})
        .set("a.i32", int32_t{-1})
        .set("a.f32", 0.5f)
        .set("a.bool", true)
        .set("a.texts", std::vector<std::string>{"one", "two"})
        .set("a.floats", std::vector<float>{1, 2})
        .set("a.ints", std::vector<int32_t>{1, 2})
        .tensor({"token_embd.weight", {32, 4}, 0});
    list.push_back(every_type.bytes());
    return list;
}

const RegisterTarget kTarget({"gguf", run, seeds});

}  // namespace
}  // namespace hetune::fuzz
