"""Who may look at a map's memory, for how long, from which thread and process; and how errors say so.

What could crash, hang, or has to do with the end of a process runs in a process of its own.
"""

from __future__ import annotations

import asyncio
import gc
import operator
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disk import PROJECT

import steadfast

PAGE = 4096
# Nothing here takes so long but what hangs.
LIMIT_SECONDS = 60


def program(source: str, *arguments: Any, returns: int = 0, limit_seconds: float = LIMIT_SECONDS) -> str:
    """Runs Python of its own and gives what it printed. A signal, a traceback or a hang fails the test."""
    command = [sys.executable, "-X", "faulthandler", "-W", "ignore:This process:DeprecationWarning", "-c", source]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=limit_seconds,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == returns, f"ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def new(path: Path, length: int = 4 * PAGE, **options: Any) -> Any:
    return steadfast.load(path, create=True, length=length, **options)


def open_by(kind: str, path: Path) -> Any:
    """A map of an existing file, to be stored to."""
    if kind == "map":
        return steadfast.map(path, write=True)
    return getattr(steadfast, kind)(path)


KINDS = ["load", "view", "map"]

VIEWS: dict[str, Callable[[Any], Any]] = {
    "memoryview": memoryview,
    "a slice of a memoryview": lambda m: memoryview(m)[3:9],
    "a cast memoryview": lambda m: memoryview(m).cast("d"),
    "frombuffer": lambda m: np.frombuffer(m, np.uint8),
    "a view of frombuffer": lambda m: np.frombuffer(m, np.float64)[3:].reshape(-1, 1),
    "an ndarray over a memoryview": lambda m: np.ndarray((8,), np.uint8, memoryview(m), 5),
    "asarray of a memoryview": lambda m: np.asarray(memoryview(m)),
    "edit": lambda m: m.edit(0, 8),
    "an array over an edit": lambda m: np.asarray(m.edit(0, 8)),
    "a lease": lambda m: m._lease(),
}


def views_of(kind: str) -> list[str]:
    return [view for view in VIEWS if kind != "map" or "edit" not in view]


# Memory that nobody counts.

NAKED = """
import gc, sys
import numpy as np
import steadfast
kind, path, what = sys.argv[1:]
m = steadfast.map(path, write=True) if kind == "map" else getattr(steadfast, kind)(path)
size = len(m)
a = np.ndarray((size,), np.uint8, m)
assert m.exports == 0
a[:] = 5
commit = m.sync if kind == "map" else m.commit
commit()
if what == "close":
    m.close()
elif what == "with":
    with m:
        pass
elif what == "del":
    del m
    del commit
elif what == "cut":
    m.resize(1); commit()
elif what == "cut to nothing":
    m.resize(0); commit(); m.close()
elif what == "cut and grown":
    m.resize(1); commit(); m.resize(2 * size); commit()
elif what == "grown":
    m.resize(64 * size); commit(); m.resize(size); commit()
elif what == "rollback":
    m.resize(1); commit(); m.resize(size); m.rollback()
elif what == "refresh":
    if kind != "map":
        a[:] = 6
        commit()
        m.checkpoint()
    m.refresh()
elif what == "foreign cut":
    open(path, "r+b").truncate(1)
    try:
        m.refresh()
    except steadfast.Error as error:
        print(error)
for turn in range(3):
    gc.collect()
    total = int(a.sum())
    a[:] = turn
    a[size // 2:] += 1
    other = [np.ones(size, np.uint8) for _ in range(64)]
print("done", total)
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "what",
    ["close", "with", "del", "cut", "cut to nothing", "cut and grown", "grown", "rollback", "refresh", "foreign cut"],
)
def test_an_array_that_keeps_no_view_never_crashes(kind: str, what: str, folder: Path) -> None:
    if kind == "map" and what == "rollback":
        what = "cut"  # Of the kernel's mapping there is no rollback.
    path = folder / "a"
    path.write_bytes(bytes(64 * PAGE))
    assert program(NAKED, kind, path, what).splitlines()[-1].startswith("done")


@pytest.mark.parametrize("kind", ["load", "view"])
def test_memory_behind_a_close_is_as_it_was_and_no_longer_the_files(kind: str, folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(2 * PAGE))
    m = open_by(kind, path)
    a = np.ndarray((2 * PAGE,), np.uint8, m)
    a[:] = 1
    m.commit()
    a[5] = 2
    m.close()
    assert a[5] == 2 and a[6] == 1 and a[PAGE] == 1
    a[:] = 3
    assert path.read_bytes() == b"\1" * (2 * PAGE)
    again = open_by(kind, path)
    assert again[:] == b"\1" * (2 * PAGE)
    again.close()
    assert a[0] == 3


@pytest.mark.parametrize("kind", ["load", "view"])
def test_whole_pages_that_a_committed_resize_cut_off_read_as_zeros(kind: str, folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(b"\1" * (4 * PAGE))
    m = open_by(kind, path)
    a = np.ndarray((4 * PAGE,), np.uint8, m)
    m.resize(PAGE + 1)
    m.commit()
    assert (a[: PAGE + 1] == 1).all()
    assert (a[2 * PAGE :] == 0).all()
    a[:] = 9
    m.resize(4 * PAGE)
    assert m[PAGE + 1 :] == bytes(3 * PAGE - 1), "what was stored behind the end is not in what the map grew by"
    m.commit()
    m.close()
    assert path.read_bytes() == b"\x09" * (PAGE + 1) + bytes(3 * PAGE - 1)


# Memory that is counted.


@pytest.mark.parametrize(("kind", "view"), [(kind, view) for kind in KINDS for view in views_of(kind)])
def test_what_takes_memory_away_is_refused_while_it_is_shown(kind: str, view: str, folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(4 * PAGE))
    m = open_by(kind, path)
    shown = VIEWS[view](m)
    assert m.exports == 1
    calls: list[Callable[[], Any]] = [
        lambda: m.resize(5 * PAGE),
        lambda: m.resize(0),
        m.refresh,
        m.close,
        lambda: m.__exit__(None, None, None),
    ]
    for call in calls:
        with pytest.raises(BufferError, match=f"{re.escape(str(path))}: 1 view of it is alive"):
            call()
    m.resize(4 * PAGE)  # Nothing is taken away.
    if kind != "map":
        m.rollback()
    assert not m.closed and len(m) == 4 * PAGE
    second = memoryview(m)
    assert m.exports == 2
    with pytest.raises(BufferError, match="2 views of it are alive"):
        m.close()
    second.release()
    del shown
    assert m.exports == 0
    for call in calls:
        call()
    assert m.closed


@pytest.mark.parametrize("kind", ["load", "view"])
def test_a_rollback_of_the_length_is_refused_while_memory_is_shown(kind: str, folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(b"\1" * PAGE)
    m = open_by(kind, path)
    m.resize(2 * PAGE)
    shown = memoryview(m)
    with pytest.raises(BufferError, match="rollback"):
        m.rollback()
    with pytest.raises(BufferError), m.transaction():
        raise KeyError
    assert len(m) == 2 * PAGE
    shown.release()
    m.rollback()
    assert m[:] == b"\1" * PAGE
    m.close()


def test_a_released_memoryview_counts_no_longer_and_its_children_do(folder: Path) -> None:
    m = new(folder / "a")
    whole = memoryview(m)
    part = whole[2:4]
    whole.release()
    assert m.exports == 1
    part.release()
    assert m.exports == 0
    array = np.frombuffer(m, np.uint8)
    part_of_array = array[::2].reshape(2, -1)
    del array
    assert m.exports == 1
    del part_of_array
    assert m.exports == 0
    m.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "keeper", ["memoryview", "a cast memoryview", "frombuffer", "asarray of a memoryview", "a lease"]
)
def test_a_view_keeps_the_map_when_the_object_is_gone(kind: str, keeper: str, folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(4 * PAGE))
    m = open_by(kind, path)
    m[0:8] = b"\1" * 8
    m.sync()
    shown = VIEWS[keeper](m)
    del m
    gc.collect()
    if kind != "map":
        with pytest.raises(steadfast.Locked):
            steadfast.load(path)
    whole = memoryview(shown).cast("B")
    assert whole[:8] == b"\1" * 8
    if kind != "map":
        whole[0:8] = b"\2" * 8  # Is never committed.
    del shown, whole
    steadfast.load(path).close()
    assert path.read_bytes()[:8] == b"\1" * 8


def test_a_map_that_nobody_has_any_more_is_committed_if_it_was_asked_to_be(folder: Path) -> None:
    path = folder / "a"
    m = new(path)
    m._commit_on_drop()
    shown = memoryview(m)
    del m
    shown[0:3] = b"abc"
    del shown
    assert path.read_bytes()[:3] == b"abc"
    assert os.listdir(folder) == ["a"]


def test_a_cycle_with_a_map_in_it_is_collected(folder: Path) -> None:
    m = new(folder / "a")
    m[0:1] = b"x"
    m.commit()
    m[1:2] = b"y"
    cycle: list[Any] = [m, np.frombuffer(m, np.uint8)]
    cycle.append(cycle)
    del m, cycle
    gc.collect()
    assert os.listdir(folder) == ["a"]
    assert (folder / "a").read_bytes()[:2] == b"x\0"


def test_stores_through_an_edit_count_for_as_long_as_it_lives(folder: Path) -> None:
    path = folder / "a"
    m = new(path)
    edit = m.edit(0, 8)
    for turn in range(1, 5):
        edit[:] = bytes([turn] * 8)
        m.commit()
        with steadfast.load(path, read_only=True) as reader:
            assert reader[0:8] == bytes([turn] * 8)
    m.rollback()
    edit[:] = b"\x09" * 8
    m.commit()
    edit.release()
    m.close()
    assert path.read_bytes()[:8] == b"\x09" * 8


# Arguments that a method needs to get as far as to look whether the map is closed.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "__getitem__": (0,),
    "__setitem__": (0, 1),
    "read_at": (0, 1),
    "write_at": (0, b"x"),
    "resize": (PAGE,),
    "advise": ("normal",),
    "copy_to": ("elsewhere",),
    "_rollback_leaving": (0,),
    "_resize_leaving": (PAGE, 0),
    "_grow": (PAGE, b"", 0, b""),
    "_shrink": (PAGE, b"", 0),
    "__buffer__": (0,),
}
# What says nothing of the file: about the object, or done already.
OPEN_TO_ALL = {
    "closed",
    "path",
    "read_only",
    "exports",
    "close",
    "_close_leaving",
    "__exit__",
    "__repr__",
    "__delitem__",
}
# A transaction is refused when it begins.
OPEN_TO_ALL |= {"transaction", "_commit_on_drop"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_after_close_is_a_value_error(kind: str, folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(PAGE))
    m = open_by(kind, path)
    m.close()
    assert m.closed and m.exports == 0 and "closed" in repr(m)
    m.close()
    own = [name for name in vars(type(m)) if name not in vars(object) and name not in OPEN_TO_ALL]
    own += ["__len__", "__enter__"]
    asked = 0
    for name in own:
        if name.startswith("__") and name not in ARGUMENTS and name not in {"__len__", "__enter__"}:
            continue
        if name == "__buffer__" and not hasattr(m, name):
            continue
        with pytest.raises(ValueError, match="is closed: open it again"):
            attribute = getattr(m, name)
            attribute(*ARGUMENTS.get(name, ()))
        asked += 1
    assert asked > 10, own
    for over in [memoryview, lambda m: np.frombuffer(m, np.uint8), lambda m: np.ndarray((1,), np.uint8, m)]:
        with pytest.raises(ValueError, match="is closed"):
            over(m)
    if kind != "map":
        with pytest.raises(ValueError, match="is closed"), m.transaction():
            pass


@pytest.mark.parametrize("kind", ["load", "view"])
def test_growth_moves_nothing_and_is_refused_beyond_what_is_reserved(kind: str, folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(PAGE))
    m = getattr(steadfast, kind)(path, reserve=64 * PAGE)
    a = np.ndarray((PAGE,), np.uint8, m)
    for length in [2 * PAGE, 64 * PAGE, PAGE, 33 * PAGE]:
        m.resize(length)
        now = np.ndarray((length,), np.uint8, m)
        assert now.ctypes.data == a.ctypes.data
        now[-1] = 1
        m.commit()
        assert np.ndarray((length,), np.uint8, m).ctypes.data == a.ctypes.data
    with pytest.raises(steadfast.LimitExceeded, match="reserve"):
        m.resize(m.reserved_bytes + 1)
    assert len(m) == 33 * PAGE
    m.close()


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_that_asks_the_map_itself_does_not_wait_for_itself(kind: str, folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(PAGE - 1) + b"\7")
    source = """
import sys
import steadfast
kind, path = sys.argv[1:]
m = steadfast.map(path, write=True) if kind == "map" else getattr(steadfast, kind)(path)
class Last:
    def __index__(self):
        return len(m) - 1
assert m[Last()] == 7
assert m[Last():] == b"\\7"
m[Last()] = 8
m[Last():] = b"\\x09"
m[0:1] = bytes([m[Last()]])
class Cut:
    def __index__(self):
        m.resize(10)
        return 4000
try:
    print(m[Cut()])
except IndexError:
    pass
print(len(m))
"""
    try:
        assert program(source, kind, path, limit_seconds=10) == "10\n"
    except subprocess.TimeoutExpired:
        pytest.fail("m[index] waits for itself")


# Threads.


def test_stores_through_an_edit_while_others_commit_are_not_lost(folder: Path) -> None:
    path = folder / "a"
    length, edited = 16 << 20, 1 << 18
    path.write_bytes(b"x" * length)
    for commit in (lambda m: m.commit(), lambda m: m.commit_async().wait()):
        m = steadfast.load(path)
        edit = m.edit(0, edited)
        begun = threading.Event()

        def store(edit: memoryview = edit, begun: threading.Event = begun) -> None:
            for at in range(edited):
                # Once, and by nobody else.
                edit[at] = 1
                if at == 1000:
                    begun.set()

        thread = threading.Thread(target=store)
        thread.start()
        begun.wait()
        commit(m)
        thread.join()
        assert bytes(edit) == b"\1" * edited
        m.commit()
        edit.release()
        m.close()
        with open(path, "r+b") as file:
            assert file.read(edited) == b"\1" * edited
            file.seek(0)
            file.write(b"x" * edited)


def test_what_has_no_room_in_memory_is_a_memory_error(folder: Path) -> None:
    path = folder / "a"
    with open(path, "wb") as file:
        file.truncate(1 << 43)
    with steadfast.view(path) as m:
        for call in (lambda: m[::2], lambda: m[:]):
            with pytest.raises(MemoryError):
                call()


def test_values_that_threads_stored_before_a_commit_are_in_it(folder: Path) -> None:
    path = folder / "a"
    threads_count, pages_each = 8, 4
    m = new(path, threads_count * pages_each * PAGE)
    a = np.ndarray((threads_count, pages_each * PAGE // 8), np.int64, memoryview(m))
    over = threading.Event()

    def store(row: Any) -> None:
        value = 0
        while not over.is_set():
            value += 1
            row[value % len(row)] = value
            row[0] = value

    threads = [threading.Thread(target=store, args=(row,)) for row in a]
    for thread in threads:
        thread.start()
    try:
        for _ in range(40):
            before = a[:, 0].copy()
            m.commit()
            with steadfast.load(path, read_only=True) as reader:
                committed = np.frombuffer(reader[:], np.int64).reshape(a.shape)
            assert (committed[:, 0] >= before).all()
            assert (committed[:, 0] <= a[:, 0]).all()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    m.commit()
    last = a.copy()
    assert (last[:, 0] > 40).all(), "the threads did nothing"
    del a, threads
    m.close()
    assert (np.fromfile(path, np.int64) == last.ravel()).all()


def test_threads_may_call_the_same_map_at_once(folder: Path) -> None:
    path = folder / "a"
    m = new(path, 8 * PAGE)
    failures: list[BaseException] = []
    last = [0] * 8

    def work(part: int) -> None:
        try:
            for turn in range(1, 41):
                data = bytes([turn]) * PAGE
                if turn % 3 == 0:
                    m.write_at(part * PAGE, data)
                elif turn % 3 == 1:
                    with m.edit(part * PAGE, (part + 1) * PAGE) as edit:
                        edit[:] = data
                else:
                    m[part * PAGE : (part + 1) * PAGE] = data
                assert m[part * PAGE : (part + 1) * PAGE] == data
                number = m.commit() if turn % 2 else m.commit_async().wait()
                assert number >= last[part]
                last[part] = number
                with pytest.raises(steadfast.OutOfRange):
                    m.edit(0, 9 * PAGE)
                assert len(m) == 8 * PAGE and m.status().last >= number
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    m.close()
    assert path.read_bytes() == bytes([40]) * (8 * PAGE)


class Counter:
    """A thread that counts whenever it gets the interpreter's lock, taken from nobody: it has to be let go of."""

    def __enter__(self) -> Counter:
        self.count = 0
        self._over = False
        self._before = sys.getswitchinterval()
        sys.setswitchinterval(1000)
        self._thread = threading.Thread(target=self._work)
        self._thread.start()
        return self

    def _work(self) -> None:
        while not self._over:
            self.count += 1
            time.sleep(0)  # Lets go.

    def during(self, call: Callable[[], Any]) -> int:
        before = self.count
        call()
        return self.count - before

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join()
        sys.setswitchinterval(self._before)


def test_other_threads_go_on_while_a_call_waits_for_the_disk(folder: Path) -> None:
    length = 16 << 20
    path = folder / "a"
    path.write_bytes(bytes(length))

    def changed() -> Any:
        m = steadfast.load(path)
        np.frombuffer(m, np.uint8)[::PAGE] += 1
        return m

    calls: dict[str, Callable[[Any], Any]] = {
        "commit": lambda m: m.commit(),
        "commit_relaxed": lambda m: m.commit_relaxed(),
        "commit_async": lambda m: m.commit_async(),
        "commit_range": lambda m: m.commit_range(0, length // 2),
        "rollback": lambda m: m.rollback(),
        "copy_to": lambda m: m.copy_to(folder / "copy"),
        "close": lambda m: m.close(),
        "load": lambda m: steadfast.load(path, read_only=True),
    }
    with Counter() as counter:
        assert counter.during(lambda: sum(range(1_000_000))) == 0, "the lock was let go of: this shows nothing"
        for name, call in calls.items():
            # Who is let in still has to wake up in time.
            for _ in range(50):
                m = changed()
                went_on = counter.during(lambda call=call, m=m: call(m))  # type: ignore[misc]
                m.close()
                if went_on:
                    break
            else:
                pytest.fail(f"no other thread goes on during {name}")


def test_other_threads_go_on_while_an_open_waits_for_the_lock(folder: Path) -> None:
    path = folder / "a"
    m = new(path)
    m[0:1] = b"x"
    m.commit()
    may_close = threading.Event()

    def close() -> None:
        may_close.wait()
        m.close()

    closer = threading.Thread(target=close)
    closer.start()
    may_close.set()
    second = steadfast.load(path, lock_timeout=LIMIT_SECONDS)
    closer.join()
    assert second[0:1] == b"x"
    second.close()


def test_threads_that_look_while_others_change_lengths_and_handles_never_crash(folder: Path) -> None:
    source = """
import gc, sys, threading
import numpy as np
import steadfast

path = sys.argv[1]
over = threading.Event()
handle = [steadfast.load(path, create=True, length=4096, journal_bytes=65536)]
looked, changed, refused, failures = [0] * 4, [0], [0], []

def look(number):
    try:
        while not over.is_set():
            try:
                kind = looked[number] % 4
                m = handle[0]
                if kind == 0:
                    a = np.frombuffer(m, np.uint8)
                elif kind == 1:
                    a = np.ndarray((min(4096, len(m)),), np.uint8, m)
                elif kind == 2:
                    a = np.asarray(m.edit(0, 10))
                else:
                    a = np.asarray(memoryview(m)[5:])
            except (ValueError, IndexError, TypeError):  # Closed meanwhile, or shorter (NumPy says TypeError).
                continue
            a += 1
            a.sum()
            del a
            looked[number] += 1
            # Shows nothing meanwhile.
            for _ in range(50):
                try:
                    m[0:1]
                except ValueError:
                    break
            del m
    except BaseException as failure:
        failures.append(failure)

threads = [threading.Thread(target=look, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
turns = 0
try:
    while min(looked) < 300 or changed[0] < 100 or refused[0] < 100:
        turns += 1
        m = handle[0]
        try:
            m.resize(turns * 977 % 20000 + 1)
            changed[0] += 1
            m.commit()
            m.rollback()
            if turns % 10 == 0:
                m.close()
        except BufferError:
            refused[0] += 1
        if m.closed:
            handle[0] = steadfast.load(path, journal_bytes=65536)
        if failures:
            break
finally:
    over.set()
    for thread in threads:
        thread.join()
if failures:
    raise failures[0]
length = len(handle[0])
content = handle[0][:]
handle[0].commit()
del m
gc.collect()
handle[0].close()
assert open(path, "rb").read() == content
print("done", turns, looked, changed, refused)
"""
    said = program(source, folder / "a")
    assert said.startswith("done")


def test_ctrl_c_is_heard_while_an_open_waits_for_the_lock(folder: Path) -> None:
    source = f"""
import os, signal, sys, threading
import steadfast
m = steadfast.load(sys.argv[1], create=True, length=100)
go = threading.Event()
def interrupt():
    go.wait()
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    # That thread goes on when this one lets go of the interpreter's lock, which is in the open.
    sys.setswitchinterval(1000)
    go.set()
    steadfast.load(sys.argv[1], lock_timeout={LIMIT_SECONDS})
except KeyboardInterrupt:
    print("heard")
"""
    try:
        assert program(source, folder / "a", limit_seconds=10) == "heard\n"
    except subprocess.TimeoutExpired:
        pytest.fail("Ctrl-C is not heard")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before 3.12 no class of Python's has __buffer__")
def test_bytes_that_ask_the_map_itself_do_not_wait_for_it(folder: Path) -> None:
    source = """
import sys
import steadfast
m = steadfast.load(sys.argv[1], create=True, length=100)
class Data:
    def __buffer__(self, flags):
        m.resize(10)
        return memoryview(b"0123456789" * 2)
    def __release_buffer__(self, view):
        m.commit()
for call in [lambda: m.write_at(0, Data()), lambda: m.__setitem__(slice(0, 20), Data())]:
    m.resize(100)
    try:
        call()
    except (steadfast.OutOfRange, ValueError):
        print(len(m))
"""
    assert program(source, folder / "a", limit_seconds=10) == "10\n10\n"


# Forked children.

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


# Tickets.


def test_commits_are_awaited_and_the_loop_goes_on(folder: Path) -> None:
    path = folder / "a"
    m = new(path)

    async def work() -> list[int]:
        numbers = []
        for turn in range(10):
            m[turn] = turn + 1
            ticket = m.commit_async()
            assert ticket.id == await ticket
            assert await ticket == ticket.id, "a ticket is awaited as often as one likes"
            numbers.append(ticket.id)
        tickets = []
        for turn in range(10):
            m[turn] = turn + 11
            tickets.append(m.commit_async())

        async def one(ticket: Any) -> int:
            number: int = await ticket
            return number

        numbers += await asyncio.gather(*map(one, tickets))
        return numbers

    numbers = asyncio.run(work())
    assert numbers == sorted(set(numbers)) and len(numbers) == 20
    assert m.status().durable == numbers[-1]
    m.close()


def test_who_is_cancelled_while_waiting_takes_nothing_from_the_commit(folder: Path) -> None:
    path = folder / "a"
    length = 8 << 20
    m = new(path, length)

    async def work() -> int:
        for turn in range(1, 6):
            np.frombuffer(m, np.uint8)[::PAGE] = turn
            ticket = m.commit_async()

            async def wait(ticket: Any = ticket) -> int:
                number: int = await ticket
                return number

            task = asyncio.ensure_future(wait())
            await asyncio.sleep(0)  # It is waiting now.
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                cancelled.append(turn)
            assert await ticket == ticket.id
        return ticket.id

    cancelled: list[int] = []
    last = asyncio.run(work())
    assert cancelled, "no wait was cancelled: this shows nothing"
    assert m.status().durable == last
    m.close()
    assert (np.fromfile(path, np.uint8)[::PAGE] == 5).all()


def test_await_outside_an_event_loop_says_so(folder: Path) -> None:
    with new(folder / "a") as m:
        with pytest.raises(RuntimeError, match="no running event loop"):
            m.commit_async().__await__()


def test_a_ticket_is_waited_for_by_many_threads_also_after_close(folder: Path) -> None:
    m = new(folder / "a")
    m[0:1] = b"x"
    ticket = m.commit_async()
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(ticket.wait())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    m.close()
    assert found == [ticket.id] * 8
    assert ticket.is_done() and ticket.wait() == ticket.wait(0) == ticket.id
    for wrong in [float("nan"), -1.0]:
        with pytest.raises(steadfast.InvalidInput, match="seconds"):
            ticket.wait(wrong)
    with pytest.raises(TypeError):
        ticket.wait("soon")


def test_a_wait_without_success_is_a_timeout_error(folder: Path) -> None:
    m = new(folder / "a", 32 << 20)
    seen = False
    for turn in range(1, 20):
        np.frombuffer(m, np.uint8)[::PAGE] = turn
        ticket = m.commit_async()
        try:
            ticket.wait(0)
        except TimeoutError as error:
            assert f"commit {ticket.id}" in str(error)
            seen = True
            break
    assert seen, "every commit was over at once: this shows nothing"
    ticket.wait()
    m.close()


# The end of the interpreter.

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


# Errors.


def error_classes() -> dict[str, type[Any]]:
    found = {name: getattr(steadfast, name) for name in dir(steadfast)}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, steadfast.Error)}


def test_each_kind_of_the_library_is_a_class() -> None:
    library = PROJECT / "crates" / "steadfast" / "src" / "error.rs"
    if not library.exists():
        pytest.skip("the library's source is not beside these tests")
    text = library.read_text()
    body = text[text.index("pub enum ErrorKind {") :]
    kinds = set(re.findall(r"^    (\w+),$", body[: body.index("\n}")], re.MULTILINE))
    assert len(kinds) > 20
    classes = set(error_classes()) - {"Error"}
    assert classes == (kinds - {"Io"}) | {"InputOutput"}


def test_each_class_is_an_os_error_and_what_python_calls_it() -> None:
    python = {
        "NotFound": FileNotFoundError,
        "AlreadyExists": FileExistsError,
        "PermissionDenied": PermissionError,
        "InvalidInput": ValueError,
        "OutOfRange": IndexError,
    }
    for name, kind in error_classes().items():
        assert issubclass(kind, OSError)
        assert kind.__doc__
        error = kind(5, "what happened", "file")
        assert type(error) is kind, f"{name} became {type(error)}"
        assert (error.errno, error.filename, str(error)) == (5, "file", "what happened")
    for name, kind in python.items():
        assert issubclass(getattr(steadfast, name), kind)


def test_an_error_has_number_file_and_text_and_survives_pickling(folder: Path) -> None:
    path = folder / "no" / "such"
    with pytest.raises(FileNotFoundError) as caught:
        steadfast.load(path)
    error = caught.value
    assert isinstance(error, steadfast.NotFound)
    assert (error.errno, error.filename, error.operation) == (2, str(path), "open")
    assert str(error).startswith(f"open {path}: ") and "; " in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is steadfast.NotFound
    assert (again.errno, again.filename, again.operation, str(again)) == (2, str(path), "open", str(error))


def test_an_error_about_a_range_names_the_file_and_the_bytes(folder: Path) -> None:
    path = folder / "a"
    with new(path, PAGE) as m:
        for call in [m.edit, m.commit_range, lambda start, stop: m.read_at(start, stop - start)]:
            with pytest.raises(steadfast.OutOfRange) as caught:
                call(10, PAGE + 1)
            assert "4097" in str(caught.value) and "4096" in str(caught.value)
            assert caught.value.filename == str(path)
            assert str(path) in str(caught.value)
            assert (caught.value.start, caught.value.stop) == (10, PAGE + 1)


def test_a_locked_file_names_who_holds_it(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(PAGE))
    with steadfast.load(path):
        with pytest.raises(steadfast.Locked, match="this process") as caught:
            steadfast.load(path)
        assert caught.value.filename == str(path)
        with pytest.raises(steadfast.Locked, match="this process"):
            steadfast.load(path, lock_timeout=0.01)
        with pytest.raises(steadfast.Locked):
            steadfast.map(path, write=True)
        with pytest.raises(steadfast.Locked):
            steadfast.recover(path)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import steadfast, sys\nm = steadfast.load(sys.argv[1])\nprint(flush=True)\ninput()",
            path,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(steadfast.Locked, match=str(holder.pid)):
            steadfast.load(path)
    steadfast.load(path).close()


class _PathLike:
    def __init__(self, path: Any) -> None:
        self.path = path

    def __fspath__(self) -> Any:
        return self.path


@pytest.mark.parametrize("opener", [steadfast.load, steadfast.view, lambda file: steadfast.map(file, write=True)])
def test_every_way_to_name_a_file_is_taken(opener: Callable[[Any], Any], folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(PAGE))
    with open(path, "r+b") as file:
        ways = [
            str(path),
            os.fsencode(path),
            path,
            _PathLike(str(path)),
            _PathLike(os.fsencode(path)),
            file,
            file.fileno(),
        ]
        for number, way in enumerate(ways, 1):
            with opener(way) as m:
                assert m.path == str(path) or (m.path is None and opener not in (steadfast.load, steadfast.view))
                m[0] = number
                m.sync()
            assert path.read_bytes()[0] == number
            os.fstat(file.fileno())
    os.chdir(folder)
    with opener("a") as m:
        assert m[0] == len(ways)


def test_names_that_are_not_utf_8_are_taken_as_they_are(folder: Path) -> None:
    path = os.fsencode(folder) + b"/\xff\xfe"
    with steadfast.load(path, create=True, length=5) as m:
        assert os.fsencode(m.path) == path
        m[0:1] = b"x"
        m.commit()
        m.copy_to(path + b"\xff")
        with pytest.raises(steadfast.Locked) as caught:
            steadfast.load(path)
        assert os.fsencode(caught.value.filename) == path
        repr(m), str(caught.value)
    with steadfast.load(os.fsdecode(path)) as m:
        assert m[:] == b"x\0\0\0\0"
    with pytest.raises(steadfast.NotFound) as missing:
        steadfast.recover(path + b"\xfd")
    assert os.fsencode(missing.value.filename) == path + b"\xfd"


def test_what_is_no_file_is_refused(folder: Path) -> None:
    reader, writer = os.pipe()
    try:
        for opener in [steadfast.load, steadfast.view, steadfast.map]:
            for wrong in [None, 1.5, True, [], object()]:
                with pytest.raises(TypeError, match="a path, a descriptor or an object with fileno"):
                    opener(wrong)
            with pytest.raises(ValueError, match="null"):
                opener("a\0b")
            for closed in [-1, 1 << 20]:
                with pytest.raises(steadfast.Error) as caught:
                    opener(closed)
                assert caught.value.errno == 9
            for no_file in [folder, reader, "/dev/zero"]:
                with pytest.raises(steadfast.Error):
                    opener(no_file)
            with pytest.raises(steadfast.Error):
                opener("")
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("kind", KINDS)
def test_ranges_that_are_not_there_are_refused_and_change_nothing(kind: str, folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(b"\1" * PAGE)
    m = open_by(kind, path)
    names = ["start_sync", "invalidate", "lock", "unlock"] if kind == "map" else ["edit", "commit_range"]
    calls = [getattr(m, name) for name in [*names, "sync", "residency"]]
    calls.append(lambda start, stop: m.advise("normal", start, stop))
    for start, stop in [
        (-1, None),
        (-1, 3),
        (5, 3),
        (0, PAGE + 1),
        (PAGE + 1, None),
        (0, 1 << 62),
        (-(1 << 63), (1 << 63) - 1),
    ]:
        for call in calls:
            with pytest.raises(steadfast.OutOfRange):
                call(start, stop)
    for at, count in [(-1, 1), (0, -1), (PAGE, 1), (1 << 62, 1 << 62), ((1 << 63) - 1, (1 << 63) - 1)]:
        with pytest.raises(steadfast.OutOfRange):
            m.read_at(at, count)
    for at, data in [(-1, b"x"), (PAGE, b"x"), (PAGE - 1, b"xx"), ((1 << 63) - 1, b"x")]:
        with pytest.raises(steadfast.OutOfRange):
            m.write_at(at, data)
    for huge in [1 << 64, -(1 << 70)]:
        for call in calls:
            with pytest.raises((OverflowError, IndexError)):
                call(huge, None)
        with pytest.raises((OverflowError, IndexError)):
            m[huge]
        with pytest.raises((OverflowError, IndexError)):
            m[huge] = 1
        assert len(m[huge:]) in (0, PAGE)
    with pytest.raises(IndexError):
        m[PAGE]
    with pytest.raises(IndexError):
        m[-PAGE - 1]
    for length in [-1, 1 << 63, 1 << 64]:
        with pytest.raises((OverflowError, ValueError, steadfast.Error)):
            m.resize(length)
    with pytest.raises(steadfast.Error):
        m.resize(1 << 60)
    assert m[:] == b"\1" * PAGE and m.exports == 0
    m.close()


def test_numbers_that_no_map_can_have_are_refused_in_words(folder: Path) -> None:
    path = folder / "a"
    with new(path, PAGE) as m:
        for length in (-1, 1 << 70):
            with pytest.raises(steadfast.InvalidInput, match="not a number of bytes"):
                m.resize(length)
            for option in ("length", "reserve", "journal_bytes"):
                with pytest.raises(steadfast.InvalidInput, match="not a number of bytes"):
                    steadfast.load(folder / "b", create=True, **{option: length})
        for far in (1 << 70, -(1 << 70)):
            with pytest.raises(IndexError):
                m[far]
            with pytest.raises(steadfast.OutOfRange, match="not within"):
                m.edit(far)
            with pytest.raises(steadfast.OutOfRange, match="not within"):
                m.commit_range(0, far)
            with pytest.raises(ValueError, match="not a byte"):
                m[0] = far
        with pytest.raises(TypeError, match="cannot be deleted"):
            del m[0]  # type: ignore[attr-defined]
        assert len(m) == PAGE and sorted(os.listdir(folder)) == ["a", "a.steadfast"]


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_the_wrong_type_are_refused_and_change_nothing(kind: str, folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(b"\1" * PAGE)
    m = open_by(kind, path)

    def assign(index: Any, value: Any) -> Callable[[], None]:
        return lambda: m.__setitem__(index, value)

    wrong: list[tuple[type[BaseException] | tuple[type[BaseException], ...], Callable[[], Any]]] = [
        (ValueError, assign(slice(0, 2), b"abc")),
        (ValueError, assign(slice(0, 2), b"")),
        (ValueError, assign(slice(0, 8, 2), b"abc")),
        (ValueError, assign(0, 256)),
        (ValueError, assign(0, -1)),
        (TypeError, assign(0, b"a")),
        (TypeError, assign(0, 1.0)),
        (TypeError, assign(slice(0, 1), "a")),
        (TypeError, assign(slice(0, 1), 1)),
        (TypeError, assign(slice(0, 1), [1])),
        (TypeError, assign("a", 1)),
        (TypeError, assign((0, 1), 1)),
        (BufferError, assign(slice(0, 4), np.zeros((4, 4), np.uint8)[:, 1])),
        (TypeError, lambda: m["a"]),
        (TypeError, lambda: m[1.0]),
        (TypeError, lambda: m[None]),
        (ValueError, lambda: m[::0]),
        ((TypeError, NotImplementedError), lambda: operator.delitem(m, 0)),
        (TypeError, lambda: m.write_at(0, "x")),
        (TypeError, lambda: m.write_at("0", b"x")),
        (TypeError, lambda: m.resize("5")),
        (TypeError, lambda: m.resize(None)),
        (TypeError, lambda: m.sync("a", "b")),
        (steadfast.InvalidInput, lambda: m.advise("loudly")),
        (TypeError, lambda: m.advise(5)),
        (TypeError, lambda: pickle.dumps(m)),
        (TypeError, lambda: type(m)()),
    ]
    for number, (kind_of_error, call) in enumerate(wrong):
        try:
            call()
        except kind_of_error:
            continue
        raise AssertionError(f"call {number} was taken")
    assert m[:] == b"\1" * PAGE
    m.close()


def test_options_that_make_no_sense_are_refused(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(PAGE))
    for opener in [steadfast.load, steadfast.view, steadfast.map]:
        for seconds in [float("nan"), -1, -0.001, float("inf")]:
            with pytest.raises(steadfast.InvalidInput, match="seconds"):
                opener(path, lock_timeout=seconds)
        with pytest.raises(TypeError):
            opener(path, lock_timeout="soon")
        for length in [-1, 1 << 64]:
            with pytest.raises((OverflowError, ValueError)):
                opener(path, length=length)
        with pytest.raises(TypeError):
            opener(path, colour="red")
        with pytest.raises(TypeError):
            opener(path, True)
    for opener in [steadfast.load, steadfast.view]:
        with pytest.raises(steadfast.InvalidInput, match="tracker"):
            opener(path, tracker="hound")
    with pytest.raises(steadfast.InvalidInput, match="resolution"):
        steadfast.recover(path, resolution="hope")
    for wrong in [None, 5, 1.5]:
        with pytest.raises((TypeError, steadfast.InvalidInput)):
            steadfast.recover(wrong)
    assert path.read_bytes() == bytes(PAGE)
    assert os.listdir(folder) == ["a"]


def test_a_map_for_reading_refuses_stores_and_leaves_no_trace(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(b"\1" * PAGE)
    m = steadfast.load(path, read_only=True)
    assert m.read_only
    for call in [
        m.commit,
        lambda: m.write_at(0, b"x"),
        lambda: m.edit(0, 1),
        lambda: m.resize(5),
        lambda: m.__setitem__(0, 1),
    ]:
        with pytest.raises(steadfast.ReadOnly):
            call()
    assert memoryview(m).readonly
    array = np.frombuffer(m, np.uint8)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    assert os.listdir(folder) == ["a"]
    del array
    m.close()
