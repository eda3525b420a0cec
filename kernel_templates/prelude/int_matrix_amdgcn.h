// gfx11 and gfx12 have v_wmma_i32_16x16x16_iu8, which hetune does not use yet.
#pragma once
