// Broken model files: each has one fault, and each gets one line that names it.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cmath>
#include <fstream>
#include <functional>

#include "planner/file/gguf.h"
#include "planner/file/model_header.h"
#include "planner/make_plan.h"
#include "planner/plan/plan.h"
#include "runtime/api/hetune.h"
#include "tests/planner/small_model.h"
#include "tests/tools/hetune_command.h"

namespace hetune {
namespace {

using Strings = std::vector<std::string>;

// All that `hetune run` reads of a file before it computes.
void open_model(const std::filesystem::path& path) {
    const ModelFile file(path);
    make_plan(build_layer_graph(file), file, find_arch("gfx1100"), {});
    const Model model(path.string(), {.backend = "reference", .context = 8});
}

// The error of opening it; empty when it opens.
std::string error_of(const std::filesystem::path& path) {
    try {
        open_model(path);
    } catch (const ModelError& error) {
        return error.what();
    }
    return {};
}

struct Fault {
    std::string what;
    std::string word;  // in the error
    std::function<void(GgufWriter&)> make;
};

std::string nested(int depth) {
    std::string body;
    for (int i = 0; i < depth; ++i) body += GgufWriter::array_head(GgufWriter::kArray, 1);
    return body + GgufWriter::array_head(GgufWriter::kU32, 0);
}

constexpr const char* kQ = "blk.0.attn_q.weight";
constexpr uint64_t kHuge = uint64_t{1} << 62;

const std::vector<Fault>& faults() {
    static const std::vector<Fault> list = {
        // The header.
        {"no magic number", "not a GGUF file", [](GgufWriter& f) { f.magic = "GGML"; }},
        {"big-endian", "big-endian", [](GgufWriter& f) { f.magic = "FUGG"; }},
        {"big-endian, as gguf-py writes it", "big-endian",
         [](GgufWriter& f) { f.version = 0x03000000; }},
        {"a pointer of Git LFS", "Git LFS",
         [](GgufWriter& f) { f.magic = "version https://git-lfs.github.com/spec/v1"; }},
        {"a zip archive", "zip archive", [](GgufWriter& f) { f.magic = "PK\3\4"; }},
        {"a web page", "web page", [](GgufWriter& f) { f.magic = "<!DOCTYPE html>"; }},
        {"a zstd archive", "zstd archive", [](GgufWriter& f) { f.magic = "\x28\xb5\x2f\xfd"; }},
        {"a pickle", "pickle", [](GgufWriter& f) { f.magic = "\x80\x02}q"; }},
        {"the answer of a server", "a text, which begins with 'Repository not found",
         [](GgufWriter& f) { f.magic = "Repository not found; ask its owner for access"; }},
        {"zeros of a download to come", "begins with zeros",
         [](GgufWriter& f) { f.magic = std::string(64, '\0'); }},
        {"version 0", "unfinished", [](GgufWriter& f) { f.version = 0; }},
        {"an architecture of 100,000 letters", "unknown architecture 'aaaa",
         [](GgufWriter& f) { f.set("general.architecture", std::string(100000, 'a')); }},
        {"version 1", "version 1", [](GgufWriter& f) { f.version = 1; }},
        {"version 4", "version 4", [](GgufWriter& f) { f.version = 4; }},
        {"more tensors than bytes", "tensors", [](GgufWriter& f) { f.tensor_count = kHuge; }},
        {"more metadata than bytes", "metadata entries",
         [](GgufWriter& f) { f.entry_count = kHuge; }},
        {"a tensor too many", "tensor", [](GgufWriter& f) { f.tensor_count = 14; }},
        {"an entry too many", "claims", [](GgufWriter& f) { f.entry_count = 17; }},
        // Metadata.
        {"a string longer than the file", "general.name",
         [](GgufWriter& f) {
             f.set_raw("general.name", GgufWriter::kString, GgufWriter::number(kHuge));
         }},
        {"a string whose end overflows", "general.name",
         [](GgufWriter& f) {
             f.set_raw("general.name", GgufWriter::kString, std::string(8, '\xff'));
         }},
        {"an unknown value type", "unknown value type 13",
         [](GgufWriter& f) { f.set_raw("general.name", 13, "12345678"); }},
        {"an array of an unknown type", "unknown type 77",
         [](GgufWriter& f) { f.set_raw("x", GgufWriter::kArray, GgufWriter::array_head(77, 1)); }},
        {"an array longer than the file", "elements",
         [](GgufWriter& f) {
             f.set_raw("x", GgufWriter::kArray, GgufWriter::array_head(0, kHuge));
         }},
        {"arrays in arrays in arrays", "too deeply",
         [](GgufWriter& f) { f.set_raw("x", GgufWriter::kArray, nested(100)); }},
        {"a bool of value 7", "bool",
         [](GgufWriter& f) { f.set_raw("x", GgufWriter::kBool, "\7"); }},
        {"an empty key", "metadata key", [](GgufWriter& f) { f.set("", 1u); }},
        {"a key twice", "stands twice", [](GgufWriter& f) { f.repeat("general.name"); }},
        {"an alignment that is no power of two", "general.alignment",
         [](GgufWriter& f) { f.set("general.alignment", 48u); }},
        {"an alignment of zero", "general.alignment",
         [](GgufWriter& f) { f.set("general.alignment", 0u); }},
        {"an alignment that is a text", "general.alignment",
         [](GgufWriter& f) { f.set("general.alignment", "32"); }},
        // Tensor descriptions.
        {"a tensor without a name", "empty name",
         [](GgufWriter& f) {
             f.tensor({"", {64}});
         }},
        {"a tensor twice", "stands twice", [](GgufWriter& f) { f.repeat_tensor(kQ); }},
        {"no dimensions", "0 dimensions",
         [](GgufWriter& f) {
             f.tensor({kQ, {}});
         }},
        {"five dimensions", "5 dimensions",
         [](GgufWriter& f) {
             f.tensor({kQ, {32, 1, 1, 1, 1}});
         }},
        {"a dimension of zero", "dimension of 0",
         [](GgufWriter& f) {
             f.tensor({kQ, {64, 0}});
         }},
        {"a negative dimension", "dimension of",
         [](GgufWriter& f) {
             f.tensor({kQ, {64, static_cast<uint64_t>(-64)}});
         }},
        {"dimensions whose product overflows", "dimension of",
         [](GgufWriter& f) {
             f.tensor({kQ, {uint64_t{1} << 32, uint64_t{1} << 32}});
         }},
        {"rows of half a block", "block",
         [](GgufWriter& f) {
             f.tensor({kQ, {48, 64}, 8});
         }},
        {"an unknown tensor type", "unknown type 4242",
         [](GgufWriter& f) {
             f.tensor({kQ, {64, 64}, 4242});
         }},
        {"a newer tensor type", "unknown type 40 (NVFP4)",
         [](GgufWriter& f) {
             f.tensor({kQ, {64, 64}, 40});
         }},
        {"an offset between two alignments", "aligned",
         [](GgufWriter& f) {
             f.tensor({kQ, {64, 64}, 0, 33});
         }},
        {"an offset past the end", "past the end",
         [](GgufWriter& f) {
             f.tensor({kQ, {64, 64}, 0, uint64_t{1} << 40});
         }},
        {"an offset whose sum overflows", "past the end",
         [](GgufWriter& f) {
             f.tensor({kQ, {64, 64}, 0, static_cast<uint64_t>(-32)});
         }},
        {"tensors that overlap", "overlap",
         [](GgufWriter& f) {
             f.tensor({kQ, {64, 64}, 0, 32});
         }},
        // What a model needs.
        {"no architecture", "general.architecture",
         [](GgufWriter& f) { f.remove("general.architecture"); }},
        {"an unknown architecture", "'bert'",
         [](GgufWriter& f) { f.set("general.architecture", "bert"); }},
        {"a projector", "projector", [](GgufWriter& f) { f.set("general.type", "mmproj"); }},
        {"a projector of old", "projector",
         [](GgufWriter& f) { f.set("general.architecture", "clip"); }},
        {"an adapter", "LoRA",
         [](GgufWriter& f) { f.set("general.type", "adapter").remove("tokenizer.ggml.tokens"); }},
        {"an importance matrix", "importance matrix",
         [](GgufWriter& f) { f.set("general.type", "imatrix").remove("general.architecture"); }},
        {"an encoder with a tokenizer that is unknown too", "an encoder",
         [](GgufWriter& f) {
             f.set("general.architecture", "bert").set("tokenizer.ggml.model", "bert");
         }},
        {"a diffusion model", "diffusion",
         [](GgufWriter& f) { f.set("general.architecture", "flux"); }},
        {"an architecture that is a number", "general.architecture",
         [](GgufWriter& f) { f.set("general.architecture", 3u); }},
        {"line breaks in a name that errors repeat", "unknown architecture",
         [](GgufWriter& f) { f.set("general.architecture", "a\nb\x1b[31m"); }},
        {"no layers", "block_count", [](GgufWriter& f) { f.set("qwen3.block_count", 0u); }},
        {"negative layers", "block_count", [](GgufWriter& f) { f.set("qwen3.block_count", -1); }},
        {"layers that are a text", "block_count",
         [](GgufWriter& f) { f.set("qwen3.block_count", "one"); }},
        {"no embedding length", "embedding_length",
         [](GgufWriter& f) { f.remove("qwen3.embedding_length"); }},
        {"an epsilon that is a text", "layer_norm_rms_epsilon",
         [](GgufWriter& f) { f.set("qwen3.attention.layer_norm_rms_epsilon", "small"); }},
        {"more KV heads than heads", "head_count_kv",
         [](GgufWriter& f) { f.set("qwen3.attention.head_count_kv", 3u); }},
        {"heads that KV heads do not divide", "multiple",
         [](GgufWriter& f) {
             f.set("qwen3.attention.head_count", 3u).set("qwen3.attention.head_count_kv", 2u);
         }},
        {"more heads than values", "attention.key_length",
         [](GgufWriter& f) {
             f.set("qwen3.attention.head_count", 4096u).remove("qwen3.attention.key_length");
         }},
        {"an odd number of rotary dimensions", "rope.dimension_count",
         [](GgufWriter& f) { f.set("qwen3.rope.dimension_count", 31u); }},
        {"a negative rope base", "rope.freq_base",
         [](GgufWriter& f) { f.set("qwen3.rope.freq_base", -1.0f); }},
        {"an epsilon that is missing", "layer_norm_rms_epsilon",
         [](GgufWriter& f) { f.remove("qwen3.attention.layer_norm_rms_epsilon"); }},
        {"an epsilon that is no number", "layer_norm_rms_epsilon is nan",
         [](GgufWriter& f) { f.set("qwen3.attention.layer_norm_rms_epsilon", NAN); }},
        {"an epsilon of zero", "layer_norm_rms_epsilon is 0",
         [](GgufWriter& f) { f.set("qwen3.attention.layer_norm_rms_epsilon", 0.0f); }},
        {"a negative epsilon", "layer_norm_rms_epsilon is -",
         [](GgufWriter& f) { f.set("qwen3.attention.layer_norm_rms_epsilon", -1e-6f); }},
        {"an infinite epsilon", "layer_norm_rms_epsilon is inf",
         [](GgufWriter& f) { f.set("qwen3.attention.layer_norm_rms_epsilon", INFINITY); }},
        {"a rope base that is no number", "rope.freq_base is nan",
         [](GgufWriter& f) { f.set("qwen3.rope.freq_base", NAN); }},
        {"an infinite rope base", "rope.freq_base is inf",
         [](GgufWriter& f) { f.set("qwen3.rope.freq_base", INFINITY); }},
        {"a factor of rope that is no number", "attn_factor is nan",
         [](GgufWriter& f) { f.set("qwen3.rope.scaling.attn_factor", NAN); }},
        {"a list of heads for other blocks", "has 2 values for 1 blocks",
         [](GgufWriter& f) {
             f.set("qwen3.attention.head_count", std::vector<int32_t>{2, 2});
         }},
        {"a list where one number counts", "is a list",
         [](GgufWriter& f) { f.set("qwen3.attention.key_length", std::vector<int32_t>{32}); }},
        {"values of another length than keys", "value_length",
         [](GgufWriter& f) { f.set("qwen3.attention.value_length", 16u); }},
        {"heads that are too short", "heads of 8 values",
         [](GgufWriter& f) {
             f.set("qwen3.attention.head_count", 8u).remove("qwen3.attention.key_length");
         }},
        {"an unknown rope scaling", "'twist'",
         [](GgufWriter& f) { f.set("qwen3.rope.scaling.type", "twist"); }},
        {"a rope scaling by nothing", "rope.scaling.factor",
         [](GgufWriter& f) {
             f.set("qwen3.rope.scaling.type", "linear").set("qwen3.rope.scaling.factor", 0.0f);
         }},
        {"a missing tensor", "blk.0.ffn_up.weight",
         [](GgufWriter& f) { f.remove_tensor("blk.0.ffn_up.weight"); }},
        {"a tensor of another shape", "blk.0.attn_q.weight",
         [](GgufWriter& f) {
             f.tensor({kQ, {64, 32}});
         }},
        {"a norm that is quantised", "attn_norm.weight' must be F32",
         [](GgufWriter& f) {
             f.tensor({"blk.0.attn_norm.weight", {64}, 8});
         }},
        {"a type without kernels", "no kernels",
         [](GgufWriter& f) {
             f.tensor({kQ, {64, 64}, 28});
         }},
        // What nothing reads.
        {"a bias that no operation adds", "blk.0.attn_norm.bias",
         [](GgufWriter& f) {
             f.tensor({"blk.0.attn_norm.bias", {64}});
         }},
        {"a norm that no operation has", "token_embd_norm.weight",
         [](GgufWriter& f) {
             f.tensor({"token_embd_norm.weight", {64}});
         }},
        {"divisors of rope in a block", "blk.0.rope_freqs.weight",
         [](GgufWriter& f) {
             f.tensor({"blk.0.rope_freqs.weight", {16}});
         }},
        {"blocks beyond the last", "blk.1.attn_norm.weight (block_count is 1)",
         [](GgufWriter& f) {
             f.tensor({"blk.1.attn_norm.weight", {64}});
         }},
        {"divisors of rope for an architecture without", "rope_freqs.weight",
         [](GgufWriter& f) {
             f.tensor({"rope_freqs.weight", {16}});
         }},
        {"a scale of the embedding", "qwen3.embedding_scale = 12",
         [](GgufWriter& f) { f.set("qwen3.embedding_scale", 12.0f); }},
        {"a window shorter than the context", "qwen3.attention.sliding_window = 64",
         [](GgufWriter& f) { f.set("qwen3.attention.sliding_window", 64u); }},
        {"attention without a mask", "qwen3.attention.causal = false",
         [](GgufWriter& f) { f.set("qwen3.attention.causal", false); }},
        {"another function of the router", "qwen3.expert_gating_func = 2",
         [](GgufWriter& f) { f.set("qwen3.expert_gating_func", 2u); }},
        {"a key of a later format", "qwen3.attention.novelty = 'yes'",
         [](GgufWriter& f) { f.set("qwen3.attention.novelty", "yes"); }},
        {"a key under another architecture", "llama.rope.scaling.factor = 2",
         [](GgufWriter& f) { f.set("llama.rope.scaling.factor", 2.0f); }},
        // Split files.
        {"a part whose name has no number", "-of-",
         [](GgufWriter& f) { f.set("split.count", 2u); }},
        {"a negative number of parts", "split.count",
         [](GgufWriter& f) { f.set("split.count", -2); }},
    };
    return list;
}

// Of the tokenizer, which is optional: the file loads, and token ids work.
const std::vector<Fault>& tokenizer_faults() {
    static const std::vector<Fault> list = {
        {"no tokens", "tokenizer.ggml.tokens",
         [](GgufWriter& f) { f.remove("tokenizer.ggml.tokens"); }},
        {"tokens that are numbers", "tokenizer.ggml.tokens",
         [](GgufWriter& f) {
             f.set("tokenizer.ggml.tokens", std::vector<int32_t>{1, 2});
         }},
        {"more tokens than rows of the embedding", "the tokenizer has 33 tokens",
         [](GgufWriter& f) { f.set("tokenizer.ggml.tokens", Strings(33, "a")); }},
        {"token types for other tokens", "token_type",
         [](GgufWriter& f) { f.set("tokenizer.ggml.token_type", std::vector<int32_t>{1}); }},
        {"a merge of one part", "merges",
         [](GgufWriter& f) { f.set("tokenizer.ggml.merges", Strings{"ab"}); }},
        {"an unknown tokenizer", "'bert'",
         [](GgufWriter& f) { f.set("tokenizer.ggml.model", "bert"); }},
        {"an unknown pre-tokenizer", "'martian'",
         [](GgufWriter& f) { f.set("tokenizer.ggml.pre", "martian"); }},
    };
    return list;
}

TEST_CASE("the small model itself is a good file") {
    TestFolder folder;
    for (const uint32_t type : {0u, 8u}) {
        small_model(type).write(folder.path() / "model.gguf");
        CHECK(error_of(folder.path() / "model.gguf") == "");
    }
}

TEST_CASE("settings that change nothing, and those of other programs, are no fault") {
    TestFolder folder;
    const auto path = folder.path() / "model.gguf";
    small_model()
        .set("qwen3.vocab_size", 32u)
        .set("qwen3.attention.causal", true)
        .set("qwen3.attention.sliding_window", 128u)
        .set("qwen3.attention.scale", 1.0f / std::sqrt(32.0f))
        .set("qwen3.logit_scale", 1.0f)
        .set("qwen3.expert_count", 0u)
        .set("qwen3.rope.scaling.type", "none")
        .set("qwen3.rope.scaling.finetuned", true)
        .set("general.file_type", 0u)
        .set("quantize.imatrix.chunks_count", 7u)
        .set("somebody.quantized_by", "x")
        .tensor({"blk.0.attn_q.input_scale", {1}})
        .write(path);
    CHECK(error_of(path) == "");
}

TEST_CASE("numbers of any width and kind are read where they are whole") {
    TestFolder folder;
    const auto path = folder.path() / "model.gguf";
    GgufWriter file = small_model();
    const auto heads = [&](uint32_t type, const std::string& body) {
        file.set_raw("qwen3.attention.head_count", type, body).write(path);
        return error_of(path);
    };
    CHECK(heads(0, GgufWriter::number(uint8_t{2})) == "");
    CHECK(heads(1, GgufWriter::number(int8_t{2})) == "");
    CHECK(heads(2, GgufWriter::number(uint16_t{2})) == "");
    CHECK(heads(3, GgufWriter::number(int16_t{2})) == "");
    CHECK(heads(10, GgufWriter::number(uint64_t{2})) == "");
    CHECK(heads(11, GgufWriter::number(int64_t{2})) == "");
    CHECK(heads(6, GgufWriter::number(2.0f)) == "");
    CHECK(heads(12, GgufWriter::number(2.0)) == "");
    CHECK(heads(12, GgufWriter::number(2.5)).find("is no integer") != std::string::npos);
    CHECK(heads(7, GgufWriter::number(uint8_t{1})).find("is no integer") != std::string::npos);
    heads(4, GgufWriter::number(uint32_t{2}));
    file.set_raw("qwen3.rope.freq_base", 12, GgufWriter::number(10000.0)).write(path);
    CHECK(error_of(path) == "");
    file.set_raw("qwen3.rope.freq_base", 4, GgufWriter::number(uint32_t{10000})).write(path);
    CHECK(error_of(path) == "");
}

TEST_CASE("a model with parts that nothing reads loads with a warning where that is allowed") {
    TestFolder folder;
    const auto path = folder.path() / "model.gguf";
    small_model().tensor({"token_embd_norm.weight", {64}}).write(path);
    std::string warning;
    const Model model(path.string(), {.backend = "reference",
                                      .context = 8,
                                      .allow_unused = true,
                                      .warn = [&](const std::string& line) { warning += line; }});
    CHECK(warning.find("nothing reads token_embd_norm.weight") != std::string::npos);
}

TEST_CASE("what is no file is refused at once") {
    TestFolder folder;
    const auto pipe = folder.path() / "pipe";
    REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
    CHECK(error_of(pipe).find("is a pipe") != std::string::npos);
    CHECK(error_of(folder.path()).find("is a folder") != std::string::npos);
    CHECK(error_of("/dev/null").find("is a device") != std::string::npos);
    std::ofstream(folder.path() / "empty.gguf").close();
    CHECK(error_of(folder.path() / "empty.gguf").ends_with("empty.gguf: is empty"));
    CHECK(error_of(folder.path() / "none.gguf").find("cannot open") != std::string::npos);
}

TEST_CASE("a file that is cut short says how many bytes are missing") {
    TestFolder folder;
    const auto path = folder.path() / "model.gguf";
    const std::string whole = small_model().bytes();
    std::ofstream(path, std::ios::binary) << whole.substr(0, whole.size() - 1000);
    const std::string error = error_of(path);
    CAPTURE(error);
    CHECK(error.find(fmt::format("1000 of {} bytes are missing", whole.size())) !=
          std::string::npos);
}

TEST_CASE("every fault gets one line that names the file and the fault") {
    TestFolder folder;
    const auto path = folder.path() / "model.gguf";
    for (const Fault& fault : faults()) {
        CAPTURE(fault.what);
        GgufWriter file = small_model();
        fault.make(file);
        file.write(path);
        const std::string error = error_of(path);
        CAPTURE(error);
        CHECK(error.starts_with(path.string() + ": "));
        CHECK(error.find(fault.word) != std::string::npos);
        CHECK(std::ranges::none_of(error, [](unsigned char c) { return c < 0x20 || c == 0x7F; }));
    }
}

template <class Use>
std::string error_of_use(const Use& use) {
    try {
        use();
    } catch (const ModelError& error) {
        return error.what();
    }
    return {};
}

// With token ids, of one token.
void check_computes(const Model& model) {
    const std::vector<int32_t> prompt = {0};
    CHECK(model.open().generate(prompt, {.max_tokens = 1, .ignore_end = true}).tokens.size() == 1);
}

TEST_CASE("a fault of the tokenizer leaves token ids, and text gets an error that names it") {
    TestFolder folder;
    const auto path = folder.path() / "model.gguf";
    for (const Fault& fault : tokenizer_faults()) {
        CAPTURE(fault.what);
        GgufWriter file = small_model();
        file.set("tokenizer.chat_template", "ab");
        fault.make(file);
        file.write(path);
        CHECK(error_of(path) == "");
        Model model(path.string(), {.backend = "reference", .context = 8});
        check_computes(model);
        const std::vector<int32_t> ids = {0};
        for (const std::string& error :
             {error_of_use([&] { model.tokenize("ab"); }),
              error_of_use([&] { model.detokenize(ids); }),
              error_of_use([&] { model.open().generate("ab"); }), error_of_use([&] {
                  model.open().chat({Message{"user", "ab"}});
              })}) {
            CAPTURE(error);
            CHECK(error.starts_with(path.string() + ": "));
            CHECK(error.find(fault.word) != std::string::npos);
            CHECK(error.find("token ids can (`hetune logits --tokens`)") != std::string::npos);
            CHECK(
                std::ranges::none_of(error, [](unsigned char c) { return c < 0x20 || c == 0x7F; }));
        }
        const CommandResult run = run_hetune(
            folder.path(),
            fmt::format("run {} --backend reference -p ab -n 1 -q >/dev/null", path.string()));
        CAPTURE(run.output);
        CHECK(run.status == 1);
        CHECK(run.lines() == 1);
        CHECK(run.says(path.string()));
        CHECK(run.says(fault.word));
    }
}

TEST_CASE("a chat template that is a number leaves text, and a chat gets an error that names it") {
    TestFolder folder;
    const auto path = folder.path() / "model.gguf";
    small_model().set("tokenizer.chat_template", 1u).write(path);
    CHECK(error_of(path) == "");
    Model model(path.string(), {.backend = "reference", .context = 8});
    check_computes(model);
    CHECK(model.tokenize("ab") == std::vector<int32_t>{2});
    const std::string error = error_of_use([&] { model.open().chat({Message{"user", "ab"}}); });
    CAPTURE(error);
    CHECK(error.starts_with(path.string() + ": "));
    CHECK(error.find("chat_template") != std::string::npos);
    CHECK(error.find("ModelOptions::chat_template takes another") != std::string::npos);
    const std::string command =
        fmt::format("run {} --backend reference -p ab -n 1 -q >/dev/null", path.string());
    CHECK(run_hetune(folder.path(), command).status == 0);
    const CommandResult chat = run_hetune(folder.path(), command + " --chat");
    CAPTURE(chat.output);
    CHECK(chat.status == 1);
    CHECK(chat.lines() == 1);
    CHECK(chat.says("tokenizer.chat_template"));
    // A conversation says so before its first question.
    const CommandResult conversation = run_hetune(
        folder.path(), fmt::format("run {} --backend reference -q </dev/null", path.string()));
    CHECK(conversation.status == 1);
    CHECK(conversation.says("tokenizer.chat_template"));
}

TEST_CASE("a file cut off anywhere in its header, or in its data, is refused") {
    const std::string whole = small_model().bytes();
    const size_t header = small_model().header().size();
    const auto parse = [&](size_t bytes, bool header_only) {
        // A copy, so that a read behind its end is seen by AddressSanitizer.
        const std::vector<char> prefix(whole.begin(), whole.begin() + static_cast<int64_t>(bytes));
        return parse_gguf("cut.gguf", std::as_bytes(std::span(prefix)), header_only).tensors.size();
    };
    size_t last_refused = 0;
    for (size_t bytes = 0; bytes < header; ++bytes) try {
            parse(bytes, true);
        } catch (const ModelError&) {
            last_refused = bytes;
        }
    CHECK(last_refused > header - 33);  // only the padding may be missing
    CHECK(parse(header, true) == 13);
    for (size_t bytes = header; bytes < whole.size(); bytes += 997)
        CHECK_THROWS_AS(parse(bytes, false), ModelError);
    CHECK(parse(whole.size(), false) == 13);
}

TEST_CASE("no byte of the header, whatever it becomes, does more than cause an error") {
    TestFolder folder;
    const auto path = folder.path() / "model.gguf";
    const std::string whole = small_model().bytes();
    const size_t header = small_model().header().size();
    size_t refused = 0, tried = 0;
    for (size_t at = 0; at < header; at += 3)
        for (const char value : {'\x00', '\x7f', '\xff'}) {
            std::string changed = whole;
            changed[at] = value;
            std::ofstream(path, std::ios::binary) << changed;
            ++tried;
            try {
                open_model(path);
            } catch (const ModelError&) {
                ++refused;
            }
        }
    CHECK(refused > tried / 10);
}

TEST_CASE("a split file lacks no part, and each part is the one its name says") {
    TestFolder folder;
    const auto part = [&](int number) {
        return folder.path() / fmt::format("model-{:05}-of-00002.gguf", number);
    };
    GgufWriter first = small_model(), second;
    first.set("split.count", 2u).set("split.no", 0u).remove_tensor(kQ);
    second.set("split.count", 2u).set("split.no", 1u).tensor({kQ, {64, 64}});
    first.write(part(1));
    CHECK(error_of(part(1)).find("00002-of-00002.gguf: part 2 of 2 is missing") !=
          std::string::npos);
    second.write(part(2));
    CHECK(error_of(part(1)) == "");
    CHECK(error_of(part(2)) == "");
    GgufWriter(second).set("split.no", 0u).write(part(2));
    CHECK(error_of(part(1)).find("is not part 2 of 2") != std::string::npos);
    GgufWriter(second).set("split.count", 3u).write(part(2));
    CHECK(error_of(part(1)).find("is not part 2 of 2") != std::string::npos);
    GgufWriter(second).tensor({"output_norm.weight", {64}}).write(part(2));
    CHECK(error_of(part(1)).find("'output_norm.weight' stands in two parts") != std::string::npos);
}

TEST_CASE("hetune refuses a broken file with exit code 1 and one line on stderr") {
    TestFolder folder;
    const auto path = folder.path() / "model.gguf";
    for (size_t i = 0; i < faults().size(); i += 5) {
        const Fault& fault = faults()[i];
        CAPTURE(fault.what);
        GgufWriter file = small_model();
        fault.make(file);
        file.write(path);
        const CommandResult run = run_hetune(
            folder.path(),
            fmt::format("run {} --backend reference -p ab -n 1 >/dev/null", path.string()));
        CAPTURE(run.output);
        CHECK(run.status == 1);
        CHECK(run.lines() == 1);
        CHECK(run.says(fault.word));
    }
    small_model().set("general.architecture", "bert").write(path);
    CHECK(run_hetune(folder.path(), "inspect " + path.string()).status == 0);
    CHECK(run_hetune(folder.path(), "plan --arch gfx1100 " + path.string()).lines() == 1);
    CHECK(run_hetune(folder.path(), "inspect " + folder.path().string()).says("is a folder"));
}

TEST_CASE("a description in JSON that nests too deeply or has other kinds of values is one error") {
    const TestFolder folder;
    const auto path = folder.path() / "model.json";
    const std::string deep = std::string(100'000, '[');
    for (const std::string& text :
         Strings{deep, R"({"metadata": {"a": )" + deep, R"({"metadata": {}, "tensors": [7]})",
                 R"({"metadata": {}, "tensors": [{"name": 1}]})",
                 R"({"metadata": {"a": {"b": 1}}})", R"([1])", "x"}) {
        CAPTURE(text.substr(0, 60));
        std::ofstream(path) << text;
        try {
            read_model_description(path);
            FAIL_CHECK("no error");
        } catch (const ModelError& error) {
            CHECK(std::string(error.what()).find("model.json") != std::string::npos);
            CHECK(std::string(error.what()).find("json.exception") == std::string::npos);
        }
    }
}

}  // namespace
}  // namespace hetune
