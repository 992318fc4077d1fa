"""What goes wrong, by what a program can do about it. One class for each kind of the library."""

from __future__ import annotations

__all__ = [
    "AlreadyExists",
    "Busy",
    "Corrupt",
    "Error",
    "ForeignChange",
    "Forked",
    "Identity",
    "InDoubt",
    "InputOutput",
    "InvalidInput",
    "Latched",
    "LimitExceeded",
    "Locked",
    "NoSpace",
    "NotCommitted",
    "NotFound",
    "NotScrubbed",
    "OutOfRange",
    "PermissionDenied",
    "ReadOnly",
    "RecoveryNeeded",
    "Truncated",
    "Unsupported",
    "WriteBack",
]


class Error(OSError):
    """Every error of this module.

    `errno` is the operating system's number where it gave one, else None; `filename` the file, where there is one; `strerror` the whole
    text: what was tried, on what, what happened, and what to do. `operation` is the call that failed, as a verb; `start` and `stop` are
    the bytes that it was about, or None.
    """

    operation: str | None = None
    start: int | None = None
    stop: int | None = None

    def __str__(self) -> str:
        return str(self.strerror) if self.strerror is not None else super().__str__()


class InvalidInput(Error, ValueError):
    """An argument makes no sense."""


class OutOfRange(Error, IndexError):
    """A range reaches past the end of the map or of the file."""


class NotFound(Error, FileNotFoundError):
    """The file, or its folder, does not exist."""


class AlreadyExists(Error, FileExistsError):
    """The file exists although a new one was asked for."""


class PermissionDenied(Error, PermissionError):
    """The operating system refuses access."""


class ReadOnly(Error):
    """A commit of a map that was opened for reading, or a file system that is."""


class NoSpace(Error):
    """No space is left, or a quota or a limit is reached."""


class Locked(Error):
    """Another process, or another map in this one, holds the file. The message names it."""


class Busy(Error):
    """Pages are in use elsewhere, or what was waited for has not happened yet."""


class LimitExceeded(Error):
    """A limit of the process refuses the call; the message names it."""


class Unsupported(Error):
    """The kernel, the file system or the kind of file cannot do this."""


class Truncated(Error):
    """Another program truncated the file."""


class WriteBack(Error):
    """Write-back failed: what is on disk is not what is in memory."""


class RecoveryNeeded(Error):
    """A journal beside the file waits for recovery."""


class Identity(Error):
    """The journal and the data file do not belong together."""


class Corrupt(Error):
    """The journal is damaged."""


class ForeignChange(Error):
    """Another program changed the data file while it was open for commits."""


class NotCommitted(Error):
    """The commit did not happen. Memory is as it was; the same commit may be tried again."""


class InDoubt(Error):
    """The flush of the commit failed: the next open decides whether it is durable."""


class Latched(Error):
    """Refused after an earlier failure, until the file is opened again."""


class NotScrubbed(Error):
    """Everything committed counts; but bytes that were committed over may still be in the journal."""


class Forked(Error):
    """The map belongs to the parent of this forked process."""


class InputOutput(Error):
    """Any other error of the operating system."""
