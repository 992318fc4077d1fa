"""What it costs to read and write elements through `steadfast.array`, beside numpy.memmap and a plain ndarray.

The three do the same work in turns, a short slice of it at a time, in an order that is reversed each round; a figure is
the median of the rounds. Everything is in memory. Two states of it are told apart, `loaded` (just opened and read once)
and `stored` (each page was stored to since the last commit), because what memory is made of differs: pages of 4 KiB
that are the array's own, the page cache's larger pieces, the allocator's.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

import steadfast

Array = npt.NDArray[np.float64]
Indices = list[int]
Work = Callable[[Array, Indices], None]
Settle = dict[str, Callable[[], object]]

SCALARS = 20_000
ELEMENTS_PER_PAGE = 4096 // 8
# A slice of 1,000 elements, as loops over windows take them.
SLICE_ELEMENTS = 1_000


def get(array: Array, indices: Indices) -> None:
    for index in indices:
        array[index]


def put(array: Array, indices: Indices) -> None:
    for index in indices:
        array[index] = 2.0


def cut(array: Array, indices: Indices) -> None:
    for index in indices:
        array[index : index + SLICE_ELEMENTS]


def put_slice(array: Array, indices: Indices) -> None:
    for index in indices:
        array[index : index + SLICE_ELEMENTS] = 2.0


def sum_slice(array: Array, indices: Indices) -> None:
    for index in indices:
        array[index : index + SLICE_ELEMENTS].sum()


def sum_all(array: Array, _: Indices) -> None:
    array.sum()


# What is done, and how often in a turn.
LOADS: tuple[tuple[str, Work, int], ...] = (
    ("get a[i], random", get, SCALARS),
    ("slice a[i:j]", cut, SCALARS),
    ("sum of a slice of 1,000", sum_slice, SCALARS // 10),
    ("sum of the whole array", sum_all, 1),
)
STORES: tuple[tuple[str, Work, int], ...] = (
    ("set a[i], random", put, SCALARS),
    ("set a slice of 1,000", put_slice, SCALARS // 10),
)


def measure(ours: Path, theirs: Path, elements: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each kind of access: nanoseconds an operation, and ours ÷ numpy.memmap's. `theirs` has no header."""
    array = steadfast.open_array(ours, mode="r+")
    memmap = np.memmap(theirs, dtype=np.float64, mode="r+", shape=(elements,))
    arrays: dict[str, Array] = {"steadfast": array, "memmap": memmap, "ndarray": np.ones(elements)}
    rows = [row("loaded", arrays, rounds, *loads) for loads in LOADS]
    settle: Settle = {"steadfast": array.commit, "memmap": memmap.flush, "ndarray": lambda: None}
    rows.append(first_stores(arrays, rounds, settle))
    for each in arrays.values():
        each[:] = 3.0
    rows += [row("stored", arrays, rounds, *work) for work in STORES + LOADS]
    array.close()
    return rows


def row(state: str, arrays: dict[str, Array], rounds: int, what: str, work: Work, count: int) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    taken: dict[str, list[float]] = {name: [] for name in arrays}
    for lap in range(rounds + 1):
        indices: Indices = draw.integers(len(arrays["ndarray"]) - SLICE_ELEMENTS, size=count).tolist()
        for name in arrays if lap % 2 == 0 else reversed(arrays):
            began = perf_counter()
            work(arrays[name], indices)
            # The first round brings everything into the caches and is not counted.
            if lap > 0:
                taken[name].append((perf_counter() - began) / count * 1e9)
    return figures(state, what, taken)


def first_stores(arrays: dict[str, Array], rounds: int, settle: Settle) -> dict[str, Any]:
    """The first store to a page after a commit, or a flush: the kernel has to note it."""
    draw = np.random.default_rng(0)
    pages = len(arrays["ndarray"]) // ELEMENTS_PER_PAGE
    count = min(4_000, pages)
    taken: dict[str, list[float]] = {name: [] for name in arrays}
    for lap in range(rounds):
        indices: Indices = (draw.choice(pages, size=count, replace=False) * ELEMENTS_PER_PAGE).tolist()
        for name in arrays if lap % 2 == 0 else reversed(arrays):
            settle[name]()
            began = perf_counter()
            put(arrays[name], indices)
            taken[name].append((perf_counter() - began) / count * 1e9)
    return figures("committed", "first store to a page", taken)


def figures(state: str, what: str, taken: dict[str, list[float]]) -> dict[str, Any]:
    medians = {name: statistics.median(times) for name, times in taken.items()}
    return {
        "bench": "access",
        "state": state,
        "what": what,
        **{f"{name}_ns": median for name, median in medians.items()},
        "ratio": medians["steadfast"] / medians["memmap"],
    }
