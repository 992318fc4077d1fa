//! Memory for a while: bytes that go back to the system as soon as they are dropped.
//!
//! An allocator keeps what was freed for the next time. For half a journal, needed at a checkpoint and then not for minutes, that
//! would be memory which nobody uses.
//!
//! # Safety
//!
//! This file is trusted to hand out slices of one private anonymous mapping that it made and that nobody else knows.
#![allow(unsafe_code)]

use std::io;
use std::ops::{Deref, DerefMut};

use rustix::mm::{MapFlags, ProtFlags};

use super::region::{Hidden, Region, RegionOptions};

/// Bytes, zeros at first.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    region: Option<Region>,
    len: usize,
}

impl Buffer {
    pub(crate) fn zeros(len: usize) -> io::Result<Buffer> {
        if len == 0 {
            return Ok(Buffer::default());
        }
        let hidden = Hidden { from_children: true, from_dumps: true };
        let mut region = Region::reserve_as(len, RegionOptions { hidden, ..RegionOptions::default() })?;
        let whole = 0..region.len();
        region.place_anonymous(whole, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?;
        Ok(Buffer { region: Some(region), len })
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let Some(region) = &self.region else { return &[] };
        // SAFETY: the first `len` bytes of the region are readable memory for as long as it lives, which nobody changes under a
        // shared reference; the pointer is not null, and aligned for bytes.
        unsafe { std::slice::from_raw_parts(region.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let Some(region) = &self.region else { return &mut [] };
        // SAFETY: as in `deref`, and writable; `&mut self` says that this is the only reference.
        unsafe { std::slice::from_raw_parts_mut(region.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_its_bytes() {
        for len in [0, 1, 5000, 3 << 20] {
            let mut buffer = Buffer::zeros(len).unwrap();
            assert_eq!(&*buffer, vec![0; len]);
            buffer.fill(7);
            assert_eq!(&*buffer, vec![7; len]);
        }
    }
}
