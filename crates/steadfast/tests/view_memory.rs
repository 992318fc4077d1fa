//! A view gives the memory of what it committed back, however it was stored. Alone in its process, whose memory it measures.

use steadfast::AtomicMapping;

fn private_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
#[allow(unsafe_code)]
fn committed_plain_stores_do_not_pile_up_in_a_view() {
    let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("a");
    // SAFETY: the file lies in a folder that this test made, and nothing else writes it while the map is open.
    let mut map = unsafe { AtomicMapping::options().create(true).len(256 << 20).view(&path) }.unwrap();
    for at in 0..32 {
        map[at << 23..(at << 23) + (6 << 20)].fill(1);
        map.commit().unwrap();
        // What waits for its checkpoint is there as copies, and once more while the checkpoint reads it; how much that is depends
        // on how far the disk has come. All that was stored is 192 MiB.
        let private = private_bytes();
        assert!(private < 184 << 20, "commit {at}: {private} bytes");
    }
    // With nothing that waits, nothing is left but what the allocator keeps.
    map.checkpoint().unwrap();
    let private = private_bytes();
    assert!(private < 40 << 20, "{private} bytes after a checkpoint");
    assert!((0..32).all(|at| map[at << 23] == 1 && map[(at << 23) + (6 << 20)] == 0));
}
