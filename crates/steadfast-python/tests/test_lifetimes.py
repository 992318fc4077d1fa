"""Who may look at a map's memory, and for how long.

What could crash runs in a process of its own.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from maps import KINDS, PAGE, new, open_by, program

import steadfast

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
