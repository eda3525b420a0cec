#!/usr/bin/env python3
"""Stands for an emulator (docs/testing.md). Its "code objects" are texts that name what to do:
add (y = a + b, 32-bit floats, elements of one group each thread), race (add, with findings), fault,
unsupported, crash, usage."""
import argparse
import json
import os
import signal
import struct
import sys

parser = argparse.ArgumentParser()
parser.add_argument('object')
parser.add_argument('entry')
for option in ('--grid', '--block', '--lds', '--args', '--summary'):
    parser.add_argument(option, required=True)
parser.add_argument('--strict', action='store_true')
o = parser.parse_args()
what = open(o.object).read()


def finish(code, **summary):
    json.dump(summary, open(o.summary, 'w'))
    sys.exit(code)


if what == 'fault':
    finish(3, status='fault', error='out-of-bounds access in workgroup (0, 0, 0)')
if what == 'unsupported':
    finish(2, status='unsupported', error='v_swap_b16')
if what == 'crash':
    os.kill(os.getpid(), signal.SIGABRT)
if what == 'usage':
    sys.exit('no kernel of this name')

args = json.load(open(o.args))
threads = int(o.block.split(',')[0]) * int(o.grid.split(',')[0])
count = args[3]['value']
memory = [bytearray(open(a['file'], 'rb').read()) for a in args[:3]]
at = [a['offset'] for a in args[:3]]
for i in range(min(threads, count)):
    a, b = (struct.unpack_from('<f', memory[k], at[k] + 4 * i)[0] for k in (0, 1))
    struct.pack_into('<f', memory[2], at[2] + 4 * i, a + b)
for a, bytes_ in zip(args, memory):
    assert a['type'] == 'buffer' and a['bytes'] == len(bytes_)
    open(a['out'], 'wb').write(bytes_)
if what == 'race' and o.strict:
    finish(4, status='findings', findings=['8 LDS bytes touched', '1 WMMA with EXEC not all ones'])
finish(0, status='ok')
