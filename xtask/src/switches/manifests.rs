//! Switches are for crashlab alone: no other build may have them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// The features that put switches into a build, each with the manifests that may name it, and how such a line begins.
const FEATURES: [(&str, &[(&str, &str)]); 2] = [
    (
        "knockout",
        &[
            ("crates/steadfast/Cargo.toml", "knockout = ["),
            ("crates/crashlab/Cargo.toml", "mutate = [\"steadfast/knockout\"]"),
        ],
    ),
    ("mutate", &[("crates/crashlab/Cargo.toml", "mutate = [\"steadfast/knockout\"]")]),
];

/// Programs and libraries that people use.
const PACKAGES: [&str; 4] = ["steadfast", "steadfast-c", "steadfast-cli", "steadfast-preload"];

/// What is wrong in the manifests, and in what cargo makes of them.
pub(super) fn findings(root: &Path) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for manifest in manifests(root).map_err(|error| format!("looking for manifests: {error}"))? {
        let text =
            fs::read_to_string(root.join(&manifest)).map_err(|error| format!("{manifest}: {error}"))?;
        found.extend(in_manifest(&manifest, &text));
    }
    for package in PACKAGES {
        // As a user of it builds it: neither its tests nor the rest of the workspace add features.
        let arguments = ["tree", "--locked", "--package", package, "--edges", "features,no-dev"];
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(arguments)
            .current_dir(root)
            .output()
            .map_err(|error| format!("cargo tree: {error}"))?;
        if !output.status.success() {
            return Err(format!(
                "cargo {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        found.extend(in_tree(package, &String::from_utf8_lossy(&output.stdout)));
    }
    Ok(found)
}

/// Those of the workspace, and of the fuzz targets beside it, as paths below `root`.
fn manifests(root: &Path) -> io::Result<Vec<String>> {
    let mut folders: Vec<PathBuf> = ["", "xtask", "fuzz"].map(PathBuf::from).into();
    for entry in fs::read_dir(root.join("crates"))? {
        folders.push(Path::new("crates").join(entry?.file_name()));
    }
    let manifests = folders.into_iter().map(|folder| folder.join("Cargo.toml"));
    let mut found: Vec<String> =
        manifests.filter(|path| root.join(path).exists()).map(|path| path.display().to_string()).collect();
    found.sort();
    Ok(found)
}

fn in_manifest(manifest: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let code = line.split('#').next().unwrap_or("").trim();
        let words = || code.split(|next: char| !next.is_alphanumeric() && next != '_' && next != '-');
        for (feature, allowed) in FEATURES {
            let known = allowed.iter().any(|(path, begin)| *path == manifest && code.starts_with(begin));
            if words().any(|word| word == feature) && !known {
                found.push(format!(
                    "{manifest}:{}: the feature `{feature}` is named here: only crashlab's `mutate` may turn switches on; take it \
                     out",
                    index + 1
                ));
            }
        }
    }
    found
}

fn in_tree(package: &str, tree: &str) -> Option<String> {
    let line = tree.lines().find(|line| line.contains("\"knockout\"") || line.contains(" inventory v"))?;
    let line = line.trim_start_matches(|next: char| !next.is_alphanumeric());
    Some(format!(
        "crates/{package}/Cargo.toml: a plain build has switches in it ({line}): see `cargo tree -e features -p {package}`, and \
         take the feature out"
    ))
}

#[cfg(test)]
mod tests {
    use super::{in_manifest, in_tree};

    #[test]
    fn the_features_are_where_they_belong() {
        let library =
            "[features]\n# knockout: see there\nsim = []\nknockout = [\"sim\", \"dep:inventory\"]\n";
        assert_eq!(in_manifest("crates/steadfast/Cargo.toml", library), [] as [&str; 0]);
        let rig = "[features]\nmutate = [\"steadfast/knockout\"]\n";
        assert_eq!(in_manifest("crates/crashlab/Cargo.toml", rig), [] as [&str; 0]);
    }

    #[test]
    fn a_manifest_that_turns_switches_on_is_found() {
        let line = |manifest, text| {
            in_manifest(manifest, text).first().and_then(|found| found.split(": ").next().map(str::to_owned))
        };
        let of = |manifest: &str, number| Some(format!("{manifest}:{number}"));
        let library = "crates/steadfast/Cargo.toml";
        assert_eq!(line(library, "[features]\ndefault = [\"knockout\"]"), of(library, 2));
        assert_eq!(line(library, "sim = [\"knockout\"]"), of(library, 1));
        let command = "crates/steadfast-cli/Cargo.toml";
        assert_eq!(line(command, "\nsteadfast = { features = [\"sim\", \"knockout\"] }"), of(command, 2));
        assert_eq!(line(command, "mutate = [\"steadfast/knockout\"]"), of(command, 1));
        let rig = "crates/crashlab/Cargo.toml";
        assert_eq!(line(rig, "default = [\"mutate\"]"), of(rig, 1));
        assert_eq!(
            line("fuzz/Cargo.toml", "crashlab = { features = [\"mutate\"] }"),
            of("fuzz/Cargo.toml", 1)
        );
    }

    #[test]
    fn a_build_with_switches_is_found() {
        let plain = "steadfast-cli v0.1.0\n├── steadfast feature \"default\"\n│   └── steadfast v0.1.0";
        assert_eq!(in_tree("steadfast-cli", plain), None);
        for line in ["│   ├── steadfast feature \"knockout\"", "│   ├── inventory v0.3.25"] {
            assert!(in_tree("steadfast-cli", &format!("{plain}\n{line}")).is_some(), "{line}");
        }
    }
}
