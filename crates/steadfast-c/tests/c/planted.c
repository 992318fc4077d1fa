/* A defect that AddressSanitizer must find before its silence means anything: the library is told that a buffer is longer than it is.
 *
 * planted FOLDER */

#include "check.h"

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: planted FOLDER\n");
        return 2;
    }
    char *path = path_in(argv[1], "planted.bin");
    CHECK(close(fresh_file(path, 1)) == 0);
    struct sf_atomic *map = sf_atomic_open(path, NULL);
    CHECK(map != NULL);
    char *bytes = (char *)malloc(100);
    CHECK(bytes != NULL);
    memset(bytes, 1, 100);
    CHECK(sf_atomic_write(map, 0, bytes, 101) == 0);
    free(bytes);
    free(path);
    return sf_atomic_close(map);
}
