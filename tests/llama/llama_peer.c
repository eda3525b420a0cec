/* What llama.cpp makes of a file, for llama_test:
     llama_peer load MODEL                    maps the file as for inference
     llama_peer logits MODEL TOKENS OUT       float32 logits of every token; TOKENS and OUT are raw arrays
     llama_peer tokens MODEL TEXTS OUT        TEXTS: int32 length and bytes of each; OUT: int32 count and ids
   Everything is float32 that can be. Exit code 1 and a line on stderr when llama.cpp refuses. */
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char* what, const char* name) {
    fprintf(stderr, "llama_peer: %s %s\n", what, name);
    return 1;
}

static void only_errors(enum ggml_log_level level, const char* text, void* data) {
    (void)data;
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

static char* read_all(const char* name, size_t* bytes) {
    FILE* file = fopen(name, "rb");
    if (file == NULL) return NULL;
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char* data = malloc(*bytes + 1);
    if (fread(data, 1, *bytes, file) != *bytes) *bytes = 0;
    fclose(file);
    return data;
}

static int write_logits(struct llama_model* model, const char* tokens_file, FILE* out) {
    size_t bytes = 0;
    llama_token* tokens = (llama_token*)read_all(tokens_file, &bytes);
    if (tokens == NULL) return fail("cannot read", tokens_file);
    const int32_t count = (int32_t)(bytes / sizeof(llama_token));
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = params.n_ubatch = (uint32_t)(count < 64 ? 64 : count);
    params.n_threads = params.n_threads_batch = 2;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.type_k = params.type_v = GGML_TYPE_F32;
    struct llama_context* context = llama_init_from_model(model, params);
    if (context == NULL) return fail("no context for", "the model");
    struct llama_batch batch = llama_batch_init(count, 0, 1);
    batch.n_tokens = count;
    for (int32_t i = 0; i < count; ++i) {
        batch.token[i] = tokens[i];
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    if (llama_decode(context, batch) != 0) return fail("llama_decode failed for", tokens_file);
    const size_t vocabulary = (size_t)llama_vocab_n_tokens(llama_model_get_vocab(model));
    for (int32_t i = 0; i < count; ++i)
        fwrite(llama_get_logits_ith(context, i), sizeof(float), vocabulary, out);
    return 0;
}

static int write_tokens(struct llama_model* model, const char* texts_file, FILE* out) {
    size_t bytes = 0;
    char* texts = read_all(texts_file, &bytes);
    if (texts == NULL) return fail("cannot read", texts_file);
    for (size_t at = 0; at + 4 <= bytes;) {
        int32_t length = 0;
        memcpy(&length, texts + at, 4);
        llama_token* ids = malloc(sizeof(llama_token) * ((size_t)length + 8));
        const int32_t count = llama_tokenize(llama_model_get_vocab(model), texts + at + 4, length, ids,
                                             length + 8, true, false);
        if (count < 0) return fail("llama_tokenize failed in", texts_file);
        fwrite(&count, 4, 1, out);
        fwrite(ids, sizeof(llama_token), (size_t)count, out);
        free(ids);
        at += 4 + (size_t)length;
    }
    return 0;
}

int main(int argc, char** argv) {
    const int loads = argc == 3 && strcmp(argv[1], "load") == 0;
    const int logits = argc == 5 && strcmp(argv[1], "logits") == 0;
    const int tokens = argc == 5 && strcmp(argv[1], "tokens") == 0;
    if (!loads && !logits && !tokens) return fail("usage: llama_peer load|logits|tokens MODEL", "[IN OUT]");
    llama_log_set(only_errors, NULL);
    llama_backend_init();
    ggml_backend_load_all();
    struct llama_model_params params = llama_model_default_params();
    params.vocab_only = tokens;
    params.load_mode = LLAMA_LOAD_MODE_MMAP;
    params.use_extra_bufts = 0; /* weights stay in the file, in their own layout */
    params.n_gpu_layers = 0;
    struct llama_model* model = llama_model_load_from_file(argv[2], params);
    if (model == NULL) return fail("llama.cpp refuses", argv[2]);
    if (loads) return 0;
    FILE* out = fopen(argv[4], "wb");
    if (out == NULL) return fail("cannot write", argv[4]);
    const int status = logits ? write_logits(model, argv[3], out) : write_tokens(model, argv[3], out);
    return fclose(out) == 0 ? status : fail("cannot write", argv[4]);
}
