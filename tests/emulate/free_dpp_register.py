#!/usr/bin/env python3
"""free_dpp_register.py EMULATOR.py ARGUMENT...: runs the emulator with a free register for DPP.

emulate_gfx11.py moves the lanes of a DPP instruction's source in a register that the instruction does
not name, and puts its old contents back. For VOP1 and VOP2 it does not look at bits 17 to 24, the
destination, so that the instruction's result is lost where it takes that register."""
import importlib.util
import sys

del sys.argv[0]
spec = importlib.util.spec_from_file_location('emulator', sys.argv[0])
emulator = importlib.util.module_from_spec(spec)
sys.modules['emulator'] = emulator
spec.loader.exec_module(emulator)
holders = [c for c in vars(emulator).values() if isinstance(c, type) and 'add_dpp' in vars(c)]
if len(holders) != 1:
    sys.exit('the emulator has no add_dpp')
add_dpp = holders[0].add_dpp


def with_destination(self, off, entry, raw, word, vop3, source):
    # Bytes 8 to 11 are the next instruction's, but count as registers in use.
    if not vop3:
        raw = raw[:8] + bytes(4 * [word >> 17 & 0xff]) + raw[12:]
    add_dpp(self, off, entry, raw, word, vop3, source)


holders[0].add_dpp = with_destination
sys.exit(emulator.main())
