//! `steadfast apply`: atomic in-place edits of any file, line by line, so that another program can drive it.

use std::path::PathBuf;

use serde::Serialize;
use steadfast::{AtomicMapping, ErrorKind};

use crate::change::{Patch, change, within};
use crate::edits::{self, Edit};
use crate::failure::Failure;
use crate::lines::Lines;
use crate::open::{self, OpenArgs};
use crate::output::{self, Out, counted};

/// Edit a file in place, atomically and durably
///
/// Each line of EDITS is a JSON object:
///
///   {"at":4096,"hex":"00ff"}         these bytes at this offset
///   {"at":0,"text":"abc"}            this text, in UTF-8
///   {"at":0,"file":"patch.bin"}      the content of a file (relative to the current folder)
///   {"fill":0,"at":0,"len":8192}     one byte, repeated
///   {"resize":1048576}               cut the file, or let it grow with zeros
///   {"commit":true}                  all since the last commit: whole or not at all, durable
///
/// Blank lines and lines that start with # are skipped. Without any commit line the
/// whole of EDITS is one commit, made at its end. With commit lines, edits after the
/// last one are an error: nobody asked for them to be made durable.
///
/// After each commit that is durable, one line {"commit":N} is printed and flushed,
/// before the next line is read: another program can drive this through a pipe. If
/// whoever reads these lines goes away, the edits go on without them.
///
/// A bad line stops it with the line's number and reason, and nothing of the unfinished
/// commit is applied; earlier commits stay. If it is interrupted or killed, the file
/// holds a whole number of commits once `steadfast recover` was run or the next command
/// has opened it: every commit that was printed, and perhaps the one in progress.
///
/// While it runs, nothing else may write the file: its pages are used in place, whatever
/// the file's size. Other programs that use Steadfast are kept out by a lock; for all
/// others you promise it. At the end a plain file is left.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The file to edit.
    file: PathBuf,
    /// The file with the edits, or - for standard input.
    #[arg(default_value = "-", hide_default_value = true)]
    edits: PathBuf,
    /// Create the file if it does not exist (empty: begin with a resize line).
    #[arg(long)]
    create: bool,
    /// Let each commit show in the file at once to programs that read it, rather than at the next checkpoint.
    #[arg(long)]
    publish: bool,
    /// Check every line without applying any, and say what was found on standard error.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    open: OpenArgs,
}

/// One durable commit, as printed.
#[derive(Debug, Serialize)]
struct Committed {
    commit: u64,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    // The edits first: a wrong name there must not leave a created file behind.
    let mut edits = Lines::open(&args.edits)?;
    if args.dry_run {
        return dry_run(args, &mut edits);
    }
    let options = args.open.options().create(args.create).publish(args.publish);
    let mut map = open::view(options, &args.file)?;
    let mut printer = Printer { out: Out::open(), gone: false };
    let done = apply(&mut map, &mut edits, &mut |commit| printer.print(commit));
    drop(printer);
    if done.is_err() {
        // What is uncommitted would be lost by closing anyhow; said here so that nobody has to know.
        quiet_if_latched(map.rollback());
    }
    let closed = map.close();
    match (done, closed) {
        (Ok(()), closed) => Ok(closed?),
        (Err(failure), closed) => {
            quiet_if_latched(closed);
            Err(failure)
        }
    }
}

/// Complains about a failure that comes on top of another one, unless it only repeats that one.
fn quiet_if_latched(result: steadfast::Result<()>) {
    if let Err(error) = result
        && !matches!(error.kind(), ErrorKind::Latched | ErrorKind::InDoubt)
    {
        output::complain(&error.to_string());
    }
}

/// Applies the edits, commit by commit; each is acknowledged before the next line is read.
///
/// After a failure what was not committed still stands in memory.
pub fn apply(
    map: &mut AtomicMapping,
    edits: &mut Lines,
    acknowledge: &mut dyn FnMut(u64) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut pending = Pending::default();
    while let Some(line) = edits.next()? {
        let Some(edit) = edits::parse(&line).map_err(|why| refuse(edits, &why, pending))? else { continue };
        match edit {
            Edit::Commit => {
                // The library says whether the commit is undone or in doubt; nothing is to be added to that.
                let id = map.commit().map_err(|error| Failure::Failed(edits.place(&error.to_string())))?;
                pending = Pending { edits: 0, commits: pending.commits + 1 };
                acknowledge(id.get())?;
            }
            edit => {
                change(map, edit).map_err(|why| refuse(edits, &why, pending))?;
                pending.edits += 1;
            }
        }
    }
    match pending {
        Pending { edits: 0, .. } => Ok(()),
        Pending { commits: 0, .. } => {
            let id = map.commit()?;
            acknowledge(id.get())
        }
        Pending { edits: left, .. } => Err(left_over(left)),
    }
}

/// Edits that no commit line follows although there are commit lines: whoever wrote them stopped in the
/// middle.
fn left_over(edits: u64) -> Failure {
    let were = if edits == 1 { "was" } else { "were" };
    Failure::Failed(format!(
        "{} after the last commit line {were} not applied; add {{\"commit\":true}}",
        counted(edits, "edit")
    ))
}

/// The end of it all at this line: the reason, and what became of the lines before.
fn refuse(edits: &Lines, why: &str, pending: Pending) -> Failure {
    let rest = match pending {
        Pending { edits: 0, commits: 0 } => "; nothing was applied".to_owned(),
        Pending { edits: 0, .. } => String::new(),
        Pending { edits, .. } => {
            let them = if edits == 1 { "was" } else { "were" };
            format!("; the {} before it {them} not applied either", counted(edits, "edit"))
        }
    };
    Failure::Failed(format!("{}{rest}", edits.place(why)))
}

/// What has been read since the last commit, and how many commits there were.
#[derive(Debug, Clone, Copy, Default)]
struct Pending {
    edits: u64,
    commits: u64,
}

/// Prints acknowledgements for as long as somebody reads them.
///
/// When the reader has gone, the edits go on: exit code 0 says that all of them were applied, and `apply … |
/// head -1` must not stop a script half way.
struct Printer {
    out: Out,
    gone: bool,
}

impl Printer {
    fn print(&mut self, commit: u64) -> Result<(), Failure> {
        if self.gone {
            return Ok(());
        }
        match self.out.json(&Committed { commit }).and_then(|()| self.out.flush()) {
            Err(Failure::PipeClosed) => self.gone = true,
            result => result?,
        }
        Ok(())
    }
}

/// Checks every line against the length that the file would have, and touches nothing.
fn dry_run(args: &Args, edits: &mut Lines) -> Result<(), Failure> {
    let mut len = match steadfast::inspect(&args.file) {
        // Committed, though not yet in the file: this is the length that `apply` would find.
        Ok(report) if report.recovery_waits && !report.records.is_empty() => {
            report.records.last().map_or(0, |record| record.len)
        }
        Ok(_) => std::fs::metadata(&args.file)
            .map_err(|error| Failure::Failed(format!("{}: {error}", args.file.display())))?
            .len(),
        Err(error) if args.create && error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(error.into()),
    };
    let (mut edited, mut commits, mut pending, mut bad) = (0u64, 0u64, 0u64, 0u64);
    while let Some(line) = edits.next()? {
        let checked = edits::parse(&line).and_then(|edit| {
            match edit {
                None => return Ok(()),
                Some(Edit::Commit) => {
                    commits += 1;
                    pending = 0;
                    return Ok(());
                }
                Some(Edit::Bytes { at, bytes }) => {
                    within(at, bytes.len() as u64, len)?;
                }
                Some(Edit::Fill { at, len: count, .. }) => {
                    within(at, count, len)?;
                }
                Some(Edit::File { at, path }) => {
                    let bytes = match Patch::measure(&path)? {
                        Some(_) => Patch::open(&path)?.len,
                        None => None,
                    };
                    within(at, bytes.unwrap_or(0), len)?;
                }
                Some(Edit::Resize { len: new }) => len = new,
            }
            edited += 1;
            pending += 1;
            Ok(())
        });
        if let Err(why) = checked {
            output::complain(&edits.place(&why));
            bad += 1;
        }
    }
    let left_over = (commits > 0 && pending > 0).then(|| left_over(pending));
    if commits == 0 && edited > 0 {
        commits = 1;
    }
    output::note(&format!(
        "{}: {} in {}, {}; nothing was applied",
        edits.name(),
        counted(edited, "good edit"),
        counted(commits, "commit"),
        counted(bad, "bad line")
    ));
    match left_over {
        Some(failure) => Err(failure),
        None if bad > 0 => Err(Failure::No),
        None => Ok(()),
    }
}
