/* What the tests in C have in common: a check that says where it failed and what the library said last, and the three ways in which a
 * call fails. */

#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "steadfast.h"

#define READ_WRITE (PROT_READ | PROT_WRITE)

static inline void check_failed(const char *file, int line, const char *condition) {
    int number = errno;
    fprintf(stderr, "%s:%d: %s\n  errno %d: %s\n  last error: %s: %s\n", file, line, condition, number, strerror(number),
            sf_error_kind_name((int)sf_last_error_kind()), sf_last_error_message());
    exit(1);
}

#define CHECK(condition)                                     \
    do {                                                     \
        if (!(condition)) {                                  \
            check_failed(__FILE__, __LINE__, #condition);    \
        }                                                    \
    } while (0)

/* A call fails with this result, this errno and this kind, and with words. */
#define FAILS_WITH(result, call, number, kind)               \
    do {                                                     \
        errno = 0;                                           \
        CHECK((call) == (result));                           \
        CHECK(errno == (number));                            \
        CHECK(sf_last_error_kind() == (kind));               \
        CHECK(*sf_last_error_message() != '\0');             \
    } while (0)

#define FAILS(call, number, kind) FAILS_WITH(-1, call, number, kind)
#define GIVES_NULL(call, number, kind) FAILS_WITH(NULL, call, number, kind)
#define GIVES_NOTHING(call, number, kind) FAILS_WITH(MAP_FAILED, call, number, kind)
#define NONSENSE(call) FAILS(call, EINVAL, SF_ERROR_INVALID_INPUT)

static inline size_t page_size(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* `folder` / `name`, for the caller to free. */
static inline char *path_in(const char *folder, const char *name) {
    size_t len = strlen(folder) + strlen(name) + 2;
    char *path = (char *)malloc(len);
    CHECK(path != NULL);
    snprintf(path, len, "%s/%s", folder, name);
    return path;
}

/* A file of `pages` pages of zeros, which are on disk, open for reading and writing. */
static inline int fresh_file(const char *path, size_t pages) {
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK(fd >= 0);
    for (size_t index = 0; index < pages; index++) {
        static const char zeros[65536] = "";
        CHECK(pwrite(fd, zeros, page_size(), (off_t)(index * page_size())) == (ssize_t)page_size());
    }
    CHECK(fsync(fd) == 0);
    return fd;
}

static inline struct sf_status status_of(const struct sf_atomic *map) {
    struct sf_status status;
    memset(&status, 0xff, sizeof status);
    status.struct_size = sizeof status;
    CHECK(sf_atomic_status(map, &status) == 0);
    CHECK(status.struct_size == sizeof status);
    return status;
}

#endif
