//! The `steadfast` command, as a library: for the command itself, and for the rig that feeds `apply` with anything.
//!
//! One subject a file: `cli` says what can be asked, and each command has a file of its own.

#![warn(clippy::unwrap_used)]

mod advise;
mod append;
mod apply;
mod backup;
mod bench;
mod change;
mod cli;
mod duration;
mod edits;
mod evict;
mod failure;
mod groups;
mod install;
mod interrupt;
mod lines;
mod lock;
mod log;
mod memory;
mod open;
mod output;
mod pattern;
pub mod place;
mod recover;
mod remember;
mod run_program;
mod screen;
mod select;
mod size;
mod stat;
pub mod statistics;
mod sync;
mod top;
mod tour;
mod verify;
mod warm;
mod watch;
mod work_folder;

pub use apply::apply;
pub use cli::run;
pub use edits::{Edit, parse};
pub use failure::Failure;
pub use lines::Lines;
