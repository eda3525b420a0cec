#include "runtime/trial/certify.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

#include "cache/error.h"
#include "cache/json_text.h"
#include "runtime/compile/first_exception.h"
#include "runtime/trial/certifier.h"

namespace hetune {

using Json = nlohmann::ordered_json;

CertifyMode certify_mode(const std::string& text) {
    if (text == "off") return CertifyMode::kOff;
    if (text == "once") return CertifyMode::kOnce;
    if (text == "always") return CertifyMode::kAlways;
    throw std::runtime_error(
        fmt::format("certify '{}' is unknown; it is off, once or always", text));
}

Certificate try_out(const TrialSubject& subject) {
    const auto start = std::chrono::steady_clock::now();
    Certificate certificate;
    const Certifier* certifier = find_certifier(subject.spec().name);
    if (certifier == nullptr) {
        certificate.failure =
            fmt::format("template {} has no certifier (runtime/trial)", subject.spec().name);
        return certificate;
    }
    Trial trial(subject);
    try {
        certifier->run(trial);
        trial.finish(certificate.outputs);
    } catch (const TrialFailure& failure) {
        certificate.failure = failure.what();
    } catch (
        const std::logic_error& error) {  // a constant or parameter that the template has no more
        certificate.failure =
            fmt::format("its certifier does not fit the template: {}", error.what());
    }
    certificate.launch_ms = trial.launch_ms();
    certificate.ms =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
            .count() -
        trial.waited_ms();
    return certificate;
}

namespace {

// Trials prepared and judged at the same time, each with up to some 200 MB of host memory.
constexpr int kTrialThreads = 8;

// All that a trial depends on besides object, device and certifier: the step's shape, and the
// shapes of the buffers behind it.
std::string shape_of(const TrialSubject& subject) {
    const PlanStep& step = subject.step;
    std::string text = fmt::format("rows {} of {}, groups {}x{}x{} of {}, axis {} by {}, buffers",
                                   subject.plan.options.rows, subject.plan.options.sequences,
                                   step.groups[0], step.groups[1], step.groups[2], step.threads,
                                   step.rows_axis, step.rows_per_group);
    for (const PlanArg& arg : step.args) {
        const PlanBuffer& buffer = subject.plan.buffers[static_cast<size_t>(arg.buffer)];
        const bool weights = buffer.role == BufferRole::kTiles || buffer.role == BufferRole::kRaw ||
                             buffer.role == BufferRole::kTurns;
        text += fmt::format(" {}", weights ? buffer.bytes : arg.bytes);
    }
    return text;
}

FactKey key_of(const CacheKey& object, const TrialSubject& subject) {
    const Certifier* certifier = find_certifier(subject.spec().name);
    const DeviceInfo& info = subject.on.info;
    return {.kind = "certificate",
            .object = object,
            .arch = subject.on.device.arch().name,
            .device = fmt::format("{}: {}", info.backend, info.driver),
            .version =
                fmt::format("{}.{}", kTrialVersion, certifier != nullptr ? certifier->version : 0),
            .about = shape_of(subject)};
}

std::optional<Certificate> stored(FactStore& facts, const FactKey& key) {
    const auto fact = facts.find(key);
    if (!fact) return std::nullopt;
    try {
        Certificate certificate = certificate_of(parse_json(fact->value));
        if (certificate.passed() != fact->good) return std::nullopt;
        return certificate;
    } catch (const CacheError&) {
        return std::nullopt;
    }
}

}  // namespace

CertifiedKernel certify(FactStore& facts, const CacheKey& object, const TrialSubject& subject,
                        CertifyMode mode, bool retry) {
    CertifiedKernel kernel{.spec = subject.spec(), .object = object};
    const FactKey key = key_of(object, subject);
    if (mode == CertifyMode::kOnce)
        if (auto found = stored(facts, key); found && (found->passed() || !retry)) {
            kernel.certificate = *std::move(found);
            return kernel;
        }
    kernel.certificate = try_out(subject);
    kernel.fresh = true;
    // Without a certifier nothing was found out.
    if (find_certifier(subject.spec().name) != nullptr)
        facts.put(
            {.key = key,
             .kernel = subject.spec().name,
             .good = kernel.certificate.passed(),
             .value =
                 to_json(kernel.certificate).dump(-1, ' ', false, Json::error_handler_t::replace)});
    return kernel;
}

std::vector<CertifiedKernel> certify(FactStore& facts, std::span<const ToCertify> kernels,
                                     CertifyMode mode, bool retry,
                                     const std::function<void(const CertifiedKernel&)>& after) {
    std::vector<CertifiedKernel> certified(kernels.size());
    std::mutex telling;
    FirstException error;
#pragma omp parallel for schedule(dynamic, 1) \
    num_threads(std::min(omp_get_max_threads(), kTrialThreads))
    for (size_t i = 0; i < kernels.size(); ++i)
        error.guard([&] {
            certified[i] = certify(facts, kernels[i].object, kernels[i].subject, mode, retry);
            const std::lock_guard lock(telling);
            if (after) after(certified[i]);
        });
    error.rethrow();
    return certified;
}

}  // namespace hetune
