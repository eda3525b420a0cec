#include "tools/batch/run_requests.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <system_error>
#include <thread>
#include <variant>

#include "tools/batch/answer.h"
#include "tools/batch/request.h"
#include "tools/interrupts.h"
#include "tools/option_names.h"

namespace hetune {
namespace {

constexpr std::chrono::milliseconds kReportEvery{500};
// Overloaded passes when other requests end, which takes longer than this.
constexpr std::chrono::milliseconds kTryAgainAfter{50};

class BatchRun {
  public:
    BatchRun(const Model& model, const RequestFile& file,
             const std::vector<const RequestLine*>& requests, AnswerFile& answers,
             BatchTotals& totals)
        : model_(model), file_(file), requests_(requests), answers_(answers), totals_(totals) {}

    void run(int parallel, const std::function<void(const BatchProgress&)>& report) {
        const auto began = std::chrono::steady_clock::now();
        const size_t count = std::min(requests_.size(), static_cast<size_t>(parallel));
        std::vector<std::jthread> workers;
        std::unique_lock lock(mutex_);
        try {
            while (workers.size() < count) workers.emplace_back([this] { work(); });
        } catch (const std::system_error&) {  // the system starts no further thread: fewer will do
            if (workers.empty()) throw;
        }
        working_ = workers.size();
        do {
            changed_.wait_for(lock, kReportEvery);
            const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - began;
            report({static_cast<size_t>(totals_.answered), tokens_, passed.count()});
        } while (working_ > 0);
        lock.unlock();
        workers.clear();
        if (failure_) std::rethrow_exception(failure_);
    }

  private:
    bool ends() const { return stopping_ || interrupted(); }

    void work() {
        try {
            while (!ends()) {
                const size_t mine = next_++;
                if (mine >= requests_.size()) break;
                // A new sequence takes over what prompts before it have in common with its own. One
                // that was cut back to nothing keeps its memory, and computes all of its prompt.
                Sequence sequence = model_.open();
                answer(sequence, *requests_[mine]);
            }
        } catch (...) {
            const std::lock_guard lock(mutex_);
            if (!failure_) failure_ = std::current_exception();
            stopping_ = true;
        }
        const std::lock_guard lock(mutex_);
        --working_;
        changed_.notify_one();
    }

    void answer(Sequence& sequence, const RequestLine& line) {
        const auto refuse = [&](int status, const char* reason, const std::string& field = {}) {
            const std::string message = with_option_names(reason);
            answers_.add(error_line(line.custom_id, status, message, field));
            count({}, fmt::format("'{}': {}", line.custom_id, message));
        };
        const nlohmann::ordered_json json = file_.request(line);
        try {
            BatchRequest request = parse_request(json);
            const Generated generated = generate(sequence, request);
            if (generated.stop == Stop::kCancelled) return;
            answers_.add(answer_line(model_, line.custom_id, request, generated));
            count(generated, {});
        } catch (const BadRequest& error) {
            refuse(400, error.what(), error.field());
        } catch (const RequestError& error) {
            refuse(400, error.what());
        } catch (const NumberError& error) {
            refuse(500, error.what());
        }
    }

    // Each request begins with an empty sequence, so that its answer is the one it has alone.
    Generated generate(Sequence& sequence, BatchRequest& request) {
        request.options.cancelled = [this] { return ends(); };
        const auto counts = [this](std::string_view) {
            ++tokens_;
            return true;
        };
        while (!ends()) {
            try {
                sequence.reset();
                if (request.is_chat)
                    return sequence.chat(request.messages, request.options, counts,
                                         request.template_kwargs);
                const auto* text = std::get_if<std::string>(&request.prompt);
                return sequence.generate(text != nullptr
                                             ? model_.tokenize(*text)
                                             : std::get<std::vector<int32_t>>(request.prompt),
                                         request.options, counts);
            } catch (const Overloaded&) {
                std::this_thread::sleep_for(kTryAgainAfter);
            }
        }
        Generated nothing;
        nothing.stop = Stop::kCancelled;
        return nothing;
    }

    void count(const Generated& generated, const std::string& failure) {
        const std::lock_guard lock(mutex_);
        ++totals_.answered;
        totals_.prompt_tokens += generated.prompt_tokens + generated.cached_tokens;
        totals_.generated_tokens += std::ssize(generated.tokens);
        if (!failure.empty() && totals_.failed++ == 0) totals_.first_failure = failure;
        changed_.notify_one();
    }

    const Model& model_;
    const RequestFile& file_;
    const std::vector<const RequestLine*>& requests_;
    AnswerFile& answers_;

    std::atomic<size_t> next_ = 0;
    std::atomic<int64_t> tokens_ = 0;
    std::atomic<bool> stopping_ = false;
    std::mutex mutex_;
    std::condition_variable changed_;
    // Under mutex_:
    BatchTotals& totals_;
    size_t working_ = 0;  // workers
    std::exception_ptr failure_;
};

}  // namespace

void run_requests(const Model& model, const RequestFile& file,
                  const std::vector<const RequestLine*>& requests, AnswerFile& answers,
                  int parallel, BatchTotals& totals,
                  const std::function<void(const BatchProgress&)>& report) {
    BatchRun(model, file, requests, answers, totals).run(parallel, report);
}

}  // namespace hetune
