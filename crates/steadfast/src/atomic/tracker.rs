//! Which pages of the working image were stored to.
//!
//! Three ways behind one face; which one serves is chosen by probing. Nothing is tracked before somebody borrows the
//! whole slice: a map that sees only declared edits pays nothing.

use std::fmt;
use std::io;
use std::ops::Range;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::page_size;
use crate::sys::pagemap::Pagemap;
use crate::sys::write_protect::WriteProtection;

/// How a map finds plain stores: see [`AtomicOptions::tracker`](crate::AtomicOptions::tracker), which has an example.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tracker {
    /// The best that is to be had: `WriteProtect`, or `PrivateCopies` where the kernel refuses that.
    #[default]
    Automatic,
    /// The kernel notes each page that is written (asynchronous userfaultfd write protection, Linux 6.7). A commit looks at
    /// nothing but those.
    WriteProtect,
    /// Pages that were stored to are copies of this process's own, which `/proc/self/pagemap` tells apart, on any Linux. A commit
    /// walks the page tables of the whole map.
    PrivateCopies,
    /// No help of the kernel: once the whole slice was borrowed mutably, a commit compares every byte. For maps that are changed
    /// by declared edits only.
    Declared,
}

/// The variable that chooses where the program does not.
const VARIABLE: &str = "STEADFAST_TRACKER";

impl fmt::Display for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tracker::Automatic => "automatic",
            Tracker::WriteProtect => "write-protect",
            Tracker::PrivateCopies => "private-copies",
            Tracker::Declared => "declared",
        })
    }
}

impl FromStr for Tracker {
    type Err = Error;

    fn from_str(name: &str) -> Result<Tracker> {
        let all = [Tracker::Automatic, Tracker::WriteProtect, Tracker::PrivateCopies, Tracker::Declared];
        all.into_iter().find(|tracker| tracker.to_string() == name).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "open", format!("there is no tracker named {name:?}")).advice(
                format!("{VARIABLE} may be automatic, write-protect, private-copies or declared, or unset"),
            )
        })
    }
}

impl Tracker {
    /// What the program asked for, or the environment where it did not.
    pub(super) fn asked(option: Tracker) -> Result<Tracker> {
        let variable = match std::env::var_os(VARIABLE) {
            Some(name) => name.to_string_lossy().parse()?,
            None => Tracker::Automatic,
        };
        Ok(if option == Tracker::Automatic { variable } else { option })
    }

    /// Which one is to be had. Asks the kernel and keeps nothing.
    pub(super) fn choose(self) -> Result<Tracker> {
        match (self, WriteProtection::new()) {
            (Tracker::Automatic | Tracker::WriteProtect, Ok(_)) => Ok(Tracker::WriteProtect),
            (Tracker::Automatic, Err(why)) => {
                log::debug!("no write protection ({}: {}): looking for private copies", why.call, why.source);
                Ok(Tracker::PrivateCopies)
            }
            (Tracker::WriteProtect, Err(why)) => {
                let text = format!("the tracker write-protect is not to be had: {}", why.call);
                Err(Error::from_io("open", why.source)
                    .become_kind(ErrorKind::Unsupported, "open", &text)
                    .advice(
                        "it needs Linux 6.7, and userfaultfd must not be forbidden (containers often do); \
                     or leave the choice to `automatic`",
                    ))
            }
            (other, _) => Ok(other),
        }
    }
}

/// A run that is longer is looked at once more, to tell pages that were stored to from those that were only read.
const SHORT_RUN_PAGES: usize = 32;
/// How often it is looked which way of asking is the faster one.
const CHOOSE_EVERY: u32 = 128;

/// A tracker at work.
#[derive(Debug)]
pub(super) enum Tracking {
    WriteProtect(Watch),
    PrivateCopies(Pagemap),
    Declared,
}

/// Two ways of asking the kernel for written pages. Measured on 256 MiB: where all pages are mapped, knowing every one of them makes
/// it 54 instead of 126 µs; where none is, it costs 113 µs and the page tables, instead of nothing.
#[derive(Debug)]
pub(super) struct Watch {
    protection: WriteProtection,
    /// Every page is protected, or was written to.
    all_known: bool,
    questions: u32,
}

impl Watch {
    /// Most of the memory is mapped: to know all of it is the faster way from now on. Nothing was stored since it was last asked.
    fn choose(&mut self, memory: &Range<usize>) -> io::Result<()> {
        if !self.all_known && self.protection.present_bytes(memory.clone())? > memory.len() / 5 * 3 {
            self.protection.protect_all(memory.clone())?;
            self.all_known = true;
        }
        Ok(())
    }

    /// So many of all pages were dropped, after so many commits: is it worth it to map them again? That takes about 1.1 µs for each,
    /// once; the kernel takes 0.9 ns longer for a page that is protected and not there, at each commit.
    pub(super) fn wants_pages_mapped(&self, pages: usize, dropped: usize, commits: usize) -> bool {
        self.all_known && commits.saturating_mul(pages) > dropped.saturating_mul(1200)
    }

    fn take_written(&self, memory: &Range<usize>, changed: &mut Vec<Range<usize>>) -> io::Result<()> {
        let short_bytes = SHORT_RUN_PAGES * page_size();
        let mut long = Vec::new();
        // In one call: pieces of it on two threads take longer, since each has to tell the other's processor what it protected.
        self.protection.take_written(memory.clone(), self.all_known, |run| {
            let is_long = !self.all_known && run.len() > short_bytes;
            if is_long { &mut long } else { &mut *changed }.push(run);
        })?;
        for run in long {
            let at = changed.len();
            if let Err(error) = self.protection.private_pages(run.clone(), |run| changed.push(run)) {
                log::debug!("PAGEMAP_SCAN for private copies: {error}");
                changed.truncate(at);
                changed.push(run);
            }
        }
        Ok(())
    }
}

impl Tracking {
    /// Begins with memory in which every store so far is known. Where the way that was chosen is not to be had any more, the
    /// next is taken.
    pub(super) fn begin(tracker: Tracker, memory: Range<usize>) -> Tracking {
        match tracker {
            Tracker::Declared => Tracking::Declared,
            Tracker::Automatic | Tracker::WriteProtect => match WriteProtection::new() {
                Ok(protection) => {
                    let watch = Watch { protection, all_known: false, questions: 0 };
                    let mut tracking = Tracking::WriteProtect(watch);
                    tracking.cover(memory);
                    tracking
                }
                Err(why) => {
                    log::warn!("{}: {}; looking for private copies instead", why.call, why.source);
                    Tracking::private_copies()
                }
            },
            Tracker::PrivateCopies => Tracking::private_copies(),
        }
    }

    fn private_copies() -> Tracking {
        match Pagemap::open() {
            Ok(pagemap) => Tracking::PrivateCopies(pagemap),
            Err(error) => {
                log::warn!("no /proc/self/pagemap ({error}): commits compare all pages");
                Tracking::Declared
            }
        }
    }

    pub(super) fn kind(&self) -> Tracker {
        match self {
            Tracking::WriteProtect(_) => Tracker::WriteProtect,
            Tracking::PrivateCopies(_) => Tracker::PrivateCopies,
            Tracking::Declared => Tracker::Declared,
        }
    }

    /// Memory was mapped at these addresses, in which every store so far is known: it is watched from now on.
    pub(super) fn cover(&mut self, memory: Range<usize>) {
        let Tracking::WriteProtect(watch) = self else { return };
        let covered = watch.protection.watch(memory.clone()).and_then(|()| {
            if watch.all_known {
                return watch.protection.protect_all(memory);
            }
            // What is there by now is no news.
            watch.protection.take_written(memory, false, |_| {})
        });
        if let Err(error) = covered {
            // Whatever was stored to is a private copy in any case.
            log::warn!("write protection: {error}; looking for private copies from now on");
            *self = Tracking::private_copies();
        }
    }

    /// All of the memory was mapped anew.
    pub(super) fn cover_all(&mut self, memory: Range<usize>) {
        if let Tracking::WriteProtect(watch) = self {
            (watch.all_known, watch.questions) = (false, 0);
        }
        self.cover(memory);
    }

    /// Adds the pages that were stored to since the last call, or more: as offsets from the start of `memory`, in order.
    /// `at_rest` says that no store can come meanwhile.
    pub(super) fn take_changed(
        &mut self,
        memory: Range<usize>,
        at_rest: bool,
        changed: &mut Vec<Range<usize>>,
    ) {
        let at = changed.len();
        match self {
            Tracking::WriteProtect(watch) => {
                let taken = watch.take_written(&memory, changed).and_then(|()| {
                    if at_rest && watch.questions.is_multiple_of(CHOOSE_EVERY) {
                        watch.choose(&memory)?;
                    }
                    watch.questions = watch.questions.wrapping_add(1);
                    Ok(())
                });
                if let Err(error) = taken {
                    log::warn!("PAGEMAP_SCAN: {error}; looking for private copies from now on");
                    *self = Tracking::private_copies();
                    changed.truncate(at);
                    return self.take_changed(memory, at_rest, changed);
                }
                for run in &mut changed[at..] {
                    *run = run.start - memory.start..run.end - memory.start;
                }
            }
            Tracking::PrivateCopies(pagemap) => match pagemap.private_pages(memory.start, memory.len()) {
                Ok(runs) => changed.extend(runs),
                Err(error) => {
                    // No reason to lose a store.
                    log::warn!("/proc/self/pagemap: {error}");
                    changed.push(0..memory.len());
                }
            },
            Tracking::Declared => changed.push(0..memory.len()),
        }
    }
}

/// Every private page of a mapping, or all of them where nobody can tell.
pub(super) fn private_pages(memory: Range<usize>) -> Vec<Range<usize>> {
    let found = Pagemap::open().and_then(|pagemap| pagemap.private_pages(memory.start, memory.len()));
    found.unwrap_or_else(|error: io::Error| {
        log::warn!("/proc/self/pagemap: {error}");
        std::iter::once(0..memory.len()).collect()
    })
}

/// Sorted, apart from each other, and covering the same bytes.
pub(super) fn normalise(runs: &mut Vec<Range<usize>>) {
    runs.sort_unstable_by_key(|run| run.start);
    runs.dedup_by(|next, last| {
        let touches = next.start <= last.end;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_refused() {
        for tracker in [Tracker::Automatic, Tracker::WriteProtect, Tracker::PrivateCopies, Tracker::Declared]
        {
            assert_eq!(tracker.to_string().parse::<Tracker>().unwrap(), tracker);
        }
        let error = "fast".parse::<Tracker>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("private-copies"), "{error}");
    }

    #[test]
    fn runs_that_touch_become_one() {
        let mut runs = vec![8..12, 0..4, 4..8, 20..24, 10..14];
        normalise(&mut runs);
        assert_eq!(runs, [0..14, 20..24]);
    }
}
