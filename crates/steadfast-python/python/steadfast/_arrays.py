"""Arrays in .npy files that commit: `open_array` and `array`."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, TypedDict, cast

import numpy as np

from . import _npy
from ._errors import NotCommitted, ReadOnly
from ._native import AtomicMapping, CommitTicket, Lease, load
from ._store import ANY_LEASES, OWN_LEASE, Store
from ._views import shows_memory_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike
    from typing_extensions import Self, TypeVar, Unpack

    _File = str | bytes | os.PathLike[str] | os.PathLike[bytes] | int
    _Mode = Literal["r", "r+", "w+", "c"]
    _ShapeT = TypeVar("_ShapeT", bound=tuple[int, ...], default=tuple[Any, ...], covariant=True)
    _DTypeT = TypeVar("_DTypeT", bound=np.dtype[Any], default=np.dtype[Any], covariant=True)
else:
    from typing import TypeVar

    _ShapeT = TypeVar("_ShapeT")
    _DTypeT = TypeVar("_DTypeT")

__all__ = ["array", "open_array"]


class LoadOptions(TypedDict, total=False):
    """What `open_array` passes on to `load`."""

    publish: bool
    reserve: int | None
    tracker: Literal["automatic", "write-protect", "private-copies", "declared"] | None
    scrub: bool
    journal_bytes: int | None
    lock_timeout: float
    allow_hard_links: bool
    allow_other_device: bool
    allow_volatile: bool
    keep_from_dumps: bool
    huge_pages: bool


class array(np.ndarray[_ShapeT, _DTypeT]):  # noqa: N801 (a name as NumPy has them)
    """A NumPy array whose memory is a .npy file's, and commits. `open_array` opens one.

    It is computed with like any other: stores into it, in-place operators and `out=` change memory, which is private
    until `commit()`. Slices and other views of it share its memory and its file, so each of them has the methods below,
    and they mean the whole file. What does not share its memory (results, copies, what is unpickled) is a plain
    `numpy.ndarray`, or has no file: its methods then raise ValueError.

    One call of the methods runs at a time; threads that store into the array while another commits get into that
    commit, or the next. After `close()` the methods raise ValueError, and the array can be looked at as it was, but not
    be stored to.
    """

    _store: Store | None = None
    # A view's own, by which it is counted.
    _lease: Lease | None = None

    def __new__(cls, *given: object, **named: object) -> Self:
        raise TypeError(
            "steadfast.array is what steadfast.open_array(file, dtype, shape) returns; "
            "numpy.array makes arrays of lists"
        )

    def __array_finalize__(self, origin: Any, /) -> None:
        store = getattr(origin, "_store", None)
        if store is None:
            return
        if shows_memory_of(self, origin):
            self._store = store
            if store.lease is not None:
                self._lease = store.lease._again()

    def __array_wrap__(
        self,
        result: np.ndarray[Any, Any],
        context: tuple[np.ufunc, tuple[Any, ...], int] | None = None,
        return_scalar: bool = False,
        /,
    ) -> Any:
        if result is self:
            return result
        if return_scalar:
            return result[()]
        return result.view(np.ndarray)

    def __reduce__(self) -> Any:
        return self.view(np.ndarray).__reduce__()

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> Any:
        return self.view(np.ndarray).__reduce_ex__(protocol)

    def __copy__(self) -> np.ndarray[_ShapeT, _DTypeT]:  # type: ignore[override]
        return self.view(np.ndarray).__copy__()

    def __deepcopy__(  # type: ignore[override]
        self, memo: dict[int, Any] | None, /
    ) -> np.ndarray[_ShapeT, _DTypeT]:
        return self.view(np.ndarray).__deepcopy__(memo)

    def copy(  # type: ignore[override]
        self, order: Literal["K", "A", "C", "F"] | None = "C"
    ) -> np.ndarray[_ShapeT, _DTypeT]:
        """A plain `numpy.ndarray` of the same content: see `numpy.ndarray.copy`."""
        return self.view(np.ndarray).copy(order)

    def _file(self, operation: str) -> Store:
        store = self._store
        if store is None:
            raise ValueError(
                f"{operation}: this array is a copy, which no file is behind; use the one that open_array returned"
            )
        return store

    @property
    def map(self) -> AtomicMapping:
        """The map of the whole file, header and all: for `status()`, `checkpoint()`, `copy_to(path)` and the like.

        The array is one of its views: it refuses to be resized, closed, or rolled back to another length, which the
        methods of the array do. Raises ValueError if no file is behind the array or it is closed, ReadOnly in mode "c".
        """
        return self._file("map").open_map("map")

    def commit(self) -> int:
        """Commits all stores since the last commit, and a new number of rows: all or nothing, durable on return.

        Returns the number of the commit. Raises NotCommitted (memory is as it was: free some space and commit again),
        InDoubt, Latched, ReadOnly in the modes "r" and "c", ValueError if closed.

        >>> a = steadfast.open_array("prices.npy", "f8", (3,), allow_volatile=True)
        >>> a[:] = 1.5
        >>> id = a.commit()
        """
        with self._file("commit").alone("commit") as map:
            return map.commit()

    def commit_async(self) -> CommitTicket:
        """Captures what is to be committed and returns at once.

        `wait()` for the ticket, or await it: then it is durable. Raises as `commit` does, now or from the ticket.
        """
        with self._file("commit").alone("commit") as map:
            return map.commit_async()

    def rollback(self) -> None:
        """Throws away all stores since the last commit, and brings the array back to the shape it had then.

        Raises BufferError if the number of rows changes by it while views of the array, or of `a.map`, are alive:
        nothing has happened then.
        """
        self._roll_back(OWN_LEASE)

    def _roll_back(self, leases: int) -> None:
        store = self._file("rollback")
        with store.alone("rollback") as map:
            if os.getpid() == store.process:
                store.refuse_reshaped("rollback")
            store.unread = True
            try:
                map._rollback_leaving(leases)
            finally:
                if os.getpid() == store.process:
                    store.adopt(map)

    @contextmanager
    def transaction(self) -> Iterator[Self]:
        """Commits at the end of a `with` block, or rolls back, number of rows and all, if it ends with an exception.

        The rollback takes all that was not committed, also what was stored before the block. It is done too if the
        commit raises NotCommitted. Views that the block still holds do not keep it from being done: of rows that it takes
        away they show zeros, or what was there. Raises what `commit` and `rollback` raise.

        >>> a = steadfast.open_array("pairs.npy", "i8", (0, 2), allow_volatile=True)
        >>> with a.transaction():
        ...     a.append([1, 2])
        ...     a[0, 1] = 3
        >>> a.map.status().last == a.commit()
        True
        """
        self._file("transaction").open_map("transaction")
        try:
            yield self
        except BaseException:
            self._roll_back(ANY_LEASES)
            raise
        try:
            self.commit()
        except (NotCommitted, ReadOnly):
            self._roll_back(ANY_LEASES)
            raise

    def append(self, rows: ArrayLike) -> None:
        """Appends rows in place: `a.shape[0]` grows. The next commit makes them durable, header and all.

        `rows` has the shape `(n, *a.shape[1:])`, or that of a single row, `a.shape[1:]`. Its dtype must be castable to
        the array's in the same kind, and its values must fit: integers, texts and times are not cut, though floats may
        be rounded. It may be `a` or a view of it.

        Nothing moves: views of `a` stay what they are, and do not see the new rows.

        Raises TypeError for a dtype, InvalidInput for a shape or a value that does not fit, for arrays without axes or
        in Fortran order, and for a header that has no room for a larger number (files that open_array or NumPy made
        have); NoSpace; ReadOnly; ValueError if closed. If it raises, the array is as it was.

        >>> a = steadfast.open_array("log.npy", "f8", (-1, 2), allow_volatile=True)
        >>> a.append([[1, 2], [3, 4]])
        >>> a.append([5, 6])
        >>> a.shape
        (3, 2)
        >>> id = a.commit()
        """
        store = self._file("append")
        store.open_map("append")
        store.refuse_fixed("append")
        with store.alone("append") as map:
            owner = store.refuse_reshaped("append")
            data = _rows_of(store, rows)
            if data.shape[0] == 0:
                return
            new = store.header.shape[0] + data.shape[0]
            if _reaches_behind(owner, data):
                data = data.copy()
            store.grow("append", map, new, data)

    def resize_rows(self, rows: SupportsIndex) -> None:
        """Grows the array in place by rows of zeros, or cuts rows off its end.

        The next commit makes it durable, or a rollback undoes it.

        Raises BufferError if rows would be cut while views of the array, or of `a.map`, are alive. (A view that is a
        plain `numpy.ndarray`, as `numpy.asarray(a)`, cannot be counted: where rows are gone it shows what was there, or
        zeros, and what is stored there reaches no file.) Other errors are those of `append`.
        """
        store = self._file("resize_rows")
        store.open_map("resize_rows")
        store.refuse_fixed("resize_rows")
        try:
            count = int(rows.__index__())
        except AttributeError:
            raise TypeError(f"the number of rows is an integer, not {type(rows).__name__}") from None
        if not 0 <= count <= sys.maxsize:
            raise _npy.refused("resize_rows", store.path, f"there is no array of {count} rows", "give 0 or more")
        with store.alone("resize_rows") as map:
            store.refuse_reshaped("resize_rows")
            if count > store.header.shape[0]:
                store.grow("resize_rows", map, count, None)
            elif count < store.header.shape[0]:
                store.shrink("resize_rows", map, count)

    def close(self) -> None:
        """Closes the file and leaves a plain .npy. What was not committed is not in it. A second call does nothing.

        The array can be looked at until it is gone, which frees the memory, and can not be stored to any more. Raises
        BufferError, and stays open, while views of the array, or of `a.map`, are alive: `del` them first.
        """
        store = self._file("close")
        if os.getpid() != store.process:
            if store.map is not None:
                store.map.close()
            return
        with store.lock:
            if store.closed:
                return
            owner = store.owned()
            try:
                if store.map is not None:
                    store.map._close_leaving(OWN_LEASE)
            finally:
                if store.map is None or store.map.closed:
                    store.closed = True
                    owner.flags.writeable = False

    def __enter__(self) -> Self:
        store = self._file("open")
        if store.closed:
            store.open_map("open")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        try:
            self.close()
        except BufferError:
            # What failed in the block is what is to be told. Its frames may hold views; with them the file is closed.
            if value is None:
                raise


def _rows_of(store: Store, rows: ArrayLike) -> np.ndarray[Any, Any]:
    """What is to be appended, in an array of its own shape and dtype, or of one that is cast to it without loss."""
    header = store.header
    dtype = header.dtype
    is_array = isinstance(rows, np.ndarray | np.generic)
    # Tuples are rows of a structured array, and only that dtype tells so.
    given = np.asarray(rows, dtype=dtype if dtype.names is not None and not is_array else None)
    row_shape = header.shape[1:]
    if given.shape == row_shape:
        given = given[np.newaxis]
    elif given.shape[1:] != row_shape or given.ndim == 0:
        raise _npy.refused(
            "append",
            store.path,
            f"rows of shape {given.shape} do not fit an array of {header.shape}",
            f"give one row of {row_shape}, or n of them as {('n', *row_shape)}".replace("'n'", "n"),
        )
    if given.size == 0:
        return given.astype(dtype, copy=False) if given.dtype == dtype else np.empty(given.shape, dtype)
    return _cast(store, given, dtype, is_array)


def _cast(store: Store, given: np.ndarray[Any, Any], dtype: np.dtype[Any], is_array: bool) -> np.ndarray[Any, Any]:
    if np.can_cast(given.dtype, dtype, "safe"):
        return given
    integers = given.dtype.kind in "iu" and dtype.kind in "iu"
    # Python's integers are of no dtype: what NumPy made of them may be wider than it need be.
    if not np.can_cast(given.dtype, dtype, "same_kind") and not (integers and not is_array):
        raise TypeError(
            f"append {store.path}: {given.dtype} cannot be cast to {dtype} as it is; "
            "convert it with astype() if that is what you want"
        )
    if dtype.names is not None:
        raise TypeError(
            f"append {store.path}: fields of {given.dtype} do not fit those of {dtype} without loss; "
            "give them the same dtype"
        )
    with np.errstate(all="ignore"):
        cast = given.astype(dtype)
        back = cast.astype(given.dtype)
    if dtype.kind in "iuSUV":
        kept = bool((back == given).all())
    elif dtype.kind in "mM":
        kept = bool((back.view(np.int64) == np.ascontiguousarray(given).view(np.int64)).all())
    else:
        # A float may be rounded, but not become infinite.
        kept = bool((np.isfinite(cast) | ~np.isfinite(given)).all())
    if not kept:
        raise _npy.refused(
            "append",
            store.path,
            f"not all values of {given.dtype} fit into {dtype}",
            "convert them with astype() if they may be cut",
        )
    return cast


def _reaches_behind(owner: np.ndarray[Any, Any], data: np.ndarray[Any, Any]) -> bool:
    """Does `data` lie where new rows come to lie? A view of rows that were cut does."""
    end = owner.__array_interface__["data"][0] + owner.nbytes
    low, high = np.lib.array_utils.byte_bounds(data)
    return bool(
        high > end and low < end + data.shape[0] * owner.itemsize * max(1, int(np.prod(owner.shape[1:], dtype=object)))
    )


def open_array(
    file: _File,
    dtype: DTypeLike | None = None,
    shape: SupportsIndex | Sequence[SupportsIndex] | None = None,
    mode: _Mode = "r+",
    *,
    order: Literal["C", "F"] = "C",
    **options: Unpack[LoadOptions],
) -> array[Any, Any]:
    """Opens a .npy file as an array whose changes are committed all or nothing.

    `file` is a path, or a descriptor. `mode` is

    - "r+": for commits. A file that does not exist, or is empty, is created if `dtype` and `shape` are given: zeros.
      One that exists must have that dtype and shape, if they are given.
    - "w+": for commits, anew: one commit has replaced what the file held by zeros when the call returns. Needs `dtype`
      and `shape`.
    - "r": the last commit, as it is now, not writable. Takes no lock: a writer may go on.
    - "c": a private copy of the last commit. Writable, and never written.

    `shape` counts elements, not bytes; -1 as its first number stands for any number of rows, and for none in a new
    file. `order` is that of a new file: "C" or "F". The other options are those of
    `load`; `huge_pages` is True unless it is given.

    The file is a valid .npy at every commit: `numpy.load` reads it once it is closed. The array takes as much memory as
    the file has bytes.

    Raises NotFound; InvalidInput for what is no .npy file, for one that is cut short or has more bytes behind its data,
    for a dtype or shape that it has not, and for dtypes that hold Python objects; Locked, RecoveryNeeded and others as
    `load`.

    >>> with steadfast.open_array("state.npy", dtype="f8", shape=(1000, 3), allow_volatile=True) as a:
    ...     a[5] = 1.0
    ...     id = a.commit()
    >>> float(numpy.load("state.npy")[5, 0])
    1.0
    """
    name = _name(file)
    if mode not in ("r", "r+", "w+", "c"):
        raise _npy.refused("open", name, f"there is no mode {mode!r}", "give 'r', 'r+', 'w+' or 'c'")
    if order not in ("C", "F"):
        raise _npy.refused("open", name, f"there is no order {order!r}", "give 'C' or 'F'")
    for option in options:
        if option not in LoadOptions.__annotations__:
            raise TypeError(f"open_array() got an unexpected keyword argument {option!r}")
    wanted_dtype, wanted_shape = _wanted(name, dtype, shape)
    new = None
    if wanted_dtype is not None:
        _npy.described("open", name, wanted_dtype)
    if wanted_dtype is not None and wanted_shape is not None and mode in ("r+", "w+"):
        new = _npy.new("open", name, wanted_dtype, tuple(max(count, 0) for count in wanted_shape), order)
        if new.stop > sys.maxsize:
            raise _npy.refused("open", name, f"an array of {wanted_shape} has {new.stop} bytes", "give a smaller shape")
    elif mode == "w+":
        raise _npy.refused("open", name, "mode 'w+' makes a new array, and has to know of what", "give dtype and shape")

    # An array is read as a whole more often than a map of bytes.
    options.setdefault("huge_pages", True)
    map = load(file, create=new is not None, read_only=mode in ("r", "c"), **options)
    try:
        if new is not None and (mode == "w+" or len(map) == 0):
            _create(map, new)
        header = _npy.read("open", map.path, len(map), map.read_at)
        _npy.described("open", map.path, header.dtype)
        _refuse_other(map.path, header, wanted_dtype, wanted_shape)
        return _opened(map, header, private=mode == "c")
    except BaseException:
        map._close_leaving(ANY_LEASES)
        raise


def _name(file: _File) -> str:
    return f"descriptor {file}" if isinstance(file, int) else os.fsdecode(file)


def _wanted(
    name: str, dtype: DTypeLike | None, shape: SupportsIndex | Sequence[SupportsIndex] | None
) -> tuple[np.dtype[Any] | None, tuple[int, ...] | None]:
    """Both as NumPy would have them: the shape of a dtype that has one is part of the array's."""
    found = None if dtype is None else np.dtype(dtype)
    counts: tuple[int, ...] | None = None
    if shape is not None:
        try:
            counts = (int(cast(SupportsIndex, shape).__index__()),)
        except (AttributeError, TypeError):
            counts = tuple(int(count.__index__()) for count in cast(Sequence[SupportsIndex], shape))
        if any(count < 0 for count in counts[1:]) or (counts and counts[0] < -1):
            raise _npy.refused("open", name, f"{counts} is not a shape", "give numbers of 0 or more (-1 only in front)")
    if found is not None and found.shape:
        counts = None if counts is None else (*counts, *found.shape)
        found = found.base
    return found, counts


def _create(map: AtomicMapping, header: _npy.Header) -> None:
    encoded = header.encoded()
    assert encoded is not None, "a new header has room for itself"
    map.resize(0)
    map.resize(header.stop)
    map.write_at(0, encoded)
    map.commit()
    # Programs that know nothing of the journal find a .npy file from now on.
    map.checkpoint()


def _refuse_other(path: str, header: _npy.Header, dtype: np.dtype[Any] | None, shape: tuple[int, ...] | None) -> None:
    if dtype is not None and dtype != header.dtype:
        raise _npy.refused(
            "open", path, f"the file holds {header.dtype}, not {dtype}", "leave dtype out, or give what it holds"
        )
    if shape is None:
        return
    any_rows = shape[:1] == (-1,) and header.shape[1:] == shape[1:] and len(header.shape) == len(shape)
    if shape != header.shape and not any_rows:
        raise _npy.refused(
            "open",
            path,
            f"the file holds an array of {header.shape}, not {shape}",
            "leave shape out, or give -1 in front for any number of rows",
        )


def _opened(map: AtomicMapping, header: _npy.Header, *, private: bool) -> array[Any, Any]:
    store = Store(None if private else map, map.path, header)
    buffer: Any = memoryview(map)
    if private:
        with buffer:
            buffer = np.frombuffer(buffer, np.uint8).copy()
        map.close()
    opened: array[Any, Any] = np.ndarray.__new__(
        array, header.shape, header.dtype, buffer=buffer, offset=header.start, order=header.order
    )
    opened._store = store
    store.owner = weakref.ref(opened)
    store.lease = None if private else cast(Lease, opened.base)
    return opened


# Where they are to be found.
array.__module__ = open_array.__module__ = "steadfast"
