"""Temporary folders on a real disk: where a flush is durable, so that no test needs `allow_volatile`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
IN_MEMORY = {"tmpfs", "ramfs"}


def is_in_memory(path: Path) -> bool:
    """Whether `path` lies on a file system without a disk."""
    device = path.stat().st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[2] == name and fields[fields.index("-") + 1] in IN_MEMORY:
            return True
    return False


def new_folder(prefix: str) -> Path:
    """A new folder on a disk: where temporary files usually lie, or else below the project's `target`."""
    usual = Path(tempfile.gettempdir())
    if is_in_memory(usual):
        usual = PROJECT / "target" / "pytest"
        usual.mkdir(parents=True, exist_ok=True)
        if is_in_memory(usual):
            raise RuntimeError(f"{usual} lies in memory too: set TMPDIR to a folder on a disk")
    return Path(tempfile.mkdtemp(prefix=prefix, dir=usual))
