//! Which pages of files are in memory, and steering that: read in, written back, let go of.
//!
//! [`CachedFile`] is a file that is looked at, whether or not anybody maps it. What the kernel does not tell, or tells wrongly, is
//! [`Unknown`], with the reason: cachestat(2) says "nothing" and success of directories and of files of an overlay that are in memory
//! to the last page, and mincore(2) says "all of it" to whoever does not own the file.
//!
//! | question | answer |
//! |---|---|
//! | how much | [`CachedFile::counts`]: one call, whatever the size |
//! | where, roughly | [`CachedFile::buckets`]: one call a bucket |
//! | which pages | [`CachedFile::spans`]: exact, in time that grows with what is there |
//!
//! | wish | call |
//! |---|---|
//! | in memory | [`CachedFile::warm`]: reads what is absent, and no holes |
//! | out of memory | [`CachedFile::evict`]: written back first, if that is asked for; the answer says what stayed, and why |
//! | durable | [`CachedFile::sync`], and [`sync_folder`] for its name |
//!
//! All of it is a look at something that changes all the time, and pages may come and go between two calls.

mod bisect;
mod counts;
mod evict;
mod file;
mod process;
mod sync;
mod truth;
mod warm;

pub(crate) use bisect::spans_between;
pub use bisect::{PageState, Span};
pub use counts::Counts;
pub use evict::Evicted;
pub use file::{CachedFile, Opener};
pub use process::{ProcessAdvice, advise_process};
pub use sync::sync_folder;
pub use truth::Unknown;
pub(crate) use truth::{is_overlay, tells_mincore_the_truth};
pub use warm::{Warmed, Warming};
