#!/usr/bin/env python3
"""memory_behind_lds.py EMULATOR.py ARGUMENT...: runs the emulator with memory behind its LDS.

tinygrad's emulator reads LDS, and stores what it read, at the addresses of inactive lanes too. Their
registers may hold anything, so that it needs memory at each 32-bit offset from where emulate_gfx11.py
has its LDS."""
import ctypes
import mmap
import runpy
import sys

LDS, LDS_BYTES = 0x600000000000, 65536 + 4096
NO_RESERVE, FIXED_NO_REPLACE = 0x4000, 0x100000

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [ctypes.c_long]
flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE | FIXED_NO_REPLACE
behind = libc.mmap(LDS + LDS_BYTES, 1 << 32, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
if behind != LDS + LDS_BYTES:
    sys.exit('no room behind the LDS')
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name='__main__')
