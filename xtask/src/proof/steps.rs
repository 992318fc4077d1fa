//! What is tried, in which dose.

use std::fmt;

use super::Dose;

/// A step that is one of the project's own tests.
pub(super) const CARGO: &str = "cargo";
const RIG: &str = "crashlab";

/// One attempt to break something.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// What it is about, for the page.
    pub(super) title: &'static str,
    pub(super) program: &'static str,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(&'static str, &'static str)>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={value} ")?;
        }
        write!(f, "{} {}", self.program, self.arguments.join(" "))
    }
}

impl Step {
    fn rig(title: &'static str, arguments: &str) -> Step {
        let arguments = arguments.split_whitespace().map(str::to_owned).collect();
        Step { title, program: RIG, arguments, environment: Vec::new() }
    }

    fn tests(title: &'static str, arguments: &str, environment: &[(&'static str, &'static str)]) -> Step {
        let arguments = arguments.split_whitespace().map(str::to_owned).collect();
        Step { title, program: CARGO, arguments, environment: environment.to_vec() }
    }

    /// What a reader of the page wants of it: of tests, the lines with figures.
    pub(super) fn interesting(&self, output: &str) -> String {
        if self.program == RIG {
            return output.trim_end().to_owned();
        }
        let wanted = ["violations", "test result"];
        let lines = output.lines().filter(|line| wanted.iter().any(|word| line.contains(word)));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The steps of a dose. Seeds are fixed for changes, so that a failure is that of the change.
pub(super) fn all(dose: Dose) -> Vec<Step> {
    let either =
        |short: &str, long: &str| if dose == Dose::Short { short.to_owned() } else { long.to_owned() };
    let mut steps = Vec::new();
    for (fs, title) in [
        ("ext4", "Power cuts under ext4"),
        ("xfs", "Power cuts under XFS"),
        ("btrfs", "Power cuts under btrfs"),
    ] {
        let images = either("--images 300 --seed 1", "--images 20000 --seed 20261125");
        steps.push(Step::rig(title, &format!("block --fs {fs} {images}")));
    }
    for fs in if dose == Dose::Short { &["ext4"][..] } else { &["ext4", "xfs", "btrfs"] } {
        let images = either("--images 150 --seed 1", "--images 2000 --seed 20261125");
        steps.push(Step::rig(
            "A second opinion: the same workloads, recorded by QEMU",
            &format!("block --recorder qemu --fs {fs} {images}"),
        ));
    }
    steps.push(Step::rig(
        "A simulated disk, at scale",
        &either("sim --states 60000 --seed 1", "sim --states 1000000 --seed 20261125"),
    ));
    steps.push(Step::rig(
        "Failing disks",
        &either("failing --dose 10 --seed 1", "failing --dose 60 --seed 20261125"),
    ));
    steps.push(Step::rig("Corruption", &either("corrupt --seed 1", "corrupt --seed 20261125")));
    steps.push(Step::rig("Kills", &either("kill --runs 16 --seed 1", "kill --runs 200 --seed 20261125")));
    steps.push(Step::rig(
        "Other hands on mapped files",
        &either(
            "hands --only truncate --rounds 300 --seed 1",
            "hands --only truncate --rounds 10000 --seed 20261126",
        ),
    ));
    steps.push(Step::rig(
        "Failing devices and full disks under mapped files",
        &either(
            "hands --only eio --only full --rounds 60 --seed 1",
            "hands --only eio --only full --rounds 2000 --seed 20261126",
        ),
    ));
    steps.push(Step::rig("Mutations", &either("mutate --sample 8", "mutate")));
    // Nobody adopts, discards or copies there: the syncs of all other work.
    steps.push(Step::rig(
        "Mutations, found by the simulated states of a change",
        "mutate --by sim --kind sync --only anchor --only checkpoint --only close --only durable --only flush --only fresh --only open",
    ));
    if dose == Dose::Long {
        steps.push(Step::tests(
            "The command on 10 GiB, killed",
            "test --release --locked -p steadfast-cli --test kill -- --nocapture",
            &[("STEADFAST_KILL_RUNS", "200")],
        ));
        steps.push(Step::tests(
            "The scripted crash matrix",
            "test --release --locked -p steadfast --test crash -- --nocapture",
            &[],
        ));
        steps.push(Step::tests(
            "Maps against two byte vectors",
            "test --release --locked -p steadfast --test atomic_model -- --nocapture",
            &[("STEADFAST_CASES", "3000")],
        ));
    }
    steps
}
