//! What was found, as it goes into JSON, the table and the page.

use serde::Serialize;

use super::kind::{Group, Kind};
use super::ledger::Ledger;
use crate::duration::{self, three_digits};
use crate::output::counted;
use crate::place::{Device, Machine};
use crate::size;

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) schema: u32,
    pub(super) version: &'static str,
    /// When it began, UTC.
    pub(super) date: String,
    pub(super) command: Vec<String>,
    pub(super) place: Place,
    pub(super) file_bytes: u64,
    pub(super) rounds: u32,
    pub(super) seconds: f64,
    pub(super) interrupted: bool,
    /// Median of the faster append; what the others are compared with.
    pub(super) limit_us: Option<f64>,
    pub(super) rows: Vec<Row>,
    pub(super) notes: Vec<String>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub(super) struct Place {
    pub(super) folder: String,
    pub(super) file_system: String,
    /// Does what was synced outlive a power cut? `None`: that is a server's affair.
    pub(super) durable: Option<bool>,
    pub(super) device: Option<Device>,
    #[serde(flatten)]
    pub(super) machine: Machine,
}

/// One kind. Times are in microseconds.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(skip)]
    pub(super) kind: Kind,
    pub(super) id: &'static str,
    pub(super) group: Group,
    /// Pages that are changed and made durable at once.
    pub(super) pages: Option<u64>,
    /// Bytes that one operation reads.
    pub(super) read_bytes: Option<u64>,
    pub(super) samples: usize,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    /// Median through the median of the limit in the same run; not of reads.
    pub(super) vs_limit: Option<f64>,
    /// Reads: by the median, and by the 99th percentile.
    pub(super) p50_bytes_per_second: Option<f64>,
    pub(super) p99_bytes_per_second: Option<f64>,
    /// Why there is no figure.
    pub(super) not_measured: Option<String>,
}

/// A row's figures as words, the same on the screen and on the page.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) p50: String,
    pub(super) p99: String,
    /// How many times the limit; of reads, the rate.
    pub(super) beside: String,
    pub(super) samples: String,
}

impl Row {
    pub(super) fn figures(&self) -> Figures {
        let time = |us: Option<f64>| us.map_or_else(|| "-".to_owned(), duration::show);
        let beside = match (self.vs_limit, self.p50_bytes_per_second) {
            (Some(ratio), _) => three_digits(ratio),
            (None, Some(rate)) => self::rate(rate),
            (None, None) => "-".to_owned(),
        };
        Figures { p50: time(self.p50_us), p99: time(self.p99_us), beside, samples: self.samples.to_string() }
    }
}

/// `512 MiB/s`.
pub(super) fn rate(bytes_per_second: f64) -> String {
    format!("{} MiB/s", three_digits(bytes_per_second / 1_048_576.0))
}

/// The faster of the two ways to make 4 KiB durable.
pub(super) fn limit_of(ledger: &Ledger) -> Option<f64> {
    let medians =
        [Kind::Append, Kind::AppendDirect].into_iter().filter_map(|kind| Some(ledger.samples(kind)?.p50()));
    medians.filter(|median| *median > 0.0).min_by(f64::total_cmp)
}

/// All rows, and what else a reader must know.
pub(super) fn rows_of(ledger: &Ledger, file_bytes: u64) -> (Vec<Row>, Vec<String>) {
    let limit = limit_of(ledger);
    let mut notes = ledger.notes().to_vec();
    let rows = Kind::all().into_iter().map(|kind| {
        let samples = ledger.samples(kind);
        let p50 = samples.map(|samples| samples.p50());
        let p99 = samples.map(|samples| samples.p99());
        let read_bytes = kind.read_bytes(file_bytes);
        // A clock that did not move has measured nothing.
        let rate = |us: Option<f64>| Some(read_bytes? as f64 / (us.filter(|us| *us > 0.0)? / 1e6));
        let refusal = ledger.refusal(kind);
        if let (Some(samples), Some(why)) = (samples, refusal) {
            let label = kind.label(file_bytes);
            notes
                .push(format!("{label}: in {} only; else {why}.", counted(samples.count() as u64, "sample")));
        }
        let missing = || refusal.unwrap_or("it was interrupted before").to_owned();
        Row {
            kind,
            id: kind.id(),
            group: kind.group(),
            pages: kind.pages(),
            read_bytes,
            samples: samples.map_or(0, |samples| samples.count()),
            p50_us: p50,
            p99_us: p99,
            vs_limit: if kind.group() == Group::Read {
                None
            } else {
                p50.zip(limit).map(|(p50, limit)| p50 / limit)
            },
            p50_bytes_per_second: rate(p50),
            p99_bytes_per_second: rate(p99),
            not_measured: samples.is_none().then(missing),
        }
    });
    (rows.collect(), notes)
}

impl Report {
    pub(super) fn row(&self, kind: Kind) -> Option<&Row> {
        self.rows.iter().find(|row| row.kind == kind)
    }

    pub(super) fn in_group(&self, group: Group) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.group == group)
    }

    /// Where, in names and words.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let place = &self.place;
        let machine = &place.machine;
        let device = place.device.as_ref().map_or_else(|| "none of its own".to_owned(), Device::describe);
        let memory = size::show(machine.memory_bytes);
        let mut rounds = counted(self.rounds.into(), "round");
        if self.interrupted {
            rounds.push_str(", interrupted");
        }
        vec![
            ("folder", place.folder.clone()),
            ("file system", place.file_system.clone()),
            ("device", device),
            (
                "kernel",
                format!(
                    "{}, {}, pages of {}",
                    machine.kernel,
                    machine.architecture,
                    size::show(machine.page_bytes as u64)
                ),
            ),
            (
                "machine",
                format!("{}, {}, {memory} of memory", machine.cpu, counted(machine.cores as u64, "core")),
            ),
            ("files", size::show(self.file_bytes)),
            ("measured", format!("{}, {:.1} s, {rounds}", self.date, self.seconds)),
            ("version", format!("steadfast {}", self.version)),
        ]
    }

    /// What nobody may miss.
    pub(super) fn warnings(&self) -> Vec<String> {
        let kind = &self.place.file_system;
        let mut warnings = Vec::new();
        match self.place.durable {
            Some(true) => {}
            Some(false) => warnings.push(format!(
                "Nothing is durable here: {kind} lives in memory, and a power cut takes all of it. No figure says anything about a disk."
            )),
            None => warnings.push(format!(
                "What is durable here is a server's affair: with {kind} a sync reaches the server, and not always its disk."
            )),
        }
        if self.interrupted {
            warnings
                .push("It was interrupted: the figures are of what had been measured by then.".to_owned());
        }
        warnings
    }

    /// What it comes to, in sentences.
    pub(super) fn summary(&self) -> Vec<String> {
        let p50 = |kind| self.row(kind).and_then(|row| row.p50_us);
        let mut sentences = Vec::new();
        if let Some(limit) = self.limit_us {
            sentences.push(format!(
                "The limit is {}: the least that it takes here to append 4 KiB and have them synced.",
                duration::show(limit)
            ));
            if let (Some(commit), Some(msync)) = (p50(Kind::Plain(16)), p50(Kind::Sync(16))) {
                sentences.push(format!(
                    "Stores to 16 scattered pages are committed, all or nothing, in {} ({} times the limit); msync of as many pages, which \
                     a crash can tear, takes {} ({} times).",
                    duration::show(commit),
                    three_digits(commit / limit),
                    duration::show(msync),
                    three_digits(msync / limit)
                ));
            }
        }
        if let (Some(cold), Some(warm)) = (p50(Kind::RandomCold), p50(Kind::RandomWarm)) {
            sentences.push(format!(
                "4 KiB at a random place come from the device in {}, from memory in {}.",
                duration::show(cold),
                duration::show(warm)
            ));
        }
        sentences
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;

    /// A report whose words from outside are as bad as they can be.
    pub(in crate::bench) fn report(ledger: &Ledger) -> Report {
        let (rows, notes) = rows_of(ledger, 64 << 20);
        Report {
            schema: 1,
            version: "1.2.3",
            date: "2026-01-02T03:04:05Z".to_owned(),
            command: vec!["steadfast".to_owned(), "bench".to_owned(), "it's <b>".to_owned()],
            place: Place {
                folder: "/a <script>&\"'\u{1b}[31m\u{202e}".to_owned(),
                file_system: "ext4".to_owned(),
                durable: Some(true),
                device: Some(Device { name: "<sda>".to_owned(), ..Device::default() }),
                machine: Machine {
                    cpu: "A & B".to_owned(),
                    cores: 1,
                    memory_bytes: 1 << 30,
                    kernel: "Linux 6.1".to_owned(),
                    architecture: "x86_64".to_owned(),
                    page_bytes: 4096,
                },
            },
            file_bytes: 64 << 20,
            rounds: 3,
            seconds: 1.5,
            interrupted: false,
            limit_us: limit_of(ledger),
            rows,
            notes,
        }
    }

    /// Every kind measured; figures that span decades, and no two the same.
    pub(in crate::bench) fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.count_from_now_on();
        for (number, kind) in (1..).zip(Kind::all()) {
            for sample in 1..=10 {
                ledger.add(kind, Duration::from_micros(number * number * (100 + sample)));
            }
        }
        ledger
    }

    #[test]
    fn ratios_are_against_the_limit_of_the_same_run_and_reads_have_rates() {
        let report = report(&ledger());
        assert_eq!(report.row(Kind::Append).unwrap().vs_limit, Some(1.0));
        assert_eq!(report.row(Kind::Plain(1)).unwrap().vs_limit, Some(16.0));
        let read = report.row(Kind::RandomWarm).unwrap();
        assert_eq!((read.vs_limit, read.read_bytes), (None, Some(4096)));
        let rate = read.p50_bytes_per_second.unwrap();
        assert!((rate - 4096.0 / (read.p50_us.unwrap() / 1e6)).abs() < 1.0, "{rate}");
        assert!(read.p99_bytes_per_second.unwrap() < rate);
        assert_eq!(report.summary().len(), 3);
    }

    #[test]
    fn the_limit_is_the_faster_append() {
        let mut ledger = Ledger::default();
        ledger.count_from_now_on();
        ledger.add(Kind::Append, Duration::from_micros(300));
        ledger.add(Kind::AppendDirect, Duration::from_micros(200));
        ledger.add(Kind::Plain(1), Duration::from_micros(250));
        let report = report(&ledger);
        assert_eq!(report.limit_us, Some(200.0));
        let ratios =
            [Kind::Append, Kind::AppendDirect, Kind::Plain(1)].map(|kind| report.row(kind).unwrap().vs_limit);
        assert_eq!(ratios, [Some(1.5), Some(1.0), Some(1.25)]);
    }

    #[test]
    fn what_is_missing_says_why_and_what_is_short_is_noted() {
        let mut ledger = Ledger::default();
        ledger.refuse(Kind::RandomCold, "they stay");
        ledger.count_from_now_on();
        ledger.refuse(Kind::SequentialCold, "they stayed");
        ledger.add(Kind::SequentialCold, Duration::from_millis(3));
        let report = report(&ledger);
        assert_eq!(report.row(Kind::RandomCold).unwrap().not_measured.as_deref(), Some("they stay"));
        assert_eq!(
            report.row(Kind::Append).unwrap().not_measured.as_deref(),
            Some("it was interrupted before")
        );
        assert_eq!(report.row(Kind::SequentialCold).unwrap().not_measured, None);
        assert_eq!(report.notes, ["64 MiB in order, cold: in 1 sample only; else they stayed."]);
        assert!(report.rows.iter().all(|row| row.vs_limit.is_none()), "without a limit there is no ratio");
        assert!(report.summary().is_empty());
    }

    #[test]
    fn what_is_not_durable_is_said() {
        let mut report = report(&Ledger::default());
        assert!(report.warnings().is_empty());
        (report.place.durable, report.place.file_system) = (Some(false), "tmpfs".to_owned());
        assert!(report.warnings()[0].starts_with("Nothing is durable here: tmpfs"));
        (report.place.durable, report.interrupted) = (None, true);
        assert_eq!(report.warnings().len(), 2);
    }
}
