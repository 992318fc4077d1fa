//! Where the library is, and where the program.

use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::{NOT_FOUND, NOT_RUNNABLE};
use crate::failure::Failure;

const LIBRARY: &str = "libsteadfast_preload.so";

/// The library: the one that is named, or the one beside this command or in the folder `lib` beside its folder.
pub(super) fn library(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let found = match named {
        Some(path) => std::fs::canonicalize(path)
            .map_err(|error| format!("run --preload {}: {error}; name {LIBRARY} itself", path.display())),
        None => beside_this_command(),
    }
    .map_err(Failure::Failed)?;
    if found.is_dir() {
        let inside = found.join(LIBRARY);
        return Err(Failure::Failed(format!(
            "run --preload {}: it is a folder; name {}",
            found.display(),
            inside.display()
        )));
    }
    // ld.so(8): the list that LD_PRELOAD is has colons or spaces between its items.
    if found.as_os_str().as_bytes().iter().any(|byte| b" :\t".contains(byte)) {
        return Err(Failure::Failed(format!(
            "run: {} has a space or a colon in its path, which LD_PRELOAD cannot have; copy the library elsewhere and name it \
             with --preload",
            found.display()
        )));
    }
    Ok(found)
}

fn beside_this_command() -> Result<PathBuf, String> {
    let command = env::current_exe()
        .and_then(std::fs::canonicalize)
        .map_err(|error| format!("run: cannot find out where this command is ({error}); use --preload"))?;
    let folder = command.parent().unwrap_or(Path::new("/"));
    let places = [folder.join(LIBRARY), folder.join("../lib").join(LIBRARY)];
    let found = places.iter().find_map(|place| std::fs::canonicalize(place).ok());
    found.ok_or_else(|| {
        let [beside, lib] = &places;
        format!(
            "run: {LIBRARY} is missing: it is neither {} nor {}; build it (cargo build -p steadfast-preload), or name it with \
             --preload",
            beside.display(),
            lib.display()
        )
    })
}

/// The program that execvp(3) would start.
pub(super) fn program(name: &OsStr) -> Result<PathBuf, Failure> {
    let shown = name.display();
    let not_found = |reason: &str| Failure::Code(NOT_FOUND, format!("run {shown}: {reason}"));
    if name.is_empty() {
        return Err(not_found("name a program"));
    }
    let folders = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let candidates: Vec<PathBuf> = match name.as_bytes().contains(&b'/') {
        true => vec![PathBuf::from(name)],
        false => env::split_paths(&folders).map(|folder| folder.join(name)).collect(),
    };
    let is_file = |path: &&PathBuf| path.is_file();
    let runnable =
        candidates.iter().filter(is_file).find(|path| access(path.as_path(), Access::EXEC_OK).is_ok());
    match (runnable, candidates.iter().find(is_file)) {
        // In the working folder, where PATH has an empty item: exec looks in no other.
        (Some(found), _) => Ok(std::path::absolute(found).unwrap_or_else(|_| found.clone())),
        (None, Some(found)) => Err(Failure::Code(
            NOT_RUNNABLE,
            format!("run {}: it may not be executed; check its permissions", found.display()),
        )),
        (None, None) if name.as_bytes().contains(&b'/') => Err(not_found("no such program; check the path")),
        (None, None) => Err(not_found("no such program in PATH; give its path, with a / in it")),
    }
}
