//! One error for the whole library: what happened, to what, why, and what to do about it.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A result whose error is [`Error`].
///
/// See [`Error`] for an example.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a program can act on it.
///
/// For a commit three kinds are told apart, because the caller must do three different things:
/// [`NotCommitted`](ErrorKind::NotCommitted) (nothing changed, try again),
/// [`InDoubt`](ErrorKind::InDoubt) (the next open decides) and [`Latched`](ErrorKind::Latched) (refused until
/// reopened).
///
/// See [`Error`] for an example.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// An argument makes no sense: an inverted range, an impossible length, options that contradict each other.
    InvalidInput,
    /// A range reaches past the end of the mapping or of the file.
    OutOfRange,
    /// The file, or the folder it should lie in, does not exist.
    NotFound,
    /// The file exists although a new one was asked for.
    AlreadyExists,
    /// The operating system refuses access.
    PermissionDenied,
    /// A store into something that is read-only: the file system, the file, the mapping or these pages; a commit of a map that was
    /// opened for reading only.
    ReadOnly,
    /// No space is left on the device, or a quota or a file size limit is reached.
    NoSpace,
    /// Another process, or another handle in this one, holds the file.
    Locked,
    /// Pages are in use elsewhere and could not be dropped; or a file changes faster than it can be read.
    Busy,
    /// A resource limit of the process refuses the call; the message names the limit and its value.
    LimitExceeded,
    /// The kernel, the file system or the kind of file cannot do this.
    Unsupported,
    /// The file became shorter than what is mapped: another program truncated it.
    Truncated,
    /// Write-back of these pages failed before: the bytes on disk are not the bytes in memory.
    WriteBack,
    /// A journal beside the file waits for recovery.
    RecoveryNeeded,
    /// The journal and the data file do not belong together.
    Identity,
    /// The journal is damaged where it must not be.
    Corrupt,
    /// Another program changed the data file while it was open for commits.
    ForeignChange,
    /// The commit did not happen; nothing changed, and the same commit may be tried again.
    NotCommitted,
    /// The flush of the commit failed: whether it is durable is decided by the next open.
    InDoubt,
    /// An earlier failure left durability unknown: commits are refused until the file is opened again.
    Latched,
    /// Everything committed counts, this call's commit included; but bytes that were committed over may still be in the journal
    /// ([`AtomicOptions::scrub`](crate::AtomicOptions::scrub)). `checkpoint` tries again.
    NotScrubbed,
    /// The handle belongs to the parent of this forked process.
    Forked,
    /// Any other error of the operating system.
    Io,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::InvalidInput => "invalid input",
            ErrorKind::OutOfRange => "out of range",
            ErrorKind::NotFound => "not found",
            ErrorKind::AlreadyExists => "already exists",
            ErrorKind::PermissionDenied => "permission denied",
            ErrorKind::ReadOnly => "read-only",
            ErrorKind::NoSpace => "no space",
            ErrorKind::Locked => "locked",
            ErrorKind::Busy => "busy",
            ErrorKind::LimitExceeded => "limit exceeded",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Truncated => "truncated",
            ErrorKind::WriteBack => "write-back failed",
            ErrorKind::RecoveryNeeded => "recovery needed",
            ErrorKind::Identity => "journal and file do not belong together",
            ErrorKind::Corrupt => "corrupt journal",
            ErrorKind::ForeignChange => "changed by another program",
            ErrorKind::NotCommitted => "not committed",
            ErrorKind::InDoubt => "in doubt",
            ErrorKind::Latched => "latched",
            ErrorKind::NotScrubbed => "not scrubbed",
            ErrorKind::Forked => "belongs to the parent process",
            ErrorKind::Io => "input/output error",
        })
    }
}

/// The error of every fallible call.
///
/// Its text says what was tried, on which file and range, what happened and what to do. The operating system's
/// own error is kept: [`raw_os_error`](Error::raw_os_error) and [`source`](std::error::Error::source).
///
/// ```
/// use steadfast::{ErrorKind, Mapping};
///
/// let error = Mapping::options().open("/nonexistent/data.bin").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(error.raw_os_error(), Some(2));
/// assert!(error.to_string().starts_with("open /nonexistent/data.bin: "));
/// ```
pub struct Error {
    // Boxed: a `Result<(), Error>` stays one word, and errors are rare.
    detail: Box<Detail>,
}

struct Detail {
    kind: ErrorKind,
    operation: &'static str,
    path: Option<PathBuf>,
    range: Option<Range<u64>>,
    reason: Cow<'static, str>,
    advice: Option<Cow<'static, str>>,
    source: Option<io::Error>,
}

impl Error {
    /// An error of `kind` in `operation` (a verb, such as `"commit"`), with its reason in a few words.
    ///
    /// Public so that a store outside this crate can report its own.
    ///
    /// ```
    /// use steadfast::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::Busy, "invalidate", "another process maps these pages")
    ///     .path("data.bin")
    ///     .range(0..4096)
    ///     .advice("unmap them there first");
    /// assert_eq!(
    ///     error.to_string(),
    ///     "invalidate data.bin, bytes 0..4096: another process maps these pages; unmap them there first"
    /// );
    /// ```
    pub fn new(kind: ErrorKind, operation: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        let detail = Detail {
            kind,
            operation,
            path: None,
            range: None,
            reason: reason.into(),
            advice: None,
            source: None,
        };
        Error { detail: Box::new(detail) }
    }

    /// An error of the operating system, its kind read from the errno.
    ///
    /// ```
    /// use steadfast::{Error, ErrorKind};
    ///
    /// let error = Error::from_io("sync", std::io::Error::from_raw_os_error(28));
    /// assert_eq!(error.kind(), ErrorKind::NoSpace);
    /// ```
    pub fn from_io(operation: &'static str, source: io::Error) -> Self {
        let kind = kind_of(&source);
        let mut error = Error::new(kind, operation, reason_of(kind));
        error.detail.advice = advice_of(kind).map(Cow::Borrowed);
        error.detail.source = Some(source);
        error
    }

    /// Names the file.
    ///
    /// See [`Error`] for an example.
    #[must_use]
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.detail.path = Some(path.as_ref().to_path_buf());
        self
    }

    /// Names the bytes: offsets in the mapping or, for a store, in the file.
    ///
    /// See [`Error`] for an example.
    #[must_use]
    pub fn range(mut self, range: Range<u64>) -> Self {
        self.detail.range = Some(range);
        self
    }

    /// Says what to do about it.
    ///
    /// See [`Error`] for an example.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.detail.advice = Some(advice.into());
        self
    }

    /// Keeps the operating system's error as the source.
    ///
    /// See [`Error`] for an example.
    #[must_use]
    pub fn source_io(mut self, source: io::Error) -> Self {
        self.detail.source = Some(source);
        self
    }

    /// The same error in terms of a caller: `kind` and `reason` become the caller's, the cause is kept in the text.
    #[must_use]
    pub(crate) fn become_kind(mut self, kind: ErrorKind, operation: &'static str, reason: &str) -> Self {
        let inner = match (&self.detail.source, self.detail.operation) {
            (None, _) => self.detail.reason.to_string(),
            (Some(_), inner) => format!("{inner}: {}", self.detail.reason),
        };
        self.detail.kind = kind;
        self.detail.operation = operation;
        self.detail.reason = Cow::Owned(format!("{reason}: {inner}"));
        self
    }

    /// The same error once more, for each of several that wait for one event.
    pub(crate) fn duplicate(&self) -> Self {
        let detail = &*self.detail;
        let source = detail.source.as_ref().map(|source| match source.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::new(source.kind(), source.to_string()),
        });
        Error {
            detail: Box::new(Detail {
                kind: detail.kind,
                operation: detail.operation,
                path: detail.path.clone(),
                range: detail.range.clone(),
                reason: detail.reason.clone(),
                advice: detail.advice.clone(),
                source,
            }),
        }
    }

    /// What a program acts on.
    ///
    /// See [`Error`] for an example.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.detail.kind
    }

    /// The call that failed, as a verb.
    ///
    /// See [`Error`] for an example.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.detail.operation
    }

    /// The file, where there is one. See [`Error`] for an example.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.detail.path.as_deref()
    }

    /// The bytes that the call was about, where it was about some.
    ///
    /// See [`Error`] for an example.
    #[must_use]
    pub fn bytes(&self) -> Option<Range<u64>> {
        self.detail.range.clone()
    }

    /// The errno, where the operating system gave one.
    ///
    /// See [`Error`] for an example.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.detail.source.as_ref().and_then(io::Error::raw_os_error)
    }
}

/// The kind that an errno means to a program that keeps data in files.
fn kind_of(error: &io::Error) -> ErrorKind {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => ErrorKind::NotFound,
        Some(libc::EEXIST) => ErrorKind::AlreadyExists,
        Some(libc::EACCES | libc::EPERM) => ErrorKind::PermissionDenied,
        Some(libc::EROFS) => ErrorKind::ReadOnly,
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => ErrorKind::NoSpace,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => ErrorKind::LimitExceeded,
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENODEV | libc::EISDIR | libc::ENOTTY) => {
            ErrorKind::Unsupported
        }
        Some(libc::EINVAL | libc::EOVERFLOW | libc::ENAMETOOLONG | libc::ELOOP) => ErrorKind::InvalidInput,
        Some(libc::EBUSY) => ErrorKind::Busy,
        Some(_) => ErrorKind::Io,
        None => match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            io::ErrorKind::InvalidInput => ErrorKind::InvalidInput,
            io::ErrorKind::Unsupported => ErrorKind::Unsupported,
            io::ErrorKind::StorageFull => ErrorKind::NoSpace,
            _ => ErrorKind::Io,
        },
    }
}

fn reason_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "it does not exist",
        ErrorKind::AlreadyExists => "it exists already",
        ErrorKind::PermissionDenied => "access is refused",
        ErrorKind::ReadOnly => "the file system is read-only",
        ErrorKind::NoSpace => "there is no space for it",
        ErrorKind::LimitExceeded => "a limit of the process or the system is reached",
        ErrorKind::Unsupported => "the file or its file system cannot do this",
        ErrorKind::InvalidInput => "the operating system finds the request invalid",
        ErrorKind::Busy => "it is in use",
        _ => "the operating system reports an error",
    }
}

fn advice_of(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::NotFound => Some("check the path, or ask for it to be created"),
        ErrorKind::PermissionDenied => Some("check the owner and the permissions of the file and its folder"),
        ErrorKind::NoSpace => Some("free space on the device, or raise the quota or limit, and try again"),
        ErrorKind::ReadOnly => Some("remount it for writing, or work on a copy elsewhere"),
        ErrorKind::LimitExceeded => Some("close files or free memory, or raise the limit"),
        ErrorKind::Unsupported => Some("use a regular file on a local file system"),
        ErrorKind::InvalidInput => Some("check the path and the values that were given"),
        _ => None,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = &*self.detail;
        f.write_str(detail.operation)?;
        if let Some(path) = &detail.path {
            write!(f, " {}", path.display())?;
        }
        if let Some(range) = &detail.range {
            write!(f, ", bytes {}..{}", range.start, range.end)?;
        }
        write!(f, ": {}", detail.reason)?;
        if let Some(source) = &detail.source {
            write!(f, " ({source})")?;
        }
        if let Some(advice) = &detail.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.detail.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.detail.source.as_ref().map(|source| source as _)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::OutOfRange => io::ErrorKind::InvalidInput,
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::AlreadyExists => io::ErrorKind::AlreadyExists,
            ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
            ErrorKind::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
            ErrorKind::NoSpace => io::ErrorKind::StorageFull,
            ErrorKind::Locked | ErrorKind::Busy => io::ErrorKind::ResourceBusy,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            ErrorKind::Corrupt => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
