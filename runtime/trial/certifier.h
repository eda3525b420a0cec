// How the kernels of a template are tried out: one function a template, registered by name in a
// file of its own. A template without one is never launched by a model whose kernels are certified.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace hetune {

class Trial;

// Puts inputs into the trial, launches, and compares results with the oracle's.
using Certifier = std::function<void(Trial&)>;

// `version` is raised when this certifier finds more than before: kernels are tried again. The last
// one registered for a template counts.
struct RegisterCertifier {
    RegisterCertifier(std::vector<std::string> templates, Certifier certifier, int version = 1);
};

// nullptr when there is none.
const Certifier* find_certifier(std::string_view name);
// 0 when there is none.
int certifier_version(std::string_view name);

}  // namespace hetune
