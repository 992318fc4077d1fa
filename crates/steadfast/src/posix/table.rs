//! Which addresses belong to what.
//!
//! Looked at by every call, changed by few. A look takes a lock that any number of threads hold at once, for as long as it takes to find
//! some neighbours in a tree, and where nothing is known it allocates nothing: allocators unmap memory, too.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard, TryLockError, Weak};

use super::atomic::AtomicFile;
use super::held::Reached;
use super::kernel::KernelFile;
use super::process::{self, Process};

/// What lies at an address, and which byte of it.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// The kernel's own mapping of a file.
    Kernel(Arc<KernelFile>, u64),
    /// Part of a file's image.
    Atomic(Window),
    /// Addresses of an image that the program has not asked for, or has unmapped: to it they are free, and to nobody else.
    Gap(Arc<AtomicFile>),
    /// A map that the program has a handle of.
    Held(Weak<dyn Reached>),
}

/// Part of a file's image that the program has asked for.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) file: Arc<AtomicFile>,
    pub(super) offset: u64,
    /// What the program may do there, `PROT_*`.
    pub(super) prot: i32,
}

impl Place {
    /// The same, so many bytes on.
    fn advanced(&self, by: usize) -> Place {
        match self {
            Place::Kernel(file, offset) => Place::Kernel(Arc::clone(file), offset + by as u64),
            Place::Atomic(window) => {
                Place::Atomic(Window { offset: window.offset + by as u64, ..window.clone() })
            }
            Place::Gap(file) => Place::Gap(Arc::clone(file)),
            Place::Held(map) => Place::Held(Weak::clone(map)),
        }
    }
}

/// A piece of a range, and what lies there; `None`: nothing that is known here.
pub(super) type Part = (Range<usize>, Option<Place>);

#[derive(Debug, Clone)]
struct Span {
    end: usize,
    place: Place,
}

/// By start. They do not overlap.
#[derive(Debug, Default)]
pub(super) struct Spans(BTreeMap<usize, Span>);

fn read(process: &Process) -> RwLockReadGuard<'_, Spans> {
    process.spans.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(process: &Process) -> RwLockWriteGuard<'_, Spans> {
    process.spans.write().unwrap_or_else(PoisonError::into_inner)
}

fn is_empty(process: &Process) -> bool {
    process.span_count.load(Ordering::Acquire) == 0
}

/// In a child, of what it did not map itself: did the parent map any of this so that it commits?
pub(super) fn was_atomic(memory: &Range<usize>) -> bool {
    let mut ancestor = process::here().parent;
    while let Some(process) = ancestor {
        ancestor = process.parent;
        if is_empty(process) {
            continue;
        }
        let spans = match process.spans.try_read() {
            Ok(spans) => spans,
            Err(TryLockError::Poisoned(spans)) => spans.into_inner(),
            // Another thread of the parent was at work when it forked.
            Err(TryLockError::WouldBlock) => continue,
        };
        if spans.overlapping(memory).any(|(_, span)| matches!(span.place, Place::Atomic(_))) {
            return true;
        }
    }
    false
}

/// Is anything known in this range?
pub(super) fn knows(memory: &Range<usize>) -> bool {
    let process = process::here();
    !is_empty(process) && read(process).overlapping(memory).next().is_some()
}

/// All of the range in order, known or not.
pub(super) fn parts(memory: &Range<usize>) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = memory.start;
    let process = process::here();
    if !is_empty(process) {
        for (&start, span) in read(process).overlapping(memory) {
            let piece = start.max(memory.start)..span.end.min(memory.end);
            if at < piece.start {
                parts.push((at..piece.start, None));
            }
            at = piece.end;
            let place = span.place.advanced(piece.start - start);
            parts.push((piece, Some(place)));
        }
    }
    if at < memory.end {
        parts.push((at..memory.end, None));
    }
    parts
}

/// What is known of these addresses from here on. What was known is told: to be dropped where no lock is held.
pub(super) fn insert(memory: Range<usize>, place: Place) -> Vec<(Range<usize>, Place)> {
    let process = process::here();
    let mut spans = write(process);
    let removed = spans.remove(&memory);
    spans.0.insert(memory.start, Span { end: memory.end, place });
    process.span_count.store(spans.0.len(), Ordering::Release);
    removed
}

/// Nothing is known of these addresses from here on. What was.
pub(super) fn remove(memory: &Range<usize>) -> Vec<(Range<usize>, Place)> {
    if !knows(memory) {
        return Vec::new();
    }
    let process = process::here();
    let mut spans = write(process);
    let removed = spans.remove(memory);
    process.span_count.store(spans.0.len(), Ordering::Release);
    removed
}

/// Forgets a map with a handle, and nothing that has come to lie there since.
pub(super) fn forget_held(memory: &Range<usize>) {
    for (part, place) in parts(memory) {
        if matches!(place, Some(Place::Held(_))) {
            drop(remove(&part));
        }
    }
}

/// Everything that `pick` picks, wherever it lies.
pub(super) fn find<T>(pick: impl FnMut(Range<usize>, &Place) -> Option<T>) -> Vec<T> {
    find_in(&(0..usize::MAX), pick)
}

/// Everything that `pick` picks of what lies there, in part or whole.
pub(super) fn find_in<T>(
    memory: &Range<usize>,
    mut pick: impl FnMut(Range<usize>, &Place) -> Option<T>,
) -> Vec<T> {
    let process = process::here();
    if is_empty(process) {
        return Vec::new();
    }
    read(process)
        .overlapping(memory)
        .filter_map(|(&start, span)| pick(start..span.end, &span.place))
        .collect()
}

impl Spans {
    fn overlapping(&self, memory: &Range<usize>) -> impl Iterator<Item = (&usize, &Span)> {
        let first = self.0.range(..memory.start).next_back().filter(|(_, span)| span.end > memory.start);
        let from = first.map_or(memory.start, |(&start, _)| start);
        self.0.range(from..memory.end.max(from))
    }

    /// Cuts a hole, and tells what was there.
    fn remove(&mut self, memory: &Range<usize>) -> Vec<(Range<usize>, Place)> {
        let touched: Vec<usize> = self.overlapping(memory).map(|(&start, _)| start).collect();
        let mut removed = Vec::new();
        for start in touched {
            let Some(span) = self.0.remove(&start) else { continue };
            let piece = start.max(memory.start)..span.end.min(memory.end);
            if start < piece.start {
                self.0.insert(start, Span { end: piece.start, place: span.place.clone() });
            }
            if piece.end < span.end {
                let place = span.place.advanced(piece.end - start);
                self.0.insert(piece.end, Span { end: span.end, place });
            }
            let place = span.place.advanced(piece.start - start);
            removed.push((piece, place));
        }
        removed
    }
}
