// Fixed-width names and the 128-bit vector that loads move.
#pragma once

using i8 = signed char;
using u8 = unsigned char;
using i16 = short;
using u16 = unsigned short;
using i32 = int;
using u32 = unsigned int;
using i64 = long long;
using u64 = unsigned long long;

struct alignas(8) U2 {
    u32 x, y;
};
struct alignas(16) U4 {
    u32 x, y, z, w;
};
