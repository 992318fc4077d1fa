//! A secret that was committed over is nowhere on the medium once a call that scrubs has returned: whatever was not synced, whatever
//! happens next, and in blocks without a name as well.

use std::sync::Arc;

use steadfast::disk::{Disk, SimDisk, SyncPoint};
use steadfast::{AtomicMapping, Error, ErrorKind};

use crate::images::Depth;
use crate::matrix::{FULL, Matrix, report};
use crate::script::{FILE, Log, PAGE, Run, Variant, open};

const SECRET: &[u8; 21] = b"the wolf is at the do";

/// What is known of it from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Secret {
    /// It was recorded, and no call that scrubs has returned since it was committed over.
    pub(crate) recorded: bool,
    /// A fresh journal may be taking the place of one that holds it, which a crash may leave without a name.
    pub(crate) replacing: bool,
}

const NOWHERE: Secret = Secret { recorded: false, replacing: false };

/// Is it only where it may be? The places without a name are returned.
pub(crate) fn judge(image: &SimDisk, log: &Log) -> Result<Vec<String>, String> {
    let Some(secret) = log.secret else { return Ok(Vec::new()) };
    let places = image.find_on_medium(SECRET);
    if !places.is_empty() && !secret.recorded {
        return Err(format!("scrubbed, and the secret is in {places:?}"));
    }
    let nameless: Vec<String> = places.into_iter().filter(|place| !place.starts_with('/')).collect();
    if !nameless.is_empty() && !secret.replacing {
        return Err(format!("the secret is in {nameless:?}, and no journal is being replaced"));
    }
    Ok(nameless)
}

/// After a recovery and a close: it is in the data file, if that holds it, and where the crash left it without a name.
pub(crate) fn judge_closed(image: &SimDisk, log: &Log, left: &[String], data: &[u8]) -> Result<(), String> {
    if log.secret.is_none() {
        return Ok(());
    }
    let in_data = data.windows(SECRET.len()).any(|part| part == SECRET);
    let may_be = |place: &String| left.contains(place) || (in_data && place == FILE);
    match image.find_on_medium(SECRET).into_iter().find(|place| !may_be(place)) {
        Some(place) => Err(format!("recovered and closed, and the secret is in {place}")),
        None => Ok(()),
    }
}

impl Run<'_> {
    fn plant(&mut self, at: usize) {
        self.log.secret = Some(Secret { recorded: true, ..NOWHERE });
        self.map.write_at(at, SECRET).unwrap();
    }

    fn wipe(&mut self, at: usize) {
        self.edit(at, SECRET.len(), 0x5a);
    }

    /// A call that scrubs: where it says that it did, nothing is left.
    fn scrubs(&mut self, call: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        match call(self) {
            Ok(()) => self.log.secret = Some(NOWHERE),
            Err(error) if matches!(error.kind(), ErrorKind::NotScrubbed | ErrorKind::Io) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// A commit of no interest: the secret may not come back with it.
    fn go_on(&mut self, with: u8) -> Result<(), Error> {
        self.edit(1, 5, with);
        self.commit()
    }
}

pub(crate) fn play(disk: &SimDisk, log: &mut Log, variant: Variant) -> Result<(), Error> {
    log.secret = Some(NOWHERE);
    let mut run = open(disk, log, 2 * PAGE + 1200, variant)?;
    // Committed over, and rolled back.
    run.plant(50);
    run.commit()?;
    run.wipe(50);
    run.commit()?;
    run.edit(60, 3, 1);
    run.scrubs(|run| run.map.rollback())?;
    run.go_on(2)?;
    // Never durable by itself, and checkpointed by name.
    run.plant(PAGE);
    run.commit_relaxed()?;
    run.wipe(PAGE);
    run.commit_relaxed()?;
    run.scrubs(|run| {
        run.map.checkpoint()?;
        run.log.durable = run.log.states.len() - 1;
        Ok(())
    })?;
    run.go_on(3)?;
    // Cut off.
    run.plant(2 * PAGE + 700);
    run.commit()?;
    run.map.resize(2 * PAGE)?;
    run.scrubs(Run::commit_or_say)?;
    run.go_on(4)?;
    // In both halves, a checkpoint under way, cut off for a while by a commit with a ticket.
    for round in 0..5 {
        run.plant(PAGE + 2000);
        run.edit(9, 2, round);
        run.commit()?;
    }
    run.map.resize(PAGE + 100)?;
    run.map.resize(3 * PAGE)?;
    run.scrubs(|run| {
        let (ticket, state) = run.commit_async()?;
        assert!(ticket.is_done() || !variant.scrub, "who scrubs has made it durable");
        run.wait(&(ticket, state))
    })?;
    run.go_on(5)?;
    // A larger journal takes the place of the one that holds it.
    run.plant(0);
    run.commit()?;
    run.wipe(0);
    run.commit()?;
    run.log.secret = Some(Secret { recorded: true, replacing: true });
    run.map.resize(6 * PAGE)?;
    run.map[100..6 * PAGE].fill(6);
    run.scrubs(Run::commit_or_say)?;
    run.go_on(7)?;
    run.plant(8);
    run.commit()?;
    run.wipe(8);
    run.commit()?;
    let last = run.log.states.len() - 1;
    run.map.close()?;
    log.closed = Some(last);
    log.secret = Some(NOWHERE);

    // And another session, on a file that has nothing to hide.
    log.closed = None;
    let map = variant.options().load_on(Arc::new(disk.clone()) as Arc<dyn Disk>, FILE)?;
    let mut run = Run { map, log };
    run.go_on(8)?;
    let last = run.log.states.len() - 1;
    run.map.close()?;
    log.closed = Some(last);
    Ok(())
}

impl Run<'_> {
    /// A commit that says so where it could not scrub.
    fn commit_or_say(&mut self) -> Result<(), Error> {
        let committed = self.begun(AtomicMapping::commit).map(drop);
        if !matches!(&committed, Err(error) if error.kind() != ErrorKind::NotScrubbed) {
            self.log.durable = self.log.states.len() - 1;
        }
        committed
    }
}

const SCRUBBED: Matrix = Matrix {
    variant: Variant::SECRETS,
    depth: Depth { stop_recovery: true, samples: 3 },
    nest_every: 83,
    sample_above: 4,
    ..FULL
};

#[test]
fn a_scrubbed_journal_is_sound_wherever_it_is_stopped_and_holds_nothing_once_the_call_returned() {
    match SCRUBBED.walk() {
        Ok(count) => report("crash matrix, scrubbed", count),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_sync_of_a_scrub_is_needed() {
    let matrix = Matrix { ignored: Some(SyncPoint::Scrub), ..SCRUBBED };
    match matrix.walk() {
        Ok(count) => panic!("Scrub was left out and {} images held", count.images),
        Err(error) => {
            let found = error.lines().next().unwrap_or_default();
            assert!(found.contains("the secret is in"), "{error}");
            println!("without Scrub: {found}");
        }
    }
}

/// The same without the option: the secret is found, so that not finding it means something.
#[test]
fn without_the_option_the_secret_stays() {
    let matrix = Matrix { variant: Variant { scrub: false, ..Variant::SECRETS }, ..SCRUBBED };
    let error = matrix.walk().expect_err("not scrubbed, and no secret was found");
    assert!(error.lines().next().is_some_and(|line| line.contains("the secret is in")), "{error}");
}
