"""A writer that is killed in the middle of commit.

`STEADFAST_KILLS` says how often (default: 20), `STEADFAST_SEED` with which seed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from killed import kill_writers

pytest.importorskip("steadfast._arrays", reason="steadfast.open_array is not there")

KILLS = int(os.environ.get("STEADFAST_KILLS", "20"))
SEED = int(os.environ.get("STEADFAST_SEED", random.SystemRandom().randrange(1 << 32)))


def test_a_writer_killed_in_the_middle_of_commit_leaves_the_last_commit_or_the_one_in_flight(
    folder: Path, report: Callable[[str], None]
) -> None:
    found = kill_writers("steadfast", KILLS, SEED, folder)
    report(f"seed {SEED}: {found}")
    assert not found.torn, found.first_torn
    assert found.kills("commits") >= KILLS


def test_the_same_tears_the_file_of_a_memmap(folder: Path, report: Callable[[str], None]) -> None:
    """Or the test above would show nothing."""
    found = kill_writers("np.memmap", KILLS, SEED, folder)
    report(f"seed {SEED}: {found}")
    assert found.kills("commits") >= KILLS
    assert found.torn > 0
