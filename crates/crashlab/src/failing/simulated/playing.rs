//! A disk that fails while a workload is played, and the rules for the maps that are left then.

use std::sync::Arc;

use rand::{Rng, RngExt};
use steadfast::disk::{CallKind, SimDisk};
use steadfast::{AtomicMapping, Error, ErrorKind};

use super::{On, Place, disk_of, file, images, is_the_disks, journal};
use crate::failing::matrix::Counts;
use crate::history::{Content, History, Told, difference};
use crate::workload::{Played, Workload, play_on};

/// How often the undisturbed workload asks for this.
pub(super) fn calls(workload: &Workload, plant: fn(&SimDisk), kind: CallKind) -> u64 {
    let disk = disk_of(workload, plant);
    // Whoever fails here fails at the first place as well.
    let played = play_on(workload, &On(&disk), &mut |_, _| {});
    // Before the maps are dropped: the disk is well again by then.
    let calls = disk.calls(Some(kind));
    drop(played);
    calls
}

pub(super) fn histories(workload: &Workload) -> Vec<History> {
    (0..workload.maps.len()).map(|map| History::new(workload.initial(map))).collect()
}

/// One place.
pub(super) fn try_place(place: &Place<'_>, plant: fn(&SimDisk), counts: &mut Counts) -> Result<(), String> {
    let mut random = place.draws();
    let disk = disk_of(place.workload, plant);
    place.inject(&disk, &mut random);
    if random.random_ratio(1, 4) {
        // Not every program lives to be told.
        disk.stop_at(random.random_range(1..150));
    }
    let mut own = Counts::default();
    let mut trial = Trial {
        disk: &disk,
        histories: histories(place.workload),
        heal: place.fault.lasting && random.random(),
        lasting: place.fault.lasting,
        refused: None,
        refusals: 0,
        told_late: 0,
        counts: &mut own,
        random,
        verdict: Ok(()),
    };
    let played = play_on(place.workload, &On(&disk), &mut |map, told| trial.hear(map, told));
    let struck = disk.calls(Some(place.kind())) >= place.call;
    std::mem::replace(&mut trial.verdict, Ok(()))?;
    trial.end(played)?;
    if struck {
        counts.places += 1;
        counts.add(&own);
    } else {
        // Judged like all others, and no evidence of anything.
        counts.not_struck += 1;
    }
    Ok(())
}

struct Trial<'a, R> {
    disk: &'a SimDisk,
    histories: Vec<History>,
    /// The disk is well again as soon as a commit is refused.
    heal: bool,
    lasting: bool,
    /// A commit that was refused and is about to be tried again.
    refused: Option<Refused>,
    refusals: u64,
    told_late: u64,
    counts: &'a mut Counts,
    random: R,
    verdict: Result<(), String>,
}

struct Refused {
    content: Content,
    /// The second attempt is begun.
    again: bool,
}

impl<R: Rng> Trial<'_, R> {
    fn hear(&mut self, map: usize, told: Told) {
        if self.verdict.is_ok() {
            self.verdict = self.take_note(map, told);
        }
    }

    fn take_note(&mut self, map: usize, told: Told) -> Result<(), String> {
        let refused = self.refused.take();
        match &told {
            Told::Begun(content) => {
                // Relaxed commits that succeed are not told: a second begin is another commit's.
                if let Some(Refused { content: refused, again: false }) = refused {
                    let history = &self.histories[map];
                    // A transaction that was refused is rolled back.
                    if refused != *content && history.states[history.last()] != *content {
                        let (tried, last) = (
                            difference(content, &refused),
                            difference(content, &history.states[history.last()]),
                        );
                        return Err(format!(
                            "memory changed when a commit was refused: against what was tried {tried}; against the last commit {last}"
                        ));
                    }
                    self.refused = Some(Refused { content: refused, again: true });
                }
            }
            Told::NotCommitted => {
                self.refusals += 1;
                let well = !self.lasting || (self.heal && self.refusals > 1);
                if refused.is_some() && well && !self.disk.is_stopped() {
                    // What failed in the background while the disk was not well is told once, and may be told now.
                    self.told_late += 1;
                }
                if self.told_late > u64::from(self.lasting) {
                    return Err("the disk is well again, and the same commit was refused".into());
                }
                // It is tried once more, and no more.
                if refused.is_none() {
                    let content = self.histories[map].states.last().cloned();
                    self.refused = content.map(|content| Refused { content, again: false });
                }
            }
            Told::Durable(_) | Told::Closed if refused.is_some() => self.counts.same_commit += 1,
            _ => {}
        }
        let refused_now = matches!(told, Told::NotCommitted);
        self.histories[map].hear(told);
        if refused_now {
            if self.refusals <= 2 {
                self.judge(1).map_err(|error| format!("a commit was refused: {error}"))?;
            }
            if self.heal {
                self.disk.clear_failures();
            }
        }
        Ok(())
    }

    fn judge(&mut self, samples: usize) -> Result<(), String> {
        self.counts.images += images::judge(self.disk, &self.histories, samples, &mut self.random)?;
        Ok(())
    }

    /// The workload came to its end, or to an error.
    fn end(mut self, played: Played) -> Result<(), String> {
        if self.disk.is_stopped() {
            self.counts.ended += 1;
            drop(played);
            return self.judge(3);
        }
        self.disk.stop_at(0);
        // A close that failed has taken its map along.
        let latched_now =
            |map: usize| played.left.get(map).is_none_or(|left| left.map.as_ref().is_none_or(is_latched));
        match &played.outcome {
            Ok(()) if self.refusals > 0 => self.counts.not_committed += 1,
            Ok(()) => self.counts.went_on += 1,
            Err(error) if error.kind() == ErrorKind::InDoubt => {
                self.counts.in_doubt += 1;
                let whose = played.left.iter().position(|left| left.commit_failed);
                let any = (0..played.left.len()).any(latched_now);
                if !whose.map_or(any, latched_now) {
                    return Err(format!("in doubt and not latched: {error}"));
                }
            }
            Err(error) => {
                self.counts.failed += 1;
                self.accept(error)?;
            }
        }
        if matches!(&played.outcome, Err(error) if error.kind() == ErrorKind::Latched)
            && let Some(map) = played.left.iter().position(|left| left.commit_failed)
        {
            // Refused for good: it was not even tried.
            self.histories[map].hear(Told::NotCommitted);
        }
        self.judge(3).map_err(|error| format!("{:?}: {error}", played.outcome))?;
        let outcome = format!("{:?}", played.outcome);
        self.disk.clear_failures();
        self.look_at_maps(played).map_err(|error| format!("{outcome}: {error}"))?;
        self.judge(1).map_err(|error| format!("{outcome}, all dropped: {error}"))
    }

    fn accept(&self, error: &Error) -> Result<(), String> {
        if is_the_disks(error) || error.kind() == ErrorKind::Latched {
            return Ok(());
        }
        Err(format!("wrongly told: {error:?}"))
    }

    fn look_at_maps(&mut self, played: Played) -> Result<(), String> {
        let in_doubt = matches!(&played.outcome, Err(error) if error.kind() == ErrorKind::InDoubt);
        for (number, left) in played.left.into_iter().enumerate() {
            for (ticket, state) in left.tickets {
                match ticket.wait() {
                    Ok(_) => self.histories[number].hear(Told::Durable(state)),
                    Err(error) if error.kind() == ErrorKind::InDoubt => {
                        if !left.map.as_ref().is_some_and(is_latched) {
                            return Err(format!("a ticket in doubt, and the map not latched: {error}"));
                        }
                    }
                    Err(error) => return Err(format!("a ticket was told {error:?}")),
                }
            }
            match left.map {
                Some(map) if is_latched(&map) => {
                    let was_begun = in_doubt && left.commit_failed;
                    if was_begun
                        && self.histories[number].states.last().is_none_or(|state| map[..] != **state)
                    {
                        return Err("in doubt, and memory is not what was to be committed".into());
                    }
                    self.look_at_latched(number, map)?;
                }
                Some(map) => self.look_at_living(number, map)?,
                None => {}
            }
        }
        Ok(())
    }

    /// It reads on, refuses everything else, and deletes nothing.
    fn look_at_latched(&mut self, number: usize, mut map: AtomicMapping) -> Result<(), String> {
        self.counts.latched += 1;
        let memory = map.to_vec();
        let look = |disk: &SimDisk| {
            (disk.read_file(file(number)), disk.read_file(journal(number)), disk.mark_of(file(number)))
        };
        let before = look(self.disk);
        let refusals = [
            ("commit", map.commit().map(drop)),
            ("commit_async", map.commit_async().map(drop)),
            ("rollback", map.rollback()),
            ("checkpoint", map.checkpoint()),
        ];
        if map[..] != memory {
            return Err("memory changed although the map is latched".into());
        }
        for (call, refused) in refusals.into_iter().chain([("close", map.close())]) {
            match refused {
                Err(error) if error.kind() == ErrorKind::Latched => {}
                other => return Err(format!("{call} of a latched map: {other:?}")),
            }
        }
        if look(self.disk) != before {
            return Err("the end of a latched map changed a file".into());
        }
        Ok(())
    }

    /// The disk is well again: what is in memory can be committed, and is durable then.
    fn look_at_living(&mut self, number: usize, mut map: AtomicMapping) -> Result<(), String> {
        let memory = Arc::new(map.to_vec());
        let mut tried = 0;
        loop {
            tried += 1;
            self.histories[number].hear(Told::Begun(Arc::clone(&memory)));
            match map.commit() {
                Ok(_) => break,
                // A checkpoint that failed in the background is told once.
                Err(error) if error.kind() == ErrorKind::NotCommitted && tried == 1 => {
                    self.histories[number].hear(Told::NotCommitted);
                }
                Err(error) => return Err(format!("the disk is well again, and a commit fails: {error:?}")),
            }
        }
        if map[..] != memory[..] {
            return Err("a commit changed the memory".into());
        }
        self.counts.same_commit += u64::from(self.refusals > 0);
        let newest = self.histories[number].last();
        self.histories[number].hear(Told::Durable(newest));
        self.judge(1).map_err(|error| format!("a commit on the mended disk: {error}"))?;
        if self.random.random() {
            map.close().map_err(|error| format!("the disk is well again, and a close fails: {error:?}"))?;
            self.histories[number].hear(Told::Closed);
        }
        Ok(())
    }
}

fn is_latched(map: &AtomicMapping) -> bool {
    map.status().latched.is_some()
}
