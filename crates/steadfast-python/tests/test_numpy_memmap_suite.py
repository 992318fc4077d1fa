"""NumPy's own tests of its memmap, as its wheel has them, on `steadfast.memmap`."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

# Tests of NumPy's that do not hold here, with the reason of each.
DIFFERENCES: dict[str, str] = {}

# Before NumPy could map empty arrays its tests asked for an error.
OLD_DIFFERENCES = {"test_empty_array": "empty arrays can be mapped, as later versions of NumPy do"}

# A plugin of pytest: NumPy's name leads to our class before the tests import it.
PLUGIN = """
import numpy, pytest, steadfast

numpy.memmap = steadfast.memmap


def pytest_collection_modifyitems(items):
    for item in items:
        assert item.module.memmap is steadfast.memmap, item.nodeid
"""


def suite() -> Path:
    core = Path(np.__file__).parent / "_core"
    return core / "tests" / "test_memmap.py"


def run(folder: Path, plugin: str = PLUGIN) -> dict[str, str]:
    """Runs the tests in a process of their own; what became of each."""
    if not suite().exists():
        pytest.skip("this NumPy was installed without its tests")
    (folder / "steadfast_for_numpy.py").write_text(plugin)
    # A copy, so that no conftest of NumPy's is needed.
    tests = folder / "test_memmap.py"
    tests.write_text(suite().read_text())
    report = folder / "report.xml"
    files = folder / "files"
    files.mkdir()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "steadfast_for_numpy",
            "-p",
            "no:cacheprovider",
            "-W",
            "ignore::pytest.PytestUnknownMarkWarning",
            f"--rootdir={folder}",
            f"--junitxml={report}",
            str(tests),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), "TMPDIR": str(files)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert report.exists(), done.stdout + done.stderr
    outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        wrong = [child for child in case if child.tag in ("failure", "error", "skipped")]
        outcomes[case.attrib["name"]] = "".join(
            f"{child.tag}: {child.text or child.attrib.get('message')}" for child in wrong
        )
    return outcomes


def test_numpys_own_tests_of_memmap_pass(tmp_path: Path) -> None:
    outcomes = run(tmp_path)
    assert len(outcomes) >= 15, outcomes
    expected = DIFFERENCES if "gh-27723" in suite().read_text() else {**DIFFERENCES, **OLD_DIFFERENCES}
    unexpected = {name: text for name, text in outcomes.items() if text and name not in expected}
    assert not unexpected, "\n\n".join(f"{name}: {text}" for name, text in unexpected.items())
    assert not [name for name in expected if not outcomes.get(name)], "a difference that is none any more"
    assert not list((tmp_path / "files").rglob("*.steadfast")), "journals are left behind"


def test_the_run_sees_a_memmap_that_is_wrong(tmp_path: Path) -> None:
    broken = PLUGIN + "\nsteadfast.memmap.__array_wrap__ = numpy.ndarray.__array_wrap__\n"
    assert run(tmp_path, broken)["test_ufunc_return_ndarray"]
