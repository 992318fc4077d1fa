//! Threads that write to a file while another one maps it atomically: no byte of theirs lands behind the image.
//!
//! A library between this one and the C library holds a write on its way to the kernel (`stage/held.c`).

mod stage;

use std::path::Path;
use std::process::Command;

use stage::{folder, under, zeros};

fn built(folder: &Path) {
    let stage = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stage");
    for arguments in [
        &["-shared", "-fPIC", "-fexceptions", "-o", "libheld.so", "held.c"][..],
        &["-pthread", "-o", "program", "in_flight.c", "libheld.so", "-Wl,-rpath,$ORIGIN"],
    ] {
        let (mut command, sources) = (Command::new("cc"), [stage.join("held.c"), stage.join("in_flight.c")]);
        for argument in arguments {
            match sources.iter().find(|source| source.ends_with(argument)) {
                Some(source) => command.arg(source),
                None => command.arg(argument),
            };
        }
        assert!(command.args(["-O1", "-Wall"]).current_dir(folder).status().unwrap().success());
    }
}

/// Runs the program for each of these calls.
fn holds(what: &str, calls: &[&str]) {
    let dir = folder();
    built(dir.path());
    for call in calls {
        zeros(dir.path(), "a.bin", if call.contains('f') { 8192 } else { 16384 });
        std::fs::write(dir.path().join("source"), "hello").unwrap();
        let said = under(dir.path().join("program"), &[("STEADFAST_ATOMIC", "*.bin")])
            .args([what, call])
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert_eq!(
            (said.status.code(), String::from_utf8_lossy(&said.stderr).as_ref()),
            (Some(0), ""),
            "{what} {call}"
        );
    }
}

#[test]
fn a_mapping_waits_for_every_write_to_its_file_that_began_before_it() {
    const CALLS: [&str; 13] = [
        "write",
        "pwrite",
        "writev",
        "pwritev",
        "pwritev2",
        "copy_file_range",
        "sendfile",
        "splice",
        "ftruncate",
        "fallocate",
        "posix_fallocate",
        "truncate",
        "open",
    ];
    holds("waited", &CALLS);
}

#[test]
fn a_mapping_waits_for_a_write_whose_descriptor_was_closed_meanwhile() {
    holds("closed", &["pwrite", "pwritev"]);
}

#[test]
fn a_mapping_waits_for_no_write_to_anything_else() {
    holds("others", &["write"]);
}

#[test]
fn a_write_whose_thread_is_cancelled_is_not_waited_for() {
    holds("cancelled", &["pwrite"]);
}

#[test]
fn a_child_waits_for_no_write_of_its_parents() {
    holds("forked", &["pwrite"]);
}

/// What the plain file and the image are given in turn is one file.
#[test]
fn records_that_are_written_while_the_file_is_mapped_again_and_again_are_all_there() {
    const SOURCE: &str = r#"
        #define _GNU_SOURCE
        #include <fcntl.h>
        #include <pthread.h>
        #include <stdatomic.h>
        #include <string.h>
        #include <sys/mman.h>
        #include <unistd.h>
        enum { THREADS = 3, RECORDS = 1000, ROUNDS = 20 };
        static int fd;
        static atomic_long rounds;
        static void *work(void *number) {
            long pass = 0;
            for (; rounds < ROUNDS; pass++) for (long record = 0; record < RECORDS; record++) {
                long word = pass + 1;
                if (pwrite(fd, &word, 8, 8 * ((long)number * RECORDS + record)) != 8) return 0;
            }
            return (void *)pass;
        }
        int main(void) {
            fd = open("a.bin", O_RDWR);
            pthread_t threads[THREADS];
            for (long me = 0; me < THREADS; me++) pthread_create(&threads[me], 0, work, (void *)me);
            while (rounds < ROUNDS) {
                long *map = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
                if (map == MAP_FAILED) return 2;
                map[100000] = rounds + 1;
                if (msync(map, 1 << 20, MS_SYNC)) return 3;
                if (munmap(map, 1 << 20)) return 4;
                rounds++;
            }
            for (long me = 0; me < THREADS; me++) {
                void *last;
                pthread_join(threads[me], &last);
                if (!last) return 5;
                for (long record = 0, found; record < RECORDS; record++)
                    if (pread(fd, &found, 8, 8 * (me * RECORDS + record)) != 8 || found != (long)last) return 6;
            }
            return 0;
        }"#;
    let dir = folder();
    zeros(dir.path(), "a.bin", 1 << 20);
    std::fs::write(dir.path().join("program.c"), SOURCE).unwrap();
    let built = Command::new("cc")
        .args(["-O1", "-pthread", "-o", "program", "program.c"])
        .current_dir(dir.path())
        .status();
    assert!(built.unwrap().success());
    let said = under(dir.path().join("program"), &[("STEADFAST_ATOMIC", "*.bin")])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!((said.status.code(), String::from_utf8_lossy(&said.stderr).as_ref()), (Some(0), ""));
}
