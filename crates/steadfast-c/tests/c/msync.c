/* sf_msync(), sentence by sentence: each function is named after what msync(3p) says.
 *
 * msync FOLDER SENTENCE */

#include <time.h>

#include "check.h"

#define PAGES 4
/* The kernel by itself begins to write after 30 seconds. */
#define DEADLINE_SECONDS 10

enum kind { KERNEL, ATOMIC };

/* A file of PAGES pages, mapped by address. */
struct mapped {
    enum kind kind;
    char *address;
    char *path;
    int fd;
};

static const char *folder;

static struct mapped mapped(enum kind kind) {
    struct mapped map;
    map.kind = kind;
    map.path = path_in(folder, kind == KERNEL ? "kernel.bin" : "atomic.bin");
    map.fd = fresh_file(map.path, PAGES);
    const size_t len = PAGES * page_size();
    void *address = kind == KERNEL ? sf_mmap(NULL, len, READ_WRITE, MAP_SHARED, map.fd, 0)
                                   : sf_mmap_atomic(NULL, len, READ_WRITE, MAP_SHARED, map.fd, 0, NULL);
    CHECK(address != MAP_FAILED);
    map.address = (char *)address;
    return map;
}

static void unmapped(struct mapped map) {
    CHECK(sf_munmap(map.address, PAGES * page_size()) == 0);
    CHECK(close(map.fd) == 0);
    free(map.path);
}

static char *page_of(struct mapped map, size_t index) {
    return map.address + index * page_size();
}

static void store(struct mapped map, size_t index) {
    *(volatile char *)page_of(map, index) = 7;
}

/* The number of the last commit. */
static uint64_t last_commit(struct mapped map) {
    struct sf_inspection inspection;
    inspection.struct_size = sizeof inspection;
    CHECK(sf_inspect(map.path, &inspection) == 0);
    return inspection.last;
}

/* What is in memory is on disk, or part of a commit. */
static bool is_synced(struct mapped map, size_t index) {
    if (map.kind == KERNEL) {
        unsigned char state = SF_PAGE_UNKNOWN;
        struct sf_mapping *looking = sf_mapping_open(map.path, NULL);
        CHECK(looking != NULL);
        CHECK(sf_mapping_residency(looking, index * page_size(), 1, NULL, &state, 1) == 0);
        CHECK(sf_mapping_close(looking) == 0);
        CHECK(state != SF_PAGE_UNKNOWN);
        return state == SF_PAGE_ABSENT || state == SF_PAGE_RESIDENT;
    }
    struct sf_atomic_options options;
    CHECK(sf_atomic_options_init(&options, sizeof options) == 0);
    options.read_only = true;
    struct sf_atomic *committed = sf_atomic_open(map.path, &options);
    CHECK(committed != NULL);
    bool same = ((const char *)sf_atomic_data(committed))[index * page_size()] == *page_of(map, index);
    CHECK(sf_atomic_close(committed) == 0);
    return same;
}

static void exactly_one_of_ms_async_and_ms_sync_is_given_and_0_is_success(struct mapped map) {
    store(map, 0);
    CHECK(sf_msync(map.address, page_size(), MS_ASYNC) == 0);
    CHECK(sf_msync(map.address, page_size(), MS_SYNC) == 0);
}

static void ms_invalidate_may_join_either(struct mapped map) {
    store(map, 0);
    CHECK(sf_msync(map.address, page_size(), MS_SYNC | MS_INVALIDATE) == 0);
    CHECK(sf_msync(map.address, page_size(), MS_ASYNC | MS_INVALIDATE) == 0);
    CHECK(map.address[0] == 7);
}

static void both_or_neither_or_any_other_bit_is_einval(struct mapped map) {
    store(map, 0);
    NONSENSE(sf_msync(map.address, page_size(), MS_ASYNC | MS_SYNC));
    NONSENSE(sf_msync(map.address, page_size(), MS_ASYNC | MS_SYNC | MS_INVALIDATE));
    NONSENSE(sf_msync(map.address, page_size(), 0));
    NONSENSE(sf_msync(map.address, page_size(), MS_INVALIDATE));
    NONSENSE(sf_msync(map.address, page_size(), -1));
    for (int bit = 0; bit < 31; bit++) {
        int other = (int)(1u << bit);
        if ((other & (MS_ASYNC | MS_SYNC | MS_INVALIDATE)) == 0) {
            NONSENSE(sf_msync(map.address, page_size(), MS_SYNC | other));
        }
    }
    CHECK(!is_synced(map, 0));
}

static void an_address_that_is_not_on_a_page_boundary_is_einval(struct mapped map) {
    store(map, 0);
    NONSENSE(sf_msync(map.address + 1, page_size(), MS_SYNC));
    NONSENSE(sf_msync(map.address + page_size() - 1, 1, MS_SYNC));
    NONSENSE(sf_msync((void *)1, 1, MS_SYNC));
    CHECK(!is_synced(map, 0));
}

static void len_is_rounded_up_to_whole_pages(struct mapped map) {
    for (size_t index = 0; index < PAGES; index++) {
        store(map, index);
    }
    CHECK(sf_msync(map.address, page_size() + 1, MS_SYNC) == 0);
    CHECK(is_synced(map, 0) && is_synced(map, 1));
    CHECK(map.kind == KERNEL || !is_synced(map, 2));
    CHECK(sf_msync(page_of(map, 2), 0, MS_SYNC) == 0);
    CHECK(map.kind == KERNEL || !is_synced(map, 2));
}

static void an_end_that_overflows_is_enomem(struct mapped map) {
    FAILS(sf_msync(map.address, SIZE_MAX, MS_SYNC), ENOMEM, SF_ERROR_OUT_OF_RANGE);
    FAILS(sf_msync(map.address, SIZE_MAX - page_size(), MS_ASYNC), ENOMEM, SF_ERROR_OUT_OF_RANGE);
}

static void a_part_that_is_not_mapped_is_enomem_once_every_mapped_part_is_synced(struct mapped map) {
    uint64_t before = last_commit(map);
    CHECK(sf_munmap(page_of(map, 1), page_size()) == 0);
    store(map, 0);
    store(map, 2);
    FAILS(sf_msync(map.address, PAGES * page_size(), MS_SYNC), ENOMEM, SF_ERROR_OUT_OF_RANGE);
    CHECK(is_synced(map, 0) && is_synced(map, 2));
    CHECK(map.kind == KERNEL || last_commit(map) > before);
    FAILS(sf_msync(page_of(map, 1), page_size(), MS_SYNC), ENOMEM, SF_ERROR_OUT_OF_RANGE);
}

static void a_range_may_span_several_mappings_and_some_that_are_not_ours(struct mapped map) {
    char *own = path_in(folder, "own.bin");
    int fd = fresh_file(own, 1);
    CHECK(sf_munmap(page_of(map, 1), 2 * page_size()) == 0);
    CHECK(mmap(page_of(map, 1), page_size(), READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
    CHECK(mmap(page_of(map, 2), page_size(), READ_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
    for (size_t index = 0; index < PAGES; index++) {
        store(map, index);
    }
    CHECK(sf_msync(map.address, PAGES * page_size(), MS_SYNC) == 0);
    CHECK(is_synced(map, 0) && is_synced(map, 3));
    struct mapped theirs = {KERNEL, page_of(map, 2), own, fd};
    CHECK(is_synced(theirs, 0));
    CHECK(close(fd) == 0);
    free(own);
}

static void ms_sync_is_on_disk_or_one_commit_of_the_range_on_return(struct mapped map) {
    uint64_t before = last_commit(map);
    for (size_t index = 0; index < PAGES; index++) {
        store(map, index);
    }
    CHECK(!is_synced(map, 0) && !is_synced(map, 3));
    CHECK(sf_msync(page_of(map, 1), 2 * page_size(), MS_SYNC) == 0);
    CHECK(is_synced(map, 1) && is_synced(map, 2));
    if (map.kind == ATOMIC) {
        CHECK(last_commit(map) == before + 1);
        CHECK(!is_synced(map, 0) && !is_synced(map, 3));
    }
}

static void ms_async_starts_the_write_out(struct mapped map) {
    const struct timespec pause = {0, 5000000};
    time_t begun = time(NULL);
    store(map, 0);
    CHECK(sf_msync(map.address, page_size(), MS_ASYNC) == 0);
    while (!is_synced(map, 0)) {
        CHECK(time(NULL) - begun < DEADLINE_SECONDS);
        nanosleep(&pause, NULL);
    }
}

static void a_later_ms_sync_waits_for_ms_async(struct mapped map) {
    for (size_t index = 0; index < PAGES; index++) {
        store(map, index);
    }
    CHECK(sf_msync(map.address, PAGES * page_size(), MS_ASYNC) == 0);
    CHECK(sf_msync(map.address, PAGES * page_size(), MS_SYNC) == 0);
    for (size_t index = 0; index < PAGES; index++) {
        CHECK(is_synced(map, index));
    }
}

static void ms_invalidate_of_locked_pages_is_ebusy(struct mapped map) {
    if (map.kind == ATOMIC) {
        return;
    }
    CHECK(mlock(map.address, page_size()) == 0);
    FAILS(sf_msync(map.address, page_size(), MS_SYNC | MS_INVALIDATE), EBUSY, SF_ERROR_BUSY);
    CHECK(sf_msync(map.address, page_size(), MS_SYNC) == 0);
    CHECK(munlock(map.address, page_size()) == 0);
    CHECK(sf_msync(map.address, page_size(), MS_SYNC | MS_INVALIDATE) == 0);
}

static void ms_invalidate_lets_the_next_access_read_the_disk(struct mapped map) {
    if (map.kind == ATOMIC) {
        return;
    }
    unsigned char state = SF_PAGE_UNKNOWN;
    store(map, 0);
    CHECK(sf_msync(map.address, page_size(), MS_SYNC | MS_INVALIDATE) == 0);
    struct sf_mapping *looking = sf_mapping_open(map.path, NULL);
    CHECK(looking != NULL);
    CHECK(sf_mapping_residency(looking, 0, 1, NULL, &state, 1) == 0);
    CHECK(sf_mapping_close(looking) == 0);
    CHECK(state == SF_PAGE_ABSENT);
    CHECK(map.address[0] == 7);
}

static void in_a_child_an_atomic_mapping_commits_nothing_and_says_so(struct mapped map) {
    uint64_t before = last_commit(map);
    store(map, 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (map.kind == ATOMIC) {
            FAILS(sf_msync(map.address, page_size(), MS_SYNC), EIO, SF_ERROR_FORKED);
            CHECK(sf_commit_all() == 0);
        } else {
            CHECK(sf_msync(map.address, page_size(), MS_SYNC) == 0);
        }
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (map.kind == ATOMIC) {
        CHECK(last_commit(map) == before && !is_synced(map, 0));
        CHECK(sf_msync(map.address, page_size(), MS_SYNC) == 0);
    }
    CHECK(is_synced(map, 0));
}

#define SENTENCE(name) {#name, name}

static const struct {
    const char *name;
    void (*check)(struct mapped map);
} sentences[] = {
    SENTENCE(exactly_one_of_ms_async_and_ms_sync_is_given_and_0_is_success),
    SENTENCE(ms_invalidate_may_join_either),
    SENTENCE(both_or_neither_or_any_other_bit_is_einval),
    SENTENCE(an_address_that_is_not_on_a_page_boundary_is_einval),
    SENTENCE(len_is_rounded_up_to_whole_pages),
    SENTENCE(an_end_that_overflows_is_enomem),
    SENTENCE(a_part_that_is_not_mapped_is_enomem_once_every_mapped_part_is_synced),
    SENTENCE(a_range_may_span_several_mappings_and_some_that_are_not_ours),
    SENTENCE(ms_sync_is_on_disk_or_one_commit_of_the_range_on_return),
    SENTENCE(ms_async_starts_the_write_out),
    SENTENCE(a_later_ms_sync_waits_for_ms_async),
    SENTENCE(ms_invalidate_of_locked_pages_is_ebusy),
    SENTENCE(ms_invalidate_lets_the_next_access_read_the_disk),
    SENTENCE(in_a_child_an_atomic_mapping_commits_nothing_and_says_so),
};

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: msync FOLDER SENTENCE\n");
        return 2;
    }
    folder = argv[1];
    for (size_t index = 0; index < sizeof sentences / sizeof sentences[0]; index++) {
        if (strcmp(sentences[index].name, argv[2]) == 0) {
            for (int kind = KERNEL; kind <= ATOMIC; kind++) {
                struct mapped map = mapped(kind == KERNEL ? KERNEL : ATOMIC);
                sentences[index].check(map);
                unmapped(map);
            }
            return 0;
        }
    }
    fprintf(stderr, "no such sentence: %s\n", argv[2]);
    return 2;
}
