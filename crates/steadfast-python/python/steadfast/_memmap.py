"""`memmap`: what `numpy.memmap` is, with a flush that is all or nothing."""

from __future__ import annotations

import errno
import fcntl
import logging
import math
import mmap
import operator
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import IO, TYPE_CHECKING, Any, Literal, SupportsIndex, cast

import numpy as np

from ._errors import Unsupported
from ._native import AtomicMapping, Mapping, load, map, view
from ._views import shows_memory_of

if TYPE_CHECKING:
    from numpy.typing import DTypeLike
    from typing_extensions import Self, TypeVar

    _Mode = Literal["r", "c", "r+", "w+", "readonly", "copyonwrite", "readwrite", "write"]
    _ShapeT = TypeVar("_ShapeT", bound=tuple[int, ...], default=tuple[Any, ...], covariant=True)
    _DTypeT = TypeVar("_DTypeT", bound=np.dtype[Any], default=np.dtype[Any], covariant=True)
else:
    from typing import TypeVar

    _ShapeT = TypeVar("_ShapeT")
    _DTypeT = TypeVar("_DTypeT")

__all__ = ["memmap"]

_MODES = ("r", "c", "r+", "w+")
_NAMES = {"readonly": "r", "copyonwrite": "c", "readwrite": "r+", "write": "w+"}
# A map of this process whose last view another thread is just letting go of is committed and closed within that,
# mostly.
_LOCK_SECONDS = 2.0
_ANY_LEASES = sys.maxsize


class _Source:
    """A map that memmaps of one file share, and its last views close."""

    __slots__ = ("__weakref__", "map", "private")

    def __init__(self, map: AtomicMapping | Mapping, *, private: bool = False) -> None:
        self.map = map
        # Stores into it are copied by the kernel, and nobody else's affair.
        self.private = private

    def flush(self) -> None:
        if isinstance(self.map, AtomicMapping):
            self.map.commit()
        else:
            self.map.sync()

    def grow(self, length: int) -> None:
        if len(self.map) >= length:
            return
        if isinstance(self.map, AtomicMapping):
            self.map._resize_leaving(length, _ANY_LEASES)
            # Whoever looks at the file finds it as long as NumPy would have made it.
            self.map.commit()
        else:
            self.map.resize(length)


# Writers of this process by device and inode: the lock of a file keeps a second map of it out, but NumPy allows two
# memmaps of one file.
_writers: weakref.WeakValueDictionary[tuple[int, int], _Source] = weakref.WeakValueDictionary()
_opening = threading.RLock()
_warned = False


def _forget_writers() -> None:
    """In a forked child: they are the parent's."""
    global _writers, _opening
    _writers = weakref.WeakValueDictionary()
    _opening = threading.RLock()


os.register_at_fork(after_in_child=_forget_writers)

_ending_of = 0


def _flush_at_end_of_process() -> None:
    """Children of multiprocessing end without what is registered for the end of the interpreter."""
    global _ending_of
    if _ending_of == os.getpid() or "multiprocessing" not in sys.modules:
        return
    import multiprocessing.process
    import multiprocessing.util

    if multiprocessing.process.parent_process() is not None:
        _ending_of = os.getpid()
        multiprocessing.util.Finalize(None, _flush_writers, exitpriority=-100)


def _flush_writers() -> None:
    for source in list(_writers.values()):
        try:
            source.flush()
            if isinstance(source.map, AtomicMapping):
                source.map.checkpoint()
        except Exception:
            # Nobody is left to catch it, and the others are to be flushed all the same.
            logging.getLogger("steadfast").exception("the end of a process: %s was not flushed", source.map.path)


class memmap(np.ndarray[_ShapeT, _DTypeT]):  # noqa: N801 (NumPy's name)
    """What `numpy.memmap` is, with the same parameters, attributes and errors; and a `flush()` that is all or nothing.

    `filename` is a path or a file object, `dtype` and `shape` what lies there from byte `offset` on, `order` "C" or
    "F". `mode` is "r", "r+" (the file grows if it is shorter), "w+" (the file is made anew; needs `shape`) or "c"
    (stores stay in memory).

    In the modes "r+" and "w+" a file with a name is opened as by `view`: at any size at once, pages come from the page
    cache, and only those that are stored to cost memory, until they are committed. Stores reach the file with `flush()`,
    and with the end of the last view of it. Memmaps of one file in one process share its memory. Another process is
    refused with Locked if it opens the file for writing meanwhile; it may read. One that writes it all the same is
    noticed by the next flush: ForeignChange. What NumPy's memmap would have sent to the file without a flush, and let a
    crash mix, stays in memory until then.

    The kernel's mapping, where flush() makes everything durable but not all or nothing, serves the modes "r" and "c"
    (unless the file has commits waiting in a journal: then it is the last commit, as it is when the file is opened),
    files without a name, and, with one warning in the life of the process, files for which nothing better can be had:
    on tmpfs, on a network, or with several names.

    Raises what `numpy.memmap` raises; Locked; NoSpace; RecoveryNeeded and others as `view`.

    >>> a = steadfast.memmap("numbers.bin", dtype="f8", mode="w+", shape=(3, 4))
    >>> a[1] = 2.5
    >>> a.flush()
    >>> float(steadfast.memmap("numbers.bin", dtype="f8", mode="r", shape=(3, 4))[1, 0])
    2.5
    """

    __array_priority__ = -100.0

    filename: Any = None
    """The absolute path: a `pathlib.Path` if one was given, else a str; None if the file has no name."""
    offset: int = cast(int, None)
    """Where the array begins in the file, in bytes."""
    mode: Literal["r", "c", "r+", "w+"] = cast(Literal["r"], None)
    """The mode, by its short name."""
    _mmap: _Source | None = None

    def __new__(
        subtype,
        filename: str | bytes | os.PathLike[str] | os.PathLike[bytes] | IO[bytes],
        dtype: DTypeLike = np.uint8,
        mode: _Mode = "r+",
        offset: int = 0,
        shape: SupportsIndex | Sequence[SupportsIndex] | None = None,
        order: Literal["C", "F"] = "C",
    ) -> Self:
        given_mode: Any = mode
        short: Any = _NAMES.get(given_mode, given_mode)
        if short not in _MODES:
            raise ValueError(f"mode must be one of {[*_MODES, *_NAMES]!r} (got {given_mode!r})")
        if short == "w+" and shape is None:
            raise ValueError("shape must be given if mode == 'w+'")
        descr = np.dtype(dtype)
        if descr.hasobject:
            raise ValueError(f"cannot map {descr}: references to Python objects mean nothing in a file")
        if descr.itemsize == 0:
            raise ValueError(
                f"cannot map elements of {descr!r}, which have no bytes: say how long they are, as in 'S20'"
            )
        counts = _counts(shape)
        if operator.index(offset) < 0:
            raise OverflowError("memory mapped offset must be positive")

        with _file(filename, short) as fid:
            # Which also writes what the object has in its buffer.
            fid.seek(0, 2)
            source, counts = _source(
                fid, short, descr.itemsize, operator.index(offset), counts, truncate=fid is not filename
            )
            buffer: Any = memoryview(source.map)
            if short == "c" and not source.private:
                # A copy of its own, of the part that is shown.
                stop = offset + math.prod(counts) * descr.itemsize
                part = np.frombuffer(buffer, np.uint8, stop - offset, offset).copy()
                self = np.ndarray.__new__(subtype, counts, descr, buffer=cast(Any, part), order=order)
            else:
                if short == "r":
                    buffer = buffer.toreadonly()
                self = np.ndarray.__new__(subtype, counts, descr, buffer=buffer, offset=offset, order=order)
            self._mmap = source
            self.offset = offset
            self.mode = short
            if isinstance(filename, os.PathLike):
                resolve = getattr(filename, "resolve", None)
                self.filename = resolve() if resolve is not None else os.path.abspath(os.fsdecode(filename))
            elif isinstance(getattr(fid, "name", None), str):
                self.filename = os.path.abspath(fid.name)
            return self

    def __array_finalize__(self, origin: Any, /) -> None:
        source = getattr(origin, "_mmap", None)
        if source is None:
            return
        if shows_memory_of(self, origin):
            self._mmap = source
            self.filename = origin.filename
            self.offset = origin.offset
            self.mode = origin.mode

    def flush(self) -> None:
        """Commits all stores into the file's memory, by whichever memmap of it: all or nothing, durable on return.

        Where there is only the kernel's mapping, what is stored is written back, and durable on return. In the modes
        "r" and "c", and for what is a copy, nothing happens. Raises NotCommitted (memory is as it was: free some space
        and flush again), InDoubt, Latched, Forked.
        """
        if self._mmap is not None and self.mode in ("r+", "w+"):
            self._mmap.flush()

    def __array_wrap__(
        self,
        result: np.ndarray[Any, Any],
        context: tuple[np.ufunc, tuple[Any, ...], int] | None = None,
        return_scalar: bool = False,
        /,
    ) -> Any:
        wrapped = super().__array_wrap__(result, context)
        # A memmap that was given for the output stays one; subclasses are on their own.
        if self is wrapped or type(self) is not memmap:
            return wrapped
        if return_scalar:
            return wrapped[()]
        return wrapped.view(np.ndarray)

    def __getitem__(self, index: Any, /) -> Any:
        found: Any = super().__getitem__(index)
        if type(found) is memmap and found._mmap is None:
            return found.view(np.ndarray)
        return found


def _counts(shape: Any) -> tuple[int, ...] | None:
    if shape is None:
        return None
    if not isinstance(shape, tuple | list):
        try:
            shape = [operator.index(shape)]
        except TypeError:
            pass
    counts = tuple(operator.index(count) for count in shape)
    if any(count < 0 for count in counts):
        raise ValueError("negative dimensions are not allowed")
    return counts


def _file(filename: Any, mode: str) -> AbstractContextManager[IO[bytes]]:
    if hasattr(filename, "read"):
        return nullcontext(cast(IO[bytes], filename))

    def opener(path: str, flags: int) -> int:
        # Not truncated: nobody has asked yet whether it is somebody else's.
        return os.open(path, flags | (os.O_CREAT if mode == "w+" else 0), 0o666)

    return cast(IO[bytes], open(os.fspath(filename), "r+b" if mode in ("r+", "w+") else "rb", opener=opener))


def _source(
    fid: IO[bytes], mode: str, itemsize: int, offset: int, counts: tuple[int, ...] | None, *, truncate: bool
) -> tuple[_Source, tuple[int, ...]]:
    """A map with all bytes that are to be shown, and the shape if none was given."""
    status = os.fstat(fid.fileno())
    key = status.st_dev, status.st_ino
    writable = mode in ("r+", "w+")
    if writable and fcntl.fcntl(fid.fileno(), fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDWR:
        raise PermissionError(
            errno.EACCES, "the file object is not open for reading and writing", getattr(fid, "name", None)
        )
    with _opening:
        source = _writers.get(key)
        new = source is None
        if source is None:
            source = _opened(fid, mode, status)
        try:
            if writable and truncate and mode == "w+":
                _wipe(source, offset + math.prod(counts or ()) * itemsize, new)
            if counts is None:
                counts = (_elements(len(source.map), itemsize, offset),)
            stop = offset + math.prod(counts) * itemsize
            if writable:
                # As NumPy does it: there is a byte even of an empty array.
                source.grow(max(stop, 1))
                if new:
                    if isinstance(source.map, AtomicMapping):
                        source.map._commit_on_drop()
                    _writers[key] = source
                    _flush_at_end_of_process()
            else:
                _check_length(len(source.map), offset, stop)
        except BaseException:
            if new:
                source.map._close_leaving(_ANY_LEASES)
            raise
    return source, counts


def _opened(fid: IO[bytes], mode: str, status: os.stat_result) -> _Source:
    global _warned
    fd = fid.fileno()
    if mode in ("r", "c"):
        if status.st_size == 0 and not _has_journal(fd):
            raise ValueError("cannot mmap an empty file")
        if _has_journal(fd):
            # The file alone may be in the middle of a checkpoint.
            return _Source(load(fd, read_only=True, allow_volatile=True, allow_hard_links=True))
        return _Source(map(fd, private=mode == "c"), private=mode == "c")
    if status.st_nlink > 0:
        try:
            return _Source(view(fd, publish=True, lock_timeout=_LOCK_SECONDS))
        except Unsupported as error:
            if not _warned:
                _warned = True
                warnings.warn(
                    f"{error} (so this is the kernel's mapping, whose flush() is durable but not all or nothing; "
                    "said once)",
                    RuntimeWarning,
                    stacklevel=4,
                )
    return _Source(map(fd, write=True, lock_timeout=_LOCK_SECONDS))


def _has_journal(fd: int) -> bool:
    try:
        path = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return False
    return os.path.lexists(f"{path}.steadfast")


def _wipe(source: _Source, length: int, new: bool) -> None:
    """Zeros, so many as mode "w+" asks for. Under the eyes of others the file does not become shorter."""
    length = max(length, 1)
    if not new:
        source.grow(length)
        with source.map.edit() if isinstance(source.map, AtomicMapping) else memoryview(source.map) as whole:
            np.frombuffer(whole, np.uint8)[...] = 0
    elif isinstance(source.map, AtomicMapping):
        source.map.resize(0)
        source.map.resize(length)
        source.map.commit()
    else:
        source.map.resize(0)
        source.map.resize(length)


def _elements(length: int, itemsize: int, offset: int) -> int:
    if length < offset:
        raise ValueError(f"offset {offset} is behind the end of the file, which has {length} bytes: give a shape")
    if (length - offset) % itemsize:
        raise ValueError("Size of available data is not a multiple of the data-type size.")
    return (length - offset) // itemsize


def _check_length(length: int, offset: int, stop: int) -> None:
    """What mmap says of maps that reach past the end of the file."""
    if offset - offset % mmap.ALLOCATIONGRANULARITY > length:
        raise ValueError("mmap offset is greater than file size")
    if stop > length:
        raise ValueError("mmap length is greater than file size")


# Where it is to be found.
memmap.__module__ = "steadfast"
