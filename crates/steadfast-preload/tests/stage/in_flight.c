/* A thread writes to a file that another thread maps meanwhile: what is asked for by name. Exit code 0: all held. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#ifndef SYS_poll
#define SYS_poll SYS_ppoll
#endif
#include <unistd.h>

#define LEN 16384
#define AT 5000
#define CHECK(holds)                                                                                                   \
    do                                                                                                                 \
        if (!(holds)) {                                                                                                \
            fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #holds, strerror(errno));                                  \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    while (0)

extern __thread int hold_next;
extern sem_t is_held, let_go;

static int fd, other, ends[2];
static const char *call;
static char *map;
static atomic_int mapper, is_mapped;

#define IS(name) (!strcmp(call, name))

/* One write of five bytes at AT, or one that makes the file as long as it is. */
static void *writes(void *by) {
    int to = by ? *(int *)by : fd;
    struct iovec parts[2] = {{(void *)"he", 2}, {(void *)"llo", 3}};
    off_t zero = 0, at = AT;
    CHECK(IS("open") || lseek(to, AT, SEEK_SET) == AT);
    hold_next = 1;
    if (IS("write")) CHECK(write(to, "hello", 5) == 5);
    else if (IS("pwrite")) CHECK(pwrite(to, "hello", 5, AT) == 5);
    else if (IS("writev")) CHECK(writev(to, parts, 2) == 5);
    else if (IS("pwritev")) CHECK(pwritev(to, parts, 2, AT) == 5);
    else if (IS("pwritev2")) CHECK(pwritev2(to, parts, 2, AT, 0) == 5);
    else if (IS("copy_file_range")) CHECK(copy_file_range(other, &zero, to, &at, 5, 0) == 5);
    else if (IS("sendfile")) CHECK(sendfile(to, other, &zero, 5) == 5);
    else if (IS("splice")) CHECK(splice(ends[0], 0, to, &at, 5, 0) == 5);
    else if (IS("ftruncate")) CHECK(!ftruncate(to, LEN));
    else if (IS("fallocate")) CHECK(!fallocate(to, 0, 0, LEN));
    else if (IS("posix_fallocate")) CHECK(!posix_fallocate(to, 0, LEN));
    else if (IS("truncate")) CHECK(!truncate("a.bin", LEN));
    else if (IS("open")) CHECK((other = open("a.bin", O_WRONLY | O_TRUNC)) >= 0);
    else abort();
    return 0;
}

static void *maps(void *by) {
    mapper = syscall(SYS_gettid);
    map = mmap(0, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, by ? *(int *)by : fd, 0);
    CHECK(map != MAP_FAILED);
    is_mapped = 1;
    return 0;
}

static int is_in(int thread, long first, long second) {
    char path[64], text[64] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", thread);
    int at = thread ? open(path, O_RDONLY) : -1;
    if (at >= 0) CHECK(read(at, text, sizeof text - 1) >= 0 && !close(at));
    return at >= 0 && (atol(text) == first || atol(text) == second) && text[0] != 'r';
}

/* Until the mapper sleeps on a futex, twice in a row; or has what it asked for. */
static void let_it_wait(void) {
    for (int seen = 0; seen < 2 && !is_mapped; usleep(1000)) seen = is_in(mapper, SYS_futex, SYS_futex) ? seen + 1 : 0;
}

static atomic_int filler, splicer;

/* Into a pipe that is full: for ever. */
static void *fills(void *number) {
    char page[4096] = "";
    filler = syscall(SYS_gettid);
    return (void *)write(*(int *)number, page, sizeof page);
}

/* From a pipe that is empty. Once it is not, the file is mapped atomically, which no splice leads into. */
static void *splices(void *nothing) {
    off_t at = AT;
    splicer = syscall(SYS_gettid);
    CHECK(splice(ends[0], 0, fd, &at, 5, 0) == -1 && errno == EINVAL);
    return nothing;
}

/* Whatever was stored is committed, and the plain file that is left holds it. */
static void commits(void) {
    memcpy(map + 100, "store", 5);
    CHECK(!msync(map, LEN, MS_SYNC));
    CHECK(!munmap(map, LEN));
    char found[6] = "";
    int plain = open("a.bin", O_RDONLY);
    CHECK(pread(plain, found, 5, 100) == 5 && !strcmp(found, "store"));
    CHECK(!close(plain));
}

int main(int count, char **arguments) {
    CHECK(count == 3);
    alarm(60); /* Who waits for ever fails. */
    const char *what = arguments[1];
    call = arguments[2];
    CHECK(!sem_init(&is_held, 0, 0) && !sem_init(&let_go, 0, 0));
    CHECK((fd = open("a.bin", O_RDWR)) >= 0 && (other = open("source", O_RDONLY)) >= 0);
    CHECK(!pipe(ends));
    pthread_t writer, mapping;
    if (strcmp(what, "others")) {
        if (IS("splice")) CHECK(write(ends[1], "hello", 5) == 5);
        CHECK(!pthread_create(&writer, 0, writes, 0));
        while (sem_wait(&is_held)) continue;
    }
    if (!strcmp(what, "waited")) {
        CHECK(!pthread_create(&mapping, 0, maps, 0));
        let_it_wait();
        CHECK(!is_mapped);
        CHECK(!sem_post(&let_go) && !pthread_join(writer, 0) && !pthread_join(mapping, 0));
        if (IS("open")) CHECK(lseek(fd, 0, SEEK_END) == 0 && !ftruncate(fd, LEN));
        else if (strstr("write pwrite writev pwritev pwritev2 copy_file_range sendfile splice", call)) CHECK(!memcmp(map + AT, "hello", 5));
        commits();
    } else if (!strcmp(what, "closed")) {
        /* The number of the descriptor that the write goes through leads elsewhere by now. */
        int again = open("a.bin", O_RDWR);
        CHECK(again >= 0 && dup2(ends[1], fd) == fd);
        CHECK(!pthread_create(&mapping, 0, maps, &again));
        let_it_wait();
        CHECK(!is_mapped);
        /* And back: the kernel's own call is still to be made here. */
        CHECK(dup2(again, fd) == fd);
        CHECK(!sem_post(&let_go) && !pthread_join(writer, 0) && !pthread_join(mapping, 0));
        CHECK(!memcmp(map + AT, "hello", 5));
        commits();
    } else if (!strcmp(what, "cancelled")) {
        void *end;
        CHECK(!pthread_cancel(writer) && !pthread_join(writer, &end) && end == PTHREAD_CANCELED);
        maps(0);
        commits();
    } else if (!strcmp(what, "forked")) {
        pid_t child = fork();
        if (child == 0) {
            alarm(60);
            int own = open("a.bin", O_RDWR);
            maps(&own);
            commits();
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
        CHECK(!sem_post(&let_go) && !pthread_join(writer, 0));
    } else if (!strcmp(what, "others")) {
        int full[2], number;
        char page[4096] = "";
        CHECK(!pipe2(full, O_NONBLOCK));
        while (write(full[1], page, sizeof page) > 0) continue;
        CHECK(errno == EAGAIN && !fcntl(full[1], F_SETFL, 0) && (number = dup(full[1])) >= 0);
        CHECK(!pthread_create(&writer, 0, fills, &number) && !pthread_create(&mapping, 0, splices, 0));
        while (!is_in(filler, SYS_write, SYS_write) || !is_in(splicer, SYS_poll, SYS_splice)) usleep(1000);
        /* Its number leads to the file by now. */
        CHECK(dup2(fd, number) == number);
        maps(0);
        CHECK(write(ends[1], "hello", 5) == 5 && !pthread_join(mapping, 0));
        commits();
        _exit(0);
    } else abort();
    return 0;
}
