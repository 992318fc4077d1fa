//! The header is what the sources say, and says it of every function that the library exports.

use std::fs;
use std::path::Path;

/// Set it, to write the header instead of comparing it.
const WRITE: &str = "STEADFAST_WRITE_HEADER";

fn made() -> String {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(package.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new().with_crate(package).with_config(config).generate().unwrap();
    let mut header = Vec::new();
    bindings.write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn the_header_is_what_the_sources_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/steadfast.h");
    let made = made();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &made).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    if let Some((line, (made, there))) =
        made.lines().zip(there.lines()).enumerate().find(|(_, (made, there))| made != there)
    {
        panic!("include/steadfast.h, line {}: {there:?} should be {made:?}: run with {WRITE}=1", line + 1);
    }
    assert_eq!(made.lines().count(), there.lines().count(), "run with {WRITE}=1");
}
