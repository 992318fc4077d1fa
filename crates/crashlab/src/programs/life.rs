//! One life of a program: started, listened to, killed; and what its file is after recovery.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ::programs::{Preload, converted};
use rand::RngExt;

use super::{ATOMIC, Found, Run, Subject, Tally, database, scatter};
use crate::kills::process::{Moment, PATIENCE, Process};
use crate::kills::rig;
use crate::outcome::Failure;

/// More than any of them lives to see.
const VERSIONS: u64 = 100_000;
/// For those who are left alone.
const VERSIONS_UNKILLED: u64 = 3;
/// A kill comes within so many versions.
const VERSIONS_AWAITED: usize = 8;

/// What was heard of it.
#[derive(Default)]
struct Heard {
    /// It had its map after this time.
    ready: Option<Duration>,
    acknowledged: u64,
    last: Duration,
    nonsense: Option<String>,
}

/// Kills it once, and judges.
pub(super) fn run(subject: &Subject<'_>, run: &mut Run<'_>, tally: &mut Tally) -> Result<Found, Failure> {
    let Subject { program, options, .. } = subject;
    let data_file = program.data_file(run.folder);
    if !program.is_database() {
        fs::write(&data_file, scatter::initial(run.seed)).map_err(rig("a file to store into"))?;
    }
    let log = run.folder.join("preload.log");
    let preload = options.preload.as_ref().map(|library| Preload {
        strict: options.strict,
        publish: !options.unpublished,
        log: Some(log.clone()),
        ..Preload::of(library, ATOMIC)
    });
    let (argument, seed) = (program.argument(run.folder), run.seed);
    let by_program = run.random.random();
    let writer = |versions: u64| {
        let mut command = subject.writer.command(preload.as_ref());
        command.arg(&argument).args([seed, versions].map(|number| number.to_string()));
        command
    };

    let versions = if options.unkilled { VERSIONS_UNKILLED } else { VERSIONS };
    let heard = match live(&mut writer(versions), subject, run, tally) {
        Ok(heard) => heard,
        // It ended by itself, with an error, or it hangs.
        Err(Failure::Violation(what)) if preload.is_some() => return Ok(Found::Refused(what)),
        Err(Failure::Violation(what)) => {
            return Err(Failure::Rig(format!("{program} without a library under it: {what}")));
        }
        Err(failure) => return Err(failure),
    };
    tally.acknowledged += heard.acknowledged;
    if preload.is_some() {
        let mappings = converted(&log).map_err(rig("the library's log"))?;
        tally.converted += mappings;
        if heard.ready.is_some() && mappings == 0 {
            return Ok(Found::Refused("it has its map, and the library's log tells of no conversion".into()));
        }
    }

    // By the command, or as it would be without anybody's care: by the program's next start.
    if journal_of(&data_file).exists() {
        tally.journals += 1;
        if by_program {
            tally.recovered_by_program += 1;
            let opened = writer(0).output().map_err(rig("the program, started again"))?;
            if !opened.status.success() {
                return Ok(Found::Refused(format!("started again: {}", last_line(&opened.stderr))));
            }
        } else {
            tally.recovered_by_command += 1;
        }
    }
    if journal_of(&data_file).exists() {
        let mut recover = Command::new(subject.steadfast);
        let recovered = recover.arg("recover").arg(&data_file).output().map_err(rig("steadfast recover"))?;
        if !recovered.status.success() {
            return Ok(Found::Refused(format!("recover: {}", last_line(&recovered.stderr))));
        }
    }
    if options.spoil {
        spoil(&data_file)?;
    }
    let found = match &subject.reader {
        None => {
            let bytes = fs::read(&data_file).map_err(rig("a recovered file"))?;
            scatter::judge(seed, &bytes, heard.acknowledged)
        }
        Some(reader) => {
            let mut command = reader.command(None);
            command.arg(&argument).arg(seed.to_string());
            database::judge(&mut command, heard.acknowledged)?
        }
    };
    tally.in_flight_kept += u64::from(found == Found::Sound(heard.acknowledged + 1));
    Ok(found)
}

/// From its start to its death.
fn live(
    command: &mut Command,
    subject: &Subject<'_>,
    run: &mut Run<'_>,
    tally: &mut Tally,
) -> Result<Heard, Failure> {
    let moment = draw(run, tally);
    let started = Instant::now();
    let mut process = Process::start(command)?;
    let mut heard = Heard::default();
    let mut hear = |line: &str| {
        match (line, line.parse()) {
            ("ready", _) => heard.ready = Some(started.elapsed()),
            (_, Ok(version)) if version == heard.acknowledged + 1 => {
                heard.acknowledged = version;
                heard.last = started.elapsed();
            }
            _ => heard.nonsense = heard.nonsense.take().or_else(|| Some(line.to_owned())),
        }
        true
    };
    let killed = if subject.options.unkilled {
        process.finish()?.iter().for_each(|line| {
            hear(line);
        });
        false
    } else {
        process.until(moment, &mut hear)?;
        let killed = process.kill()?;
        // What it said before it died and nobody had read.
        process.output.rest()?.iter().for_each(|line| {
            hear(line);
        });
        killed
    };
    if let Some(line) = heard.nonsense {
        return Err(Failure::Rig(format!("{} said {line:?}", subject.program)));
    }
    match heard.ready {
        Some(ready) => {
            tally.killed_at_work += u64::from(killed);
            tally.usual_start = ready;
            if heard.acknowledged > 0 {
                tally.usual_version = (heard.last - ready) / heard.acknowledged as u32;
            }
        }
        None => tally.killed_at_start += u64::from(killed),
    }
    Ok(heard)
}

/// When to kill. One in six dies while it starts; of the others, half right behind an acknowledgement, where the next version is
/// likely being stored, and half anywhere.
fn draw(run: &mut Run<'_>, tally: &Tally) -> Moment {
    let share: f64 = run.random.random_range(0.0..1.0);
    // "ready" counts as one.
    let behind = 1 + run.random.random_range(0..VERSIONS_AWAITED);
    match run.number % 6 {
        // The first ones say how long it takes.
        _ if tally.usual_version.is_zero() => Moment::Behind(behind.max(3), Duration::ZERO),
        5 => Moment::After(tally.usual_start.mul_f64(share).min(PATIENCE)),
        0 | 2 => Moment::Behind(behind, tally.usual_version.mul_f64(share / 4.0)),
        _ => Moment::Behind(behind, tally.usual_version.mul_f64(share * 1.2)),
    }
}

fn journal_of(data_file: &Path) -> PathBuf {
    let mut name = OsString::from(data_file);
    name.push(".steadfast");
    name.into()
}

/// Another byte in the middle of the first page that is not zero there: of a database, a page in use.
fn spoil(data_file: &Path) -> Result<(), Failure> {
    let bytes = fs::read(data_file).map_err(rig("a file to spoil"))?;
    let at = (0..bytes.len()).skip(2 * 4096 + 2048).find(|&at| bytes[at] != 0).unwrap_or_default();
    let file = fs::File::options().write(true).open(data_file).map_err(rig("a file to spoil"))?;
    let other = bytes.get(at).map_or(1, |byte| byte ^ 0xff);
    file.write_all_at(&[other], at as u64).map_err(rig("a file to spoil"))
}

fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing").to_owned()
}
