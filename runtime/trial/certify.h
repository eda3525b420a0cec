// Certificates: before a code object is first used on a device it is run at its real shape and its
// results are compared with the oracle's. The certificate is a fact (cache/facts.h) about the bytes
// of the object, the device's arch, backend and driver, the step's shape, and the certifier's
// version.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cache/facts.h"
#include "kernel_templates/spec.h"
#include "runtime/trial/certificate.h"
#include "runtime/trial/trial.h"

namespace hetune {

enum class CertifyMode {
    kOff,
    kOnce,    // what has no certificate
    kAlways,  // all, again
};
// "off", "once", "always". Throws std::runtime_error.
CertifyMode certify_mode(const std::string& text);

struct CertifiedKernel {
    KernelSpec spec;
    CacheKey object;  // hash of its bytes
    Certificate certificate;
    bool fresh = false;  // tried now, rather than found
};

// Runs the certifier of the step's template. A certificate that fails where something is wrong or
// there is no certifier. Throws DeviceError for what is not the kernel's fault.
Certificate try_out(const TrialSubject& subject);

// The same, from the facts where there is one. A failed one is tried again where `retry`.
// Thread-safe.
CertifiedKernel certify(FactStore& facts, const CacheKey& object, const TrialSubject& subject,
                        CertifyMode mode, bool retry);

// The same of several kernels, in their order: up to eight trials are prepared and judged at the
// same time. `after` is called behind each, by one thread at a time; an exception of it ends the
// rest.
struct ToCertify {
    CacheKey object;
    TrialSubject subject;
};
std::vector<CertifiedKernel> certify(FactStore& facts, std::span<const ToCertify> kernels,
                                     CertifyMode mode, bool retry,
                                     const std::function<void(const CertifiedKernel&)>& after = {});

}  // namespace hetune
