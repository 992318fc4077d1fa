"""Times Python's mmap: FILE BURSTS SEED SIZE, where each burst is PAGES:FLUSHES."""

import mmap
import random
import sys
from time import perf_counter_ns as now

path, bursts, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
chance = random.Random(seed)

begin = now()
with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as map:
    # A byte of every page.
    map[:: mmap.PAGESIZE]
    print("open", now() - begin)
    for burst in bursts.split(","):
        pages, flushes = burst.split(":")
        for _ in range(int(flushes)):
            places = [mmap.PAGESIZE * page for page in chance.sample(range(len(map) // mmap.PAGESIZE), int(pages))]
            word = chance.randbytes(8)
            start = now()
            for at in places:
                map[at : at + 8] = word
            between = now()
            map.flush()
            print(pages, between - start, now() - between)
