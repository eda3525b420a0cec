// A GPU behind a driver's function table.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "runtime/device.h"
#include "runtime/gpu/gpu_api.h"

namespace hetune {

// Opens the first device whose arch is in planner/arch's table; HIP_VISIBLE_DEVICES and
// CUDA_VISIBLE_DEVICES, which the drivers read, choose another. Throws DeviceError; when there are
// devices and none is known, it names the first one's arch and the known ones.
//
// A failed launch, replay, copy or synchronisation leaves a GPU in a state that nobody describes:
// the Device then refuses every later call and says what failed first.
std::unique_ptr<Device> open_gpu(GpuApi api);

// Empty when open_gpu(load()) would find a device, else its reason in one line.
std::string why_no_gpu(const std::function<GpuApi()>& load);

}  // namespace hetune
