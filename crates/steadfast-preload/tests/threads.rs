//! Programs with threads, and the C library's ways of ending them; another program's own locks.

mod stage;

use std::path::Path;
use std::process::Command;

use stage::{folder, under, zeros};

/// Builds a C program and runs it under the library; what it printed. Exit code 0 is success.
fn run(source: &str, folder: &Path, settings: &[(&str, &str)]) {
    std::fs::write(folder.join("program.c"), source).unwrap();
    let built = Command::new("cc")
        .args(["-O1", "-pthread", "-o", "program", "program.c"])
        .current_dir(folder)
        .status();
    assert!(built.unwrap().success());
    let said = under(folder.join("program"), settings).current_dir(folder).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    assert_eq!(String::from_utf8_lossy(&said.stderr), "");
}

/// A thread that waits in `read` is cancelled, and unwound through this library.
#[test]
fn a_thread_may_be_cancelled_in_a_call() {
    const SOURCE: &str = r#"
        #include <fcntl.h>
        #include <pthread.h>
        #include <sys/mman.h>
        #include <unistd.h>
        static int ends[2], cleaned;
        static void clean(void *nothing) { cleaned = 1; }
        static void *wait(void *nothing) {
            char byte;
            pthread_cleanup_push(clean, 0);
            read(ends[0], &byte, 1);
            pthread_cleanup_pop(0);
            return 0;
        }
        int main(void) {
            int fd = open("a.bin", O_RDWR);
            if (mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED) return 1;
            pthread_t thread;
            void *end;
            if (pipe(ends) || pthread_create(&thread, 0, wait, 0)) return 2;
            usleep(50000);
            pthread_cancel(thread);
            pthread_join(thread, &end);
            return end == PTHREAD_CANCELED && cleaned ? 0 : 3;
        }"#;
    for settings in [&[][..], &[("STEADFAST_ATOMIC", "*.bin")]] {
        let dir = folder();
        zeros(dir.path(), "a.bin", 4096);
        run(SOURCE, dir.path(), settings);
    }
}

#[test]
fn many_threads_store_write_read_and_sync_and_nothing_is_lost() {
    const SOURCE: &str = r#"
        #include <fcntl.h>
        #include <pthread.h>
        #include <string.h>
        #include <sys/mman.h>
        #include <unistd.h>
        #define LEN (1 << 20)
        static int fd, appended;
        static char *map;
        static void *work(void *number) {
            long me = (long)number;
            for (int round = 0; round < 60; round++) {
                long at = me * 65536 + round * 512;
                char word[8] = {'A' + me, round + 1, 'x', 'y'}, found[8] = "";
                if (round % 2) memcpy(map + at, word, 8);
                else if (pwrite(fd, word, 8, at) != 8) return (void *)1;
                if (pread(fd, found, 8, at) != 8 || memcmp(word, found, 8) || memcmp(map + at, word, 8)) return (void *)2;
                if (write(appended, word, 8) != 8) return (void *)3;
                if (round % 16 == 0 && msync(map + me * 65536, 65536, MS_SYNC)) return (void *)4;
                int other = open("a.bin", O_RDONLY);
                void *anonymous = mmap(0, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                if (other < 0 || close(other) || munmap(anonymous, 8192)) return (void *)5;
            }
            return 0;
        }
        int main(void) {
            fd = open("a.bin", O_RDWR);
            appended = open("b.bin", O_RDWR | O_APPEND);
            map = mmap(0, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, appended, 0) == MAP_FAILED) return 9;
            pthread_t threads[8];
            long failed = 0;
            for (long me = 0; me < 8; me++) pthread_create(&threads[me], 0, work, (void *)me);
            for (int me = 0; me < 8; me++) { void *end; pthread_join(threads[me], &end); failed |= (long)end; }
            if (failed) return failed;
            for (long me = 0; me < 8; me++) for (int round = 0; round < 60; round++)
                if (map[me * 65536 + round * 512] != 'A' + me || map[me * 65536 + round * 512 + 1] != round + 1) return 20;
            return lseek(appended, 0, SEEK_END) == 4096 + 8 * 8 * 60 ? 0 : 21;
        }"#;
    for settings in [&[][..], &[("STEADFAST_ATOMIC", "*.bin")]] {
        let dir = folder();
        zeros(dir.path(), "a.bin", 1 << 20);
        let appended = zeros(dir.path(), "b.bin", 4096);
        run(SOURCE, dir.path(), settings);
        assert_eq!(std::fs::metadata(appended).unwrap().len(), 4096 + 8 * 8 * 60);
    }
}

/// Constructors of other libraries run before this library's own, and their destructors after it.
#[test]
fn what_other_libraries_do_before_and_after_is_known_and_committed() {
    const LIBRARY: &str = r#"
        #include <fcntl.h>
        #include <sys/mman.h>
        #include <unistd.h>
        char *early;
        __attribute__((constructor)) static void begin(void) {
            int fd = open("a.bin", O_RDWR);
            early = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            close(fd);
        }
        __attribute__((destructor)) static void end(void) { early[100] = 'D'; }"#;
    const SOURCE: &str = r#"
        #define _GNU_SOURCE
        #include <signal.h>
        #include <string.h>
        #include <sys/mman.h>
        #include <unistd.h>
        extern char *early;
        int main(int count, char **arguments) {
            if (early == MAP_FAILED || close_range(3, ~0U, 0)) return 1;
            memcpy(early, "hello", 5);
            if (msync(early, 4096, MS_SYNC)) return 2;
            if (count == 1) return 0;
            memcpy(early, "never", 5);
            return kill(getpid(), 9);
        }"#;
    let dir = folder();
    let path = zeros(dir.path(), "a.bin", 4096);
    std::fs::write(dir.path().join("early.c"), LIBRARY).unwrap();
    std::fs::write(dir.path().join("program.c"), SOURCE).unwrap();
    for arguments in [
        &["-shared", "-fPIC", "-o", "libearly.so", "early.c"][..],
        &["-o", "program", "program.c", "-L.", "-learly", "-Wl,-rpath,$ORIGIN"],
    ] {
        assert!(Command::new("cc").args(arguments).current_dir(dir.path()).status().unwrap().success());
    }
    let settings = [("STEADFAST_ATOMIC", "*.bin"), ("STEADFAST_LOG", "log")];
    let said = under(dir.path().join("program"), &settings).current_dir(dir.path()).output().unwrap();
    assert!(std::fs::read_to_string(dir.path().join("log")).unwrap().contains("converted"));
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    assert_eq!(stage::recovered(&path, 100, 1), "D");
    let said =
        under(dir.path().join("program"), &settings).arg("killed").current_dir(dir.path()).output().unwrap();
    assert_eq!((said.status.code(), said.stderr.len()), (None, 0), "{said:?}");
    assert_eq!(stage::recovered(&path, 0, 5), "hello");
}

/// The shared memory of its write-ahead log is a mapped file, with record locks of the program's on it.
#[test]
fn databases_that_lock_their_mapped_files_work_beside_each_other() {
    const SCRIPT: &str = "import sqlite3, sys\n\
        db=sqlite3.connect('db', timeout=60, isolation_level=None)\n\
        db.execute('pragma journal_mode=wal')\n\
        db.execute('create table if not exists t(who, n)')\n\
        for n in range(60):\n\
        \x20 db.execute('begin immediate'); db.execute('insert into t values(?,?)',(sys.argv[1],n)); db.execute('commit')\n\
        \x20 if n%20==0: db.close(); db=sqlite3.connect('db', timeout=60, isolation_level=None)\n\
        db.close()\n";
    let dir = folder();
    if !Command::new("python3").args(["-c", "import sqlite3"]).status().is_ok_and(|status| status.success()) {
        return println!("lacking: python3 with sqlite3");
    }
    let start =
        |who: &str| under("python3", &[]).args(["-c", SCRIPT, who]).current_dir(dir.path()).spawn().unwrap();
    start("first").wait().unwrap();
    let children: Vec<_> = ["a", "b", "c"].into_iter().map(start).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let check = "import sqlite3\ndb=sqlite3.connect('db')\n\
        print(db.execute('pragma integrity_check').fetchone()[0], db.execute('select count(*) from t').fetchone()[0])\n";
    let said = Command::new("python3").args(["-c", check]).current_dir(dir.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "ok 240\n");
}
