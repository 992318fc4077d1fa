//! A loaded map needs its data once, and little more. Alone in its process, whose memory it measures.

use std::fs;

use steadfast::AtomicMapping;

const DATA_BYTES: usize = 128 << 20;
/// What the allocator, the stack and the test itself take.
const UNRELATED_BYTES: u64 = 2 << 20;

fn bytes_of(file: &str, field: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Anonymous memory, files in memory (once, however often they are mapped), and page tables.
fn memory_bytes() -> u64 {
    bytes_of("/proc/self/smaps_rollup", "Pss_Anon:")
        + bytes_of("/proc/self/smaps_rollup", "Pss_Shmem:")
        + bytes_of("/proc/self/status", "VmPTE:")
}

#[test]
fn memory_above_the_data_stays_under_twice_what_is_committed_and_not_checkpointed_plus_16_mib() {
    let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("a");
    fs::write(&path, vec![7; DATA_BYTES]).unwrap();
    let before = memory_bytes();
    let mut map = AtomicMapping::options().load(&path).unwrap();
    let mut above_max = 0;
    let mut check = |map: &AtomicMapping, what: &str| {
        // The bound first: a checkpoint that ends between the two makes both smaller.
        let bound = 2 * map.status().journal_used_bytes + (16 << 20) + UNRELATED_BYTES;
        let above = memory_bytes().saturating_sub(before + DATA_BYTES as u64);
        assert!(above < bound, "{what}: {above} bytes above the data, {bound} are allowed");
        above_max = above_max.max(above);
    };
    let mut at = 1;
    let mut next = || {
        at = (at * 25_214_903_917 + 11) % DATA_BYTES;
        at / 8 * 8
    };
    for round in 0..60u64 {
        for _ in 0..500 {
            map.write_at(next(), &round.to_le_bytes()).unwrap();
        }
        map.commit().unwrap();
        check(&map, "declared edits");
    }
    for pages in [1, 16, 256, 1000, 3000] {
        for round in 0..3_000u64.min(40_000 / pages) {
            for _ in 0..pages {
                map[next()] = round as u8;
            }
            map.commit().unwrap();
            if round % 16 == 0 {
                check(&map, "stores in random pages");
            }
        }
    }
    for round in 0..40 {
        map[round << 21..(round << 21) + (1 << 20)].fill(round as u8);
        map.commit().unwrap();
        check(&map, "stores in whole pages");
    }
    println!("at most {above_max} bytes above the data");
}
