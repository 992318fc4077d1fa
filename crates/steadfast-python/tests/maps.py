"""Maps to try things on, and programs of their own to try them in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import steadfast

PAGE = 4096

# Nothing here takes so long but what hangs.
LIMIT_SECONDS = 60


def program(source: str, *arguments: Any, returns: int = 0, limit_seconds: float = LIMIT_SECONDS) -> str:
    """Runs Python of its own and gives what it printed. A signal, a traceback or a hang fails the test."""
    command = [sys.executable, "-X", "faulthandler", "-W", "ignore:This process:DeprecationWarning", "-c", source]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=limit_seconds,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == returns, f"ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def new(path: Path, length: int = 4 * PAGE, **options: Any) -> Any:
    return steadfast.load(path, create=True, length=length, **options)


def open_by(kind: str, path: Path) -> Any:
    """A map of an existing file, to be stored to."""
    if kind == "map":
        return steadfast.map(path, write=True)
    return getattr(steadfast, kind)(path)


KINDS = ["load", "view", "map"]
