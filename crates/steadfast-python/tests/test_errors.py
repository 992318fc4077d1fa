"""Errors: of which class they are, what they say, and that nothing changed."""

from __future__ import annotations

import operator
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disk import PROJECT
from maps import KINDS, PAGE, new, open_by, program

import steadfast


def test_what_has_no_room_in_memory_is_a_memory_error(folder: Path) -> None:
    path = folder / "a"
    with open(path, "wb") as file:
        file.truncate(1 << 43)
    with steadfast.view(path) as m:
        for call in (lambda: m[::2], lambda: m[:]):
            with pytest.raises(MemoryError):
                call()


def error_classes() -> dict[str, type[Any]]:
    found = {name: getattr(steadfast, name) for name in dir(steadfast)}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, steadfast.Error)}


def test_each_kind_of_the_library_is_a_class() -> None:
    library = PROJECT / "crates" / "steadfast" / "src" / "error.rs"
    if not library.exists():
        pytest.skip("the library's source is not beside these tests")
    text = library.read_text()
    body = text[text.index("pub enum ErrorKind {") :]
    kinds = set(re.findall(r"^    (\w+),$", body[: body.index("\n}")], re.MULTILINE))
    assert len(kinds) > 20
    classes = set(error_classes()) - {"Error"}
    assert classes == (kinds - {"Io"}) | {"InputOutput"}


def test_each_class_is_an_os_error_and_what_python_calls_it() -> None:
    python = {
        "NotFound": FileNotFoundError,
        "AlreadyExists": FileExistsError,
        "PermissionDenied": PermissionError,
        "InvalidInput": ValueError,
        "OutOfRange": IndexError,
    }
    for name, kind in error_classes().items():
        assert issubclass(kind, OSError)
        assert kind.__doc__
        error = kind(5, "what happened", "file")
        assert type(error) is kind, f"{name} became {type(error)}"
        assert (error.errno, error.filename, str(error)) == (5, "file", "what happened")
    for name, kind in python.items():
        assert issubclass(getattr(steadfast, name), kind)


def test_an_error_has_number_file_and_text_and_survives_pickling(folder: Path) -> None:
    path = folder / "no" / "such"
    with pytest.raises(FileNotFoundError) as caught:
        steadfast.load(path)
    error = caught.value
    assert isinstance(error, steadfast.NotFound)
    assert (error.errno, error.filename, error.operation) == (2, str(path), "open")
    assert str(error).startswith(f"open {path}: ") and "; " in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is steadfast.NotFound
    assert (again.errno, again.filename, again.operation, str(again)) == (2, str(path), "open", str(error))


def test_an_error_about_a_range_names_the_file_and_the_bytes(folder: Path) -> None:
    path = folder / "a"
    with new(path, PAGE) as m:
        for call in [m.edit, m.commit_range, lambda start, stop: m.read_at(start, stop - start)]:
            with pytest.raises(steadfast.OutOfRange) as caught:
                call(10, PAGE + 1)
            assert "4097" in str(caught.value) and "4096" in str(caught.value)
            assert caught.value.filename == str(path)
            assert str(path) in str(caught.value)
            assert (caught.value.start, caught.value.stop) == (10, PAGE + 1)


def test_a_locked_file_names_who_holds_it(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(PAGE))
    with steadfast.load(path):
        with pytest.raises(steadfast.Locked, match="this process") as caught:
            steadfast.load(path)
        assert caught.value.filename == str(path)
        with pytest.raises(steadfast.Locked, match="this process"):
            steadfast.load(path, lock_timeout=0.01)
        with pytest.raises(steadfast.Locked):
            steadfast.map(path, write=True)
        with pytest.raises(steadfast.Locked):
            steadfast.recover(path)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import steadfast, sys\nm = steadfast.load(sys.argv[1])\nprint(flush=True)\ninput()",
            path,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(steadfast.Locked, match=str(holder.pid)):
            steadfast.load(path)
    steadfast.load(path).close()


class _PathLike:
    def __init__(self, path: Any) -> None:
        self.path = path

    def __fspath__(self) -> Any:
        return self.path


@pytest.mark.parametrize("opener", [steadfast.load, steadfast.view, lambda file: steadfast.map(file, write=True)])
def test_every_way_to_name_a_file_is_taken(opener: Callable[[Any], Any], folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(PAGE))
    with open(path, "r+b") as file:
        ways = [
            str(path),
            os.fsencode(path),
            path,
            _PathLike(str(path)),
            _PathLike(os.fsencode(path)),
            file,
            file.fileno(),
        ]
        for number, way in enumerate(ways, 1):
            with opener(way) as m:
                assert m.path == str(path) or (m.path is None and opener not in (steadfast.load, steadfast.view))
                m[0] = number
                m.sync()
            assert path.read_bytes()[0] == number
            os.fstat(file.fileno())
    os.chdir(folder)
    with opener("a") as m:
        assert m[0] == len(ways)


def test_names_that_are_not_utf_8_are_taken_as_they_are(folder: Path) -> None:
    path = os.fsencode(folder) + b"/\xff\xfe"
    with steadfast.load(path, create=True, length=5) as m:
        assert os.fsencode(m.path) == path
        m[0:1] = b"x"
        m.commit()
        m.copy_to(path + b"\xff")
        with pytest.raises(steadfast.Locked) as caught:
            steadfast.load(path)
        assert os.fsencode(caught.value.filename) == path
        repr(m), str(caught.value)
    with steadfast.load(os.fsdecode(path)) as m:
        assert m[:] == b"x\0\0\0\0"
    with pytest.raises(steadfast.NotFound) as missing:
        steadfast.recover(path + b"\xfd")
    assert os.fsencode(missing.value.filename) == path + b"\xfd"


def test_what_is_no_file_is_refused(folder: Path) -> None:
    reader, writer = os.pipe()
    try:
        for opener in [steadfast.load, steadfast.view, steadfast.map]:
            for wrong in [None, 1.5, True, [], object()]:
                with pytest.raises(TypeError, match="a path, a descriptor or an object with fileno"):
                    opener(wrong)
            with pytest.raises(ValueError, match="null"):
                opener("a\0b")
            for closed in [-1, 1 << 20]:
                with pytest.raises(steadfast.Error) as caught:
                    opener(closed)
                assert caught.value.errno == 9
            for no_file in [folder, reader, "/dev/zero"]:
                with pytest.raises(steadfast.Error):
                    opener(no_file)
            with pytest.raises(steadfast.Error):
                opener("")
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("kind", KINDS)
def test_ranges_that_are_not_there_are_refused_and_change_nothing(kind: str, folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(b"\1" * PAGE)
    m = open_by(kind, path)
    names = ["start_sync", "invalidate", "lock", "unlock"] if kind == "map" else ["edit", "commit_range"]
    calls = [getattr(m, name) for name in [*names, "sync", "residency"]]
    calls.append(lambda start, stop: m.advise("normal", start, stop))
    for start, stop in [
        (-1, None),
        (-1, 3),
        (5, 3),
        (0, PAGE + 1),
        (PAGE + 1, None),
        (0, 1 << 62),
        (-(1 << 63), (1 << 63) - 1),
    ]:
        for call in calls:
            with pytest.raises(steadfast.OutOfRange):
                call(start, stop)
    for at, count in [(-1, 1), (0, -1), (PAGE, 1), (1 << 62, 1 << 62), ((1 << 63) - 1, (1 << 63) - 1)]:
        with pytest.raises(steadfast.OutOfRange):
            m.read_at(at, count)
    for at, data in [(-1, b"x"), (PAGE, b"x"), (PAGE - 1, b"xx"), ((1 << 63) - 1, b"x")]:
        with pytest.raises(steadfast.OutOfRange):
            m.write_at(at, data)
    for huge in [1 << 64, -(1 << 70)]:
        for call in calls:
            with pytest.raises((OverflowError, IndexError)):
                call(huge, None)
        with pytest.raises((OverflowError, IndexError)):
            m[huge]
        with pytest.raises((OverflowError, IndexError)):
            m[huge] = 1
        assert len(m[huge:]) in (0, PAGE)
    with pytest.raises(IndexError):
        m[PAGE]
    with pytest.raises(IndexError):
        m[-PAGE - 1]
    for length in [-1, 1 << 63, 1 << 64]:
        with pytest.raises((OverflowError, ValueError, steadfast.Error)):
            m.resize(length)
    with pytest.raises(steadfast.Error):
        m.resize(1 << 60)
    assert m[:] == b"\1" * PAGE and m.exports == 0
    m.close()


def test_numbers_that_no_map_can_have_are_refused_in_words(folder: Path) -> None:
    path = folder / "a"
    with new(path, PAGE) as m:
        for length in (-1, 1 << 70):
            with pytest.raises(steadfast.InvalidInput, match="not a number of bytes"):
                m.resize(length)
            for option in ("length", "reserve", "journal_bytes"):
                with pytest.raises(steadfast.InvalidInput, match="not a number of bytes"):
                    steadfast.load(folder / "b", create=True, **{option: length})
        for far in (1 << 70, -(1 << 70)):
            with pytest.raises(IndexError):
                m[far]
            with pytest.raises(steadfast.OutOfRange, match="not within"):
                m.edit(far)
            with pytest.raises(steadfast.OutOfRange, match="not within"):
                m.commit_range(0, far)
            with pytest.raises(ValueError, match="not a byte"):
                m[0] = far
        with pytest.raises(TypeError, match="cannot be deleted"):
            del m[0]  # type: ignore[attr-defined]
        assert len(m) == PAGE and sorted(os.listdir(folder)) == ["a", "a.steadfast"]


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_the_wrong_type_are_refused_and_change_nothing(kind: str, folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(b"\1" * PAGE)
    m = open_by(kind, path)

    def assign(index: Any, value: Any) -> Callable[[], None]:
        return lambda: m.__setitem__(index, value)

    wrong: list[tuple[type[BaseException] | tuple[type[BaseException], ...], Callable[[], Any]]] = [
        (ValueError, assign(slice(0, 2), b"abc")),
        (ValueError, assign(slice(0, 2), b"")),
        (ValueError, assign(slice(0, 8, 2), b"abc")),
        (ValueError, assign(0, 256)),
        (ValueError, assign(0, -1)),
        (TypeError, assign(0, b"a")),
        (TypeError, assign(0, 1.0)),
        (TypeError, assign(slice(0, 1), "a")),
        (TypeError, assign(slice(0, 1), 1)),
        (TypeError, assign(slice(0, 1), [1])),
        (TypeError, assign("a", 1)),
        (TypeError, assign((0, 1), 1)),
        (BufferError, assign(slice(0, 4), np.zeros((4, 4), np.uint8)[:, 1])),
        (TypeError, lambda: m["a"]),
        (TypeError, lambda: m[1.0]),
        (TypeError, lambda: m[None]),
        (ValueError, lambda: m[::0]),
        ((TypeError, NotImplementedError), lambda: operator.delitem(m, 0)),
        (TypeError, lambda: m.write_at(0, "x")),
        (TypeError, lambda: m.write_at("0", b"x")),
        (TypeError, lambda: m.resize("5")),
        (TypeError, lambda: m.resize(None)),
        (TypeError, lambda: m.sync("a", "b")),
        (steadfast.InvalidInput, lambda: m.advise("loudly")),
        (TypeError, lambda: m.advise(5)),
        (TypeError, lambda: pickle.dumps(m)),
        (TypeError, lambda: type(m)()),
    ]
    for number, (kind_of_error, call) in enumerate(wrong):
        try:
            call()
        except kind_of_error:
            continue
        raise AssertionError(f"call {number} was taken")
    assert m[:] == b"\1" * PAGE
    m.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_that_may_have_few_addresses_opens_all_the_same(kind: str, folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(PAGE))
    source = """
import resource, sys
import steadfast
kind, path = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.RLIM_INFINITY))
m = steadfast.map(path, write=True) if kind == "map" else getattr(steadfast, kind)(path)
m[0] = 7
(m.sync if kind == "map" else m.commit)()
print(m.reserved_bytes >= len(m), m.reserved_bytes < 8 << 30)
m.close()
"""
    assert program(source, kind, path) == "True True\n"
    assert path.read_bytes()[0] == 7


def test_options_that_make_no_sense_are_refused(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(bytes(PAGE))
    for opener in [steadfast.load, steadfast.view, steadfast.map]:
        for seconds in [float("nan"), -1, -0.001, float("inf")]:
            with pytest.raises(steadfast.InvalidInput, match="seconds"):
                opener(path, lock_timeout=seconds)
        with pytest.raises(TypeError):
            opener(path, lock_timeout="soon")
        for length in [-1, 1 << 64]:
            with pytest.raises((OverflowError, ValueError)):
                opener(path, length=length)
        with pytest.raises(TypeError):
            opener(path, colour="red")
        with pytest.raises(TypeError):
            opener(path, True)
    for opener in [steadfast.load, steadfast.view]:
        with pytest.raises(steadfast.InvalidInput, match="tracker"):
            opener(path, tracker="hound")
    with pytest.raises(steadfast.InvalidInput, match="resolution"):
        steadfast.recover(path, resolution="hope")
    for wrong in [None, 5, 1.5]:
        with pytest.raises((TypeError, steadfast.InvalidInput)):
            steadfast.recover(wrong)
    assert path.read_bytes() == bytes(PAGE)
    assert os.listdir(folder) == ["a"]


def test_a_map_for_reading_refuses_stores_and_leaves_no_trace(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(b"\1" * PAGE)
    m = steadfast.load(path, read_only=True)
    assert m.read_only
    for call in [
        m.commit,
        lambda: m.write_at(0, b"x"),
        lambda: m.edit(0, 1),
        lambda: m.resize(5),
        lambda: m.__setitem__(0, 1),
    ]:
        with pytest.raises(steadfast.ReadOnly):
            call()
    assert memoryview(m).readonly
    array = np.frombuffer(m, np.uint8)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    assert os.listdir(folder) == ["a"]
    del array
    m.close()
