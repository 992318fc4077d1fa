"""What a commit of a NumPy array costs beside numpy.memmap.flush() and the bare disk; what access to elements costs.

    python bench/commit.py [--dir PATH] [--mebibytes 256] [--rounds 5] [--seconds 3] [--json]

All rivals work in one run, on one disk, in turns, and the order of turns is reversed each round: a machine that grows
slower meanwhile is nobody's advantage. Each has a data file of its own, filled and in memory before anything is timed.
The same random pages get one element of 8 bytes each, then the rival makes them durable. Between turns the file system
is synced, outside the timing, so that nobody pays for another's write-back.

`commit` is the call alone, the median of all. `sustained` is a whole turn by the commits in it: stores, commits, and
for steadfast a checkpoint at the end, so that all that was put off is paid for; the median of the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

import access
import steadfast

PAGE_BYTES = 4096
ELEMENTS_PER_PAGE = PAGE_BYTES // 8
PAGES = (16, 256)
# The bare disk appends to space that was written before, and wraps around at its end.
APPEND_BYTES = 16 << 20
# A turn has at least so many commits, however long they take.
COMMITS_MIN = 20

Elements = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


class Rival(Protocol):
    """Somebody who makes stores durable."""

    name: str

    def store(self, places: Places, values: Elements) -> None: ...
    def commit(self) -> None: ...
    def settle(self) -> None: ...
    def close(self) -> None: ...


class Steadfast:
    """`open_array`, plain stores, `commit()`: all or nothing."""

    name = "steadfast"
    file = "steadfast.npy"

    def __init__(self, folder: Path, elements: int) -> None:
        self.array = steadfast.open_array(folder / self.file, dtype=np.float64, shape=(elements,), mode="w+")
        self.array[:] = 1.0
        self.array.commit()
        self.settle()

    def store(self, places: Places, values: Elements) -> None:
        self.array[places] = values

    def commit(self) -> None:
        self.array.commit()

    def settle(self) -> None:
        self.array.map.checkpoint()

    def close(self) -> None:
        self.array.close()


class Memmap:
    """`numpy.memmap`, `flush()`: any mix of old and new pages after a crash."""

    name = "numpy.memmap"
    file = "memmap.bin"

    def __init__(self, folder: Path, elements: int) -> None:
        self.array = np.memmap(folder / self.file, dtype=np.float64, shape=(elements,), mode="w+")
        self.array[:] = 1.0
        self.array.flush()

    def store(self, places: Places, values: Elements) -> None:
        self.array[places] = values

    def commit(self) -> None:
        self.array.flush()

    def settle(self) -> None:
        pass

    def close(self) -> None:
        del self.array


class Disk:
    """4 KiB appended and `fdatasync`, whatever the pages: the least that anything durable costs."""

    name = "bare disk"

    def __init__(self, folder: Path) -> None:
        self.file = os.open(folder / "append.bin", os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(self.file, b"\1" * APPEND_BYTES, 0)
        os.fsync(self.file)
        self.block = b"\2" * PAGE_BYTES
        self.end = 0

    def store(self, places: Places, values: Elements) -> None:
        pass

    def commit(self) -> None:
        os.pwrite(self.file, self.block, self.end)
        self.end = (self.end + PAGE_BYTES) % APPEND_BYTES
        os.fdatasync(self.file)

    def settle(self) -> None:
        pass

    def close(self) -> None:
        os.close(self.file)


@dataclass
class Tally:
    commits_s: list[float] = field(default_factory=list)
    sustained_s: list[float] = field(default_factory=list)


def scattered(draw: np.random.Generator, elements: int, pages: int) -> Places:
    """One element in each of so many pages, no page twice."""
    page = draw.choice(elements // ELEMENTS_PER_PAGE, size=pages, replace=False)
    return page * ELEMENTS_PER_PAGE + draw.integers(ELEMENTS_PER_PAGE, size=pages)


def turn(rival: Rival, places: list[Places], seconds: float, draw: np.random.Generator, tally: Tally) -> None:
    """Stores and commits for `seconds`, then what was put off."""
    os.sync()
    values = draw.random(len(places[0]))
    began = perf_counter()
    count = 0
    while count < COMMITS_MIN or perf_counter() - began < seconds:
        # Other bytes each time: a store of what is there already would be no change.
        values += 1.0
        rival.store(places[count % len(places)], values)
        before = perf_counter()
        rival.commit()
        tally.commits_s.append(perf_counter() - before)
        count += 1
    rival.settle()
    tally.sustained_s.append((perf_counter() - began) / count)


def measure_commits(
    rivals: list[Rival], elements: int, rounds: int, seconds: float, pages: int
) -> list[dict[str, Any]]:
    draw = np.random.default_rng(pages)
    tallies = {rival.name: Tally() for rival in rivals}
    for lap in range(rounds):
        # Drawn before the clock runs, and the same for all.
        places = [scattered(draw, elements, pages) for _ in range(256)]
        for rival in rivals if lap % 2 == 0 else reversed(rivals):
            turn(rival, places, seconds, draw, tallies[rival.name])
    commit = {name: statistics.median(tally.commits_s) for name, tally in tallies.items()}
    sustained = {name: statistics.median(tally.sustained_s) for name, tally in tallies.items()}
    return [
        {
            "bench": "commit",
            "pages": pages,
            "system": name,
            "commit_p50_us": commit[name] * 1e6,
            "commit_p90_us": float(np.quantile(tally.commits_s, 0.9)) * 1e6,
            "sustained_us": sustained[name] * 1e6,
            "commits": len(tally.commits_s),
            "times_faster_than_memmap": commit[Memmap.name] / commit[name],
            "sustained_times_faster_than_memmap": sustained[Memmap.name] / sustained[name],
            "of_the_bare_disk": commit[name] / commit[Disk.name],
        }
        for name, tally in tallies.items()
    ]


def file_system(folder: Path) -> str:
    """The type of the file system that `folder` lies on, of which the last line in mountinfo that matches is right."""
    device = os.stat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    found = "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, kind = line.partition(" - ")
        if mount.split()[2] == wanted:
            found = kind.split()[0]
    return found


def report(about: dict[str, Any], rows: list[dict[str, Any]]) -> Iterator[str]:
    yield ", ".join(f"{key} {value}" for key, value in about.items())
    yield ""
    yield (
        f"{'pages':>5}  {'system':<14}{'commit':>12}{'p90':>12}{'sustained':>12}"
        f"{'× memmap':>10}{'sustained':>10}{'÷ disk':>8}"
    )
    for row in rows:
        if row["bench"] == "commit":
            yield (
                f"{row['pages']:>5}  {row['system']:<14}{row['commit_p50_us']:>9.0f} µs{row['commit_p90_us']:>9.0f} µs"
                f"{row['sustained_us']:>9.0f} µs{row['times_faster_than_memmap']:>10.1f}"
                f"{row['sustained_times_faster_than_memmap']:>10.1f}{row['of_the_bare_disk']:>8.2f}"
            )
    yield ""
    yield f"{'access':<26}{'memory is':<10}{'steadfast':>12}{'numpy.memmap':>14}{'ratio':>8}{'ndarray':>12}"
    for row in rows:
        if row["bench"] == "access":
            yield (
                f"{row['what']:<26}{row['state']:<10}{row['steadfast_ns']:>9.0f} ns{row['memmap_ns']:>11.0f} ns"
                f"{row['ratio']:>8.2f}{row['ndarray_ns']:>9.0f} ns"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Commits and access, beside numpy.memmap and the bare disk.")
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="where the files go: the disk that is measured")
    parser.add_argument("--mebibytes", type=int, default=256, help="the size of the array")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each rival")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a turn lasts, at least")
    parser.add_argument("--json", action="store_true", help="a line of JSON instead of tables")
    options = parser.parse_args()
    elements = options.mebibytes * (1 << 20) // 8
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="bench-") as name:
        folder = Path(name)
        with contextlib.ExitStack() as opened:
            rivals: list[Rival] = [Steadfast(folder, elements), Memmap(folder, elements), Disk(folder)]
            for rival in rivals:
                opened.callback(rival.close)
            for pages in PAGES:
                print(f"bench: commits of {pages} pages", file=sys.stderr)
                rows += measure_commits(rivals, elements, options.rounds, options.seconds, pages)
        print("bench: access", file=sys.stderr)
        rounds = max(options.rounds, 5) * 3
        rows += access.measure(folder / Steadfast.file, folder / Memmap.file, elements, rounds)
        about = {
            "steadfast": steadfast.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "kernel": platform.release(),
            "file_system": file_system(folder),
            "array_bytes": elements * 8,
            "rounds": options.rounds,
        }
    if options.json:
        print(json.dumps({"about": about, "rows": rows}))
    else:
        print("\n".join(report(about, rows)))


if __name__ == "__main__":
    main()
