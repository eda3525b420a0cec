// For editors and offline compiles. The catalogue puts the one file of the target in its place, so
// that a change for one target leaves the keys of the others alone.
#pragma once

#if defined(__AMDGCN__) || defined(__HIP__)
#include "prelude/amdgcn.h"
#elif defined(__CUDACC__) || defined(__CUDACC_RTC__)
#include "prelude/nvptx.h"
#else
#include "prelude/cpu.h"
#endif
