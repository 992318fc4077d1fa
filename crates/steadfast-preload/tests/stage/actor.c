/* A program that knows nothing of any library before it: it makes the calls that it reads from standard input, a line each, and answers
 * what they returned, what they left in errno (77 before each), and what they brought. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#if !__USE_FORTIFY_LEVEL
extern ssize_t __read_chk(int, void *, size_t, size_t);
extern ssize_t __pread_chk(int, void *, size_t, off_t, size_t);
extern ssize_t __pread64_chk(int, void *, size_t, off64_t, size_t);
#endif

#define UNTOUCHED 77
#define IS(name) (strcmp(word[0], name) == 0)
#define NUMBER(n) (strtoll(word[n], NULL, 0))

static struct { char *at; size_t len; } maps[64];
static int map_count;
static char text[1 << 16];

static int flags_of(const char *names) {
    int flags = 0;
    char copy[256];
    snprintf(copy, sizeof copy, "%s", names);
    for (char *name = strtok(copy, "+"); name; name = strtok(NULL, "+")) {
        if (!strcmp(name, "r")) flags |= O_RDONLY;
        else if (!strcmp(name, "w")) flags |= O_WRONLY;
        else if (!strcmp(name, "rw")) flags |= O_RDWR;
        else if (!strcmp(name, "creat")) flags |= O_CREAT;
        else if (!strcmp(name, "trunc")) flags |= O_TRUNC;
        else if (!strcmp(name, "append")) flags |= O_APPEND;
        else if (!strcmp(name, "dsync")) flags |= O_DSYNC;
        else abort();
    }
    return flags;
}

static int prot_of(const char *name) {
    return (strchr(name, 'r') ? PROT_READ : 0) | (strchr(name, 'w') ? PROT_WRITE : 0);
}

/* Bytes as text: a dot for each zero. */
static void show(const char *bytes, size_t len) {
    for (size_t at = 0; at < len && at < sizeof text - 1; at++)
        text[at] = bytes[at] ? bytes[at] : '.';
    text[len < sizeof text - 1 ? len : sizeof text - 1] = 0;
}

static void on_end(void) { if (map_count) maps[0].at[0] = 'E'; }

static long act(char *line);

/* The rest of the line, in a child, which then ends by `_exit`. */
static long in_child(char *rest, int by_vfork) {
    fflush(stdout);
    pid_t child = by_vfork ? vfork() : fork();
    if (child == 0) {
        if (by_vfork) _exit(5);
        for (char *end; rest; rest = end) {
            if ((end = strchr(rest, ';'))) *end++ = 0;
            text[0] = 0;
            errno = UNTOUCHED;
            long answer = act(rest + strspn(rest, " "));
            int number = errno;
            char said[1024];
            int len = snprintf(said, sizeof said, "child %ld %d %.900s\n", answer, number, text);
            syscall(SYS_write, 1, said, len);
        }
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    text[0] = 0;
    errno = UNTOUCHED;
    return status;
}

static long act(char *line) {
    char *word[8] = {"", "", "", "", "", "", "", ""};
    if (!strncmp(line, "fork ", 5)) return in_child(line + 5, 0);
    int count = 0;
    for (char *next = strtok(line, " \n"); next && count < 8; next = strtok(NULL, " \n")) word[count++] = next;
    size_t len = strlen(word[3]);

    if (IS("open")) return open(word[1], flags_of(word[2]), 0644);
    if (IS("openat")) return openat(AT_FDCWD, word[1], flags_of(word[2]), 0644);
    if (IS("creat")) return creat(word[1], 0644);
    if (IS("unlink")) return unlink(word[1]);
    if (IS("unlinkat")) return unlinkat(AT_FDCWD, word[1], NUMBER(2));
    if (IS("remove")) return remove(word[1]);
    if (IS("rename")) return rename(word[1], word[2]);
    if (IS("renameat")) return renameat(AT_FDCWD, word[1], AT_FDCWD, word[2]);
    if (IS("renameat2")) return renameat2(AT_FDCWD, word[1], AT_FDCWD, word[2], NUMBER(3));
    if (IS("close")) return close(NUMBER(1));
    if (IS("closeall")) {
        for (int fd = NUMBER(1); fd < 2048; fd++) close(fd);
        errno = UNTOUCHED;
        return 0;
    }
    if (IS("closefrom")) { closefrom(NUMBER(1)); return 0; }
    if (IS("close_range")) return close_range(NUMBER(1), NUMBER(2), 0);
    if (IS("dup2")) return dup2(NUMBER(1), NUMBER(2));
    if (IS("dup3")) return dup3(NUMBER(1), NUMBER(2), 0);
    if (IS("lastfd")) { /* The highest descriptor that is open. */
        int last = -1;
        for (int fd = 0; fd < 2048; fd++) if (fcntl(fd, F_GETFD) >= 0) last = fd;
        errno = UNTOUCHED;
        return last;
    }
    if (IS("fds")) {
        int known = 0;
        for (int fd = 0; fd < 2048; fd++) if (fcntl(fd, F_GETFD) >= 0) known++;
        errno = UNTOUCHED;
        return known;
    }
    if (IS("lock")) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
        return fcntl(NUMBER(1), F_SETLK, &lock);
    }

    if (IS("map") || IS("fixed")) { /* map FD OFFSET LEN PROT shared|private; fixed: at the place of map 0 */
        int flags = (!strcmp(word[5], "private") ? MAP_PRIVATE : MAP_SHARED) | (IS("fixed") ? MAP_FIXED : 0);
        void *wish = IS("fixed") ? maps[0].at : NULL;
        char *at = mmap(wish, NUMBER(3), prot_of(word[4]), flags, NUMBER(1), NUMBER(2));
        if (at == MAP_FAILED) return -1;
        maps[map_count].at = at;
        maps[map_count].len = NUMBER(3);
        return map_count++;
    }
    if (IS("anonymous")) {
        char *at = mmap(NULL, NUMBER(1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) return -1;
        maps[map_count].at = at;
        maps[map_count].len = NUMBER(1);
        return map_count++;
    }
    int map = NUMBER(1);
    if (IS("unmap")) return munmap(maps[map].at, maps[map].len);
    if (IS("unmappart")) return munmap(maps[map].at + NUMBER(2), NUMBER(3));
    if (IS("remap")) {
        char *at = mremap(maps[map].at, maps[map].len, NUMBER(2), MREMAP_MAYMOVE);
        if (at == MAP_FAILED) return -1;
        maps[map].at = at;
        maps[map].len = NUMBER(2);
        return 0;
    }
    if (IS("protect")) return mprotect(maps[map].at, maps[map].len, prot_of(word[2]));
    if (IS("advise")) return madvise(maps[map].at, maps[map].len, NUMBER(2));
    if (IS("posixadvise")) return posix_madvise(maps[map].at, maps[map].len, NUMBER(2));
    if (IS("sync")) return msync(maps[map].at, maps[map].len, MS_SYNC);
    if (IS("async")) return msync(maps[map].at, maps[map].len, MS_ASYNC);
    if (IS("badsync")) return msync(maps[map].at, maps[map].len, MS_SYNC | MS_ASYNC);
    if (IS("store")) { memcpy(maps[map].at + NUMBER(2), word[3], len); return len; }
    if (IS("load")) { show(maps[map].at + NUMBER(2), NUMBER(3)); return 0; }

    int fd = NUMBER(1);
    if (IS("pwrite")) return pwrite(fd, word[3], len, NUMBER(2));
    if (IS("write")) return write(fd, word[2], strlen(word[2]));
    if (IS("pwritev") || IS("pwritev2") || IS("writev")) {
        const char *bytes = IS("writev") ? word[2] : word[3];
        size_t half = strlen(bytes) / 2;
        struct iovec parts[2] = {{(void *)bytes, half}, {(void *)(bytes + half), strlen(bytes) - half}};
        if (IS("writev")) return writev(fd, parts, 2);
        if (IS("pwritev")) return pwritev(fd, parts, 2, NUMBER(2));
        return pwritev2(fd, parts, 2, NUMBER(2), RWF_DSYNC);
    }
    static char bytes[1 << 16];
    long got = -2;
    /* What -D_FORTIFY_SOURCE makes of calls with a length that only the running program knows. */
    if (IS("__read_chk")) got = __read_chk(fd, bytes, NUMBER(2), sizeof bytes);
    if (IS("__pread_chk")) got = __pread_chk(fd, bytes, NUMBER(3), NUMBER(2), sizeof bytes);
    if (IS("overflow")) _exit(NUMBER(2) ? __pread_chk(fd, bytes, 10, 0, 9) : __read_chk(fd, bytes, 10, 9));
    if (IS("__pread64_chk")) got = __pread64_chk(fd, bytes, NUMBER(3), NUMBER(2), sizeof bytes);
    if (IS("pread")) got = pread(fd, bytes, NUMBER(3), NUMBER(2));
    if (IS("read")) got = read(fd, bytes, NUMBER(2));
    if (IS("preadv") || IS("preadv2") || IS("readv")) {
        size_t want = NUMBER(IS("readv") ? 2 : 3), half = want / 2;
        struct iovec parts[2] = {{bytes, half}, {bytes + half, want - half}};
        if (IS("readv")) got = readv(fd, parts, 2);
        else if (IS("preadv")) got = preadv(fd, parts, 2, NUMBER(2));
        else got = preadv2(fd, parts, 2, NUMBER(2), 0);
    }
    if (got > 0) show(bytes, got);
    if (got != -2) return got;
    if (IS("seek")) return lseek(fd, NUMBER(2), SEEK_SET);
    if (IS("end")) return lseek(fd, 0, SEEK_END);
    if (IS("tell")) return lseek(fd, 0, SEEK_CUR);
    if (IS("size")) { struct stat stat; return fstat(fd, &stat) ? -1 : stat.st_size; }
    if (IS("ftruncate")) return ftruncate(fd, NUMBER(2));
    if (IS("truncate")) return truncate(word[1], NUMBER(2));
    if (IS("fallocate")) return fallocate(fd, NUMBER(2), NUMBER(3), NUMBER(4));
    if (IS("posix_fallocate")) return posix_fallocate(fd, NUMBER(2), NUMBER(3));
    if (IS("fsync")) return fsync(fd);
    if (IS("fdatasync")) return fdatasync(fd);
    if (IS("copy_file_range")) return copy_file_range(fd, &(off_t){0}, NUMBER(2), &(off_t){0}, NUMBER(3), 0);
    if (IS("sendfile")) return sendfile(fd, NUMBER(2), &(off_t){0}, NUMBER(3));

    if (IS("atexit")) return atexit(on_end);
    if (IS("exit")) exit(fd);
    if (IS("_exit")) _exit(fd);
    if (IS("_Exit")) _Exit(fd);
    if (IS("quick_exit")) quick_exit(fd);
    if (IS("abort")) abort();
    if (IS("vfork")) return in_child("", 1);
    char *const argv[] = {"echo", "from exec", NULL};
    char *const environment[] = {"MARK=1", NULL};
    if (IS("execl")) return execl("/bin/echo", "echo", "from", "exec", (char *)NULL);
    if (IS("execlp")) return execlp("echo", "echo", "from", "exec", (char *)NULL);
    if (IS("execle")) return execle("/usr/bin/env", "env", (char *)NULL, environment);
    if (IS("execv")) return execv("/bin/echo", argv);
    if (IS("execvp")) return execvp("echo", argv);
    if (IS("execve")) return execve("/bin/echo", argv, environment);
    if (IS("execvpe")) return execvpe("echo", argv, environment);
    if (IS("execveat")) return execveat(AT_FDCWD, "/bin/echo", argv, environment, 0);
    if (IS("fexecve")) return fexecve(open("/bin/echo", O_RDONLY | O_CLOEXEC), argv, environment);
    if (IS("badexec")) return execl("/nonexistent/program", "x", (char *)NULL);
    abort();
}

int main(void) {
    char line[1 << 16];
    closefrom(3); /* What came from whoever started it. */
    while (fgets(line, sizeof line, stdin)) {
        text[0] = 0;
        errno = UNTOUCHED;
        long answer = act(line);
        int number = errno;
        printf("%ld %d %s\n", answer, number, text);
        fflush(stdout);
    }
    return 0;
}
