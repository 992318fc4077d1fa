//! What happens when the library is loaded: before any call of the program's `main`, and after those of other libraries that begin earlier.
//!
//! # Safety
//!
//! This file is trusted with a place among the library's constructors.
//!
//! Nothing depends on it having run but what is said and what is guarded: every call works before.
#![allow(unsafe_code)]

use crate::{ends, inside, log, owned, real, settings};

#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = at_start;

extern "C" fn at_start() {
    real::find_all();
    settings::has_patterns();
    inside::quietly(|| {
        log::start();
        if !owned::start() {
            ::log::warn!(
                "another part of this program watches the library's descriptors: they are not guarded"
            );
        }
        ends::start();
    });
}
