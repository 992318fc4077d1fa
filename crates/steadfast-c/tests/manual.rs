//! The manual pages are well formed, and name what they are about.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PAGES: [&str; 2] = ["sf_msync.3", "steadfast.7"];

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(page(name)).unwrap()
}

#[test]
fn the_pages_are_formatted_without_a_warning() {
    for name in PAGES {
        let formatted = Command::new("groff").args(["-ww", "-man", "-Tutf8"]).arg(page(name)).output();
        let Ok(output) = formatted else {
            println!("not checked: groff is not installed");
            return;
        };
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.is_empty(), "{name}: {told}");
    }
}

#[test]
fn sf_msync_3_names_every_flag_and_every_error() {
    let text = text("sf_msync.3");
    for word in ["MS_ASYNC", "MS_SYNC", "MS_INVALIDATE"] {
        assert!(text.contains(&format!(".TP\n.B {word}\n")), "{word}");
    }
    let errors = text.split(".SH ERRORS").nth(1).unwrap().split(".SH ").next().unwrap();
    let named: Vec<&str> =
        errors.split(".TP\n.B ").skip(1).map(|entry| entry.lines().next().unwrap_or_default()).collect();
    assert_eq!(named, ["EBUSY", "EDQUOT", "EINVAL", "EIO", "ENOMEM", "ENOSPC"]);
}

#[test]
fn steadfast_7_names_every_variable() {
    let text = text("steadfast.7");
    for word in
        ["STEADFAST_ATOMIC", "STEADFAST_LOG", "STEADFAST_STRICT", "STEADFAST_PUBLISH", "STEADFAST_TRACKER"]
    {
        assert!(text.contains(&format!(".TP\n.B {word}\n")), "{word}");
    }
    assert!(text.contains("LD_PRELOAD=libsteadfast_preload.so"));
}

/// A page that names a function which there is not sends its reader looking.
#[test]
fn every_function_that_a_page_names_is_in_the_header() {
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/steadfast.h");
    let header = fs::read_to_string(header).unwrap();
    for name in PAGES {
        let text = text(name);
        let words = text.split(|next: char| !next.is_alphanumeric() && next != '_');
        for word in words.filter(|word| word.starts_with("sf_")) {
            assert!(header.contains(&format!("{word}(")), "{name}: {word}");
        }
    }
}
