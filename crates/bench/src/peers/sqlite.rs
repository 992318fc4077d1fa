//! SQLite with a write-ahead log.

use rusqlite::{Connection, params};

use super::{Open, Peer, System};
use crate::Result;
use crate::data::{Edit, RECORD_BYTES, record_bytes};
use crate::disk::Ground;
use crate::harness::Lap;

pub(crate) const SQLITE_WAL: System = System {
    name: "sqlite-wal",
    setup: "journal_mode=WAL, synchronous=FULL, automatic checkpoints as by default; locking_mode=EXCLUSIVE (one writer, no shared \
            memory) and a cache that holds all of the data; a prepared UPDATE by rowid for each store.",
    atomic: Some(true),
    open: Open::With(open),
};

const UPDATE: &str = "UPDATE records SET value = ?2 WHERE number = ?1";

struct Sqlite(Connection);

fn open(ground: &Ground) -> Result<Box<dyn Peer>> {
    let mut database = Connection::open(ground.path("sqlite"))?;
    let cache_kib = (2 * ground.len / 1024).max(16 << 10);
    database.execute_batch(&format!(
        "PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA cache_size = -{cache_kib};
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         CREATE TABLE records (number INTEGER PRIMARY KEY, value BLOB NOT NULL);"
    ))?;
    let mode: String = database.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode != "wal" {
        return Err(format!("the journal mode is {mode}, not wal").into());
    }
    let transaction = database.transaction()?;
    {
        let mut insert = transaction.prepare("INSERT INTO records VALUES (?1, ?2)")?;
        for number in 0..(ground.len / RECORD_BYTES) as u64 {
            insert.execute(params![number.cast_signed(), record_bytes(number)])?;
        }
    }
    transaction.commit()?;
    checkpoint(&database)?;
    // Every page once, so that all are in the cache.
    let sum: i64 = database.query_row("SELECT sum(length(value)) FROM records", [], |row| row.get(0))?;
    assert_eq!(sum as usize, ground.len / RECORD_BYTES * RECORD_BYTES, "every record was loaded");
    Ok(Box::new(Sqlite(database)))
}

/// Brings the whole log into the database file.
fn checkpoint(database: &Connection) -> Result<()> {
    let busy: i64 = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy == 0 { Ok(()) } else { Err("the checkpoint found the database busy".into()) }
}

impl Peer for Sqlite {
    fn commit(&mut self, edits: &[Edit]) -> Result<Lap> {
        let database = &mut self.0;
        Lap::of(
            || {
                let transaction = database.transaction()?;
                {
                    let mut update = transaction.prepare_cached(UPDATE)?;
                    for edit in edits {
                        update.execute(params![edit.record().cast_signed(), edit.record_bytes()])?;
                    }
                }
                Ok(transaction)
            },
            |transaction| Ok(transaction.commit()?),
        )
    }

    fn close(self: Box<Self>) -> Result<()> {
        checkpoint(&self.0)?;
        self.0.close().map_err(|(_, error)| error.into())
    }
}
