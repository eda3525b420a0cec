// A GPU behind a driver's function table.
#pragma once

#include <memory>
#include <vector>

#include "runtime/device/device.h"
#include "runtime/device/gpu/gpu_api.h"

namespace hetune {

// What the driver lists; HIP_VISIBLE_DEVICES and CUDA_VISIBLE_DEVICES, which the drivers read, hide
// some of them. Unusable is one whose arch is not in planner/arch's table. Throws DeviceError where
// there is none.
std::vector<FoundDevice> gpu_devices(const GpuApi& api);

// Opens one of them. Throws DeviceError.
//
// A failed launch, replay, copy or synchronisation leaves a GPU in a state that nobody describes:
// the Device then refuses every later call and says what failed first.
std::unique_ptr<Device> open_gpu(GpuApi api, int ordinal);

}  // namespace hetune
