"""What it costs to read and write elements through `steadfast.array`, beside the same through numpy.memmap and a plain ndarray.

The three do the same work in turns, a short slice of it at a time, in an order that is reversed each round; a figure is the median of
the rounds. Each has its elements in memory before.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Indices = list[int]

SCALARS = 20_000
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


def copy_slice(array: Array, indices: Indices) -> None:
    for index in indices:
        array[index : index + SLICE_ELEMENTS] = 2.0


def sum_slice(array: Array, indices: Indices) -> None:
    for index in indices:
        array[index : index + SLICE_ELEMENTS].sum()


def whole_sum(array: Array, _: Indices) -> None:
    array.sum()


# What is done, and how often in a turn.
WORK: tuple[tuple[str, Callable[[Array, Indices], None], int], ...] = (
    ("get a[i], random", get, SCALARS),
    ("set a[i], random", put, SCALARS),
    ("slice a[i:j]", cut, SCALARS),
    ("set a slice of 1,000", copy_slice, SCALARS // 10),
    ("sum of a slice of 1,000", sum_slice, SCALARS // 10),
    ("sum of the whole array", whole_sum, 1),
)


def measure(ours: Array, memmap: Array, rounds: int) -> list[dict[str, Any]]:
    """A row for each kind of access: nanoseconds an operation, and ours ÷ numpy.memmap's."""
    draw = np.random.default_rng(0)
    arrays = {"steadfast": ours, "memmap": memmap, "ndarray": np.ones_like(memmap, subok=False)}
    rows: list[dict[str, Any]] = []
    for what, work, count in WORK:
        taken: dict[str, list[float]] = {name: [] for name in arrays}
        for lap in range(rounds + 1):
            indices: Indices = draw.integers(len(ours) - SLICE_ELEMENTS, size=count).tolist()
            for name in arrays if lap % 2 == 0 else reversed(arrays):
                began = perf_counter()
                work(arrays[name], indices)
                # The first round brings everything into the caches and is not counted.
                if lap > 0:
                    taken[name].append((perf_counter() - began) / count * 1e9)
        medians = {name: statistics.median(times) for name, times in taken.items()}
        rows.append(
            {
                "bench": "access",
                "what": what,
                **{f"{name}_ns": median for name, median in medians.items()},
                "ratio": medians["steadfast"] / medians["memmap"],
            }
        )
    return rows
