//! What happened to a disk, in order: writes, flushes, and what the program above was told between them.

use std::ops::Range;
use std::sync::Arc;

use rand::Rng;
use rand::seq::IndexedRandom;

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
    /// As a disk would leave it that says of the flushes of one commit that they are done, and does nothing. Which commit is
    /// drawn; a log in which no commit needed a flush stays as it is.
    ///
    /// Of no more than these flushes, or it is mostly the file system that breaks. And the log ends with the next flush after
    /// them, and starts with the last before them: what is cut elsewhere knows nothing of the lie.
    #[must_use]
    pub fn of_a_disk_that_lies(self, random: &mut impl Rng) -> Log {
        match self.commits().choose(random) {
            Some(commit) => self.without_flushes_in(commit.clone()),
            None => self,
        }
    }

    /// From the beginning of each commit to its acknowledgement, where writes and a flush stand between.
    fn commits(&self) -> Vec<Range<usize>> {
        let mut begun = vec![None; self.histories.len()];
        let mut commits = Vec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            let Entry::Told(file, told) = entry else { continue };
            let Some(begun) = begun.get_mut(*file) else { continue };
            match told {
                Told::Begun(_) => *begun = Some(at),
                Told::Durable(_) => commits.extend(begun.take().map(|begun| begun..at)),
                Told::NotCommitted | Told::Opening | Told::Closed | Told::Shown(_) => *begun = None,
            }
        }
        let holds = |commit: &Range<usize>, wanted: fn(&Entry) -> bool| {
            self.entries[commit.clone()].iter().any(wanted)
        };
        commits.retain(|commit| {
            holds(commit, |entry| matches!(entry, Entry::Flush))
                && holds(commit, |entry| matches!(entry, Entry::Write { .. }))
        });
        commits
    }

    fn without_flushes_in(mut self, lie: Range<usize>) -> Log {
        let is_flush = |entry: &Entry| matches!(entry, Entry::Flush);
        let end = self.entries[lie.end..].iter().position(is_flush);
        self.entries.truncate(end.map_or(self.entries.len(), |end| lie.end + end));
        let start = self.entries[..lie.start].iter().rposition(is_flush).map_or(0, |flush| flush + 1);
        let lied = self.entries.split_off(start);
        for entry in self.entries {
            match entry {
                Entry::Write { offset, bytes } => self.base.write(&bytes, offset),
                Entry::Flush => {}
                Entry::Told(file, told) => {
                    if let Some(history) = self.histories.get_mut(file) {
                        history.hear(told);
                    }
                }
            }
        }
        self.entries = lied;
        self.entries.retain(|entry| !is_flush(entry));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::images::write;
    use crate::workload::draws;

    #[test]
    fn a_disk_lies_of_the_flushes_of_one_commit() {
        let told = |told| Entry::Told(0, told);
        let state = |byte| told(Told::Begun(Arc::new(vec![byte])));
        let log = Log {
            base: Media::blank(1 << 16),
            histories: vec![History::new(vec![0])],
            entries: vec![
                // Nothing was to be flushed for this one.
                state(1),
                told(Told::Durable(1)),
                write(0, vec![1; 512]),
                Entry::Flush,
                write(512, vec![2; 512]),
                state(2),
                write(1024, vec![3; 512]),
                Entry::Flush,
                write(1536, vec![4; 512]),
                Entry::Flush,
                told(Told::Durable(2)),
                write(2048, vec![5; 512]),
                Entry::Flush,
                told(Told::Closed),
            ],
        };
        let lied = log.clone().of_a_disk_that_lies(&mut draws(1));
        assert_eq!((lied.counts(), lied.entries.len()), ((4, 0), 6));
        assert_eq!((lied.histories[0].durable, lied.histories[0].last()), (1, 1));
        let mut bytes = [0; 1024];
        lied.base.read(&mut bytes, 0);
        assert_eq!((bytes[0], bytes[512]), (1, 0), "what was flushed before is there, and no more");
        let honest = Log { entries: log.entries[..5].to_vec(), ..log };
        assert_eq!(honest.clone().of_a_disk_that_lies(&mut draws(1)).counts(), honest.counts());
    }
}
