//! What is tried, in which dose.

use std::fmt;

use super::Dose;
use crate::PRELOAD;

/// A step that is one of the project's own tests.
pub(super) const CARGO: &str = "cargo";
const RIG: &str = "crashlab";

/// Unmodified programs that store all over a file, whose power is cut.
const CUT: &str = "--program python-mmap --program numpy-memmap --program java-force";

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
    steps.extend(under_programs(dose));
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

/// Programs that were not made for it, with the library under them.
fn under_programs(dose: Dose) -> Vec<Step> {
    let short = dose == Dose::Short;
    let (runs, seed) = if short { (3, 1) } else { (200, 20261126) };
    let killed = format!("programs --runs {runs} --seed {seed} --preload {PRELOAD}");
    let mut steps = vec![Step::rig("Unmodified programs, killed", &killed)];
    if !short {
        let alone = format!("programs --runs 100 --seed {seed}");
        steps.push(Step::rig("The same programs without the library, to compare with", &alone));
    }
    if short {
        let cuts = format!("cuts --fs ext4 --images 40 --compared 10 --seed {seed} --preload {PRELOAD}");
        steps.push(Step::rig("Power cuts under unmodified programs, on ext4", &cuts));
    } else {
        for (fs, title) in [
            ("ext4", "Power cuts under unmodified programs, on ext4"),
            ("xfs", "Power cuts under unmodified programs, on XFS"),
        ] {
            let cuts = format!("cuts --fs {fs} {CUT} --images 1000 --seed {seed} --preload {PRELOAD}");
            steps.push(Step::rig(title, &cuts));
        }
    }
    let only = if short { " --only cpython --only numpy" } else { "" };
    steps.push(Step::rig("Programs' own tests", &format!("suites --preload {PRELOAD}{only}")));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmodified_programs_are_killed_cut_and_tested_in_both_doses() {
        for (dose, kills, cuts) in [(Dose::Short, 1, &["ext4"][..]), (Dose::Long, 2, &["ext4", "xfs"])] {
            let steps = all(dose);
            let of = |what: &str| {
                let steps = steps.iter().filter(|step| step.program == RIG && step.arguments[0] == what);
                steps.map(Step::to_string).collect::<Vec<_>>()
            };
            let over = format!("--preload {PRELOAD}");
            let with = of("programs");
            assert_eq!(with.len(), kills);
            assert_eq!(with.iter().filter(|step| step.contains(&over)).count(), 1, "{with:?}");
            let cut = of("cuts");
            assert_eq!(cut.len(), cuts.len());
            for (step, fs) in cut.iter().zip(cuts) {
                assert!(step.contains(&format!("--fs {fs} ")) && step.contains(&over), "{step}");
            }
            assert!(matches!(&of("suites")[..], [step] if step.contains(&over)));
        }
    }

    #[test]
    fn no_two_steps_of_a_dose_are_the_same_command() {
        for dose in [Dose::Short, Dose::Long] {
            let mut commands: Vec<String> = all(dose).iter().map(Step::to_string).collect();
            let count = commands.len();
            commands.sort();
            commands.dedup();
            assert_eq!(commands.len(), count, "what was kept of one would be taken for the other's");
        }
    }
}
