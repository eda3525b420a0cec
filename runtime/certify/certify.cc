#include "runtime/certify/certify.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "runtime/certify/certifier.h"
#include "runtime/kernel_notes.h"

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
    const Certifier* certifier = find_certifier(subject.step.spec.name);
    if (certifier == nullptr) {
        certificate.failure =
            fmt::format("template {} has no certifier (runtime/certify)", subject.step.spec.name);
        return certificate;
    }
    Trial trial(subject);
    try {
        (*certifier)(trial);
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

std::optional<Certificate> stored(CodeStore& store, const KernelNote& note) {
    const std::optional<Json> json = find_note(store, note);
    if (!json) return std::nullopt;
    try {
        return certificate_of(*json);
    } catch (const Json::exception&) {
        return std::nullopt;  // of another version: tried again
    }
}

}  // namespace

CertifiedKernel certify(CodeStore& store, const CacheKey& object, const TrialSubject& subject,
                        CertifyMode mode, bool retry) {
    const DeviceInfo& info = subject.on.info;
    const KernelNote note{.kind = "certificate",
                          .object = object,
                          .about = fmt::format("{}: {}", info.backend, info.driver),
                          .kernel = subject.step.spec.name,
                          .arch = subject.on.device.arch().name};
    CertifiedKernel kernel{.spec = subject.step.spec, .object = object};
    if (mode == CertifyMode::kOnce)
        if (auto found = stored(store, note); found && (found->passed() || !retry)) {
            kernel.certificate = *std::move(found);
            return kernel;
        }
    kernel.certificate = try_out(subject);
    kernel.fresh = true;
    // Without a certifier nothing was found out.
    if (find_certifier(subject.step.spec.name) != nullptr)
        put_note(store, note, to_json(kernel.certificate));
    return kernel;
}

}  // namespace hetune
