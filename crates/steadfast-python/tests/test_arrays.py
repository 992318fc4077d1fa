"""`steadfast.open_array`: .npy files whose arrays commit, grow and roll back."""

from __future__ import annotations

import copy
import doctest
import gc
import io
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import steadfast
from steadfast import _npy, _store


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


# ---- opening ----


def test_a_new_file_is_a_npy_file_at_once_and_after_every_commit(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "f8", (3, 2)) as a:
        assert np.array_equal(np.load(path), np.zeros((3, 2)))
        a[1] = 7
        a.commit()
        assert np.array_equal(on_disk(path), a)
        a.append([[1, 2]])
        assert on_disk(path).shape == (3, 2)
        a.commit()
        assert np.array_equal(on_disk(path), a)
    assert np.load(path).tolist() == [[0, 0], [7, 7], [0, 0], [1, 2]]
    assert os.listdir(tmp_path) and not list(tmp_path.glob("*.steadfast"))


def test_the_data_of_a_new_file_begins_on_a_page_and_the_header_has_room_for_any_number(tmp_path: Path) -> None:
    header = _npy.new("open", "x", np.dtype("<f8"), (3, 4), "C")
    assert header.start == 4096
    assert len(header.with_rows(10**21 - 1).encoded() or b"") == 4096


@pytest.mark.parametrize(
    "dtype",
    ["u1", "?", "<f8", ">f8", ">i4", "<c16", "<f2", "M8[us]", ">m8[25s]", "<U5", ">U3", "S7", "V3", "g"],
)
@pytest.mark.parametrize("shape", [(), (0,), (4,), (0, 3), (5, 0), (3, 2, 2)])
def test_dtypes_and_shapes_come_back_as_they_were(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    path = tmp_path / "a.npy"
    with opened(path, dtype, shape) as a:
        assert (a.shape, a.dtype) == (shape, np.dtype(dtype))
        a[...] = np.ones(shape, "u1").astype(dtype)
        want = np.array(a)
        a.commit()
    loaded = np.load(path)
    assert loaded.dtype == np.dtype(dtype) and loaded.shape == shape and loaded.tobytes() == want.tobytes()
    with opened(path, dtype, shape) as again:
        assert np.asarray(again).tobytes() == want.tobytes()


STRUCTS = [
    np.dtype([("x", "<f4", (3,)), ("name", "<U5"), ("when", "M8[s]")]),
    np.dtype({"names": ["a", "b"], "formats": ["u1", "f8"]}, align=True),
    np.dtype([("größe", ">i2"), ("温", "f8")]),
    np.dtype([("inner", [("a", "i4"), ("b", "S3")])]),
]


@pytest.mark.parametrize("dtype", STRUCTS, ids=str)
def test_structured_dtypes_come_back_and_grow(tmp_path: Path, dtype: np.dtype[Any]) -> None:
    path = tmp_path / "a.npy"
    with opened(path, dtype, (2,)) as a:
        a.append(np.zeros(3, dtype))
        a.append(a[0])
        a.commit()
    assert np.load(path).dtype == dtype and np.load(path).shape == (6,)
    with opened(path, dtype) as a:
        assert a.dtype == dtype and a.shape == (6,)


def test_a_tuple_is_a_row_of_a_structured_array(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", [("id", "i8"), ("name", "U4")], (0,)) as a:
        a.append((1, "ann"))
        a.append([(2, "bob"), (3, "cleo")])
        assert a["name"].tolist() == ["ann", "bob", "cleo"]
        a["id"] += 1
        assert a["id"].tolist() == [2, 3, 4]


def test_a_header_of_very_many_fields_still_loads(tmp_path: Path) -> None:
    for fields in (200, 430, 450, 480, 500):
        path = tmp_path / f"{fields}.npy"
        dtype = np.dtype([(f"f{n:04}", "<f8") for n in range(fields)])
        with opened(path, dtype, (1,)) as a:
            a.append(np.ones(1, dtype))
            a.commit()
        said = len(str(dtype.descr))
        loaded = np.load(path) if said < 9_900 else np.load(path, max_header_size=100_000)
        assert loaded.shape == (2,) and loaded.dtype == dtype
    dtype = np.dtype([(f"f{n:05}", "<f8") for n in range(4000)])
    with opened(tmp_path / "big.npy", dtype, (1,)) as a:
        a.append(np.ones(1, dtype))
        a.commit()
    assert np.load(tmp_path / "big.npy", max_header_size=1 << 20).shape == (2,)


def test_fortran_order_comes_back_and_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i4", (3, 4), order="F") as a:
        assert a.flags.f_contiguous and not a.flags.c_contiguous
        a[...] = np.arange(12).reshape(3, 4)
        a.commit()
        with pytest.raises(steadfast.InvalidInput, match="Fortran order"):
            a.append(np.zeros((1, 4), "i4"))
        with pytest.raises(steadfast.InvalidInput, match="Fortran order"):
            a.resize_rows(1)
        a[0] = 99
        a.rollback()
        assert a.tolist() == np.arange(12).reshape(3, 4).tolist()
    assert np.load(path).flags.f_contiguous and np.load(path)[1, 2] == 6
    with opened(path) as a:
        assert a.flags.f_contiguous and a[1, 2] == 6
    with opened(tmp_path / "one.npy", "i4", (3,), order="F") as one:
        one.append(5)
        assert one.tolist() == [0, 0, 0, 5]


def test_an_array_without_axes_commits_and_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "f8", ()) as a:
        a[()] = 2.5
        a.commit()
        for call in (lambda: a.append(1.0), lambda: a.resize_rows(1)):
            with pytest.raises(steadfast.InvalidInput, match="no rows"):
                call()
        a += 1
        a.rollback()
        assert a == 2.5
    assert np.load(path) == 2.5


def test_minus_one_stands_for_any_number_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "log.npy"
    for n in range(3):
        with opened(path, "f8", (-1, 2)) as a:
            assert a.shape == (n, 2)
            a.append([n, n])
            a.commit()
    for shape in ((-1, 3), (-1,), (2, 2), (3,), -1):
        with pytest.raises(steadfast.InvalidInput, match="the file holds an array of"):
            opened(path, "f8", shape)
    with pytest.raises(steadfast.InvalidInput, match="not a shape"):
        opened(path, "f8", (3, -1))


def test_a_dtype_with_a_shape_is_part_of_the_shape(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", ("f4", (3,)), 2) as a:
        assert a.shape == (2, 3) and a.dtype == np.dtype("f4")
    with opened(tmp_path / "a.npy", ("f4", (3,)), 2) as a:
        assert a.shape == (2, 3)


def test_what_does_not_fit_the_file_is_refused_and_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6.0))
    before = path.read_bytes()
    with pytest.raises(steadfast.InvalidInput, match="holds float64, not int64"):
        opened(path, "i8")
    with pytest.raises(steadfast.InvalidInput, match=r"holds an array of \(6,\), not \(7,\)"):
        opened(path, "f8", 7)
    with pytest.raises(ValueError, match="mode"):
        opened(path, mode="a")
    with pytest.raises(ValueError, match="order"):
        opened(path, order="K")
    with pytest.raises(steadfast.InvalidInput, match="give dtype and shape"):
        opened(path, mode="w+")
    with pytest.raises(TypeError, match="unexpected keyword argument 'length'"):
        opened(path, length=3)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.npy"]
    opened(path).close()


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, mode: str) -> None:
    with pytest.raises(FileNotFoundError):
        opened(tmp_path / "none.npy", mode=mode)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("dtype", ["O", [("a", "i4"), ("b", "O")], "U", "S0", "V0", np.dtypes.StringDType()])
def test_what_is_not_in_the_bytes_is_refused_before_a_file_is_made(tmp_path: Path, dtype: Any) -> None:
    with pytest.raises(steadfast.InvalidInput, match="Python objects|have no bytes"):
        opened(tmp_path / "a.npy", dtype, (3,))
    assert not os.listdir(tmp_path)


def test_dtypes_that_npy_cannot_say_are_refused_before_a_file_is_made(tmp_path: Path) -> None:
    overlapping = np.dtype({"names": ["a", "b"], "formats": ["u4", "u2"], "offsets": [0, 0]})
    with pytest.raises(steadfast.InvalidInput, match="cannot say"):
        opened(tmp_path / "a.npy", overlapping, (3,))
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="a dtype that is not NumPy's own comes from ml_dtypes")
    with pytest.raises(steadfast.InvalidInput, match="read back as"):
        opened(tmp_path / "a.npy", ml_dtypes.bfloat16, (3,))
    assert not os.listdir(tmp_path)


def test_pickles_in_a_npy_file_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}, None]), allow_pickle=True)
    with pytest.raises(steadfast.InvalidInput):
        opened(tmp_path / "a.npy")


def npy(array: np.ndarray[Any, Any], version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    return file.getvalue()


GOOD = npy(np.arange(4.0))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"PK\x03\x04 an archive", "not a .npy file"),
        (b"\x93NUMP", "not a .npy file"),
        (b"\x93NUMPY", "version 0.0"),
        (b"\x93NUMPY\x04\x00" + GOOD[8:], "version 4.0"),
        (GOOD[:9], "cut short"),
        (GOOD[:40], "cut short"),
        (GOOD[:-1], "the last 1 are missing"),
        (GOOD[:-32], "the last 32 are missing"),
        (GOOD + b"abc", "3 bytes lie behind the data"),
        (GOOD + GOOD, "160 bytes lie behind the data"),
        (GOOD.replace(b"'shape'", b"'shapf'"), "does not have"),
        (GOOD.replace(b"(4,)", b"(-4,"), "makes no sense|shape that is none"),
        (GOOD.replace(b"(4,)", b"[4] "), "shape that is none"),
        (GOOD.replace(b"False", b"12345"), "fortran_order"),
        (GOOD.replace(b"<f8", b"<f9"), "dtype that is none"),
        (GOOD.replace(b"{", b"["), "makes no sense"),
        (b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\x7f" + bytes(100), "cut short"),
        (GOOD[:10] + b"(" * 118, "makes no sense"),
        (GOOD[:10] + b"\xff\x00" * 59, "makes no sense"),
        (GOOD.replace(b"(4,), }                 ", b"(1,) * 10**8, }         "), "makes no sense"),
    ],
)
@pytest.mark.parametrize("mode", ["r+", "r"])
def test_files_that_are_no_whole_npy_are_refused_and_left_alone(
    tmp_path: Path, content: bytes, said: str, mode: str
) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(steadfast.InvalidInput, match=said) as caught:
        opened(path, mode=mode)
    assert str(path) in str(caught.value) and caught.value.filename == str(path) and ";" in str(caught.value)
    assert path.read_bytes() == content and os.listdir(tmp_path) == ["a.npy"]


@given(st.binary(max_size=200), st.sampled_from([(1, 0), (2, 0), (3, 0)]))
@settings(max_examples=300, deadline=None)
def test_no_header_does_more_than_be_refused(text: bytes, version: tuple[int, int]) -> None:
    content = b"\x93NUMPY" + bytes(version) + len(text).to_bytes(2 if version == (1, 0) else 4, "little") + text
    with pytest.raises(steadfast.InvalidInput):
        _npy.read("open", "x", len(content), lambda at, length: content[at : at + length])


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_existing_files_of_every_version_keep_their_version_and_grow(tmp_path: Path, version: tuple[int, int]) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(npy(np.arange(6, dtype=">i2").reshape(3, 2), version))
    with opened(path) as a:
        a.append([[100, 101]] * 100)
        a.commit()
    assert path.read_bytes()[6:8] == bytes(version)
    assert np.load(path).dtype == np.dtype(">i2") and np.load(path).shape == (103, 2) and np.load(path)[-1, 1] == 101


def test_files_of_python_2_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(GOOD.replace(b"(4,), } ", b"(4L,), }"))
    with opened(path) as a:
        assert a.tolist() == [0, 1, 2, 3]
        a.append(4.0)
        a.commit()
    assert np.load(path).tolist() == [0, 1, 2, 3, 4]


def tight(shape: tuple[int, ...], data: bytes) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def test_a_header_without_room_says_so_and_nothing_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(tight((9,), b"123456789"))
    with opened(path) as a:
        # What may be left out of a header (spaces, a comma) makes room for some digits.
        a.resize_rows(99999)
        a.rollback()
        with pytest.raises(
            steadfast.InvalidInput, match="leave no room to say 1000000000 rows.*copy the array into a new file"
        ):
            a.resize_rows(1_000_000_000)
        assert a.shape == (9,) and len(a.map) == path.stat().st_size
        a[0] = 0
        a.append(np.ones(1, "u1"))
        a.commit()
    assert np.load(path).tolist() == [0, *range(50, 58), 1]


def test_opened_by_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(3))
    fd = os.open(path, os.O_RDWR)
    try:
        with opened(fd) as a:  # type: ignore[arg-type]
            a[0] = 9
            a.commit()
    finally:
        os.close(fd)
    assert np.load(path).tolist() == [9, 1, 2]


# ---- modes ----


def test_mode_r_is_the_last_commit_and_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (3,)) as writer:
        writer[:] = 1
        writer.commit()
        writer[:] = 2
        reader = opened(path, mode="r")
        assert reader.tolist() == [1, 1, 1]
        assert not reader.flags.writeable and not reader[1:].flags.writeable
        for store in (lambda: reader.__setitem__(0, 1), lambda: np.add(reader, 1, out=reader)):
            with pytest.raises(ValueError, match="read-only"):
                store()
        with pytest.raises(steadfast.ReadOnly):
            reader.append([1])
        with pytest.raises(steadfast.ReadOnly):
            reader.commit()
        writer.append([2])
        writer.commit()
        assert reader.tolist() == [1, 1, 1] and reader.shape == (3,)
        reader.close()


def test_mode_c_is_a_copy_that_is_never_written(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (3,)) as writer:
        private = opened(path, mode="c")
        private[:] = 5
        assert writer.tolist() == [0, 0, 0]
        for call in (
            private.commit,
            private.commit_async,
            private.rollback,
            lambda: private.append(1),
            lambda: private.map,
        ):
            with pytest.raises(steadfast.ReadOnly, match="mode='c'"):
                call()
        with private:
            assert private.tolist() == [5, 5, 5]
    assert np.load(path).tolist() == [0, 0, 0]


def test_mode_w_makes_it_anew_in_one_commit(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(1000.0))
    with opened(path, "i2", (4,), "w+") as a:
        assert a.tolist() == [0] * 4
        a[:] = 7
        a.rollback()
        assert a.tolist() == [0] * 4 and a.dtype == np.dtype("i2")
    assert np.load(path).tolist() == [0] * 4
    path.write_bytes(b"anything")
    opened(path, "i2", (4,), "w+").close()
    assert np.load(path).tolist() == [0] * 4


def test_a_second_writer_is_refused_and_mode_w_takes_nothing_from_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (3,)) as a:
        a[:] = 1
        a.commit()
        for mode in ("r+", "w+"):
            with pytest.raises(steadfast.Locked):
                opened(path, "i8", (3,), mode)
    assert np.load(path).tolist() == [1, 1, 1]


# ---- growing ----


@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "resize", "store", "commit", "rollback", "reopen"]), st.integers(0, 9)),
        max_size=25,
    )
)
@settings(max_examples=40, deadline=None)
def test_whatever_is_done_the_array_is_what_a_list_would_be(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("model") / "a.npy"
    a = opened(path, "i4", (-1, 2))
    now: list[list[int]] = []
    committed: list[list[int]] = []
    for step, n in steps:
        if step == "append":
            rows = [[n, k] for k in range(n)]
            a.append(np.array(rows, "i4").reshape(-1, 2))
            now = now + rows
        elif step == "resize":
            a.resize_rows(n)
            now = now[:n] + [[0, 0]] * (n - len(now))
        elif step == "store" and now:
            a[n % len(now)] = n
            now = [[n, n] if at == n % len(now) else row for at, row in enumerate(now)]
        elif step == "commit":
            a.commit()
            committed = now
            assert np.array_equal(on_disk(path), np.array(now, "i4").reshape(-1, 2))
        elif step == "rollback":
            a.rollback()
            now = committed
        elif step == "reopen":
            a.close()
            now = committed
            a = opened(path, "i4", (-1, 2))
        assert a.shape == (len(now), 2) and a.tolist() == now
        assert len(a.map) == 4096 + a.nbytes and a.flags.c_contiguous and a.map.exports == 1
    a.close()


def test_rollback_after_append_and_after_a_cut_brings_the_shape_back(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", "i8", (2,)) as a:
        a[:] = [1, 2]
        a.commit()
        a.append([3, 4, 5])
        a.rollback()
        assert a.tolist() == [1, 2]
        a.resize_rows(0)
        assert a.tolist() == []
        a.rollback()
        assert a.tolist() == [1, 2]


def test_an_array_can_be_appended_to_itself_and_views_of_it_too(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", "i8", (3,)) as a:
        a[:] = [1, 2, 3]
        a.append(a)
        a.append(a[::-2])
        a.append(np.asarray(a)[1:3])
        assert a.tolist() == [1, 2, 3] + [1, 2, 3] + [3, 1, 2] + [2, 3]


def test_a_view_of_rows_that_were_cut_can_be_appended_and_crashes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", "i8", (6,)) as a:
        a[:] = range(6)
        a.commit()
        # A plain array: nothing counts it.
        stale = np.asarray(a)[3:]
        a.resize_rows(3)
        assert stale.shape == (3,)
        stale[:] = 77
        # The rows are what the view shows when they are appended.
        a.append(stale)
        assert a.tolist() == [0, 1, 2, 77, 77, 77]
        a.commit()
        a.resize_rows(3)
        stale[:] = 55
        a.resize_rows(6)
        assert a.tolist() == [0, 1, 2, 0, 0, 0]
        a.rollback()
        assert a.tolist() == [0, 1, 2, 77, 77, 77]


def test_growth_moves_nothing_and_views_stay_what_they_are(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", "i8", (2,)) as a:
        address = a.__array_interface__["data"][0]
        view, plain = a[:1], np.asarray(a)
        for n in range(50):
            a.append(np.full(1000, n))
        assert a.__array_interface__["data"][0] == address
        assert a.shape == (50_002,) and view.shape == (1,) and plain.shape == (2,)
        view[0] = plain[1] = 9
        assert plain.tolist() == [9, 9]
        assert a.commit() == view.map.commit()
        del view


@pytest.mark.parametrize(
    ("rows", "error", "said"),
    [
        (np.zeros((2, 3)), steadfast.InvalidInput, r"rows of shape \(2, 3\) do not fit an array of \(1, 2\)"),
        (np.zeros((2, 2, 2)), steadfast.InvalidInput, "do not fit"),
        (np.zeros(3), steadfast.InvalidInput, "do not fit"),
        (5, steadfast.InvalidInput, "do not fit"),
        ([], steadfast.InvalidInput, "do not fit"),
        ([[1.5, 2.0]], TypeError, "float64 cannot be cast to int32"),
        ([["a", "b"]], TypeError, "cannot be cast"),
        ([[1, 2**31]], steadfast.InvalidInput, "not all values"),
        (np.array([[1, 2**40]]), steadfast.InvalidInput, "not all values"),
        (np.array([[1, 2]], "M8[s]"), TypeError, "cannot be cast"),
        (np.array([[1, None]]), TypeError, "cannot be cast"),
        ([[1], [1, 2]], ValueError, "inhomogeneous"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_nothing_has_changed(
    tmp_path: Path, rows: Any, error: type[Exception], said: str
) -> None:
    with opened(tmp_path / "a.npy", "i4", (1, 2)) as a:
        with pytest.raises(error, match=said):
            a.append(rows)
        assert a.shape == (1, 2) and len(a.map) == 4096 + 8
        a.append([[1, 2], [3, -4]])
        assert a.tolist() == [[0, 0], [1, 2], [3, -4]]


@pytest.mark.parametrize(
    ("dtype", "rows", "fits"),
    [
        ("u1", [1, 255], True),
        ("u1", [256], False),
        ("u1", [-1], False),
        ("u1", np.array([1, 2]), False),
        ("f4", [1.1, 2], True),
        ("f4", [1e300], False),
        ("f4", [np.inf, np.nan], True),
        ("f8", np.arange(3, dtype=">f4"), True),
        ("f8", np.arange(3), True),
        ("U3", ["abc"], True),
        ("U3", ["abcd"], False),
        ("S3", [b"abcd"], False),
        ("M8[D]", np.array(["2020-01-01", "NaT"], "M8[s]"), True),
        ("M8[D]", np.array(["2020-01-01T10"], "M8[s]"), False),
        (">i2", np.arange(3, dtype="<i2"), True),
        ("?", [True], True),
        ("?", [2], False),
        ("i8", [True, False], True),
    ],
)
def test_values_are_not_cut(tmp_path: Path, dtype: str, rows: Any, fits: bool) -> None:
    with opened(tmp_path / "a.npy", dtype, (0,)) as a:
        if fits:
            a.append(rows)
            want = np.asarray(rows).astype(dtype)
            assert a.tobytes() == want.tobytes()
        else:
            with pytest.raises((TypeError, ValueError)):
                a.append(rows)
            assert a.shape == (0,)


def test_rows_without_bytes_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "f8", (0, 0)) as a:
        a.append(np.zeros((5, 0)))
        assert a.shape == (5, 0)
        a.commit()
        a.append(np.zeros((1, 0)))
        a.rollback()
        assert a.shape == (5, 0)
        a.append(np.zeros((0, 0)))
    assert np.load(path).shape == (5, 0)


@pytest.mark.parametrize("rows", [-1, 2**70, 1.5, "3", None])
def test_a_number_of_rows_that_is_none_is_refused(tmp_path: Path, rows: Any) -> None:
    with opened(tmp_path / "a.npy", "f8", (2,)) as a:
        with pytest.raises((ValueError, TypeError)):
            a.resize_rows(rows)
        assert a.shape == (2,)


def test_more_rows_than_are_reserved_are_refused_and_nothing_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "u1", (10,), reserve=1 << 20) as a:
        a[:] = 1
        with pytest.raises(steadfast.LimitExceeded, match="reserve more"):
            a.resize_rows(1 << 40)
        assert a.tolist() == [1] * 10 and len(a.map) == 4106
        a.commit()
    assert np.load(path).tolist() == [1] * 10


def test_rows_are_not_cut_while_others_look_at_the_map(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", "i8", (4,)) as a:
        a[:] = range(4)
        with memoryview(a.map) as view:
            with pytest.raises(BufferError, match="views of it are alive"):
                a.resize_rows(1)
            assert a.tolist() == [0, 1, 2, 3]
            a.append(4)
            with pytest.raises(BufferError):
                a.rollback()
            assert a.tolist() == [0, 1, 2, 3, 4]
            with pytest.raises(BufferError):
                a.close()
            a.commit()
            assert len(view) == 4096 + 32
        a.resize_rows(1)
        assert a.tolist() == [0]


def test_a_signal_handler_in_the_midst_of_an_append_commits_nothing_of_it(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", "i8", (-1, 4)) as a:
        refused = 0

        def handler(*_: object) -> None:
            nonlocal refused
            try:
                a.commit_async()
            except steadfast.Busy:
                refused += 1

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        try:
            for n in range(20_000):
                a.append([n] * 4)
                if refused > 3 and n > 1000:
                    break
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert a.shape == (n + 1, 4) and a[:, 0].tolist() == list(range(n + 1))


def test_a_commit_of_the_map_beside_appends_is_a_whole_file(tmp_path: Path) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    over = threading.Event()
    try:
        with opened(tmp_path / "a.npy", "i8", (-1, 4)) as a:
            map = a.map

            def append() -> None:
                while not over.is_set():
                    a.append([1] * 4)

            thread = threading.Thread(target=append)
            thread.start()
            try:
                for _ in range(100):
                    map.commit()
                    map.copy_to(tmp_path / "copy.npy")
                    opened(tmp_path / "copy.npy", mode="r").close()
            finally:
                over.set()
                thread.join()
    finally:
        sys.setswitchinterval(interval)


def test_views_of_an_array_are_counted_until_they_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    a = opened(path, "i8", (4, 2))
    a[:] = 1
    a.commit()
    assert a.map.exports == 1
    for take in (lambda: a[1:], lambda: a[0], lambda: a.T, lambda: a[1:][:, 0], lambda: a.reshape(8), lambda: a.view("u8")):
        view = take()
        assert a.map.exports > 1
        for call in (lambda: a.resize_rows(1), a.close):
            with pytest.raises(BufferError, match="alive"):
                call()
        a.append([2, 2])
        with pytest.raises(BufferError, match="alive"):
            a.rollback()
        assert a.shape == (5, 2) and view.sum() > 0
        del view
        assert a.map.exports == 1, "copies, scalars and what was looked at before are not counted"
        a.rollback()
        assert a.shape == (4, 2)
    for result in (a.copy(), a + 1, a.sum(), a[0, 0], a[[0, 1]]):
        assert a.map.exports == 1, result
    a.close()
    assert np.load(path).shape == (4, 2)


def test_what_failed_in_a_block_is_told_although_its_frames_hold_views(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with pytest.raises(KeyError):
        with opened(path, "i8", (4,)) as a:
            view = a[1:]
            raise KeyError(view[0])
    with pytest.raises(BufferError, match="alive"):
        a.close()
    del view
    a.close()
    with pytest.raises(BufferError, match="alive"):
        with opened(path) as a:
            view = a[1:]


def test_a_transaction_commits_or_brings_everything_back(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (2,)) as a:
        with a[:1].transaction() as same:
            same[0] = 1
            a.append(3)
        del same
        assert on_disk(path).tolist() == [1, 0, 3]
        with pytest.raises(RuntimeError, match="mine"), a.transaction():
            a[:] = 9
            a.append([9, 9])
            raise RuntimeError("mine")
        assert a.tolist() == on_disk(path).tolist() == [1, 0, 3]
        with pytest.raises(RuntimeError, match="mine"), memoryview(a.map), a.transaction():
            view = a[:1]
            view[0] = 7
            a.append(9)
            raise RuntimeError("mine")
        assert a.tolist() == [1, 0, 3] and view[0] == 1
        del view
        a.rollback()
        a.close()
        with pytest.raises(ValueError, match="closed"), a.transaction():
            raise AssertionError("the block runs")
    reader = opened(path, mode="r")
    with pytest.raises(steadfast.ReadOnly), reader.transaction():
        pass


@pytest.mark.parametrize("tracker", [None, "write-protect", "private-copies", "declared"])
def test_stores_are_found_wherever_the_array_has_grown(tmp_path: Path, tracker: Any) -> None:
    path = tmp_path / "a.npy"
    try:
        a = opened(path, "i8", (10,), tracker=tracker)
    except steadfast.Unsupported as error:
        pytest.skip(f"needs this way to find stores: {error}")
    random = np.random.default_rng(1)
    for step in range(1, 20):
        rows = int(random.integers(1, 200_000))
        if rows > len(a):
            a.append(random.integers(0, 9, rows - len(a)))
        else:
            a.resize_rows(rows)
        for value, commit in ((step, a.commit), (-step, lambda: a.commit_async().wait())):
            a[random.integers(0, len(a), 5)] = value
            commit()
            assert np.array_equal(opened(path, mode="r"), a)
    a.close()


@pytest.mark.parametrize("tracker", [None, "write-protect", "private-copies"])
def test_stores_through_views_of_what_is_gone_crash_nothing_and_reach_nobody(tmp_path: Path, tracker: Any) -> None:
    path = tmp_path / "a.npy"
    try:
        a = opened(path, "i8", (200_000,), tracker=tracker)
    except steadfast.Unsupported as error:
        pytest.skip(f"needs this way to find stores: {error}")
    a[:] = 1
    a.commit()
    # A plain array: nothing counts it.
    stale = np.asarray(a)[100_000:]
    a.resize_rows(10)
    stale[:] = 7
    assert stale.sum() == 700_000
    a.commit()
    stale[:] = 8
    a.resize_rows(200_000)
    assert not a[10:].any()
    a.rollback()
    stale[:] = 9
    assert on_disk(path).tolist() == a.tolist() == [1] * 10
    a.close()
    stale[:] = 10
    assert np.load(path).tolist() == [1] * 10 and stale.sum() == 1_000_000


# ---- whatever fails in the middle ----


def broken(*given: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["_bytes_of", "_set_rows"])
def test_an_append_that_is_interrupted_leaves_the_array_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (2,)) as a:
        a[:] = [1, 2]
        called = 0
        real = getattr(_store, name)

        def once(*given: Any) -> Any:
            nonlocal called
            called += 1
            if called == 1:
                raise KeyboardInterrupt
            return real(*given)

        monkeypatch.setattr(_store, name, once)
        with pytest.raises(KeyboardInterrupt):
            a.append([3, 4])
        assert a.tolist() == [1, 2] and len(a.map) == 4096 + 16
        a.commit()
        assert on_disk(path).tolist() == [1, 2]
        a.append([5])
        a.commit()
        assert on_disk(path).tolist() == [1, 2, 5]


@pytest.mark.parametrize("call", ["append", "cut"])
def test_what_could_not_be_put_right_at_once_is_put_right_before_anything_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (2,)) as a:
        a[:] = [1, 2]
        with monkeypatch.context() as patched:
            patched.setattr(_store.Store, "restore", broken)
            patched.setattr(_store, "_set_rows", broken)
            with pytest.raises(KeyboardInterrupt):
                if call == "append":
                    a.append([3, 4])
                else:
                    a.resize_rows(1)
        a.commit()
        assert a.tolist() == [1, 2] and on_disk(path).tolist() == [1, 2]


def test_a_rollback_that_is_interrupted_is_finished_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (2,)) as a:
        a.append([3, 4])
        with monkeypatch.context() as patched:
            patched.setattr(_store.Store, "adopt", broken)
            with pytest.raises(KeyboardInterrupt):
                a.rollback()
        a.append(7)
        a.commit()
        assert a.tolist() == [0, 0, 7] and on_disk(path).tolist() == [0, 0, 7]


def test_a_full_disk_takes_no_row_and_the_same_calls_succeed_later(tmp_path: Path) -> None:
    done = ran(
        """
        import resource, sys, numpy as np, steadfast
        path = sys.argv[1]
        a = steadfast.open_array(path, "u1", (1000,), allow_volatile=True)
        a[:] = 1
        a.commit()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        failed = None
        try:
            a.append(np.full(64 << 20, 2, "u1"))
        except steadfast.Error as error:
            failed = "append"
            assert a.shape == (1000,), a.shape
            assert a.commit() >= 0
        else:
            try:
                a.commit()
            except steadfast.Error as error:
                failed = "commit"
                assert isinstance(error, (steadfast.NotCommitted, steadfast.NoSpace)), repr(error)
            assert a.shape == (1000 + (64 << 20),) and a[-1] == 2, "memory is as it was"
        assert failed, "the limit limits nothing"
        reader = steadfast.open_array(path, mode="r", allow_volatile=True)
        assert reader.shape == (1000,) and reader.sum() == 1000
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if failed == "append":
            a.append(np.full(64 << 20, 2, "u1"))
        a.commit()
        a.close()
        b = np.load(path)
        assert b.shape == (1000 + (64 << 20),) and b[999] == 1 and (b[1000:] == 2).all()
        print("fine", failed)
        """,
        tmp_path / "a.npy",
    )
    assert done.returncode == 0 and done.stdout.startswith("fine"), done.stdout + done.stderr


def test_killed_anywhere_the_file_holds_whole_commits(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    program = """
        import sys, numpy as np, steadfast
        a = steadfast.open_array(sys.argv[1], "i8", (-1, 100), allow_volatile=True)
        n = a.shape[0]
        print("open", flush=True)
        while True:
            a.append(np.full((n % 7 + 1, 100), n))
            a[0] = a.shape[0]
            a.commit()
            n = a.shape[0]
            print(n, flush=True)
            if n > 1500:
                a.resize_rows(3)
                a[0] = 3
                a.commit()
                n = 3
                print(n, flush=True)
    """
    for round in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None and child.stdout.readline() == "open\n"
        told = 0
        for _ in range(5 + 13 * round):
            told = int(child.stdout.readline())
        child.kill()
        told = int(([told, *child.stdout.read().split()])[-1])
        child.wait()
        with opened(path) as a:
            # The last that was told, or the one in flight.
            assert a.shape[0] in range(told, told + 8) or a.shape[0] == 3
            assert (a[0] == a.shape[0]).all(), "the header and the data are of one commit"
        assert np.load(path).shape[1] == 100


# ---- views, results and copies ----


def test_views_know_the_file_and_results_do_not(tmp_path: Path) -> None:
    with opened(tmp_path / "a.npy", "f8", (4, 3)) as a:
        for view in (
            a[1:],
            a[::2],
            a.T,
            a.reshape(3, 4),
            a.view("i8"),
            a[1:][1:].T,
            a[..., np.newaxis],
            a.ravel(),
            a.real,
        ):
            assert type(view) is steadfast.array and view.map is a.map
        for plain in (
            a + 1,
            -a,
            a @ a.T,
            np.sqrt(a),
            a.sum(axis=0),
            a == 1,
            np.asarray(a),
            a.copy(),
            copy.copy(a),
            copy.deepcopy(a),
        ):
            assert type(plain) is np.ndarray
        for scalar in (a.sum(), np.sum(a), a.mean(), a[0, 0], a.max()):
            assert isinstance(scalar, np.float64)
        for apart in (a[[0, 1]], a[a > 0], a.astype("f4"), a.flatten(), a.take([0])):
            assert not np.may_share_memory(a, apart)
            if isinstance(apart, steadfast.array):
                with pytest.raises(ValueError, match="no file is behind"):
                    apart.commit()


def test_a_commit_of_a_view_commits_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (4,)) as a:
        view = a[2:]
        a[0] = 5
        view[0] = 6
        view.commit()
        assert on_disk(path).tolist() == [5, 0, 6, 0]
        a[1] = 4
        view.rollback()
        assert a[1] == 0
        view.append(9)
        assert a.tolist() == [5, 0, 6, 0, 9] and view.shape == (2,)
        del view


def test_in_place_operations_are_committed(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "f8", (2, 2)) as a:
        same = a
        a += 1
        a *= 3
        np.add(a, 1, out=a)
        np.subtract(a[0], 1, out=a[0])
        a.T[0, 1] = 8
        a.sort(axis=1)
        assert a is same and type(a) is steadfast.array
        a.commit()
        assert on_disk(path).tolist() == a.tolist() == [[3, 3], [4, 8]]


def test_copies_and_pickles_are_plain_and_hold_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (3,)) as a:
        a[:] = [1, 2, 3]
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            for array in (a, a[1:]):
                again = pickle.loads(pickle.dumps(array, protocol))
                assert type(again) is np.ndarray and again.tolist() == array.tolist()
        del array
        again = copy.deepcopy({"a": a})["a"]
        again[:] = 0
        assert a.tolist() == [1, 2, 3] and a.map.exports == 1
        buffers: list[pickle.PickleBuffer] = []
        kept = pickle.loads(pickle.dumps(a, 5, buffer_callback=buffers.append), buffers=buffers)
        assert kept.tolist() == [1, 2, 3]
        np.save(tmp_path / "other.npy", a)
        assert np.load(tmp_path / "other.npy").tolist() == [1, 2, 3]
        file = io.BytesIO()
        np.savez(file, a=a)
        file.seek(0)
        assert np.load(file)["a"].tolist() == [1, 2, 3]


def test_an_array_is_only_made_by_opening_a_file() -> None:
    with pytest.raises(TypeError, match="open_array"):
        steadfast.array([1, 2])
    view = np.arange(3).view(steadfast.array)
    with pytest.raises(ValueError, match="no file is behind"):
        view.commit()


def test_a_shape_that_was_set_in_place_is_no_commits_affair_and_not_changed_on(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (4,)) as a:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            a.shape = (2, 2)
            a[1, 1] = 5
            a.commit()
            for call in (lambda: a.append([[1, 2]]), lambda: a.resize_rows(1), a.rollback):
                with pytest.raises(ValueError, match="set in place"):
                    call()
            a.shape = (4,)
        a.append(6)
        a.commit()
    assert np.load(path).tolist() == [0, 0, 0, 5, 6]


# ---- the end ----


def test_a_closed_array_can_be_looked_at_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    a = opened(path, "i8", (1000,))
    a[:] = 7
    a.commit()
    view = np.asarray(a)[1:]
    plain = np.asarray(a)[::2]
    a[0] = 8
    a.close()
    a.close()
    assert np.load(path).tolist() == [7] * 1000
    assert a[0] == 8 and view.sum() == 7 * 999 and plain[1] == 7
    with pytest.raises(ValueError, match="read-only"):
        a[0] = 1
    view[0] = plain[1] = 3
    for call in (
        a.commit,
        a.commit_async,
        a.rollback,
        lambda: a.append(1),
        lambda: a.resize_rows(1),
        lambda: a.map,
        a[1:].commit,
        a.__enter__,
    ):
        with pytest.raises(ValueError, match="closed"):
            call()
    assert np.load(path).tolist() == [7] * 1000
    opened(path).close()
    del a, view
    gc.collect()
    assert plain[1] == 3


def test_with_closes_and_what_was_not_committed_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with pytest.raises(RuntimeError, match="mine"), opened(path, "i8", (2,)) as a:
        a[:] = 1
        a.commit()
        a.append(2)
        raise RuntimeError("mine")
    assert np.load(path).tolist() == [1, 1]
    opened(path).close()


def test_an_array_that_is_dropped_leaves_the_last_commit_in_a_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    a = opened(path, "i8", (2,))
    a[:] = 1
    a.commit()
    a[:] = 2
    view = a[1:]
    del a
    assert view.tolist() == [2]
    with pytest.raises(steadfast.Locked):
        opened(path)
    view.append(3)
    view.commit()
    del view
    assert np.load(path).tolist() == [2, 2, 3] and os.listdir(tmp_path) == ["a.npy"]


def test_the_end_of_the_interpreter_leaves_the_last_commit_in_a_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    done = ran(
        """
        import sys, steadfast
        a = steadfast.open_array(sys.argv[1], "i8", (2,), allow_volatile=True)
        a[:] = 1
        a.commit()
        a[:] = 2
        """,
        path,
    )
    assert done.returncode == 0, done.stderr
    assert np.load(path).tolist() == [1, 1] and os.listdir(tmp_path) == ["a.npy"]


def test_a_forked_child_is_refused_without_waiting_for_anybody(tmp_path: Path) -> None:
    done = ran(
        """
        import os, sys, threading, warnings, steadfast
        warnings.simplefilter("ignore")
        a = steadfast.open_array(sys.argv[1], "i8", (2,), allow_volatile=True)
        a[:] = 1
        a.commit()
        # Another thread is in a call when the process is forked.
        held, go = threading.Event(), threading.Event()
        def hold():
            with a._store.lock:
                held.set()
                go.wait()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if child == 0:
            for call in (a.commit, a.commit_async, a.rollback, lambda: a.append(1), lambda: a.resize_rows(1), a.close):
                try:
                    call()
                except steadfast.Forked:
                    continue
                except BaseException as error:
                    print("not refused:", repr(error), flush=True)
                os._exit(1)
            os._exit(0 if a.tolist() == [1, 1] and a.shape == (2,) else 2)
        go.set()
        thread.join()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        a.append(5)
        a.commit()
        a.close()
        """,
        tmp_path / "a.npy",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert np.load(tmp_path / "a.npy").tolist() == [1, 1, 5]


def test_threads_append_store_and_commit_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                errors.append(error)

        return threading.Thread(target=run)

    with opened(path, "i8", (0, 2)) as a:

        def append(of: int) -> None:
            for n in range(150):
                a.append([[of, n]])

        def commit() -> None:
            for _ in range(30):
                a.commit()
                # A reader finds whole rows, and as many as the header says.
                found = opened(path, mode="r")
                assert not (found[:, 0] == 0).any()

        threads = [guarded(lambda of=of: append(of)) for of in (1, 2, 3)] + [guarded(commit)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, errors
        assert a.shape == (450, 2)
        for of in (1, 2, 3):
            assert a[a[:, 0] == of][:, 1].tolist() == list(range(150))
        a.commit()
    assert np.load(path).shape == (450, 2)


def test_an_async_commit_is_what_was_there_when_it_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with opened(path, "i8", (1,)) as a:
        a.append([1, 2])
        ticket = a.commit_async()
        a.append(3)
        assert ticket.wait() == ticket.id
        assert on_disk(path).tolist() == [0, 1, 2]


# ---- the module ----


def test_the_examples_of_the_docs_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    methods = [steadfast.array.commit, steadfast.array.append, steadfast.array.transaction]
    told = [steadfast, steadfast.open_array, steadfast.memmap, *methods]
    for documented in told:
        name = documented.__name__
        names = {"steadfast": steadfast, "numpy": np}
        examples = doctest.DocTestFinder(recurse=False).find(documented, name, globs=names)
        assert sum(len(example.examples) for example in examples) >= 1, name
        for example in examples:
            said: list[str] = []
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                doctest.DocTestRunner().run(example, out=said.append)
            assert not said, "".join(said)


def test_without_numpy_all_the_rest_works(tmp_path: Path) -> None:
    done = ran(
        """
        import sys
        sys.modules["numpy"] = None
        import steadfast
        with steadfast.load(sys.argv[1], create=True, length=10, allow_volatile=True) as map:
            map[0:2] = b"ab"
            map.commit()
        try:
            steadfast.open_array
        except ImportError as error:
            assert "pip install numpy" in str(error), error
        else:
            sys.exit("no error")
        """,
        tmp_path / "a",
    )
    assert done.returncode == 0, done.stderr


def test_numpy_is_imported_when_it_is_first_asked_for() -> None:
    done = ran(
        """
        import sys, steadfast
        assert "numpy" not in sys.modules
        assert {"array", "open_array", "memmap"} <= set(dir(steadfast)) & set(steadfast.__all__)
        assert "numpy" not in sys.modules
        for name in ("open_array", "array", "memmap"):
            assert getattr(steadfast, name).__module__ == "steadfast", name
        assert "numpy" in sys.modules
        try:
            steadfast.nothing
        except AttributeError as error:
            assert "'steadfast' has no attribute 'nothing'" in str(error)
        else:
            sys.exit("no error")
        missing = [name for name in steadfast.__all__ if not hasattr(steadfast, name)]
        assert not missing, missing
        public = [name for name in vars(steadfast._native) if not name.startswith("_")]
        assert set(public) <= set(steadfast.__all__), set(public) - set(steadfast.__all__)
        assert set(steadfast._errors.__all__) <= set(steadfast.__all__)
        """
    )
    assert done.returncode == 0, done.stderr
