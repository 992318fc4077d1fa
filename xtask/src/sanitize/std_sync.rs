//! Builds `xtask/sanitize/std_sync.rs`, which tells ThreadSanitizer what the standard library's locks order.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{target, target_libraries};

const SOURCE: &str = "xtask/sanitize/std_sync.rs";
/// What stands there for the standard library's name in symbols, which differs from release to release.
const PLACE: &str = "@STD@";
/// A symbol from which that name is taken: what stands before and behind it.
const KNOWN: (&str, &str) = ("_RNvMNtNtNtNt", "3sys4sync5mutex5futexNtB2_5Mutex14lock_contended");
const WRAP: &str = "__wrap_";

/// The flags that link it.
pub(super) fn flags(root: &Path, folder: &Path) -> Result<Vec<String>, String> {
    let library = library()?;
    let bytes = read(&library)?;
    let name = name(&bytes).ok_or_else(|| changed(&library, KNOWN.1))?;
    let source = String::from_utf8_lossy(&read(&root.join(SOURCE))?).replace(PLACE, &name);
    let wrapped = wrapped(&source);
    // Other symbols are the sanitizer's.
    let of_std = |symbol: &&String| symbol.contains(&name);
    if let Some(gone) = wrapped.iter().filter(of_std).find(|symbol| !contains(&bytes, symbol.as_bytes())) {
        return Err(changed(&library, gone));
    }
    let (file, object) = (folder.join("std_sync.rs"), folder.join("std_sync.o"));
    std::fs::write(&file, &source).map_err(|error| format!("{}: {error}", file.display()))?;
    let rustc = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "lib",
            "--emit",
            "obj",
            "-Copt-level=1",
            "--target",
            &target(),
        ])
        .arg(&file)
        .arg("-o")
        .arg(&object)
        .status()
        .map_err(|error| format!("rustc: {error}"))?;
    if !rustc.success() {
        return Err(format!("{SOURCE} does not compile"));
    }
    let mut flags = vec![format!("-Clink-arg={}", object.display())];
    flags.extend(wrapped.iter().map(|symbol| format!("-Clink-arg=-Wl,--wrap={symbol}")));
    Ok(flags)
}

fn changed(library: &Path, symbol: &str) -> String {
    format!(
        "{} has no function {symbol}: the standard library has changed; look at its locks, and change {SOURCE} with them",
        library.display()
    )
}

/// The standard library that programs are linked with.
fn library() -> Result<PathBuf, String> {
    let folder = target_libraries()?;
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let found = entries.flatten().map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    });
    found.ok_or_else(|| format!("{} has no libstd: rustup target add {}", folder.display(), target()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    position(bytes, part).is_some()
}

fn position(bytes: &[u8], part: &[u8]) -> Option<usize> {
    let first = *part.first()?;
    let mut at = 0;
    while let Some(next) = bytes.get(at..)?.iter().position(|&byte| byte == first) {
        at += next;
        if bytes[at..].starts_with(part) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The library's name in symbols, such as `Cs1a2B3c_3std`.
fn name(bytes: &[u8]) -> Option<String> {
    let mut at = 0;
    loop {
        at += position(bytes.get(at..)?, KNOWN.0.as_bytes())? + KNOWN.0.len();
        let rest = &bytes[at..];
        let len = rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')?;
        let symbol = std::str::from_utf8(&rest[..len]).ok()?;
        if let Some(name) = symbol.strip_suffix(KNOWN.1) {
            return Some(name.to_owned());
        }
    }
}

/// What the source wraps.
fn wrapped(source: &str) -> Vec<String> {
    let exported = source.split('"').filter_map(|word| word.strip_prefix(WRAP));
    exported.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{name, position, wrapped};

    #[test]
    fn the_librarys_name_is_found_among_other_symbols() {
        let symbols = b"\0_RNvMNtNtNtNtCsX_3std3sys4other\0_RNvMNtNtNtNtCsX_3std3sys4sync5mutex5futexNtB2_5Mutex14lock_contended\0";
        assert_eq!(name(symbols).as_deref(), Some("CsX_3std"));
        assert_eq!(name(&symbols[..40]), None);
        assert_eq!(position(b"aab", b"ab"), Some(1));
    }

    #[test]
    fn every_exported_function_is_wrapped_and_calls_what_it_wraps() {
        let source = include_str!("../../sanitize/std_sync.rs");
        let wrapped = wrapped(source);
        assert!(wrapped.len() >= 6);
        for symbol in wrapped {
            assert!(source.contains(&format!("\"__real_{symbol}\"")), "{symbol}");
        }
    }
}
