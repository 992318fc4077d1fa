"""Arrays to try things on."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

import steadfast


def opened(path: Path | str, *given: Any, **named: Any) -> Any:
    """open_array, also where the folder for tests is on tmpfs."""
    return steadfast.open_array(path, *given, allow_volatile=True, **named)


def on_disk(path: Path) -> np.ndarray[Any, Any]:
    """What is committed, as NumPy reads it from a plain file."""
    copy = path.with_suffix(".copy.npy")
    with steadfast.load(path, read_only=True, allow_volatile=True) as snapshot:
        copy.write_bytes(snapshot[:])
    return np.load(copy)


def ran(program: str, *arguments: object, **named: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        **named,
    )
