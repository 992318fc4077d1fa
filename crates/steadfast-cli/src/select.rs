//! Which files a command is about: names, folders, lists, and what a process has mapped or open.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ignore::overrides::OverrideBuilder;
use steadfast::residency::CachedFile;

use crate::failure::Failure;
use crate::output;

pub(crate) mod process;
mod walk;

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
    /// The list has been read into the names.
    #[arg(skip)]
    is_listed: bool,
}

/// What was found.
pub(crate) struct Selected<T> {
    /// An answer for each file, in the order of their names.
    pub(crate) found: Vec<(PathBuf, T)>,
    /// Names that could not be looked at.
    pub(crate) failed: Vec<(PathBuf, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    ByName,
    Any,
}

impl Selection {
    /// Is nothing named?
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.files0_from.is_none() && !self.is_listed && self.pid.is_empty()
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
            listed.is_listed = true;
        }
        Ok(listed)
    }

    /// The names that were given.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Whether everything that lies below its folders is looked at, and nothing else than that and what is named.
    pub(crate) fn leaves_nothing_out(&self) -> bool {
        self.glob.is_empty() && self.pid.is_empty()
    }

    /// How many files are to be handled at once, if that was said.
    pub(crate) fn threads(&self) -> Option<usize> {
        self.threads
    }

    /// Asks something of every file, many at once. A file with several names is asked once. Complains of names that could not be looked
    /// at.
    pub(crate) fn ask<T: Send>(
        &self,
        question: impl Fn(&CachedFile) -> steadfast::Result<T> + Sync,
    ) -> Result<Selected<T>, Failure> {
        complained(self.ask_in(Order::ByName, question, &|_| {})?)
    }

    /// The same, and tells of every folder that it looks into.
    pub(crate) fn ask_and_tell_folders<T: Send>(
        &self,
        question: impl Fn(&CachedFile) -> steadfast::Result<T> + Sync,
        tell: &(dyn Fn(&Path) + Sync),
    ) -> Result<Selected<T>, Failure> {
        complained(self.ask_in(Order::ByName, question, tell)?)
    }

    /// The same without a complaint, for those who have a place of their own for that.
    pub(crate) fn ask_quietly<T: Send>(
        &self,
        question: impl Fn(&CachedFile) -> steadfast::Result<T> + Sync,
    ) -> Result<Selected<T>, Failure> {
        self.ask_in(Order::ByName, question, &|_| {})
    }

    /// As [`ask`](Self::ask), where nobody wants to see the single files.
    pub(crate) fn ask_unordered<T: Send>(
        &self,
        question: impl Fn(&CachedFile) -> steadfast::Result<T> + Sync,
    ) -> Result<Selected<T>, Failure> {
        complained(self.ask_in(Order::Any, question, &|_| {})?)
    }

    fn ask_in<T: Send>(
        &self,
        order: Order,
        question: impl Fn(&CachedFile) -> steadfast::Result<T> + Sync,
        tell_folder: &(dyn Fn(&Path) + Sync),
    ) -> Result<Selected<T>, Failure> {
        if self.is_empty() {
            return Err(Failure::Usage(
                "name at least one file or folder, or give --pid or --files0-from".to_owned(),
            ));
        }
        let mut roots = self.paths.clone();
        if let Some(list) = &self.files0_from {
            roots.extend(names_in(list)?);
        }
        let mut processes = Vec::new();
        for &pid in &self.pid {
            processes.extend(process::files_of(pid)?);
        }
        let of_processes: Vec<Answer<T>> = processes
            .into_iter()
            .map(|(path, file)| (path, file.and_then(|file| Ok((Some(file.identity()), question(&file)?)))))
            .collect();
        // Of what lies below one folder only a file with several names can be met twice.
        let meets_all_once = roots.len() <= 1 && self.pid.is_empty();
        let globs = self.globs()?;
        let threads = match self.threads {
            Some(threads) => threads.max(1),
            None => std::thread::available_parallelism().map_or(1, |threads| threads.get()),
        };
        let mut answers =
            walk::Walk::new(question, &globs, self.one_file_system, meets_all_once, order, tell_folder)
                .run(roots, threads);
        answers.push(of_processes);
        Ok(gather(answers, order))
    }

    fn globs(&self) -> Result<ignore::overrides::Override, Failure> {
        let mut globs = OverrideBuilder::new("");
        for pattern in &self.glob {
            globs.add(pattern).map_err(|error| Failure::Usage(format!("--glob {pattern}: {error}")))?;
        }
        globs.build().map_err(|error| Failure::Usage(format!("--glob: {error}")))
    }
}

/// With the file's identity, if it may be met again.
type Answer<T> = (PathBuf, steadfast::Result<(Option<(u64, u64)>, T)>);

fn complained<T>(selected: Selected<T>) -> Result<Selected<T>, Failure> {
    selected.failed.iter().for_each(|(_, error)| output::complain(error));
    Ok(selected)
}

fn gather<T>(answers: Vec<Vec<Answer<T>>>, order: Order) -> Selected<T> {
    let mut seen = HashSet::new();
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for (path, answer) in answers.into_iter().flatten() {
        match answer {
            Ok((identity, answer)) => found.push((path, identity, answer)),
            Err(error) => failed.push((path, error.to_string())),
        }
    }
    if order == Order::ByName {
        found.sort_unstable_by(|(one, ..), (other, ..)| one.as_os_str().cmp(other.as_os_str()));
    }
    failed.sort_unstable();
    let found =
        found.into_iter().filter(|(_, identity, _)| identity.is_none_or(|identity| seen.insert(identity)));
    Selected { found: found.map(|(path, _, answer)| (path, answer)).collect(), failed }
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
