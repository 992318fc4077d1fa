"""`steadfast.open_array`: which files it makes, takes and refuses, and the modes."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import on_disk, opened
from hypothesis import given, settings
from hypothesis import strategies as st

import steadfast
from steadfast import _npy


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
