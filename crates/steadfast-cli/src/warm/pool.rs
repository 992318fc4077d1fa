//! Threads that share what is to be read, piece by piece.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use steadfast::residency::CachedFile;

use super::Wanted;
use crate::interrupt::Interrupt;
use crate::output::{self, Progress};
use crate::size;

/// So much is read at once.
const PIECE_BYTES: u64 = 1 << 20;
/// How often the line that says so is written.
const SAY_EVERY: Duration = Duration::from_millis(200);
/// A thread that waits for its turn looks for Ctrl-C so often.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How fast, and how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) bytes_per_second: Option<u64>,
    pub(crate) bytes_max: Option<u64>,
    pub(crate) readers: usize,
}

/// What is to be read, in the order of the files.
pub(super) struct Pieces<'files> {
    wanted: &'files [Wanted],
    pieces: Vec<(usize, Range<u64>)>,
}

/// What was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    pub(super) read_bytes: u64,
    pub(super) failed_files: u64,
}

impl<'files> Pieces<'files> {
    pub(super) fn of(wanted: &'files [Wanted], bytes_max: Option<u64>) -> Pieces<'files> {
        let mut left = bytes_max.unwrap_or(u64::MAX);
        let mut pieces = Vec::new();
        for (number, file) in wanted.iter().enumerate() {
            for part in &file.absent {
                let mut at = part.start;
                while at < part.end && left > 0 {
                    let end = part.end.min(at + PIECE_BYTES.min(left));
                    pieces.push((number, at..end));
                    left -= end - at;
                    at = end;
                }
            }
        }
        Pieces { wanted, pieces }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.pieces.iter().map(|(_, part)| part.end - part.start).sum()
    }

    pub(super) fn read(&self, pace: Pace, interrupt: &Interrupt) -> Done {
        let next = AtomicUsize::new(0);
        let read_bytes = AtomicU64::new(0);
        let failed = Mutex::new(HashSet::new());
        let is_over = AtomicBool::new(false);
        let begun = Instant::now();
        let read = || {
            let mut open: Option<(usize, CachedFile)> = None;
            while !interrupt.is_asked() {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some((file, part)) = self.pieces.get(number) else { break };
                let is_lost = |failed: &HashSet<usize>| failed.contains(file);
                if failed.lock().is_ok_and(|failed| is_lost(&failed)) {
                    continue;
                }
                match self.read_piece(&mut open, *file, part.clone()) {
                    Ok(()) => {
                        let read = part.end - part.start;
                        let read = read_bytes.fetch_add(read, Ordering::Relaxed) + read;
                        wait_for_turn(pace, begun, read, interrupt);
                    }
                    Err(error) => {
                        let is_first = failed.lock().is_ok_and(|mut failed| failed.insert(*file));
                        if is_first {
                            output::complain(&error.to_string());
                        }
                    }
                }
            }
        };
        let say = || self.say(begun, &read_bytes, &is_over);
        std::thread::scope(|scope| {
            // Where no more threads can be started, fewer read, and nothing is said.
            let start = |work| std::thread::Builder::new().spawn_scoped(scope, work);
            let say = start(&say as &(dyn Fn() + Sync));
            let more = pace.readers.min(self.pieces.len()).saturating_sub(1);
            let readers: Vec<_> = (0..more).map_while(|_| start(&read).ok()).collect();
            read();
            // A reader has nothing to panic about; if one did, the others have read what they could.
            readers.into_iter().for_each(|reader| drop(reader.join()));
            is_over.store(true, Ordering::Relaxed);
            say.iter().for_each(|say| say.thread().unpark());
        });
        let failed_files = failed.lock().map_or(0, |failed| failed.len() as u64);
        Done { read_bytes: read_bytes.into_inner(), failed_files }
    }

    fn read_piece(
        &self,
        open: &mut Option<(usize, CachedFile)>,
        number: usize,
        part: Range<u64>,
    ) -> steadfast::Result<()> {
        if open.as_ref().is_none_or(|(is, _)| *is != number) {
            *open = Some((number, CachedFile::open(&self.wanted[number].path)?));
        }
        match open {
            Some((_, file)) => file.read_in(part),
            None => Ok(()),
        }
    }

    fn say(&self, begun: Instant, read_bytes: &AtomicU64, is_over: &AtomicBool) {
        let progress = Progress::new();
        let all = self.bytes();
        while !is_over.load(Ordering::Relaxed) {
            std::thread::park_timeout(SAY_EVERY);
            let read = read_bytes.load(Ordering::Relaxed);
            let elapsed = begun.elapsed().as_secs_f64();
            if read == 0 || elapsed == 0.0 {
                continue;
            }
            let rate = read as f64 / elapsed;
            let left = Duration::from_secs_f64((all.saturating_sub(read) as f64 / rate).min(1e9));
            progress.say(&format!(
                "{} of {} read, {}/s, {} s left",
                size::show(read),
                size::show(all),
                size::show(rate as u64),
                left.as_secs()
            ));
        }
    }
}

/// Where less is wanted than the disk can.
fn wait_for_turn(pace: Pace, begun: Instant, read_bytes: u64, interrupt: &Interrupt) {
    let Some(rate) = pace.bytes_per_second else { return };
    let due = begun + Duration::from_secs_f64(read_bytes as f64 / rate.max(1) as f64);
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() || interrupt.is_asked() {
            return;
        }
        std::thread::sleep(left.min(LOOK_EVERY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_what_is_wanted_in_order_up_to_the_limit() {
        let file = |absent: Vec<Range<u64>>| Wanted { path: "x".into(), absent };
        let wanted =
            [file(vec![0..10, (1 << 20)..(1 << 20) + (5 << 19)]), file(Vec::new()), file(vec![0..7; 1])];
        let all = Pieces::of(&wanted, None);
        assert_eq!(all.bytes(), 10 + (5 << 19) + 7);
        assert!(all.pieces.iter().all(|(_, part)| part.end - part.start <= PIECE_BYTES && !part.is_empty()));
        assert!(all.pieces.is_sorted_by_key(|(file, part)| (*file, part.start)));
        assert_eq!(Pieces::of(&wanted, Some(12)).pieces, [(0, 0..10), (0, (1 << 20)..(1 << 20) + 2)]);
        assert_eq!(Pieces::of(&wanted, Some(0)).bytes(), 0);
    }
}
