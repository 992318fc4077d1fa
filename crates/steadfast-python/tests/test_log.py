"""What the library says beside errors is said by `logging`."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from maps import PAGE, new

import steadfast


def test_what_the_library_says_beside_errors_is_logged_as_steadfast(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "a"
    caplog.set_level(logging.INFO, "steadfast")
    with new(path, PAGE) as m:
        m.checkpoint()
        # Mapped for reading beside a writer: the plain file, and perhaps the middle of a checkpoint.
        steadfast.map(path).close()
    said = [record for record in caplog.records if record.name == "steadfast"]
    assert said and all(record.levelno == logging.INFO for record in said)
    assert any(str(path) in record.getMessage() for record in said)


def test_a_logger_that_fails_is_no_reason_for_a_call_to_fail(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "a"
    told: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", told.append)

    def fail(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(logging.getLogger("steadfast"), "info", fail)
    with new(path, PAGE) as m:
        m.checkpoint()
        reader = steadfast.map(path)
    assert len(reader) == PAGE
    reader.close()
    assert told
