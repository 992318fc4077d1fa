/* Stands between the preloaded library and the C library: the next write of a thread that asks for it is held on its way to the kernel until
 * it is let go. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <semaphore.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

__thread int hold_next;
sem_t is_held, let_go;

static void hold(void) {
    if (!hold_next) return;
    hold_next = 0;
    sem_post(&is_held);
    while (sem_wait(&let_go)) continue;
}

#define HELD(type, name, parameters, call)                                                                             \
    type name parameters {                                                                                             \
        hold();                                                                                                        \
        return call;                                                                                                   \
    }

HELD(ssize_t, write, (int fd, const void *from, size_t len), syscall(SYS_write, fd, from, len))
HELD(ssize_t, pwrite, (int fd, const void *from, size_t len, off_t at), syscall(SYS_pwrite64, fd, from, len, at))
HELD(ssize_t, writev, (int fd, const struct iovec *parts, int count), syscall(SYS_writev, fd, parts, (long)count))
HELD(ssize_t, pwritev, (int fd, const struct iovec *parts, int count, off_t at),
     syscall(SYS_pwritev, fd, parts, (long)count, at, 0L))
HELD(ssize_t, pwritev2, (int fd, const struct iovec *parts, int count, off_t at, int flags),
     syscall(SYS_pwritev2, fd, parts, (long)count, at, 0L, (long)flags))
HELD(int, ftruncate, (int fd, off_t len), (int)syscall(SYS_ftruncate, fd, len))
HELD(int, truncate, (const char *path, off_t len), (int)syscall(SYS_truncate, path, len))
HELD(int, fallocate, (int fd, int mode, off_t at, off_t len), (int)syscall(SYS_fallocate, fd, (long)mode, at, len))
HELD(int, posix_fallocate, (int fd, off_t at, off_t len), (int)syscall(SYS_fallocate, fd, 0L, at, len))
HELD(ssize_t, copy_file_range, (int from, off_t *from_at, int to, off_t *to_at, size_t len, unsigned flags),
     syscall(SYS_copy_file_range, from, from_at, to, to_at, len, (long)flags))
HELD(ssize_t, sendfile, (int to, int from, off_t *at, size_t len), syscall(SYS_sendfile, to, from, at, len))
HELD(ssize_t, splice, (int from, off_t *from_at, int to, off_t *to_at, size_t len, unsigned flags),
     syscall(SYS_splice, from, from_at, to, to_at, len, (long)flags))

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = flags & O_CREAT ? va_arg(rest, int) : 0;
    va_end(rest);
    hold();
    return (int)syscall(SYS_openat, AT_FDCWD, path, (long)flags, (long)mode);
}
