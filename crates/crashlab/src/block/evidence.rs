//! The image of a violation, kept as a sparse file.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::file_system::FileSystem;
use super::media::Media;

/// Keeps an image in `target/crashlab`; says where, or why not.
pub(super) fn keep(file_system: FileSystem, media: &Media) -> String {
    let path = PathBuf::from("target/crashlab").join(format!("{file_system}-{}.img", std::process::id()));
    let write = || -> io::Result<()> {
        fs::create_dir_all("target/crashlab")?;
        let file = File::create(&path)?;
        file.set_len(media.len())?;
        media.blocks().try_for_each(|(offset, block)| file.write_all_at(block, offset))
    };
    match write() {
        Ok(()) => format!("{} (mount it with -o loop)", path.display()),
        Err(error) => format!("not kept: {error}"),
    }
}
