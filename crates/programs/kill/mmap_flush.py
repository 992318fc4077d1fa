"""Python's own mmap, as its documentation has it: FILE SEED VERSIONS."""

import mmap
import sys

from scatter import records

path, seed, versions = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as map:
    print("ready", flush=True)
    for version in range(1, versions + 1):
        for at, data in records(seed, version, len(map)):
            map[at : at + len(data)] = data
        map.flush()
        print(version, flush=True)
