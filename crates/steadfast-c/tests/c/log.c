/* What the library says beside its errors, and to whom.
 *
 * log FOLDER sink|frozen */

#include "check.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>

static const char *folder;

struct heard {
    int lines;
    int level;
    char text[1024];
};

static void hear(void *context, int level, const char *message) {
    struct heard *heard = (struct heard *)context;
    heard->lines++;
    heard->level = level;
    snprintf(heard->text, sizeof heard->text, "%s", message);
    errno = 99;
}

/* A file that is mapped twice goes back to the kernel, of which there is a warning. */
static void cause_a_warning(const char *name) {
    const size_t page = page_size();
    char *path = path_in(folder, name);
    int fd = fresh_file(path, 1);
    void *first = sf_mmap_atomic(NULL, page, READ_WRITE, MAP_SHARED, fd, 0, NULL);
    CHECK(first != MAP_FAILED);
    errno = 7;
    void *second = sf_mmap(NULL, page, READ_WRITE, MAP_SHARED, fd, 0);
    CHECK(second != MAP_FAILED);
    CHECK(errno == 7);
    CHECK(sf_munmap(first, page) == 0 && sf_munmap(second, page) == 0);
    CHECK(close(fd) == 0);
    free(path);
}

static void lines_go_to_the_last_function_that_was_set(void) {
    struct heard one;
    struct heard other;
    memset(&one, 0, sizeof one);
    memset(&other, 0, sizeof other);
    cause_a_warning("silent.bin");
    CHECK(sf_set_log(hear, &one, SF_LOG_LEVEL_WARN) == 0);
    cause_a_warning("one.bin");
    CHECK(one.lines == 1 && one.level == SF_LOG_LEVEL_WARN);
    CHECK(strstr(one.text, "one.bin") != NULL && strchr(one.text, '\n') == NULL);
    CHECK(sf_set_log(hear, &other, SF_LOG_LEVEL_DEBUG) == 0);
    cause_a_warning("other.bin");
    CHECK(one.lines == 1 && other.lines >= 1);
    /* Only what matters as much. */
    CHECK(sf_set_log(hear, &one, SF_LOG_LEVEL_ERROR) == 0);
    cause_a_warning("error.bin");
    CHECK(one.lines == 1);
    NONSENSE(sf_set_log(hear, &one, 0));
    NONSENSE(sf_set_log(hear, &one, 5));
    CHECK(sf_set_log(NULL, NULL, 0) == 0);
    int lines = other.lines;
    cause_a_warning("nobody.bin");
    CHECK(one.lines == 1 && other.lines == lines);
}

static void hear_and_call(void *context, int level, const char *message) {
    hear(context, level, message);
    FAILS(sf_set_log(NULL, NULL, 0), EBUSY, SF_ERROR_BUSY);
}

static void a_function_does_not_replace_itself(void) {
    struct heard heard;
    memset(&heard, 0, sizeof heard);
    CHECK(sf_set_log(hear_and_call, &heard, SF_LOG_LEVEL_WARN) == 0);
    cause_a_warning("itself.bin");
    CHECK(heard.lines == 1);
    CHECK(sf_set_log(NULL, NULL, 0) == 0);
}

static sem_t is_in;
static sem_t may_go;
static int has_left;

static void hear_slowly(void *context, int level, const char *message) {
    hear(context, level, message);
    CHECK(sem_post(&is_in) == 0);
    while (sem_wait(&may_go) != 0) {
        continue;
    }
    __atomic_store_n(&has_left, 1, __ATOMIC_SEQ_CST);
}

static void *warn(void *name) {
    cause_a_warning((const char *)name);
    return NULL;
}

static void *let_go(void *nothing) {
    CHECK(sem_post(&may_go) == 0);
    return nothing;
}

static void nobody_is_in_a_function_that_was_replaced(void) {
    struct heard heard;
    memset(&heard, 0, sizeof heard);
    CHECK(sem_init(&is_in, 0, 0) == 0 && sem_init(&may_go, 0, 0) == 0);
    CHECK(sf_set_log(hear_slowly, &heard, SF_LOG_LEVEL_WARN) == 0);
    pthread_t speaker;
    pthread_t helper;
    static char name[] = "slow.bin";
    CHECK(pthread_create(&speaker, NULL, warn, name) == 0);
    while (sem_wait(&is_in) != 0) {
        continue;
    }
    CHECK(pthread_create(&helper, NULL, let_go, NULL) == 0);
    CHECK(sf_set_log(NULL, NULL, 0) == 0);
    CHECK(__atomic_load_n(&has_left, __ATOMIC_SEQ_CST) == 1);
    CHECK(pthread_join(helper, NULL) == 0 && pthread_join(speaker, NULL) == 0);
    CHECK(heard.lines == 1);
}

/* Bytes of two mappings of one file, and how often they were stored to. */
struct bytes {
    struct heard heard;
    volatile unsigned char *of_thread;
    volatile unsigned char *own;
};

static void *store(void *context) {
    struct bytes *bytes = (struct bytes *)context;
    bytes->of_thread[0]++;
    return NULL;
}

static void hear_and_store(void *context, int level, const char *message) {
    struct bytes *bytes = (struct bytes *)context;
    pthread_t thread;
    hear(&bytes->heard, level, message);
    CHECK(pthread_create(&thread, NULL, store, bytes) == 0 && pthread_join(thread, NULL) == 0);
    bytes->own[0]++;
}

static void limit_files(rlim_t bytes) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

/* A file goes back to the kernel, and there is no room for its last page: that is said while its memory is frozen. */
static void what_is_said_while_memory_is_frozen_may_be_answered_by_a_store_there(void) {
    const size_t page = page_size();
    const off_t end = 1 << 20;
    char *path = path_in(folder, "frozen.bin");
    int fd = fresh_file(path, 1);
    CHECK(ftruncate(fd, end) == 0);
    void *first = sf_mmap_atomic(NULL, page, READ_WRITE, MAP_SHARED, fd, 0, NULL);
    void *last = sf_mmap_atomic(NULL, page, READ_WRITE, MAP_SHARED, fd, end - (off_t)page, NULL);
    CHECK(first != MAP_FAILED && last != MAP_FAILED);
    struct bytes bytes;
    memset(&bytes, 0, sizeof bytes);
    bytes.of_thread = (unsigned char *)first;
    bytes.own = (unsigned char *)last;
    bytes.own[1] = 7;
    CHECK(sf_msync(last, page, MS_SYNC) == 0);
    CHECK(sf_set_log(hear_and_store, &bytes, SF_LOG_LEVEL_WARN) == 0);
    /* Who waits for itself is ended. */
    alarm(60);
    limit_files((rlim_t)end / 2);
    CHECK(sf_mmap(NULL, page, READ_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED && (errno == EFBIG || errno == ENOSPC));
    limit_files(RLIM_INFINITY);
    CHECK(bytes.heard.lines == 1 && bytes.heard.level == SF_LOG_LEVEL_WARN && strstr(bytes.heard.text, "checkpoint") != NULL);
    CHECK(bytes.of_thread[0] == 1 && bytes.own[0] == 1);
    void *again = sf_mmap(NULL, page, READ_WRITE, MAP_SHARED, fd, 0);
    CHECK(again != MAP_FAILED);
    CHECK(bytes.heard.lines == 2 && strstr(bytes.heard.text, "kernel") != NULL);
    alarm(0);
    CHECK(sf_set_log(NULL, NULL, 0) == 0);
    unsigned char stored[2];
    CHECK(pread(fd, stored, 1, 0) == 1 && stored[0] == 2);
    CHECK(pread(fd, stored, 2, end - (off_t)page) == 2 && stored[0] == 2 && stored[1] == 7);
    CHECK(sf_munmap(first, page) == 0 && sf_munmap(last, page) == 0 && sf_munmap(again, page) == 0);
    CHECK(close(fd) == 0);
    free(path);
}

#ifdef __cplusplus
static void throw_it(void *, int, const char *) {
    throw 1;
}

static void an_exception_ends_the_program(void) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(freopen("/dev/null", "w", stderr) != NULL);
        CHECK(sf_set_log(throw_it, NULL, SF_LOG_LEVEL_WARN) == 0);
        cause_a_warning("thrown.bin");
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
#endif

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: log FOLDER sink|frozen\n");
        return 2;
    }
    folder = argv[1];
    if (strcmp(argv[2], "frozen") == 0) {
        what_is_said_while_memory_is_frozen_may_be_answered_by_a_store_there();
        return 0;
    }
    lines_go_to_the_last_function_that_was_set();
    a_function_does_not_replace_itself();
    nobody_is_in_a_function_that_was_replaced();
#ifdef __cplusplus
    an_exception_ends_the_program();
#endif
    return 0;
}
