// libhetune: load a language model, and let it write.
//
//   hetune::Model model("model.gguf");
//   model.generate("Once upon a time", {}, [](std::string_view text) {
//       std::cout << text << std::flush;
//       return true;
//   });
//
// The first load of a model compiles its kernels and repacks its weights into the cache
// ($HETUNE_CACHE_DIR, $XDG_CACHE_HOME/hetune or ~/.cache/hetune); later ones map both.
//
// Errors are exceptions derived from std::runtime_error, whose text names the file, tensor, kernel
// or option and says what to do. The constructor throws ModelError, OptionError, DeviceError,
// MemoryError, CompileError and LoadCancelled; generate(), chat() and logits() throw OptionError,
// ContextError, NumberError and DeviceError (planner/file/errors.h); any of them also a plain
// std::runtime_error, for example for a token outside the vocabulary. A Model that was moved from
// throws std::runtime_error, except when it is destroyed or assigned to.
//
// One thread at a time may use a Model; a process may have several. Callbacks may throw: the call
// of the Model that is in progress ends and throws the same exception.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "planner/file/errors.h"
#include "runtime/load/sampling_options.h"

// What libhetune.so exports; the rest of it is hidden.
#define HETUNE_API __attribute__((visibility("default")))

namespace hetune {

struct ModelOptions {
    // "hip", "cuda", "cpu", "reference"; empty: the best GPU, or the CPU for a model below 512 MiB
    // where no GPU can be used (`warn` then gets the reasons).
    std::string backend = {};
    int device = -1;            // index in devices(); -1: the best one
    std::string compiler = {};  // "hiprtc", "comgr", "clang", "nvrtc"; empty: the best there is
    int64_t context = 0;        // tokens; 0: what the model was trained for, at most 4096
    int prefill_rows = 0;  // tokens of one prefill step, at most 4096; 0: what suits the device
    bool fusion = true;    // false: one kernel per primitive operation
    bool float_activations = false;  // multiply weights with floats rather than with 8-bit integers
    std::string kv_type = "f16";     // "f16", "bf16", "f32", "q8" (8 bits, a scale for each head)
    bool tiles = true;               // keep repacked weights on disk
    bool all_logits = false;         // makes logits() of every position fast, for some memory
    int64_t memory_limit = 0;        // bytes; 0: what the device has free
    // Instead of the pre-tokenizer that the file names, "qwen2"; empty: the file's.
    std::string pre_tokenizer = {};
    // Instead of the file's chat template: a Jinja file, or a name such as "chatml".
    std::string chat_template = {};
    int state_snapshots = 4;  // recurrent states kept, to go back in the context
    int jobs = 0;             // compilers at once; 0: one per core
    // Take kernels that another build of the compiler made, out of bundles that a trusted key
    // (HETUNE_TRUSTED_KEYS) signed.
    bool any_compiler_build = false;
    bool no_jit = false;  // compile nothing: an error that lists the kernels not in the cache
    // Kernels are tried out against the oracle before their first use on a device: "off", "once"
    // (what is not known to be right), "always".
    std::string certify = "once";
    bool allow_unused = false;  // go on, with a warning, where nothing reads a part of the file
    bool retry = false;         // try again the kernels that were refused at an earlier load
    // The callbacks may be empty and are called by any thread, but each only by one at a time.
    //
    // While loading: "compile", "repack" or "certify", with how many are done of how many. Where it
    // throws, loading ends once the kernels and tensors in hand are done.
    std::function<void(std::string_view stage, size_t done, size_t total)> progress = {};
    // Each kernel that was compiled while loading: the name of its template.
    std::function<void(std::string_view kernel)> compiled = {};
    // Asked while loading, also while compilers work: true ends them and the load, which throws
    // LoadCancelled. Must be quick, since every thread that waits for a compiler asks ten times a
    // second.
    std::function<bool()> cancelled = {};
    // Warnings, one line each, as long as the Model lives. What it throws while the Model is
    // destroyed is dropped.
    std::function<void(const std::string& line)> warn = {};
};

struct ModelInfo {
    std::string file, name, architecture;
    std::string backend, device, arch, compiler;  // compiler: its identity
    int64_t context = 0;                          // capacity in tokens
    int64_t trained_context = 0;
    int64_t vocabulary = 0;
    int64_t memory_bytes = 0;  // weights, KV cache, activations and code
    std::string memory_table;  // the same, for people
    // The load.
    int kernels_compiled = 0, kernels_cached = 0;
    bool weights_repacked = false;
    int kernels_certified = 0, kernels_refused = 0;                    // tried out now; not used
    double compile_seconds = 0, repack_seconds = 0, load_seconds = 0;  // load: all of it
    double certify_seconds = 0;
};

struct Message {
    std::string role;  // "system", "user", "assistant"
    std::string content;
};

struct Generated {
    std::string text;
    std::vector<int32_t> tokens;
    int64_t prompt_tokens = 0;
    double prefill_seconds = 0;  // of the prompt, with the first token
    double decode_seconds = 0;   // of the others
    // "end" (the model ended its answer), "length", "context" (it is full), "stopped" (by the
    // callback, or by Options::cancelled)
    std::string stop;
};

class HETUNE_API Model {
  public:
    explicit Model(const std::string& path, ModelOptions options = {});
    ~Model();
    Model(Model&&) noexcept;
    Model& operator=(Model&&) noexcept;

    const ModelInfo& info() const;

    // Text to ids; `parse_special`: control tokens written out in the text count as such.
    std::vector<int32_t> tokenize(std::string_view text, bool parse_special = true) const;
    std::string detokenize(std::span<const int32_t> tokens) const;

    // Appends to the context and generates. The callback gets text as it arrives, always whole
    // UTF-8 sequences, and returns false to stop, after which it is not called again. What was
    // generated stays in the context, also where the callback throws.
    using OnText = std::function<bool(std::string_view text)>;
    struct Options {
        int64_t max_tokens = 128;  // 0: only appends the prompt
        Sampling sampling = {};
        bool ignore_end = false;  // go on behind the model's end token
        // Further variables of the chat template: a JSON object, {"enable_thinking": false}.
        std::string chat_template_kwargs = {};
        // Asked between the steps of a prompt (ModelOptions::prefill_rows tokens each), by the
        // thread that generates; true ends the generation. The steps that ran stay in the context.
        std::function<bool()> cancelled = {};
    };
    Generated generate(std::string_view prompt, const Options& options, const OnText& on_text);
    Generated generate(std::span<const int32_t> prompt, const Options& options,
                       const OnText& on_text);
    // The next turn of a conversation, by the model's own chat template. Keeps as much of the
    // context as this conversation and the one before have in common, so that messages may also be
    // taken back or changed.
    Generated chat(const std::vector<Message>& conversation, const Options& options,
                   const OnText& on_text);

    // Appends tokens and gives logits: [tokens, vocabulary], or [vocabulary] of the last one. Every
    // position takes a decoding step each, unless ModelOptions::all_logits was set.
    std::vector<float> logits(std::span<const int32_t> tokens, bool every_position);

    // Forgets the context.
    void reset();
    int64_t position() const;

    // The decode plan, or that of a prefill step: its steps, buffers, bytes and roofline, as text
    // or as JSON. Empty on the reference backend.
    std::string plan(bool prefill, bool json) const;

  private:
    friend struct ModelParts;
    struct Impl;
    Impl& impl() const;
    std::unique_ptr<Impl> impl_;
};

// A GPU, usable or not, or the CPU.
struct DeviceListing {
    int index = -1;  // for ModelOptions::device; -1: the CPU, which only its backend names
    std::string backend, name, arch;
    int64_t memory_bytes = 0;
    bool integrated = false;  // shares the memory of the host
    std::string unusable;     // the reason; empty where it can be used
};
// The GPUs in the order of backends and drivers, then the CPU. `unavailable`, where it is given,
// gets one line for each backend without a device.
HETUNE_API std::vector<DeviceListing> devices(std::vector<std::string>* unavailable = nullptr);

// The library's version, "0.1.0", and the folder of its cache (empty: in memory).
HETUNE_API const char* version();
HETUNE_API std::string cache_folder();

}  // namespace hetune
