/* Commits twice, stores once more, and ends without a close, as after a crash: crashed FILE */

#include "check.h"

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: crashed FILE\n");
        return 2;
    }
    struct sf_atomic *map = sf_atomic_open(argv[1], NULL);
    CHECK(map != NULL);
    CHECK(sf_atomic_write(map, 0, "committed", 9) == 0 && sf_atomic_commit(map, NULL) == 0);
    CHECK(sf_atomic_write(map, 9, " twice", 6) == 0 && sf_atomic_commit(map, NULL) == 0);
    CHECK(sf_atomic_write(map, 0, "not so...", 9) == 0);
    _exit(0);
}
