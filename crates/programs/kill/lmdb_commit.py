"""LMDB by its Python package, with a writable map: FOLDER SEED VERSIONS. Each transaction rewrites every record, and the root."""

import sys

import lmdb

from lmdb_records import KEYS, key, value

path, seed, versions = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

with lmdb.open(path, map_size=64 << 20, writemap=True) as environment:
    print("ready", flush=True)
    for version in range(1, versions + 1):
        with environment.begin(write=True) as transaction:
            for number in range(KEYS):
                transaction.put(key(number), value(seed, version, number))
            transaction.put(b"root", b"%d" % version)
        print(version, flush=True)
