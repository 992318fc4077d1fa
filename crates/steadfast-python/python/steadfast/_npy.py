"""The header of a .npy file: what it says, and how it is written so that it can change in place."""

from __future__ import annotations

import ast
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ._errors import InvalidInput

MAGIC = b"\x93NUMPY"
# The data of a new file begins on a boundary of so many bytes.
BOUNDARY = 4096
# Digits that the length of the first axis may come to have, as NumPy's own files leave room for.
ROW_DIGITS = 21
# Beyond this np.load wants to be told that it may read on.
NUMPY_LIMIT = 10_000
# Beyond this nothing is a header: it would be parsed before anything else is known of the file.
LIMIT = 1 << 20


def refused(operation: str, path: str, what: str, advice: str) -> InvalidInput:
    """An error that says what was tried, on which file, what is wrong, and what to do."""
    error = InvalidInput(None, f"{operation} {path}: {what}; {advice}", path)
    error.operation = operation
    return error


@dataclass(frozen=True)
class Header:
    """What a header says. `start` is where the data begins: so many bytes the header has, and keeps."""

    version: tuple[int, int]
    descr: Any
    dtype: np.dtype[Any]
    fortran_order: bool
    shape: tuple[int, ...]
    start: int

    @property
    def stop(self) -> int:
        """Where the data ends: the length of the file in bytes."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize

    @property
    def order(self) -> Literal["C", "F"]:
        return "F" if self.fortran_order else "C"

    @property
    def grows(self) -> bool:
        """Do rows lie one behind the other?"""
        return bool(self.shape) and not self.fortran_order

    def with_rows(self, rows: int) -> Header:
        """The same of so many rows."""
        return replace(self, shape=(rows, *self.shape[1:]))

    def encoded(self) -> bytes | None:
        """The header's bytes, `start` of them, or None where these are too few."""
        before = _before(self.version)
        room = self.start - before - 1
        for text in _texts(self.descr, self.fortran_order, self.shape):
            encoded = text.encode(_encoding(self.version))
            if len(encoded) <= room:
                count = (room + 1).to_bytes(before - len(MAGIC) - 2, "little")
                return MAGIC + bytes(self.version) + count + encoded.ljust(room) + b"\n"
        return None


def _before(version: tuple[int, int]) -> int:
    """Bytes before the text: the magic, the version and the count of the bytes of the text."""
    return len(MAGIC) + 2 + (2 if version == (1, 0) else 4)


def _encoding(version: tuple[int, int]) -> str:
    return "utf-8" if version >= (3, 0) else "latin-1"


def _texts(descr: Any, fortran_order: bool, shape: tuple[int, ...]) -> tuple[str, str]:
    """As NumPy writes it, and without what may be left out."""
    said = f"{{'descr': {descr!r}, 'fortran_order': {fortran_order!r}, 'shape': {shape!r}, }}"
    return said, f"{{'descr':{descr!r},'fortran_order':{fortran_order!r},'shape':{shape!r}}}"


def described(operation: str, path: str, dtype: np.dtype[Any]) -> Any:
    """How a header says `dtype`. Refuses what it cannot say, or what is not in the file's bytes."""
    if dtype.hasobject:
        raise refused(
            operation,
            path,
            f"{dtype} holds references to Python objects, which mean nothing in a file",
            "use a dtype of plain bytes, such as 'U20' for text of at most 20 characters",
        )
    if dtype.itemsize == 0:
        raise refused(
            operation,
            path,
            f"elements of {dtype!r} have no bytes",
            "say how long they are at most, as in 'U20' or 'S20'",
        )
    try:
        descr = np.lib.format.dtype_to_descr(dtype)
        same = np.lib.format.descr_to_dtype(descr) == dtype
    except ValueError as error:
        raise refused(
            operation, path, f"a .npy file cannot say {dtype!r} ({error})", "use fields that do not overlap, in order"
        ) from None
    if not same:
        raise refused(
            operation,
            path,
            f"a .npy file cannot say {dtype!r}: it would be read back as {np.lib.format.descr_to_dtype(descr)!r}",
            f"use a dtype of NumPy's own with {dtype.itemsize} bytes an element, and look at it with view()",
        )
    return descr


def new(operation: str, path: str, dtype: np.dtype[Any], shape: tuple[int, ...], order: Literal["C", "F"]) -> Header:
    """The header of a new file, with room for the number of rows to grow."""
    descr = described(operation, path, dtype)
    fortran_order = order == "F" and len(shape) > 1
    widest = shape and (10**ROW_DIGITS - 1, *shape[1:])
    text = _texts(descr, fortran_order, widest)[0]
    # As long as it is in Latin letters old readers can read it.
    try:
        length = len(text.encode("latin-1"))
        version = (1, 0)
    except UnicodeEncodeError:
        length = len(text.encode("utf-8"))
        version = (3, 0)
    if version == (1, 0) and _before(version) + length + BOUNDARY > 0xFFFF:
        version = (2, 0)
    start = _before(version) + length + 1
    rounded = -start % BOUNDARY + start
    # np.load takes a header that is a little longer as it is, but not one that is filled up beyond its limit.
    if rounded - _before(version) > NUMPY_LIMIT >= start - _before(version):
        rounded = min(-start % 64 + start, NUMPY_LIMIT + _before(version))
    return Header(version, descr, dtype, fortran_order, shape, rounded)


def read(operation: str, path: str, length: int, read_at: Callable[[int, int], bytes]) -> Header:
    """Reads the header of a file of `length` bytes through `read_at(offset, length)`. The data must be all there is."""

    def wrong(what: str, advice: str = "open a .npy file, or give mode='w+' to write it anew") -> InvalidInput:
        return refused(operation, path, what, advice)

    if length == 0:
        raise wrong("the file is empty", "give dtype and shape to make it an array")
    first = read_at(0, min(length, 12))
    if not first.startswith(MAGIC):
        raise wrong("this is not a .npy file: it does not begin with \\x93NUMPY")
    version = (first[6], first[7]) if len(first) >= 8 else (0, 0)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise wrong(f"a .npy file of version {version[0]}.{version[1]}, and only 1.0, 2.0 and 3.0 are known")
    before = _before(version)
    count = int.from_bytes(first[8:before], "little")
    if length < before + count:
        raise wrong(f"the header is cut short: it has {count} bytes, of which {max(length - before, 0)} are there")
    if count > LIMIT:
        raise wrong(f"the header has {count} bytes, and more than {LIMIT} are not believed", "look at the file")
    header = _parse(version, read_at(before, count), before + count, wrong)
    if length != header.stop:
        missing = header.stop - length
        said = (
            f"{header.shape} of {header.dtype} are {header.stop - header.start} bytes behind a header of {header.start}"
        )
        if missing > 0:
            raise wrong(f"the data is cut short: {said}, and the last {missing} are missing", "restore the file")
        raise wrong(
            f"{-missing} bytes lie behind the data: {said}, and the file has {length}",
            "np.load reads arrays that were saved one behind the other; save each to a file of its own, or truncate "
            f"the file to {header.stop} bytes if what lies there is worth nothing",
        )
    return header


def _parse(version: tuple[int, int], text: bytes, start: int, wrong: Callable[[str], InvalidInput]) -> Header:
    try:
        said = ast.literal_eval(text.decode(_encoding(version)).strip())
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        if version >= (3, 0):
            raise wrong(f"the header makes no sense ({error})") from None
        said = _parse_as_of_old(version, text, wrong)
    if not isinstance(said, dict) or said.keys() != {"descr", "fortran_order", "shape"}:
        raise wrong("the header does not have descr, fortran_order and shape, or has more")
    shape, fortran_order = said["shape"], said["fortran_order"]
    if not isinstance(shape, tuple) or any(type(rows) is not int or not 0 <= rows <= sys.maxsize for rows in shape):
        raise wrong(f"the header has a shape that is none: {shape!r}")
    if not isinstance(fortran_order, bool):
        raise wrong(f"fortran_order in the header is neither True nor False but {fortran_order!r}")
    try:
        dtype = np.lib.format.descr_to_dtype(said["descr"])
    except (TypeError, ValueError, SyntaxError, KeyError, IndexError) as error:
        raise wrong(f"the header has a dtype that is none: {said['descr']!r} ({error})") from None
    return Header(version, said["descr"], dtype, fortran_order and len(shape) > 1, shape, start)


def _parse_as_of_old(version: tuple[int, int], text: bytes, wrong: Callable[[str], InvalidInput]) -> Any:
    """Python 2 wrote `(3L, 4L)`: NumPy knows how to read that."""
    import io
    import warnings

    counted = io.BytesIO(len(text).to_bytes(_before(version) - len(MAGIC) - 2, "little") + text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if version == (1, 0):
                shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(counted, max_header_size=LIMIT)
            else:
                shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(counted, max_header_size=LIMIT)
        return {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": fortran_order, "shape": shape}
    except Exception as error:  # Whatever its tokenizer makes of bytes at random.
        raise wrong(f"the header makes no sense ({error})") from None
