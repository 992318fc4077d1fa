//! The image of a violation, kept as a sparse file.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::file_system::FileSystem;
use super::media::Media;

/// Keeps an image in `crashlab` in the target folder; says where, or why not.
pub(crate) fn keep(file_system: FileSystem, media: &Media) -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let target = program.ancestors().find(|folder| folder.ends_with("target"));
    let folder = target.map_or_else(std::env::temp_dir, PathBuf::from).join("crashlab");
    let path = folder.join(format!("{file_system}-{}.img", std::process::id()));
    let write = || -> io::Result<()> {
        fs::create_dir_all(&folder)?;
        let file = File::create(&path)?;
        file.set_len(media.len())?;
        media.blocks().try_for_each(|(offset, block)| file.write_all_at(block, offset))
    };
    match write() {
        Ok(()) => format!("{} (mount it with -o loop)", path.display()),
        Err(error) => format!("not kept: {error}"),
    }
}
