//! `steadfast backup`: a plain copy of the last commit.

use std::path::PathBuf;

use steadfast::ErrorKind;

use crate::failure::Failure;
use crate::open::{self, OpenArgs};
use crate::output::Out;
use crate::size;

/// Copy the last commit of a file to another file
///
/// The copy is a plain file, whole and durable, or it is not there at all. If a crash left a journal beside
/// the file, it is replayed first. While the copy is made nothing else may write the file; programs that use
/// Steadfast are kept out by a lock. Where one of them has the file open for commits, its last commit is read
/// beside it, into memory; it goes on meanwhile.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to copy.
    file: PathBuf,
    /// Where the copy goes.
    to: PathBuf,
    #[command(flatten)]
    open: OpenArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let map = match open::view(args.open.options(), &args.file) {
        Err(error) if error.kind() == ErrorKind::Locked => {
            args.open.options().read_only(true).load(&args.file)
        }
        opened => opened,
    }?;
    let bytes = map.len() as u64;
    let copied = map.copy_to(&args.to);
    // Closed either way: the file must not keep a journal because its copy failed.
    let closed = map.close();
    copied?;
    closed?;
    let mut out = Out::open();
    out.line(format!("{}: {} copied to {}", args.file.display(), size::show(bytes), args.to.display()))?;
    out.flush()
}
