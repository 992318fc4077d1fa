//! What opening a clean file costs, by its size.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{FallocateFlags, fallocate};

use crate::data::{self, PAGE_BYTES, Random};
use crate::disk::Ground;
use crate::peers::steadfast::{Base, open_map};
use crate::report::Row;
use crate::{Outcome, Result, Scale};
use steadfast_cli::statistics::Samples;

/// In a file that is called allocated, one page in so many bytes holds data.
const DATA_STRIDE_BYTES: usize = 1 << 20;

#[derive(Clone, Copy)]
enum Content {
    Full,
    Allocated,
    Sparse,
}

const FILES: [(&str, usize, Content); 4] = [
    ("1 MiB full", 1 << 20, Content::Full),
    ("256 MiB full", 256 << 20, Content::Full),
    ("4 GiB allocated", 4 << 30, Content::Allocated),
    ("4 GiB sparse", 4 << 30, Content::Sparse),
];

pub(crate) fn run(scale: &Scale, rounds: usize) -> Result<Outcome> {
    let ground = Ground::new(&scale.dir, scale.size, 0)?;
    for (name, len, content) in FILES {
        write_file(&ground.path(name), len, content)?;
    }
    let mut opens: [Samples; FILES.len()] = Default::default();
    for _ in 0..rounds {
        for ((name, ..), times) in FILES.iter().zip(&mut opens) {
            let start = Instant::now();
            let map = open_map(&ground.path(name), Base::View)?;
            times.add(start.elapsed());
            map.close()?;
        }
        ground.settle()?;
    }
    let smallest = opens[0].p50();
    let view = |((name, ..), times): (&(&str, usize, Content), &Samples)| {
        let row = Row::new("open", "steadfast-view").with("file", *name);
        row.figure("p50_us", times.p50()).figure("vs_smallest", times.p50() / smallest)
    };
    let mut rows: Vec<Row> = FILES.iter().zip(&opens).map(view).collect();

    let path = ground.data_file("load")?;
    let (mut loads, mut reads) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        let start = Instant::now();
        let map = open_map(&path, Base::Load)?;
        loads.add(start.elapsed());
        map.close()?;
        let start = Instant::now();
        std::hint::black_box(read(&path, ground.len)?);
        reads.add(start.elapsed());
        ground.settle()?;
    }
    let size = format!("{} MiB", ground.len >> 20);
    for (system, times) in [("steadfast-load", &loads), ("read", &reads)] {
        let row = Row::new("open", system).with("file", size.as_str());
        rows.push(row.figure("p50_us", times.p50()).figure("vs_read", times.p50() / reads.p50()));
    }
    let notes = vec![
        "Opens of clean files, in the page cache or not as they were left; closing is not timed.".to_owned(),
        "read: one sequential read of the file into fresh memory.".to_owned(),
    ];
    Ok(Outcome { rows, notes })
}

fn write_file(path: &Path, len: usize, content: Content) -> Result<()> {
    if let Content::Full = content {
        return data::write_file(path, len);
    }
    let file = File::create_new(path)?;
    file.set_len(len as u64)?;
    if let Content::Allocated = content {
        fallocate(&file, FallocateFlags::empty(), 0, len as u64)?;
        let mut page = [0; PAGE_BYTES];
        Random::new(8).fill(&mut page);
        for at in (0..len).step_by(DATA_STRIDE_BYTES) {
            file.write_all_at(&page, at as u64)?;
        }
    }
    Ok(file.sync_all()?)
}

fn read(path: &Path, len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}
