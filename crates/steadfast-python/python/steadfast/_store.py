"""The .npy file behind an array: its map, what its header says, and how both change together."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import _npy
from ._errors import Busy, ReadOnly
from ._native import AtomicMapping, Lease, _set_rows

# Growth moves nothing, so whoever else looks at the memory may go on.
ANY_LEASES = sys.maxsize
# The array's own.
OWN_LEASE = 1


class Store:
    """The file behind an array, which all views of it share: its map, and what its header says.

    What the header of the file says and what the array shows are one thing. A call that changes both notes that it is
    under way; if it ends in the middle (of which the interpreter's own interrupts are capable) the next call makes them
    agree before anything is committed.
    """

    def __init__(self, map: AtomicMapping | None, path: str, header: _npy.Header) -> None:
        self.map = map
        self.path = path
        self.header = header
        self.owner: weakref.ref[np.ndarray[Any, Any]] | None = None
        # What the array as it was opened lies over, and its views are counted by.
        self.lease: Lease | None = None
        self.closed = False
        # The header of the file may differ from `header`, and the length of the map from what it says.
        self.unsettled = False
        # By a call that is under way.
        self.is_changing = False
        # The map was rolled back, and nobody has looked at its header since.
        self.unread = False
        self.lock = threading.RLock()
        self.process = os.getpid()

    def open_map(self, operation: str) -> AtomicMapping:
        if self.closed:
            raise ValueError(f"{operation} {self.path}: the array is closed; open it again")
        if self.map is None:
            error = ReadOnly(
                None,
                f"{operation} {self.path}: it was opened with mode='c', which never writes; open it with mode='r+'",
                self.path,
            )
            error.operation = operation
            raise error
        return self.map

    @contextmanager
    def alone(self, operation: str) -> Iterator[AtomicMapping]:
        """One call at a time, on a file whose header and length agree."""
        if os.getpid() != self.process:
            # The lock may be held by a thread that does not exist in this child: the map refuses, without waiting.
            yield self.open_map(operation)
            return
        with self.lock:
            map = self.open_map(operation)
            if self.is_changing:
                # A signal handler, or a finalizer, in the midst of a call of this thread.
                busy = Busy(None, f"{operation} {self.path}: a change of its rows is under way in this thread; do it later", self.path)
                busy.operation = operation
                raise busy
            if self.unread:
                self.adopt(map)
            if self.unsettled:
                self.restore(map, self.header)
            yield map

    def owned(self) -> np.ndarray[Any, Any]:
        owner = self.owner() if self.owner is not None else None
        if owner is None:
            raise ValueError(f"the array over {self.path} is gone; open it again")
        return owner

    def refuse_reshaped(self, operation: str) -> np.ndarray[Any, Any]:
        """The array as it was opened, unless its shape or dtype was set in place: the header knows nothing of that."""
        owner = self.owned()
        if owner.shape != self.header.shape or owner.dtype != self.header.dtype:
            raise ValueError(
                f"{operation} {self.path}: shape or dtype of the array was set in place, to {owner.shape} of "
                f"{owner.dtype}; set it back to {self.header.shape} of {self.header.dtype}, and use reshape() and "
                "view() to look at it otherwise"
            )
        return owner

    def refuse_fixed(self, operation: str) -> None:
        header = self.header
        if not header.shape:
            raise _npy.refused(
                operation, self.path, "an array without axes has no rows", "open one of shape (0,) to append to"
            )
        if not header.grows:
            raise _npy.refused(
                operation,
                self.path,
                "the array is in Fortran order, where a row is spread over the whole file",
                "write it anew in C order",
            )

    def encoded(self, operation: str, header: _npy.Header) -> bytes:
        """The bytes of a header, before anything is changed."""
        encoded = header.encoded()
        if encoded is None:
            raise _npy.refused(
                operation,
                self.path,
                f"the header has {header.start} bytes, which leave no room to say {header.shape[0]} rows",
                "copy the array into a new file, whose header has room: open_array(new, a.dtype, a.shape, 'w+')",
            )
        return encoded

    @contextmanager
    def changing(self) -> Iterator[None]:
        """What is between header, length and shape is nobody's to look at: not a signal handler's either."""
        self.unsettled = self.is_changing = True
        try:
            yield
        finally:
            self.is_changing = False

    def grow(self, operation: str, map: AtomicMapping, rows: int, data: np.ndarray[Any, Any] | None) -> None:
        old, header = self.header, self.header.with_rows(rows)
        encoded = self.encoded(operation, header)
        content = _bytes_of(header, data)
        owner = self.owned()
        with self.changing():
            try:
                # One step: whoever commits the map meanwhile commits all of it, or nothing.
                map._grow(header.stop, encoded, old.stop, content)
                _set_rows(owner, rows)
                self.header = header
            except BaseException:
                self.restore(map, old)
                raise
            self.unsettled = False

    def shrink(self, operation: str, map: AtomicMapping, rows: int) -> None:
        old, header = self.header, self.header.with_rows(rows)
        encoded = self.encoded(operation, header)
        owner = self.owned()
        if map.exports > OWN_LEASE:
            raise BufferError(
                f"{operation} {self.path}: views of it are alive ({map.exports - OWN_LEASE}), and might show the rows that "
                "are cut; delete those arrays and release the memoryviews first"
            )
        with self.changing():
            try:
                _set_rows(owner, rows)
                map._shrink(header.stop, encoded, OWN_LEASE)
                self.header = header
            except BaseException:
                # Once the rows are cut nothing brings them back but a rollback.
                self.restore(map, header if len(map) == header.stop else old)
                raise
            self.unsettled = False

    def restore(self, map: AtomicMapping, header: _npy.Header) -> None:
        """Makes the array, the length of the map and the header in it agree."""
        owner = self.owned()
        encoded = self.encoded("restore", header)
        if header.grows:
            if owner.shape[0] > header.shape[0]:
                _set_rows(owner, header.shape[0])
            map._resize_leaving(header.stop, ANY_LEASES)
            map.write_at(0, encoded)
            _set_rows(owner, header.shape[0])
        self.header = header
        self.unsettled = False

    def adopt(self, map: AtomicMapping) -> None:
        """Takes the number of rows from the header in the map, after a rollback."""
        header = _npy.read("rollback", self.path, len(map), map.read_at)
        if header.grows:
            _set_rows(self.owned(), header.shape[0])
        self.header = header
        self.unread = self.unsettled = False


def _bytes_of(header: _npy.Header, data: np.ndarray[Any, Any] | None) -> Any:
    """Rows as they stand in the file."""
    if data is None or data.size == 0:
        return b""
    return np.ascontiguousarray(data, dtype=header.dtype).reshape(-1).view(np.uint8)
