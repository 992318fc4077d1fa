"""Times LMDB by its Python package, with a writable map: FOLDER BURSTS SEED SIZE, where each burst is PAGES:FLUSHES.

A record is half a page. The first start fills a quarter of the map with them.
"""

import random
import sys
from time import perf_counter_ns as now

import lmdb

RECORD = 2000

path, bursts, seed, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
chance = random.Random(seed)
records = size // 8192


def key(number):
    return b"%08x" % number


begin = now()
with lmdb.open(path, map_size=size, writemap=True) as environment:
    with environment.begin() as transaction:
        found = sum(1 for _ in transaction.cursor())
    print("open", now() - begin)
    if found == 0:
        with environment.begin(write=True) as transaction:
            for number in range(records):
                transaction.put(key(number), chance.randbytes(RECORD), append=True)
    for burst in filter(None, bursts.split(",")):
        pages, flushes = burst.split(":")
        for _ in range(int(flushes)):
            numbers = chance.sample(range(records), int(pages))
            data = chance.randbytes(RECORD)
            start = now()
            transaction = environment.begin(write=True)
            for number in numbers:
                transaction.put(key(number), data)
            between = now()
            transaction.commit()
            print(pages, between - start, now() - between)
