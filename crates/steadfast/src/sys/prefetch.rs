//! A hint to the processor.
//!
//! # Safety
//!
//! This file is trusted with one instruction that changes nothing and faults nowhere.
#![allow(unsafe_code)]

/// Has the processor fetch the first bytes of memory that is about to be read.
#[inline]
pub(crate) fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching is allowed at any address (Intel SDM, PREFETCHh).
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}
