//! What may stand where a journal is looked for, and must not be believed: each row is planted beside a file as a crash left
//! it, and every way in refuses it with its reason, whoever opens. Nothing is replayed, removed or changed, nobody waits, and
//! no memory is taken for what a journal only claims.
//!
//! Every row is looked at by a process of its own, which may use little memory and little time.

mod forged;
mod owners;
mod planted;
#[path = "../stage/mod.rs"]
mod stage;
mod swapped;
mod ways_in;

#[test]
fn as_another_process() {
    stage::as_another_process();
}
