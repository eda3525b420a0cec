// hetune_c.h by itself, on the oracle: options by name, every kind of error, arguments that are no
// use. What programs do with it: c/program.c and ctypes_test.py.
#include <doctest/doctest.h>

#include <fstream>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "runtime/api/c_handles.h"
#include "runtime/api/hetune_c.h"
#include "runtime/api/option_names.h"
#include "tests/cache/test_folder.h"
#include "tests/runtime/damaged_model.h"

namespace hetune {
namespace {

const std::string kTinyModel = std::string(HETUNE_TEST_MODELS) + "/tiny-Q4_K_M.gguf";

// What hetune_last_error() says behind a call that fails as it should.
std::string failed(hetune_status got, hetune_status wanted) {
    CHECK(got == wanted);
    return hetune_last_error();
}

template <class Error, class... Arguments>
void check_kind(hetune_status status, const char* name, const Arguments&... arguments) {
    CAPTURE(name);
    CHECK(guarded([&] { throw Error(arguments...); }) == status);
    CHECK(std::string(hetune_status_name(status)) == name);
}

TEST_CASE("each kind of error has a status of its own, and its text") {
    check_kind<RequestError>(HETUNE_REQUEST_ERROR, "RequestError", "a");
    CHECK(std::string(hetune_last_error()) == "a");
    check_kind<OptionError>(HETUNE_OPTION_ERROR, "OptionError", "a");
    check_kind<ContextError>(HETUNE_CONTEXT_ERROR, "ContextError", "a");
    check_kind<Overloaded>(HETUNE_OVERLOADED, "Overloaded", "a");
    check_kind<DeviceError>(HETUNE_DEVICE_ERROR, "DeviceError", "a");
    check_kind<DeviceLost>(HETUNE_DEVICE_LOST, "DeviceLost", "a");
    check_kind<ModelError>(HETUNE_MODEL_ERROR, "ModelError", "a");
    check_kind<MemoryError>(HETUNE_MEMORY_ERROR, "MemoryError", "a");
    check_kind<NumberError>(HETUNE_NUMBER_ERROR, "NumberError", "a");
    check_kind<LoadCancelled>(HETUNE_LOAD_CANCELLED, "LoadCancelled", "a");
    check_kind<CallCancelled>(HETUNE_CALL_CANCELLED, "CallCancelled", "a");
    check_kind<CompileError>(HETUNE_COMPILE_ERROR, "CompileError", CompileError::Cause::kSource,
                             "a kernel", "line 1: no");
    CHECK(std::string(hetune_last_error()) == "a kernel");
    CHECK(std::string(hetune_last_error_log()) == "line 1: no");
    check_kind<std::logic_error>(HETUNE_OTHER_ERROR, "error", "a bug");
    CHECK(std::string(hetune_last_error()) == "a bug");
    CHECK(std::string(hetune_last_error_log()).empty());
    CHECK(guarded([] { throw std::bad_alloc(); }) == HETUNE_MEMORY_ERROR);
    CHECK(guarded([] { throw 5; }) == HETUNE_OTHER_ERROR);
    CHECK(std::string(hetune_status_name(HETUNE_OK)) == "ok");
    CHECK(guarded([] {}) == HETUNE_OK);
}

TEST_CASE("the text of an error belongs to its thread and outlives calls that succeed") {
    CHECK(guarded([] { throw RequestError("here"); }) == HETUNE_REQUEST_ERROR);
    std::thread([] {
        CHECK(std::string(hetune_last_error()).empty());
        guarded([] { throw RequestError("there"); });
    }).join();
    int major = 0;
    hetune_version_numbers(&major, nullptr, nullptr);
    CHECK(guarded([] {}) == HETUNE_OK);
    CHECK(std::string(hetune_last_error()) == "here");
}

TEST_CASE("options are set by the names of their members, each by its type") {
    ModelOptions model;
    set_option(model, "backend", "cpu");
    set_option(model, "device", "-1");
    set_option(model, "context", "4096");
    set_option(model, "fusion", "false");
    set_option(model, "memory_limit", "9000000000");
    set_option(model, "chat_template", "chatml");
    CHECK(model.backend == "cpu");
    CHECK(model.context == 4096);
    CHECK(!model.fusion);
    CHECK(model.memory_limit == 9'000'000'000);
    CHECK(model.chat_template == "chatml");
    KeptGenerateOptions generate;
    set_option(generate, "max_tokens", "7");
    set_option(generate, "temperature", "0.5");
    set_option(generate, "top_p", "1e-1");
    set_option(generate, "seed", "4294967295");
    set_option(generate, "stop", "one");
    set_option(generate, "stop", "two");
    CHECK(generate.options.max_tokens == 7);
    CHECK(generate.options.sampling.temperature == 0.5);
    CHECK(generate.options.sampling.top_p == 0.1);
    CHECK(generate.options.sampling.seed == 4294967295U);
    CHECK(generate.options.stop == std::vector<std::string>{"one", "two"});
    CHECK(!generate.for_call().deadline);
    set_option(generate, "deadline_seconds", "3e8");
    CHECK(generate.for_call().deadline > std::chrono::steady_clock::now());
}

TEST_CASE("an unknown option and a text that is no value are errors that say what there is") {
    const auto refuse = [](auto options, const char* name, const char* value, const char* text) {
        CAPTURE(name);
        CAPTURE(value);
        CHECK_THROWS_WITH_AS(set_option(options, name, value), doctest::Contains(text),
                             OptionError);
    };
    const ModelOptions model;
    const KeptGenerateOptions generate;
    refuse(model, "temperature", "1", "ModelOptions has no 'temperature'; it has backend, device");
    refuse(generate, "", "1", "GenerateOptions has no ''; it has max_tokens, ignore_end, stop");
    refuse(model, "context", "4k", "ModelOptions::context is '4k'; it must be a whole number");
    refuse(model, "context", "", "ModelOptions::context is ''");
    refuse(model, "context", " 5", "ModelOptions::context is ' 5'");
    refuse(model, "device", "2147483648", "-2147483648 to 2147483647");
    refuse(model, "tiles", "yes", "ModelOptions::tiles is 'yes'; it must be true or false");
    refuse(generate, "seed", "-1", "Sampling::seed is '-1'; it must be a whole number, 0 to 42949");
    refuse(generate, "temperature", "nan", "Sampling::temperature is 'nan'; it must be a number");
    refuse(generate, "top_p", "0,5", "Sampling::top_p is '0,5'");
    for (const char* seconds : {"-1", "inf", "1e9", ""})
        refuse(generate, "deadline_seconds", seconds, "GenerateOptions::deadline_seconds is '");
}

struct OracleModel {
    OracleModel(const std::string& file) {
        hetune_model_options* options = nullptr;
        REQUIRE(hetune_model_options_create(&options) == HETUNE_OK);
        REQUIRE(hetune_model_options_set(options, "backend", "reference") == HETUNE_OK);
        REQUIRE(hetune_model_options_set(options, "context", "32") == HETUNE_OK);
        REQUIRE(hetune_model_load(file.c_str(), options, &model) == HETUNE_OK);
        hetune_model_options_free(options);
        REQUIRE(hetune_sequence_open(model, &sequence) == HETUNE_OK);
    }
    ~OracleModel() {
        hetune_sequence_free(sequence);
        hetune_model_free(model);
    }
    OracleModel(const OracleModel&) = delete;
    OracleModel& operator=(const OracleModel&) = delete;

    hetune_model* model = nullptr;
    hetune_sequence* sequence = nullptr;
};

TEST_CASE("numbers that are none are an error of the call, and the sequence is empty") {
    const TestFolder folder;
    const OracleModel oracle(with_changed_tensor(
        kTinyModel, "blk.1.attn_k.weight", folder.path() / "nan.gguf", [](std::span<char> bytes) {
            bytes[144] = '\x00';  // a block's scale: NaN as a half
            bytes[145] = '\x7e';
        }));
    const int32_t tokens[] = {5, 6};
    float* logits = nullptr;
    size_t floats = 0;
    const std::string text =
        failed(hetune_sequence_logits(oracle.sequence, tokens, 2, 0, &logits, &floats),
               HETUNE_NUMBER_ERROR);
    CHECK(text.find("blk.1.attn_k.weight") != std::string::npos);
    CHECK(logits == nullptr);
    const int32_t* held = nullptr;
    size_t count = 9;
    CHECK(hetune_sequence_tokens(oracle.sequence, &held, &count) == HETUNE_OK);
    CHECK(count == 0);
}

TEST_CASE("an exception of a callback in C++ ends as an error, and the sequence goes on") {
    const OracleModel oracle(kTinyModel);
    const auto throwing = [](const char*, size_t, void*) -> int { throw RequestError("mine"); };
    CHECK(failed(hetune_sequence_generate(oracle.sequence, "a", 1, nullptr, throwing, nullptr,
                                          nullptr),
                 HETUNE_REQUEST_ERROR) == "mine");
    CHECK(hetune_sequence_append(oracle.sequence, "b", 1) == HETUNE_OK);
}

// A callback that uses the sequence that calls.
int uses_its_sequence(const char*, size_t, void* sequence) {
    return hetune_sequence_append(static_cast<hetune_sequence*>(sequence), "b", 1) ==
           HETUNE_REQUEST_ERROR;
}

TEST_CASE("arguments that cannot be are named") {
    const OracleModel oracle(kTinyModel);
    const auto says = [](hetune_status status, const char* text) {
        CHECK(failed(status, HETUNE_REQUEST_ERROR).find(text) != std::string::npos);
    };
    int32_t* tokens = nullptr;
    size_t count = 7;
    char* text = nullptr;
    says(hetune_model_tokenize(oracle.model, nullptr, 4, 0, &tokens, &count), "`text` is NULL");
    says(hetune_model_tokenize(oracle.model, "a", 1, 0, nullptr, &count), "`tokens` is NULL");
    says(hetune_model_detokenize(oracle.model, nullptr, 4, &text, nullptr), "`tokens` is NULL");
    says(hetune_model_render(oracle.model, nullptr, nullptr, &tokens, &count), "`messages`");
    for (const std::string messages :
         {"", "{}", "[5]", "[[", R"([{"role": "user"}])", R"([{"role": "user", "content": 5}])",
          R"([{"role": "user", "content": "a", "name": "b"}])"}) {
        CAPTURE(messages);
        says(hetune_model_render(oracle.model, messages.c_str(), nullptr, &tokens, &count),
             "messages");
    }
    const std::string deep = std::string(100'000, '[');
    says(hetune_model_render(oracle.model, deep.c_str(), nullptr, &tokens, &count), "deeper");
    says(hetune_model_render(oracle.model, R"([{"role": "user", "content": "a"}])", "5", &tokens,
                             &count),
         "no JSON object");
    float* logits = nullptr;
    says(hetune_sequence_logits(oracle.sequence, nullptr, 0, -1, &logits, &count), "`flags`");
    CHECK(tokens == nullptr);
    CHECK(count == 7);
    // Nothing is text enough for a text, and for a list.
    CHECK(hetune_model_tokenize(oracle.model, nullptr, 0, 0, &tokens, &count) == HETUNE_OK);
    CHECK(count == 0);
    hetune_free(tokens);
    CHECK(hetune_model_plan(oracle.model, 0, &text) == HETUNE_OK);
    CHECK(std::string(text).empty());
    hetune_free(text);
    hetune_generate_options* options = nullptr;
    hetune_result* result = nullptr;
    REQUIRE(hetune_generate_options_create(&options) == HETUNE_OK);
    REQUIRE(hetune_generate_options_set(options, "max_tokens", "2") == HETUNE_OK);
    CHECK(hetune_sequence_generate(oracle.sequence, "a", 1, options, uses_its_sequence,
                                   oracle.sequence, &result) == HETUNE_OK);
    const char* stop = nullptr;
    CHECK(hetune_result_value(result, "stop", &stop) == HETUNE_OK);
    CHECK(std::string(stop) != "callback");
    hetune_result_free(result);
    hetune_generate_options_free(options);
}

}  // namespace
}  // namespace hetune
