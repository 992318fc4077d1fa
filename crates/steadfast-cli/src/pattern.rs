//! Bytes and places that follow from a number: the same on every machine, and no two alike.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Two numbers stirred into one that tells nothing of either (the finaliser of splitmix64).
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut x = a ^ b.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The bytes of `key` from `offset` on, a multiple of 8.
pub(crate) fn fill(key: u64, offset: u64, out: &mut [u8]) {
    for (word, bytes) in (offset / 8..).zip(out.chunks_mut(8)) {
        bytes.copy_from_slice(&mix(key, word).to_le_bytes()[..bytes.len()]);
    }
}

/// Where to store 8 bytes in each of `pages` different pages of the first `span` bytes: offsets that are multiples of 8.
pub(crate) fn scattered(key: u64, span: u64, pages: u64) -> Vec<usize> {
    let page_bytes = rustix::param::page_size() as u64;
    (0..pages)
        .map(|k| {
            let draw = mix(key, k);
            // A stratum of its own for each page: scattered, and none twice.
            let stratum = (span / page_bytes / pages).max(1);
            let page = k * stratum + draw % stratum;
            (page * page_bytes + (draw >> 32) % (page_bytes / 8) * 8) as usize
        })
        .collect()
}

/// Makes a file of `bytes` bytes, and makes it durable. `content` fills it, part by part in order, and may end it with an error.
pub(crate) fn write_file(
    path: &Path,
    bytes: u64,
    mut content: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<()> {
    const CHUNK_BYTES: usize = 4 << 20;
    let mut file = File::create_new(path)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < bytes {
        // No overflow: at most a chunk.
        let part = &mut chunk[..(bytes - at).min(CHUNK_BYTES as u64) as usize];
        content(at, part)?;
        file.write_all(part)?;
        at += part.len() as u64;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattered_places_lie_in_different_pages_within_the_span() {
        let page = rustix::param::page_size();
        for pages in [1, 16, 256] {
            for (span, key) in [(256 * page, 1), (1000 * page, 2), (1 << 30, 3)] {
                let places = scattered(key, span as u64, pages);
                let mut hit: Vec<usize> = places.iter().map(|at| at / page).collect();
                hit.dedup();
                assert_eq!(hit.len() as u64, pages);
                assert!(places.iter().all(|at| at % 8 == 0 && at + 8 <= span), "{places:?}");
            }
        }
        assert_ne!(scattered(1, 1 << 30, 16), scattered(2, 1 << 30, 16));
    }
}
