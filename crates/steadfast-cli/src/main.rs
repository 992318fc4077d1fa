//! The `steadfast` command.
//!
//! One subject a file: [`cli`] says what can be asked, and each command has a file of its own.

#![warn(clippy::unwrap_used)]

mod apply;
mod backup;
mod cli;
mod edits;
mod failure;
mod log;
mod open;
mod output;
mod recover;
mod size;
mod sync;
mod tour;
mod verify;

fn main() -> std::process::ExitCode {
    cli::run()
}
