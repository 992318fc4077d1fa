"""Times NumPy's memmap: FILE BURSTS SEED SIZE, where each burst is PAGES:FLUSHES."""

import sys
from time import perf_counter_ns as now

import numpy as np

PAGE_WORDS = 512

path, bursts, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
chance = np.random.default_rng(seed)

begin = now()
array = np.memmap(path, dtype=np.uint64, mode="r+")
# A word of every page.
array[::PAGE_WORDS].sum()
print("open", now() - begin)
for burst in bursts.split(","):
    pages, flushes = burst.split(":")
    for _ in range(int(flushes)):
        places = PAGE_WORDS * chance.choice(len(array) // PAGE_WORDS, int(pages), replace=False)
        word = chance.integers(1 << 63)
        start = now()
        array[places] = word
        between = now()
        array.flush()
        print(pages, between - start, now() - between)
