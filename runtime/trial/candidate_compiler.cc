#include "runtime/trial/candidate_compiler.h"

#include <algorithm>
#include <chrono>

#include "planner/plan/occupancy.h"

namespace hetune {
namespace {

constexpr auto kAskAgain = std::chrono::milliseconds(100);  // whether the sweep is over

// What the compiler knows better than the template: whether a group fits at all.
std::string too_large(const CodeObject& code, const PlanStep& step, const Arch& arch) {
    if (code.resources.vgprs < 0) return {};
    const int lds = std::max(0, code.resources.lds_bytes);
    const Occupancy fits =
        occupancy(arch, code.resources.vgprs, lds, static_cast<int>(step.threads));
    return fits.waves_per_simd > 0 ? std::string()
                                   : "a group does not fit into a unit: " + fits.limited_by;
}

}  // namespace

CandidateCompiler::CandidateCompiler(KernelLibrary& library,
                                     const std::vector<TuningTarget>& targets)
    : library_(library),
      targets_(targets),
      thread_([this](const std::stop_token& stop) { work(stop); }) {}

CandidateCompiler::~CandidateCompiler() = default;

void CandidateCompiler::work(const std::stop_token& stop) {
    for (const TuningTarget& target : targets_) {
        if (stop.stop_requested()) return;
        std::vector<CompiledCandidate> compiled;
        std::exception_ptr failure;
        try {
            compiled = compile(target);
        } catch (...) {
            failure = std::current_exception();
        }
        const std::lock_guard lock(mutex_);
        results_.push_back(std::move(compiled));
        if (failure_ == nullptr) failure_ = failure;
        ready_.notify_all();
        if (failure_ != nullptr) return;
    }
}

std::vector<CompiledCandidate> CandidateCompiler::compile(const TuningTarget& target) {
    std::vector<KernelSpec> all;
    for (const TuningCandidate& candidate : target.candidates)
        for (const KernelSpec& spec : candidate.plan.kernels)
            if (std::ranges::find(all, spec) == all.end()) all.push_back(spec);
    std::map<KernelSpec, double> fresh_ms;
    for (const KernelSpec& spec : library_.missing(all)) fresh_ms[spec] = 0;
    try {
        library_.get(all);  // with as many compilers at once as there may be
    } catch (const CompileError& error) {
        if (error.cause() == CompileError::Cause::kNoCompiler ||
            error.cause() == CompileError::Cause::kGivenUp)
            throw;
        // Told below, by candidate.
    }
    std::vector<CompiledCandidate> compiled;
    for (const TuningCandidate& candidate : target.candidates) {
        CompiledCandidate& one = compiled.emplace_back();
        const PlanStep& tuned = candidate.plan.steps[candidate.step];
        try {
            for (const KernelSpec& spec : candidate.plan.kernels) {
                CodeObject code = library_.get({spec}).at(0);
                if (const auto fresh = fresh_ms.find(spec); fresh != fresh_ms.end()) {
                    one.compile_ms += code.compile_ms;
                    fresh_ms.erase(fresh);
                }
                if (spec == candidate.plan.spec(tuned)) {
                    one.resources = code.resources;
                    one.refused = too_large(code, tuned, library_.arch());
                }
                one.codes.push_back(std::move(code));
            }
        } catch (const CompileError& error) {
            if (error.cause() == CompileError::Cause::kGivenUp) throw;
            one.refused = error.what();
        }
    }
    return compiled;
}

std::optional<std::vector<CompiledCandidate>> CandidateCompiler::get(
    size_t target, const std::function<bool()>& over) {
    std::unique_lock lock(mutex_);
    const auto ready = [&] { return results_.size() > target || failure_ != nullptr; };
    while (!ready_.wait_for(lock, kAskAgain, ready))
        if (over()) return std::nullopt;
    if (failure_ != nullptr && over()) return std::nullopt;  // it was given up
    if (failure_ != nullptr && results_.size() <= target + 1) std::rethrow_exception(failure_);
    return std::move(results_[target]);
}

void CandidateCompiler::wait_for_all(const std::function<bool()>& over) {
    std::unique_lock lock(mutex_);
    while (results_.size() < targets_.size() && failure_ == nullptr && !over())
        ready_.wait_for(lock, kAskAgain);
}

}  // namespace hetune
