"""A writer is killed in the middle of commit, again and again: what does `np.load` find?

    python tests/killed.py --kills 200

A writer fills some hundred scattered pages of an array with a generation's values, counts it, and commits. It is
killed by SIGKILL at a random moment between its first store and the return of the commit, until so many kills fell into
the middle of commits. After `steadfast.recover(path)` the file must be the last generation that was reported, or the
one in flight: each of its bytes.

The same is done to a writer with `np.memmap`, which calls `flush`. The page cache outlives the writer, so what tears
its file here is only that stores are in the file as they are made; a power cut would tear it in the middle of `flush`
as well.
"""

from __future__ import annotations

import argparse
import os
import random
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from disk import new_folder

import steadfast

PAGES = 4096  # 16 MiB
PAGES_OF_A_GENERATION = 300
ITEMS = 512  # Of a page.
LIMIT_SECONDS = 60.0


def pages_of(seed: int, generation: int) -> Any:
    """Which pages a generation changes. Page 0 has the count."""
    return 1 + np.random.default_rng((seed, generation)).choice(PAGES - 1, PAGES_OF_A_GENERATION, replace=False)


def values_of(generation: int) -> Any:
    """What stands in such a page."""
    return generation + np.arange(ITEMS) / 1024


def store(pages: Any, seed: int, generation: int) -> None:
    """The whole generation, into an array of pages."""
    for page in pages_of(seed, generation):
        pages[page] = values_of(generation)
    pages[0, 0] = generation


# The writer.


def write(kind: str, path: str, seed: int, generation: int) -> None:
    """Generations from this one on, until somebody ends it. Says on standard output where it is."""
    commit: Callable[[], object]
    if kind == "steadfast":
        array = steadfast.open_array(path)
        commit = array.commit
    else:
        array = np.load(path, mmap_mode="r+")
        commit = array.flush
    while True:
        os.write(1, b"stores %d\n" % generation)
        store(array, seed, generation)
        os.write(1, b"commits %d\n" % generation)
        commit()
        os.write(1, b"committed %d\n" % generation)
        generation += 1


class Writer:
    """The writer's process, as it is seen from here."""

    def __init__(self, kind: str, path: Path, seed: int, generation: int) -> None:
        command = [
            sys.executable,
            "-X",
            "faulthandler",
            __file__,
            "--writer",
            kind,
            str(path),
            str(seed),
            str(generation),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self.heard = b""
        self.generation_seconds: list[float] = []

    def lines(self) -> list[str]:
        return self.heard[: self.heard.rfind(b"\n") + 1].decode().splitlines()

    def wait_for(self, line: str) -> None:
        """Until the writer has said that."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + LIMIT_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while line not in self.lines():
                if not selector.select(deadline - time.monotonic()):
                    said = self.lines()[-3:]
                    raise TimeoutError(f"the writer did not come to {line!r} in {LIMIT_SECONDS} s; it said {said}")
                more = os.read(self.process.stdout.fileno(), 65536)
                if not more:
                    assert self.process.stderr is not None
                    raise RuntimeError(f"the writer ended by itself: {self.process.stderr.read().decode()}")
                self.heard += more

    def kill(self) -> str:
        """Ends it, and gives the last that it said."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.send_signal(signal.SIGKILL)
        self.heard += self.process.stdout.read()
        errors = self.process.stderr.read().decode()
        if self.process.wait() != -signal.SIGKILL:
            raise RuntimeError(f"the writer ended by itself, with {self.process.returncode}: {errors}")
        self.process.stdout.close()
        self.process.stderr.close()
        return self.lines()[-1]


# The judge.


@dataclass
class Found:
    """What the kills of one kind of writer led to."""

    kind: str
    # Where it was when it was killed ("stores", "commits"), and what was found ("last", "next", "torn").
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    first_torn: str = ""

    def kills(self, moment: str) -> int:
        return sum(count for (where, _), count in self.counts.items() if where == moment)

    @property
    def torn(self) -> int:
        return sum(count for (_, what), count in self.counts.items() if what == "torn")

    def __str__(self) -> str:
        def told(moment: str, where: str) -> str:
            last, following, torn = (self.counts[moment, what] for what in ["last", "next", "torn"])
            return (
                f"{self.kills(moment)} times {where}: {last} times the file is the last commit, "
                f"{following} times the one in flight, {torn} times torn"
            )

        middle = f"in the middle of {'commit' if self.kind == 'steadfast' else 'flush'}"
        return f"{self.kind}: killed {told('commits', middle)}; {told('stores', 'while it stored')}"


def kill_writers(kind: str, kills: int, seed: int, folder: Path) -> Found:
    """Kills writers until so many died in the middle of a commit."""
    chance = random.Random(f"{kind} {seed}")
    path = folder / f"{kind.replace('.', '-')}.npy"
    found = Found(kind)
    last = 0
    state = np.zeros((PAGES, ITEMS))
    np.save(path, state)
    # How long a generation takes here; measured as it goes.
    seconds = 0.02
    while found.kills("commits") < kills:
        first = last + 1
        writer = Writer(kind, path, seed, first)
        killed_in = first + chance.randrange(1, 6)
        writer.wait_for(f"committed {first}")
        began = time.monotonic()
        writer.wait_for(f"committed {killed_in - 1}")
        if killed_in - 1 > first:
            seconds = 0.7 * seconds + 0.3 * (time.monotonic() - began) / (killed_in - 1 - first)
        writer.wait_for(f"stores {killed_in}")
        # Not a wait for anything: this is the random moment.
        time.sleep(chance.uniform(0, 1.1 * seconds))
        moment, generation = writer.kill().split()
        reported = int(generation) if moment == "committed" else int(generation) - 1

        if kind == "steadfast":
            steadfast.recover(path)
        content = np.load(path)
        for number in range(first, reported + 1):
            store(state, seed, number)
        following = state.copy()
        store(following, seed, reported + 1)
        what = "torn"
        if np.array_equal(content, state):
            what, last = "last", reported
        elif np.array_equal(content, following):
            what, state, last = "next", following, reported + 1
        # Between two generations there is nothing to be torn; but what is there has to be right.
        if moment != "committed" or what == "torn":
            found.counts[moment, what] += 1
        if what == "torn":
            if not found.first_torn:
                new, old = (int((content == whole).all(axis=1).sum()) for whole in [following, state])
                found.first_torn = (
                    f"generation {reported} was reported, then it was killed; it had said {moment!r}. "
                    f"Of {PAGES} pages {old} are as in generation {reported}, {new} as in {reported + 1}, "
                    f"and the count is {content[0, 0]}"
                )
            # Anew.
            path.unlink()
            state, last = np.zeros((PAGES, ITEMS)), 0
            np.save(path, state)
    return found


def main() -> None:
    if sys.argv[1:2] == ["--writer"]:
        kind, path, seed, generation = sys.argv[2:]
        write(kind, path, int(seed), int(generation))
    arguments = argparse.ArgumentParser(
        description="Kills writers in the middle of commit, and looks at what they left."
    )
    arguments.add_argument("--kills", type=int, default=200)
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    given = arguments.parse_args()
    print(f"seed {given.seed}", flush=True)
    folder = new_folder("steadfast-killed-")
    try:
        for kind in ["steadfast", "np.memmap"]:
            began = time.monotonic()
            found = kill_writers(kind, given.kills, given.seed, folder)
            print(f"{found}; {time.monotonic() - began:.0f} s", flush=True)
            if kind == "steadfast" and found.torn:
                sys.exit(found.first_torn)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
