//! redb.

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Open, Peer, System};
use crate::Result;
use crate::data::{Edit, RECORD_BYTES, record_bytes};
use crate::disk::Ground;
use crate::harness::Lap;

pub(crate) const REDB: System = System {
    name: "redb",
    setup: "One table of records of 256 bytes under integer keys; an insert for each store; default durability (Immediate), one \
            phase; a cache that holds all of the data.",
    atomic: Some(true),
    open: Open::With(open),
};

const RECORDS: TableDefinition<u64, &[u8; RECORD_BYTES]> = TableDefinition::new("records");

/// Records in one transaction while loading: what is not committed stays in memory.
const LOAD_RECORDS: u64 = 1 << 17;

struct Redb(Database);

fn open(ground: &Ground) -> Result<Box<dyn Peer>> {
    let mut builder = Database::builder();
    // The default of 1 GiB, or more where the data needs it.
    builder.set_cache_size((4 * ground.len).max(1 << 30));
    let database = builder.create(ground.path("redb"))?;
    let count = (ground.len / RECORD_BYTES) as u64;
    let mut next = 0;
    while next < count {
        let end = count.min(next + LOAD_RECORDS);
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for number in next..end {
                table.insert(number, &record_bytes(number))?;
            }
        }
        transaction.commit()?;
        next = end;
    }
    // Every page once, so that all are in the cache.
    let transaction = database.begin_read()?;
    for record in transaction.open_table(RECORDS)?.iter()? {
        std::hint::black_box(record?);
    }
    Ok(Box::new(Redb(database)))
}

impl Peer for Redb {
    fn commit(&mut self, edits: &[Edit]) -> Result<Lap> {
        Lap::of(
            || {
                let transaction = self.0.begin_write()?;
                {
                    let mut table = transaction.open_table(RECORDS)?;
                    for edit in edits {
                        table.insert(edit.record(), &edit.record_bytes())?;
                    }
                }
                Ok(transaction)
            },
            |transaction| Ok(transaction.commit()?),
        )
    }

    /// Dropping closes; nothing is left to be checkpointed.
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
