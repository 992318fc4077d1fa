"""Random programs against a plain model: nothing that Python code does with maps and arrays crashes, or shows wrong
bytes.

Each machine runs in a process of its own, so that a crash is a failed test with the steps that led to it.
`STEADFAST_STEPS` is how many steps each does (default: 3000), `STEADFAST_SEED` the first seed. By hand:
`python tests/test_model.py maps --steps 100000 --seed 1`.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disk import new_folder
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

import steadfast

STEPS = int(os.environ.get("STEADFAST_STEPS", "3000"))
STEPS_OF_AN_EXAMPLE = 60

COUNTS: Counter[str] = Counter()
"""What was done, over all examples."""

ROOT = Path()
"""Where the files of all examples lie."""

STEP_LOG: int | None = None
"""The steps of the example under way, for whoever finds this process dead."""


def told(text: str) -> None:
    """One step begins."""
    COUNTS["steps"] += 1
    if STEP_LOG is not None:
        os.write(STEP_LOG, f"{text}\n".encode())


class refused:  # noqa: N801 (as pytest.raises)
    """The block raises `kind` exactly if `when`.

    A class: a generator would be left in a cycle with the exception, and with what its frames hold, such as maps.
    """

    def __init__(self, kind: type[BaseException], when: bool = True) -> None:
        self.kind = kind if when else None

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if self.kind is None:
            return False
        assert kind is not None, f"{self.kind.__name__} was expected"
        COUNTS["refused"] += 1
        return issubclass(kind, self.kind)


LONGEST = 24000

# What is known of a byte behind the end of the map.
ZERO, CUT, STRAY = range(3)


class Memory:
    """The memory of one map, as it should be, also where the map once was longer."""

    def __init__(self, content: bytes) -> None:
        self.cells = np.zeros(LONGEST, np.uint8)
        self.cells[: len(content)] = np.frombuffer(content, np.uint8)
        # Cut off, and to become zeros with the next commit; or stored to behind the end, which is nobody's business
        # until it is in the map again.
        self.doubt = np.zeros(LONGEST, np.uint8)
        self.length = len(content)
        # Since the last commit.
        self.shortest = len(content)
        # After the close of a `view` unchanged pages show the file, and what becomes of it.
        self.is_known = True

    def working(self) -> bytes:
        return self.cells[: self.length].tobytes()

    def resize(self, length: int) -> None:
        self.doubt[length : self.length] = CUT
        self.cells[self.length : length] = 0
        self.doubt[self.length : length] = ZERO
        self.length = length
        self.shortest = min(self.shortest, length)

    def committed(self) -> None:
        """Whole pages that were cut off are zeros from here on."""
        self.shortest = self.length
        behind = slice(-(-self.length // 4096) * 4096, None)
        is_cut = self.doubt[behind] == CUT
        self.cells[behind][is_cut] = 0
        self.doubt[behind][is_cut] = ZERO

    def roll_back(self, content: bytes) -> None:
        self.resize(len(content))
        self.cells[: len(content)] = np.frombuffer(content, np.uint8)
        self.committed()

    def store(self, at: int, data: bytes) -> None:
        end = at + len(data)
        self.cells[at:end] = np.frombuffer(data, np.uint8)
        self.doubt[max(at, self.length) : end] = STRAY

    def expected(self, start: int, seen: bytes) -> bytes:
        """What should be seen there: `seen` itself where nothing is promised."""
        if not self.is_known:
            return seen
        span = slice(start, start + len(seen))
        return np.where(self.doubt[span] == ZERO, self.cells[span], np.frombuffer(seen, np.uint8)).tobytes()


class Shown:
    """Memory of a map in somebody's hands."""

    def __init__(self, what: Any, start: int, length: int, memory: Memory, counted: bool) -> None:
        self.what = what
        self.start = start
        self.length = length
        self.memory = memory
        self.counted = counted

    def seen(self) -> bytes:
        return bytes(self.what) if isinstance(self.what, memoryview) else self.what.tobytes()

    def store(self, at: int, data: bytes) -> None:
        """Plain stores, and the model's."""
        if isinstance(self.what, memoryview):
            self.what[at : at + len(data)] = data
        else:
            self.what[at : at + len(data)] = np.frombuffer(data, np.uint8)
        self.memory.store(self.start + at, data)


LENGTHS = st.one_of(
    st.sampled_from([0, 1, 10, 4095, 4096, 4097, 8192, 12288, 20000]),
    st.integers(0, LONGEST),
)
PLACES = st.one_of(st.integers(0, 30000), st.sampled_from([0, 4095, 4096, 4097, 8191, 8192]))
DATA = st.builds(lambda byte, count: bytes([byte]) * count, st.integers(1, 255), st.sampled_from([1, 2, 8, 100, 5000]))
TRACKERS: list[str | None] = [None]
SMALL_RESERVE = 32768


class Maps(RuleBasedStateMachine):
    """Atomic maps: stores by every way, commits, rollbacks, lengths, views, handles."""

    def __init__(self) -> None:
        super().__init__()
        if STEP_LOG is not None:
            os.ftruncate(STEP_LOG, 0)
        COUNTS["examples"] += 1
        self.folder = Path(tempfile.mkdtemp(dir=ROOT))
        self.path = self.folder / "map"
        self.map: Any = None
        self.is_open = False
        self.is_view = False
        self.publish = False
        self.commits_at_end = False
        self.memory = Memory(b"")
        self.committed = b""
        # Where the last flush is not known to be over, a reader may see any of these.
        self.maybe = [b""]
        self.last = 0
        self.tickets: list[tuple[Any, int]] = []
        self.shown: list[Shown] = []

    # What the model knows.

    def of_the_map(self) -> list[Shown]:
        return [shown for shown in self.shown if shown.memory is self.memory]

    def exports(self) -> int:
        return sum(shown.counted for shown in self.of_the_map())

    def now_committed(self, number: int, content: bytes, durable: bool) -> None:
        COUNTS["commits"] += 1
        assert number >= self.last, f"commit {number} after {self.last}"
        if content != self.committed:
            assert number > self.last, f"a change was committed as {number}, as what was before it"
        self.last = number
        self.committed = content
        self.memory.committed()
        self.maybe = [content] if durable else [*self.maybe, content]

    def now_closed(self) -> None:
        """The file is plain, and holds the last commit."""
        self.is_open = False
        self.map = None
        self.memory.is_known = self.memory.is_known and not self.is_view
        self.maybe = [self.committed]
        assert self.path.read_bytes() == self.committed
        assert sorted(os.listdir(self.folder)) == ["map"]
        for ticket, number in self.tickets:
            assert ticket.is_done()
            assert ticket.wait() == number
        self.tickets.clear()

    def let_go_of(self, shown: Shown) -> None:
        """And see whether it was the last that held the map."""
        self.shown.remove(shown)
        was_last = self.is_open and self.map is None and not self.of_the_map()
        if was_last and self.commits_at_end:
            self.committed = self.memory.working()
        shown.what = None
        if was_last:
            self.now_closed()

    # Handles.

    @precondition(lambda self: not self.is_open)
    @rule(
        by=st.sampled_from(["load", "view"]),
        tracker=st.sampled_from(range(4)),
        reserve=st.sampled_from([None, None, SMALL_RESERVE]),
        publish=st.booleans(),
        scrub=st.booleans(),
        length=LENGTHS,
    )
    def open(self, by: str, tracker: int, reserve: int | None, publish: bool, scrub: bool, length: int) -> None:
        told(f"open by={by} tracker={tracker} reserve={reserve} publish={publish} scrub={scrub} length={length}")
        COUNTS["opens"] += 1
        options: dict[str, Any] = {}
        if not self.path.exists():
            options = {"create": True, "length": length}
        self.map = getattr(steadfast, by)(
            self.path,
            tracker=TRACKERS[tracker % len(TRACKERS)],
            reserve=reserve,
            publish=publish,
            scrub=scrub,
            journal_bytes=65536,
            **options,
        )
        self.is_open = True
        self.is_view = by == "view"
        self.publish = publish
        self.commits_at_end = False
        self.last = 0
        self.memory = Memory(self.committed)
        if options:
            self.memory = Memory(bytes(length))
            # The length of a new file is there at once.
            self.committed = bytes(length)
            self.maybe = [self.committed]

    @precondition(lambda self: self.map is not None)
    @rule(by_with=st.booleans())
    def close(self, by_with: bool) -> None:
        told(f"close by_with={by_with}")
        with refused(BufferError, self.exports() > 0):
            if by_with:
                with self.map:
                    pass
            else:
                self.map.close()
        if self.exports() == 0:
            closed, self.map = self.map, None
            self.now_closed()
            with refused(ValueError):
                closed.commit()
            with refused(ValueError):
                memoryview(closed)
            closed.close()

    @precondition(lambda self: self.map is not None)
    @rule()
    def close_though_it_is_shown(self) -> None:
        told("close_though_it_is_shown")
        with refused(BufferError, self.exports() > 0):
            self.map._close_leaving(self.exports() - 1 if self.exports() else 0)
        if self.exports() > 0:
            self.map._close_leaving(self.exports())
        assert self.map.exports == self.exports()
        self.now_closed()

    @precondition(lambda self: self.map is not None)
    @rule()
    def commit_at_the_end(self) -> None:
        told("commit_at_the_end")
        self.map._commit_on_drop()
        self.commits_at_end = True

    @precondition(lambda self: self.map is not None)
    @rule()
    def drop(self) -> None:
        """The handle goes, without a commit. Whoever looks at the memory still holds the map."""
        told("drop")
        self.map = None
        if not self.of_the_map():
            if self.commits_at_end:
                self.committed = self.memory.working()
            self.now_closed()

    @precondition(lambda self: self.is_open)
    @rule()
    def open_twice(self) -> None:
        told("open_twice")
        try:
            steadfast.load(self.path)
        except steadfast.Locked as error:
            assert "this process" in str(error), error
        else:
            raise AssertionError("two maps of one file are open for commits")

    @precondition(lambda self: self.is_open and self.map is None)
    @rule()
    def find_the_handle(self) -> None:
        """An array that NumPy made over the map itself has it as its base."""
        for shown in self.of_the_map():
            if not shown.counted:
                told("find_the_handle")
                self.map = shown.what.base
                return

    # Lengths.

    @precondition(lambda self: self.map is not None)
    @rule(length=LENGTHS, though_shown=st.booleans())
    def resize(self, length: int, though_shown: bool) -> None:
        told(f"resize {length} though_shown={though_shown}")
        if though_shown and self.exports():
            with refused(BufferError, length != self.memory.length):
                self.map._resize_leaving(length, self.exports() - 1)
            self.map._resize_leaving(length, self.exports())
        else:
            in_the_way = self.exports() > 0 and length != self.memory.length
            with refused(BufferError, in_the_way):
                self.map.resize(length)
            if in_the_way:
                return
        self.memory.resize(length)

    @precondition(lambda self: self.map is not None)
    @rule()
    def resize_beyond_what_is_reserved(self) -> None:
        told("resize_beyond_what_is_reserved")
        with refused(BufferError if self.exports() else steadfast.LimitExceeded):
            self.map.resize(self.map.reserved_bytes + 1)

    # Stores.

    @precondition(lambda self: self.map is not None)
    @rule(at=PLACES, data=DATA)
    def assign(self, at: int, data: bytes) -> None:
        at, data = self.within(at, data)
        told(f"assign {at} {data[:1]!r}*{len(data)}")
        self.map[at : at + len(data)] = data
        self.memory.store(at, data)

    @precondition(lambda self: self.map is not None)
    @rule(at=PLACES, data=DATA)
    def write_at(self, at: int, data: bytes) -> None:
        told(f"write_at {at} {data[:1]!r}*{len(data)}")
        is_outside = at + len(data) > self.memory.length
        with refused(steadfast.OutOfRange, is_outside):
            self.map.write_at(at, data)
        if not is_outside:
            self.memory.store(at, data)

    @precondition(lambda self: self.map is not None)
    @rule(at=PLACES, byte=st.integers(0, 255))
    def assign_a_byte(self, at: int, byte: int) -> None:
        told(f"assign_a_byte {at} {byte}")
        with refused(IndexError, at >= self.memory.length):
            self.map[at] = byte
        if at < self.memory.length:
            self.memory.store(at, bytes([byte]))

    @precondition(lambda self: self.map is not None)
    @rule(at=PLACES, count=st.integers(0, 200), step=st.sampled_from([2, 3, -1, -2, 1000]))
    def assign_in_steps(self, at: int, count: int, step: int) -> None:
        told(f"assign_in_steps {at} {count} {step}")
        where = range(self.memory.length)[at : at + count * step if at + count * step >= 0 else None : step]
        data = bytes((at + number) % 256 for number in range(len(where)))
        stop = at + count * step
        self.map[at : stop if stop >= 0 else None : step] = data
        for place, byte in zip(where, data, strict=True):
            self.memory.store(place, bytes([byte]))

    @precondition(lambda self: self.shown)
    @rule(which=st.integers(0, 50), at=PLACES, data=DATA)
    def store(self, which: int, at: int, data: bytes) -> None:
        shown = self.shown[which % len(self.shown)]
        at = at % (shown.length + 1)
        data = data[: shown.length - at]
        told(f"store {which} {type(shown.what).__name__} {at} {data[:1]!r}*{len(data)}")
        shown.store(at, data)

    @precondition(lambda self: self.shown)
    @rule(which=st.integers(0, 50))
    def add_one_to_all(self, which: int) -> None:
        shown = self.shown[which % len(self.shown)]
        told(f"add_one_to_all {which} {type(shown.what).__name__}")
        seen = shown.seen()
        array = np.asarray(shown.what)
        array += 1
        del array
        shown.memory.store(shown.start, bytes((byte + 1) % 256 for byte in seen))

    def within(self, at: int, data: bytes) -> tuple[int, bytes]:
        at = at % (self.memory.length + 1)
        return at, data[: self.memory.length - at]

    # Views.

    @precondition(lambda self: self.map is not None and len(self.shown) < 6)
    @rule(
        kind=st.sampled_from(
            ["memoryview", "edit", "frombuffer", "ndarray over memoryview", "ndarray", "ndarray", "lease"]
        ),
        start=PLACES,
        length=PLACES,
    )
    def show(self, kind: str, start: int, length: int) -> None:
        told(f"show {kind} {start} {length}")
        whole = self.memory.length
        start = start % (whole + 1)
        length = length % (whole - start + 1)
        what: Any
        if kind == "memoryview":
            what, start, length = memoryview(self.map), 0, whole
        elif kind == "lease":
            what, start, length = memoryview(self.map._lease()), 0, whole
        elif kind == "edit":
            what = self.map.edit(start, start + length)
        elif kind == "frombuffer":
            what, start, length = np.frombuffer(self.map, np.uint8), 0, whole
        elif kind == "ndarray over memoryview":
            what = np.ndarray((length,), np.uint8, memoryview(self.map), start)
        else:
            what = np.ndarray((length,), np.uint8, self.map, start)
        self.shown.append(Shown(what, start, length, self.memory, kind != "ndarray"))

    @precondition(lambda self: self.shown)
    @rule(which=st.integers(0, 50), start=PLACES, length=PLACES, as_array=st.booleans())
    def show_a_part(self, which: int, start: int, length: int, as_array: bool) -> None:
        """The part goes on, what it was taken from is let go of: still the same hold on the map."""
        shown = self.shown[which % len(self.shown)]
        if not shown.counted:
            return
        start = start % (shown.length + 1)
        length = length % (shown.length - start + 1)
        told(f"show_a_part {which} {type(shown.what).__name__} {start} {length} as_array={as_array}")
        part = shown.what[start : start + length]
        shown.what = np.asarray(part) if as_array else part
        shown.start += start
        shown.length = length

    @precondition(lambda self: self.shown)
    @rule(which=st.integers(0, 50), by_release=st.booleans())
    def hide(self, which: int, by_release: bool) -> None:
        shown = self.shown[which % len(self.shown)]
        told(f"hide {which} {type(shown.what).__name__} by_release={by_release}")
        if by_release and isinstance(shown.what, memoryview):
            shown.what.release()
        self.let_go_of(shown)

    @precondition(lambda self: self.map is not None)
    @rule(start=PLACES, stop=PLACES)
    def show_what_is_not_there(self, start: int, stop: int) -> None:
        told(f"show_what_is_not_there {start} {stop}")
        if start <= stop <= self.memory.length:
            return
        with refused(steadfast.OutOfRange):
            self.map.edit(start, stop)
        with refused(steadfast.OutOfRange):
            self.map.commit_range(start, stop)

    # Commits.

    @precondition(lambda self: self.map is not None)
    @rule(rolls_back=st.booleans())
    def commit(self, rolls_back: bool) -> None:
        told(f"commit rolls_back={rolls_back}")
        number = self.map.commit()
        self.now_committed(number, self.memory.working(), durable=True)
        assert self.map.status().durable >= number
        if rolls_back:
            # Whatever was not found shows itself.
            self.map.rollback()
            self.memory.roll_back(self.committed)

    @precondition(lambda self: self.map is not None)
    @rule(at=PLACES, data=DATA, other=DATA, by=st.sampled_from(["edit", "edit", "shown"]), which=st.integers(0, 50))
    def store_again_and_again(self, at: int, data: bytes, other: bytes, by: str, which: int) -> None:
        """Through the same view, with commits between."""
        shown = Shown(self.map.edit(), 0, self.memory.length, self.memory, counted=True)
        if by == "shown" and self.of_the_map():
            shown = self.of_the_map()[which % len(self.of_the_map())]
        at = at % (shown.length + 1)
        told(f"store_again_and_again {by} {which} {at} {data!r:.5}*{len(data)} {other!r:.5}*{len(other)}")
        for part in [data, other]:
            shown.store(at, part[: shown.length - at])
            self.now_committed(self.map.commit(), self.memory.working(), durable=True)
        self.map.rollback()
        self.memory.roll_back(self.committed)

    @precondition(lambda self: self.map is not None)
    @rule()
    def commit_relaxed(self) -> None:
        told("commit_relaxed")
        self.now_committed(self.map.commit_relaxed(), self.memory.working(), durable=False)

    @precondition(lambda self: self.map is not None and len(self.tickets) < 4)
    @rule()
    def commit_async(self) -> None:
        told("commit_async")
        ticket = self.map.commit_async()
        self.now_committed(ticket.id, self.memory.working(), durable=False)
        self.tickets.append((ticket, ticket.id))

    @precondition(lambda self: self.tickets)
    @rule(which=st.integers(0, 3))
    def wait(self, which: int) -> None:
        told(f"wait {which}")
        ticket, number = self.tickets.pop(which % len(self.tickets))
        assert ticket.wait() == number
        assert ticket.is_done()
        if self.map is not None:
            assert self.map.status().durable >= number

    @precondition(lambda self: self.map is not None)
    @rule(start=PLACES, stop=PLACES, as_sync=st.booleans())
    def commit_range(self, start: int, stop: int, as_sync: bool) -> None:
        length = self.memory.length
        start, stop = sorted((start % (length + 1), stop % (length + 1)))
        told(f"commit_range {start} {stop} as_sync={as_sync}")
        working = self.memory.working()
        content = bytearray(self.committed)
        if self.length_waits() or (start, stop) == (0, length):
            content[:] = working
        elif start < stop:
            pages = slice(start // 4096 * 4096, -(-stop // 4096) * 4096)
            content[pages] = working[pages]
        if as_sync:
            self.map.sync(start, stop)
            number = self.map.status().last
        else:
            number = self.map.commit_range(start, stop)
        self.now_committed(number, bytes(content), durable=True)

    def length_waits(self) -> bool:
        """A new length, or a cut that was made good by growth."""
        return self.memory.length != len(self.committed) or self.memory.shortest < len(self.committed)

    @precondition(lambda self: self.map is not None)
    @rule()
    def rollback(self) -> None:
        told("rollback")
        in_the_way = self.exports() > 0 and len(self.committed) != self.memory.length
        with refused(BufferError, in_the_way):
            self.map.rollback()
        if in_the_way:
            with refused(BufferError):
                self.map._rollback_leaving(self.exports() - 1)
            self.map._rollback_leaving(self.exports())
        self.memory.roll_back(self.committed)

    @precondition(lambda self: self.map is not None)
    @rule(at=PLACES, data=DATA, fails=st.booleans())
    def transaction(self, at: int, data: bytes, fails: bool) -> None:
        at, data = self.within(at, data)
        told(f"transaction {at} {data[:1]!r}*{len(data)} fails={fails}")
        in_the_way = fails and self.exports() > 0 and len(self.committed) != self.memory.length
        with refused(BufferError if in_the_way else KeyError, fails):
            with self.map.transaction() as inside:
                assert inside is self.map
                del inside
                self.map[at : at + len(data)] = data
                self.memory.store(at, data)
                if fails:
                    raise KeyError
        if not fails:
            self.now_committed(self.map.status().last, self.memory.working(), durable=True)
        elif not in_the_way:
            self.memory.roll_back(self.committed)

    @precondition(lambda self: self.map is not None)
    @rule()
    def checkpoint(self) -> None:
        told("checkpoint")
        self.map.checkpoint()
        self.maybe = [self.committed]
        assert self.path.read_bytes() == self.committed

    # Looks.

    @precondition(lambda self: self.map is not None)
    @rule()
    def copy(self) -> None:
        told("copy")
        to = self.folder / "copy"
        self.map.copy_to(to)
        assert to.read_bytes() == self.committed
        to.unlink()

    @precondition(lambda self: self.path.exists())
    @rule()
    def read(self) -> None:
        told("read")
        with steadfast.load(self.path, read_only=True) as reader:
            assert reader[:] in self.maybe
            with refused(steadfast.ReadOnly):
                reader.commit()
            array = np.ndarray((len(reader),), np.uint8, memoryview(reader))
            assert not array.flags.writeable
            del array

    @precondition(lambda self: self.map is not None)
    @rule(advice=st.sampled_from(["normal", "will-need", "populate-write", "cold", "page-out", "no-huge-page"]))
    def advise(self, advice: str) -> None:
        told(f"advise {advice}")
        try:
            self.map.advise(advice)
        except steadfast.Unsupported:
            COUNTS["advice that the kernel does not take"] += 1
        self.map.residency()

    @precondition(lambda self: self.map is not None)
    @rule()
    def refresh(self) -> None:
        """Nobody else changed the file: nothing changes."""
        told("refresh")
        with refused(BufferError, self.exports() > 0):
            self.map.refresh()

    @rule()
    def collect(self) -> None:
        told("collect")
        gc.collect(0)

    @invariant()
    def everybody_sees_the_same(self) -> None:
        if self.map is not None:
            working = self.memory.working()
            assert self.map[:] == working
            assert len(self.map) == len(working)
            assert self.map.exports == self.exports()
            if self.publish and len(self.maybe) == 1:
                assert self.path.read_bytes()[: len(self.committed)] == self.committed
        for shown in self.shown:
            seen = shown.seen()
            assert seen == shown.memory.expected(shown.start, seen)

    def teardown(self) -> None:
        for shown in list(self.shown):
            self.let_go_of(shown)
        if self.map is not None:
            self.map.close()
            self.now_closed()
        assert not self.is_open
        shutil.rmtree(self.folder)


DTYPES = ["<f8", "<i4", "u1", "<M8[s]", [("a", "<i2"), ("b", "<f8")]]
ROW_SHAPES: list[tuple[int, ...]] = [(), (3,), (2, 2), (100,)]

# How an array is looked at. The same is done to the model's memory, which shares as the array's must.
LOOKS: dict[str, Callable[[Any, int, int], Any]] = {
    "rows": lambda a, start, stop: a[start:stop],
    "every other row": lambda a, start, stop: a[start:stop:2],
    "backwards": lambda a, start, stop: a[start:stop][::-1],
    "transposed": lambda a, start, stop: a[start:stop].T,
    "flat": lambda a, start, stop: a[start:stop].reshape(-1),
    "plain": lambda a, start, stop: a[start:stop].view(np.ndarray),
    "uncounted": lambda a, start, stop: np.asarray(a),
    "bytes": lambda a, start, stop: a[start:stop].reshape(-1).view(np.uint8),
    "memoryview": lambda a, start, stop: np.asarray(memoryview(a.reshape(-1).view(np.uint8))),
}


class Look:
    """A view of the array, and the same of the model's memory."""

    def __init__(self, how: str, what: Any, model: Any, doubt: Any, memory: Memory) -> None:
        # A plain ndarray of the whole has the array as its base, and nothing of its own that could be counted.
        self.counted = how != "uncounted"
        self.what = what
        self.model = model
        self.doubt = doubt
        self.memory = memory

    def store(self, value: Any) -> None:
        self.what[...] = value
        self.model[...] = value
        # Every byte of it; what lies within the array is known again.
        self.doubt[...] = np.frombuffer(bytes([STRAY]) * self.doubt.itemsize, self.doubt.dtype)[0]
        self.memory.doubt[: self.memory.length] = ZERO

    def check(self) -> None:
        seen, model, doubt = (np.frombuffer(a.tobytes(), np.uint8) for a in (self.what, self.model, self.doubt))
        assert (seen[doubt == ZERO] == model[doubt == ZERO]).all()


class Arrays(RuleBasedStateMachine):
    """Arrays in .npy files: rows that come and go, commits, rollbacks, views, handles."""

    def __init__(self) -> None:
        super().__init__()
        if STEP_LOG is not None:
            os.ftruncate(STEP_LOG, 0)
        COUNTS["examples"] += 1
        self.folder = Path(tempfile.mkdtemp(dir=ROOT))
        self.path = self.folder / "a.npy"
        self.array: Any = None
        self.is_open = False
        self.dtype = np.dtype("u1")
        self.row_shape: tuple[int, ...] = ()
        self.memory = Memory(b"")
        self.committed = b""
        self.maybe = [b""]
        self.looks: list[Look] = []
        self.foreign: list[memoryview] = []

    # What the model knows.

    def row_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.row_shape, dtype=int))

    def rows(self) -> int:
        return self.memory.length // self.row_bytes()

    def rows_max(self) -> int:
        return LONGEST // self.row_bytes()

    def over(self, cells: Any, length: int) -> Any:
        return cells[:length].view(self.dtype).reshape(-1, *self.row_shape)

    def values(self, rows: int, number: int) -> Any:
        count = rows * (self.row_bytes() // self.dtype.itemsize)
        plain = (np.arange(count) * 7 + number) % 101
        made = np.empty(count, self.dtype)
        if self.dtype.names:
            for name in self.dtype.names:
                made[name] = plain
        else:
            made[:] = plain.astype(self.dtype)
        return made.reshape(rows, *self.row_shape)

    def of_the_array(self) -> list[Look]:
        return [look for look in self.looks if look.memory is self.memory]

    def is_in_view(self) -> bool:
        return bool(self.foreign) or any(look.counted for look in self.of_the_array())

    def now_committed(self, durable: bool) -> None:
        COUNTS["commits"] += 1
        self.committed = self.memory.working()
        self.maybe = [self.committed] if durable else [*self.maybe, self.committed]

    def now_closed(self) -> None:
        self.is_open = False
        self.array = None
        self.maybe = [self.committed]
        assert os.listdir(self.folder) == ["a.npy"]
        found = np.load(self.path)
        assert found.dtype == self.dtype and found.shape[1:] == self.row_shape
        assert found.tobytes() == self.committed

    def see_whether_it_is_gone(self) -> None:
        if self.is_open and self.array is None and not self.of_the_array() and not self.foreign:
            self.now_closed()

    # Handles.

    @precondition(lambda self: not self.is_open)
    @rule(
        dtype=st.sampled_from(range(len(DTYPES))),
        row_shape=st.sampled_from(ROW_SHAPES),
        rows=st.integers(0, 300),
        anew=st.booleans(),
        tracker=st.sampled_from(range(4)),
        publish=st.booleans(),
        by_save=st.booleans(),
    )
    def open(
        self, dtype: int, row_shape: tuple[int, ...], rows: int, anew: bool, tracker: int, publish: bool, by_save: bool
    ) -> None:
        told(f"open {DTYPES[dtype]} {row_shape} {rows} {anew=} {tracker=} {publish=} {by_save=}")
        COUNTS["opens"] += 1
        options: dict[str, Any] = {
            "tracker": TRACKERS[tracker % len(TRACKERS)],
            "publish": publish,
            "journal_bytes": 65536,
        }
        if anew or not self.path.exists():
            self.dtype, self.row_shape = np.dtype(DTYPES[dtype]), row_shape
            rows %= self.rows_max() + 1
            shape = (rows, *row_shape)
            if by_save:
                # NumPy's own header, behind which no page begins.
                np.save(self.path, np.zeros(shape, self.dtype))
                self.array = steadfast.open_array(self.path, **options)
            else:
                mode = "w+" if anew else "r+"
                self.array = steadfast.open_array(self.path, self.dtype, shape, mode, **options)
            self.committed = bytes(rows * self.row_bytes())
            self.maybe = [self.committed]
        else:
            self.array = steadfast.open_array(self.path, self.dtype, (-1, *self.row_shape), **options)
        self.is_open = True
        self.memory = Memory(self.committed)

    @precondition(lambda self: self.array is not None)
    @rule(by_with=st.booleans())
    def close(self, by_with: bool) -> None:
        told(f"close by_with={by_with}")
        in_the_way = self.is_in_view()
        with refused(BufferError, in_the_way):
            if by_with:
                with self.array:
                    pass
            else:
                self.array.close()
        if in_the_way:
            return
        closed = self.array
        self.now_closed()
        for call in [closed.commit, closed.rollback, lambda: closed.append(self.values(1, 0)), lambda: closed.map]:
            with refused(ValueError):
                call()
        # It can still be looked at.
        assert closed.tobytes() == self.memory.working()
        with refused(ValueError):
            closed[:] = self.values(len(closed), 1)
        closed.close()

    @precondition(lambda self: self.array is not None)
    @rule()
    def drop(self) -> None:
        told("drop")
        self.array = None
        self.see_whether_it_is_gone()

    @precondition(lambda self: self.is_open)
    @rule()
    def open_twice(self) -> None:
        told("open_twice")
        with refused(steadfast.Locked):
            steadfast.open_array(self.path)

    # Rows.

    @precondition(lambda self: self.array is not None)
    @rule(
        rows=st.integers(0, 40), number=st.integers(0, 100), how=st.sampled_from(["array", "list", "one row", "itself"])
    )
    def append(self, rows: int, number: int, how: str) -> None:
        told(f"append {rows} {number} {how}")
        if how == "one row":
            rows = 1
        if how == "itself":
            rows = min(rows, self.rows())
        rows = min(rows, self.rows_max() - self.rows())
        if rows == 0 and how == "one row":
            return
        before = self.memory.length
        more = self.array[:rows] if how == "itself" else self.values(rows, number)
        content = more.tobytes()
        if how == "one row":
            more = more[0]
        elif how == "list" and rows > 0 and self.dtype.kind not in "VM":
            more = more.tolist()
        self.array.append(more)
        self.memory.resize(before + rows * self.row_bytes())
        self.memory.store(before, content)

    @precondition(lambda self: self.array is not None)
    @rule()
    def append_what_does_not_fit(self) -> None:
        told("append_what_does_not_fit")
        with refused(steadfast.InvalidInput):
            self.array.append(np.zeros((2, *self.row_shape, 7), self.dtype))
        with refused(TypeError):
            self.array.append(np.zeros((2, *self.row_shape), complex))

    @precondition(lambda self: self.array is not None)
    @rule(rows=st.one_of(st.integers(0, 40), st.integers(0, LONGEST)))
    def resize_rows(self, rows: int) -> None:
        rows %= self.rows_max() + 1
        told(f"resize_rows {rows}")
        in_the_way = self.is_in_view() and rows < self.rows()
        with refused(BufferError, in_the_way):
            self.array.resize_rows(rows)
        if not in_the_way:
            self.memory.resize(rows * self.row_bytes())

    @precondition(lambda self: self.array is not None)
    @rule(start=st.integers(0, LONGEST), count=st.integers(0, 50), number=st.integers(0, 100))
    def assign(self, start: int, count: int, number: int) -> None:
        start %= self.rows() + 1
        count = min(count, self.rows() - start)
        told(f"assign {start} {count} {number}")
        values = self.values(count, number)
        self.array[start : start + count] = values
        self.memory.store(start * self.row_bytes(), values.tobytes())

    # Views.

    @precondition(lambda self: self.array is not None and len(self.looks) < 5)
    @rule(how=st.sampled_from(sorted(LOOKS)), start=st.integers(0, LONGEST), count=st.integers(0, 2000))
    def look(self, how: str, start: int, count: int) -> None:
        rows = self.rows()
        start %= rows + 1
        stop = min(start + count, rows)
        told(f"look {how} {start} {stop}")
        length = self.memory.length
        model, doubt = (
            LOOKS[how](self.over(cells, length), start, stop) for cells in (self.memory.cells, self.memory.doubt)
        )
        self.looks.append(Look(how, LOOKS[how](self.array, start, stop), model, doubt, self.memory))

    @precondition(lambda self: self.looks)
    @rule(which=st.integers(0, 20), number=st.integers(0, 100))
    def store(self, which: int, number: int) -> None:
        look = self.looks[which % len(self.looks)]
        told(f"store {which} {look.what.shape} {number}")
        look.store(self.values(1, number).reshape(-1)[0] if look.what.dtype == self.dtype else number)

    @precondition(lambda self: self.looks)
    @rule(which=st.integers(0, 20))
    def let_go(self, which: int) -> None:
        told(f"let_go {which}")
        self.looks.pop(which % len(self.looks))
        self.see_whether_it_is_gone()

    @precondition(lambda self: self.array is not None and len(self.foreign) < 2)
    @rule()
    def look_at_the_map(self) -> None:
        told("look_at_the_map")
        self.foreign.append(memoryview(self.array.map))

    @precondition(lambda self: self.foreign)
    @rule()
    def let_go_of_the_map(self) -> None:
        told("let_go_of_the_map")
        self.foreign.pop().release()
        self.see_whether_it_is_gone()

    # Commits.

    def anybody(self, which: int) -> Any:
        """The array, or a view that has its methods."""
        views = [look.what for look in self.of_the_array() if getattr(look.what, "_store", None) is not None]
        return [self.array, *views][which % (1 + len(views))]

    @precondition(lambda self: self.array is not None)
    @rule(which=st.integers(0, 5))
    def commit(self, which: int) -> None:
        told(f"commit {which}")
        self.anybody(which).commit()
        self.now_committed(durable=True)

    @precondition(lambda self: self.array is not None)
    @rule(waits=st.booleans(), which=st.integers(0, 5))
    def commit_async(self, waits: bool, which: int) -> None:
        told(f"commit_async waits={waits} {which}")
        ticket = self.anybody(which).commit_async()
        self.now_committed(durable=False)
        if waits:
            assert ticket.wait() == ticket.id
            self.maybe = [self.committed]

    @precondition(lambda self: self.array is not None)
    @rule(which=st.integers(0, 5))
    def rollback(self, which: int) -> None:
        told(f"rollback {which}")
        in_the_way = self.is_in_view() and len(self.committed) != self.memory.length
        with refused(BufferError, in_the_way):
            self.anybody(which).rollback()
        if not in_the_way:
            self.memory.roll_back(self.committed)

    @precondition(lambda self: self.array is not None)
    @rule()
    def checkpoint(self) -> None:
        told("checkpoint")
        self.array.map.checkpoint()
        self.maybe = [self.committed]
        found = np.load(self.path)
        assert found.tobytes() == self.committed and found.dtype == self.dtype

    @precondition(lambda self: self.path.exists())
    @rule(mode=st.sampled_from(["r", "c"]))
    def read(self, mode: str) -> None:
        told(f"read {mode}")
        reader = steadfast.open_array(self.path, mode=mode)  # type: ignore[arg-type]
        assert reader.tobytes() in self.maybe
        assert reader.flags.writeable == (mode == "c")
        with refused(steadfast.ReadOnly):
            reader.commit()
        if mode == "c" and len(reader):
            reader[:] = self.values(len(reader), 50)

    @invariant()
    def everybody_sees_the_same(self) -> None:
        if self.array is not None:
            assert self.array.dtype == self.dtype
            assert self.array.shape == (self.rows(), *self.row_shape)
            assert self.array.tobytes() == self.memory.working()
            assert type(self.array[:1]) is steadfast.array
        for look in self.looks:
            look.check()

    def teardown(self) -> None:
        while self.foreign:
            self.foreign.pop().release()
        self.looks.clear()
        self.array = None
        if self.is_open:
            self.now_closed()
        shutil.rmtree(self.folder)


MACHINES: dict[str, type[RuleBasedStateMachine]] = {"maps": Maps, "arrays": Arrays}


def run(machine: str, steps: int, first_seed: int) -> None:
    """Runs examples until so many steps were done."""
    number = first_seed
    while COUNTS["steps"] < steps:
        examples = max(1, (steps - COUNTS["steps"]) // STEPS_OF_AN_EXAMPLE)
        chosen = settings(
            max_examples=examples,
            stateful_step_count=STEPS_OF_AN_EXAMPLE,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        # A class of its own: the seed is its attribute.
        run_state_machine_as_test(seed(number)(type(machine, (MACHINES[machine],), {})), settings=chosen)
        number += 1


def probe_trackers() -> None:
    """Which ways to find stores there are on this kernel."""
    for name in ["write-protect", "private-copies", "declared"]:
        try:
            steadfast.load(ROOT / name, create=True, length=4096, tracker=name).close()  # type: ignore[arg-type]
        except steadfast.Unsupported as error:
            print(f"without the tracker {name}: {error}")
        else:
            TRACKERS.append(name)


def main() -> None:
    global ROOT, STEP_LOG
    arguments = argparse.ArgumentParser()
    arguments.add_argument("machine", choices=MACHINES)
    arguments.add_argument("--steps", type=int, default=STEPS)
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments.add_argument("--log", help="a file for the steps of the example under way")
    given = arguments.parse_args()
    faulthandler.enable()
    ROOT = new_folder("steadfast-model-")
    if given.log:
        STEP_LOG = os.open(given.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    print(f"{given.machine}: seed {given.seed}", flush=True)
    began = time.monotonic()
    probe_trackers()
    try:
        run(given.machine, given.steps, given.seed)
    finally:
        shutil.rmtree(ROOT, ignore_errors=True)
    counts = ", ".join(f"{count} {what}" for what, count in COUNTS.items())
    print(f"model {given.machine}: {counts}; seed {given.seed}, {time.monotonic() - began:.0f} s")


@pytest.mark.parametrize("machine", MACHINES)
def test_no_program_crashes_or_sees_wrong_bytes(machine: str, folder: Path, report: Callable[[str], None]) -> None:
    steps_of_the_example = folder / "steps"
    command = [sys.executable, __file__, machine, "--steps", str(STEPS), "--log", str(steps_of_the_example)]
    if "STEADFAST_SEED" in os.environ:
        command += ["--seed", os.environ["STEADFAST_SEED"]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode < 0:
        pytest.fail(
            f"died of signal {-done.returncode}\n{done.stdout}{done.stderr}\n"
            f"the steps that led to it:\n{steps_of_the_example.read_text()}"
        )
    assert done.returncode == 0, done.stdout + done.stderr
    report(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
