//! What happens once: when the library is loaded, or when something is first mapped. The dynamic linker runs the constructors of other
//! libraries before those of one that is preloaded.
//!
//! # Safety
//!
//! This file is trusted with a place among the library's constructors.
#![allow(unsafe_code)]

use std::sync::Once;

use crate::{ends, inside, log, owned, real, settings};

#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = at_start;

extern "C" fn at_start() {
    real::find_all();
    settings::has_patterns();
    inside::quietly(ensure);
}

/// To be called inside (`inside.rs`), before anything is mapped, recovered or said.
pub(crate) fn ensure() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        log::start();
        if !owned::start() {
            ::log::warn!(
                "another part of this program watches the library's descriptors: they are not guarded"
            );
        }
        steadfast::posix::refuse_to_give_back(settings::get().strict);
        ends::start();
    });
}
