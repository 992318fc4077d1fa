//! Which files a command is about: names, folders, lists, and what a process has mapped or open.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use ignore::overrides::OverrideBuilder;
use ignore::{WalkBuilder, WalkState};
use steadfast::residency::CachedFile;

use crate::failure::Failure;
use crate::output;

pub(crate) mod process;

/// What to look at.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Selection {
    /// Files, and folders with everything below them.
    paths: Vec<PathBuf>,
    /// Read more names from this file, or from standard input (`-`): each ends with a zero byte, as `find -print0` writes them.
    #[arg(long, value_name = "FILE")]
    files0_from: Option<PathBuf>,
    /// The files that this process has mapped or open. May be given more than once.
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
    /// Do not go into other file systems that are mounted below a folder.
    #[arg(short = 'x', long)]
    one_file_system: bool,
    /// Of what lies below folders only names that match (`*.log`), or none that do (`!*.log`). May be given more than once.
    #[arg(long, value_name = "PATTERN")]
    glob: Vec<String>,
    /// How many files are looked at at once. Default: as many as there are processors.
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
}

/// What was found.
pub(crate) struct Selected<T> {
    /// An answer for each file, in the order of their names.
    pub(crate) found: Vec<T>,
    /// Names that could not be looked at.
    pub(crate) failed: Vec<(PathBuf, String)>,
}

impl Selection {
    /// Is nothing named?
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.files0_from.is_none() && self.pid.is_empty()
    }

    /// These names, and what lies below them.
    pub(crate) fn of(paths: &[PathBuf]) -> Selection {
        Selection { paths: paths.to_vec(), ..Selection::default() }
    }

    /// The same with the list of names read, so that it can be asked more than once.
    pub(crate) fn listed(&self) -> Result<Selection, Failure> {
        let mut listed = self.clone();
        if let Some(list) = listed.files0_from.take() {
            listed.paths.extend(names_in(&list)?);
        }
        Ok(listed)
    }

    /// The names that were given.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Asks something of every file, many at once. A file with several names is asked once. Complains of names that could not be looked
    /// at.
    pub(crate) fn ask<T: Send>(
        &self,
        question: impl Fn(&CachedFile) -> steadfast::Result<T> + Sync,
    ) -> Result<Selected<T>, Failure> {
        let selected = self.ask_quietly(question)?;
        selected.failed.iter().for_each(|(_, error)| output::complain(error));
        Ok(selected)
    }

    /// The same without a complaint, for those who have a place of their own for that.
    pub(crate) fn ask_quietly<T: Send>(
        &self,
        question: impl Fn(&CachedFile) -> steadfast::Result<T> + Sync,
    ) -> Result<Selected<T>, Failure> {
        let mut roots = self.paths.clone();
        if let Some(list) = &self.files0_from {
            roots.extend(names_in(list)?);
        }
        let mut processes = Vec::new();
        for &pid in &self.pid {
            processes.extend(process::files_of(pid)?);
        }
        if roots.is_empty() && self.pid.is_empty() {
            return if self.files0_from.is_some() {
                Ok(Selected { found: Vec::new(), failed: Vec::new() })
            } else {
                Err(Failure::Usage(
                    "name at least one file or folder, or give --pid or --files0-from".to_owned(),
                ))
            };
        }
        let (told, answers) = mpsc::channel();
        for (path, file) in processes {
            let answer = file.and_then(|file| Ok((file.identity(), question(&file)?)));
            // The receiver lives on below.
            let _ = told.send((path, answer));
        }
        if let Some((first, rest)) = roots.split_first() {
            let mut walk = WalkBuilder::new(first);
            rest.iter().for_each(|root| {
                walk.add(root);
            });
            walk.standard_filters(false)
                .same_file_system(self.one_file_system)
                .threads(self.threads.unwrap_or(0))
                .overrides(self.globs()?);
            let question = &question;
            std::thread::scope(|scope| {
                let walk = walk.build_parallel();
                scope.spawn(move || {
                    walk.run(|| {
                        let told = told.clone();
                        Box::new(move |entry| {
                            if let Some(answer) = answer(entry, question) {
                                // Nobody listens any more only when the program ends.
                                let _ = told.send(answer);
                            }
                            WalkState::Continue
                        })
                    });
                });
                Ok(gather(answers))
            })
        } else {
            drop(told);
            Ok(gather(answers))
        }
    }

    fn globs(&self) -> Result<ignore::overrides::Override, Failure> {
        let mut globs = OverrideBuilder::new("");
        for pattern in &self.glob {
            globs.add(pattern).map_err(|error| Failure::Usage(format!("--glob {pattern}: {error}")))?;
        }
        globs.build().map_err(|error| Failure::Usage(format!("--glob: {error}")))
    }
}

type Answer<T> = (PathBuf, steadfast::Result<((u64, u64), T)>);

/// One file below or at a name that was given; `None` for what is passed over.
fn answer<T>(
    entry: Result<ignore::DirEntry, ignore::Error>,
    question: &(impl Fn(&CachedFile) -> steadfast::Result<T> + Sync),
) -> Option<Answer<T>> {
    let entry = match entry {
        Ok(entry) => entry,
        Err(error) => return Some(unreadable(&error)),
    };
    let kind = entry.file_type();
    let is_asked_for = entry.depth() == 0;
    if kind.is_some_and(|kind| kind.is_dir()) || !is_asked_for && kind.is_none_or(|kind| !kind.is_file()) {
        return None;
    }
    let path = entry.into_path();
    let asked = CachedFile::open(&path).and_then(|file| Ok((file.identity(), question(&file)?)));
    // Gone since the folder was read: as if it had never been there.
    if !is_asked_for && asked.as_ref().is_err_and(|error| error.kind() == steadfast::ErrorKind::NotFound) {
        return None;
    }
    Some((path, asked))
}

fn unreadable<T>(error: &ignore::Error) -> Answer<T> {
    let mut path = PathBuf::new();
    let mut inner = error;
    loop {
        match inner {
            ignore::Error::WithPath { path: at, err } => {
                path = at.clone();
                inner = err;
            }
            ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => inner = err,
            _ => break,
        }
    }
    let source = match inner.io_error() {
        Some(error) => error.raw_os_error().map_or(io::ErrorKind::Other.into(), io::Error::from_raw_os_error),
        None => io::Error::other(inner.to_string()),
    };
    let error = steadfast::Error::from_io("read", source).path(&path);
    (path, Err(error))
}

fn gather<T>(answers: mpsc::Receiver<Answer<T>>) -> Selected<T> {
    let mut seen = HashSet::new();
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    let mut all: Vec<_> = answers.into_iter().collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (path, answer) in all {
        match answer {
            Ok((identity, answer)) if seen.insert(identity) => found.push(answer),
            Ok(_) => {}
            Err(error) => failed.push((path, error.to_string())),
        }
    }
    Selected { found, failed }
}

/// Names that end with zero bytes.
fn names_in(list: &Path) -> Result<Vec<PathBuf>, Failure> {
    let read = if list == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(list)
    };
    let bytes =
        read.map_err(|error| Failure::Failed(format!("cannot read the list {}: {error}", list.display())))?;
    let names = bytes.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect())
}
