//! What safe code cannot do: loads and stores through a raw pointer, and references into a file that others change.
//!
//! # Safety
//!
//! This file is trusted with volatile accesses within mappings that the rig made, and with a `view` whose promise is broken on purpose: what
//! comes of that is what is looked at. Values are numbers, for which any bytes are a value.
#![allow(unsafe_code)]

use std::path::Path;

use steadfast::{AtomicMapping, AtomicOptions, Mapping, Result};

/// The words of `mapping` from byte `offset` on, loaded one by one through its pointer. All lie within it.
pub(super) fn load(mapping: &Mapping, offset: usize, to: &mut [u64]) {
    assert!(offset.is_multiple_of(8) && offset + to.len() * 8 <= mapping.len());
    for (index, word) in to.iter_mut().enumerate() {
        let address = mapping.as_ptr().wrapping_add(offset + index * 8).cast::<u64>();
        // SAFETY: within the mapping and aligned (checked above); volatile, as other threads and processes store there.
        *word = unsafe { address.read_volatile() };
    }
}

/// Stores words through the pointer.
pub(super) fn store(mapping: &Mapping, offset: usize, words: &[u64]) {
    assert!(offset.is_multiple_of(8) && offset + words.len() * 8 <= mapping.len());
    for (index, &word) in words.iter().enumerate() {
        let address = mapping.as_ptr().wrapping_add(offset + index * 8).cast::<u64>();
        // SAFETY: within the mapping, which is writable, and aligned (checked above); volatile, as others look at it.
        unsafe { address.write_volatile(word) };
    }
}

/// One word by `typed`.
pub(super) fn typed(mapping: &Mapping, offset: usize) -> Result<u64> {
    // SAFETY: a word that only this thread stores to; other hands may take the page, which is what is looked at.
    unsafe { mapping.typed::<u64>(offset) }.copied()
}

pub(super) fn open(view: bool, options: AtomicOptions, path: &Path) -> Result<AtomicMapping> {
    if !view {
        return options.load(path);
    }
    // SAFETY: the promise that nobody else writes the file is broken on purpose; the map's bytes are only compared.
    unsafe { options.view(path) }
}
