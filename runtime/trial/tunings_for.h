// From stored results to what a plan takes.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cache/options.h"
#include "cache/tuning_record.h"
#include "planner/plan/arch.h"
#include "planner/plan/tunings.h"

namespace hetune {

// HETUNE_TUNE: "off" pins all plans to their defaults, "measured" (the default) takes what was
// timed, "all" also what was only ranked by the static model.
enum class TuneUse { kOff, kMeasured, kAll };
// Throws std::runtime_error for another word.
TuneUse tune_use(const std::string& text);

struct ChosenTunings {
    Tunings tunings;
    int used = 0;
    int stale = 0;         // of those: found with another compiler
    int other_device = 0;  // of those: found on another device of this arch
};

// The best result for each shape. Those of this device come before those of another of the same
// arch (a binned part, a renamed card), and among them those of this compiler. `device` empty: not
// known, as on a build box.
ChosenTunings tunings_for(std::span<const TuningRecord> records, const Arch& arch,
                          const std::string& device, const std::string& compiler, TuneUse use);

// The same, from a cache folder and its layers.
ChosenTunings stored_tunings(const CacheOptions& cache, const Arch& arch, const std::string& device,
                             const std::string& compiler, TuneUse use);
std::vector<TuningRecord> stored_records(const CacheOptions& cache, std::string_view arch);

// What a build box prepares for, as it does not know the device: the defaults, and what each
// device of this arch that has results would take.
std::vector<Tunings> all_tunings_for(std::span<const TuningRecord> records, const Arch& arch,
                                     const std::string& compiler, TuneUse use);

// A record whose kernel is this chooses between variants of a whole plan; its shape is the plan's
// signature, and its point has "off" for each name that is left out.
constexpr const char* kWholePlan = "plan";

}  // namespace hetune
