// What every Device must do, whatever runs its kernels. Used by one test file per device.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernel_templates/spec.h"
#include "runtime/device/device.h"

namespace hetune::test {

// Compiled by the compiler that is chosen for the arch; throws CompileError.
CodeObject compile(const KernelSpec& spec, const std::string& arch);
KernelSpec binary(const std::string& op, int cols, int waves);
KernelSpec rmsnorm(int cols, int waves);

std::unique_ptr<Buffer> put(Device& device, std::span<const float> values);
std::vector<float> get(Device& device, const Buffer& buffer);

// Kernel arguments that are all pointers, packed.
std::vector<std::byte> pointers(std::initializer_list<const Buffer*> buffers);

void copies_and_fills(Device& device);
// The kernels are compiled for `object_arch`, which is the device's unless it is a double.
void runs_kernels(Device& device, const std::string& object_arch);
// Memory of the host that a kernel writes, read behind a mark.
void writes_host_memory(Device& device, const std::string& object_arch);
// Bytes that are made on the way, of pieces and a tail, and a maker that throws.
void uploads_what_is_made(Device& device);
void replays_graphs(Device& device, const std::string& object_arch);
void replays_loops(Device& device, const std::string& object_arch);

}  // namespace hetune::test
