//! What the fuzz targets in `fuzz/` do with their input; they panic where they find something.

mod apply;
mod journal;

pub use apply::apply;
pub use journal::journal;
