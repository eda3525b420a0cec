// What a test may ask the HIP double beside the HIP functions. Exported with C linkage by
// libamdhip64_double.so (HIP 6 and newer) and libamdhip64_double_hip5.so; found with dlsym.
//
// The double runs x86-64 kernels of the CPU target (kernel_templates/prelude/cpu_abi.h). Work is
// kept in the stream until something waits for it, as a GPU may do. The environment sets, read at
// each call:
//   HETUNE_FAKE_HIP_DEVICES     number of devices, default 1
//   HETUNE_FAKE_HIP_FAIL        "hipModuleLoadData:2": the second call from now fails, and all
//                               later
// and for each device, as a list with commas whose last entry holds for all devices behind it:
//   HETUNE_FAKE_HIP_ARCH        gcnArchName, default "gfx1100"
//   HETUNE_FAKE_HIP_MEMORY      bytes, default 1 GiB; an allocation beyond it is refused
//   HETUNE_FAKE_HIP_INTEGRATED  1: an APU
//   HETUNE_FAKE_HIP_BROKEN      1: cannot be made the current device
#pragma once

extern "C" {

// Lines about what a caller did wrong: use after free, writes past an end, unloaded modules, dead
// handles. Cleared by the call; the text lives until the next one.
const char* hipDoubleMisuse();
// Allocations, registrations, streams, events, modules and graphs that are not given back.
int hipDoubleLive();
}
