//! The hand-over between the threads of a store, under thousands of schedules: `cargo xtask interleavings`.
//!
//! Built with `--cfg shuttle` the store's locks and threads are those of a model checker (`shuttle`), which chooses at each
//! of them who goes on, and reports a deadlock or a panic with the schedule that led there. The disk is the simulated one; at the
//! end every image that a power cut could leave is recovered and judged.
#![cfg(shuttle)]

use std::sync::Arc;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, thread};
use steadfast::disk::{Disk, SimDisk, SyncPoint};
use steadfast::store::{Batch, Extent, Flush, JournaledFile, JournaledFileOptions, Store};
use steadfast::{CommitTicket, Error, ErrorKind};

const FILE: &str = "/data";
const LEN: usize = 5000;

/// How many schedules each model is run under: `STEADFAST_SCHEDULES`, or some seconds' worth.
fn schedules() -> usize {
    std::env::var("STEADFAST_SCHEDULES").ok().and_then(|count| count.parse().ok()).unwrap_or(1500)
}

fn explore(name: &str, model: impl Fn() + Send + Sync + Clone + 'static) {
    let mut config = Config::new();
    // The whole store runs on such a stack.
    config.stack_size = 1 << 20;
    Runner::new(RandomScheduler::new(schedules()), config.clone()).run(model.clone());
    // Few switches at chosen places find what random walks rarely reach.
    Runner::new(PctScheduler::new(3, schedules()), config).run(model);
    println!("{name}: {} schedules at random, as many with three switches", schedules());
}

fn open(disk: &SimDisk, options: JournaledFileOptions) -> Result<JournaledFile, Error> {
    options.journal_bytes(8 * 4096).open_on(Arc::new(disk.clone()) as Arc<dyn Disk>, FILE)
}

/// A store of zeros, its states one by one, and the last that is known to be durable.
struct World {
    disk: SimDisk,
    store: JournaledFile,
    states: Vec<Vec<u8>>,
    durable: usize,
    /// Something was made to fail.
    faulty: bool,
}

impl World {
    fn new() -> World {
        let disk = SimDisk::new();
        disk.keep_trace();
        disk.put_file(FILE, &[0; LEN]);
        let store = open(&disk, JournaledFile::options()).unwrap();
        World { disk, store, states: vec![vec![0; LEN]], durable: 0, faulty: false }
    }

    /// The next state: a byte here and some there.
    fn change<T>(
        &mut self,
        commit: impl FnOnce(&mut JournaledFile, &Batch<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let number = self.states.len();
        let mut state = self.states[number - 1].clone();
        let extents =
            [Extent { offset: 7, len: 1 }, Extent { offset: (number * 300 % 4900) as u64, len: 90 }];
        let bytes = [number as u8; 91];
        state[7] = number as u8;
        state[extents[1].offset as usize..][..90].fill(number as u8);
        let batch = Batch { len_min: LEN as u64, len: LEN as u64, extents: &extents, bytes: &bytes };
        self.states.push(state);
        commit(&mut self.store, &batch).inspect_err(|error| {
            if error.kind() == ErrorKind::NotCommitted {
                self.states.pop();
            }
        })
    }

    fn commit(&mut self) -> Result<(), Error> {
        self.change(|store, batch| store.commit(batch, Flush::Now))?;
        self.durable = self.states.len() - 1;
        Ok(())
    }

    fn commit_relaxed(&mut self) -> Result<(), Error> {
        self.change(|store, batch| store.commit(batch, Flush::Later)).map(|_| ())
    }

    fn commit_async(&mut self) -> Result<(CommitTicket, usize), Error> {
        let ticket = self.change(|store, batch| store.commit_async(batch))?;
        Ok((ticket, self.states.len() - 1))
    }

    /// Every image of a power cut now holds what is durable, or something later.
    fn judge(disk: &SimDisk, states: &[Vec<u8>], durable: usize, complete: bool) {
        for survivors in disk.power_cuts(1, 3, 2) {
            let image = disk.power_cut(&survivors);
            let store = open(&image, JournaledFile::options().stepped(0)).unwrap_or_else(|error| {
                panic!("power cut {survivors}: {error}\n{}", disk.trace().join("\n"))
            });
            let mut bytes = vec![0; LEN];
            store.read_committed(&mut bytes, 0).unwrap();
            let found = states.iter().rposition(|state| *state == bytes);
            // `None` is a state that was begun after these.
            assert!(
                found.is_none_or(|found| found >= durable),
                "power cut {survivors}: {found:?} of {durable}.."
            );
            assert!(found.is_some() || !complete, "power cut {survivors}: a state that never was");
        }
    }

    fn end(mut self) {
        Self::judge(&self.disk, &self.states, self.durable, true);
        let closed = self.store.close();
        assert!(self.faulty || closed.is_ok(), "nothing failed, and yet: {closed:?}");
        let closed = closed.is_ok();
        drop(self.store);
        if closed {
            assert_eq!(self.disk.read_file(FILE).as_ref(), self.states.last(), "a plain file is left");
            assert!(!self.disk.exists("/data.steadfast"));
        } else {
            Self::judge(&self.disk.killed(), &self.states, self.durable, true);
        }
    }
}

#[test]
fn commits_go_on_during_a_checkpoint_and_every_one_of_them_is_found() {
    explore("commits during a checkpoint", || {
        let mut world = World::new();
        for round in 0..11 {
            if round % 3 == 2 { world.commit_relaxed() } else { world.commit() }.unwrap();
            if round == 6 {
                world.store.start_checkpoint().unwrap();
            }
        }
        let mut bytes = vec![0; LEN];
        world.store.read_committed(&mut bytes, 0).unwrap();
        assert_eq!(Some(&bytes), world.states.last());
        world.end();
    });
}

#[test]
fn tickets_are_told_in_order_and_what_they_say_is_durable() {
    explore("tickets", || {
        let mut world = World::new();
        let disk = world.disk.clone();
        let mut tickets = Vec::new();
        for _ in 0..3 {
            tickets.push(world.commit_async().unwrap());
        }
        let (states, first) = (world.states.clone(), tickets.remove(0));
        let last = tickets.pop().unwrap();
        let waiter = thread::spawn(move || {
            last.0.wait().unwrap();
            assert!(first.0.is_done(), "the later was told before the earlier");
            World::judge(&disk, &states, last.1, false);
        });
        // Commits of the other kinds meanwhile, enough to fill a half.
        world.commit().unwrap();
        world.commit_relaxed().unwrap();
        world.commit().unwrap();
        let (ticket, state) = world.commit_async().unwrap();
        ticket.wait().unwrap();
        world.durable = world.durable.max(state);
        assert!(tickets[0].0.is_done());
        waiter.join().unwrap();
        world.end();
    });
}

#[test]
fn a_store_may_go_while_its_tickets_are_waited_for() {
    explore("drop under a ticket", || {
        let mut world = World::new();
        let tickets = [world.commit_async().unwrap().0, world.commit_async().unwrap().0];
        let waiter = thread::spawn(move || tickets.iter().for_each(|ticket| _ = ticket.wait().unwrap()));
        drop(world.store);
        // The lock is given back, whoever still waits.
        drop(open(&world.disk, JournaledFile::options().stepped(0)).unwrap());
        waiter.join().unwrap();
        assert_eq!(world.disk.read_file(FILE).as_ref(), world.states.last());
    });
}

#[test]
fn whatever_sync_fails_nobody_waits_for_ever_and_nothing_durable_is_lost() {
    for place in 1..12 {
        explore(&format!("sync {place} fails"), move || {
            let mut world = World::new();
            world.disk.fail_sync(place);
            world.faulty = true;
            let mut tickets = Vec::new();
            for round in 0..9 {
                let done = match round % 3 {
                    0 => world.commit(),
                    1 => world.commit_async().map(|ticket| tickets.push(ticket)),
                    _ => world.commit_relaxed(),
                };
                match done {
                    Ok(()) => {}
                    // Told once, of a checkpoint in the background.
                    Err(error) if error.kind() == ErrorKind::NotCommitted => {}
                    Err(error) => {
                        assert!(matches!(error.kind(), ErrorKind::InDoubt | ErrorKind::Latched), "{error}");
                        break;
                    }
                }
            }
            for (ticket, state) in &tickets {
                if ticket.wait().is_ok() {
                    world.durable = world.durable.max(*state);
                }
            }
            world.end();
        });
    }
}

#[test]
fn a_checkpoint_that_keeps_failing_is_not_committed_and_never_a_hang() {
    explore("checkpoints that fail", || {
        let mut world = World::new();
        world.disk.fail_syncs_of(SyncPoint::Checkpoint);
        world.faulty = true;
        let mut refused = 0;
        for _ in 0..14 {
            match world.commit() {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NotCommitted, "{error}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 1, "the journal cannot have had room for all");
        world.disk.clear_failures();
        world.commit().or_else(|_| world.commit()).unwrap();
        world.end();
    });
}

#[test]
fn a_checkpoint_by_name_overtakes_the_one_that_is_about_to_begin() {
    explore("a checkpoint by name", || {
        let mut world = World::new();
        for _ in 0..5 {
            world.commit_relaxed().unwrap();
        }
        // While this is flushed by its own thread the one that checkpoints has to wait.
        let _ticket = world.commit_async().unwrap();
        world.store.checkpoint().unwrap();
        world.durable = world.states.len() - 1;
        for _ in 0..5 {
            world.commit_relaxed().unwrap();
        }
        world.end();
    });
}

#[test]
fn a_write_and_a_flush_that_fail_together_lose_nothing_durable() {
    for (write, sync) in [(3, 1), (4, 1), (5, 1), (6, 2), (7, 2)] {
        explore(&format!("write {write} and sync {sync} fail"), move || {
            let mut world = World::new();
            world.disk.fail_write(write, 5, 0);
            world.disk.fail_sync(sync);
            world.faulty = true;
            let mut tickets = Vec::new();
            for _ in 0..8 {
                match world.commit_async() {
                    Ok(ticket) => tickets.push(ticket),
                    Err(error) if error.kind() == ErrorKind::NotCommitted => {}
                    Err(_) => break,
                }
            }
            for (ticket, state) in &tickets {
                if ticket.wait().is_ok() {
                    world.durable = world.durable.max(*state);
                }
            }
            world.end();
        });
    }
}

/// The sync of an anchor is one of the whole journal: what it fails to write is clean for the flush that is under way, and no
/// error is left for that one to see.
#[test]
fn an_anchor_that_fails_during_a_flush_takes_no_ticket_with_it() {
    explore("an anchor fails during a flush", || {
        let mut world = World::new();
        world.faulty = true;
        for _ in 0..4 {
            world.commit().unwrap();
        }
        world.disk.fail_syncs_of(SyncPoint::Anchor);
        // Seals the half: its checkpoint and the flush of these go on side by side.
        let tickets: Vec<_> = (0..3).map_while(|_| world.commit_async().ok()).collect();
        for (ticket, state) in &tickets {
            if ticket.wait().is_ok() {
                World::judge(&world.disk, &world.states, *state, false);
                world.durable = world.durable.max(*state);
            }
        }
        world.disk.clear_failures();
        world.end();
    });
}
