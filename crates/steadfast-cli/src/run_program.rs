//! `steadfast run`: a program under the library that stands before its C library's calls.
//!
//! `LD_PRELOAD` fails silently where it fails: the dynamic linker ignores it for programs that gain rights, and a program without a dynamic
//! linker never hears of it. Somebody who asks for atomic files must not get plain ones, so all of that is looked for first.

mod find;
mod program;

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::Failure;

/// As shells have them.
const NOT_FOUND: u8 = 127;
const NOT_RUNNABLE: u8 = 126;

/// Run a program whose shared mappings keep their promises, although it knows nothing of them
///
/// Every shared mapping of a file in PROGRAM, and in what it starts, is synced with the promises of msync kept. With --atomic, mappings
/// of the files that a pattern matches are memory that commits: msync is all or nothing, through any crash, and what a crash leaves beside
/// such a file is recovered when it is opened. Nothing else may write these files meanwhile.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Make shared mappings of matching files atomic. A pattern of the shell's for the absolute path, such as '*.db' (* matches a / too);
    /// may be given several times.
    #[arg(long, value_name = "PATTERN")]
    atomic: Vec<OsString>,
    /// Refuse to map a matching file that cannot be mapped atomically, instead of passing it on to the kernel.
    #[arg(long)]
    strict: bool,
    /// Say what is done: a path, or stderr.
    #[arg(long, value_name = "WHERE")]
    log: Option<OsString>,
    /// Do not show commits to readers of the plain file before it is unmapped.
    #[arg(long)]
    no_publish: bool,
    /// Where libsteadfast_preload.so is, if it is not beside this command or in ../lib.
    #[arg(long, value_name = "PATH")]
    preload: Option<PathBuf>,
    /// The program, and its arguments.
    #[arg(value_name = "PROGRAM", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<OsString>,
}

/// Runs the command. Returns only if it fails.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let patterns = patterns(&args.atomic)?;
    let library = find::library(args.preload.as_deref())?;
    let [name, arguments @ ..] = &args.program[..] else {
        return Err(Failure::Usage("run: name a program".to_owned()));
    };
    let program = find::program(name)?;
    program::check(&program, &library)?;

    let mut command = Command::new(&program);
    command.arg0(name).args(arguments).env("LD_PRELOAD", preloads(&library));
    if let Some(patterns) = patterns {
        command.env("STEADFAST_ATOMIC", patterns);
    }
    if args.strict {
        command.env("STEADFAST_STRICT", "1");
    }
    if args.no_publish {
        command.env("STEADFAST_PUBLISH", "0");
    }
    if let Some(log) = &args.log {
        command.env("STEADFAST_LOG", log_place(log)?);
    }
    let error = command.exec();
    Err(Failure::Code(NOT_RUNNABLE, format!("run {}: it does not start ({error})", program.display())))
}

/// As one list. A pattern that can match nothing is a mistake that would show in a crash only.
fn patterns(patterns: &[OsString]) -> Result<Option<OsString>, Failure> {
    for pattern in patterns {
        let bytes = pattern.as_bytes();
        let shown = pattern.display();
        if bytes.contains(&b':') {
            return Err(Failure::Usage(format!(
                "run --atomic {shown}: a pattern cannot have a colon in it; put a ? in its place"
            )));
        }
        if !bytes.first().is_some_and(|first| b"/*?[\\".contains(first)) {
            return Err(Failure::Usage(format!(
                "run --atomic {shown}: the whole absolute path is compared, so this matches no file; write '*/{shown}', or the \
                 absolute path"
            )));
        }
    }
    Ok((!patterns.is_empty()).then(|| patterns.join(OsStr::new(":"))))
}

/// The library first, then whatever is there already.
fn preloads(library: &std::path::Path) -> OsString {
    let mut list = library.as_os_str().to_os_string();
    if let Some(others) = env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        list.push(":");
        list.push(others);
    }
    list
}

/// A path that stays right when the program, or what it starts, goes to another folder.
fn log_place(place: &OsStr) -> Result<OsString, Failure> {
    if place == "-" || place == "stderr" {
        return Ok(place.to_os_string());
    }
    std::path::absolute(place)
        .map(PathBuf::into_os_string)
        .map_err(|error| Failure::Usage(format!("run --log {}: {error}", place.display())))
}
