//! The rig that tries to break the library, and says in figures how hard it tried.
//!
//! | module | breaks |
//! |---|---|
//! | [`sim`] | a simulated disk: crashes, torn and reordered writes, recoveries that crash as well |
//! | [`block`] | the block device under a real file system: power cuts at any write |
//! | [`failing`] | disks that answer with errors, simulated and under real file systems |
//! | [`corruption`] | the journal's bytes |
//! | [`kills`] | processes |
//! | [`hands`] | files that are mapped: other programs, failing devices and full disks |
//! | [`programs`] | programs that were not made for it, unmodified: Python, NumPy, Java, LMDB |
//! | [`cuts`] | the block device under such programs: power cuts at any write |
//! | [`suites`] | nothing: it runs the tests that such programs have of themselves, with and without a library under them |
//! | [`mutation`] | the library itself: its steps and checks are left out one by one, and the others must notice |
//!
//! All of them play the same [`workload`]s and are judged by the same [`history`].

pub mod block;
pub mod corruption;
pub mod cuts;
pub mod failing;
mod fuse;
pub mod fuzzing;
pub mod hands;
pub mod history;
pub mod kills;
pub mod mutation;
pub mod outcome;
pub mod pair;
pub mod programs;
pub mod real;
pub mod sim;
pub mod suites;
pub mod workload;
