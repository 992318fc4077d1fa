"""A map in several threads, and objects that call back into it.

What could crash or hang runs in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from maps import KINDS, LIMIT_SECONDS, PAGE, new, program

import steadfast


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
