//! What a power cut leaves of the operations that were not synced.

use std::fmt;

use super::operation::{Operation, Sectors};

/// Which unsynced operations a power cut leaves: any of them, in any combination, and the last surviving write
/// perhaps torn.
///
/// Two are equal if they say the same of every place, those behind the end of the list included.
///
/// ```
/// use steadfast::disk::{Access, Disk, SimDisk, Survivors, Tear};
///
/// # fn main() -> std::io::Result<()> {
/// let disk = SimDisk::new();
/// disk.put_file("/a", b"");
/// let file = disk.open("/a".as_ref(), Access::ReadWrite)?;
/// file.write_at(&[&[1; 1024]], 0)?;
/// file.write_at(&[&[2; 1024]], 1024)?;
///
/// let second = disk.power_cut(&Survivors::only([1]));
/// assert_eq!(second.read_file("/a").map(|bytes| (bytes[0], bytes[1024])), Some((0, 2)));
/// let torn = disk.power_cut(&Survivors::all().torn(Tear::Head(1)));
/// assert_eq!(torn.read_file("/a").map(|bytes| bytes.len()), Some(1024 + 512));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivors {
    /// By place in the list of unsynced operations. Does not end with `rest`, so that equal sets look equal.
    kept: Vec<bool>,
    /// What becomes of the operations behind `kept`.
    rest: bool,
    tear: Option<Tear>,
}

/// Which part of a torn write survives. A sector is a 512-byte unit of the *file*: the first or last sector of a
/// write that is not aligned is smaller.
///
/// See [`SimDisk`](crate::disk::SimDisk) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tear {
    /// The first so many sectors.
    Head(u64),
    /// The last so many sectors: a disk may write the sectors in any order.
    Tail(u64),
}

impl Survivors {
    /// Every operation survives: the power cut came after the kernel had written all by itself.
    ///
    /// See [`SimDisk`](crate::disk::SimDisk) for an example.
    pub fn all() -> Survivors {
        Survivors { kept: Vec::new(), rest: true, tear: None }
    }

    /// No operation survives: only what was synced is there.
    ///
    /// See [`SimDisk`](crate::disk::SimDisk) for an example.
    pub fn none() -> Survivors {
        Survivors { kept: Vec::new(), rest: false, tear: None }
    }

    /// The first `count` operations survive.
    ///
    /// See [`SimDisk`](crate::disk::SimDisk) for an example.
    pub fn first(count: usize) -> Survivors {
        Survivors { kept: vec![true; count], rest: false, tear: None }
    }

    /// The operations at these places in the list ([`SimDisk::unsynced_trace`](super::SimDisk::unsynced_trace) shows
    /// it) survive, counted from 0.
    ///
    /// See [`SimDisk`](crate::disk::SimDisk) for an example.
    pub fn only(places: impl IntoIterator<Item = usize>) -> Survivors {
        Survivors::none().with(places, true)
    }

    /// All operations survive but those at these places, counted from 0.
    ///
    /// See [`SimDisk`](crate::disk::SimDisk) for an example.
    pub fn all_but(places: impl IntoIterator<Item = usize>) -> Survivors {
        Survivors::all().with(places, false)
    }

    /// The same, with the last surviving write torn.
    ///
    /// See [`SimDisk`](crate::disk::SimDisk) for an example.
    #[must_use]
    pub fn torn(mut self, tear: Tear) -> Survivors {
        self.tear = Some(tear);
        self
    }

    /// Whether the operation at this place survives.
    ///
    /// See [`SimDisk`](crate::disk::SimDisk) for an example.
    pub fn holds(&self, place: usize) -> bool {
        self.kept.get(place).copied().unwrap_or(self.rest)
    }

    pub(super) fn tear(&self) -> Option<Tear> {
        self.tear
    }

    fn with(mut self, places: impl IntoIterator<Item = usize>, survives: bool) -> Survivors {
        for place in places {
            if self.kept.len() <= place {
                self.kept.resize(place + 1, self.rest);
            }
            self.kept[place] = survives;
        }
        self.shortest()
    }

    fn shortest(mut self) -> Survivors {
        while self.kept.last() == Some(&self.rest) {
            self.kept.pop();
        }
        self
    }
}

impl fmt::Display for Survivors {
    /// A digit an operation up to the last survivor, 1 for those that survive: `1101, the last write torn: Head(1)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kept.is_empty() {
            f.write_str(if self.rest { "all" } else { "none" })?;
        }
        for kept in &self.kept {
            f.write_str(if *kept { "1" } else { "0" })?;
        }
        if self.rest && !self.kept.is_empty() {
            f.write_str("1…")?;
        }
        match self.tear {
            Some(tear) => write!(f, ", the last write torn: {tear:?}"),
            None => Ok(()),
        }
    }
}

/// The power cuts worth looking at after `unsynced`: see [`SimDisk::power_cuts`](super::SimDisk::power_cuts).
pub(super) fn power_cuts(
    unsynced: &[Operation],
    seed: u64,
    sample_above: usize,
    samples: usize,
) -> impl Iterator<Item = Survivors> + use<> {
    let sectors: Vec<u64> = unsynced.iter().map(Sectors::of_operation).collect();
    let count = sectors.len();
    // 2^n of them: beyond some 20 operations nobody waits for the end, and beyond 63 a mask has no room.
    let every = count <= sample_above.min(63);
    let masks = if every { 0..1_u64 << count } else { 0..0 };
    let subsets = masks.map(move |mask| subset(count, |place| mask >> place & 1 == 1));

    let chosen = (!every).then(move || {
        let prefixes = (0..=count).map(move |end| subset(count, |place| place < end));
        // Without its last it is a prefix, and a first alone is one too.
        let all_but_one = (0..count - 1).map(move |lost| subset(count, |place| place != lost));
        let one_alone = (1..count).map(move |only| subset(count, |place| place == only));
        let mut random = Random(seed);
        let sampled = (0..samples).map(move |_| {
            // A quarter, half or three quarters of the operations survive, by the luck of the draw.
            let quarters = 1 + random.next() % 3;
            subset(count, |_| random.next() % 4 < quarters)
        });
        prefixes.chain(all_but_one).chain(one_alone).chain(sampled)
    });

    subsets.chain(chosen.into_iter().flatten()).flat_map(move |subset| {
        let last = (0..count).rev().find(|place| subset.holds(*place));
        let sectors = last.map_or(0, |place| sectors[place]);
        let whole = std::iter::once(subset.clone());
        whole.chain(tears(sectors).into_iter().map(move |tear| subset.clone().torn(tear)))
    })
}

fn subset(count: usize, survives: impl FnMut(usize) -> bool) -> Survivors {
    Survivors { kept: (0..count).map(survives).collect(), rest: false, tear: None }.shortest()
}

/// A few ways to tear a write of so many sectors: after the first, in the middle, before the last; from either end.
fn tears(sectors: u64) -> Vec<Tear> {
    if sectors < 2 {
        return Vec::new();
    }
    let mut cuts = vec![1, sectors / 2, sectors - 1];
    cuts.dedup();
    cuts.iter().map(|cut| Tear::Head(*cut)).chain(cuts.iter().map(|cut| Tear::Tail(*cut))).collect()
}

/// splitmix64: the same sequence for the same seed, on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
