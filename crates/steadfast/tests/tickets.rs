//! Commits that become durable while the program goes on.

mod stage;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use stage::{VERBS, folder, open, options};
use steadfast::disk::{Disk, SimDisk, SyncPoint};
use steadfast::{AtomicMapping, CommitTicket, ErrorKind};

/// The least that runs a future: a thread that sleeps until it is woken.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park_timeout(stage::DEADLINE),
        }
    }
}

#[test]
fn a_ticket_is_a_future_without_a_runtime() {
    for verb in VERBS {
        let folder = folder();
        let path = folder.path().join("state.bin");
        std::fs::write(&path, vec![0; 20_000]).unwrap();
        let mut map = open(verb, options(), &path).unwrap();
        let mut tickets = Vec::new();
        for round in 0..20u8 {
            map.write_at(usize::from(round) * 900, &[round + 1; 40]).unwrap();
            tickets.push(map.commit_async().unwrap());
        }
        let mut last = None;
        for ticket in tickets {
            let id = ticket.id();
            let told = block_on(ticket).unwrap();
            assert_eq!(told, id);
            assert!(last < Some(id), "in order");
            last = Some(id);
            assert!(map.status().durable >= id);
        }
        map.close().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert!((0..20usize).all(|round| bytes[round * 900] == round as u8 + 1));
    }
}

#[test]
fn a_ticket_can_be_waited_for_by_another_thread_and_outlive_the_map() {
    let folder = folder();
    let path = folder.path().join("state.bin");
    std::fs::write(&path, vec![0; 20_000]).unwrap();
    let mut map = options().load(&path).unwrap();
    map.write_at(0, &[1]).unwrap();
    let ticket = map.commit_async().unwrap();
    let waiter = thread::spawn(move || ticket.wait().map(|id| (id, ticket)));
    drop(map);
    let (id, ticket) = waiter.join().unwrap().unwrap();
    assert!(ticket.is_done());
    assert_eq!(ticket.wait_timeout(Duration::ZERO).unwrap().unwrap(), id, "asked again it says the same");
    assert_eq!(std::fs::read(&path).unwrap()[0], 1);
}

/// On a disk that counts, and does nothing by itself: no thread flushes before somebody waits.
fn on_sim(disk: &SimDisk) -> AtomicMapping {
    disk.put_file("/data", &[0; 20_000]);
    let options = AtomicMapping::options().journal_bytes(256 << 10).stepped(0);
    options.load_on(Arc::new(disk.clone()) as Arc<dyn Disk>, "/data").unwrap()
}

fn four_tickets(map: &mut AtomicMapping) -> Vec<CommitTicket> {
    (0..4u8)
        .map(|round| {
            map.write_at(usize::from(round) * 5000, &[round + 1; 300]).unwrap();
            map.commit_async().unwrap()
        })
        .collect()
}

#[test]
fn tickets_that_wait_together_share_one_flush() {
    let disk = SimDisk::new();
    let mut map = on_sim(&disk);
    let before = disk.operations();
    let tickets = four_tickets(&mut map);
    let written = disk.operations();
    assert!(tickets.iter().all(|ticket| !ticket.is_done()));
    tickets[3].wait().unwrap();
    assert_eq!(disk.operations() - written, 1, "one flush");
    assert!(tickets.iter().all(CommitTicket::is_done), "and all are told");
    for ticket in &tickets {
        ticket.wait().unwrap();
    }
    assert_eq!(written - before, 4 + 4, "blocks reserved and a record written, for each");
}

#[test]
fn an_error_reaches_every_ticket_that_waited_for_the_flush() {
    let disk = SimDisk::new();
    let mut map = on_sim(&disk);
    map.write_at(0, &[9; 8]).unwrap();
    map.commit().unwrap();
    let tickets = four_tickets(&mut map);
    // Neither the flush nor the fresh journal that is to take its place.
    disk.fail_syncs_of(SyncPoint::Record);
    disk.fail_syncs_of(SyncPoint::FreshJournal);
    for ticket in tickets.iter().rev() {
        assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::InDoubt);
    }
    let told = AtomicUsize::new(0);
    for ticket in tickets {
        if block_on(ticket).is_err() {
            told.fetch_add(1, Ordering::Relaxed);
        }
    }
    assert_eq!(told.into_inner(), 4);
    assert_eq!(map.commit_async().unwrap_err().kind(), ErrorKind::Latched);
    assert_eq!(
        map.rollback().unwrap_err().kind(),
        ErrorKind::Latched,
        "what the last commit is, nobody knows"
    );
}

#[test]
fn after_a_flush_that_failed_tickets_are_kept_in_a_fresh_journal() {
    let disk = SimDisk::new();
    let mut map = on_sim(&disk);
    let tickets = four_tickets(&mut map);
    disk.fail_syncs_of(SyncPoint::Record);
    // What the journal was given is gone: it has to come from memory.
    disk.evict_on_failed_sync();
    for ticket in &tickets {
        ticket.wait().unwrap();
    }
    disk.clear_failures();
    let cut = disk.killed();
    drop(map);
    let map = AtomicMapping::options().stepped(0).load_on(Arc::new(cut) as Arc<dyn Disk>, "/data").unwrap();
    assert!((0..4usize).all(|round| map[round * 5000] == round as u8 + 1));
}

#[test]
fn many_maps_on_many_threads_commit_side_by_side() {
    let folder = folder();
    thread::scope(|scope| {
        for number in 0..6u8 {
            let path = folder.path().join(format!("state-{number}"));
            scope.spawn(move || {
                std::fs::write(&path, vec![0; 40_000]).unwrap();
                let mut map = options().load(&path).unwrap();
                for round in 0..60usize {
                    map[round * 600] = number + 1;
                    map.write_at(round * 600 + 9, &[number]).unwrap();
                    if round % 3 == 0 { map.commit_async().unwrap().wait() } else { map.commit() }.unwrap();
                }
                map.close().unwrap();
                let bytes = std::fs::read(&path).unwrap();
                assert!(
                    (0..60).all(|round| (bytes[round * 600], bytes[round * 600 + 9]) == (number + 1, number))
                );
            });
        }
    });
}
