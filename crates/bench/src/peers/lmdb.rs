//! LMDB, through `heed`.
//!
//! # Safety
//!
//! LMDB maps its file and asks that nothing else changes it and that it is opened once: it is in a folder of the benchmark's own.
#![allow(unsafe_code)]

use std::fs;

use heed::byteorder::NativeEndian;
use heed::types::{Bytes, U64};
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, IntegerComparator, PutFlags};

use super::{Open, Peer, System};
use crate::Result;
use crate::data::{Edit, RECORD_BYTES, record_bytes};
use crate::disk::Ground;
use crate::harness::Lap;

pub(crate) const LMDB: System = System {
    name: "lmdb",
    setup: "heed; one database with integer keys, records of 256 bytes, loaded in order with APPEND; a put for each store; every \
            commit synced (no NOSYNC, no NOMETASYNC).",
    atomic: Some(true),
    open: Open::With(|ground| open(ground, "lmdb", EnvFlags::empty())),
};

pub(crate) const LMDB_WRITEMAP: System = System {
    name: "lmdb-writemap",
    setup: "As lmdb, with MDB_WRITEMAP: changes are made in the map and commit is an msync.",
    atomic: Some(true),
    open: Open::With(|ground| open(ground, "lmdb-writemap", EnvFlags::WRITE_MAP)),
};

type Records = Database<'static, U64<NativeEndian>, Bytes, IntegerComparator>;

struct Lmdb {
    env: Env,
    records: Records,
}

fn open(ground: &Ground, name: &str, flags: EnvFlags) -> Result<Box<dyn Peer>> {
    let folder = ground.path(name);
    fs::create_dir(&folder)?;
    let mut options = EnvOpenOptions::new();
    // Room for the records, the pages that a commit copies, and those that wait to be free.
    options.map_size((4 * ground.len).max(64 << 20));
    // SAFETY: of the flags that heed warns of only WRITE_MAP is used, and nothing here stores through stray pointers.
    unsafe { options.flags(flags) };
    // SAFETY: the folder is our own and the environment is opened once.
    let env = unsafe { options.open(&folder)? };
    let transaction = env.write_txn()?;
    let records: Records = env
        .create_databases_and_commit(transaction, |opener, transaction| {
            let options = opener.database_options().types().key_comparator();
            options.create(transaction).map(CommitOrAbort::<_, ()>::Commit)
        })?
        .unwrap_commit();
    let mut transaction = env.write_txn()?;
    for number in 0..(ground.len / RECORD_BYTES) as u64 {
        records.put_with_flags(&mut transaction, PutFlags::APPEND, &number, &record_bytes(number))?;
    }
    transaction.commit()?;
    // Every page once, so that all are resident.
    let transaction = env.read_txn()?;
    let mut count = 0;
    for record in records.iter(&transaction)? {
        std::hint::black_box(record?);
        count += 1;
    }
    drop(transaction);
    assert_eq!(count, ground.len / RECORD_BYTES, "every record was loaded");
    Ok(Box::new(Lmdb { env, records }))
}

impl Peer for Lmdb {
    fn commit(&mut self, edits: &[Edit]) -> Result<Lap> {
        Lap::of(
            || {
                let mut transaction = self.env.write_txn()?;
                for edit in edits {
                    self.records.put(&mut transaction, &edit.record(), &edit.record_bytes())?;
                }
                Ok(transaction)
            },
            |transaction| Ok(transaction.commit()?),
        )
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}
