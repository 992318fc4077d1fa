"""Every Python example in the pages runs: from top to bottom, in one program a page, in an empty folder."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import steadfast

PACKAGE = Path(__file__).parents[1]
REPOSITORY = PACKAGE.parents[1]

# Each page with the fewest examples that it has: a page whose examples are not found would pass without any.
PAGES = {
    PACKAGE / "README.md": 3,
    REPOSITORY / "README.md": 1,
    REPOSITORY / "docs" / "python.md": 14,
}

# A page on which an example hangs is a failure of its own.
LIMIT_SECONDS = 120

# Python 3.12 and newer say so of every fork beside threads: the page says that, too.
FORK_BESIDE_THREADS = "ignore:This process:DeprecationWarning"


def examples(page: str) -> tuple[str, int]:
    """The Python of `page`, and of how many blocks it is.

    Each line stands where it does in the page, so that a traceback names the page's own.
    """
    lines: list[str] = []
    inside = False
    count = 0
    for line in page.splitlines():
        fence = line.strip()
        if inside and fence == "```":
            inside = False
        elif not inside and fence == "```python":
            inside = True
            count += 1
        elif inside:
            lines.append(line)
            continue
        lines.append("")
    assert not inside, "a block of Python has no end"
    return "\n".join(lines) + "\n", count


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder on a disk: in memory (tmpfs), where many machines have /tmp, a commit is refused."""
    try:
        steadfast.load(tmp_path / "probe", create=True, length=1).close()
    except steadfast.Unsupported:
        with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="examples-") as name:
            yield Path(name)
    else:
        (tmp_path / "probe").unlink()
        yield tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_the_examples_of_a_page_run(page: Path, folder: Path) -> None:
    text, count = examples(page.read_text())
    assert count >= PAGES[page], f"{page} has {count} examples: has their notation changed?"
    # Beside the folder to work in, so that this stays empty.
    program = f"import sys; exec(compile(sys.stdin.read(), {str(page)!r}, 'exec'))"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-W", FORK_BESIDE_THREADS, "-c", program],
        input=text,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    # What Python says of exceptions that nobody can catch, of files that were not closed for one, is a failure as well.
    assert (run.returncode, run.stderr) == (0, ""), f"{page}:\n{run.stdout}{run.stderr}"
    left = sorted(path.name for path in folder.rglob("*.steadfast"))
    assert not left, f"journals are left, so files were not closed: {left}"


def test_lines_of_examples_keep_their_numbers() -> None:
    text, count = examples("prose\n\n```python\na = 1\n```\n```sh\nls\n```\n```python\nb = 2\n```\n")
    assert count == 2
    assert text.splitlines() == ["", "", "", "a = 1", "", "", "", "", "", "b = 2", ""]
