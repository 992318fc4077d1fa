"""NumPy's memmap, as its documentation has it: FILE SEED VERSIONS."""

import sys

import numpy as np

from scatter import records

path, seed, versions = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

array = np.memmap(path, dtype=np.uint8, mode="r+")
print("ready", flush=True)
for version in range(1, versions + 1):
    for at, data in records(seed, version, len(array)):
        array[at : at + len(data)] = np.frombuffer(data, dtype=np.uint8)
    array.flush()
    print(version, flush=True)
