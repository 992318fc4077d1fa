//! The calls behind ours: what the program would have called without this library.
//!
//! # Safety
//!
//! This file is trusted with two things. That a symbol which dlsym(3) finds by a call's name is a function with that call's signature:
//! the names and signatures are those of the C library's headers, and who interposes the same call behind us keeps to them. (`open` and
//! `mremap` are variadic there. On the two architectures that this library supports a caller passes such arguments as it passes named
//! ones.) And that a system call that stands in for one which is not found gets the arguments that its manual page asks for. What the
//! arguments themselves may be is the program's affair: they are handed on as they came.
//!
//! The symbols are looked for once, by [`find_all`] when the library is loaded, and before that by whoever comes first: dlsym(3) takes a
//! lock that a thread which loads a library holds while it allocates, and an allocator may come here.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{iovec, mode_t, off_t, size_t, ssize_t};

/// A symbol, as far as it is known.
struct Symbol {
    name: &'static CStr,
    /// Null until it was looked for, then its address or [`NOT_FOUND`].
    found: AtomicPtr<c_void>,
}

/// No function lies at this address.
const NOT_FOUND: *mut c_void = ptr::without_provenance_mut(1);

impl Symbol {
    const fn new(name: &'static CStr) -> Symbol {
        Symbol { name, found: AtomicPtr::new(ptr::null_mut()) }
    }

    fn get(&self) -> Option<*mut c_void> {
        let mut found = self.found.load(Ordering::Acquire);
        if found.is_null() {
            // SAFETY: the name is a C string; the next object behind this one is asked.
            found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
            if found.is_null() {
                found = NOT_FOUND;
            }
            self.found.store(found, Ordering::Release);
        }
        (found != NOT_FOUND).then_some(found)
    }
}

/// Each call with what stands in for it where the C library has none.
macro_rules! real {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty { $stand_in:expr })*) => {
        mod symbol {
            use super::Symbol;
            $(
                #[allow(non_upper_case_globals)]
                pub(super) static $name: Symbol =
                    match super::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                        Ok(name) => Symbol::new(name),
                        Err(_) => panic!("a name with a zero in it"),
                    };
            )*
        }

        /// Looks for every call.
        pub(crate) fn find_all() {
            $( symbol::$name.get(); )*
        }

        $(
            /// As the C library's.
            ///
            /// # Safety
            ///
            /// As the C library's.
            pub(crate) unsafe fn $name($($argument: $type),*) -> $answer {
                match symbol::$name.get() {
                    Some(found) => {
                        // SAFETY: the symbol has this signature (head of this file).
                        let call = unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn($($type),*) -> $answer>(found)
                        };
                        // SAFETY: the caller's arguments, as they came.
                        unsafe { call($($argument),*) }
                    }
                    // SAFETY: the system call takes these arguments (head of this file).
                    None => unsafe { $stand_in },
                }
            }
        )*
    };
}

real! {
    mmap(address: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void {
        libc::syscall(libc::SYS_mmap, address, len, prot as c_long, flags as c_long, fd as c_long, offset) as *mut c_void
    }
    munmap(address: *mut c_void, len: size_t) -> c_int { libc::syscall(libc::SYS_munmap, address, len) as c_int }
    mremap(old: *mut c_void, old_len: size_t, new_len: size_t, flags: c_int, new: *mut c_void) -> *mut c_void {
        libc::syscall(libc::SYS_mremap, old, old_len, new_len, flags as c_long, new) as *mut c_void
    }
    mprotect(address: *mut c_void, len: size_t, prot: c_int) -> c_int {
        libc::syscall(libc::SYS_mprotect, address, len, prot as c_long) as c_int
    }
    msync(address: *mut c_void, len: size_t, flags: c_int) -> c_int {
        libc::syscall(libc::SYS_msync, address, len, flags as c_long) as c_int
    }
    madvise(address: *mut c_void, len: size_t, advice: c_int) -> c_int {
        libc::syscall(libc::SYS_madvise, address, len, advice as c_long) as c_int
    }
    posix_madvise(address: *mut c_void, len: size_t, advice: c_int) -> c_int {
        match libc::syscall(libc::SYS_madvise, address, len, advice as c_long) {
            0 => 0,
            _ => crate::inside::errno(),
        }
    }

    open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        libc::syscall(libc::SYS_openat, libc::AT_FDCWD as c_long, path, flags as c_long, mode as c_long) as c_int
    }
    openat(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        libc::syscall(libc::SYS_openat, folder as c_long, path, flags as c_long, mode as c_long) as c_int
    }

    unlink(path: *const c_char) -> c_int {
        libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD as c_long, path, 0 as c_long) as c_int
    }
    unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int {
        libc::syscall(libc::SYS_unlinkat, folder as c_long, path, flags as c_long) as c_int
    }
    remove(path: *const c_char) -> c_int { remove_by_unlinkat(path) }
    rename(from: *const c_char, to: *const c_char) -> c_int {
        libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD as c_long, from, libc::AT_FDCWD as c_long, to, 0 as c_long) as c_int
    }
    renameat(from_folder: c_int, from: *const c_char, to_folder: c_int, to: *const c_char) -> c_int {
        libc::syscall(libc::SYS_renameat2, from_folder as c_long, from, to_folder as c_long, to, 0 as c_long) as c_int
    }
    renameat2(from_folder: c_int, from: *const c_char, to_folder: c_int, to: *const c_char, flags: c_uint) -> c_int {
        libc::syscall(
            libc::SYS_renameat2, from_folder as c_long, from, to_folder as c_long, to, c_long::from(flags)
        ) as c_int
    }

    close(fd: c_int) -> c_int { libc::syscall(libc::SYS_close, fd as c_long) as c_int }
    close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
        libc::syscall(libc::SYS_close_range, c_long::from(first), c_long::from(last), flags as c_long) as c_int
    }
    closefrom(first: c_int) -> () {
        ignore(libc::syscall(libc::SYS_close_range, c_long::from(first), c_long::from(c_uint::MAX), 0 as c_long))
    }
    dup2(from: c_int, to: c_int) -> c_int { dup2_by_dup3(from, to) }
    dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
        libc::syscall(libc::SYS_dup3, from as c_long, to as c_long, flags as c_long) as c_int
    }

    read(fd: c_int, bytes: *mut c_void, len: size_t) -> ssize_t {
        libc::syscall(libc::SYS_read, fd as c_long, bytes, len) as ssize_t
    }
    write(fd: c_int, bytes: *const c_void, len: size_t) -> ssize_t {
        libc::syscall(libc::SYS_write, fd as c_long, bytes, len) as ssize_t
    }
    readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
        libc::syscall(libc::SYS_readv, fd as c_long, parts, count as c_long) as ssize_t
    }
    writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
        libc::syscall(libc::SYS_writev, fd as c_long, parts, count as c_long) as ssize_t
    }
    pread(fd: c_int, bytes: *mut c_void, len: size_t, offset: off_t) -> ssize_t {
        libc::syscall(libc::SYS_pread64, fd as c_long, bytes, len, offset) as ssize_t
    }
    pwrite(fd: c_int, bytes: *const c_void, len: size_t, offset: off_t) -> ssize_t {
        libc::syscall(libc::SYS_pwrite64, fd as c_long, bytes, len, offset) as ssize_t
    }
    __read_chk(fd: c_int, bytes: *mut c_void, len: size_t, room: size_t) -> ssize_t { too_long((fd, bytes, len, room)) }
    __pread_chk(fd: c_int, bytes: *mut c_void, len: size_t, offset: off_t, room: size_t) -> ssize_t {
        too_long((fd, bytes, len, offset, room))
    }
    preadv(fd: c_int, parts: *const iovec, count: c_int, offset: off_t) -> ssize_t {
        libc::syscall(libc::SYS_preadv, fd as c_long, parts, count as c_long, offset, 0 as c_long) as ssize_t
    }
    pwritev(fd: c_int, parts: *const iovec, count: c_int, offset: off_t) -> ssize_t {
        libc::syscall(libc::SYS_pwritev, fd as c_long, parts, count as c_long, offset, 0 as c_long) as ssize_t
    }
    preadv2(fd: c_int, parts: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t {
        libc::syscall(libc::SYS_preadv2, fd as c_long, parts, count as c_long, offset, 0 as c_long, flags as c_long)
            as ssize_t
    }
    pwritev2(fd: c_int, parts: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t {
        libc::syscall(libc::SYS_pwritev2, fd as c_long, parts, count as c_long, offset, 0 as c_long, flags as c_long)
            as ssize_t
    }
    copy_file_range(from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, len: size_t, flags: c_uint) -> ssize_t {
        libc::syscall(libc::SYS_copy_file_range, from as c_long, from_at, to as c_long, to_at, len, c_long::from(flags))
            as ssize_t
    }
    sendfile(to: c_int, from: c_int, offset: *mut off_t, len: size_t) -> ssize_t {
        libc::syscall(libc::SYS_sendfile, to as c_long, from as c_long, offset, len) as ssize_t
    }
    splice(from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, len: size_t, flags: c_uint) -> ssize_t {
        libc::syscall(libc::SYS_splice, from as c_long, from_at, to as c_long, to_at, len, c_long::from(flags)) as ssize_t
    }

    lseek(fd: c_int, offset: off_t, whence: c_int) -> off_t {
        libc::syscall(libc::SYS_lseek, fd as c_long, offset, whence as c_long) as off_t
    }
    fstat(fd: c_int, stat: *mut libc::stat) -> c_int { libc::syscall(libc::SYS_fstat, fd as c_long, stat) as c_int }
    __fxstat(version: c_int, fd: c_int, stat: *mut libc::stat) -> c_int { fstat_of_any_version(version, fd, stat) }

    ftruncate(fd: c_int, len: off_t) -> c_int { libc::syscall(libc::SYS_ftruncate, fd as c_long, len) as c_int }
    truncate(path: *const c_char, len: off_t) -> c_int { libc::syscall(libc::SYS_truncate, path, len) as c_int }
    fallocate(fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int {
        libc::syscall(libc::SYS_fallocate, fd as c_long, mode as c_long, offset, len) as c_int
    }
    posix_fallocate(fd: c_int, offset: off_t, len: off_t) -> c_int {
        match libc::syscall(libc::SYS_fallocate, fd as c_long, 0 as c_long, offset, len) {
            0 => 0,
            _ => crate::inside::errno(),
        }
    }
    fsync(fd: c_int) -> c_int { libc::syscall(libc::SYS_fsync, fd as c_long) as c_int }
    fdatasync(fd: c_int) -> c_int { libc::syscall(libc::SYS_fdatasync, fd as c_long) as c_int }

    _exit(code: c_int) -> c_int { libc::syscall(libc::SYS_exit_group, code as c_long) as c_int }
    execve(path: *const c_char, argv: *const *const c_char, environment: *const *const c_char) -> c_int {
        libc::syscall(libc::SYS_execve, path, argv, environment) as c_int
    }
    execv(path: *const c_char, argv: *const *const c_char) -> c_int { not_there((path, argv)) }
    execvp(file: *const c_char, argv: *const *const c_char) -> c_int { not_there((file, argv)) }
    execvpe(file: *const c_char, argv: *const *const c_char, environment: *const *const c_char) -> c_int {
        not_there((file, argv, environment))
    }
    fexecve(fd: c_int, argv: *const *const c_char, environment: *const *const c_char) -> c_int {
        libc::syscall(libc::SYS_execveat, fd as c_long, c"".as_ptr(), argv, environment, libc::AT_EMPTY_PATH as c_long)
            as c_int
    }
    execveat(
        folder: c_int,
        path: *const c_char,
        argv: *const *const c_char,
        environment: *const *const c_char,
        flags: c_int
    ) -> c_int {
        libc::syscall(libc::SYS_execveat, folder as c_long, path, argv, environment, flags as c_long) as c_int
    }
}

/// What no single system call does.
///
/// # Safety
///
/// None is asked for: it has the form that the others have.
unsafe fn not_there<T>(_arguments: T) -> c_int {
    crate::inside::set_errno(libc::ENOSYS);
    -1
}

/// More was asked for than there is room for: what was built against a C library that checks ends the program there.
///
/// # Safety
///
/// None is asked for: it has the form that the others have.
unsafe fn too_long<T>(_arguments: T) -> ssize_t {
    std::process::abort()
}

/// There is one version of the structure on 64-bit systems, which has had several numbers.
///
/// # Safety
///
/// As fstat(2).
unsafe fn fstat_of_any_version(_version: c_int, fd: c_int, stat: *mut libc::stat) -> c_int {
    // SAFETY: the caller's structure.
    unsafe { fstat(fd, stat) }
}

/// A folder is removed by another flag.
///
/// # Safety
///
/// As remove(3).
unsafe fn remove_by_unlinkat(path: *const c_char) -> c_int {
    // SAFETY: the caller's path.
    let removed = unsafe { unlinkat(libc::AT_FDCWD, path, 0) };
    if removed == 0 || crate::inside::errno() != libc::EISDIR {
        return removed;
    }
    // SAFETY: the caller's path.
    unsafe { unlinkat(libc::AT_FDCWD, path, libc::AT_REMOVEDIR) }
}

/// Not every architecture has the older call.
///
/// # Safety
///
/// As dup2(2).
unsafe fn dup2_by_dup3(from: c_int, to: c_int) -> c_int {
    if from == to {
        // SAFETY: numbers.
        let flags = unsafe { libc::fcntl(from, libc::F_GETFD) };
        return if flags < 0 { -1 } else { to };
    }
    // SAFETY: numbers.
    unsafe { libc::syscall(libc::SYS_dup3, from as c_long, to as c_long, 0 as c_long) as c_int }
}

/// A call that returns nothing tells nothing.
fn ignore(_answer: c_long) {}
