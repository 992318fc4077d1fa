"""What an LMDB environment holds: FOLDER SEED. Every page in use is read, every record compared with what it must be."""

import json
import os
import sys
import tempfile

import lmdb

from lmdb_records import KEYS, key, value

path, seed = sys.argv[1], int(sys.argv[2])

with lmdb.open(path, map_size=64 << 20, writemap=True) as environment:
    versions, wrong = set(), 0
    with environment.begin() as transaction:
        root = transaction.get(b"root")
        numbers = {key(number): number for number in range(KEYS)}
        for name, data in transaction.cursor():
            if name == b"root":
                continue
            version = int(data.split()[0])
            versions.add(version)
            wrong += name not in numbers or data != value(seed, version, numbers[name])
        records = transaction.stat()["entries"] - (root is not None)
    # A compacting copy walks the trees, a plain one reads every page.
    for compact in True, False:
        with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as copy:
            environment.copy(copy, compact=compact)
    told = {
        "root": int(root) if root else 0,
        "oldest": min(versions, default=0),
        "newest": max(versions, default=0),
        "records": records,
        "wrong": wrong,
    }
print(json.dumps(told))
