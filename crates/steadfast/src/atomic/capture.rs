//! What a commit has to record.
//!
//! Plainly: every byte of the working image that differs from the committed image. Three departures: where only declared
//! edits were made, those are taken as they are and nothing is searched ([`declared`](super::declared)); where the kernel is asked, only pages that were stored to
//! are compared; and pages that turn out to differ throughout are recorded whole without a closer look.

use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::AtomicMapping;
use super::compare::differences;
use super::declared::EXTENT_BYTES_MAX;
use super::second_thread::in_pieces;
use super::tracker::normalise;
use crate::batch::Extent;
use crate::error::{Error, Result};
use crate::kept::Kept;
use crate::sys;
use crate::sys::buffer::Buffer;
use crate::sys::prefetch::prefetch;

/// So many pages are compared as a piece of work of its own.
const PIECE_PAGES: usize = 64;
/// From so many pieces on they are shared with a second thread: measured, 256 pages take as long, 4096 half as long.
const SHARED_PIECES_MIN: usize = 16;
/// After so many pages in a row that differ throughout, as many are recorded whole before one is compared again.
const ALIKE_PAGES: usize = 8;
/// So many bytes are copied at once: they are still in the processor's cache when they are compared.
const COPIED_BYTES_MAX: usize = 64 << 10;
/// A page in more pieces than this is recorded whole: each piece costs more at the checkpoint than the bytes it saves.
const PIECES_MAX: usize = 32;

/// The changed bytes, copied once: what is recorded and folded in is one and the same copy.
#[derive(Debug, Default)]
pub(super) struct Captured {
    pub(super) extents: Vec<Extent>,
    bytes: Bytes,
    /// Pages that were looked at and are equal: they are private copies all the same.
    pub(super) copies: Vec<Range<usize>>,
    /// Pages that may have changed too, and are left for another commit.
    pub(super) left: Vec<Range<usize>>,
}

#[derive(Debug)]
enum Bytes {
    Few(Vec<u8>),
    /// An allocator would keep so many for the next time.
    Many(Buffer),
}

impl Default for Bytes {
    fn default() -> Self {
        Bytes::Few(Vec::new())
    }
}

const FEW_BYTES_MAX: usize = 1 << 20;

impl Bytes {
    fn zeros(len: usize) -> io::Result<Bytes> {
        Ok(if len <= FEW_BYTES_MAX { Bytes::Few(vec![0; len]) } else { Bytes::Many(Buffer::zeros(len)?) })
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        match self {
            Bytes::Few(bytes) => bytes,
            Bytes::Many(buffer) => buffer,
        }
    }
}

impl Captured {
    /// The bytes of all extents, one behind the other.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Few(bytes) => bytes,
            Bytes::Many(buffer) => buffer,
        }
    }

    /// One piece is all of it.
    fn of(piece: Capture) -> Captured {
        let Capture { extents, bytes, copies } = piece;
        Captured { extents, bytes: Bytes::Few(bytes), copies, left: Vec::new() }
    }

    /// Its memory, for the next one.
    pub(super) fn give_back(self, kept: &mut Kept) {
        if let Bytes::Few(bytes) = self.bytes
            && bytes.capacity() > 0
        {
            let used_bytes = bytes.len();
            kept.put_back(bytes, used_bytes);
        }
    }

    /// Puts pieces one behind the other.
    fn join(pieces: Vec<Capture>) -> io::Result<Captured> {
        let mut joined = Captured {
            bytes: Bytes::zeros(pieces.iter().map(|piece| piece.bytes.len()).sum())?,
            ..Captured::default()
        };
        let mut rest = joined.bytes.as_mut_slice();
        for piece in pieces {
            let (these, others) = rest.split_at_mut(piece.bytes.len());
            these.copy_from_slice(&piece.bytes);
            rest = others;
            piece.extents.into_iter().for_each(|extent| note(&mut joined.extents, extent));
            joined.copies.extend(piece.copies);
        }
        Ok(joined)
    }
}

/// Adds an extent, to the last one if it goes on where that ends.
fn note(extents: &mut Vec<Extent>, next: Extent) {
    match extents.last_mut() {
        Some(last) if last.end() == next.offset && (last.len + next.len) as usize <= EXTENT_BYTES_MAX => {
            last.len += next.len;
        }
        _ => extents.push(next),
    }
}

/// A piece of it.
#[derive(Debug, Default)]
struct Capture {
    extents: Vec<Extent>,
    bytes: Vec<u8>,
    copies: Vec<Range<usize>>,
}

impl Capture {
    fn push(&mut self, offset: usize, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let piece = &bytes[at..bytes.len().min(at + EXTENT_BYTES_MAX)];
            self.bytes.extend_from_slice(piece);
            note(&mut self.extents, Extent { offset: (offset + at) as u64, len: piece.len() as u32 });
            at += piece.len();
        }
    }

    /// Records where a page differs from its committed image, which counts as zeros behind its end; nothing if that is most of it.
    fn compare(&mut self, offset: usize, page: &[u8], committed: &[u8]) -> Comparison {
        static ZEROS: [u8; 4096] = [0; 4096];
        let (extents, bytes) = (self.extents.len(), self.bytes.len());
        let before = self.extents.last().copied();
        let mut differing_bytes = 0;
        let mut pieces = 0;
        let (over_committed, over_nothing) = page.split_at(committed.len());
        let mut push = |at: usize, piece: &[u8]| {
            differing_bytes += piece.len();
            pieces += 1;
            self.push(offset + at, piece);
        };
        differences(committed, over_committed, |run| push(run.start, &over_committed[run]));
        for (index, part) in over_nothing.chunks(ZEROS.len()).enumerate() {
            let at = committed.len() + index * ZEROS.len();
            differences(&ZEROS[..part.len()], part, |run| push(at + run.start, &part[run]));
        }
        if pieces == 0 {
            return Comparison::Equal;
        }
        if pieces > PIECES_MAX || 4 * differing_bytes > 3 * page.len() {
            // Taken back, for the caller to record the page as it is.
            self.extents.truncate(extents);
            self.bytes.truncate(bytes);
            if let (Some(last), Some(before)) = (self.extents.last_mut(), before) {
                *last = before;
            }
            return Comparison::Whole;
        }
        Comparison::Parts
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    /// Recorded in parts.
    Parts,
    /// To be recorded whole.
    Whole,
}

impl AtomicMapping {
    /// Finds what was stored to, and compares it: all of it, or what lies in some whole pages.
    pub(super) fn capture(&mut self, within: Option<&Range<usize>>) -> Result<Captured> {
        let page = sys::page_size();
        // Memory is about to be compared with what the store keeps.
        self.store.check_unchanged()?;
        // A commit that was refused because a page of that could not be had succeeds once it can.
        self.working.look_anew();
        self.refuse_any_damage("commit")?;
        self.working.find_changes(self.len, !self.lent_raw);
        // What was declared is recorded although the kernel may not have seen it: a device may have stored it.
        let mut runs = self.working.changed.clone();
        if !self.declared.is_empty() {
            runs.extend(self.declared.pages());
            normalise(&mut runs);
        }
        let left = match within {
            Some(pages) => {
                let left = outside(&runs, pages);
                runs = inside(&runs, pages);
                left
            }
            None => Vec::new(),
        };
        // At and beyond the smallest length the committed image counts as zeros.
        let committed_end = self.len_min.min(self.store.committed_len() as usize);
        let options = self.working.region_options();
        let window_bytes = committed_end.next_multiple_of(page);
        let opened = self.working.committed.open_window(&*self.store, window_bytes, options);
        if let Err(error) = opened {
            log::debug!("pages are recorded whole: {error}");
        }
        let (runs, pieces) = in_pieces_of(runs, self.len, PIECE_PAGES * page);
        // Another thread that was awake makes the kernel slower at protecting pages; it must be worth that.
        let captured = if pieces.len() < SHARED_PIECES_MIN {
            let mut bytes = self.captured_bytes.take();
            bytes.clear();
            let all = Capture { bytes, ..Capture::default() };
            Captured::of(self.capture_runs(all, &runs, committed_end)?)
        } else {
            self.capture_shared(&runs, &pieces, committed_end)?
        };
        self.refuse_any_damage("commit")?;
        Ok(Captured { left, ..captured })
    }

    /// Together with a second thread, if that has time.
    fn capture_shared(
        &self,
        runs: &[Range<usize>],
        pieces: &[Range<usize>],
        committed_end: usize,
    ) -> Result<Captured> {
        let captured: Vec<Mutex<Result<Capture>>> =
            pieces.iter().map(|_| Mutex::new(Ok(Capture::default()))).collect();
        in_pieces(pieces.len(), &|index| {
            let piece = self.capture_runs(Capture::default(), &runs[pieces[index].clone()], committed_end);
            *captured[index].lock().unwrap_or_else(PoisonError::into_inner) = piece;
        });
        let captured =
            captured.into_iter().map(|piece| piece.into_inner().unwrap_or_else(PoisonError::into_inner));
        let captured = captured.collect::<Result<_>>()?;
        Captured::join(captured).map_err(|error| Error::from_io("commit", error).path(self.store.path()))
    }

    /// Every page that was stored to since the last commit, whole: what the store keeps is not looked at, since a try that failed may have
    /// written half of them there.
    pub(super) fn uncommitted_pages(&mut self) -> Result<Captured> {
        self.working.look_anew();
        self.refuse_any_damage("close")?;
        self.working.find_changes(self.len, !self.lent_raw);
        let mut runs = self.working.changed.clone();
        runs.extend(self.declared.pages());
        normalise(&mut runs);
        let (mut capture, mut copy) = (Capture::default(), Vec::new());
        for run in inside(&runs, &(0..self.len)) {
            self.copy_run(&run, &mut copy)?;
            capture.push(run.start, &copy);
        }
        self.refuse_any_damage("close")?;
        Ok(Captured::of(capture))
    }

    fn capture_runs(
        &self,
        mut capture: Capture,
        runs: &[Range<usize>],
        committed_end: usize,
    ) -> Result<Capture> {
        let page = sys::page_size();
        let mut closeness = Closeness::default();
        // Where stores may come at any time, what is compared is a copy that no longer changes, and no reference is made to the memory
        // itself.
        let (mut copy, mut copied, mut copied_to) = (Vec::new(), 0..0, 0);
        for (index, run) in runs.iter().enumerate() {
            let bytes = if self.lent_raw {
                if index == copied_to {
                    copied = 0..0;
                    copied_to += self.copy_runs(&runs[index..], &mut copy)?;
                }
                copied = copied.end..copied.end + run.len();
                &copy[copied.clone()]
            } else {
                &self.working.bytes(self.len)[run.clone()]
            };
            if let Some(next) = runs.get(index + 1).filter(|_| !self.lent_raw) {
                // Each is in another place of memory: while this one is compared the next one may come.
                prefetch(&self.working.bytes(self.len)[next.start..]);
                if let Some(committed) =
                    self.working.committed.bytes(next.start..committed_end.clamp(next.start, next.start + 1))
                {
                    prefetch(committed);
                }
            }
            let known = run.start..run.end.min(committed_end);
            let behind = self.working.is_view() && !known.is_empty() && self.is_behind(known)?;
            let mut at = run.start;
            while at < run.end {
                let page = at..run.end.min(at + page);
                at = page.end;
                let bytes = &bytes[page.start - run.start..page.end - run.start];
                let compared = self.capture_page(
                    &mut capture,
                    page.clone(),
                    bytes,
                    committed_end,
                    behind,
                    &mut closeness,
                )?;
                if compared == Comparison::Equal && !self.working.looks_everywhere() {
                    capture.copies.push(page);
                }
            }
        }
        Ok(capture)
    }

    /// The first runs as they are now, one behind the other: how many.
    fn copy_runs(&self, runs: &[Range<usize>], copy: &mut Vec<u8>) -> Result<usize> {
        let mut bytes = 0;
        let fits = |run: &&Range<usize>| {
            bytes += run.len();
            bytes <= COPIED_BYTES_MAX
        };
        let first = &runs[..runs.iter().take_while(fits).count().max(1)];
        copy.resize(first.iter().map(ExactSizeIterator::len).sum(), 0);
        if self.working.copy_parts(first, copy).is_err() {
            // One by one it is known whose page it is.
            let mut run_copy = Vec::new();
            let mut at = 0;
            for run in first {
                self.copy_run(run, &mut run_copy)?;
                copy[at..at + run.len()].copy_from_slice(&run_copy);
                at += run.len();
            }
        }
        Ok(first.len())
    }

    /// A run as it is now.
    fn copy_run(&self, run: &Range<usize>, copy: &mut Vec<u8>) -> Result<()> {
        copy.resize(run.len(), 0);
        let Err(error) = self.working.copy_to(run.start, copy) else { return Ok(()) };
        // The kernel says no more than that some page cannot be had: the guard tells which.
        self.working.probe(run);
        self.refuse_damaged("commit", run)?;
        Err(Error::from_io("commit", error).path(self.store.path()))
    }

    fn capture_page(
        &self,
        capture: &mut Capture,
        page: Range<usize>,
        bytes: &[u8],
        committed_end: usize,
        behind: bool,
        closeness: &mut Closeness,
    ) -> Result<Comparison> {
        let known = page.start..page.end.min(committed_end).max(page.start);
        let kept = self.working.behind.get(known.clone());
        if closeness.is_given_up() {
            capture.push(page.start, bytes);
            return Ok(Comparison::Whole);
        }
        let compared = if known.is_empty() {
            capture.compare(page.start, bytes, &[])
        } else if let Some(committed) = kept {
            capture.compare(page.start, bytes, committed)
        } else if behind && self.is_behind(known.clone())? {
            if self.working.behind.is_full() && !self.working.finds_pages_again() {
                capture.push(page.start, bytes);
                return Ok(Comparison::Whole);
            }
            // Once for each: from here on it is kept.
            let mut committed = vec![0; known.len()];
            self.store.read_committed(&mut committed, known.start as u64)?;
            capture.compare(page.start, bytes, &committed)
        } else {
            match self.working.committed.bytes(known) {
                Some(committed) => capture.compare(page.start, bytes, committed),
                None => Comparison::Whole,
            }
        };
        closeness.note(compared);
        if compared == Comparison::Whole {
            capture.push(page.start, bytes);
        }
        Ok(compared)
    }

    /// May the page cache of the data file lack committed bytes of this range?
    fn is_behind(&self, range: Range<usize>) -> Result<bool> {
        self.store.is_behind(range.start as u64..range.end as u64)
    }
}

fn inside(runs: &[Range<usize>], pages: &Range<usize>) -> Vec<Range<usize>> {
    let cut = |run: &Range<usize>| run.start.max(pages.start)..run.end.min(pages.end);
    runs.iter().map(cut).filter(|run| !run.is_empty()).collect()
}

fn outside(runs: &[Range<usize>], pages: &Range<usize>) -> Vec<Range<usize>> {
    let mut left = inside(runs, &(0..pages.start));
    left.extend(inside(runs, &(pages.end..usize::MAX)));
    left
}

/// Cuts runs to the length and into pieces of about this size: the runs, and which of them make a piece.
fn in_pieces_of(
    runs: Vec<Range<usize>>,
    len: usize,
    piece_bytes: usize,
) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let mut cut = Vec::with_capacity(runs.len());
    let mut pieces = Vec::new();
    let (mut first, mut piece_len) = (0, 0);
    for run in runs {
        let end = run.end.min(len);
        let mut at = run.start;
        while at < end {
            let stop = end.min(at + piece_bytes - piece_len);
            cut.push(at..stop);
            piece_len += stop - at;
            if piece_len == piece_bytes {
                pieces.push(first..cut.len());
                (first, piece_len) = (cut.len(), 0);
            }
            at = stop;
        }
    }
    if first < cut.len() {
        pieces.push(first..cut.len());
    }
    (cut, pieces)
}

/// Whether a closer look at pages is worth its time.
#[derive(Debug, Default)]
struct Closeness {
    whole_pages: usize,
    given_up_pages: usize,
}

impl Closeness {
    fn is_given_up(&mut self) -> bool {
        let given_up = self.given_up_pages > 0;
        self.given_up_pages -= usize::from(given_up);
        given_up
    }

    fn note(&mut self, compared: Comparison) {
        self.whole_pages = if compared == Comparison::Whole { self.whole_pages + 1 } else { 0 };
        if self.whole_pages >= ALIKE_PAGES {
            self.given_up_pages = ALIKE_PAGES;
        }
    }
}
