// The whole of hetune_c.h from C99. usage: program MODEL; ends with 1 at the first thing that is not
// as it should be.
#include <hetune/hetune_c.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition)                                                                 \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            fprintf(stderr, "%s:%d: %s (last error: %s)\n", __FILE__, __LINE__, #condition, \
                    hetune_last_error());                                                  \
            exit(1);                                                                       \
        }                                                                                  \
    } while (0)
#define OK(call) REQUIRE((call) == HETUNE_OK)
// A call that fails with this status and a text with `part` in it.
#define FAILS(call, status, part) \
    REQUIRE((call) == (status) && strstr(hetune_last_error(), part) != NULL)

static const char* value(const hetune_result* result, const char* name) {
    const char* text = NULL;
    OK(hetune_result_value(result, name, &text));
    return text;
}

static hetune_model_options* cpu_options(void) {
    hetune_model_options* options = NULL;
    OK(hetune_model_options_create(&options));
    OK(hetune_model_options_set(options, "backend", "cpu"));
    OK(hetune_model_options_set(options, "context", "256"));
    return options;
}

struct loading {
    size_t progress, warnings, compiled;
};
static void on_progress(const char* stage, size_t done, size_t total, void* user) {
    REQUIRE(strlen(stage) > 0 && done <= total);
    ++((struct loading*)user)->progress;
}
static void on_compiled(const char* kernel, void* user) {
    REQUIRE(strlen(kernel) > 0);
    ++((struct loading*)user)->compiled;
}
static void on_warning(const char* line, void* user) {
    REQUIRE(strlen(line) > 0);
    ++((struct loading*)user)->warnings;
}
static int yes(void* user) {
    (void)user;
    return 1;
}

static hetune_model* load(const char* path) {
    struct loading seen = {0, 0, 0};
    hetune_model_options* options = cpu_options();
    hetune_model* model = NULL;
    const char* text = NULL;
    char compiled[32];
    OK(hetune_model_options_set(options, "most_waiting", "1"));
    OK(hetune_model_options_progress(options, on_progress, &seen));
    OK(hetune_model_options_compiled(options, on_compiled, &seen));
    OK(hetune_model_options_warn(options, on_warning, &seen));
    OK(hetune_model_load(path, options, &model));
    hetune_model_options_free(options);
    REQUIRE(seen.warnings == 0);
    OK(hetune_model_value(model, "kernels_compiled", &text));
    snprintf(compiled, sizeof compiled, "%zu", seen.compiled);
    REQUIRE(strcmp(text, compiled) == 0 && (seen.compiled == 0 || seen.progress > 0));
    OK(hetune_model_value(model, "backend", &text));
    REQUIRE(strcmp(text, "cpu") == 0);
    OK(hetune_model_info(model, &text));
    REQUIRE(strstr(text, "\"context\": 256") != NULL);
    FAILS(hetune_model_value(model, "contxt", &text), HETUNE_REQUEST_ERROR, "trained_context");
    return model;
}

static void loads_that_fail(const char* path) {
    hetune_model* model = NULL;
    hetune_model_options* options = cpu_options();
    FAILS(hetune_model_load("/nowhere.gguf", NULL, &model), HETUNE_MODEL_ERROR, "/nowhere.gguf");
    FAILS(hetune_model_options_set(options, "contxt", "5"), HETUNE_OPTION_ERROR, "kv_type");
    FAILS(hetune_model_options_set(options, "context", "five"), HETUNE_OPTION_ERROR,
          "ModelOptions::context is 'five'");
    OK(hetune_model_options_set(options, "context", "-5"));
    FAILS(hetune_model_load(path, options, &model), HETUNE_OPTION_ERROR,
          "ModelOptions::context is -5");
    OK(hetune_model_options_set(options, "context", "256"));
    OK(hetune_model_options_set(options, "memory_limit", "1000"));
    FAILS(hetune_model_load(path, options, &model), HETUNE_MEMORY_ERROR, "does not fit");
    OK(hetune_model_options_set(options, "memory_limit", "0"));
    OK(hetune_model_options_cancelled(options, yes, NULL));
    FAILS(hetune_model_load(path, options, &model), HETUNE_LOAD_CANCELLED, path);
    OK(hetune_model_options_cancelled(options, NULL, NULL));
    OK(hetune_model_options_set(options, "backend", "hip"));
    OK(hetune_model_options_set(options, "device", "1000"));
    FAILS(hetune_model_load(path, options, &model), HETUNE_OPTION_ERROR, "device is 1000");
    OK(hetune_model_options_set(options, "device", "-1"));
    FAILS(hetune_model_load(path, options, &model), HETUNE_DEVICE_ERROR, "HIP");
    OK(hetune_model_options_set(options, "backend", "cpu"));
    // Kernels that no cache has.
    OK(hetune_model_options_set(options, "no_jit", "true"));
    OK(hetune_model_options_set(options, "fusion", "false"));
    FAILS(hetune_model_load(path, options, &model), HETUNE_COMPILE_ERROR, "kernel");
    hetune_model_options_free(options);
    REQUIRE(model == NULL);
}

static void null_is_an_error(void) {
    hetune_model* model = NULL;
    hetune_sequence* sequence = NULL;
    int32_t* tokens = NULL;
    size_t count = 0;
    int has = 0;
    FAILS(hetune_model_load(NULL, NULL, &model), HETUNE_REQUEST_ERROR, "`path` is NULL");
    FAILS(hetune_model_load("a", NULL, NULL), HETUNE_REQUEST_ERROR, "`model` is NULL");
    FAILS(hetune_sequence_open(NULL, &sequence), HETUNE_REQUEST_ERROR, "`model` is NULL");
    FAILS(hetune_model_tokenize(NULL, "a", 1, 0, &tokens, &count), HETUNE_REQUEST_ERROR, "`model`");
    FAILS(hetune_model_has_chat_template(NULL, &has), HETUNE_REQUEST_ERROR, "`model`");
    FAILS(hetune_sequence_append(NULL, "a", 1), HETUNE_REQUEST_ERROR, "`sequence`");
    FAILS(hetune_sequence_generate(NULL, "a", 1, NULL, NULL, NULL, NULL), HETUNE_REQUEST_ERROR,
          "`sequence`");
    FAILS(hetune_sequence_cancel(NULL), HETUNE_REQUEST_ERROR, "`sequence`");
    FAILS(hetune_result_text(NULL, NULL, NULL), HETUNE_REQUEST_ERROR, "`result`");
    FAILS(hetune_model_options_set(NULL, "a", "b"), HETUNE_REQUEST_ERROR, "`options`");
    hetune_model_free(NULL);
    hetune_model_options_free(NULL);
    hetune_generate_options_free(NULL);
    hetune_sequence_free(NULL);
    hetune_result_free(NULL);
    hetune_free(NULL);
}

static void library(void) {
    int major = -1, minor = -1, patch = -1;
    char numbers[40];
    char* text = NULL;
    hetune_version_numbers(&major, &minor, &patch);
    hetune_version_numbers(NULL, NULL, NULL);
    snprintf(numbers, sizeof numbers, "%d.%d.%d", major, minor, patch);
    REQUIRE(strcmp(hetune_version(), numbers) == 0);
    OK(hetune_devices(&text));
    REQUIRE(strstr(text, "\"backend\": \"cpu\"") != NULL);
    hetune_free(text);
    OK(hetune_cache_folder(&text));
    REQUIRE(strcmp(text, getenv("HETUNE_CACHE_DIR")) == 0);
    hetune_free(text);
    REQUIRE(strcmp(hetune_status_name(HETUNE_DEVICE_LOST), "DeviceLost") == 0);
    REQUIRE(strcmp(hetune_status_name(99), "unknown") == 0);
}

static void text_and_tokens(const hetune_model* model) {
    int32_t *tokens = NULL, *whole = NULL;
    size_t count = 0, all = 0, bytes = 0;
    char* text = NULL;
    int has = -1;
    const int32_t none = -7;
    OK(hetune_model_tokenize(model, "Ownership is", HETUNE_STRLEN, 0, &tokens, &count));
    OK(hetune_model_tokenize(model, "Ownership is a set", 12, 0, &whole, &all));
    REQUIRE(count > 0 && all == count && memcmp(tokens, whole, count * sizeof *tokens) == 0);
    OK(hetune_model_detokenize(model, tokens, count, &text, &bytes));
    REQUIRE(bytes == 12 && strcmp(text, "Ownership is") == 0);
    hetune_free(text);
    hetune_free(whole);
    hetune_free(tokens);
    FAILS(hetune_model_tokenize(model, "a", 1, 64, &tokens, &count), HETUNE_REQUEST_ERROR, "flags");
    FAILS(hetune_model_detokenize(model, &none, 1, &text, NULL), HETUNE_REQUEST_ERROR, "-7");
    OK(hetune_model_has_chat_template(model, &has));
    REQUIRE(has == 0 || has == 1);
    OK(hetune_model_render(model, "[{\"role\": \"user\", \"content\": \"Hello\"}]", NULL, &tokens,
                           &count));
    REQUIRE(count > 0);
    hetune_free(tokens);
    FAILS(hetune_model_render(model, "[{\"role\": 5}]", NULL, &tokens, &count),
          HETUNE_REQUEST_ERROR, "role");
    FAILS(hetune_model_render(model, "Hello", NULL, &tokens, &count), HETUNE_REQUEST_ERROR, "JSON");
    OK(hetune_model_plan(model, 0, &text));
    REQUIRE(text[0] == '{');
    hetune_free(text);
}

struct answer {
    char text[2048];
    size_t calls, most_calls;
};
static int on_text(const char* text, size_t bytes, void* user) {
    struct answer* answer = user;
    REQUIRE(strlen(text) == bytes && strlen(answer->text) + bytes < sizeof answer->text);
    strcat(answer->text, text);
    return ++answer->calls < answer->most_calls;
}

static void generate(const hetune_model* model) {
    struct answer answer = {"", 0, 1000};
    hetune_generate_options* options = NULL;
    hetune_sequence* sequence = NULL;
    hetune_result *result = NULL, *again = NULL;
    const char *text = NULL, *other = NULL;
    const int32_t *tokens = NULL, *top = NULL;
    const float *logprobs = NULL, *top_logprobs = NULL;
    size_t bytes = 0, count = 0, held = 0;
    int64_t room = 0;
    OK(hetune_generate_options_create(&options));
    OK(hetune_generate_options_set(options, "max_tokens", "8"));
    OK(hetune_sequence_open(model, &sequence));
    OK(hetune_sequence_generate(sequence, "Ownership is", HETUNE_STRLEN, options, on_text, &answer,
                                &result));
    OK(hetune_result_text(result, &text, &bytes));
    REQUIRE(strlen(text) == bytes && strcmp(text, answer.text) == 0 && answer.calls > 1);
    OK(hetune_result_tokens(result, &tokens, &count));
    REQUIRE(count == 8 && strcmp(value(result, "stop"), "length") == 0);
    OK(hetune_result_logprobs(result, &logprobs, &count));
    REQUIRE(count == 0);
    FAILS(hetune_result_top_logprobs(result, 0, &tokens, &logprobs, &count), HETUNE_REQUEST_ERROR,
          "logprobs");
    FAILS(hetune_result_value(result, "why", &text), HETUNE_REQUEST_ERROR, "stop_string");
    OK(hetune_result_text(result, &text, NULL));
    printf("%s\n8 tokens, cpu\n", text);

    // What the sequence holds, cut back to its prompt: the same answer, with its probabilities.
    OK(hetune_sequence_tokens(sequence, &tokens, &held));
    OK(hetune_sequence_room(sequence, &room));
    REQUIRE((int64_t)held + room == 256 && held > 8);
    OK(hetune_sequence_reset(sequence));
    OK(hetune_generate_options_set(options, "logprobs", "2"));
    OK(hetune_sequence_generate(sequence, "Ownership is", 12, options, NULL, NULL, &again));
    OK(hetune_result_text(again, &other, NULL));
    REQUIRE(strcmp(text, other) == 0);
    FAILS(hetune_result_tokens(again, &tokens, NULL), HETUNE_REQUEST_ERROR, "`count`");
    OK(hetune_result_tokens(again, &tokens, &count));
    OK(hetune_result_logprobs(again, &logprobs, &count));
    REQUIRE(count == 8 && logprobs[7] <= 0);
    OK(hetune_result_top_logprobs(again, 7, &top, &top_logprobs, &count));
    REQUIRE(count == 2 && top[0] == tokens[7] && top_logprobs[0] == logprobs[7] &&
            top_logprobs[0] >= top_logprobs[1]);
    hetune_result_free(again);
    OK(hetune_generate_options_set(options, "logprobs", "-1"));

    // The callback stops, and so does a text.
    memset(&answer, 0, sizeof answer);
    answer.most_calls = 2;
    OK(hetune_sequence_reset(sequence));
    OK(hetune_sequence_generate(sequence, "Ownership is", 12, options, on_text, &answer, &again));
    REQUIRE(answer.calls == 2 && strcmp(value(again, "stop"), "callback") == 0);
    hetune_result_free(again);
    OK(hetune_generate_options_set(options, "stop", "not in the answer"));
    OK(hetune_generate_options_set(options, "stop", text + 4));
    OK(hetune_sequence_reset(sequence));
    OK(hetune_sequence_generate(sequence, "Ownership is", 12, options, NULL, NULL, &again));
    REQUIRE(strcmp(value(again, "stop"), "stop") == 0);
    REQUIRE(strcmp(value(again, "stop_string"), text + 4) == 0);
    OK(hetune_result_text(again, &other, &bytes));
    REQUIRE(bytes == 4 && strncmp(text, other, 4) == 0);
    hetune_result_free(again);
    hetune_result_free(result);

    FAILS(hetune_generate_options_set(options, "temprature", "1"), HETUNE_OPTION_ERROR,
          "temperature");
    OK(hetune_generate_options_set(options, "top_p", "7"));
    FAILS(hetune_sequence_generate(sequence, "a", 1, options, NULL, NULL, NULL),
          HETUNE_OPTION_ERROR, "Sampling::top_p is 7");
    OK(hetune_generate_options_set(options, "top_p", "1"));
    OK(hetune_generate_options_set(options, "deadline_seconds", "0"));
    OK(hetune_sequence_reset(sequence));
    OK(hetune_sequence_generate(sequence, "Ownership", 9, options, NULL, NULL, &result));
    REQUIRE(strcmp(value(result, "stop"), "deadline") == 0);
    hetune_result_free(result);
    hetune_generate_options_free(options);
    hetune_sequence_free(sequence);
}

static void chat(const hetune_model* model) {
    hetune_generate_options* options = NULL;
    hetune_sequence* sequence = NULL;
    hetune_result* result = NULL;
    OK(hetune_generate_options_create(&options));
    OK(hetune_generate_options_set(options, "max_tokens", "2"));
    OK(hetune_sequence_open(model, &sequence));
    OK(hetune_sequence_chat(sequence, "[{\"role\": \"user\", \"content\": \"Hello\"}]", NULL,
                            options, NULL, NULL, &result));
    REQUIRE(strcmp(value(result, "cached_tokens"), "0") == 0);
    hetune_result_free(result);
    OK(hetune_sequence_chat(sequence, "[{\"role\": \"user\", \"content\": \"Hello!\"}]", "{}",
                            options, NULL, NULL, &result));
    REQUIRE(strcmp(value(result, "cached_tokens"), "0") != 0);
    hetune_result_free(result);
    hetune_generate_options_free(options);
    hetune_sequence_free(sequence);
}

static void logits(const hetune_model* model) {
    const int32_t tokens[] = {5, 17, 300, 42};
    hetune_sequence *sequence = NULL, *fork = NULL;
    float *last = NULL, *each = NULL, *again = NULL;
    size_t width = 0, all = 0, more = 0;
    OK(hetune_sequence_open(model, &sequence));
    OK(hetune_sequence_logits(sequence, tokens, 4, HETUNE_ONE_BY_ONE, &last, &width));
    OK(hetune_sequence_reset(sequence));
    OK(hetune_sequence_logits(sequence, tokens, 4, HETUNE_ONE_BY_ONE | HETUNE_EVERY_POSITION, &each,
                              &all));
    REQUIRE(all == 4 * width && memcmp(each + 3 * width, last, width * sizeof *last) == 0);
    OK(hetune_sequence_truncate(sequence, 3));
    OK(hetune_sequence_logits(sequence, tokens + 3, 1, HETUNE_ONE_BY_ONE, &again, &more));
    REQUIRE(more == width && memcmp(again, last, width * sizeof *last) == 0);
    hetune_free(again);
    FAILS(hetune_sequence_truncate(sequence, 9), HETUNE_REQUEST_ERROR, "9");
    OK(hetune_sequence_truncate(sequence, 3));
    OK(hetune_sequence_fork(sequence, &fork));
    hetune_sequence_free(sequence);
    OK(hetune_sequence_logits(fork, tokens + 3, 1, HETUNE_ONE_BY_ONE, &again, &more));
    REQUIRE(more == width && memcmp(again, last, width * sizeof *last) == 0);
    hetune_free(again);
    hetune_free(each);
    hetune_free(last);
    hetune_sequence_free(fork);
}

static void context(const hetune_model* model) {
    int32_t tokens[300];
    hetune_sequence* sequence = NULL;
    int64_t room = 0;
    size_t i;
    for (i = 0; i < 300; ++i) tokens[i] = 5;
    OK(hetune_sequence_open(model, &sequence));
    FAILS(hetune_sequence_append_tokens(sequence, tokens, 300), HETUNE_CONTEXT_ERROR, "300");
    OK(hetune_sequence_append_tokens(sequence, tokens, 30));
    OK(hetune_sequence_append(sequence, " and", HETUNE_STRLEN));
    OK(hetune_sequence_room(sequence, &room));
    REQUIRE(room < 226);
    OK(hetune_sequence_generate_tokens(sequence, tokens, 0, NULL, NULL, NULL, NULL));
    hetune_sequence_free(sequence);
}

// What a call in progress allows others: another sequence of the model is one call too many here,
// and any thread may cancel. The answer is longer than what the model writes ahead, so the call is
// in progress as long as its callback has not returned.
struct busy {
    const hetune_model* model;
    hetune_sequence* sequence;
    int calls;
};
static void* cancel(void* user) {
    const struct busy* busy = user;
    OK(hetune_sequence_cancel(busy->sequence));
    FAILS(hetune_sequence_cancel(NULL), HETUNE_REQUEST_ERROR, "NULL");
    return NULL;
}
static int while_busy(const char* text, size_t bytes, void* user) {
    struct busy* busy = user;
    hetune_sequence* other = NULL;
    pthread_t thread;
    REQUIRE(strlen(text) == bytes);
    if (busy->calls++ > 0) return 1;
    OK(hetune_sequence_open(busy->model, &other));
    FAILS(hetune_sequence_append(other, "a", 1), HETUNE_OVERLOADED, "most_waiting");
    hetune_sequence_free(other);
    REQUIRE(pthread_create(&thread, NULL, cancel, busy) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    REQUIRE(strstr(hetune_last_error(), "most_waiting") != NULL);  // each thread has its own
    return 1;
}
static void threads(const hetune_model* model) {
    struct busy busy = {NULL, NULL, 0};
    hetune_generate_options* options = NULL;
    hetune_result* result = NULL;
    busy.model = model;
    OK(hetune_generate_options_create(&options));
    OK(hetune_generate_options_set(options, "max_tokens", "200"));
    OK(hetune_generate_options_set(options, "ignore_end", "true"));
    OK(hetune_sequence_open(model, &busy.sequence));
    OK(hetune_sequence_generate(busy.sequence, "Ownership is", 12, options, while_busy, &busy,
                                &result));
    REQUIRE(strcmp(value(result, "stop"), "cancelled") == 0);
    hetune_result_free(result);
    OK(hetune_generate_options_cancelled(options, yes, NULL));
    OK(hetune_sequence_reset(busy.sequence));
    OK(hetune_sequence_generate(busy.sequence, "Ownership is", 12, options, NULL, NULL, &result));
    REQUIRE(strcmp(value(result, "stop"), "cancelled") == 0);
    hetune_result_free(result);
    hetune_generate_options_free(options);
    hetune_sequence_free(busy.sequence);
}

int main(int argc, char** argv) {
    hetune_model* model = NULL;
    hetune_sequence* sequence = NULL;
    REQUIRE(argc == 2 && strcmp(hetune_last_error(), "") == 0);
    library();
    null_is_an_error();
    model = load(argv[1]);
    loads_that_fail(argv[1]);
    text_and_tokens(model);
    generate(model);
    chat(model);
    logits(model);
    context(model);
    threads(model);
    // A sequence holds its model.
    OK(hetune_sequence_open(model, &sequence));
    hetune_model_free(model);
    OK(hetune_sequence_append(sequence, "Ownership", 9));
    hetune_sequence_free(sequence);
    return 0;
}
