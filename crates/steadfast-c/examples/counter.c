/* Counts how often it was run, in a file that survives any crash: counter FILE
 *
 *     cc counter.c $(pkg-config --cflags --libs steadfast) -o counter
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "steadfast.h"

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, sf_last_error_message());
    return 1;
}

/* What no call can tell: a checkpoint in the background that failed, and is tried again. */
static void say(void *name, int level, const char *message) {
    fprintf(stderr, "%s: %s%s\n", (const char *)name, level == SF_LOG_LEVEL_ERROR ? "error: " : "", message);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: counter FILE\n");
        return 2;
    }
    sf_set_log(say, argv[0], SF_LOG_LEVEL_WARN);
    struct sf_atomic_options options;
    sf_atomic_options_init(&options, sizeof options);
    options.create = true;
    options.len = 4096;
    struct sf_atomic *map = sf_atomic_open(argv[1], &options);
    if (map == NULL) {
        return failed("open");
    }

    uint64_t count = 0;
    if (sf_atomic_read(map, 0, &count, sizeof count) != 0) {
        return failed("read");
    }
    count++;
    /* A declared edit: the commit need not search for it. */
    if (sf_atomic_write(map, 0, &count, sizeof count) != 0) {
        return failed("write");
    }
    /* Plain stores are found as well. */
    char *memory = (char *)sf_atomic_data_mut(map);
    snprintf(memory + 64, 64, "run %" PRIu64, count);

    /* Both or none of it, durable on return. */
    uint64_t commit = 0;
    if (sf_atomic_commit(map, &commit) != 0) {
        if (sf_last_error_kind() == SF_ERROR_NOT_COMMITTED) {
            fprintf(stderr, "nothing changed, and the same commit may succeed later\n");
        }
        return failed("commit");
    }
    /* What is not committed can be thrown away. */
    memset(memory, 0, 4096);
    if (sf_atomic_rollback(map) != 0) {
        return failed("rollback");
    }
    printf("%s, commit %" PRIu64 "\n", memory + 64, commit);
    return sf_atomic_close(map) == 0 ? 0 : failed("close");
}
