// The parts of a Model: the file, its text, the device, the loaded model, and the scheduler
// whose thread uses them. For programs of this source tree that measure and check a model; not
// installed.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/code_store.h"
#include "cache/prompt_store.h"
#include "cache/tile_store.h"
#include "planner/file/model_file.h"
#include "runtime/api/hetune.h"
#include "runtime/compile/kernel_library.h"
#include "runtime/engine/scheduler.h"
#include "runtime/engine/stepper.h"
#include "runtime/text/model_text.h"

namespace hetune {

// Calls what the user of the library gave, from any thread, one call at a time. An exception of a
// warning is kept for a thread that uses the Model.
class Callbacks {
  public:
    explicit Callbacks(ModelOptions& options)
        : progress_(std::move(options.progress)),
          compiled_(std::move(options.compiled)),
          cancelled_(std::move(options.cancelled)),
          warn_(std::move(options.warn)) {}

    void progress(std::string_view stage, size_t done, size_t total);
    void compiled(std::string_view kernel);
    bool can_cancel() const { return static_cast<bool>(cancelled_); }
    bool cancelled();
    void warn(const std::string& line) noexcept;
    void rethrow();

  private:
    std::mutex mutex_;
    decltype(ModelOptions::progress) progress_;
    decltype(ModelOptions::compiled) compiled_;
    decltype(ModelOptions::cancelled) cancelled_;
    decltype(ModelOptions::warn) warn_;
    std::exception_ptr thrown_;
};

// Members are constant once the constructor has returned, but for what the scheduler's thread uses:
// device, library, loaded model and stepper (Scheduler::run).
struct ModelHost {
    // Loads the model, in the scheduler's thread. Throws what Model's constructor throws.
    ModelHost(const std::string& path, ModelOptions options);

    ModelOptions options;  // without the callbacks
    Callbacks callbacks;
    ModelFile file;
    std::optional<ModelText> text;
    ModelInfo info;
    std::vector<int32_t> ends;  // tokens that end a generation
    int32_t drawable = 0;       // tokens that may be drawn

    // Empty on the reference backend.
    std::optional<CodeStore> codes;
    std::optional<TileStore> tiles;
    std::unique_ptr<Device> device;
    std::optional<KernelLibrary> library;
    std::optional<LoadedModel> loaded;
    std::optional<PromptStore> prompts;  // where there is ModelOptions::prompt_cache
    std::optional<ContextMemory> memory;
    Stepper* stepper = nullptr;  // the scheduler's engine

    std::optional<Scheduler> scheduler;  // last, so that its thread ends first

  private:
    std::unique_ptr<Engine> load();
    std::unique_ptr<Engine> load_compiled();
    void record(const LoadOptions& wanted);  // as recipes
    // Results of `hetune autotune` for this device and compiler. Warns of stale ones.
    Tunings chosen_tunings(const CacheOptions& cache, const Environment& environment);
};

}  // namespace hetune
