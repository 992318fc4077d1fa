//! `steadfast sync`: make what others wrote to files durable.

use std::path::{Path, PathBuf};

use steadfast::Mapping;

use crate::failure::Failure;
use crate::output;
use crate::size::ByteRange;

/// Make the content of files durable
///
/// Maps each file and syncs it: when this returns with exit code 0, bytes, size and name of every file
/// survive a power cut, whoever wrote them. (It cannot make several changes atomic: that is what `apply` is
/// for.) A file that fails is named, and the others are synced all the same; then the exit code is 1.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Only these bytes of each file: A..B, A.. or ..B, with suffixes such as 64K or 1GiB.
    #[arg(long, value_name = "A..B", value_parser = ByteRange::parse)]
    range: Option<ByteRange>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut failed = false;
    for file in &args.files {
        if let Err(error) = sync(file, args.range.unwrap_or(ByteRange::ALL)) {
            output::complain(&error.to_string());
            failed = true;
        }
    }
    if failed { Err(Failure::No) } else { Ok(()) }
}

fn sync(file: &Path, ByteRange(start, end): ByteRange) -> steadfast::Result<()> {
    let map = Mapping::options().write(true).open(file)?;
    map.sync((start, end))?;
    map.close()
}
