// For editors and offline compiles; the catalogue puts the one file of the target in its place.
#pragma once

#if defined(__AMDGCN__) || defined(__HIP__)
#include "prelude/int_matrix_amdgcn.h"
#elif defined(__CUDACC__) || defined(__CUDACC_RTC__)
#include "prelude/int_matrix_nvptx.h"
#else
#include "prelude/int_matrix_cpu.h"
#endif
