// The memory that timed kernels work on: weights (the model's, or random ones of the same shapes),
// KV cache and recurrent states, shared by all plans of a sweep.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "planner/plan/plan.h"
#include "runtime/device/device.h"
#include "runtime/load/step_state.h"
#include "runtime/load/weights.h"

namespace hetune {

// Whether the buffer holds weights or tables of the model, which no kernel writes.
bool is_weight(BufferRole role);

class BenchMemory {
  public:
    struct Options {
        int64_t context = 512;  // tokens of the sequence of a step of one
        // Steps of several sequences: at most so many, and the tokens of each; 0: as of one.
        int sequences = 1;
        int64_t batch_context = 0;
        bool synthetic = false;  // random valid weights: a file's header will do
        uint64_t seed = 0;
        // Asked while weights are repacked; true throws LoadCancelled.
        std::function<bool()> over = {};
    };
    // `tiles` may be nullptr. All but the options outlive this.
    BenchMemory(Device& device, const ModelFile& file, const LayerGraph& graph, TileStore* tiles,
                Options options);

    // Makes what the plan's buffers need: weights, KV caches of random values, states of zeros.
    void prepare(const Plan& plan);
    // Later steps have so many sequences: context() and strides() are theirs, each slot has
    // pages of its own.
    void hold(int sequences);
    // nullptr for those that belong to one plan: scratch, step, tokens, logits.
    Buffer* find(const PlanBuffer& buffer) const;
    // States as at the start of a context.
    void reset_states();
    int64_t context() const { return context_of(sequences_); }
    SlotStrides strides() const;
    // The bytes of a buffer of recurrent state, of all slots together.
    int64_t state_bytes(const PlanBuffer& buffer) const;
    bool synthetic() const { return options_.synthetic; }

  private:
    int64_t context_of(int sequences) const;
    int64_t pages_of(int sequences) const;  // of all of them
    void upload_pages();
    std::unique_ptr<Buffer> random_tiles(const PlanBuffer& buffer);
    std::unique_ptr<Buffer> random_raw(const PlanBuffer& buffer);
    std::unique_ptr<Buffer> random_kv(int64_t bytes, KvType type);

    Device& device_;
    const ModelFile& file_;
    Options options_;
    int sequences_ = 1;         // of the steps to come
    int64_t state_stride_ = 0;  // bytes from one slot's state to the next one's
    Buffer* pages_ = nullptr;
    Weights weights_;
    std::map<std::string, std::unique_ptr<Buffer>> made_;
    std::map<std::string, Buffer*> states_;
};

}  // namespace hetune
