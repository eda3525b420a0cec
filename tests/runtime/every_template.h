// One spec or more of every template in the catalogue, for tests that compile them.
#pragma once

#include <vector>

#include "kernel_templates/spec.h"

namespace hetune::testing {

// With the constants that the template's file names for editors; where it takes a quantisation,
// with every one (GEMM kernels: with four), and with float and 8-bit activations where it takes
// both.
std::vector<KernelSpec> every_template();

}  // namespace hetune::testing
