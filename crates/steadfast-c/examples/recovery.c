/* Looks at a file and its journal, and brings the file to its last commit: recovery FILE
 *
 *     cc recovery.c $(pkg-config --cflags --libs steadfast) -o recovery
 */

#include <inttypes.h>
#include <stdio.h>

#include "steadfast.h"

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: recovery FILE\n");
        return 2;
    }
    struct sf_inspection found;
    found.struct_size = sizeof found;
    if (sf_inspect(argv[1], &found) != 0) {
        fprintf(stderr, "%s\n", sf_last_error_message());
        return 1;
    }
    if (found.writer_pid != 0) {
        printf("process %" PRIu32 " (%s) has it open\n", found.writer_pid, found.writer_command);
        return 0;
    }
    if (found.problem != SF_ERROR_NONE) {
        printf("%s: %s\n", sf_error_kind_name(found.problem), found.problem_message);
        return 1;
    }
    if (!found.recovery_waits) {
        printf("nothing to recover\n");
        return 0;
    }
    struct sf_recovery done;
    done.struct_size = sizeof done;
    if (sf_recover(argv[1], SF_RESOLUTION_REPLAY, &done) != 0) {
        fprintf(stderr, "%s\n", sf_last_error_message());
        return 1;
    }
    printf("commit %" PRIu64 ", %" PRIu64 " brought into the file\n", done.last, done.replayed_commits);
    return 0;
}
