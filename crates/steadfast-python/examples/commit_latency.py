# %% [markdown]
# # What does it cost to make an array durable?
#
# A program keeps its state in a large array on disk, changes a few elements here and there, and wants them to survive a
# crash. With `numpy.memmap` that is `flush()`, which writes the changed pages in whatever order, and leaves any mix of
# old and new ones if the power goes meanwhile. With `steadfast.open_array` it is `commit()`, after which the file holds
# all of the changes, or none.
#
# How long does each take on *this* disk? The two work in turns, in the folder that this is started in.

# %%
from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

import steadfast

FOLDER = Path.cwd()
IMAGE = FOLDER / "commit-latency.png"

ARRAY_BYTES = 256 << 20
PAGE_ELEMENTS = 4096 // 8
PAGES = [1, 4, 16, 64, 256, 1024]
ROUNDS = 6
COMMITS_PER_ROUND = 10

# %% [markdown]
# ## Two arrays of the same kind
#
# 256 MiB of 64-bit floats each, filled, so that neither file has holes and all of both is in memory.

# %%
work = tempfile.TemporaryDirectory(dir=FOLDER, prefix="commit-latency-")
elements = ARRAY_BYTES // 8

ours = steadfast.open_array(Path(work.name) / "ours.npy", dtype=np.float64, shape=(elements,), mode="w+")
theirs = np.memmap(Path(work.name) / "theirs.bin", dtype=np.float64, shape=(elements,), mode="w+")
ours[:] = 1.0
theirs[:] = 1.0
ours.commit()
ours.map.checkpoint()
theirs.flush()

# %% [markdown]
# ## The measurement
#
# One element in each of so many random pages gets a new value; only the call that makes it durable is timed. The two
# alternate, so that a disk that is busy for a while is so for both; between them the file system is synced, so that
# neither pays for what the other left to be written.

# %%
draw = np.random.default_rng(1)


def scattered(pages: int) -> npt.NDArray[np.intp]:
    """One element in each of so many pages, no page twice."""
    page = draw.choice(elements // PAGE_ELEMENTS, size=pages, replace=False)
    return page * PAGE_ELEMENTS + draw.integers(PAGE_ELEMENTS, size=pages)


def commit_ms(pages: int) -> float:
    """One durable change of our array, in milliseconds."""
    ours[scattered(pages)] += 1.0
    before = perf_counter()
    ours.commit()
    return (perf_counter() - before) * 1e3


def flush_ms(pages: int) -> float:
    """The same of numpy.memmap's."""
    theirs[scattered(pages)] += 1.0
    before = perf_counter()
    theirs.flush()
    return (perf_counter() - before) * 1e3


commits: dict[int, list[float]] = {pages: [] for pages in PAGES}
flushes: dict[int, list[float]] = {pages: [] for pages in PAGES}
for lap in range(ROUNDS + 1):
    for pages in PAGES:
        os.sync()
        ours_now = [commit_ms(pages) for _ in range(COMMITS_PER_ROUND)]
        os.sync()
        theirs_now = [flush_ms(pages) for _ in range(COMMITS_PER_ROUND)]
        # The first round fills the caches, and is not counted.
        if lap > 0:
            commits[pages] += ours_now
            flushes[pages] += theirs_now

# %% [markdown]
# ## What came out
#
# `commit()` writes the changed bytes, one after the other, to the journal: one write and one flush, whatever their
# places. `flush()` writes each page that has changed where it belongs, and with it, where the file system keeps the
# cache in larger pieces, its neighbours.

# %%
for pages in PAGES:
    commit, flush = np.median(commits[pages]), np.median(flushes[pages])
    print(f"{pages:>5} pages: commit {commit:>7.2f} ms, flush {flush:>8.2f} ms, {flush / commit:>6.1f} times")

# %%
BLUE, VERMILION, INK, GRID = "#0072b2", "#d55e00", "#222222", "#dddddd"  # Told apart by colour-blind eyes too.

figure, axes = plt.subplots(figsize=(8, 5), dpi=160, facecolor="white", layout="constrained")
lines = (
    (commits, BLUE, "steadfast\ncommit()\nall or nothing"),
    (flushes, VERMILION, "numpy.memmap\nflush()\nany mix of pages"),
)
for taken, colour, label in lines:
    median = [float(np.median(taken[pages])) for pages in PAGES]
    p90 = [float(np.quantile(taken[pages], 0.9)) for pages in PAGES]
    axes.fill_between(PAGES, median, p90, color=colour, alpha=0.18, linewidth=0)
    axes.plot(PAGES, median, color=colour, linewidth=2.2, marker="o", markersize=5)
    end = (PAGES[-1], median[-1])
    axes.annotate(label, end, (10, 0), textcoords="offset points", va="center", color=colour, weight="bold")

axes.set_xscale("log", base=2)
axes.set_yscale("log")
# Whole decades, so that the grid begins and ends with a round figure.
low, high = axes.dataLim.intervaly
axes.set_ylim(10 ** np.floor(np.log10(low)), 10 ** np.ceil(np.log10(high)))
axes.set_xticks(PAGES, [f"{pages:,}" for pages in PAGES])
axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g} ms")
axes.yaxis.set_minor_formatter(lambda value, _: "")
axes.set_xlabel("pages changed, one element of 8 bytes in each", color=INK)
axes.set_title("Making changes of a 256 MiB array durable", loc="left", pad=22, color=INK, weight="bold")
note = "one call: the median, and up to the 90th percentile"
axes.text(0, 1.02, note, transform=axes.transAxes, color="#666666", fontsize=9, va="bottom")
axes.grid(which="major", color=GRID, linewidth=0.8)
axes.set_axisbelow(True)
axes.tick_params(colors=INK, which="both", length=0)
for side in axes.spines.values():
    side.set_visible(False)
figure.savefig(IMAGE)
print(f"{IMAGE.name}: Linux {platform.release()}, Python {platform.python_version()}, NumPy {np.__version__}")

# %% [markdown]
# The files go. (`close` of our array leaves a plain `.npy` file, with no journal beside it, that `np.load` reads.)

# %%
ours.close()
del theirs
work.cleanup()
