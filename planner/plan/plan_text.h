// A plan for people and for programs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "planner/plan/arch.h"
#include "planner/plan/plan.h"

namespace hetune {

// What a step, or a plan, costs at a context length on an arch, by the memory's bandwidth and the
// arithmetic rate on paper (planner/plan/arch.cc).
struct Roofline {
    int64_t bytes = 0;
    int64_t operations = 0;
    double us = 0;  // the larger of the two times
};
Roofline roofline(const StepCost& cost, const Arch& arch, int64_t context);

// A kernel of a plan, by the name that texts and commands give it: "gemv.2", its template and a
// number in order of first use.
struct NamedKernel {
    std::string name;
    KernelSpec spec;
};
// In the order of Plan::kernels.
std::vector<NamedKernel> named_kernels(const Plan& plan);

// Steps with kernels, launch shapes, bytes and operations; kernels; buffers; sums.
std::string plan_text(const Plan& plan, const Arch& arch, int64_t context);
nlohmann::ordered_json plan_json(const Plan& plan, const Arch& arch, int64_t context);

}  // namespace hetune
