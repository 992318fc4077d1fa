//! The names by which a data file's companions are found.

use std::path::{Path, PathBuf};

/// The extended attribute that holds the mark of a data file that is open for commits.
pub(crate) const MARK: &str = "user.steadfast";

/// The journal: beside the data file, with `.steadfast` behind the whole name.
pub(crate) fn journal(data: &Path) -> PathBuf {
    with_suffix(data, ".steadfast")
}

/// A journal that is being made. Found at open, it is a left-over.
pub(crate) fn fresh_journal(data: &Path) -> PathBuf {
    with_suffix(data, ".steadfast.fresh")
}

/// A copy that is being made. Found at the next copy, it is a left-over.
pub(crate) fn unfinished_copy(target: &Path) -> PathBuf {
    with_suffix(target, ".steadfast.copy")
}

/// A name that some data file's companion has or may get?
pub(crate) fn is_companion(path: &Path) -> bool {
    let name = path.as_os_str().as_encoded_bytes();
    [&b".steadfast"[..], b".steadfast.fresh", b".steadfast.copy"].iter().any(|suffix| name.ends_with(suffix))
}

/// The folder of a resolved path.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}
