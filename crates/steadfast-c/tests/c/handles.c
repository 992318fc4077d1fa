/* Every function that takes or makes a handle, with right and with wrong arguments.
 *
 * handles FOLDER */

#include <pthread.h>

#include "check.h"

#define TOO_LONG ((size_t)1 << 63)

static const char *folder;

static void errors_have_kinds_and_names(void) {
    CHECK(sf_last_error_kind() == SF_ERROR_NONE);
    CHECK(strcmp(sf_last_error_message(), "") == 0);
    CHECK(strcmp(sf_error_kind_name(SF_ERROR_NONE), "no error") == 0);
    CHECK(strcmp(sf_error_kind_name(SF_ERROR_NOT_FOUND), "not found") == 0);
    CHECK(strcmp(sf_error_kind_name(SF_ERROR_IO), "input/output error") == 0);
    CHECK(strcmp(sf_error_kind_name(-1), "unknown") == 0);
    CHECK(strcmp(sf_error_kind_name(1000), "unknown") == 0);
    CHECK(sf_version()[0] != '\0' && strchr(sf_version(), '.') != NULL);
}

static void options_have_defaults_and_sizes(void) {
    struct sf_mapping_options mapping;
    memset(&mapping, 0xff, sizeof mapping);
    CHECK(sf_mapping_options_init(&mapping, sizeof mapping) == 0);
    CHECK(mapping.struct_size == sizeof mapping && mapping.len == 0 && mapping.guard && !mapping.write);
    NONSENSE(sf_mapping_options_init(NULL, sizeof mapping));
    NONSENSE(sf_mapping_options_init(&mapping, 0));
    NONSENSE(sf_mapping_options_init(&mapping, TOO_LONG));

    struct sf_atomic_options atomic;
    memset(&atomic, 0xff, sizeof atomic);
    CHECK(sf_atomic_options_init(&atomic, sizeof atomic) == 0);
    CHECK(atomic.struct_size == sizeof atomic && atomic.tracker == SF_TRACKER_AUTOMATIC && atomic.guard);
    CHECK(!atomic.create && !atomic.allow_volatile);
    NONSENSE(sf_atomic_options_init(NULL, sizeof atomic));
    NONSENSE(sf_atomic_options_init(&atomic, 8));
}

static struct sf_mapping *mapping_of(const char *path, size_t len) {
    struct sf_mapping_options options;
    CHECK(sf_mapping_options_init(&options, sizeof options) == 0);
    options.write = true;
    options.create = true;
    options.len = len;
    struct sf_mapping *map = sf_mapping_open(path, &options);
    CHECK(map != NULL);
    return map;
}

static void mappings_open_and_close(void) {
    char *path = path_in(folder, "open.bin");
    struct sf_mapping_options options;
    CHECK(sf_mapping_options_init(&options, sizeof options) == 0);
    GIVES_NULL(sf_mapping_open(path, NULL), ENOENT, SF_ERROR_NOT_FOUND);
    CHECK(strstr(sf_last_error_message(), path) != NULL);
    GIVES_NULL(sf_mapping_open(NULL, NULL), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NULL(sf_mapping_open("", NULL), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NULL(sf_mapping_open(folder, NULL), EOPNOTSUPP, SF_ERROR_UNSUPPORTED);
    options.create = true;
    GIVES_NULL(sf_mapping_open(path, &options), EINVAL, SF_ERROR_INVALID_INPUT);
    options.write = true;
    options.reserved[5] = 1;
    GIVES_NULL(sf_mapping_open(path, &options), EINVAL, SF_ERROR_INVALID_INPUT);
    options.reserved[5] = 0;
    options.struct_size = 3;
    GIVES_NULL(sf_mapping_open(path, &options), EINVAL, SF_ERROR_INVALID_INPUT);
    options.struct_size = sizeof options;
    options.len = TOO_LONG;
    GIVES_NULL(sf_mapping_open(path, &options), EINVAL, SF_ERROR_INVALID_INPUT);

    struct sf_mapping *map = mapping_of(path, 10000);
    CHECK(sf_mapping_len(map) == 10000);
    CHECK(sf_mapping_close(map) == 0);
    options.len = 0;
    options.create_new = true;
    GIVES_NULL(sf_mapping_open(path, &options), EEXIST, SF_ERROR_ALREADY_EXISTS);

    map = sf_mapping_open(path, NULL);
    CHECK(map != NULL && sf_mapping_len(map) == 10000);
    FAILS(sf_mapping_write(map, 0, "x", 1), EROFS, SF_ERROR_READ_ONLY);
    CHECK(sf_mapping_close(map) == 0);
    NONSENSE(sf_mapping_close(NULL));

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    map = sf_mapping_open_fd(fd, NULL);
    CHECK(map != NULL);
    CHECK(close(fd) == 0);
    CHECK(sf_mapping_len(map) == 10000);
    CHECK(sf_mapping_close(map) == 0);
    GIVES_NULL(sf_mapping_open_fd(-1, NULL), EBADF, SF_ERROR_IO);
    GIVES_NULL(sf_mapping_open_fd(1000000, NULL), EBADF, SF_ERROR_IO);
    free(path);
}

static void mappings_read_write_and_sync(void) {
    char *path = path_in(folder, "mapping.bin");
    const size_t len = 4 * page_size();
    struct sf_mapping *map = mapping_of(path, len);
    char bytes[8] = "";

    CHECK(sf_mapping_write(map, 5, "hello", 5) == 0);
    CHECK(sf_mapping_read(map, 5, bytes, 5) == 0);
    CHECK(memcmp(bytes, "hello", 5) == 0);
    CHECK(memcmp((char *)sf_mapping_data(map) + 5, "hello", 5) == 0);
    CHECK(sf_mapping_read(map, len, NULL, 0) == 0);
    CHECK(sf_mapping_write(map, len, NULL, 0) == 0);
    FAILS(sf_mapping_read(map, len - 4, bytes, 5), ENOMEM, SF_ERROR_OUT_OF_RANGE);
    NONSENSE(sf_mapping_write(map, SIZE_MAX, "hello", 5));
    NONSENSE(sf_mapping_read(map, 0, NULL, 5));
    NONSENSE(sf_mapping_write(map, 0, NULL, 5));
    NONSENSE(sf_mapping_read(map, 0, bytes, TOO_LONG));
    NONSENSE(sf_mapping_write(map, 0, bytes, TOO_LONG));
    NONSENSE(sf_mapping_read(NULL, 0, bytes, 5));
    NONSENSE(sf_mapping_write(NULL, 0, bytes, 5));
    FAILS_WITH(0, sf_mapping_len(NULL), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NULL(sf_mapping_data(NULL), EINVAL, SF_ERROR_INVALID_INPUT);

    CHECK(sf_mapping_sync(map, 0, len) == 0);
    CHECK(sf_mapping_sync(map, 0, 0) == 0);
    FAILS(sf_mapping_sync(map, 0, len + 1), ENOMEM, SF_ERROR_OUT_OF_RANGE);
    NONSENSE(sf_mapping_sync(map, SIZE_MAX, 1));
    NONSENSE(sf_mapping_sync(map, 0, TOO_LONG));
    NONSENSE(sf_mapping_sync(NULL, 0, 0));
    CHECK(sf_mapping_redirty(map, 0, 1) == 0);
    NONSENSE(sf_mapping_redirty(NULL, 0, 1));

    struct sf_ticket *ticket = sf_mapping_start_sync(map, 0, len);
    CHECK(ticket != NULL);
    uint64_t commit = 7;
    CHECK(sf_ticket_wait(ticket, &commit) == 0);
    CHECK(commit == 0);
    CHECK(sf_ticket_is_done(ticket) == 1);
    CHECK(sf_ticket_wait_timeout_ms(ticket, 0, NULL) == 0);
    CHECK(sf_ticket_free(ticket) == 0);
    GIVES_NULL(sf_mapping_start_sync(map, len, 1), ENOMEM, SF_ERROR_OUT_OF_RANGE);
    GIVES_NULL(sf_mapping_start_sync(NULL, 0, 1), EINVAL, SF_ERROR_INVALID_INPUT);

    CHECK(sf_mapping_check(map) == 0);
    CHECK(sf_mapping_refresh(map) == 0);
    NONSENSE(sf_mapping_check(NULL));
    NONSENSE(sf_mapping_refresh(NULL));
    CHECK(sf_mapping_resize(map, 2 * len) == 0);
    CHECK(sf_mapping_len(map) == 2 * len);
    CHECK(memcmp((char *)sf_mapping_data(map) + 5, "hello", 5) == 0);
    NONSENSE(sf_mapping_resize(map, SIZE_MAX));
    NONSENSE(sf_mapping_resize(NULL, 1));

    /* Another program cuts the file. */
    CHECK(truncate(path, 100) == 0);
    FAILS(sf_mapping_read(map, len, bytes, 5), EIO, SF_ERROR_TRUNCATED);
    CHECK(((volatile char *)sf_mapping_data(map))[len] == 0);
    FAILS(sf_mapping_check(map), EIO, SF_ERROR_TRUNCATED);
    CHECK(sf_mapping_refresh(map) == 0);
    CHECK(sf_mapping_len(map) == 100);
    sf_mapping_close(map);
    free(path);
}

static void mappings_manage_their_pages(void) {
    char *path = path_in(folder, "pages.bin");
    const size_t page = page_size();
    const size_t len = 4 * page;
    struct sf_mapping *map = mapping_of(path, len);
    CHECK(sf_mapping_sync(map, 0, len) == 0);
    CHECK(sf_mapping_write(map, page, "x", 1) == 0);

    struct sf_residency counts;
    unsigned char states[4];
    counts.struct_size = sizeof counts;
    CHECK(sf_mapping_residency(map, 0, len, &counts, states, sizeof states) == 0);
    CHECK(counts.pages == 4);
    if (counts.dirty >= 0) {
        CHECK(counts.dirty == 1 && states[1] == SF_PAGE_DIRTY && states[0] != SF_PAGE_DIRTY);
    }
    CHECK(sf_mapping_residency(map, page + 1, 1, &counts, states, 1) == 0);
    CHECK(counts.pages == 1 && (counts.dirty < 0 || states[0] == SF_PAGE_DIRTY));
    CHECK(sf_mapping_residency(map, 0, len, NULL, NULL, 0) == 0);
    NONSENSE(sf_mapping_residency(map, 0, len, NULL, states, 3));
    NONSENSE(sf_mapping_residency(map, 0, len, NULL, NULL, 4));
    NONSENSE(sf_mapping_residency(NULL, 0, len, NULL, NULL, 0));
    FAILS(sf_mapping_residency(map, len, 1, NULL, NULL, 0), ENOMEM, SF_ERROR_OUT_OF_RANGE);
    counts.struct_size = 1;
    NONSENSE(sf_mapping_residency(map, 0, len, &counts, NULL, 0));

    CHECK(sf_mapping_lock(map, 0, page) == 0);
    FAILS(sf_mapping_invalidate(map, 0, page), EBUSY, SF_ERROR_BUSY);
    CHECK(sf_mapping_unlock(map, 0, page) == 0);
    NONSENSE(sf_mapping_lock(NULL, 0, page));
    NONSENSE(sf_mapping_unlock(NULL, 0, page));
    FAILS(sf_mapping_lock(map, len, 1), ENOMEM, SF_ERROR_OUT_OF_RANGE);
    FAILS(sf_mapping_unlock(map, len, 1), ENOMEM, SF_ERROR_OUT_OF_RANGE);

    CHECK(sf_mapping_invalidate(map, 0, len) == 0);
    counts.struct_size = sizeof counts;
    CHECK(sf_mapping_residency(map, 0, len, &counts, states, sizeof states) == 0);
    CHECK(counts.resident == 0 && states[0] == SF_PAGE_ABSENT && states[3] == SF_PAGE_ABSENT);
    NONSENSE(sf_mapping_invalidate(NULL, 0, len));
    FAILS(sf_mapping_invalidate(map, 1, len), ENOMEM, SF_ERROR_OUT_OF_RANGE);

    CHECK(sf_mapping_advise(map, 0, len, MADV_RANDOM) == 0);
    CHECK(sf_mapping_advise(map, 0, len, MADV_DONTNEED) == 0);
    NONSENSE(sf_mapping_advise(map, 0, len, MADV_REMOVE));
    NONSENSE(sf_mapping_advise(map, 0, len, -7));
    NONSENSE(sf_mapping_advise(NULL, 0, len, MADV_NORMAL));
    FAILS(sf_mapping_advise(map, 0, len + 1, MADV_NORMAL), ENOMEM, SF_ERROR_OUT_OF_RANGE);

    CHECK(sf_mapping_protect(map, 0, page, PROT_READ) == 0);
    FAILS(sf_mapping_write(map, 0, "x", 1), EROFS, SF_ERROR_READ_ONLY);
    CHECK(sf_mapping_protect(map, 0, page, PROT_NONE) == 0);
    char byte = 0;
    FAILS(sf_mapping_read(map, 0, &byte, 1), EACCES, SF_ERROR_PERMISSION_DENIED);
    CHECK(sf_mapping_protect(map, 0, page, PROT_READ | PROT_WRITE) == 0);
    CHECK(sf_mapping_write(map, 0, "x", 1) == 0);
    NONSENSE(sf_mapping_protect(map, 0, page, PROT_EXEC));
    NONSENSE(sf_mapping_protect(NULL, 0, page, PROT_READ));
    FAILS(sf_mapping_protect(map, 0, len + 1, PROT_READ), ENOMEM, SF_ERROR_OUT_OF_RANGE);
    CHECK(sf_mapping_close(map) == 0);
    free(path);
}

static struct sf_atomic *atomic_of(const char *path, size_t len) {
    struct sf_atomic_options options;
    CHECK(sf_atomic_options_init(&options, sizeof options) == 0);
    options.create = true;
    options.len = len;
    options.journal_bytes = 1 << 16;
    struct sf_atomic *map = sf_atomic_open(path, &options);
    CHECK(map != NULL);
    return map;
}

static void atomic_maps_open_and_close(void) {
    char *path = path_in(folder, "atomic-open.bin");
    struct sf_atomic_options options;
    CHECK(sf_atomic_options_init(&options, sizeof options) == 0);
    GIVES_NULL(sf_atomic_open(path, NULL), ENOENT, SF_ERROR_NOT_FOUND);
    GIVES_NULL(sf_atomic_view(path, NULL), ENOENT, SF_ERROR_NOT_FOUND);
    GIVES_NULL(sf_atomic_open(NULL, NULL), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NULL(sf_atomic_view("", NULL), EINVAL, SF_ERROR_INVALID_INPUT);
    options.tracker = 17;
    GIVES_NULL(sf_atomic_open(path, &options), EINVAL, SF_ERROR_INVALID_INPUT);
    options.tracker = SF_TRACKER_PRIVATE_COPIES;
    options.len = TOO_LONG;
    options.create = true;
    GIVES_NULL(sf_atomic_open(path, &options), EINVAL, SF_ERROR_INVALID_INPUT);
    options.len = 100;
    options.read_only = true;
    GIVES_NULL(sf_atomic_open(path, &options), EINVAL, SF_ERROR_INVALID_INPUT);
    options.read_only = false;
    options.struct_size = 0;
    GIVES_NULL(sf_atomic_view(path, &options), EINVAL, SF_ERROR_INVALID_INPUT);
    options.struct_size = sizeof options;

    struct sf_atomic *map = sf_atomic_open(path, &options);
    CHECK(map != NULL && sf_atomic_len(map) == 100);
    CHECK(status_of(map).tracker == SF_TRACKER_PRIVATE_COPIES);
    GIVES_NULL(sf_atomic_open(path, NULL), EAGAIN, SF_ERROR_LOCKED);
    CHECK(sf_atomic_close(map) == 0);
    NONSENSE(sf_atomic_close(NULL));

    map = sf_atomic_view(path, NULL);
    CHECK(map != NULL && sf_atomic_len(map) == 100);
    CHECK(sf_atomic_close(map) == 0);

    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    map = sf_atomic_open_fd(fd, NULL);
    CHECK(map != NULL);
    CHECK(sf_atomic_close(map) == 0);
    map = sf_atomic_view_fd(fd, NULL);
    CHECK(map != NULL);
    CHECK(sf_atomic_close(map) == 0);
    GIVES_NULL(sf_atomic_open_fd(-1, NULL), EBADF, SF_ERROR_IO);
    GIVES_NULL(sf_atomic_view_fd(-1, NULL), EBADF, SF_ERROR_IO);
    GIVES_NULL(sf_atomic_open_fd(1000000, NULL), EBADF, SF_ERROR_IO);
    CHECK(unlink(path) == 0);
    GIVES_NULL(sf_atomic_open_fd(fd, NULL), ENOENT, SF_ERROR_NOT_FOUND);
    CHECK(close(fd) == 0);
    free(path);
}

static void atomic_maps_commit(void) {
    char *path = path_in(folder, "atomic.bin");
    char *copy = path_in(folder, "copy.bin");
    const size_t page = page_size();
    const size_t len = 4 * page;
    struct sf_atomic *map = atomic_of(path, len);
    char bytes[8] = "";
    uint64_t first = 0;
    uint64_t second = 0;

    CHECK(sf_atomic_write(map, 5, "hello", 5) == 0);
    CHECK(sf_atomic_read(map, 5, bytes, 5) == 0);
    CHECK(memcmp(bytes, "hello", 5) == 0);
    CHECK(memcmp((const char *)sf_atomic_data(map) + 5, "hello", 5) == 0);
    CHECK(sf_atomic_commit(map, &first) == 0);
    CHECK(sf_atomic_commit(map, &second) == 0);
    CHECK(first == second);
    CHECK(status_of(map).last == first && status_of(map).durable == first && !status_of(map).latched);
    CHECK(status_of(map).latched_reason[0] == '\0');

    void *edited = sf_atomic_edit(map, page, 8);
    CHECK(edited == (const char *)sf_atomic_data(map) + page);
    memcpy(edited, "declared", 8);
    CHECK(sf_atomic_commit(map, NULL) == 0);
    memset(sf_atomic_edit(map, page, 8), 0, 8);
    CHECK(sf_atomic_rollback(map) == 0);
    CHECK(memcmp((const char *)sf_atomic_data(map) + page, "declared", 8) == 0);

    char *data = (char *)sf_atomic_data_mut(map);
    data[0] = 'a';
    data[2 * page] = 'b';
    CHECK(sf_atomic_commit_range(map, 0, 1, &first) == 0);
    CHECK(sf_atomic_rollback(map) == 0);
    CHECK(data[0] == 'a' && data[2 * page] == 0);
    data[1] = 'c';
    CHECK(sf_atomic_commit_relaxed(map, &second) == 0);
    CHECK(second > first);

    data[2] = 'd';
    struct sf_ticket *one = sf_atomic_commit_async(map);
    CHECK(one != NULL);
    data[3] = 'e';
    struct sf_ticket *two = sf_atomic_commit_range_async(map, 0, page);
    CHECK(two != NULL);
    CHECK(sf_ticket_wait(two, &second) == 0);
    CHECK(sf_ticket_wait_timeout_ms(one, 10000, &first) == 0);
    CHECK(second > first && sf_ticket_is_done(one) == 1);
    CHECK(sf_ticket_free(one) == 0 && sf_ticket_free(two) == 0);

    CHECK(sf_atomic_checkpoint(map) == 0);
    CHECK(status_of(map).checkpointed == second);
    CHECK(sf_atomic_copy_to(map, copy) == 0);
    CHECK(sf_atomic_resize(map, 2 * len) == 0 && sf_atomic_len(map) == 2 * len);
    CHECK(sf_atomic_commit(map, NULL) == 0);
    CHECK(sf_atomic_check(map) == 0);
    CHECK(sf_atomic_refresh(map) == 0);
    CHECK(sf_atomic_close(map) == 0);

    int fd = open(copy, O_RDONLY | O_CLOEXEC);
    CHECK(pread(fd, bytes, 4, 0) == 4 && memcmp(bytes, "acde", 4) == 0);
    CHECK(lseek(fd, 0, SEEK_END) == (off_t)len);
    CHECK(close(fd) == 0);
    CHECK(unlink(copy) == 0);
    free(path);
    free(copy);
}

static void atomic_maps_refuse_nonsense(void) {
    char *path = path_in(folder, "nonsense.bin");
    struct sf_atomic *map = atomic_of(path, 100);
    char bytes[8] = "";
    uint64_t commit = 7;

    FAILS(sf_atomic_read(map, 96, bytes, 5), ENOMEM, SF_ERROR_OUT_OF_RANGE);
    NONSENSE(sf_atomic_write(map, SIZE_MAX, "hello", 5));
    NONSENSE(sf_atomic_read(map, 0, NULL, 5));
    NONSENSE(sf_atomic_write(map, 0, NULL, 5));
    NONSENSE(sf_atomic_read(map, 0, bytes, TOO_LONG));
    NONSENSE(sf_atomic_write(map, 0, bytes, TOO_LONG));
    NONSENSE(sf_atomic_read(NULL, 0, bytes, 5));
    NONSENSE(sf_atomic_write(NULL, 0, bytes, 5));
    GIVES_NULL(sf_atomic_edit(map, 96, 5), ENOMEM, SF_ERROR_OUT_OF_RANGE);
    GIVES_NULL(sf_atomic_edit(map, SIZE_MAX, 1), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NULL(sf_atomic_edit(map, 0, TOO_LONG), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NULL(sf_atomic_edit(NULL, 0, 1), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NULL(sf_atomic_data(NULL), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NULL(sf_atomic_data_mut(NULL), EINVAL, SF_ERROR_INVALID_INPUT);
    FAILS_WITH(0, sf_atomic_len(NULL), EINVAL, SF_ERROR_INVALID_INPUT);
    NONSENSE(sf_atomic_commit(NULL, &commit));
    NONSENSE(sf_atomic_commit_relaxed(NULL, &commit));
    NONSENSE(sf_atomic_commit_range(NULL, 0, 1, &commit));
    FAILS(sf_atomic_commit_range(map, 0, 101, &commit), ENOMEM, SF_ERROR_OUT_OF_RANGE);
    CHECK(commit == 7);
    GIVES_NULL(sf_atomic_commit_async(NULL), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NULL(sf_atomic_commit_range_async(NULL, 0, 1), EINVAL, SF_ERROR_INVALID_INPUT);
    GIVES_NULL(sf_atomic_commit_range_async(map, 0, 101), ENOMEM, SF_ERROR_OUT_OF_RANGE);
    NONSENSE(sf_ticket_wait(NULL, &commit));
    NONSENSE(sf_ticket_wait_timeout_ms(NULL, 0, &commit));
    NONSENSE(sf_ticket_is_done(NULL));
    NONSENSE(sf_ticket_free(NULL));
    NONSENSE(sf_atomic_rollback(NULL));
    NONSENSE(sf_atomic_resize(NULL, 1));
    NONSENSE(sf_atomic_resize(map, TOO_LONG));
    NONSENSE(sf_atomic_checkpoint(NULL));
    NONSENSE(sf_atomic_copy_to(NULL, path));
    NONSENSE(sf_atomic_copy_to(map, NULL));
    NONSENSE(sf_atomic_copy_to(map, ""));
    NONSENSE(sf_atomic_copy_to(map, path));
    NONSENSE(sf_atomic_refresh(NULL));
    NONSENSE(sf_atomic_check(NULL));
    struct sf_status status;
    status.struct_size = sizeof status;
    NONSENSE(sf_atomic_status(NULL, &status));
    NONSENSE(sf_atomic_status(map, NULL));
    status.struct_size = 12;
    NONSENSE(sf_atomic_status(map, &status));

    struct sf_atomic_options options;
    CHECK(sf_atomic_options_init(&options, sizeof options) == 0);
    options.read_only = true;
    struct sf_atomic *reader = sf_atomic_open(path, &options);
    CHECK(reader != NULL);
    ((char *)sf_atomic_data_mut(reader))[0] = 'x';
    FAILS(sf_atomic_commit(reader, NULL), EROFS, SF_ERROR_READ_ONLY);
    CHECK(sf_atomic_close(reader) == 0);
    CHECK(sf_atomic_close(map) == 0);
    free(path);
}

/* A child that ends without a close leaves what a crash leaves. */
static void crash_after_commit(const char *path) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct sf_atomic *map = atomic_of(path, 100);
        CHECK(sf_atomic_write(map, 0, "committed", 9) == 0);
        CHECK(sf_atomic_commit(map, NULL) == 0);
        CHECK(sf_atomic_write(map, 0, "not so..." , 9) == 0);
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void crashes_are_recovered(void) {
    char *path = path_in(folder, "crashed.bin");
    crash_after_commit(path);

    struct sf_inspection inspection;
    memset(&inspection, 0xff, sizeof inspection);
    inspection.struct_size = sizeof inspection;
    CHECK(sf_inspect(path, &inspection) == 0);
    CHECK(inspection.journal_found && inspection.recovery_waits && inspection.marked && inspection.records > 0);
    CHECK(inspection.writer_pid == 0 && inspection.problem == SF_ERROR_NONE && inspection.problem_message[0] == '\0');
    CHECK(strlen(inspection.identity) > 0 && inspection.format_version > 0);
    NONSENSE(sf_inspect(NULL, &inspection));
    NONSENSE(sf_inspect(path, NULL));
    FAILS(sf_inspect("/nonexistent/file", &inspection), ENOENT, SF_ERROR_NOT_FOUND);
    inspection.struct_size = 0;
    NONSENSE(sf_inspect(path, &inspection));

    struct sf_mapping_options mapping;
    CHECK(sf_mapping_options_init(&mapping, sizeof mapping) == 0);
    mapping.write = true;
    GIVES_NULL(sf_mapping_open(path, &mapping), EIO, SF_ERROR_RECOVERY_NEEDED);

    struct sf_recovery recovery;
    memset(&recovery, 0xff, sizeof recovery);
    NONSENSE(sf_recover(path, SF_RESOLUTION_REPLAY, &recovery));
    recovery.struct_size = sizeof recovery;
    NONSENSE(sf_recover(NULL, SF_RESOLUTION_REPLAY, &recovery));
    NONSENSE(sf_recover(path, 3, &recovery));
    NONSENSE(sf_recover(path, -1, NULL));
    CHECK(sf_recover(path, SF_RESOLUTION_REPLAY, &recovery) == 0);
    CHECK(recovery.journal_found && recovery.replayed_commits > 0 && !recovery.discarded && !recovery.torn_tail);
    CHECK(sf_recover(path, SF_RESOLUTION_REPLAY, &recovery) == 0);
    CHECK(!recovery.journal_found && recovery.replayed_commits == 0);

    struct sf_mapping *map = sf_mapping_open(path, NULL);
    CHECK(map != NULL && memcmp(sf_mapping_data(map), "committed", 9) == 0);
    CHECK(sf_mapping_close(map) == 0);

    /* What was committed after the last checkpoint goes with its journal. */
    crash_after_commit(path);
    CHECK(sf_recover(path, SF_RESOLUTION_DISCARD, &recovery) == 0);
    CHECK(recovery.discarded);
    crash_after_commit(path);
    CHECK(sf_recover(path, SF_RESOLUTION_ADOPT, NULL) == 0);
    FAILS(sf_recover("/nonexistent/file", SF_RESOLUTION_REPLAY, NULL), ENOENT, SF_ERROR_NOT_FOUND);
    free(path);
}

static void a_child_is_told_that_the_map_is_its_parents(void) {
    char *path = path_in(folder, "forked.bin");
    struct sf_atomic *map = atomic_of(path, 100);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        FAILS(sf_atomic_commit(map, NULL), EIO, SF_ERROR_FORKED);
        FAILS(sf_atomic_write(map, 0, "x", 1), EIO, SF_ERROR_FORKED);
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(sf_atomic_close(map) == 0);
    free(path);
}

#define THREADS 4
#define TURNS 50

static struct sf_atomic *shared;

static void *work(void *argument) {
    const size_t place = (size_t)(uintptr_t)argument * sizeof(uint64_t);
    CHECK(sf_last_error_kind() == SF_ERROR_NONE);
    for (uint64_t turn = 1; turn <= TURNS; turn++) {
        uint64_t there = 0;
        CHECK(sf_atomic_write(shared, place, &turn, sizeof turn) == 0);
        CHECK(sf_atomic_read(shared, place, &there, sizeof there) == 0 && there == turn);
        if (turn % 10 == 0) {
            CHECK(sf_atomic_commit(shared, NULL) == 0);
        }
    }
    return NULL;
}

static void many_threads_use_one_handle(void) {
    char *path = path_in(folder, "threads.bin");
    pthread_t threads[THREADS];
    shared = atomic_of(path, 4096);
    NONSENSE(sf_atomic_commit(NULL, NULL));
    for (uintptr_t index = 0; index < THREADS; index++) {
        CHECK(pthread_create(&threads[index], NULL, work, (void *)index) == 0);
    }
    for (int index = 0; index < THREADS; index++) {
        CHECK(pthread_join(threads[index], NULL) == 0);
    }
    CHECK(sf_atomic_close(shared) == 0);
    uint64_t numbers[THREADS];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(pread(fd, numbers, sizeof numbers, 0) == (ssize_t)sizeof numbers);
    CHECK(close(fd) == 0);
    for (int index = 0; index < THREADS; index++) {
        CHECK(numbers[index] == TURNS);
    }
    free(path);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: handles FOLDER\n");
        return 2;
    }
    folder = argv[1];
    errors_have_kinds_and_names();
    options_have_defaults_and_sizes();
    mappings_open_and_close();
    mappings_read_write_and_sync();
    mappings_manage_their_pages();
    atomic_maps_open_and_close();
    atomic_maps_commit();
    atomic_maps_refuse_nonsense();
    crashes_are_recovered();
    a_child_is_told_that_the_map_is_its_parents();
    many_threads_use_one_handle();
    return 0;
}
