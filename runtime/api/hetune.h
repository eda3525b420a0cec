// libhetune: load a language model, and let it write.
//
//   hetune::Model model("model.gguf");
//   hetune::Sequence sequence = model.open();
//   sequence.generate("Once upon a time", {}, [](std::string_view text) {
//       std::cout << text << std::flush;
//       return true;
//   });
//
// The first load of a model compiles its kernels and repacks its weights into the cache
// ($HETUNE_CACHE_DIR, $XDG_CACHE_HOME/hetune or ~/.cache/hetune); later ones map both.
//
// Errors are exceptions derived from std::runtime_error (planner/file/errors.h), whose text names
// the file, tensor, kernel or option and says what to do. Loading throws ModelError, OptionError,
// DeviceError, MemoryError, CompileError and LoadCancelled. Calls of a Sequence throw RequestError
// for what was asked, Overloaded where too many others wait, NumberError where the model computes
// no numbers, CallCancelled behind cancel(), and DeviceLost once the device has failed. A Model or
// Sequence that was moved from throws RequestError, except when it is destroyed or assigned to.
//
// Threads: any number may use a Model at the same time. A Sequence has one owner: one thread at a
// time calls its functions, except cancel(), which any thread may call. The device is used by a
// thread of the Model's own, which takes the steps of all sequences.
//
// Callbacks of a Sequence's call are called in the thread of that call, those of ModelOptions in
// any thread, one at a time. All may throw: the call of the library that is in progress ends and
// throws the same exception. A callback may use the Model, but not the Sequence that calls.
//
// hetune_c.h is the same for C.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "planner/file/errors.h"
#include "runtime/load/sampling_options.h"

// Marks a function or class that libhetune.so exports; the library hides all others.
#define HETUNE_API __attribute__((visibility("default")))

namespace hetune {

struct ModelOptions {
    // "hip", "cuda", "cpu", "reference"; empty: the best GPU, or the CPU for a model below 512 MiB
    // where no GPU can be used (`warn` then gets the reasons).
    std::string backend = {};
    int device = -1;            // index in devices(); -1: the best one
    std::string compiler = {};  // "hiprtc", "comgr", "clang", "nvrtc"; empty: the best there is
    int64_t context = 0;        // tokens; 0: what the model was trained for, at most 4096
    // Sequences that have memory for a context at the same time, at most 64. Their answers are
    // computed together, each as if it were alone.
    int parallel = 1;
    int prefill_rows = 0;  // tokens of one prefill step, at most 4096; 0: what suits the device
    bool fusion = true;    // false: one kernel per primitive operation
    bool float_activations = false;  // multiply weights with floats rather than with 8-bit integers
    std::string kv_type = "f16";     // "f16", "bf16", "f32", "q8" (8 bits, a scale for each head)
    bool tiles = true;               // keep repacked weights on disk
    bool all_logits = false;         // makes logits() of every position fast, for some memory
    bool embeddings = false;         // Model::embed() will be called
    int64_t memory_limit = 0;        // bytes; 0: what the device has free
    // Instead of the pre-tokenizer that the file names, "qwen2"; empty: the file's.
    std::string pre_tokenizer = {};
    // Instead of the file's chat template: a Jinja file, or a name such as "chatml".
    std::string chat_template = {};
    int state_snapshots = 4;  // recurrent states kept, to go back in the context
    // Sequences take over the tokens that they have in common with others from their first one on,
    // instead of computing them. A recurrent model goes on at copies of its state alone, of which
    // there are `state_checkpoints` for all sequences; -1: 2 for each of `parallel`, and 2.
    bool prefix_cache = true;
    int state_checkpoints = -1;
    // Nothing is taken over but what equals, bit for bit, what the sequence would compute: tokens
    // of prompts, and for a recurrent model up to a multiple of 32 tokens of the first prompt.
    bool exact_prefix = false;
    // A folder that keeps computed starts of sequences beyond the Model's life, in pages of 64
    // tokens; empty: none. Of its bytes those go first that were used longest ago. One that cannot
    // be written, or is full, gives one warning.
    std::string prompt_cache = {};
    int64_t prompt_cache_bytes = int64_t{10} << 30;
    int most_waiting = 256;  // calls of sequences that wait or run; one more throws Overloaded
    int jobs = 0;            // compilers at once; 0: one per core
    int threads = 0;         // of the CPU device; 0: one for each core that this process may use
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
    int64_t embedding = 0;     // numbers of an embedding: Model::embed()
    int64_t memory_bytes = 0;  // weights, KV cache, activations and code
    std::string memory_table;  // the same, for people
    bool has_tokenizer = false;
    // The load.
    int kernels_compiled = 0, kernels_cached = 0;
    bool weights_repacked = false;
    int kernels_certified = 0, kernels_refused = 0;                    // tried out now; not used
    double compile_seconds = 0, repack_seconds = 0, load_seconds = 0;  // load: all of it
    double certify_seconds = 0;
};

// How the hidden states of a text's tokens, behind the last norm, become one vector.
enum class Pooling {
    kModel,  // as the file says, and kLast where it says nothing
    kMean,
    kLast,  // that of the last token, the only one that has seen all
};

struct Message {
    std::string role;  // "system", "user", "assistant"
    std::string content;
};

// Why a generation ended.
enum class Stop {
    kEnd,         // the model ended its answer
    kStopString,  // one of GenerateOptions::stop was written
    kLength,      // GenerateOptions::max_tokens
    kContext,     // the context is full
    kCallback,    // the callback answered false
    kCancelled,   // Sequence::cancel(), or GenerateOptions::cancelled
    kDeadline,    // GenerateOptions::deadline
};
// "end", "stop", "length", "context", "callback", "cancelled", "deadline"
HETUNE_API const char* to_string(Stop stop);

struct GenerateOptions {
    int64_t max_tokens = 128;  // 0: only appends the prompt
    Sampling sampling = {};
    bool ignore_end = false;  // go on behind the model's end token
    // Texts that end the answer. The text of the answer stops in front of the first of them; what
    // may become one is held back until that is known.
    std::vector<std::string> stop = {};
    // For each token the natural logarithm of its probability, before any cut of `sampling`, and
    // those of the most likely tokens, so many of them (at most 20); -1: none. Tokens are then
    // drawn one after another, which is slower on a GPU.
    int logprobs = -1;
    // Looked at between steps: of a prompt (ModelOptions::prefill_rows tokens) and of an answer.
    std::optional<std::chrono::steady_clock::time_point> deadline = {};
    // Asked by the thread that generates, at first and then fifty times a second; true ends the
    // generation, like Sequence::cancel().
    std::function<bool()> cancelled = {};
};

struct TokenLogprob {
    int32_t token = 0;
    float logprob = 0;
};

struct Generated {
    std::string text;
    std::vector<int32_t> tokens;
    // With GenerateOptions::logprobs, for each token: it, and the most likely ones, best first.
    std::vector<TokenLogprob> logprobs = {};
    std::vector<std::vector<TokenLogprob>> top_logprobs = {};
    // Tokens in front of the answer: computed by this call, and there before, computed by earlier
    // calls of this sequence or of others.
    int64_t prompt_tokens = 0, cached_tokens = 0;
    double prefill_seconds = 0;  // of the prompt, with the first token; waiting for others included
    double decode_seconds = 0;   // of the others
    // Processor time of the Model's thread for the same, waits left out.
    double prefill_host_seconds = 0, decode_host_seconds = 0;
    Stop stop = Stop::kLength;
    std::string stop_string = {};  // the one that was written
};

// Text as it arrives, always whole UTF-8 sequences. Returns false to stop, after which it is not
// called again.
using OnText = std::function<bool(std::string_view text)>;

struct ModelHost;
class Sequence;

// A loaded model. Copies share it; it goes with the last of them and of its sequences.
class HETUNE_API Model {
  public:
    explicit Model(const std::string& path, ModelOptions options = {});
    // Over a host that was made elsewhere, for programs of this source tree (api/model_host.h).
    explicit Model(std::shared_ptr<ModelHost> host);

    const ModelInfo& info() const;

    // A new sequence, empty. There may be any number: ModelOptions::parallel of them have memory
    // and decode in the same steps. An idle one gives its memory up to one that waits, and when it
    // goes on, its kept start is taken over and the rest is computed again.
    Sequence open() const;

    // Text to ids. `parse_special`: control tokens written out in the text count as such. `first`:
    // what stands at the start of a context, such as BOS, is put in front.
    std::vector<int32_t> tokenize(std::string_view text, bool parse_special = true,
                                  bool first = true) const;
    std::string detokenize(std::span<const int32_t> tokens) const;
    // A conversation, by the model's chat template, with the opening of the next answer. `kwargs`:
    // further variables of the template, a JSON object: {"enable_thinking": false}.
    std::vector<int32_t> render(const std::vector<Message>& conversation,
                                const std::string& kwargs = {}) const;

    // A text as a vector of ModelInfo::embedding numbers, of Euclidean length 1 if `normalised`. Of
    // a text the tokens are those of an embedding model: between BOS and EOS, as far as the file
    // asks for them. Computed beside the other sequences, in memory of a slot. Throws OptionError
    // without ModelOptions::embeddings, RequestError for no tokens, and what generate() throws.
    std::vector<float> embed(std::span<const int32_t> tokens, Pooling pooling = Pooling::kModel,
                             bool normalised = true) const;
    std::vector<float> embed(std::string_view text, Pooling pooling = Pooling::kModel,
                             bool normalised = true) const;
    std::vector<int32_t> tokenize_for_embedding(std::string_view text) const;

    // False where ChatML stands in for a chat template. Throws ModelError for one that cannot be
    // read.
    bool has_chat_template() const;

    // The decode plan, or that of a prefill step: its steps, buffers, bytes and roofline, as text
    // or as JSON. Empty on the reference backend.
    std::string plan(bool prefill, bool json) const;

  private:
    ModelHost& host() const;
    std::shared_ptr<ModelHost> host_;
};

struct LogitsOptions {
    bool every_position = false;  // [tokens, vocabulary]; else of the last one, [vocabulary]
    // Each token by a step of its own, as those of an answer. Every position of a model loaded
    // without ModelOptions::all_logits is computed so in any case.
    bool one_by_one = false;
};

// One text: tokens, and what the model has computed of them.
class HETUNE_API Sequence {
  public:
    explicit Sequence(std::shared_ptr<ModelHost> host);  // as Model::open() makes it
    ~Sequence();
    Sequence(Sequence&&) noexcept;
    Sequence& operator=(Sequence&&) noexcept;

    // Another sequence with the same tokens, to go on in another way. What is computed is taken
    // over when it does (ModelOptions::prefix_cache), or computed again.
    Sequence fork() const;

    // Appends a prompt and computes it.
    void append(std::span<const int32_t> tokens);
    void append(std::string_view text);

    // Appends a prompt, which may be empty behind another one, and generates. What was generated
    // stays in the sequence, also where the callback throws: all tokens whose text was given out.
    // After RequestError and Overloaded the sequence is as it was; after NumberError it is empty.
    // A prompt that was cancelled stays as far as it was computed.
    Generated generate(std::string_view prompt, const GenerateOptions& options = {},
                       const OnText& on_text = {});
    Generated generate(std::span<const int32_t> prompt, const GenerateOptions& options = {},
                       const OnText& on_text = {});
    // The next turn of a conversation, by Model::render(). Keeps as much of the sequence as both
    // have in common, so that messages may also be taken back or changed.
    Generated chat(const std::vector<Message>& conversation, const GenerateOptions& options = {},
                   const OnText& on_text = {}, const std::string& kwargs = {});

    // Appends tokens and gives their logits.
    std::vector<float> logits(std::span<const int32_t> tokens, const LogitsOptions& options = {});

    // Cuts the sequence back to its first `count` tokens, as if no more had come.
    void truncate(int64_t count);
    void reset() { truncate(0); }
    std::span<const int32_t> tokens() const;  // valid until the next call that changes them
    int64_t room() const;                     // tokens of context that are left

    // Ends the call in progress: generate() and chat() return with Stop::kCancelled, append() and
    // logits() throw CallCancelled. Without one it does nothing. Any thread; does not wait.
    void cancel() noexcept;

  private:
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
