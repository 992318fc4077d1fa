//! The benchmarks, one a file.

pub(crate) mod about;
pub(crate) mod commit;
pub(crate) mod decay;
pub(crate) mod first_store;
pub(crate) mod guard;
pub(crate) mod load;
pub(crate) mod looks;
pub(crate) mod memory;
pub(crate) mod open;
pub(crate) mod programs;
pub(crate) mod recovery;
pub(crate) mod search;
pub(crate) mod sparse;
pub(crate) mod sustained;
pub(crate) mod threads;
