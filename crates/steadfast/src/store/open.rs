//! Opening: what stands there, who has it, do file and journal belong together, recover, and only then begin.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::identity::{self, FoundMark};
use super::journaled_file::{JournaledFile, JournaledFileOptions, half_bytes_for};
use super::lock::lock;
use super::mark::Mark;
use super::settle::{Waiting, settle};
use super::state::{Checkpoint, Pending, Shared, State, Threads};
use super::{Recovery, Resolution, Store};
use crate::batch::Batch;
use crate::disk::{Access, Disk, DiskFile, Durability, FileKind, FileStat, Lock, SyncPoint};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{self, FreshJournal, Placed};
use crate::knockout::{holds, step, sync};
use crate::names;
use crate::range::RangeSet;
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex};
use crate::sys::fork::Birth;

/// Permissions of a created data file, less the umask.
const CREATE_MODE: u32 = 0o666;
/// The name may be given to another file while we wait for the lock; so often we look again.
const RENAMED_TRIES: u32 = 8;

/// A data file that is ours alone.
pub(super) struct Locked {
    pub(super) path: PathBuf,
    pub(super) data: Box<dyn DiskFile>,
    pub(super) stat: FileStat,
    pub(super) mark: FoundMark,
    created: bool,
}

pub(super) fn open(
    disk: Arc<dyn Disk>,
    path: &Path,
    options: &JournaledFileOptions,
) -> Result<JournaledFile> {
    let locked = lock_file(&disk, path, options)?;
    let (path, stat, created) = (locked.path.clone(), locked.stat, locked.created);
    begin(&disk, locked, options).inspect_err(|_| {
        if created {
            remove_created(&disk, &path, &stat);
        }
    })
}

/// Nothing is left of a file that was created only to fail, unless somebody else has taken it up since.
fn remove_created(disk: &Arc<dyn Disk>, path: &Path, created: &FileStat) {
    let Ok(data) = disk.open(path, Access::ReadWrite) else { return };
    // Under the lock: who waits for it looks at the name again, who held it has commits in the file.
    if matches!(data.try_lock(Lock::Exclusive), Ok(false)) {
        return;
    }
    let untouched = |now: FileStat| {
        holds!(
            "open: what failed removes its own empty file",
            (now.device, now.inode, now.len) == (created.device, created.inode, 0)
        )
    };
    if data.stat().is_ok_and(untouched) {
        // The cause of the failure is what matters.
        // no switch: an empty file that stays holds nothing, and the next open takes it
        let _ = disk.remove(path);
    }
}

/// As `open`, but a plain file stays one: only what was left behind is dealt with.
pub(super) fn recover_only(
    disk: Arc<dyn Disk>,
    path: &Path,
    options: &JournaledFileOptions,
) -> Result<(Recovery, Option<JournaledFile>)> {
    let locked = lock_file(&disk, path, options)?;
    match settle(&disk, &locked, options)? {
        (None, recovery) => Ok((recovery, None)),
        (Some(waiting), recovery) => {
            let store = resume(&disk, locked, options, waiting, recovery)?;
            let recovery = store.status().recovery;
            Ok((recovery, Some(store)))
        }
    }
}

fn begin(disk: &Arc<dyn Disk>, locked: Locked, options: &JournaledFileOptions) -> Result<JournaledFile> {
    match settle(disk, &locked, options)? {
        (Some(waiting), recovery) => resume(disk, locked, options, waiting, recovery),
        (None, recovery) => start(disk, locked, options, recovery),
    }
}

/// Opens and locks the data file, having refused whatever could not keep the promises.
fn lock_file(disk: &Arc<dyn Disk>, asked: &Path, options: &JournaledFileOptions) -> Result<Locked> {
    // A timeout beyond what the clock can name is none.
    let deadline = Instant::now().checked_add(options.lock_timeout);
    for _ in 0..RENAMED_TRIES {
        let failed = |error| Error::from_io("open", error).path(asked);
        let path = disk.resolve(asked).map_err(failed)?;
        refuse_companion(&path)?;
        let (data, created) = open_data(disk, &path, options)?;
        let stat = data.stat().map_err(failed)?;
        refuse_unfit(disk, &path, &stat, options).inspect_err(|_| {
            if created {
                remove_created(disk, &path, &stat);
            }
        })?;
        step!("open: one writer", lock(&*data, &path, &stat, deadline))?;
        // While we waited the name may have gone to another file: the lock must be on what the name means now.
        match disk.stat(&path) {
            Ok(now)
                if holds!(
                    "open: what is locked still has the name",
                    (now.device, now.inode) == (stat.device, stat.inode)
                ) => {}
            Ok(_) => continue,
            // no check: the error's kind
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        }
        // The holder before us may have changed it.
        let stat = step!("open: looked at under the lock", data.stat(), or Ok(stat)).map_err(failed)?;
        let mark = identity::find_mark(&*data).map_err(failed)?;
        return Ok(Locked { path, data, stat, mark, created });
    }
    Err(Error::new(ErrorKind::Locked, "open", "the name keeps being given to other files").path(asked))
}

fn open_data(
    disk: &Arc<dyn Disk>,
    path: &Path,
    options: &JournaledFileOptions,
) -> Result<(Box<dyn DiskFile>, bool)> {
    let failed = |error| Error::from_io("open", error).path(path);
    match disk.stat(path) {
        Ok(stat) => refuse_unless_regular(path, &stat)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && options.create => {
            match disk.open(path, Access::CreateNew { mode: CREATE_MODE & !umask() }) {
                Ok(data) => return Ok((data, true)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(error) => return Err(failed(error)),
    }
    Ok((disk.open(path, Access::ReadWrite).map_err(failed)?, false))
}

/// The umask, without the race of setting it to read it: `/proc/self/status` (proc_pid_status(5)).
fn umask() -> u32 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
            u32::from_str_radix(line.trim(), 8).ok()
        })
        .unwrap_or(0o022)
}

pub(super) fn refuse_companion(path: &Path) -> Result<()> {
    if !names::is_companion(path) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        "open",
        "its name is one that journals have: it may be the journal of a file that is open",
    )
    .path(path)
    .advice("give the data file's name, or rename the file"))
}

pub(super) fn refuse_unless_regular(path: &Path, stat: &FileStat) -> Result<()> {
    if stat.kind == FileKind::Regular {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, "open", format!("it is {}, not a regular file", stat.kind))
        .path(path)
        .advice("give the path of a regular file"))
}

fn refuse_unfit(
    disk: &Arc<dyn Disk>,
    path: &Path,
    stat: &FileStat,
    options: &JournaledFileOptions,
) -> Result<()> {
    let failed = |error| Error::from_io("open", error).path(path);
    refuse_unless_regular(path, stat)?;
    if !options.allow_hard_links && !holds!("open: the file has one name", stat.links <= 1) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "open",
            format!(
                "it has {} hard links, and its journal would be found beside one of them only",
                stat.links
            ),
        )
        .path(path)
        .advice("remove the other links, or set allow_hard_links and always use this name"));
    }
    let folder = disk.stat(names::folder(path)).map_err(failed)?;
    if !options.allow_other_device {
        let advice = "use the file where it really lies, or set allow_other_device";
        let refuse = |reason: &'static str| {
            Err(Error::new(ErrorKind::Unsupported, "open", reason).path(path).advice(advice))
        };
        if !holds!("open: on the device of its folder", folder.device == stat.device) {
            return refuse("its journal would lie on another device (the file is mounted by itself)");
        }
        // A bind mount of a single file, as containers have them, lies on the device of its folder as often as not.
        if !holds!("open: in the mount of its folder", folder.mount == stat.mount) {
            return refuse(
                "it is mounted by itself: its journal would lie beside this name, and under the file's other name nobody would \
                 find it after a crash",
            );
        }
    }
    let reason = match disk.durability(names::folder(path)).map_err(failed)? {
        Durability::Local => return Ok(()),
        _ if options.allow_volatile => return Ok(()),
        Durability::Volatile(name) => {
            format!("{name} keeps its files in memory: a commit there is not durable")
        }
        Durability::Network(name) => {
            format!("on {name} a flush reaches the server, and what that means is not ours to promise")
        }
    };
    Err(Error::new(ErrorKind::Unsupported, "open", reason)
        .path(path)
        .advice("use a local disk, or set allow_volatile to take the weaker promise"))
}

/// Begins on a plain file: a journal of its own, then the mark.
fn start(
    disk: &Arc<dyn Disk>,
    locked: Locked,
    options: &JournaledFileOptions,
    recovery: Recovery,
) -> Result<JournaledFile> {
    let mut identity = [0; 16];
    journal::fill_random(&mut identity).map_err(|error| Error::from_io("open", error).path(&locked.path))?;
    let fresh = FreshJournal {
        identity,
        epoch: 1,
        previous_epoch: 1,
        half_bytes: half_bytes_for(options, locked.stat.len).map_err(|error| error.path(&locked.path))?,
        data_inode: locked.stat.inode,
        flags: 0,
        mode: locked.stat.mode,
        owner: locked.stat.owner,
        checkpointed_through: 0,
        data_len: locked.stat.len,
        scrub: options.scrub,
    };
    establish(disk, locked, options, fresh, None, recovery)
}

/// Goes on from a journal: see `recover` for the order.
fn resume(
    disk: &Arc<dyn Disk>,
    locked: Locked,
    options: &JournaledFileOptions,
    waiting: Waiting,
    recovery: Recovery,
) -> Result<JournaledFile> {
    let Waiting { scan, file } = waiting;
    let carried: u64 = scan
        .records
        .iter()
        .map(|record| journal::format::padded(record.placed.header.record_bytes.get()))
        .sum();
    let mut fresh = FreshJournal {
        identity: scan.header.identity,
        epoch: step!("recover: the next epoch", scan.header.epoch.get() + 1, or scan.header.epoch.get()),
        previous_epoch: scan.header.epoch.get(),
        half_bytes: half_bytes_for(options, locked.stat.len)
            .map_err(|error| error.path(&locked.path))?
            .max(carried),
        data_inode: locked.stat.inode,
        flags: 0,
        mode: locked.stat.mode,
        owner: locked.stat.owner,
        checkpointed_through: scan.anchor.checkpointed_through.get(),
        data_len: scan.anchor.data_len.get(),
        scrub: options.scrub,
    };
    // Every journal that a crash may leave from here on must accept the mark that the crash leaves. So the mark that was
    // found is made durable first, and the fresh journal names it, not the journal it replaces, as its predecessor: the
    // two differ if an earlier recovery was stopped between putting a journal in place and marking the file.
    let failed = |error| Error::from_io("recover", error).path(&locked.path);
    match locked.mark {
        FoundMark::Unsupported => {}
        FoundMark::Ours(mark) if options.resolution != Resolution::Adopt => {
            step!("recover: the mark that was found is accepted", fresh.previous_epoch = mark.epoch.get());
            let synced = sync!("recover: the mark that was found", locked.data.sync(SyncPoint::Mark));
            synced.map_err(failed)?;
        }
        _ => {
            let mark = Mark::new(fresh.identity, fresh.previous_epoch, fresh.checkpointed_through);
            let set = step!("adopt: the file is marked", locked.data.set_mark(Some(mark.encode())));
            set.map_err(failed)?;
            sync!("adopt: the mark", locked.data.sync(SyncPoint::Mark)).map_err(failed)?;
        }
    }
    let path = locked.path.clone();
    // From the file that was judged and scanned, wherever its name leads now.
    let judged = step!("recover: copies what was scanned", Ok(file), or disk.open(&names::journal(&path), Access::Read));
    let source = (judged.map_err(failed)?.into(), scan.records);
    let store = establish(disk, locked, options, fresh, Some(source), recovery)?;
    // The process before this one may have ended over a failed sync: what is cached then is not what the disk holds.
    let failed = |error| Error::from_io("recover", error).path(&path);
    let mut locked = store.shared.lock();
    let data = Arc::clone(&store.shared.data);
    step!("recover: failed pages are dropped", data.drop_clean_pages()).map_err(failed)?;
    // Beyond the length of the last checkpoint a stopped one may have left bytes, or another program may have appended some.
    let (present, len) = (locked.expected.len, locked.checkpointed_len);
    if locked.pending.is_empty() && present != len {
        // An adopted file of another length, and no checkpoint to come that would see to it.
        step!("adopt: the file gets its length", data.set_len(len)).map_err(failed)?;
        sync!("adopt: the length", data.sync_data(SyncPoint::Checkpoint)).map_err(failed)?;
        locked.remember_data().map_err(failed)?;
    } else if present > len {
        step!("recover: what no checkpoint vouches for reads as zeros", data.zero(len..present))
            .map_err(failed)?;
        locked.remember_data().map_err(failed)?;
    }
    step!("recover: every commit is in the data file", locked.checkpoint_all())?;
    step!("recover: both journals are scrubbed", locked.scrub("recover"))?;
    drop(locked);
    Ok(store)
}

/// Puts a fresh journal with the records of `source` in place, marks the data file, and hands out the store.
fn establish(
    disk: &Arc<dyn Disk>,
    locked: Locked,
    options: &JournaledFileOptions,
    mut fresh: FreshJournal,
    source: Option<(Arc<dyn DiskFile>, Vec<journal::FoundRecord>)>,
    recovery: Recovery,
) -> Result<JournaledFile> {
    let Locked { path, data, stat, mark, .. } = locked;
    let marked = mark != FoundMark::Unsupported;
    fresh.flags = if marked { journal::format::FLAG_MARKED } else { 0 };
    let journal_path = names::journal(&path);
    let failed = |error: io::Error| {
        Error::from_io("establish the journal", error).path(&journal_path).advice(
            "commits need a journal beside the file: the folder must be writable and have room for it",
        )
    };
    let records = source.as_ref().map_or(&[][..], |(_, records)| records);
    let mut places: Vec<Placed> = Vec::with_capacity(records.len());
    let last = records.last().map_or(fresh.checkpointed_through, journal::FoundRecord::id);
    let journal = journal::establish(disk, &path, &fresh, last, |append| {
        for record in step!("recover: takes the chain along", records, or & []) {
            let Some((file, _)) = &source else { break };
            let body = record.placed.read_body(&**file)?;
            let header = &record.placed.header;
            let bytes = &body[header.table_bytes() as usize..];
            let batch = Batch {
                len_min: header.len_min.get(),
                len: header.len.get(),
                extents: &record.extents,
                bytes,
            };
            places.push(append(record.id(), &batch)?);
        }
        Ok(())
    })
    .map_err(|failure| failed(failure.source))?;

    let mut committed_len = fresh.data_len;
    let mut pending = VecDeque::with_capacity(records.len());
    for placed in places {
        let len = placed.header.len.get();
        pending.push_back(Pending { len_before: committed_len, placed, extents: None, bytes: None });
        committed_len = len;
    }
    let state = State {
        moved_to: None,
        journal,
        expected: stat,
        unseen: false,
        checkpointed_len: fresh.data_len,
        pending,
        overlay: Default::default(),
        keep_extents: false,
        reserved: RangeSet::new(),
        published: 0,
        checkpoint_error: None,
        unreported: None,
        latched: None,
        changed_by_others: false,
        lost_name: false,
        leaving: false,
        renew: None,
        replaced: source.into_iter().map(|(old, _)| old).filter(|_| options.scrub).collect(),
        recovery,
        closed: false,
        flushing: false,
        checkpoint: Checkpoint::Idle,
        tickets: VecDeque::new(),
        threads: Threads::default(),
    };
    let store = JournaledFile::new(Shared {
        disk: Arc::clone(disk),
        path,
        data: data.into(),
        identity: fresh.identity,
        marked,
        publish: options.publish,
        may_be_renamed: options.may_be_renamed,
        scrub: options.scrub,
        adaptive: options.journal_bytes.is_none(),
        pace: options.pace,
        birth: Birth::here(),
        committed_len: AtomicU64::new(committed_len),
        last: AtomicU64::new(last),
        urgent: AtomicBool::new(false),
        abandoned: AtomicBool::new(false),
        state: Mutex::new(state),
        changed: Condvar::new(),
    });
    let mut locked = store.shared.lock();
    if let Err(error) = sync!("open: the mark", locked.write_mark(SyncPoint::Mark)) {
        // Dropping must not close over what was not begun.
        locked.latched = Some("it could not be marked".into());
        return Err(Error::from_io("mark", error).path(&store.shared.path).advice(
            "the data file must be writable and its file system must take the attribute user.steadfast",
        ));
    }
    drop(locked);
    Ok(store)
}
