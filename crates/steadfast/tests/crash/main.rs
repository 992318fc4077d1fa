//! Crash consistency of memory that commits, over a simulated disk.
//!
//! One scripted workload (edits, plain stores, relaxed commits, growth, shrinking, rollback, checkpoints, a commit that
//! outgrows the journal, close and reopen) is run once to count its operations on the disk, and then again and
//! again, stopped at each of them. Every stop leaves images: what a kill leaves (all that was written, synced or not), and
//! what power cuts leave (any subset of what was not synced, the last write torn). Every image is recovered, and every
//! recovery is itself stopped at each of its operations, with images of its own.
//!
//! What must hold in all of them: the file is, byte for byte, the last acknowledged commit or the one in flight.

mod copies;
mod failing;
mod images;
mod matrix;
mod readers;
mod script;
mod secrets;
mod ways_out;
