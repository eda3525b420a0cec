// The work of a batch: many requests at once on one model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/api/hetune.h"
#include "tools/batch/answer_file.h"
#include "tools/batch/request_file.h"

namespace hetune {

struct BatchTotals {
    int64_t answered = 0, failed = 0;  // lines that were written; failed ones among them
    int64_t prompt_tokens = 0, generated_tokens = 0;
    std::string first_failure;  // "'id': temperature must be a number"
};

// How far a batch is.
struct BatchProgress {
    size_t done = 0;     // of the requests given
    int64_t tokens = 0;  // generated so far, near enough
    double seconds = 0;
};

// Answers `requests` of `file` in this order, `parallel` of them at a time, and appends each answer
// as it is complete. A wrong request has an error for an answer. Ends early where interrupted()
// says so: unfinished answers are dropped. Throws what concerns the model or the files rather than
// one request; answers that were complete are written by then. `totals` counts in either case.
// `report` is called now and then, by this thread.
void run_requests(const Model& model, const RequestFile& file,
                  const std::vector<const RequestLine*>& requests, AnswerFile& answers,
                  int parallel, BatchTotals& totals,
                  const std::function<void(const BatchProgress&)>& report);

}  // namespace hetune
