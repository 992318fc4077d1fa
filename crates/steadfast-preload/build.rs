//! Builds the part that has to be C, and sets this library's own calls apart from those of the program.

/// What the standard library and the rest of this library call of what is exported here. In those objects a call of `close` becomes one
/// of `__wrap_close`, which stands in `shim.c` and is the kernel's.
const OWN_CALLS: [&str; 41] = [
    "close",
    "copy_file_range",
    "dup2",
    "dup3",
    "fallocate",
    "fallocate64",
    "fdatasync",
    "fstat",
    "fstat64",
    "fsync",
    "ftruncate",
    "ftruncate64",
    "lseek",
    "lseek64",
    "madvise",
    "mmap",
    "mmap64",
    "mprotect",
    "mremap",
    "msync",
    "munmap",
    "open",
    "open64",
    "openat",
    "openat64",
    "pread",
    "pread64",
    "preadv",
    "preadv64",
    "pwrite",
    "pwrite64",
    "pwritev",
    "pwritev64",
    "read",
    "readv",
    "rename",
    "unlink",
    "unlinkat",
    "write",
    "writev",
    "_exit",
];

fn main() {
    println!("cargo::rerun-if-changed=src/shim.c");
    println!("cargo::rerun-if-changed=build.rs");
    let mut shim = cc::Build::new();
    // Its frames are unwound where a thread is cancelled, with what they have to clean up.
    shim.file("src/shim.c").flag("-fexceptions").warnings(true).extra_warnings(true);
    shim.compile("steadfast_shim");
    for call in OWN_CALLS {
        println!("cargo::rustc-cdylib-link-arg=-Wl,--wrap={call}");
    }
}
