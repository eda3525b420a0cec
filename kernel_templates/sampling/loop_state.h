// A loop of steps on the device (Device::capture_loop), in device memory. Also made by the host.
#pragma once

#include "prelude/types.h"

struct LoopState {
    u64 handle;  // of the loop, for loop_again(); 0: there is none
    i32 rounds;  // that it takes where nothing ends it
    i32 done;    // of them, so far
};
