// The lines of a batch's output, as OpenAI's batches and vLLM's run-batch write them.
#pragma once

#include <string>
#include <string_view>

#include "runtime/api/hetune.h"
#include "tools/batch/request.h"

namespace hetune {

// Begins every line.
constexpr std::string_view kAnswerStart = R"({"id":")";

// One line with its '\n': a chat.completion or a text_completion, with usage. Any thread.
std::string answer_line(const Model& model, const std::string& custom_id,
                        const BatchRequest& request, const Generated& generated);

// One line with its '\n': the reason is in the response's body, where OpenAI has it, and in
// `error`, where vLLM has it. `status`: 400 for a wrong request, 500 where the model has failed.
// `field`: of the body; empty where it is none in particular.
std::string error_line(const std::string& custom_id, int status, const std::string& message,
                       const std::string& field);

}  // namespace hetune
