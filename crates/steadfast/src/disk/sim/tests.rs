mod failures;

use std::io;

use proptest::prelude::*;

use super::*;

const POINT: SyncPoint = SyncPoint::Record;
const SECTOR: usize = 512;

fn disk_with(path: &str, bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    disk.put_file(path, bytes);
    disk
}

fn open(disk: &SimDisk, path: &str) -> Box<dyn DiskFile> {
    disk.open(path.as_ref(), Access::Create { mode: 0o644 }).unwrap()
}

fn durable(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    disk.power_cut(&Survivors::none()).read_file(path)
}

fn os_error<T: std::fmt::Debug>(result: io::Result<T>) -> Option<i32> {
    result.unwrap_err().raw_os_error()
}

#[test]
fn open_answers_as_the_kernel_does() {
    let disk = disk_with("/a", b"x");
    assert_eq!(os_error(disk.open("/b".as_ref(), Access::Read)), Some(libc::ENOENT));
    assert_eq!(os_error(disk.open("/b".as_ref(), Access::ReadWrite)), Some(libc::ENOENT));
    assert_eq!(os_error(disk.open("/a".as_ref(), Access::CreateNew { mode: 0 })), Some(libc::EEXIST));
    assert_eq!(os_error(disk.stat("/b".as_ref())), Some(libc::ENOENT));
    assert_eq!(os_error(disk.remove("/b".as_ref())), Some(libc::ENOENT));
    assert_eq!(os_error(disk.rename("/b".as_ref(), "/c".as_ref())), Some(libc::ENOENT));
    let reader = disk.open("/a".as_ref(), Access::Read).unwrap();
    assert_eq!(os_error(reader.write_at(&[b"y"], 0)), Some(libc::EBADF));
    let new = disk.open("/b".as_ref(), Access::CreateNew { mode: 0o600 }).unwrap();
    assert_eq!(new.stat().unwrap().mode, 0o600);
    assert_eq!(disk.stat("/b".as_ref()).unwrap(), new.stat().unwrap());
    assert!(new.descriptor().is_none());
    assert_eq!(disk.resolve("/a/../b".as_ref()).unwrap(), Path::new("/a/../b"));
    assert_eq!(disk.resolve("a".as_ref()).unwrap(), Path::new("/a"));
}

#[test]
fn reads_see_writes_at_once_and_stop_at_the_end() {
    let disk = SimDisk::new();
    let file = open(&disk, "/a");
    file.write_at(&[b"one", b"", b"two"], 4).unwrap();
    let mut buf = [9; 16];
    assert_eq!(file.read_at(&mut buf, 2).unwrap(), 8);
    assert_eq!(&buf[..9], b"\0\0onetwo\x09");
    assert_eq!(file.read_at(&mut buf, 10).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, 99).unwrap(), 0);
}

#[test]
fn every_change_moves_the_change_time() {
    let disk = disk_with("/a", b"x");
    let file = open(&disk, "/a");
    let mut last = file.stat().unwrap().changed_ns;
    let changes: [&dyn Fn() -> io::Result<()>; 5] = [
        &|| file.write_at(&[b"y"], 0),
        &|| file.set_len(4),
        &|| file.zero(0..1),
        &|| file.set_mark(Some(b"m")),
        &|| disk.rename("/a".as_ref(), "/b".as_ref()),
    ];
    for change in changes {
        change().unwrap();
        let now = file.stat().unwrap().changed_ns;
        assert!(now > last);
        last = now;
    }
    file.sync(POINT).unwrap();
    assert_eq!(file.stat().unwrap().changed_ns, last);
}

#[test]
fn names_and_marks_leave_the_modification_time_alone() {
    let disk = disk_with("/a", b"x");
    let file = open(&disk, "/a");
    let modified = |file: &dyn DiskFile| file.stat().unwrap().modified_ns;
    let first = modified(&*file);
    file.set_mark(Some(b"m")).unwrap();
    disk.rename("/a".as_ref(), "/b".as_ref()).unwrap();
    assert_eq!(modified(&*file), first);
    file.write_at(&[b"y"], 0).unwrap();
    assert!(modified(&*file) > first);
}

#[test]
fn syncing_a_file_makes_its_content_durable_and_not_its_name() {
    let disk = SimDisk::new();
    let file = open(&disk, "/a");
    file.write_at(&[b"x"], 0).unwrap();
    file.sync(POINT).unwrap();
    assert_eq!(durable(&disk, "/a"), None);
    assert_eq!(disk.power_cut(&Survivors::all()).read_file("/a"), Some(b"x".to_vec()));
    disk.sync_dir("/".as_ref(), POINT).unwrap();
    assert_eq!(durable(&disk, "/a"), Some(b"x".to_vec()));
}

#[test]
fn syncing_a_folder_makes_its_names_durable_and_no_content() {
    let disk = SimDisk::new();
    let file = open(&disk, "/a");
    let _elsewhere = open(&disk, "/folder/b");
    file.write_at(&[b"x"], 0).unwrap();
    disk.sync_dir("/".as_ref(), POINT).unwrap();
    assert_eq!(durable(&disk, "/a"), Some(Vec::new()));
    assert_eq!(durable(&disk, "/folder/b"), None);
}

#[test]
fn sync_data_leaves_out_the_mark() {
    let disk = disk_with("/a", b"");
    let file = open(&disk, "/a");
    file.set_mark(Some(b"m")).unwrap();
    file.write_at(&[b"x"], 0).unwrap();
    file.sync_data(POINT).unwrap();
    assert_eq!(disk.unsynced(), 1);
    let image = disk.power_cut(&Survivors::none());
    assert_eq!((image.read_file("/a"), image.mark_of("/a")), (Some(b"x".to_vec()), None));
    file.sync(POINT).unwrap();
    assert_eq!(disk.power_cut(&Survivors::none()).mark_of("/a"), Some(b"m".to_vec()));
    file.set_mark(None).unwrap();
    assert_eq!(file.mark().unwrap(), None);
    assert_eq!(disk.power_cut(&Survivors::none()).mark_of("/a"), Some(b"m".to_vec()));
}

#[test]
fn syncing_one_file_leaves_another_alone() {
    let disk = disk_with("/a", b"");
    disk.put_file("/b", b"");
    let (a, b) = (open(&disk, "/a"), open(&disk, "/b"));
    a.write_at(&[b"x"], 0).unwrap();
    b.write_at(&[b"y"], 0).unwrap();
    b.sync_data(POINT).unwrap();
    assert_eq!((durable(&disk, "/a"), durable(&disk, "/b")), (Some(Vec::new()), Some(b"y".to_vec())));
}

#[test]
fn a_write_beyond_the_durable_length_extends_the_file_with_zeros() {
    let disk = disk_with("/a", b"x");
    let file = open(&disk, "/a");
    file.write_at(&[b"lost"], 1).unwrap();
    file.write_at(&[b"kept"], 6).unwrap();
    let image = disk.power_cut(&Survivors::only([1]));
    assert_eq!(image.read_file("/a"), Some(b"x\0\0\0\0\0kept".to_vec()));
}

#[test]
fn shrinking_and_growing_reads_as_zeros() {
    let disk = disk_with("/a", &[7; 5000]);
    let file = open(&disk, "/a");
    file.set_len(10).unwrap();
    file.set_len(5000).unwrap();
    let cut = disk.read_file("/a").unwrap();
    assert!(cut[..10] == [7; 10] && cut[10..].iter().all(|byte| *byte == 0));
    assert_eq!(disk.power_cut(&Survivors::only([1])).read_file("/a"), Some(vec![7; 5000]));
}

#[test]
fn zero_keeps_the_length() {
    let disk = disk_with("/a", &[7; 100]);
    let file = open(&disk, "/a");
    file.zero(90..200).unwrap();
    assert_eq!(file.stat().unwrap().len, 100);
    assert_eq!(disk.read_file("/a").unwrap()[90..], [0; 10]);
    assert_eq!(durable(&disk, "/a"), Some(vec![7; 100]));
}

#[test]
fn a_rename_may_survive_the_creation_that_it_rests_on() {
    let disk = disk_with("/to", b"old");
    let file = open(&disk, "/from");
    file.write_at(&[b"new"], 0).unwrap();
    file.sync_data(POINT).unwrap();
    disk.rename("/from".as_ref(), "/to".as_ref()).unwrap();
    assert_eq!(disk.unsynced_trace(), ["create from", "rename from to to"]);
    let image = disk.power_cut(&Survivors::only([1]));
    assert_eq!((image.exists("/from"), image.read_file("/to")), (false, Some(b"new".to_vec())));
    let image = disk.power_cut(&Survivors::only([0]));
    assert_eq!(image.read_file("/from"), Some(b"new".to_vec()));
    assert_eq!(image.read_file("/to"), Some(b"old".to_vec()));
}

#[test]
fn a_renamed_file_without_content_sync_is_empty() {
    let disk = disk_with("/to", b"old");
    open(&disk, "/from").write_at(&[b"new"], 0).unwrap();
    disk.rename("/from".as_ref(), "/to".as_ref()).unwrap();
    disk.sync_dir("/".as_ref(), POINT).unwrap();
    assert_eq!(durable(&disk, "/to"), Some(Vec::new()));
}

#[test]
fn a_removed_file_comes_back_until_its_folder_is_synced() {
    let disk = disk_with("/a", b"x");
    let file = open(&disk, "/a");
    disk.remove("/a".as_ref()).unwrap();
    assert_eq!(file.stat().unwrap().links, 0);
    file.write_at(&[b"y"], 0).unwrap();
    assert_eq!(disk.power_cut(&Survivors::all_but([0])).read_file("/a"), Some(b"y".to_vec()));
    assert_eq!(durable(&disk, "/a"), Some(b"x".to_vec()));
    disk.sync_dir("/".as_ref(), POINT).unwrap();
    assert_eq!((durable(&disk, "/a"), disk.unsynced()), (None, 0));
    file.write_at(&[b"z"], 0).unwrap();
    file.sync(POINT).unwrap();
    assert_eq!(disk.unsynced(), 0);
    let mut buf = [0];
    file.read_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"z");
}

#[test]
fn operations_are_counted_and_others_are_not() {
    let disk = SimDisk::new();
    let file = open(&disk, "/a");
    file.write_at(&[b"x"], 0).unwrap();
    file.set_len(9).unwrap();
    file.zero(0..1).unwrap();
    file.reserve(0..9).unwrap();
    file.set_mark(None).unwrap();
    file.sync_data(POINT).unwrap();
    file.sync(POINT).unwrap();
    disk.rename("/a".as_ref(), "/b".as_ref()).unwrap();
    disk.remove("/b".as_ref()).unwrap();
    disk.sync_dir("/".as_ref(), POINT).unwrap();
    assert_eq!(disk.operations(), 11);
    disk.put_file("/a", b"");
    open(&disk, "/a").try_lock(Lock::Shared).unwrap();
    disk.stat("/a".as_ref()).unwrap();
    file.read_at(&mut [0], 0).unwrap();
    file.mark().unwrap();
    assert_eq!(disk.operations(), 11);
    assert_eq!(disk.killed().operations(), 0);
}

#[test]
fn after_the_stop_every_call_fails() {
    let disk = disk_with("/a", b"old");
    let file = open(&disk, "/a");
    file.sync(POINT).unwrap();
    disk.stop_at(2);
    file.set_len(3).unwrap();
    assert!(!disk.is_stopped());
    let path = Path::new("/a");
    let calls: [&dyn Fn() -> io::Result<()>; 18] = [
        &|| file.write_at(&[b"new"], 0),
        &|| file.set_len(0),
        &|| file.reserve(0..1).map(|_| ()),
        &|| file.zero(0..1),
        &|| file.sync(POINT),
        &|| file.sync_data(POINT),
        &|| file.set_mark(None),
        &|| file.mark().map(drop),
        &|| file.stat().map(drop),
        &|| file.read_at(&mut [0], 0).map(drop),
        &|| file.try_lock(Lock::Shared).map(drop),
        &|| file.keep_in_place(),
        &|| disk.open(path, Access::Read).map(drop),
        &|| disk.stat(path).map(drop),
        &|| disk.resolve(path).map(drop),
        &|| disk.rename(path, path),
        &|| disk.remove(path),
        &|| disk.sync_dir("/".as_ref(), POINT),
    ];
    for (place, call) in calls.iter().enumerate() {
        assert!(SimDisk::is_stop(&call().unwrap_err()), "call {place}");
        assert!(disk.is_stopped());
    }
    assert_eq!(disk.operations(), 3);
    assert_eq!(disk.read_file("/a"), Some(b"old".to_vec()));
    assert!(!SimDisk::is_stop(&io::Error::from_raw_os_error(libc::EIO)));
}

#[test]
fn a_write_may_stop_in_its_middle() {
    for (bytes, through) in [(0, 0), (511, 0), (512, 512), (1500, 1024), (1600, 1600), (9999, 1600)] {
        let disk = disk_with("/a", b"");
        let file = open(&disk, "/a");
        disk.stop_within(1, bytes);
        assert!(SimDisk::is_stop(&file.write_at(&[&[1; 1600]], 0).unwrap_err()));
        assert_eq!(disk.read_file("/a"), Some(vec![1; through]));
        assert_eq!(disk.unsynced(), usize::from(through > 0));
    }
}

#[test]
fn a_kill_keeps_what_readers_saw_and_it_may_still_be_lost() {
    let disk = disk_with("/a", b"old");
    let file = open(&disk, "/a");
    assert!(file.try_lock(Lock::Exclusive).unwrap());
    file.write_at(&[b"new"], 0).unwrap();
    disk.stop_at(1);
    file.sync(POINT).unwrap_err();
    let next = disk.killed();
    assert_eq!((next.read_file("/a"), next.unsynced()), (Some(b"new".to_vec()), 1));
    assert_eq!(durable(&next, "/a"), Some(b"old".to_vec()));
    let again = open(&next, "/a");
    assert!(again.try_lock(Lock::Exclusive).unwrap());
    again.sync(POINT).unwrap();
    assert_eq!(durable(&next, "/a"), Some(b"new".to_vec()));
    assert_eq!(durable(&disk, "/a"), Some(b"old".to_vec()));
}

#[test]
fn a_kill_frees_files_without_a_name() {
    let disk = disk_with("/a", b"x");
    let file = open(&disk, "/a");
    disk.remove("/a".as_ref()).unwrap();
    file.write_at(&[b"y"], 0).unwrap();
    // Its removal is not durable yet, so what becomes of it still matters.
    assert_eq!(disk.killed().unsynced(), 2);
    disk.sync_dir("/".as_ref(), POINT).unwrap();
    assert_eq!(disk.killed().unsynced(), 0);
}

#[test]
fn images_do_not_change_with_their_origin() {
    let disk = disk_with("/a", &[1; 5000]);
    let image = disk.power_cut(&Survivors::all());
    open(&disk, "/a").write_at(&[&[2; 5000]], 0).unwrap();
    open(&image, "/a").write_at(&[&[3; 10]], 0).unwrap();
    assert_eq!(disk.read_file("/a"), Some(vec![2; 5000]));
    assert_eq!(image.read_file("/a").unwrap()[..11], [3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 1]);
}

#[test]
fn the_last_surviving_write_may_be_torn_from_either_end() {
    let disk = disk_with("/a", &[0; 2048]);
    let file = open(&disk, "/a");
    file.write_at(&[&[1; 2048]], 0).unwrap();
    file.set_len(4096).unwrap();
    let torn = |tear| disk.power_cut(&Survivors::all().torn(tear)).read_file("/a").unwrap();
    let head = torn(Tear::Head(1));
    assert!(head.len() == 4096 && head[..SECTOR] == [1; SECTOR] && head[SECTOR..] == [0; 4096 - SECTOR]);
    let tail = torn(Tear::Tail(1));
    assert!(tail[..1536] == [0; 1536] && tail[1536..2048] == [1; SECTOR] && tail[2048..] == [0; 2048]);
}

#[test]
fn few_unsynced_operations_give_every_subset() {
    let disk = disk_with("/a", b"");
    let file = open(&disk, "/a");
    assert_eq!(disk.power_cuts(0, 12, 5).collect::<Vec<_>>(), [Survivors::first(0)]);
    for at in 0..5 {
        file.write_at(&[b"x"], at).unwrap();
    }
    let cuts: Vec<Survivors> = disk.power_cuts(0, 12, 5).collect();
    assert_eq!(cuts.len(), 32);
    for mask in 0..32 {
        let wanted = |place: usize| mask >> place & 1 == 1;
        assert!(cuts.iter().any(|cut| (0..5).all(|place| cut.holds(place) == wanted(place))));
    }
}

#[test]
fn a_last_write_of_several_sectors_comes_torn_too() {
    let disk = disk_with("/a", b"");
    open(&disk, "/a").write_at(&[&[1; 8 * SECTOR]], 0).unwrap();
    let cuts: Vec<String> = disk.power_cuts(0, 12, 0).map(|cut| cut.to_string()).collect();
    let torn = ["Head(1)", "Head(4)", "Head(7)", "Tail(1)", "Tail(4)", "Tail(7)"];
    assert_eq!(cuts[..2], ["none", "1"]);
    assert_eq!(cuts[2..], torn.map(|tear| format!("1, the last write torn: {tear}")));
}

#[test]
fn many_unsynced_operations_are_sampled_the_same_way_each_time() {
    let disk = disk_with("/a", b"");
    let file = open(&disk, "/a");
    for at in 0..100 {
        file.write_at(&[b"x"], at).unwrap();
    }
    let cuts: Vec<Survivors> = disk.power_cuts(7, 12, 50).collect();
    assert_eq!(cuts, disk.power_cuts(7, 12, 50).collect::<Vec<_>>());
    assert_ne!(cuts, disk.power_cuts(8, 12, 50).collect::<Vec<_>>());
    assert_eq!(cuts.len(), 101 + 99 + 99 + 50);
    let has = |wanted: &Survivors| {
        cuts.iter().any(|cut| (0..100).all(|place| cut.holds(place) == wanted.holds(place)))
    };
    assert!(has(&Survivors::none()) && has(&Survivors::all()));
    for place in 0..100 {
        assert!(has(&Survivors::first(place)));
        assert!(has(&Survivors::all_but([place])));
        assert!(has(&Survivors::only([place])));
    }
}

#[test]
fn a_failed_sync_leaves_bytes_falsely_clean() {
    let disk = disk_with("/a", b"old");
    let file = open(&disk, "/a");
    disk.fail_sync(2);
    file.sync_data(POINT).unwrap();
    file.write_at(&[b"new"], 0).unwrap();
    assert_eq!(os_error(file.sync_data(POINT)), Some(libc::EIO));
    file.sync_data(POINT).unwrap();
    file.sync(POINT).unwrap();
    assert_eq!(disk.unsynced_trace(), ["write a 0+3 (falsely clean)"]);
    assert_eq!(disk.read_file("/a"), Some(b"new".to_vec()));
    assert_eq!(durable(&disk, "/a"), Some(b"old".to_vec()));
    assert_eq!(disk.power_cut(&Survivors::all()).read_file("/a"), Some(b"new".to_vec()));
    let killed = disk.killed();
    open(&killed, "/a").sync(POINT).unwrap();
    assert_eq!(durable(&killed, "/a"), Some(b"old".to_vec()));
}

#[test]
fn writing_falsely_clean_bytes_again_saves_those_bytes() {
    let disk = disk_with("/a", b"------");
    let file = open(&disk, "/a");
    file.write_at(&[b"abcdef"], 0).unwrap();
    disk.fail_sync(1);
    file.sync_data(POINT).unwrap_err();
    file.write_at(&[b"CD"], 2).unwrap();
    file.sync_data(POINT).unwrap();
    assert_eq!(durable(&disk, "/a"), Some(b"--CD--".to_vec()));
    // What survives of the failed write does not undo the bytes that are durable since.
    assert_eq!(disk.power_cut(&Survivors::all()).read_file("/a"), Some(b"abCDef".to_vec()));
    assert_eq!(disk.unsynced(), 2);
}

#[test]
fn a_durable_truncation_ends_what_a_failed_sync_left() {
    let disk = disk_with("/a", b"");
    let file = open(&disk, "/a");
    file.write_at(&[b"abcdef"], 0).unwrap();
    disk.fail_sync(1);
    file.sync_data(POINT).unwrap_err();
    file.set_len(2).unwrap();
    file.set_len(6).unwrap();
    file.sync_data(POINT).unwrap();
    assert_eq!(durable(&disk, "/a"), Some(vec![0; 6]));
    assert_eq!(disk.power_cut(&Survivors::all()).read_file("/a"), Some(b"ab\0\0\0\0".to_vec()));
}

#[test]
fn eviction_shows_what_the_disk_holds() {
    let disk = disk_with("/a", b"old");
    let file = open(&disk, "/a");
    file.write_at(&[b"new longer"], 0).unwrap();
    disk.fail_sync(1);
    file.sync_data(POINT).unwrap_err();
    file.write_at(&[b"N"], 0).unwrap();
    disk.evict();
    assert_eq!(disk.read_file("/a"), Some(b"Nld\0\0\0\0\0\0\0".to_vec()));
    assert_eq!(disk.unsynced_trace(), ["write a 0+1", "set_len a 10"]);
    disk.evict();
    assert_eq!(disk.unsynced(), 2);
}

#[test]
fn a_failed_folder_sync_leaves_the_names_waiting() {
    let disk = SimDisk::new();
    let _file = open(&disk, "/a");
    disk.fail_sync(1);
    assert_eq!(os_error(disk.sync_dir("/".as_ref(), POINT)), Some(libc::EIO));
    assert_eq!(durable(&disk, "/a"), None);
    disk.sync_dir("/".as_ref(), POINT).unwrap();
    assert_eq!(durable(&disk, "/a"), Some(Vec::new()));
}

#[test]
fn the_chosen_write_fails_after_the_chosen_sectors() {
    let disk = disk_with("/a", b"");
    let file = open(&disk, "/a");
    disk.fail_write(2, libc::EIO, 1);
    file.write_at(&[b"x"], 0).unwrap();
    assert_eq!(os_error(file.write_at(&[&[1; 2048]], 0)), Some(libc::EIO));
    assert_eq!(disk.read_file("/a"), Some(vec![1; 512]));
    file.write_at(&[&[1; 2048]], 0).unwrap();
    disk.fail_writes_from(2, libc::ENOSPC);
    file.write_at(&[b"y"], 0).unwrap();
    for _ in 0..3 {
        assert_eq!(os_error(file.write_at(&[b"z"], 0)), Some(libc::ENOSPC));
    }
    assert_eq!(disk.read_file("/a").unwrap()[0], b'y');
    disk.clear_failures();
    file.write_at(&[b"z"], 0).unwrap();
}

#[test]
fn an_ignored_sync_does_nothing() {
    let disk = disk_with("/a", b"old");
    disk.ignore_sync(SyncPoint::Record);
    let file = open(&disk, "/a");
    file.write_at(&[b"new"], 0).unwrap();
    file.sync_data(SyncPoint::Record).unwrap();
    assert_eq!(durable(&disk, "/a"), Some(b"old".to_vec()));
    let killed = disk.killed();
    open(&killed, "/a").sync(SyncPoint::Record).unwrap();
    assert_eq!(durable(&killed, "/a"), Some(b"old".to_vec()));
    file.sync_data(SyncPoint::Checkpoint).unwrap();
    assert_eq!(durable(&disk, "/a"), Some(b"new".to_vec()));
}

#[test]
fn a_full_disk_refuses_and_the_same_write_succeeds_once_there_is_space() {
    let disk = disk_with("/a", &[1; 4096]);
    let file = open(&disk, "/a");
    disk.space(2 * 4096);
    assert_eq!(os_error(file.reserve(0..3 * 4096).map(|_| ())), Some(libc::ENOSPC));
    file.set_len(1 << 20).unwrap();
    file.zero(4096..3 * 4096).unwrap();
    assert_eq!(os_error(file.write_at(&[&[2; 3 * 4096]], 0)), Some(libc::ENOSPC));
    file.write_at(&[&[3; 4096]], 0).unwrap();
    disk.space(3 * 4096);
    file.write_at(&[&[2; 3 * 4096]], 0).unwrap();
    assert_eq!(os_error(file.write_at(&[b"x"], 5 * 4096)), Some(libc::ENOSPC));
}

#[test]
fn reserved_space_takes_writes_on_a_full_disk() {
    let disk = disk_with("/a", b"");
    disk.put_file("/other", &[1; 4096]);
    let file = open(&disk, "/a");
    file.reserve(0..2 * 4096).unwrap();
    assert_eq!(file.stat().unwrap().len, 0);
    disk.space(3 * 4096);
    let other = open(&disk, "/other");
    assert_eq!(os_error(other.write_at(&[b"x"], 4096)), Some(libc::ENOSPC));
    file.write_at(&[&[2; 2 * 4096]], 0).unwrap();
    assert_eq!(disk.power_cut(&Survivors::all()).read_file("/a"), Some(vec![2; 2 * 4096]));
    drop(file);
    disk.remove("/a".as_ref()).unwrap();
    other.write_at(&[b"x"], 4096).unwrap();
}

#[test]
fn a_reservation_is_durable_with_the_next_sync() {
    for (synced, wanted) in [(false, Some(libc::ENOSPC)), (true, None)] {
        let disk = disk_with("/a", b"");
        let file = open(&disk, "/a");
        file.reserve(0..4096).unwrap();
        if synced {
            file.sync_data(POINT).unwrap();
        }
        let image = disk.power_cut(&Survivors::all());
        image.space(0);
        let result = open(&image, "/a").write_at(&[b"x"], 0);
        assert_eq!(result.err().and_then(|error| error.raw_os_error()), wanted);
    }
}

#[test]
fn locks_stand_between_handles_and_end_with_them() {
    let disk = disk_with("/a", b"");
    let (one, two) = (open(&disk, "/a"), open(&disk.clone(), "/a"));
    assert!(one.try_lock(Lock::Shared).unwrap());
    assert!(two.try_lock(Lock::Shared).unwrap());
    assert!(!one.try_lock(Lock::Exclusive).unwrap());
    drop(two);
    assert!(one.try_lock(Lock::Exclusive).unwrap());
    let three = open(&disk, "/a");
    assert!(!three.try_lock(Lock::Shared).unwrap());
    drop(one);
    assert!(three.try_lock(Lock::Exclusive).unwrap());
    let reader = disk.open("/a".as_ref(), Access::Read).unwrap();
    assert_eq!(os_error(reader.try_lock(Lock::Exclusive)), Some(libc::EBADF));
}

#[test]
fn a_disk_without_marks_says_so() {
    let disk = SimDisk::new().without_marks();
    let file = open(&disk, "/a");
    assert_eq!(file.mark().unwrap_err().kind(), io::ErrorKind::Unsupported);
    assert_eq!(file.set_mark(Some(b"m")).unwrap_err().kind(), io::ErrorKind::Unsupported);
    let next = disk.killed();
    assert_eq!(open(&next, "/a").mark().unwrap_err().kind(), io::ErrorKind::Unsupported);
}

#[test]
fn the_trace_tells_what_happened() {
    let disk = SimDisk::new();
    let quiet = open(&disk, "/a");
    assert!(disk.trace().is_empty());
    disk.keep_trace();
    quiet.write_at(&[b"abc"], 5).unwrap();
    quiet.sync_data(SyncPoint::Record).unwrap();
    disk.rename("/a".as_ref(), "/b".as_ref()).unwrap();
    disk.stop_at(1);
    disk.sync_dir("/".as_ref(), SyncPoint::CopyName).unwrap_err();
    assert_eq!(
        disk.trace(),
        ["write a 5+3", "sync_data Record a", "rename a to b", "sync_dir CopyName / (stopped here)",]
    );
}

#[derive(Debug, Clone)]
enum Step {
    Create(u8),
    Write(u8, u64, Vec<u8>),
    WriteDurably(u8, u64, Vec<u8>),
    SetLen(u8, u64),
    Zero(u8, u64, u64),
    SetMark(u8, Option<u8>),
    Rename(u8, u8),
    Remove(u8),
    Sync(u8, bool),
    SyncDir,
    FailSync,
    Evict,
}

const NAMES: [&str; 3] = ["/a", "/b", "/c"];

fn step() -> impl Strategy<Value = Step> {
    let (name, at) = (0..3_u8, 0..9000_u64);
    prop_oneof![
        2 => name.clone().prop_map(Step::Create),
        6 => (name.clone(), at.clone(), prop::collection::vec(any::<u8>(), 0..3000))
            .prop_map(|(name, at, bytes)| Step::Write(name, at, bytes)),
        2 => (name.clone(), at.clone(), prop::collection::vec(any::<u8>(), 0..3000))
            .prop_map(|(name, at, bytes)| Step::WriteDurably(name, at, bytes)),
        2 => (name.clone(), at.clone()).prop_map(|(name, len)| Step::SetLen(name, len)),
        2 => (name.clone(), at.clone(), at).prop_map(|(name, a, b)| Step::Zero(name, a.min(b), a.max(b))),
        1 => (name.clone(), any::<Option<u8>>()).prop_map(|(name, mark)| Step::SetMark(name, mark)),
        1 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => name.clone().prop_map(Step::Remove),
        3 => (name, any::<bool>()).prop_map(|(name, all)| Step::Sync(name, all)),
        1 => Just(Step::SyncDir),
        1 => Just(Step::FailSync),
        1 => Just(Step::Evict),
    ]
}

/// Whatever can fail may: the properties hold either way.
fn take(disk: &SimDisk, step: &Step) -> io::Result<()> {
    let path = |name: &u8| Path::new(NAMES[usize::from(*name)]);
    let file = |name: &u8| disk.open(path(name), Access::ReadWrite);
    match step {
        Step::Create(name) => disk.open(path(name), Access::Create { mode: 0o644 }).map(drop),
        Step::Write(name, at, bytes) => file(name)?.write_at(&[bytes], *at),
        Step::WriteDurably(name, at, bytes) => file(name)?.write_durably(bytes, *at, POINT),
        Step::SetLen(name, len) => file(name)?.set_len(*len),
        Step::Zero(name, start, end) => file(name)?.zero(*start..*end),
        Step::SetMark(name, mark) => file(name)?.set_mark(mark.as_ref().map(std::slice::from_ref)),
        Step::Rename(from, to) => disk.rename(path(from), path(to)),
        Step::Remove(name) => disk.remove(path(name)),
        Step::Sync(name, true) => file(name)?.sync(POINT),
        Step::Sync(name, false) => file(name)?.sync_data(POINT),
        Step::SyncDir => disk.sync_dir("/".as_ref(), POINT),
        Step::FailSync => {
            disk.fail_sync(1);
            Ok(())
        }
        Step::Evict => {
            disk.evict();
            Ok(())
        }
    }
}

type Content = Option<Vec<u8>>;
type Mark = Option<Vec<u8>>;

/// All that a reader can see.
fn seen(disk: &SimDisk) -> Vec<(Content, Mark)> {
    NAMES.iter().map(|name| (disk.read_file(name), disk.mark_of(name))).collect()
}

proptest! {
    #[test]
    fn all_survivors_are_what_readers_saw(steps in prop::collection::vec(step(), 0..40)) {
        let disk = SimDisk::new();
        for step in &steps {
            let _ = take(&disk, step);
            prop_assert_eq!(seen(&disk.power_cut(&Survivors::all())), seen(&disk));
            prop_assert_eq!(seen(&disk.killed()), seen(&disk));
        }
    }

    #[test]
    fn with_no_survivors_only_syncs_change_what_is_left(steps in prop::collection::vec(step(), 0..40)) {
        let disk = SimDisk::new();
        let mut left = seen(&disk);
        for step in &steps {
            let _ = take(&disk, step);
            let now = seen(&disk.power_cut(&Survivors::none()));
            if !matches!(step, Step::Sync(..) | Step::SyncDir | Step::WriteDurably(..)) {
                prop_assert_eq!(&now, &left);
            }
            prop_assert_eq!(&seen(&disk.killed().power_cut(&Survivors::none())), &now);
            left = now;
        }
    }

    #[test]
    fn after_everything_is_synced_nothing_can_be_lost(steps in prop::collection::vec(step(), 0..40)) {
        let disk = SimDisk::new();
        for step in steps.iter().filter(|step| !matches!(step, Step::FailSync)) {
            let _ = take(&disk, step);
        }
        for name in NAMES {
            if let Ok(file) = disk.open(name.as_ref(), Access::Read) {
                file.sync(POINT).unwrap();
            }
        }
        disk.sync_dir("/".as_ref(), POINT).unwrap();
        prop_assert_eq!(disk.unsynced(), 0);
        prop_assert_eq!(seen(&disk.power_cut(&Survivors::none())), seen(&disk));
    }

    #[test]
    fn a_stop_leaves_what_the_operations_before_it_did(
        steps in prop::collection::vec(step(), 0..20),
        stop in 1_u64..20,
    ) {
        let disk = SimDisk::new();
        disk.stop_at(stop);
        let until = SimDisk::new();
        // Eviction is the kernel's doing: it goes on after the stop.
        for step in steps.iter().filter(|step| !matches!(step, Step::Evict)) {
            let before = until.operations();
            let _ = take(&disk, step);
            match step {
                // Two operations, and the second is the one that does not happen.
                Step::WriteDurably(name, at, bytes) if before + 2 == stop => {
                    let _ = take(&until, &Step::Write(*name, *at, bytes.clone()));
                }
                step if before + 1 < stop => drop(take(&until, step)),
                _ => {}
            }
        }
        prop_assert_eq!(seen(&disk), seen(&until));
        prop_assert_eq!(disk.unsynced_trace(), until.unsynced_trace());
    }
}
