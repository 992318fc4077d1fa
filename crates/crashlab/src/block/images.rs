//! Crash images: what a power cut may leave of a log.
//!
//! All that was written before the last flush is there. Of what was written since, any part is, in any combination, and of the
//! last write that is, perhaps only some sectors.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::log::{Entry, Log};
use super::media::{Media, SECTOR};
use crate::history::History;

/// Which sectors of the last surviving write are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tear {
    /// The first so many.
    Head(usize),
    /// The last so many.
    Tail(usize),
}

/// One power cut.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cut {
    /// So many entries of the log had happened.
    pub position: usize,
    /// Those of the writes since the last flush that survive, by number of their entry.
    pub survivors: Vec<usize>,
    /// How many there were.
    pub unflushed: usize,
    /// The last survivor is torn.
    pub tear: Option<Tear>,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cut { position, survivors, unflushed, tear } = self;
        write!(f, "cut at entry {position}, {} of {unflushed} unflushed writes survive", survivors.len())?;
        if survivors.len() < *unflushed {
            write!(f, " {survivors:?}")?;
        }
        match tear {
            Some(tear) => write!(f, ", the last one torn: {tear:?}"),
            None => Ok(()),
        }
    }
}

/// A disk after a power cut, and what may be found on it.
#[derive(Debug, Clone)]
pub struct Image {
    /// How it came about.
    pub cut: Cut,
    /// What the disk holds.
    pub media: Media,
    /// What the program knew of each file.
    pub histories: Vec<History>,
}

/// Draws up to `count` different power cuts, in the order of the log. Writes at the offsets `never_torn` are whole or not there.
pub fn draw(log: &Log, never_torn: &[u64], count: usize, random: &mut impl Rng) -> Vec<Cut> {
    let flushes: Vec<usize> =
        (0..log.entries.len()).filter(|&at| matches!(log.entries[at], Entry::Flush)).collect();
    let mut drawn = HashSet::new();
    // Where a log has few writes there are few images to draw.
    for _ in 0..3 * count {
        if drawn.len() == count {
            break;
        }
        drawn.insert(draw_one(log, &flushes, never_torn, random));
    }
    let mut cuts: Vec<Cut> = drawn.into_iter().collect();
    in_order(&mut cuts);
    cuts
}

/// The order of the log.
pub fn in_order(cuts: &mut [Cut]) {
    cuts.sort_by(|one, other| (one.position, &one.survivors).cmp(&(other.position, &other.survivors)));
}

/// The power cut at the end of a log that leaves only what is durable.
pub fn at_the_end(log: &Log) -> Cut {
    let position = log.entries.len();
    let flushed = log.entries.iter().rposition(|entry| matches!(entry, Entry::Flush)).map_or(0, |at| at + 1);
    let unflushed =
        log.entries[flushed..].iter().filter(|entry| matches!(entry, Entry::Write { .. })).count();
    Cut { position, survivors: Vec::new(), unflushed, tear: None }
}

fn draw_one(log: &Log, flushes: &[usize], never_torn: &[u64], random: &mut impl Rng) -> Cut {
    let len = log.entries.len();
    // Half of them anywhere, half of them between two flushes that were drawn: few writes stand between most of them.
    let position = match flushes.choose(random) {
        Some(&flush) if random.random() => {
            let next = flushes.partition_point(|&other| other <= flush);
            random.random_range(flush + 1..=flushes.get(next).copied().unwrap_or(len))
        }
        _ => random.random_range(0..=len),
    };
    let start =
        flushes[..flushes.partition_point(|&flush| flush < position)].last().map_or(0, |flush| flush + 1);
    let writes: Vec<usize> =
        (start..position).filter(|&at| matches!(log.entries[at], Entry::Write { .. })).collect();
    let unflushed = writes.len();
    let one = if writes.is_empty() { 0 } else { random.random_range(0..writes.len()) };
    let survivors: Vec<usize> = match random.random_range(0..20) {
        0..5 => writes,
        5..7 => Vec::new(),
        7..9 => {
            writes.iter().copied().enumerate().filter(|(index, _)| *index != one).map(|(_, at)| at).collect()
        }
        9..11 => writes.get(one).copied().into_iter().collect(),
        _ => {
            let quarters = random.random_range(1..4);
            writes.into_iter().filter(|_| random.random_ratio(quarters, 4)).collect()
        }
    };
    let sectors = match survivors.last().map(|&at| &log.entries[at]) {
        Some(Entry::Write { offset, bytes }) if !never_torn.contains(offset) => bytes.len() / SECTOR,
        _ => 0,
    };
    let tear = (sectors > 1 && random.random_ratio(2, 5)).then(|| {
        let kept = random.random_range(1..sectors);
        if random.random() { Tear::Head(kept) } else { Tear::Tail(kept) }
    });
    Cut { position, survivors, unflushed, tear }
}

/// The images of these cuts, which stand in the order of the log: the log is walked once.
pub fn develop<'a>(log: &'a Log, cuts: &'a [Cut]) -> impl Iterator<Item = Image> + 'a {
    let mut flushed = log.base.clone();
    let mut histories = log.histories.clone();
    let mut unflushed: Vec<usize> = Vec::new();
    let mut at = 0;
    cuts.iter().map(move |cut| {
        while at < cut.position {
            match &log.entries[at] {
                Entry::Write { .. } => unflushed.push(at),
                Entry::Flush => {
                    unflushed.drain(..).for_each(|write| apply(&mut flushed, &log.entries[write], None));
                }
                Entry::Told(file, told) => {
                    if let Some(history) = histories.get_mut(*file) {
                        history.hear(told.clone());
                    }
                }
            }
            at += 1;
        }
        let mut media = flushed.clone();
        let last = cut.survivors.last();
        for write in &cut.survivors {
            let tear = cut.tear.filter(|_| last == Some(write));
            apply(&mut media, &log.entries[*write], tear);
        }
        Image { cut: cut.clone(), media, histories: histories.clone() }
    })
}

fn apply(media: &mut Media, entry: &Entry, tear: Option<Tear>) {
    let Entry::Write { offset, bytes } = entry else { return };
    match tear {
        None => media.write(bytes, *offset),
        Some(Tear::Head(sectors)) => media.write(&bytes[..(sectors * SECTOR).min(bytes.len())], *offset),
        Some(Tear::Tail(sectors)) => {
            let lost = bytes.len().saturating_sub(sectors * SECTOR);
            media.write(&bytes[lost..], *offset + lost as u64);
        }
    }
}

/// A write of these bytes, for a log.
pub fn write(offset: u64, bytes: Vec<u8>) -> Entry {
    Entry::Write { offset, bytes: Arc::new(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Told;
    use crate::workload::draws;

    #[test]
    fn an_image_holds_what_was_flushed_and_a_part_of_the_rest() {
        let log = Log {
            base: Media::blank(1 << 16),
            histories: vec![History::new(vec![0])],
            entries: vec![
                write(0, vec![1; 1024]),
                Entry::Told(0, Told::Begun(Arc::new(vec![1]))),
                Entry::Flush,
                Entry::Told(0, Told::Durable(1)),
                write(1024, vec![2; 1024]),
                write(2048, vec![3; 1024]),
            ],
        };
        let mut random = draws(3);
        let cuts = draw(&log, &[], 200, &mut random);
        assert_eq!(cuts.iter().collect::<HashSet<_>>().len(), cuts.len());
        let mut seen = HashSet::new();
        for image in develop(&log, &cuts) {
            let mut bytes = [0; 3072];
            image.media.read(&mut bytes, 0);
            let parts = [0, 512, 1024, 1536, 2048, 2560].map(|at| bytes[at]);
            if image.cut.position > 2 {
                assert_eq!(parts[..2], [1, 1], "what was flushed is there: {}", image.cut);
            }
            assert_eq!(image.histories[0].durable, usize::from(image.cut.position > 3));
            seen.insert(parts);
        }
        for want in [[0; 6], [1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 3, 3], [1, 1, 2, 2, 0, 3], [0, 1, 0, 0, 0, 0]] {
            assert!(seen.contains(&want), "{want:?} in {seen:?}");
        }
    }
}
