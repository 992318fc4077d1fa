//! What is run, and how long: some fifteen minutes in full, three when quick.

use std::path::Path;

/// Stands in a line for the library that is put under unmodified programs: where the build leaves it is known when it is run.
const PRELOAD: &str = "PRELOAD";

/// Command lines of the benchmark, by file system.
pub(crate) struct Plan {
    /// On the file system of the checkout.
    pub(crate) here: Vec<Vec<String>>,
    /// On each of the others.
    pub(crate) elsewhere: Vec<Vec<String>>,
}

impl Plan {
    pub(crate) fn full(library: &Path) -> Plan {
        let here = [
            "about",
            "commit",
            "search",
            "sustained --seconds 6",
            "first-store",
            "load",
            "guard",
            "sparse",
            "decay",
            "recovery",
            "threads",
            "memory --seconds 10",
            "open",
            "programs --pages 16,256 --preload PRELOAD",
        ];
        let elsewhere = [
            "about",
            "commit --rounds 3",
            "sustained --seconds 3",
            "first-store --rounds 6",
            "programs --pages 16,256 --rounds 1 --preload PRELOAD",
        ];
        Plan { here: split(&here, library), elsewhere: split(&elsewhere, library) }
    }

    pub(crate) fn quick(library: &Path) -> Plan {
        let here = [
            "about",
            "commit --rounds 1 --size 64MiB",
            "search --rounds 2 --size 64MiB",
            "sustained --seconds 1 --size 32MiB",
            "first-store --rounds 3 --size 64MiB",
            "load --rounds 7",
            "guard --rounds 7",
            "sparse --rounds 2",
            "decay --commits 5000",
            "recovery --rounds 1",
            "threads --rounds 1",
            "memory --seconds 2",
            "open --rounds 3",
            "programs --pages 16,256 --rounds 1 --size 64MiB --preload PRELOAD",
        ];
        let elsewhere = ["about", "commit --rounds 1 --size 32MiB", "first-store --rounds 1 --size 32MiB"];
        Plan { here: split(&here, library), elsewhere: split(&elsewhere, library) }
    }
}

fn split(lines: &[&str], library: &Path) -> Vec<Vec<String>> {
    let library = library.to_string_lossy();
    let word = |word: &str| if word == PRELOAD { library.to_string() } else { word.to_owned() };
    lines.iter().map(|line| line.split(' ').map(word).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmodified_programs_are_timed_over_the_library_of_this_build() {
        let library = Path::new("/a folder/libsteadfast_preload.so");
        for plan in [Plan::full(library), Plan::quick(library)] {
            let timed = plan.here.iter().find(|line| line[0] == "programs").unwrap();
            let pages = timed.iter().position(|word| word == "--pages").unwrap();
            assert_eq!(timed[pages + 1], "16,256", "what the requirements ask for");
            assert_eq!(timed[timed.len() - 2..], ["--preload", "/a folder/libsteadfast_preload.so"]);
            assert!(plan.here.iter().chain(&plan.elsewhere).flatten().all(|word| word != PRELOAD));
        }
    }
}
