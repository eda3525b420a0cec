// A plan on a device: modules at hand, arguments packed, ready to launch or to replay as a graph.
#pragma once

#include <memory>
#include <vector>

#include "planner/plan/plan.h"
#include "runtime/device/device.h"
#include "runtime/load/loaded_kernels.h"

namespace hetune {

// The shape of a launch for `rows` rows, from 1 to those of the plan.
LaunchShape launch_shape(const PlanStep& step, int rows);

class BoundPlan {
  public:
    // `kernels` has those of the plan; `buffers[i]` is the memory of plan.buffers[i]. Device,
    // modules and buffers outlive this.
    BoundPlan(Device& device, Plan plan, const LoadedKernels& kernels,
              const std::vector<Buffer*>& buffers);

    const Plan& plan() const { return plan_; }
    int64_t row_alignment() const { return row_alignment_; }  // of the plan
    Buffer& buffer(int index) { return *buffers_[static_cast<size_t>(index)]; }
    const Buffer& buffer(int index) const { return *buffers_[static_cast<size_t>(index)]; }
    // One step of `rows` rows (1 to plan().options.rows), whose StepState and tokens are already in
    // their buffers, and its output: run_rows() and run_output().
    void run(int rows);
    // A full step replays a captured graph; a shorter one launches fewer groups.
    void run_rows(int rows);
    // The output of the row that the StepState wants (Plan::output_step), behind run_rows(). It may
    // be called again with another row wanted.
    void run_output();
    // Launches the steps [first, last) only.
    void launch(int rows, size_t first, size_t last);

  private:
    struct Launch {
        Module* module;
        bool overlaps;
        std::vector<std::byte> args;
    };
    Device& device_;
    Plan plan_;
    std::vector<Buffer*> buffers_;
    std::vector<Launch> launches_;
    size_t output_step_;
    int64_t row_alignment_;
    std::unique_ptr<Graph> rows_graph_, output_graph_;
};

}  // namespace hetune
