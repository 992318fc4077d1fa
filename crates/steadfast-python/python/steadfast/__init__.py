"""Memory-mapped files whose promises hold: all-or-nothing commits, arrays that survive any crash.

>>> with steadfast.load("state.bin", create=True, length=1 << 20, allow_volatile=True) as map:
...     map[0:5] = b"hello"
...     id = map.commit()  # all or nothing, durable on return

`load` and `view` open a file as memory that commits, `map` as the kernel's mapping with its promises kept. With NumPy:
`open_array` opens a .npy file as an array that commits, and `memmap` stands where `numpy.memmap` stood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._errors import (
    AlreadyExists,
    Busy,
    Corrupt,
    Error,
    ForeignChange,
    Forked,
    Identity,
    InDoubt,
    InputOutput,
    InvalidInput,
    Latched,
    LimitExceeded,
    Locked,
    NoSpace,
    NotCommitted,
    NotFound,
    NotScrubbed,
    OutOfRange,
    PermissionDenied,
    ReadOnly,
    RecoveryNeeded,
    Truncated,
    Unsupported,
    WriteBack,
)
from ._native import (
    AtomicMapping,
    CommitTicket,
    Lease,
    Mapping,
    Recovery,
    Residency,
    Status,
    SyncTicket,
    __version__,
    load,
    map,
    recover,
    view,
)

if TYPE_CHECKING:
    from ._arrays import array, open_array
    from ._memmap import memmap

__all__ = [
    "AlreadyExists",
    "AtomicMapping",
    "Busy",
    "CommitTicket",
    "Corrupt",
    "Error",
    "ForeignChange",
    "Forked",
    "Identity",
    "InDoubt",
    "InputOutput",
    "InvalidInput",
    "Latched",
    "Lease",
    "LimitExceeded",
    "Locked",
    "Mapping",
    "NoSpace",
    "NotCommitted",
    "NotFound",
    "NotScrubbed",
    "OutOfRange",
    "PermissionDenied",
    "ReadOnly",
    "Recovery",
    "RecoveryNeeded",
    "Residency",
    "Status",
    "SyncTicket",
    "Truncated",
    "Unsupported",
    "WriteBack",
    "__version__",
    "array",
    "load",
    "map",
    "memmap",
    "open_array",
    "recover",
    "view",
]

# Imported when they are first asked for: without NumPy all the rest works, and with it nobody waits for it who needs no
# arrays.
_OF_NUMPY = {"array": "_arrays", "open_array": "_arrays", "memmap": "_memmap"}


def __getattr__(name: str) -> object:
    module = _OF_NUMPY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        found: object = getattr(import_module(f".{module}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        raise ImportError(f"steadfast.{name} needs NumPy 2.0 or newer: pip install numpy", name="numpy") from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_OF_NUMPY})
