//! What is run, and how long: some twelve minutes in full, two when quick.

/// Command lines of the benchmark, by file system.
pub(crate) struct Plan {
    /// On the file system of the checkout.
    pub(crate) here: Vec<Vec<&'static str>>,
    /// On each of the others.
    pub(crate) elsewhere: Vec<Vec<&'static str>>,
}

impl Plan {
    pub(crate) fn full() -> Plan {
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
        ];
        let elsewhere = ["about", "commit --rounds 3", "sustained --seconds 3", "first-store --rounds 6"];
        Plan { here: split(&here), elsewhere: split(&elsewhere) }
    }

    pub(crate) fn quick() -> Plan {
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
        ];
        let elsewhere = ["about", "commit --rounds 1 --size 32MiB", "first-store --rounds 1 --size 32MiB"];
        Plan { here: split(&here), elsewhere: split(&elsewhere) }
    }
}

fn split(lines: &[&'static str]) -> Vec<Vec<&'static str>> {
    lines.iter().map(|line| line.split(' ').collect()).collect()
}
