// Where hipDeviceProp_t keeps the few fields that are read, in bytes. The struct changed in
// HIP 6.0, which has both: hipGetDevicePropertiesR0600 fills the new one, hipGetDeviceProperties
// the old. Attributes (hipDeviceGetAttribute) are no way round it: hipDeviceAttributeIntegrated is
// 16 in HIP 5.7 and 6.2, and 17 in 6.0.
#pragma once

#include <cstddef>

namespace hetune {

struct HipPropertyLayout {
    size_t bytes;
    size_t name = 0;  // char[256]
    size_t total_memory;
    size_t compute_units;  // multiProcessorCount
    size_t integrated;
    size_t arch;  // gcnArchName, char[256]: "gfx90a:sramecc+:xnack-"
};

constexpr HipPropertyLayout kHip5Properties{
    .bytes = 792, .total_memory = 256, .compute_units = 336, .integrated = 652, .arch = 396};
constexpr HipPropertyLayout kHip6Properties{
    .bytes = 1472, .total_memory = 288, .compute_units = 388, .integrated = 396, .arch = 1160};

}  // namespace hetune
