"""Children: forked, and of multiprocessing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from maps import LIMIT_SECONDS, PAGE, program

CALLS_OF_A_CHILD = """
import os, sys
import numpy as np
import steadfast

def in_the_child(m):
    calls = {
        "commit": m.commit, "commit_async": m.commit_async, "commit_relaxed": m.commit_relaxed,
        "commit_range": m.commit_range, "rollback": m.rollback, "resize": lambda: m.resize(5),
        "checkpoint": m.checkpoint, "check": m.check, "sync": m.sync,
        "refresh": m.refresh, "status": m.status, "close": m.close, "len": lambda: len(m), "get": lambda: m[0:4],
        "set": lambda: m.__setitem__(0, 1), "read_at": lambda: m.read_at(0, 1), "write_at": lambda: m.write_at(0, b"x"),
        "edit": lambda: m.edit(0, 1), "view": lambda: memoryview(m), "array": lambda: np.frombuffer(m, np.uint8),
        "enter": m.__enter__, "copy_to": lambda: m.copy_to("elsewhere"), "lease": m._lease, "residency": m.residency,
        "advise": lambda: m.advise("normal"), "transaction": lambda: m.transaction().__enter__(),
        "commit_on_drop": m._commit_on_drop, "reserved": lambda: m.reserved_bytes,
    }
    for name, call in calls.items():
        try:
            call()
        except steadfast.Forked as error:
            assert "parent" in str(error), error
        else:
            raise AssertionError(name + " worked in a child")
    repr(m), m.path, m.exports, m.read_only, m.closed
"""

FORK = (
    CALLS_OF_A_CHILD
    + """
path, ending, shown = sys.argv[1:]
m = steadfast.load(path)
m[0:4] = b"last"
m.commit()
m[4:8] = b"work"
m._commit_on_drop()
a = np.frombuffer(m, np.uint8) if shown == "counted" else np.ndarray((8,), np.uint8, m)
ticket = m.commit_async() if ending == "ticket" else None
journal = path + ".steadfast"
assert os.path.exists(journal)
child = os.fork()
if child == 0:
    try:
        in_the_child(m)
        assert bytes(a[:8]) == b"lastwork", bytes(a[:8])
        a[0:4] = 1
        if ending == "ticket":
            try:
                ticket.wait(0)
            except (steadfast.Forked, TimeoutError):
                pass
        if ending == "drop":
            del a, m
            import gc
            gc.collect()
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(9)
    if ending == "_exit":
        os._exit(0)
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert os.path.exists(journal), "the child removed the journal"
assert bytes(a[:8]) == b"lastwork"
with steadfast.load(path, read_only=True) as reader:
    assert reader[0:8] == (b"last\\0\\0\\0\\0" if ticket is None else b"lastwork"), reader[0:8]
m.rollback()
m[8:12] = b"more"
m.commit()
if ticket is not None:
    ticket.wait()
del a
m.close()
assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
print(open(path, "rb").read(12))
"""
)


@pytest.mark.parametrize("ending", ["exit", "_exit", "drop", "ticket"])
@pytest.mark.parametrize("shown", ["counted", "naked"])
def test_a_forked_child_sees_memory_and_may_call_nothing(ending: str, shown: str, folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(4 * PAGE))
    expected = b"lastworkmore" if ending == "ticket" else b"last\0\0\0\0more"
    assert program(FORK, path, ending, shown) == f"{expected!r}\n"


def test_a_child_forked_while_another_thread_is_in_a_call_does_not_hang(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(256 * PAGE))
    source = (
        CALLS_OF_A_CHILD
        + """
import threading
path = sys.argv[1]
m = steadfast.load(path)
a = np.frombuffer(m, np.uint8)
over = threading.Event()
def commits():
    while not over.is_set():
        a[::4096] += 1
        m.commit()
thread = threading.Thread(target=commits)
thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        try:
            in_the_child(m)
            a.sum()
            os._exit(0)
        finally:
            os._exit(9)
    assert os.waitpid(child, 0)[1] == 0
over.set()
thread.join()
del a
m.close()
print("done")
"""
    )
    assert program(source, path) == "done\n"


MULTIPROCESSING = """
import multiprocessing, os, sys
import steadfast

def child_by_fork(queue):
    try:
        m.commit()
    except steadfast.Error as error:
        queue.put((type(error).__name__, str(error)))

def child_by_spawn(path, queue):
    try:
        steadfast.load(path)
    except steadfast.Error as error:
        queue.put((type(error).__name__, str(error)))

if __name__ == "__main__":
    method, path = sys.argv[1:]
    m = steadfast.load(path)
    m[0:4] = b"last"
    m.commit()
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    if method == "fork":
        process = context.Process(target=child_by_fork, args=(queue,))
    else:
        process = context.Process(target=child_by_spawn, args=(path, queue))
    process.start()
    name, text = queue.get(timeout=50)
    process.join()
    assert process.exitcode == 0
    assert name == ("Forked" if method == "fork" else "Locked"), name
    assert method == "fork" or str(os.getpid()) in text, text
    if method == "spawn":
        try:
            context.Process(target=print, args=(m,)).start()
        except TypeError as error:
            assert "AtomicMapping" in str(error)
        else:
            raise AssertionError("a map went to another process")
    m[4:8] = b"more"
    m.commit()
    m.close()
    print(open(path, "rb").read(8), os.listdir(os.path.dirname(path)))
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_multiprocessing_have_no_part_in_the_map(method: str, folder: Path, tmp_path: Path) -> None:
    path = folder / "below" / "a"
    path.parent.mkdir()
    path.write_bytes(bytes(PAGE))
    # A spawned child imports the program: it has to have a name.
    script = tmp_path / "program.py"
    script.write_text(MULTIPROCESSING)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "ignore:This process:DeprecationWarning", script, method, path],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "b'lastmore' ['a']\n"
