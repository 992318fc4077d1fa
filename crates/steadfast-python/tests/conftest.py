"""What all tests share."""

from __future__ import annotations

import faulthandler
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from disk import is_in_memory, new_folder

# A crash of the interpreter is told with the test that it happened in.
faulthandler.enable()

_LINES = pytest.StashKey[list[str]]()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A temporary folder on a real disk, where nothing needs `allow_volatile`."""
    if not is_in_memory(tmp_path):
        yield tmp_path
        return
    elsewhere = new_folder("test-")
    yield elsewhere
    shutil.rmtree(elsewhere)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Says a line at the end of the run: how often something was done, with which seed."""
    lines = request.config.stash.setdefault(_LINES, [])
    return lines.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_LINES, []):
        terminalreporter.write_line(line)
