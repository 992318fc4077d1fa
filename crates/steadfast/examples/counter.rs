//! A counter that survives: run it, kill it at any moment, run it again.
//!
//! `cargo run --release --example counter -- /path/to/counter.bin [rounds]`

use steadfast::AtomicMapping;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: counter FILE [ROUNDS]")?;
    let rounds: u64 = arguments.next().map_or(Ok(10), |rounds| rounds.parse())?;

    let mut map = AtomicMapping::options().create(true).len(1 << 16).load(&path)?;
    for _ in 0..rounds {
        // Two places that must never disagree.
        *map.typed_mut::<u64>(0)? += 1;
        *map.typed_mut::<u64>(1 << 15)? += 1;
        map.commit()?;
    }
    assert_eq!(map.typed::<u64>(0)?, map.typed::<u64>(1 << 15)?);
    println!("{} after {} commits", map.typed::<u64>(0)?, map.status().last);
    map.close()?;
    Ok(())
}
