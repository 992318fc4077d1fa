/* Stands between the preloaded library and the C library. A name that the program takes away or changes is the last thing that it does:
 * behind the call it is killed. With FAILS set such a call fails with that errno instead, and nothing is done. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The library removes its journals by the same calls. */
static int is_journal(const char *path) {
    size_t len = strlen(path);
    return len >= 10 && !strcmp(path + len - 10, ".steadfast");
}

static int last(const char *path, long number, int from, const char *first, int to, const char *second, unsigned flags) {
    const char *fails = getenv("FAILS");
    if (fails && !is_journal(path)) {
        errno = atoi(fails);
        return -1;
    }
    int done = number == SYS_unlinkat ? syscall(number, from, first, flags) : syscall(number, from, first, to, second, flags);
    if (!done && !is_journal(path)) kill(getpid(), SIGKILL);
    return done;
}

int unlink(const char *path) { return last(path, SYS_unlinkat, AT_FDCWD, path, 0, 0, 0); }
int remove(const char *path) { return last(path, SYS_unlinkat, AT_FDCWD, path, 0, 0, 0); }
int unlinkat(int folder, const char *path, int flags) { return last(path, SYS_unlinkat, folder, path, 0, 0, flags); }
int rename(const char *from, const char *to) { return last(from, SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int folder, const char *from, int to_folder, const char *to) {
    return last(from, SYS_renameat2, folder, from, to_folder, to, 0);
}
int renameat2(int folder, const char *from, int to_folder, const char *to, unsigned flags) {
    return last(from, SYS_renameat2, folder, from, to_folder, to, flags);
}
