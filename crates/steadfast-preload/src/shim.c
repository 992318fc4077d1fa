/* What Rust cannot say, or must not export.
 *
 * `__wrap_*`: the calls that this library and the standard library in it make themselves (build.rs). They go to the kernel, past what is
 * exported here for the program, in whatever thread they are made.
 *
 * `steadfast_while_held`: a call in which a thread may be cancelled, and what is to be done behind it, however it ends.
 *
 * `steadfast_exec*`: the forms of exec that take their arguments one by one, as vectors.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Whether a descriptor that the library closes may be closed now. Set by owned.rs. */
int (*steadfast_may_close)(int);

int __wrap_close(int fd) {
    int (*may_close)(int) = __atomic_load_n(&steadfast_may_close, __ATOMIC_ACQUIRE);
    if (may_close && !may_close(fd))
        return 0;
    return (int)syscall(SYS_close, fd);
}

ssize_t __wrap_read(int fd, void *buf, size_t len) { return syscall(SYS_read, fd, buf, len); }
ssize_t __wrap_write(int fd, const void *buf, size_t len) { return syscall(SYS_write, fd, buf, len); }
ssize_t __wrap_readv(int fd, const struct iovec *parts, int count) { return syscall(SYS_readv, fd, parts, count); }
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count) { return syscall(SYS_writev, fd, parts, count); }

/* 64-bit systems only: an offset is one register, and `x` and `x64` are one call. (preadv(2) takes the high half as well.) */
#define BOTH(type, name, parameters, call)                                                                             \
    type __wrap_##name parameters { return call; }                                                                     \
    type __wrap_##name##64 parameters { return call; }

BOTH(ssize_t, pread, (int fd, void *buf, size_t len, off_t at), syscall(SYS_pread64, fd, buf, len, at))
BOTH(ssize_t, pwrite, (int fd, const void *buf, size_t len, off_t at), syscall(SYS_pwrite64, fd, buf, len, at))
BOTH(ssize_t, preadv, (int fd, const struct iovec *parts, int count, off_t at),
     syscall(SYS_preadv, fd, parts, (long)count, at, 0L))
BOTH(ssize_t, pwritev, (int fd, const struct iovec *parts, int count, off_t at),
     syscall(SYS_pwritev, fd, parts, (long)count, at, 0L))
BOTH(int, ftruncate, (int fd, off_t len), (int)syscall(SYS_ftruncate, fd, len))
BOTH(int, fallocate, (int fd, int mode, off_t at, off_t len), (int)syscall(SYS_fallocate, fd, (long)mode, at, len))
BOTH(off_t, lseek, (int fd, off_t offset, int whence), syscall(SYS_lseek, fd, offset, (long)whence))
/* The kernel's structure is the C library's there. */
BOTH(int, fstat, (int fd, struct stat *stat), (int)syscall(SYS_fstat, fd, stat))
BOTH(void *, mmap, (void *address, size_t len, int prot, int flags, int fd, off_t at),
     (void *)syscall(SYS_mmap, address, len, (long)prot, (long)flags, (long)fd, at))

int __wrap_munmap(void *address, size_t len) { return (int)syscall(SYS_munmap, address, len); }
int __wrap_mprotect(void *address, size_t len, int prot) { return (int)syscall(SYS_mprotect, address, len, (long)prot); }
int __wrap_madvise(void *address, size_t len, int advice) { return (int)syscall(SYS_madvise, address, len, (long)advice); }
int __wrap_msync(void *address, size_t len, int flags) { return (int)syscall(SYS_msync, address, len, (long)flags); }

void *__wrap_mremap(void *old, size_t old_len, size_t new_len, int flags, ...) {
    void *target = NULL;
    if (flags & MREMAP_FIXED) {
        va_list rest;
        va_start(rest, flags);
        target = va_arg(rest, void *);
        va_end(rest);
    }
    return (void *)syscall(SYS_mremap, old, old_len, new_len, (long)flags, target);
}

static mode_t mode_of(int flags, va_list rest) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                                                                                     \
    int __wrap_##name(const char *path, int flags, ...) {                                                              \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = mode_of(flags, rest);                                                                            \
        va_end(rest);                                                                                                  \
        return (int)syscall(SYS_openat, (long)AT_FDCWD, path, (long)flags, (long)mode);                                \
    }
#define OPENAT(name)                                                                                                   \
    int __wrap_##name(int folder, const char *path, int flags, ...) {                                                  \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = mode_of(flags, rest);                                                                            \
        va_end(rest);                                                                                                  \
        return (int)syscall(SYS_openat, (long)folder, path, (long)flags, (long)mode);                                  \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int __wrap_unlink(const char *path) { return (int)syscall(SYS_unlinkat, (long)AT_FDCWD, path, 0L); }
int __wrap_unlinkat(int folder, const char *path, int flags) {
    return (int)syscall(SYS_unlinkat, (long)folder, path, (long)flags);
}
int __wrap_rename(const char *from, const char *to) {
    return (int)syscall(SYS_renameat2, (long)AT_FDCWD, from, (long)AT_FDCWD, to, 0L);
}
int __wrap_fsync(int fd) { return (int)syscall(SYS_fsync, fd); }
int __wrap_fdatasync(int fd) { return (int)syscall(SYS_fdatasync, fd); }

/* The rest the standard library has for what is not done here: starting programs, copying files. */
int __wrap_dup2(int from, int to) {
    if (from == to)
        return (int)syscall(SYS_fcntl, from, (long)F_GETFD) < 0 ? -1 : to;
    return (int)syscall(SYS_dup3, from, to, 0L);
}
int __wrap_dup3(int from, int to, int flags) { return (int)syscall(SYS_dup3, from, to, (long)flags); }
ssize_t __wrap_copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t len, unsigned flags) {
    return syscall(SYS_copy_file_range, from, from_at, to, to_at, len, (unsigned long)flags);
}
void __wrap__exit(int code) {
    for (;;)
        syscall(SYS_exit_group, code);
}

struct held {
    void (*end)(void *);
    void *what;
};

static void end_of(struct held *held) { held->end(held->what); }

/* Unwinding a thread that is cancelled runs this frame's cleanup (-fexceptions), and must not meet a destructor of Rust's. */
void steadfast_while_held(void (*call)(void *), void (*end)(void *), void *what) {
    __attribute__((cleanup(end_of))) struct held held = {end, what};
    call(what);
}

/* Counts the arguments up to the null pointer, and collects them where this call's frame keeps them: in the child of a vfork(2) nothing
 * may be allocated. What stands behind the null pointer is the environment, for execle. */
#define COLLECT(first)                                                                                                 \
    va_list rest;                                                                                                      \
    va_start(rest, first);                                                                                             \
    size_t count = 1;                                                                                                  \
    if (first != NULL)                                                                                                 \
        for (count = 2; va_arg(rest, char *) != NULL; count++)                                                         \
            continue;                                                                                                  \
    va_end(rest);                                                                                                      \
    char *argv[count];                                                                                                 \
    argv[0] = (char *)first;                                                                                           \
    va_start(rest, first);                                                                                             \
    for (size_t at = 1; at < count; at++)                                                                              \
        argv[at] = va_arg(rest, char *);

int steadfast_execl(const char *path, const char *first, ...) {
    COLLECT(first)
    va_end(rest);
    return execv(path, argv);
}

int steadfast_execlp(const char *file, const char *first, ...) {
    COLLECT(first)
    va_end(rest);
    return execvp(file, argv);
}

int steadfast_execle(const char *path, const char *first, ...) {
    COLLECT(first)
    char *const *environment = va_arg(rest, char *const *);
    va_end(rest);
    return execve(path, argv, environment);
}
