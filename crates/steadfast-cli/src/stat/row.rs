//! What is known of one file, and of all.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Serialize, Serializer};
use steadfast::residency::{Counts, Unknown};

/// Bytes of a page.
pub(crate) fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

/// One file. Sizes in pages, `None` where nobody can tell.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
    pub(crate) pages: u64,
    pub(crate) resident_pages: Option<u64>,
    pub(crate) dirty_pages: Option<u64>,
    pub(crate) write_back_pages: Option<u64>,
    pub(crate) evicted_pages: Option<u64>,
    pub(crate) recently_evicted_pages: Option<u64>,
    /// Why something is not told.
    #[serde(serialize_with = "in_words")]
    pub(crate) unknown: Option<Unknown>,
    /// From start to end; empty where all parts are as the whole.
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Part {
    pub(crate) pages: u64,
    pub(crate) resident_pages: Option<u64>,
    pub(crate) dirty_pages: Option<u64>,
}

fn in_words<S: Serializer>(unknown: &Option<Unknown>, to: S) -> Result<S::Ok, S::Error> {
    unknown.map(|unknown| unknown.to_string()).serialize(to)
}

impl Row {
    /// In memory, of a million.
    pub(crate) fn resident_ppm(&self) -> u64 {
        self.resident_pages.unwrap_or(0) * 1_000_000 / self.pages.max(1)
    }

    pub(crate) fn new(path: PathBuf, size_bytes: u64, counts: Counts, parts: Vec<Counts>) -> Row {
        let part =
            |part: Counts| Part { pages: part.pages, resident_pages: part.resident, dirty_pages: part.dirty };
        Row {
            path: path.into_os_string().into_string().unwrap_or_else(|path| path.display().to_string()),
            size_bytes,
            pages: counts.pages,
            resident_pages: counts.resident,
            dirty_pages: counts.dirty,
            write_back_pages: counts.write_back,
            evicted_pages: counts.evicted,
            recently_evicted_pages: counts.recently_evicted,
            unknown: counts.unknown,
            parts: parts.into_iter().map(part).collect(),
        }
    }
}

/// All files together. Sums are of what is known.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Total {
    pub(crate) files: u64,
    pub(crate) failed_files: u64,
    /// Files of which nobody can tell what is in memory; their pages are not among the others.
    pub(crate) unknown_files: u64,
    /// Files of which nobody can tell what is dirty.
    pub(crate) dirty_unknown_files: u64,
    /// Files of which nobody can tell what was in memory.
    pub(crate) evicted_unknown_files: u64,
    pub(crate) size_bytes: u64,
    pub(crate) pages: u64,
    pub(crate) resident_pages: u64,
    pub(crate) dirty_pages: u64,
    pub(crate) write_back_pages: u64,
    pub(crate) evicted_pages: u64,
    pub(crate) recently_evicted_pages: u64,
    /// Why something is not told, and of how many files.
    pub(crate) unknown: BTreeMap<String, u64>,
}

impl Total {
    pub(crate) fn of<R: Borrow<Row>>(rows: impl IntoIterator<Item = R>, failed_files: usize) -> Total {
        let mut total = Total { failed_files: failed_files as u64, ..Total::default() };
        for row in rows {
            let row = row.borrow();
            total.files += 1;
            total.size_bytes += row.size_bytes;
            match row.resident_pages {
                Some(resident) => {
                    total.pages += row.pages;
                    total.resident_pages += resident;
                }
                None => total.unknown_files += 1,
            }
            total.dirty_unknown_files += u64::from(row.dirty_pages.is_none());
            total.evicted_unknown_files += u64::from(row.evicted_pages.is_none());
            total.dirty_pages += row.dirty_pages.unwrap_or(0);
            total.write_back_pages += row.write_back_pages.unwrap_or(0);
            total.evicted_pages += row.evicted_pages.unwrap_or(0);
            total.recently_evicted_pages += row.recently_evicted_pages.unwrap_or(0);
            if let Some(unknown) = row.unknown {
                *total.unknown.entry(unknown.to_string()).or_default() += 1;
            }
        }
        total
    }

    /// Pages in memory; `None` where that is known of no file, as of those below.
    pub(crate) fn resident(&self) -> Option<u64> {
        self.told(self.resident_pages, self.unknown_files)
    }

    pub(crate) fn dirty(&self) -> Option<u64> {
        self.told(self.dirty_pages, self.dirty_unknown_files)
    }

    pub(crate) fn write_back(&self) -> Option<u64> {
        self.told(self.write_back_pages, self.dirty_unknown_files)
    }

    pub(crate) fn evicted(&self) -> Option<u64> {
        self.told(self.evicted_pages, self.evicted_unknown_files)
    }

    pub(crate) fn recently_evicted(&self) -> Option<u64> {
        self.told(self.recently_evicted_pages, self.evicted_unknown_files)
    }

    fn told(&self, pages: u64, unknown_files: u64) -> Option<u64> {
        // Files without pages tell nothing of the others.
        (unknown_files == 0 || unknown_files < self.files && self.pages > 0).then_some(pages)
    }

    /// From 0 to 1. Of nothing, everything is in memory. `None` where it is not known of every file.
    pub(crate) fn resident_share(&self) -> Option<f64> {
        if self.unknown_files > 0 {
            return None;
        }
        Some(if self.pages == 0 { 1.0 } else { self.resident_pages as f64 / self.pages as f64 })
    }

    /// What would be lost if the power failed.
    pub(crate) fn unwritten_bytes(&self) -> Option<u64> {
        (self.dirty_unknown_files == 0).then(|| (self.dirty_pages + self.write_back_pages) * page_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_what_nobody_can_tell_is_unknown_and_no_zero() {
        let present = Row { pages: 2, resident_pages: Some(2), ..Row::default() };
        let unknown = Row { pages: 2, ..Row::default() };
        let known = Row {
            dirty_pages: Some(0),
            write_back_pages: Some(0),
            evicted_pages: Some(1),
            recently_evicted_pages: Some(0),
            ..present.clone()
        };
        let told = |rows: &[&Row]| {
            let total = Total::of(rows.iter().copied(), 0);
            [total.resident(), total.dirty(), total.write_back(), total.evicted(), total.recently_evicted()]
        };
        assert_eq!(told(&[&present]), [Some(2), None, None, None, None]);
        assert_eq!(told(&[&unknown, &unknown]), [None; 5]);
        assert_eq!(told(&[&unknown, &present, &known]), [Some(4), Some(0), Some(0), Some(1), Some(0)]);
        assert_eq!(told(&[]), [Some(0); 5], "of nothing everything is known");
        let empty = Row { pages: 0, resident_pages: Some(0), ..known.clone() };
        assert_eq!(told(&[&unknown, &empty]), [None; 5]);
    }
}
