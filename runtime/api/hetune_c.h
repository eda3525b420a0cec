// libhetune for C99, and for whatever calls C: the same as hetune.h, by handles.
//
//   hetune_model* model = NULL;
//   hetune_sequence* sequence = NULL;
//   if (hetune_model_load("model.gguf", NULL, &model) != HETUNE_OK ||
//       hetune_sequence_open(model, &sequence) != HETUNE_OK ||
//       hetune_sequence_generate(sequence, "Once upon a time", HETUNE_STRLEN, NULL, on_text, NULL,
//                                NULL) != HETUNE_OK)
//       fprintf(stderr, "%s\n", hetune_last_error());
//   hetune_sequence_free(sequence);
//   hetune_model_free(model);
//
// Errors: a function that can fail returns a hetune_status. hetune_last_error() has the text. After
// an error nothing was written to the places for results. A handle or a place for a result that is
// NULL is a HETUNE_REQUEST_ERROR, except where its function takes NULL. Functions that free take
// NULL.
//
// Texts are UTF-8. A text that may hold any byte comes with its `bytes`; HETUNE_STRLEN stands for
// the length of one that ends with a NUL byte. All other texts end with a NUL byte, and so do all
// texts that the library gives, whether their length is asked for (`bytes` may be NULL there) or
// not.
//
// Memory: what comes back by a pointer to non-const (char**, int32_t**, float**) belongs to the
// caller, who gives it to hetune_free(). What comes back by a pointer to const belongs to the
// handle that was asked, and stays as it is as long as that handle, or as the function says.
// Handles are freed by the function of their kind, in any order: a sequence holds its model. What
// goes in is copied before the function returns.
//
// Threads: any number may use a hetune_model at the same time. One thread at a time uses a
// hetune_sequence, except for hetune_sequence_cancel(). Options and results are plain values: one
// thread at a time changes them, any number read them. No other thread may use what a thread frees.
//
// Callbacks are called in the thread of the function that has them, those of hetune_model_options
// in any thread, one at a time. They may use the model, but not the sequence that calls; they must
// not throw, and must not leave by longjmp(). `user` is handed on to them as it is.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HETUNE_API __attribute__((visibility("default")))
#define HETUNE_STRLEN ((size_t)-1)

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hetune_model_options hetune_model_options;
typedef struct hetune_model hetune_model;
typedef struct hetune_generate_options hetune_generate_options;
typedef struct hetune_sequence hetune_sequence;
typedef struct hetune_result hetune_result;

// ---- Errors. The kinds are the classes of hetune/planner/file/errors.h, which say more of each.

typedef enum hetune_status {
    HETUNE_OK = 0,
    HETUNE_REQUEST_ERROR = 1,    // a call that asks for what cannot be; nothing has happened
    HETUNE_OPTION_ERROR = 2,     // an option with a name or a value that it cannot have
    HETUNE_CONTEXT_ERROR = 3,    // tokens that do not fit into what is left of the context
    HETUNE_OVERLOADED = 4,       // too many calls wait for the model; may succeed later
    HETUNE_DEVICE_ERROR = 5,     // a device that is not there, or refused a call
    HETUNE_DEVICE_LOST = 6,      // the device failed; so does every further call of the model
    HETUNE_MODEL_ERROR = 7,      // a broken or unsupported model file
    HETUNE_MEMORY_ERROR = 8,     // the model does not fit, or the host has no memory left
    HETUNE_COMPILE_ERROR = 9,    // a kernel that cannot be compiled; hetune_last_error_log()
    HETUNE_NUMBER_ERROR = 10,    // logits that are NaN or infinite; the sequence is empty
    HETUNE_LOAD_CANCELLED = 11,  // the callback of hetune_model_options_cancelled() said so
    HETUNE_OTHER_ERROR = 12,     // none of these kinds
    HETUNE_CALL_CANCELLED = 13   // hetune_sequence_cancel() ended it; the computed tokens stay
} hetune_status;

// "ok", "RequestError", "Overloaded" ...: the class of hetune.h. "unknown" for any other number.
HETUNE_API const char* hetune_status_name(int status);

// The text of the calling thread's last error, which names the file, tensor, kernel, option or
// argument and says what to do; "" without one. Valid until the thread's next failing call.
HETUNE_API const char* hetune_last_error(void);
// Behind a HETUNE_COMPILE_ERROR, all that the compiler said; else "". Valid as long.
HETUNE_API const char* hetune_last_error_log(void);

// Frees an array or a text that belongs to the caller.
HETUNE_API void hetune_free(void* memory);

// ---- The library. Any thread.

HETUNE_API const char* hetune_version(void);  // "0.1.0"
// The same as numbers; each place may be NULL. Before 1.0 a new minor version may change anything
// here, and has another soname.
HETUNE_API void hetune_version_numbers(int* major, int* minor, int* patch);
// The folder of the cache; "": in memory.
HETUNE_API hetune_status hetune_cache_folder(char** folder);
// JSON: {"devices": [{"index", "backend", "name", "arch", "memory_bytes", "integrated",
// "unusable"}], "unavailable": [one line for each backend without a device]}. An "index" is for
// the option "device"; -1 is the CPU. "unusable" is the reason, or "".
HETUNE_API hetune_status hetune_devices(char** json);

// ---- Options of a model. Members have the names, meanings and defaults of ModelOptions in
// hetune.h: "backend", "context", "kv_type" ...

HETUNE_API hetune_status hetune_model_options_create(hetune_model_options** options);
HETUNE_API void hetune_model_options_free(hetune_model_options* options);
// Sets one member. Numbers are decimal; truth values are "true" and "false". A name or value that
// cannot be is a HETUNE_OPTION_ERROR, which lists the names that there are; limits of a value are
// looked at by hetune_model_load().
HETUNE_API hetune_status hetune_model_options_set(hetune_model_options* options, const char* name,
                                                  const char* value);

// While loading: "compile", "repack" or "certify", with how many are done of how many.
typedef void (*hetune_on_progress)(const char* stage, size_t done, size_t total, void* user);
// While loading: the template of a kernel that was compiled.
typedef void (*hetune_on_compiled)(const char* kernel, void* user);
// Asked often; other than 0 ends what is in progress. Must be quick.
typedef int (*hetune_is_cancelled)(void* user);
// A warning of one line, as long as the model lives.
typedef void (*hetune_on_warning)(const char* line, void* user);

// Each sets one callback; NULL: none. What `user` points to must be there until the model and all
// its sequences are freed.
HETUNE_API hetune_status hetune_model_options_progress(hetune_model_options* options,
                                                       hetune_on_progress callback, void* user);
HETUNE_API hetune_status hetune_model_options_compiled(hetune_model_options* options,
                                                       hetune_on_compiled callback, void* user);
HETUNE_API hetune_status hetune_model_options_cancelled(hetune_model_options* options,
                                                        hetune_is_cancelled callback, void* user);
HETUNE_API hetune_status hetune_model_options_warn(hetune_model_options* options,
                                                   hetune_on_warning callback, void* user);

// ---- A model. Any thread.

// Loads a model file. `options` may be NULL: all defaults.
HETUNE_API hetune_status hetune_model_load(const char* path, const hetune_model_options* options,
                                           hetune_model** model);
// The model itself goes with the last of its sequences.
HETUNE_API void hetune_model_free(hetune_model* model);

// All members of ModelInfo in hetune.h, as a JSON object, or one by its name, as text.
HETUNE_API hetune_status hetune_model_info(const hetune_model* model, const char** json);
HETUNE_API hetune_status hetune_model_value(const hetune_model* model, const char* name,
                                            const char** value);

// Flags of hetune_model_tokenize(): any of them, or 0.
enum {
    HETUNE_PARSE_SPECIAL = 1,  // control tokens written out in the text count as such
    HETUNE_FIRST = 2  // what stands at the start of a context, such as BOS, is put in front
};
HETUNE_API hetune_status hetune_model_tokenize(const hetune_model* model, const char* text,
                                               size_t bytes, int flags, int32_t** tokens,
                                               size_t* count);
HETUNE_API hetune_status hetune_model_detokenize(const hetune_model* model, const int32_t* tokens,
                                                 size_t count, char** text, size_t* bytes);

// Flags of hetune_model_embed(): any of them, or 0.
enum {
    HETUNE_POOL_MEAN = 1,  // of the hidden states of all tokens; else as the file says, or the last
    HETUNE_POOL_LAST = 2,  // that of the last token
    HETUNE_NOT_SCALED = 4  // else the vector has length 1
};
// A text as a vector of `floats` numbers. The model is loaded with the option "embeddings".
HETUNE_API hetune_status hetune_model_embed(const hetune_model* model, const char* text,
                                            size_t bytes, int flags, float** values,
                                            size_t* floats);
HETUNE_API hetune_status hetune_model_embed_tokens(const hetune_model* model, const int32_t* tokens,
                                                   size_t count, int flags, float** values,
                                                   size_t* floats);

// *has is 0 where ChatML stands in for a chat template, else 1.
HETUNE_API hetune_status hetune_model_has_chat_template(const hetune_model* model, int* has);
// A conversation by the model's chat template, with the opening of the next answer. `messages` is
// JSON: [{"role": "user", "content": "Hello"}]. `kwargs`: further variables of the template, a JSON
// object such as {"enable_thinking": false}; may be NULL.
HETUNE_API hetune_status hetune_model_render(const hetune_model* model, const char* messages,
                                             const char* kwargs, int32_t** tokens, size_t* count);

// The plan of a decode step, or of a prefill step where `prefill` is not 0, as JSON: steps,
// buffers, bytes and roofline. "" on the reference backend.
HETUNE_API hetune_status hetune_model_plan(const hetune_model* model, int prefill, char** json);

// ---- Options of a generation. Members have the names, meanings and defaults of GenerateOptions
// and its Sampling in hetune.h: "max_tokens", "temperature" ...; each "stop" adds a text that ends
// the answer. "deadline_seconds" counts from the start of each call.

HETUNE_API hetune_status hetune_generate_options_create(hetune_generate_options** options);
HETUNE_API void hetune_generate_options_free(hetune_generate_options* options);
HETUNE_API hetune_status hetune_generate_options_set(hetune_generate_options* options,
                                                     const char* name, const char* value);
// Asked by the thread that generates, some times a second; NULL: nobody.
HETUNE_API hetune_status hetune_generate_options_cancelled(hetune_generate_options* options,
                                                           hetune_is_cancelled callback,
                                                           void* user);

// ---- A sequence: one text, tokens and what the model has computed of them. One thread at a time.

HETUNE_API hetune_status hetune_sequence_open(const hetune_model* model,
                                              hetune_sequence** sequence);
// Another sequence with the same tokens, to go on in another way; both are to be freed.
HETUNE_API hetune_status hetune_sequence_fork(const hetune_sequence* sequence,
                                              hetune_sequence** fork);
HETUNE_API void hetune_sequence_free(hetune_sequence* sequence);

// Appends a prompt and computes it.
HETUNE_API hetune_status hetune_sequence_append(hetune_sequence* sequence, const char* text,
                                                size_t bytes);
HETUNE_API hetune_status hetune_sequence_append_tokens(hetune_sequence* sequence,
                                                       const int32_t* tokens, size_t count);

// Text as it arrives, always whole UTF-8 sequences; `text` ends with a NUL byte and is valid during
// the call. Returns 0 to stop, after which it is not called again.
typedef int (*hetune_on_text)(const char* text, size_t bytes, void* user);

// Appends a prompt, which may be empty behind another one, and generates. What was generated stays
// in the sequence. `options` may be NULL: all defaults; `on_text` may be NULL; so may `result`
// where nobody needs it. After HETUNE_REQUEST_ERROR and its kin (option, context) and
// HETUNE_OVERLOADED the sequence is as it was; after HETUNE_NUMBER_ERROR it is empty.
HETUNE_API hetune_status hetune_sequence_generate(hetune_sequence* sequence, const char* prompt,
                                                  size_t bytes,
                                                  const hetune_generate_options* options,
                                                  hetune_on_text on_text, void* user,
                                                  hetune_result** result);
HETUNE_API hetune_status hetune_sequence_generate_tokens(hetune_sequence* sequence,
                                                         const int32_t* prompt, size_t count,
                                                         const hetune_generate_options* options,
                                                         hetune_on_text on_text, void* user,
                                                         hetune_result** result);
// The next turn of a conversation, as hetune_model_render() takes one. Keeps as much of the
// sequence as both have in common.
HETUNE_API hetune_status hetune_sequence_chat(hetune_sequence* sequence, const char* messages,
                                              const char* kwargs,
                                              const hetune_generate_options* options,
                                              hetune_on_text on_text, void* user,
                                              hetune_result** result);

// Flags of hetune_sequence_logits(): any of them, or 0.
enum {
    HETUNE_EVERY_POSITION = 1,  // [count, vocabulary]; else of the last one, [vocabulary]
    HETUNE_ONE_BY_ONE = 2       // each token by a step of its own, as those of an answer
};
// Appends tokens and gives their logits, `floats` of them.
HETUNE_API hetune_status hetune_sequence_logits(hetune_sequence* sequence, const int32_t* tokens,
                                                size_t count, int flags, float** logits,
                                                size_t* floats);

// Cuts the sequence back to its first `count` tokens, as if no more had come.
HETUNE_API hetune_status hetune_sequence_truncate(hetune_sequence* sequence, int64_t count);
HETUNE_API hetune_status hetune_sequence_reset(hetune_sequence* sequence);
// Valid until the next call that changes the sequence.
HETUNE_API hetune_status hetune_sequence_tokens(const hetune_sequence* sequence,
                                                const int32_t** tokens, size_t* count);
// Tokens of context that are left.
HETUNE_API hetune_status hetune_sequence_room(const hetune_sequence* sequence, int64_t* tokens);

// Ends the call in progress: a generation stops with "cancelled", other calls fail with
// HETUNE_CALL_CANCELLED. Without a call it does nothing. Any thread; does not wait.
HETUNE_API hetune_status hetune_sequence_cancel(hetune_sequence* sequence);

// ---- What was generated.

HETUNE_API void hetune_result_free(hetune_result* result);
HETUNE_API hetune_status hetune_result_text(const hetune_result* result, const char** text,
                                            size_t* bytes);
HETUNE_API hetune_status hetune_result_tokens(const hetune_result* result, const int32_t** tokens,
                                              size_t* count);
// With the option "logprobs": one for each token; else none.
HETUNE_API hetune_status hetune_result_logprobs(const hetune_result* result, const float** logprobs,
                                                size_t* count);
// With the option "logprobs", the most likely tokens in the place of the token `index`, best first,
// and as many logprobs.
HETUNE_API hetune_status hetune_result_top_logprobs(const hetune_result* result, size_t index,
                                                    const int32_t** tokens, const float** logprobs,
                                                    size_t* count);
// A member of Generated in hetune.h as text: "stop" ("end", "stop", "length", "context",
// "callback", "cancelled", "deadline"), "stop_string", "prompt_tokens", "cached_tokens",
// "prefill_seconds", "decode_seconds", "prefill_host_seconds",
// "decode_host_seconds".
HETUNE_API hetune_status hetune_result_value(const hetune_result* result, const char* name,
                                             const char** value);

#ifdef __cplusplus
}
#endif
