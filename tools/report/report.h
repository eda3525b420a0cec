// Reports as one HTML file that needs no network: `hetune plan --html` and `hetune autotune
// --report`. All numbers are in the JSON that the page carries; report.js draws them with uPlot.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "cache/temp_file.h"
#include "cache/tuning_record.h"
#include "planner/plan/cost_model.h"
#include "runtime/compile/disassembly.h"
#include "runtime/compile/kernel_library.h"

namespace hetune {

// A plan for a report: steps with floor and predicted time (measured, where `measured` has the
// shape of a step that is an op by itself), kernels with source, resources, compile time and
// disassembly. `library` and `disassembler` may be nullptr.
nlohmann::ordered_json plan_report(const Plan& plan, const Arch& arch, int64_t context,
                                   const std::vector<TuningRecord>& measured,
                                   KernelLibrary* library, Disassembler* disassembler);

// `report`: {"title", "subtitle", "plans": [plan_report...], "autotune": null or autotune's JSON}.
// Throws std::system_error when the file cannot be written.
void write_report(const nlohmann::ordered_json& report, OutputFile& file);

}  // namespace hetune
