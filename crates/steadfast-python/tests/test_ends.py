"""What the end of a process leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from maps import PAGE, program

import steadfast

ENDS = {
    "the end of the program": "",
    "sys.exit": "sys.exit(0)",
    "an array at the top": "a = np.frombuffer(m, np.uint8); a[5] = 1",
    "a naked array at the top": "a = np.ndarray((8,), np.uint8, m); a[5] = 1",
    "an edit at the top": "e = m.edit(0, 8); e[:] = b'another!'",
    "an object in a cycle": "c = [m]; c.append(c); del m",
    "a finalizer that looks": (
        "class Last:\n    def __del__(self):\n        try:\n            m.commit()\n        except Exception: pass\n"
        "last = Last(); cycle = [last]; cycle.append(cycle)"
    ),
    "a thread that stores": (
        "a = np.frombuffer(m, np.uint8)\nimport threading\ndef work():\n    while True: a[5] += 1\n"
        "threading.Thread(target=work, daemon=True).start()"
    ),
    "a thread that reads": (
        "import threading\ndef work():\n    while True:\n        try: m[0:8]\n        except ValueError: pass\n"
        "threading.Thread(target=work, daemon=True).start()"
    ),
    "a function for atexit": "import atexit; atexit.register(lambda: m.write_at(0, b'latest!!'))",
}


@pytest.mark.parametrize("ending", ENDS)
@pytest.mark.parametrize("kind", ["load", "view"])
def test_the_end_of_the_interpreter_leaves_a_plain_file_with_the_last_commit(
    kind: str, ending: str, folder: Path
) -> None:
    path = folder / "a"
    path.write_bytes(bytes(PAGE))
    source = f"""
import sys
import numpy as np
import steadfast
m = steadfast.{kind}(sys.argv[1])
m[0:4] = b"last"
m.commit()
m[4:8] = b"work"
{ENDS[ending]}
"""
    program(source, path)
    assert path.read_bytes() == b"last" + bytes(PAGE - 4)
    assert os.listdir(folder) == ["a"]


@pytest.mark.parametrize("ending", ["the end of the program", "an array at the top", "an edit at the top", "sys.exit"])
def test_the_end_of_the_interpreter_commits_what_it_was_asked_to(ending: str, folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(PAGE))
    source = f"""
import sys
import numpy as np
import steadfast
m = steadfast.load(sys.argv[1])
m._commit_on_drop()
m[0:4] = b"last"
m.commit()
m[4:8] = b"work"
{ENDS[ending]}
"""
    program(source, path)
    expected = {"an array at the top": b"last\0\1", "an edit at the top": b"another!"}.get(ending, b"lastwork")
    if ending == "an array at the top":
        expected = b"lastw\1rk"
    assert path.read_bytes() == expected + bytes(PAGE - 8)
    assert os.listdir(folder) == ["a"]


def test_an_exception_at_the_end_leaves_a_plain_file_too(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(8))
    source = (
        "import sys, steadfast\nm = steadfast.load(sys.argv[1])\nm[0:4] = b'last'\nm.commit()\nm[4:8] = b'work'\n1 / 0"
    )
    program(source, path, returns=1)
    assert path.read_bytes() == b"last\0\0\0\0"
    assert os.listdir(folder) == ["a"]


def test_a_process_that_ends_at_once_leaves_the_last_commit_to_recovery(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(8))
    source = """
import os, sys, steadfast
m = steadfast.load(sys.argv[1])
m[0:4] = b"last"
m.commit()
m[4:8] = b"work"
os._exit(0)
"""
    program(source, path)
    assert sorted(os.listdir(folder)) == ["a", "a.steadfast"]
    found = steadfast.recover(path)
    assert found.journal_found and found.replayed_commits == 1 and found.last == 1 and not found.torn_tail
    assert path.read_bytes() == b"last\0\0\0\0"
    assert os.listdir(folder) == ["a"]
    assert not steadfast.recover(path).journal_found


def test_memory_that_is_looked_at_behind_the_end_of_the_interpreter_is_still_there(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(4 * 4096))
    source = """
import atexit, sys
def last():
    print(view[0], naked[0], sum(bytes(view)))
    naked[4096] = 1
atexit.register(last)
import numpy as np, steadfast
m = steadfast.load(sys.argv[1])
view = memoryview(m)
naked = np.ndarray((len(m),), np.uint8, m)
view[0] = 5
m.commit()
"""
    assert program(source, path) == "5 5 5\n"
    assert path.read_bytes() == b"\5" + bytes(4 * 4096 - 1)
