/* What the library says beside its errors, and to whom.
 *
 * log FOLDER */

#include "check.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

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
    if (argc != 2) {
        fprintf(stderr, "usage: log FOLDER\n");
        return 2;
    }
    folder = argv[1];
    lines_go_to_the_last_function_that_was_set();
    a_function_does_not_replace_itself();
    nobody_is_in_a_function_that_was_replaced();
#ifdef __cplusplus
    an_exception_ends_the_program();
#endif
    return 0;
}
