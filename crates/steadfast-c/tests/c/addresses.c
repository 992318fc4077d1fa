/* The calls by address, with right and with wrong arguments; msync.c has sf_msync().
 *
 * addresses FOLDER */

#include "check.h"

static const char *folder;

static char first_byte_of(int fd, size_t index) {
    char byte = 0;
    CHECK(pread(fd, &byte, 1, (off_t)(index * page_size())) == 1);
    return byte;
}

static void kernel_mappings_by_address(void) {
    const size_t page = page_size();
    char *path = path_in(folder, "kernel.bin");
    int fd = fresh_file(path, 4);
    char *map = (char *)sf_mmap(NULL, 4 * page, READ_WRITE, MAP_SHARED, fd, 0);
    CHECK((void *)map != MAP_FAILED);
    map[0] = 1;
    CHECK(first_byte_of(fd, 0) == 1);
    CHECK(sf_msync(map, 4 * page, MS_SYNC) == 0);

    CHECK(sf_mprotect(map, page, PROT_READ) == 0);
    CHECK(map[0] == 1);
    CHECK(sf_mprotect(map, page, READ_WRITE) == 0);
    map[0] = 2;
    FAILS(sf_mprotect(map + 1, page, PROT_READ), EINVAL, SF_ERROR_INVALID_INPUT);

    CHECK(sf_madvise(map, 4 * page, MADV_RANDOM) == 0);
    CHECK(sf_madvise(map, 4 * page, MADV_DONTNEED) == 0);
    CHECK(map[0] == 2);
    FAILS(sf_madvise(map, 4 * page, -7), EINVAL, SF_ERROR_INVALID_INPUT);
    FAILS(sf_madvise(map + 1, page, MADV_NORMAL), EINVAL, SF_ERROR_INVALID_INPUT);

    CHECK(sf_mremap(map, 4 * page, 2 * page, 0, NULL) == map);
    char *moved = (char *)sf_mremap(map, 2 * page, 4 * page, MREMAP_MAYMOVE, NULL);
    CHECK((void *)moved != MAP_FAILED && moved[0] == 2);
    moved[3 * page] = 3;
    CHECK(sf_msync(moved, 4 * page, MS_SYNC) == 0);
    CHECK(first_byte_of(fd, 3) == 3);
    GIVES_NOTHING(sf_mremap(moved + 1, page, page, 0, NULL), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NOTHING(sf_mremap(moved, page, 0, 0, NULL), EINVAL, SF_ERROR_INVALID_INPUT);

    CHECK(sf_munmap(moved + page, page) == 0);
    CHECK(sf_munmap(moved, 4 * page) == 0);
    FAILS(sf_munmap(moved + 1, page), EINVAL, SF_ERROR_INVALID_INPUT);
    FAILS(sf_munmap(moved, 0), EINVAL, SF_ERROR_INVALID_INPUT);

    GIVES_NOTHING(sf_mmap(NULL, 0, READ_WRITE, MAP_SHARED, fd, 0), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NOTHING(sf_mmap(NULL, page, READ_WRITE, MAP_SHARED, fd, 1), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NOTHING(sf_mmap(NULL, page, READ_WRITE, 0, fd, 0), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NOTHING(sf_mmap(NULL, page, READ_WRITE, MAP_SHARED, -1, 0), EBADF, SF_ERROR_IO);
    CHECK(close(fd) == 0);
    int reading = open(path, O_RDONLY | O_CLOEXEC);
    GIVES_NOTHING(sf_mmap(NULL, page, READ_WRITE, MAP_SHARED, reading, 0), EACCES, SF_ERROR_PERMISSION_DENIED);
    CHECK(close(reading) == 0);

    char *memory = (char *)sf_mmap(NULL, page, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK((void *)memory != MAP_FAILED && memory[0] == 0);
    memory[0] = 1;
    CHECK(sf_munmap(memory, page) == 0);
    free(path);
}

static void atomic_mappings_by_address(void) {
    const size_t page = page_size();
    char *path = path_in(folder, "atomic.bin");
    int fd = fresh_file(path, 4);
    struct sf_atomic_options options;
    CHECK(sf_atomic_options_init(&options, sizeof options) == 0);
    options.journal_bytes = 1 << 16;
    char *map = (char *)sf_mmap_atomic(NULL, 4 * page, READ_WRITE, MAP_SHARED, fd, 0, &options);
    CHECK((void *)map != MAP_FAILED);
    struct sf_inspection before;
    struct sf_inspection after;
    before.struct_size = sizeof before;
    after.struct_size = sizeof after;
    CHECK(sf_inspect(path, &before) == 0 && before.journal_found && before.writer_pid == (uint32_t)getpid());

    map[0] = 1;
    map[2 * page] = 2;
    CHECK(sf_inspect(path, &after) == 0 && after.last == before.last);
    CHECK(first_byte_of(fd, 0) == 0);
    CHECK(sf_msync(map, page, MS_SYNC) == 0);
    CHECK(sf_inspect(path, &after) == 0 && after.last == before.last + 1);
    CHECK(sf_commit_all() == 0);
    CHECK(sf_inspect(path, &after) == 0 && after.last == before.last + 2);
    CHECK(sf_commit_all() == 0);
    CHECK(sf_inspect(path, &after) == 0 && after.last == before.last + 2);

    CHECK(sf_mprotect(map, page, PROT_READ) == 0);
    CHECK(sf_mprotect(map, page, READ_WRITE) == 0);
    map[page] = 3;
    CHECK(sf_madvise(map, 4 * page, MADV_DONTNEED) == 0);
    CHECK(map[page] == 3);
    CHECK(sf_munmap(map, 4 * page) == 0);
    CHECK(first_byte_of(fd, 0) == 1 && first_byte_of(fd, 1) == 3 && first_byte_of(fd, 2) == 2);
    CHECK(sf_inspect(path, &after) == 0 && !after.journal_found);

    map = (char *)sf_mmap_atomic(NULL, page, READ_WRITE, MAP_SHARED, fd, (off_t)(2 * page), NULL);
    CHECK((void *)map != MAP_FAILED && map[0] == 2);
    CHECK(sf_munmap(map, page) == 0);

    GIVES_NOTHING(sf_mmap_atomic(NULL, page, READ_WRITE, MAP_SHARED, -1, 0, NULL), EBADF, SF_ERROR_IO);
    GIVES_NOTHING(sf_mmap_atomic(NULL, 0, READ_WRITE, MAP_SHARED, fd, 0, NULL), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NOTHING(sf_mmap_atomic(NULL, page, READ_WRITE, MAP_SHARED, fd, 1, NULL), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NOTHING(sf_mmap_atomic(NULL, page, READ_WRITE, MAP_PRIVATE, fd, 0, NULL), EOPNOTSUPP, SF_ERROR_UNSUPPORTED);
    options.struct_size = 1;
    GIVES_NOTHING(sf_mmap_atomic(NULL, page, READ_WRITE, MAP_SHARED, fd, 0, &options), EINVAL, SF_ERROR_INVALID_INPUT);
    CHECK(close(fd) == 0);
    free(path);
}

static void closing_everything_leaves_plain_files_and_the_memory(void) {
    const size_t page = page_size();
    char *path = path_in(folder, "closed.bin");
    int fd = fresh_file(path, 2);
    char *map = (char *)sf_mmap_atomic(NULL, 2 * page, READ_WRITE, MAP_SHARED, fd, 0, NULL);
    CHECK((void *)map != MAP_FAILED);
    map[0] = 1;
    map[page] = 2;
    CHECK(sf_close_all() == 0);
    CHECK(first_byte_of(fd, 0) == 1 && first_byte_of(fd, 1) == 2);
    struct sf_inspection after;
    after.struct_size = sizeof after;
    CHECK(sf_inspect(path, &after) == 0 && !after.journal_found);
    CHECK(map[0] == 1);
    map[0] = 3;
    CHECK(first_byte_of(fd, 0) == 1);
    CHECK(sf_close_all() == 0);
    CHECK(close(fd) == 0);
    free(path);
}

static void memory_of_a_handle_is_not_taken_away_by_address(void) {
    const size_t page = page_size();
    char *path = path_in(folder, "held.bin");
    CHECK(close(fresh_file(path, 2)) == 0);
    struct sf_mapping *mapping = sf_mapping_open(path, NULL);
    CHECK(mapping != NULL);
    FAILS(sf_munmap(sf_mapping_data(mapping), page), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NOTHING(sf_mremap(sf_mapping_data(mapping), page, 2 * page, MREMAP_MAYMOVE, NULL), EINVAL, SF_ERROR_INVALID_INPUT);
    CHECK(sf_mapping_close(mapping) == 0);
    struct sf_atomic *atomic = sf_atomic_open(path, NULL);
    CHECK(atomic != NULL);
    FAILS(sf_munmap(sf_atomic_data_mut(atomic), page), EINVAL, SF_ERROR_INVALID_INPUT);
    CHECK(sf_atomic_close(atomic) == 0);
    free(path);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: addresses FOLDER\n");
        return 2;
    }
    folder = argv[1];
    kernel_mappings_by_address();
    atomic_mappings_by_address();
    memory_of_a_handle_is_not_taken_away_by_address();
    closing_everything_leaves_plain_files_and_the_memory();
    return 0;
}
