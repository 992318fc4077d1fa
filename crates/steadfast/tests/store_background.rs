//! What goes on behind a commit, when something else happens at the same time. Found by review.

mod stage;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::{fs, thread};

use steadfast::disk::{Access, CallKind, Disk, SimDisk, Survivors, SyncPoint};
use steadfast::store::{Batch, Extent, Flush, JournaledFile, Store};
use steadfast::{CommitTicket, ErrorKind, Result};

const PAGE: u64 = 4096;
const EIO: i32 = 5;

/// A file of one page, and a journal of four blocks a half.
fn on_sim(disk: &SimDisk, steps: u32) -> JournaledFile {
    disk.put_file("/data", &[7; PAGE as usize]);
    let options = JournaledFile::options().journal_bytes(8 * PAGE).stepped(steps);
    options.open_on(Arc::new(disk.clone()) as Arc<dyn Disk>, "/data").unwrap()
}

fn put(store: &mut JournaledFile, (len_min, len): (u64, u64), offset: u64, bytes: &[u8]) -> Result<()> {
    let extents = [Extent { offset, len: bytes.len() as u32 }];
    store.commit(&Batch { len_min, len, extents: &extents, bytes }, Flush::Now).map(|_| ())
}

fn ticket(store: &mut JournaledFile, byte: u8) -> CommitTicket {
    let extents = [Extent { offset: 0, len: 1 }];
    let batch = Batch { len_min: PAGE, len: PAGE, extents: &extents, bytes: &[byte] };
    store.commit_async(&batch).unwrap()
}

fn poll(ticket: &mut CommitTicket, waker: impl Wake + Send + Sync + 'static) {
    let waker = Waker::from(Arc::new(waker));
    let _ = Pin::new(ticket).poll(&mut Context::from_waker(&waker));
}

/// Runs it on a thread of its own: a test that hangs says so.
fn in_time(work: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    match wait.recv_timeout(stage::DEADLINE) {
        Err(RecvTimeoutError::Timeout) => panic!("it hangs"),
        _ => thread.join().unwrap(),
    }
}

#[test]
fn blocks_of_a_commit_outlast_the_checkpoint_that_makes_room_for_it() {
    let disk = SimDisk::new();
    disk.put_file("/data", &[7; 8 * PAGE as usize]);
    let options = JournaledFile::options().journal_bytes(8 * PAGE).stepped(0);
    let mut store = options.open_on(Arc::new(disk.clone()) as Arc<dyn Disk>, "/data").unwrap();
    // Cut to one block, and commits until both halves are full.
    for _ in 0..8 {
        put(&mut store, (PAGE, PAGE), 0, b"a").unwrap();
    }
    // Growth, whose room in the journal comes from a checkpoint that cuts the file.
    put(&mut store, (PAGE, 8 * PAGE), PAGE, &[1; 3 * PAGE as usize - 200]).unwrap();
    // Somebody else takes all that is free.
    disk.space((8 + 3 + 1) * PAGE);
    store.checkpoint().unwrap();
}

#[test]
fn a_close_that_failed_may_be_followed_by_commits() {
    let stage = stage::folder();
    let (folder, aside) = (stage.path().join("folder"), stage.path().join("aside"));
    fs::create_dir(&folder).unwrap();
    let path = folder.join("data");
    fs::write(&path, vec![0; PAGE as usize]).unwrap();
    let mut store = JournaledFile::options().journal_bytes(8 * PAGE).open(&path).unwrap();
    put(&mut store, (PAGE, PAGE), 0, b"a").unwrap();
    // Its name leads nowhere for a while.
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, b"a file").unwrap();
    store.close().unwrap_err();
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    in_time(move || {
        for _ in 0..40 {
            put(&mut store, (PAGE, PAGE), 0, b"c").unwrap();
            ticket(&mut store, b'd').wait().unwrap();
        }
        store.close().unwrap();
    });
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics, on purpose");
    }
}

#[test]
fn a_waker_that_panics_hangs_nobody() {
    for threads in [false, true] {
        in_time(move || {
            let disk = SimDisk::new();
            disk.put_file("/data", &[7; PAGE as usize]);
            let options = JournaledFile::options().journal_bytes(64 * PAGE);
            let options = if threads { options } else { options.stepped(1) };
            let mut store = options.open_on(Arc::new(disk) as Arc<dyn Disk>, "/data").unwrap();
            for _ in 0..20 {
                let mut first = ticket(&mut store, b'x');
                poll(&mut first, Panics);
                let told = catch_unwind(AssertUnwindSafe(|| put(&mut store, (PAGE, PAGE), 0, b"y")));
                told.expect("the owner has no part in it").unwrap();
                first.wait().unwrap();
                ticket(&mut store, b'z').wait().unwrap();
            }
            assert_eq!(store.status().latched, None);
            store.close().unwrap();
        });
    }
}

/// Waits for a ticket when it is woken.
struct Waits(Mutex<Option<CommitTicket>>);

impl Wake for Waits {
    fn wake(self: Arc<Self>) {
        if let Some(ticket) = self.0.lock().unwrap().take() {
            ticket.wait().unwrap();
        }
    }
}

#[test]
fn a_waker_may_wait_for_a_later_ticket() {
    in_time(|| {
        let disk = SimDisk::new();
        let mut store = on_sim(&disk, 0);
        let mut first = ticket(&mut store, b'x');
        let second = ticket(&mut store, b'y');
        poll(&mut first, Waits(Mutex::new(Some(second))));
        first.wait().unwrap();
        store.close().unwrap();
    });
}

#[test]
fn a_flush_behind_an_anchor_that_failed_is_not_believed() {
    let disk = SimDisk::new();
    let mut store = on_sim(&disk, 100);
    for _ in 0..4 {
        put(&mut store, (PAGE, PAGE), 0, b"a").unwrap();
    }
    // Seals the half. Its checkpoint is done at once, and the sync of the anchor takes this record's pages with it.
    disk.fail_syncs_of(SyncPoint::Anchor);
    let last = ticket(&mut store, b'x');
    disk.clear_failures();
    last.wait().unwrap();
    let cut = disk.power_cut(&Survivors::none());
    drop(JournaledFile::options().open_on(Arc::new(cut.clone()) as Arc<dyn Disk>, "/data").unwrap());
    assert_eq!(cut.read_file("/data").unwrap()[0], b'x', "a commit that was acknowledged is lost");
}

#[test]
fn a_foreign_hand_is_noticed_before_a_checkpoint_in_the_background_writes() {
    let disk = SimDisk::new();
    let mut store = on_sim(&disk, 100);
    for _ in 0..4 {
        put(&mut store, (PAGE, PAGE), 0, b"a").unwrap();
    }
    disk.open("/data".as_ref(), Access::ReadWrite).unwrap().write_at(&[b"foreign"], 0).unwrap();
    // Seals the half, and its checkpoint begins.
    put(&mut store, (PAGE, PAGE), 0, b"b").unwrap();
    assert!(store.status().latched.is_some());
    assert_eq!(&disk.read_file("/data").unwrap()[..7], b"foreign");
}

/// A file that shows its commits to others.
fn published(disk: &SimDisk, steps: u32) -> JournaledFile {
    disk.put_file("/data", &[7; PAGE as usize]);
    let options = JournaledFile::options().journal_bytes(8 * PAGE).publish(true).stepped(steps);
    options.open_on(Arc::new(disk.clone()) as Arc<dyn Disk>, "/data").unwrap()
}

/// Another program writes over the beginning.
fn scribble(disk: &SimDisk) {
    disk.open("/data".as_ref(), Access::ReadWrite).unwrap().write_at(&[b"foreign"], 0).unwrap();
}

/// Four commits fill a half. The fifth seals it, and its checkpoint begins.
fn half_and_one(store: &mut JournaledFile) {
    for at in 0..5 {
        put(store, (PAGE, PAGE), at, b"a").unwrap();
    }
    assert_eq!(store.status().checkpointed.get(), 0);
}

/// Whoever opens it next makes the commits once more.
fn recovered(disk: &SimDisk) -> Vec<u8> {
    let killed = disk.killed();
    drop(JournaledFile::options().open_on(Arc::new(killed.clone()) as Arc<dyn Disk>, "/data").unwrap());
    killed.read_file("/data").unwrap()
}

#[test]
fn a_checkpoint_of_what_is_published_writes_nothing_and_goes_on_beside_commits() {
    let disk = SimDisk::new();
    let mut store = published(&disk, 1);
    disk.keep_trace();
    let writes = || disk.trace().iter().filter(|call| call.starts_with("write data ")).count();
    half_and_one(&mut store);
    assert_eq!(writes(), 5, "{:#?}", disk.trace());
    put(&mut store, (PAGE, PAGE), 5, b"b").unwrap();
    assert_eq!(store.status().checkpointed.get(), 4);
    assert_eq!(writes(), 6, "{:?}", disk.trace());
    // Nor has the owner anything to write.
    store.checkpoint().unwrap();
    assert_eq!(store.status().checkpointed.get(), 6);
    assert_eq!(writes(), 6, "{:?}", disk.trace());
    let cut = disk.power_cut(&Survivors::none());
    assert_eq!(&cut.read_file("/data").unwrap()[..7], b"aaaaab\x07");
}

#[test]
fn what_another_program_wrote_over_stays_in_the_journal_when_the_sync_of_what_is_published_ends() {
    let disk = SimDisk::new();
    let mut store = published(&disk, 1);
    half_and_one(&mut store);
    scribble(&disk);
    // It is not durable, so nothing is published; but the checkpoint gets on, and comes to its end.
    let extents = [Extent { offset: 100, len: 1 }];
    store.commit(&Batch { len_min: PAGE, len: PAGE, extents: &extents, bytes: b"b" }, Flush::Later).unwrap();
    assert!(store.status().changed_by_others, "nobody noticed");
    assert_eq!(store.status().checkpointed.get(), 0, "the journal let go of what is nowhere else");
    drop(store);
    assert_eq!(&recovered(&disk)[..5], b"aaaaa");
}

#[test]
fn publishing_hides_no_other_hand() {
    let disk = SimDisk::new();
    let mut store = published(&disk, 0);
    put(&mut store, (PAGE, PAGE), 0, b"one").unwrap();
    scribble(&disk);
    put(&mut store, (PAGE, PAGE), 100, b"two").unwrap();
    assert_eq!(store.checkpoint().unwrap_err().kind(), ErrorKind::Latched);
    assert!(store.status().changed_by_others);
    assert_eq!(&disk.read_file("/data").unwrap()[..7], b"foreign");
    drop(store);
    let recovered = recovered(&disk);
    assert_eq!((&recovered[..3], &recovered[100..103]), (&b"one"[..], &b"two"[..]));
}

#[test]
fn the_mark_of_a_fresh_journal_hides_no_other_hand() {
    for publish in [false, true] {
        let disk = SimDisk::new();
        let mut store = if publish { published(&disk, 0) } else { on_sim(&disk, 0) };
        put(&mut store, (PAGE, PAGE), 0, b"one").unwrap();
        scribble(&disk);
        disk.fail_sync(1);
        put(&mut store, (PAGE, PAGE), 100, b"two").unwrap();
        assert_eq!(store.checkpoint().unwrap_err().kind(), ErrorKind::Latched);
        assert!(store.status().changed_by_others);
        drop(store);
        let recovered = recovered(&disk);
        assert_eq!((&recovered[..3], &recovered[100..103]), (&b"one"[..], &b"two"[..]));
    }
}

/// Where nobody knows how a call left the file, another program's change cannot be told from that: it is written over, not left in.
#[test]
fn after_a_look_that_failed_the_next_commit_shows_all_of_them_again() {
    const LEN: (u64, u64) = (2 * PAGE, 2 * PAGE);
    let mut taken_for_ours = 0;
    for place in 1.. {
        let disk = SimDisk::new();
        disk.put_file("/data", &[7; 2 * PAGE as usize]);
        let options = JournaledFile::options().journal_bytes(8 * PAGE).publish(true).stepped(0);
        let mut store = options.open_on(Arc::new(disk.clone()) as Arc<dyn Disk>, "/data").unwrap();
        put(&mut store, LEN, 0, b"one").unwrap();
        let before = disk.calls(Some(CallKind::Read));
        disk.fail_call(Some(CallKind::Read), place, EIO);
        // It reserves blocks, and looks at the file behind that as well.
        drop(put(&mut store, LEN, PAGE, b"elsewhere"));
        disk.clear_failures();
        if disk.calls(Some(CallKind::Read)) - before < place {
            break;
        }
        scribble(&disk);
        if put(&mut store, LEN, 100, b"two").is_ok() && !store.status().changed_by_others {
            taken_for_ours += 1;
            let found = disk.read_file("/data").unwrap();
            assert_eq!((&found[..3], &found[100..103]), (&b"one"[..], &b"two"[..]), "read {place}");
        }
    }
    assert!(taken_for_ours > 1, "only {taken_for_ours} looks were the last ones at the file");
}

#[test]
fn a_sync_that_succeeds_does_not_hide_that_publishing_failed_meanwhile() {
    let disk = SimDisk::new();
    let mut store = published(&disk, 1);
    half_and_one(&mut store);
    disk.fail_write(2, EIO, 0);
    put(&mut store, (PAGE, PAGE), 5, b"b").unwrap();
    assert_eq!(store.status().checkpointed.get(), 4);
    assert_eq!(disk.read_file("/data").unwrap()[5], 7, "the write that fails is the one that publishes");
    assert!(store.status().checkpoint_error.is_some(), "nobody is told");
    put(&mut store, (PAGE, PAGE), 6, b"c").unwrap();
    assert_eq!(&disk.read_file("/data").unwrap()[..7], b"aaaaabc");
    store.checkpoint().unwrap();
    assert_eq!(store.status().checkpoint_error, None);
}

#[test]
fn after_a_sync_that_failed_the_next_commit_shows_all_of_them_again() {
    let disk = SimDisk::new();
    disk.let_failed_blocks_stick();
    disk.put_file("/data", &[7; 4 * PAGE as usize]);
    let options = JournaledFile::options().journal_bytes(8 * PAGE).publish(true).stepped(1);
    let mut store = options.open_on(Arc::new(disk.clone()) as Arc<dyn Disk>, "/data").unwrap();
    for at in 0..5 {
        put(&mut store, (4 * PAGE, 4 * PAGE), at % 2 * PAGE, &[b'a' + at as u8]).unwrap();
    }
    disk.fail_syncs_of(SyncPoint::Checkpoint);
    put(&mut store, (4 * PAGE, 4 * PAGE), 2 * PAGE, b"x").unwrap();
    disk.clear_failures();
    assert!(store.status().checkpoint_error.is_some());
    let told = put(&mut store, (4 * PAGE, 4 * PAGE), 3 * PAGE, b"y").unwrap_err();
    assert_eq!(told.kind(), ErrorKind::NotCommitted);
    put(&mut store, (4 * PAGE, 4 * PAGE), 3 * PAGE, b"y").unwrap();
    let shown = disk.read_file("/data").unwrap();
    assert_eq!([0, 1, 2, 3].map(|page| shown[page * PAGE as usize]), *b"edxy");
    store.close().unwrap();
    assert_eq!(disk.power_cut(&Survivors::none()).read_file("/data").unwrap(), shown);
}
