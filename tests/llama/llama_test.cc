// The same files and texts in llama.cpp: does it load what hetune writes, and do both agree. Run by
// llama/run.sh, which sets HETUNE_LLAMA_PEER and HETUNE_LLAMA_FOLDER.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "planner/file/model_file.h"
#include "runtime/oracle/logits_distance.h"
#include "runtime/oracle/reference_engine.h"
#include "runtime/text/pre_tokenizer.h"
#include "runtime/text/tokenizer.h"
#include "runtime/text/utf8.h"
#include "tests/gguf_writer.h"
#include "tests/llama/peer.h"
#include "tests/runtime/file_variants.h"
#include "tests/runtime/small_shapes.h"
#include "tools/synth/synthetic.h"

namespace hetune {
namespace {

LogitsDistance distance_to_peer(const ModelShape& shape, const char* quant) {
    const std::string path = in_folder("model.gguf");
    write_synthetic(shape, {.quant = quant}, path);
    const ModelFile file(path);
    const std::vector<int32_t> tokens = some_tokens(48);
    ReferenceEngine oracle(file, build_layer_graph(file), 64);
    return compare_logits(logits_of_peer(path, tokens), oracle_logits(oracle, tokens),
                          oracle.vocabulary());
}

// llama.cpp multiplies F16 and Q8_0 weights by activations of that precision, so a token whose last
// expert chosen and first not chosen are nearly as good may go to the other one: there the logits
// of its row differ by more than rounding. Hence the median of the rows; with F32 weights every row
// counts.
TEST_CASE("llama.cpp loads a random model of every architecture and gives the oracle's logits") {
    for (const ModelShape& shape : small_models()) {
        CAPTURE(shape.name);
        const double exact = distance_to_peer(shape, "F32").max_kl;
        const LogitsDistance half = distance_to_peer(shape, "F16"),
                             bytes = distance_to_peer(shape, "Q8_0");
        MESSAGE(fmt::format(
            "{}: F32 max KL {:.1e}, F16 median {:.1e} mean {:.1e}, Q8_0 median {:.1e} mean {:.1e}",
            shape.name, exact, half.median_kl, half.mean_kl, bytes.median_kl, bytes.mean_kl));
        CHECK(exact < 1e-8);
        CHECK(half.median_kl < 1e-5);
        CHECK(half.mean_kl < 1e-3);
        CHECK(bytes.median_kl < 5e-3);
        CHECK(bytes.mean_kl < 5e-2);
    }
}

TEST_CASE("llama.cpp and the oracle scale rotary positions alike") {
    for (const ModelShape& shape : scaled_models()) {
        const LogitsDistance distance = distance_to_peer(shape, "F32");
        MESSAGE(shape.name, ": mean KL ", distance.mean_kl);
        CAPTURE(shape.name);
        CHECK(distance.mean_kl < 1e-8);
    }
}

// What tests/models/variants keeps, of all tokens: file_variants_test compares with it.
TEST_CASE("llama.cpp and the oracle read every layout and setting of file_variants alike") {
    const std::vector<int32_t> tokens = some_tokens(48);
    for (const FileVariant& variant : file_variants()) {
        CAPTURE(variant.name);
        const std::string path = in_folder("variant.gguf");
        write_variant(variant, path);
        const ModelFile file(path);
        ReferenceEngine oracle(file, build_layer_graph(file), 64);
        const std::vector<float> judged = logits_of_peer(path, tokens);
        write_array(in_folder(variant.name + ".f32"), judged);
        CHECK(compare_logits(judged, oracle_logits(oracle, tokens), oracle.vocabulary()).max_kl <
              1e-8);
    }
}

TEST_CASE("llama.cpp gives the same logits where layers of multi-token prediction are left out") {
    ModelShape shape = with_delta_net(small("qwen35"));
    shape.predicting_layers = 1;
    CHECK(distance_to_peer(shape, "F32").mean_kl < 1e-8);
}

TEST_CASE("llama.cpp takes metadata and tensors of every model that synth knows, in every mix") {
    for (const ModelShape& known : known_shapes())
        for (const char* quant : {"Q4_K_M", "Q4_K_S", "Q8_0"}) {
            CAPTURE(known.name);
            CAPTURE(quant);
            const std::string path = in_folder("shape.gguf");
            ModelShape shape = known;
            shape.layers =
                std::min(shape.layers, 4);  // llama.cpp asks for the file's pages in advance
            write_synthetic(shape, {.quant = quant, .header_only = true}, path);
            int64_t end = 0;  // of the data: a hole, which takes no room
            {
                const ModelFile header(path, ModelFile::Open::kHeaderOnly);
                for (const Tensor& tensor : header.tensors())
                    end += (tensor.bytes() + 31) / 32 * 32;
            }
            std::filesystem::resize_file(
                path, std::filesystem::file_size(path) + static_cast<size_t>(end));
            CHECK(peer("load " + path));
            std::filesystem::remove(path);
        }
}

// Every pair of bytes is a token, merged in random order: where a word ends shows in the ids.
std::string pair_vocabulary(const std::string& pre) {
    std::vector<std::string> bytes, merges;
    for (int b = 0; b < 256; ++b) {  // GPT-2's alphabet
        const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        static int next;
        if (b == 0) next = 0x100;
        std::string text;
        append_utf8(text, static_cast<char32_t>(printable ? b : next++));
        bytes.push_back(text);
    }
    std::vector<std::string> tokens = bytes;
    for (const std::string& a : bytes)
        for (const std::string& b : bytes) {
            tokens.push_back(a + b);
            merges.push_back(a + ' ' + b);
        }
    std::ranges::shuffle(merges, std::mt19937(7));
    tokens.insert(tokens.end(), {"<s>", "</s>"});
    std::vector<int32_t> types(tokens.size(), 1);
    types[types.size() - 2] = types[types.size() - 1] = 3;
    GgufWriter writer;
    writer.set("general.architecture", "llama")
        .set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", pre)
        .set("tokenizer.ggml.tokens", tokens)
        .set("tokenizer.ggml.merges", merges)
        .set("tokenizer.ggml.token_type", types)
        .set("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(tokens.size() - 2))
        .set("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(tokens.size() - 1));
    const std::string path = in_folder("vocabulary.gguf");
    writer.write(path);
    return path;
}

std::vector<std::string> awkward_texts() {
    std::vector<std::string> texts;
    std::ifstream cases(HETUNE_TEST_MODELS "/tokenizer_cases.json");
    for (const auto& entry : nlohmann::json::parse(cases)) texts.push_back(entry["text"]);
    const std::vector<std::string> pieces = {
        "a",    "B",       "hello", "World", "camelCase", "HTTPServer", "'s", "'LL",
        "'Re",  "1",       "23",    "4567",  " ",         "  ",         "\n", "\r",
        "\r\n", "\t",      ".",     ",",     "!?",        "(",          ")",  "/",
        "//",   "_",       "$",     "+=",    "é",         "É",          "ß",  "ǅ",
        "д",    "Ж",       "ა",     "ա",     "中",        "文",         "。", "，",
        "か",   "カ",      "한",    "글",    "ا",         "،",          "।",  "…",
        "👍",    "e\u0301", "²",     "Ⅷ",     "\u00a0",    "\u3000",     "ª",  "ʼn"};
    std::mt19937 random(5);
    for (int i = 0; i < 400; ++i) {
        std::string text;
        for (unsigned n = random() % 14 + 1; n > 0; --n) text += pieces[random() % pieces.size()];
        texts.push_back(text);
    }
    return texts;
}

TEST_CASE("texts are cut into words as llama.cpp cuts them, for every pre-tokenizer") {
    const std::vector<std::string> texts = awkward_texts();
    std::string packed;
    for (const std::string& text : texts) {
        const auto length = static_cast<int32_t>(text.size());
        packed.append(reinterpret_cast<const char*>(&length), sizeof length);
        packed += text;
    }
    std::ofstream(in_folder("texts"), std::ios::binary) << packed;
    for (const std::string& pre : pre_tokenizer_names()) {
        CAPTURE(pre);
        const std::string path = pair_vocabulary(pre);
        const Tokenizer tokenizer(ModelFile(path, ModelFile::Open::kHeaderOnly));
        REQUIRE(peer(fmt::format("tokens {} {} {}", path, in_folder("texts"), in_folder("ids"))));
        const std::vector<int32_t> ids = read_array<int32_t>(in_folder("ids"));
        size_t at = 0;
        int different = 0;
        for (const std::string& text : texts) {
            const auto count = static_cast<size_t>(ids[at]);
            const std::vector<int32_t> wanted(ids.begin() + static_cast<ptrdiff_t>(at + 1),
                                              ids.begin() + static_cast<ptrdiff_t>(at + 1 + count));
            at += 1 + count;
            // These follow their models' own files, which differ outside of ASCII (docs/models.md).
            const bool own =
                pre == "tekken" || pre == "gpt-4o" || pre == "llama4" || pre == "kanana2";
            const bool ascii = std::ranges::none_of(text, [](char c) { return (c & 0x80) != 0; });
            const bool long_s = text.find("'\u017F") != std::string::npos;
            if ((own && !ascii) || long_s || tokenizer.encode(text, true, false) == wanted)
                continue;
            if (++different <= 3) MESSAGE(pre, ": ", nlohmann::json(text).dump());
        }
        CHECK(different == 0);
    }
}

}  // namespace
}  // namespace hetune
