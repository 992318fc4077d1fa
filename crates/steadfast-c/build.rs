//! What a plain `cargo build` would leave out and cargo-c does by itself: a name for the loader, and a pkg-config file beside
//! the library.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=steadfast.pc.in");
    if env::var_os("CARGO_FEATURE_CAPI").is_some() {
        return Ok(());
    }
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let version = variable("CARGO_PKG_VERSION")?;
    let major = variable("CARGO_PKG_VERSION_MAJOR")?;
    let soname = format!("libsteadfast.so.{major}");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{soname}");

    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    // target/<profile>/build/<package>/out
    let libraries = out.ancestors().nth(3).ok_or("the folder of the build stands nowhere")?;
    let template = fs::read_to_string(package.join("steadfast.pc.in"))?;
    let filled = template
        .replace("@libdir@", &shown(libraries))
        .replace("@includedir@", &shown(&package.join("include")))
        .replace("@version@", &version);
    fs::write(libraries.join("steadfast.pc"), filled)?;
    link(&soname, &libraries.join(&soname))
}

/// Programs that were linked with the library look for it under the loader's name.
fn link(soname: &str, at: &Path) -> Result<(), Box<dyn Error>> {
    let target = "libsteadfast.so";
    if fs::read_link(at).is_ok_and(|there| there == Path::new(target)) {
        return Ok(());
    }
    // Another build may have been here in between: then it made the same.
    match std::os::unix::fs::symlink(target, at) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(format!("{soname}: {error}").into())
        }
        _ => Ok(()),
    }
}

/// As pkg-config reads it: a space ends a word.
fn shown(path: &Path) -> String {
    path.display().to_string().replace(' ', "\\ ")
}
