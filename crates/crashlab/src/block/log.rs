//! What happened to a disk, in order: writes, flushes, and what the program above was told between them.

use std::sync::Arc;

use super::media::Media;
use crate::history::{History, Told};

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Entry {
    /// These bytes were written here. Not durable before the next flush.
    Write {
        /// Where.
        offset: u64,
        /// What.
        bytes: Arc<Vec<u8>>,
    },
    /// Everything before it is durable.
    Flush,
    /// What was told of the file of this number.
    Told(usize, Told),
}

/// A disk at the start, and what happened to it since.
#[derive(Debug, Clone)]
pub struct Log {
    /// What the disk durably held at the start.
    pub base: Media,
    /// What was known of each file at the start.
    pub histories: Vec<History>,
    /// In order.
    pub entries: Vec<Entry>,
}

impl Log {
    /// As a disk would leave it that says of each flush that it is done, and does nothing.
    pub fn of_a_disk_that_lies(mut self) -> Log {
        self.entries.retain(|entry| !matches!(entry, Entry::Flush));
        self
    }

    /// At this position, is one of these files being recovered: opened, written for, and not shown to its program yet?
    pub fn is_in_recovery(&self, files: &[usize], position: usize) -> bool {
        files.iter().any(|&file| {
            let mut written = None;
            for entry in &self.entries[..position] {
                match entry {
                    Entry::Told(of, Told::Opening) if *of == file => written = written.or(Some(false)),
                    Entry::Told(of, Told::Shown(_)) if *of == file => return false,
                    Entry::Write { .. } => written = written.map(|_| true),
                    _ => {}
                }
            }
            written == Some(true)
        })
    }

    /// How many of the entries are writes, and how many flushes.
    pub fn counts(&self) -> (usize, usize) {
        let count = |wanted: fn(&Entry) -> bool| self.entries.iter().filter(|entry| wanted(entry)).count();
        (count(|entry| matches!(entry, Entry::Write { .. })), count(|entry| matches!(entry, Entry::Flush)))
    }
}
