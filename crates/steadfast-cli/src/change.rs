//! What one edit does to a map.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use steadfast::AtomicMapping;

use crate::edits::Edit;

/// How much of a patch file is read at a time.
const PATCH_CHUNK_BYTES: usize = 1 << 20;

/// Applies one edit that is not a commit. The reason of a refusal names offset and length.
pub(crate) fn change(map: &mut AtomicMapping, edit: Edit) -> Result<(), String> {
    let library = |error: steadfast::Error| error.to_string();
    let len = map.len() as u64;
    match edit {
        Edit::Bytes { at, bytes } => {
            let at = within(at, bytes.len() as u64, len)?;
            map.write_at(at, &bytes).map_err(library)
        }
        Edit::Fill { at, len: count, byte } => {
            let start = within(at, count, len)?;
            // No overflow: the range lies within the file's length, which is a usize.
            map.edit(start..start + count as usize).map_err(library)?.fill(byte);
            Ok(())
        }
        Edit::File { at, path } => {
            let mut patch = Patch::open(&path)?;
            if let Some(bytes) = patch.len {
                within(at, bytes, len)?;
            }
            let mut at = at;
            let mut chunk = vec![0; PATCH_CHUNK_BYTES];
            loop {
                let bytes = patch.read(&mut chunk)?;
                let start = within(at, bytes.len() as u64, len)?;
                if bytes.is_empty() {
                    return Ok(());
                }
                map.write_at(start, bytes).map_err(library)?;
                at += bytes.len() as u64;
            }
        }
        Edit::Resize { len } => {
            let len = usize::try_from(len).map_err(|_| format!("a file of {len} bytes cannot be mapped"))?;
            map.resize(len).map_err(library)
        }
        Edit::Commit => Ok(()),
    }
}

/// The offset, if `bytes` from there on lie within a file of `len` bytes.
pub(crate) fn within(at: u64, bytes: u64, len: u64) -> Result<usize, String> {
    match at.checked_add(bytes) {
        Some(end) if end <= len => {
            usize::try_from(at).map_err(|_| format!("offset {at} is beyond the address space"))
        }
        Some(end) => Err(format!(
            "{bytes} bytes at offset {at} reach past the end of the file ({len} bytes); \
             add {{\"resize\":{end}}} before it"
        )),
        None => Err(format!("{bytes} bytes at offset {at} reach past what 64 bits can count")),
    }
}

/// A file whose content is put somewhere.
pub(crate) struct Patch<'a> {
    file: File,
    path: &'a Path,
    /// Known for regular files only; a pipe or a device tells at its end.
    pub(crate) len: Option<u64>,
}

impl<'a> Patch<'a> {
    pub(crate) fn open(path: &'a Path) -> Result<Patch<'a>, String> {
        let len = Patch::measure(path)?;
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        Ok(Patch { file, path, len })
    }

    /// The length of a regular file. Does not open anything: a pipe would wait for its other end, and a
    /// device may act.
    pub(crate) fn measure(path: &Path) -> Result<Option<u64>, String> {
        let stat = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if stat.is_dir() {
            return Err(format!("the patch file {} is a directory", path.display()));
        }
        Ok(stat.is_file().then_some(stat.len()))
    }

    /// The next bytes; none at the end.
    fn read<'b>(&mut self, chunk: &'b mut [u8]) -> Result<&'b [u8], String> {
        loop {
            match self.file.read(chunk) {
                Ok(bytes) => return Ok(&chunk[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(format!("cannot read the patch file {}: {error}", self.path.display()));
                }
            }
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("cannot read the patch file {}: {error}", path.display())
}
