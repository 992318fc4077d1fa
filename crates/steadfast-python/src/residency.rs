//! What is in memory of a file.

use pyo3::prelude::*;
use steadfast::residency::Counts;

/// Pages, and how many of them are in memory. `None`: nobody can tell.
#[pyclass(frozen, get_all, module = "steadfast")]
pub(crate) struct Residency {
    pages: u64,
    resident: Option<u64>,
    dirty: Option<u64>,
    write_back: Option<u64>,
    evicted: Option<u64>,
    recently_evicted: Option<u64>,
}

impl From<Counts> for Residency {
    fn from(counts: Counts) -> Residency {
        Residency {
            pages: counts.pages,
            resident: counts.resident,
            dirty: counts.dirty,
            write_back: counts.write_back,
            evicted: counts.evicted,
            recently_evicted: counts.recently_evicted,
        }
    }
}

impl From<steadfast::Residency> for Residency {
    fn from(residency: steadfast::Residency) -> Residency {
        let wide = |pages: Option<usize>| pages.map(|pages| pages as u64);
        Residency {
            pages: residency.pages() as u64,
            resident: wide(residency.resident()),
            dirty: wide(residency.dirty()),
            write_back: wide(residency.write_back()),
            evicted: wide(residency.evicted()),
            recently_evicted: wide(residency.recently_evicted()),
        }
    }
}

#[pymethods]
impl Residency {
    fn __repr__(&self) -> String {
        let told = |pages: Option<u64>| pages.map_or_else(|| "None".to_owned(), |pages| pages.to_string());
        format!(
            "Residency(pages={}, resident={}, dirty={}, write_back={}, evicted={}, recently_evicted={})",
            self.pages,
            told(self.resident),
            told(self.dirty),
            told(self.write_back),
            told(self.evicted),
            told(self.recently_evicted)
        )
    }
}
