/* Commits ten times without waiting, and then for all of them at once: async_ticket FILE
 *
 *     cc async_ticket.c $(pkg-config --cflags --libs steadfast) -o async_ticket
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "steadfast.h"

#define COMMITS 10

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, sf_last_error_message());
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: async_ticket FILE\n");
        return 2;
    }
    struct sf_atomic_options options;
    sf_atomic_options_init(&options, sizeof options);
    options.create = true;
    options.len = 4096;
    struct sf_atomic *map = sf_atomic_open(argv[1], &options);
    if (map == NULL) {
        return failed("open");
    }

    struct sf_ticket *tickets[COMMITS];
    for (int turn = 0; turn < COMMITS; turn++) {
        int32_t *numbers = (int32_t *)sf_atomic_edit(map, 0, sizeof(int32_t) * COMMITS);
        if (numbers == NULL) {
            return failed("edit");
        }
        numbers[turn] = turn + 1;
        /* What is stored after this is not part of it. */
        tickets[turn] = sf_atomic_commit_async(map);
        if (tickets[turn] == NULL) {
            return failed("commit");
        }
    }
    /* They complete in order: the last one vouches for all. */
    uint64_t commit = 0;
    while (sf_ticket_wait_timeout_ms(tickets[COMMITS - 1], 100, &commit) != 0) {
        if (errno != ETIMEDOUT) {
            return failed("commit");
        }
        printf("not yet\n");
    }
    printf("commit %" PRIu64 " is durable\n", commit);
    for (int turn = 0; turn < COMMITS; turn++) {
        sf_ticket_free(tickets[turn]);
    }
    return sf_atomic_close(map) == 0 ? 0 : failed("close");
}
