/* Steadfast: memory-mapped files whose promises hold. Linux, 64 bit. steadfast(7), sf_msync(3).
 *
 * Made from the sources of the library, from which it must not differ: change those.
 *
 * Errors. A call that returns int returns 0, or -1 and sets errno. A call that returns a pointer returns NULL (those of mmap(2)
 * MAP_FAILED) and sets errno. sf_last_error_kind() and sf_last_error_message() then say more; several kinds share EIO. NULL for
 * a handle, a path or a buffer with a length, an empty path and a length beyond the address space are EINVAL with a message, and
 * no crash. A defect of the library is EIO with a message, and no crash either.
 *
 * What no call can check, and every call asks of its caller:
 * - A handle (struct sf_mapping, struct sf_atomic, struct sf_ticket) is not used after its close or free, and is closed once.
 *   That is so whatever the close returned.
 * - A path is a string that ends with a zero byte. A buffer has the length that is given. A descriptor stays open during the
 *   call.
 * - An address from ..._data(), ..._data_mut() or ..._edit() is used within its length, and not after the memory moved or went.
 *
 * Structs begin with `struct_size`, so that they can grow. Options are filled in by sf_mapping_options_init() and
 * sf_atomic_options_init(), and may be NULL for the defaults. For results set `struct_size` to the `sizeof` of the struct; what
 * is beyond is not written to.
 *
 * Threads. Every call may be made from any thread, and several at a time on one handle: calls that take it as const go on
 * together, others wait for their turn. A close waits for nobody: no other call on the handle may be under way. Stores and loads
 * through addresses are the program's to order, as always; of an atomic map stores may race with commits and with nothing else.
 * Errors belong to the thread. No call may be made in a signal handler.
 *
 * fork(2). A child has the pages of a mapping, and none of an atomic map's memory; its calls on atomic maps are errors (EIO,
 * SF_ERROR_FORKED), and it commits nothing.
 */


#ifndef STEADFAST_H
#define STEADFAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// What went wrong, as far as a program can act on it. The numbers stay; later versions may add others.
enum sf_error {
    // Nothing did.
    SF_ERROR_NONE = 0,
    // An argument makes no sense. EINVAL.
    SF_ERROR_INVALID_INPUT = 1,
    // A range reaches past the end of the mapping or of the file, or over memory that is not mapped. ENOMEM.
    SF_ERROR_OUT_OF_RANGE = 2,
    // The file, or its folder, does not exist. ENOENT.
    SF_ERROR_NOT_FOUND = 3,
    // The file exists although a new one was asked for. EEXIST.
    SF_ERROR_ALREADY_EXISTS = 4,
    // The operating system refuses access. EACCES.
    SF_ERROR_PERMISSION_DENIED = 5,
    // A store into something that is read-only, or a commit of a map that was opened for reading. EROFS.
    SF_ERROR_READ_ONLY = 6,
    // No space is left, or a quota or a limit is reached. ENOSPC.
    SF_ERROR_NO_SPACE = 7,
    // Another process, or another handle in this one, holds the file. EAGAIN.
    SF_ERROR_LOCKED = 8,
    // Pages are in use elsewhere, or what was waited for has not happened yet. EBUSY.
    SF_ERROR_BUSY = 9,
    // A limit of the process refuses the call; the message names it. ENOMEM.
    SF_ERROR_LIMIT_EXCEEDED = 10,
    // The kernel, the file system or the kind of file cannot do this. EOPNOTSUPP.
    SF_ERROR_UNSUPPORTED = 11,
    // Another program truncated the file. EIO.
    SF_ERROR_TRUNCATED = 12,
    // Write-back failed: what is on disk is not what is in memory. EIO.
    SF_ERROR_WRITE_BACK = 13,
    // A journal beside the file waits for recovery. EIO.
    SF_ERROR_RECOVERY_NEEDED = 14,
    // The journal and the data file do not belong together. EIO.
    SF_ERROR_IDENTITY = 15,
    // The journal is damaged. EIO.
    SF_ERROR_CORRUPT = 16,
    // Another program changed the data file while it was open for commits. EIO.
    SF_ERROR_FOREIGN_CHANGE = 17,
    // The commit did not happen; the same commit may be tried again. The errno of its cause.
    SF_ERROR_NOT_COMMITTED = 18,
    // The flush of the commit failed: the next open decides whether it is durable. The errno of its cause.
    SF_ERROR_IN_DOUBT = 19,
    // Refused after an earlier failure, until the file is opened again. EIO.
    SF_ERROR_LATCHED = 20,
    // Everything committed counts; but bytes that were committed over may still be in the journal. EIO.
    SF_ERROR_NOT_SCRUBBED = 21,
    // The handle belongs to the parent of this forked process. EIO.
    SF_ERROR_FORKED = 22,
    // Any other error of the operating system: its errno, or EIO. Also a defect of this library.
    SF_ERROR_IO = 23,
};

// How much a line of the log matters. Those of a level come with those of the levels before it.
enum sf_log_level {
    // A promise may be broken.
    SF_LOG_LEVEL_ERROR = 1,
    // Something is not as it was asked for, and no call could tell.
    SF_LOG_LEVEL_WARN = 2,
    // What was done.
    SF_LOG_LEVEL_INFO = 3,
    // What a developer of the library wants to know.
    SF_LOG_LEVEL_DEBUG = 4,
};

// What a page is, in memory. The lowest bit says what mincore(2) says: it is there.
enum sf_page {
    // Not in memory: the next access reads the file.
    SF_PAGE_ABSENT = 0,
    // In memory; clean, unless the kernel does not tell dirty from clean here.
    SF_PAGE_RESIDENT = 1,
    // In memory and not yet written to the file.
    SF_PAGE_DIRTY = 3,
    // On its way to the device.
    SF_PAGE_WRITE_BACK = 5,
    // The kernel does not tell.
    SF_PAGE_UNKNOWN = 8,
};

// How plain stores into an atomic map are found.
enum sf_tracker {
    // The best that is to be had, or what STEADFAST_TRACKER says.
    SF_TRACKER_AUTOMATIC = 0,
    // The kernel notes each page that is written (Linux 6.7).
    SF_TRACKER_WRITE_PROTECT = 1,
    // Pages that were written are private copies, which the kernel tells apart.
    SF_TRACKER_PRIVATE_COPIES = 2,
    // No help of the kernel: a commit compares every byte, unless edits were declared.
    SF_TRACKER_DECLARED = 3,
};

// What to do with a journal that does not fit.
enum sf_resolution {
    // Refuse it; replay one that fits.
    SF_RESOLUTION_REPLAY = 0,
    // Replay it over this file although marks or lengths differ. It must be sound.
    SF_RESOLUTION_ADOPT = 1,
    // Remove it, and keep the data file as it stands.
    SF_RESOLUTION_DISCARD = 2,
};

// Memory that commits: private until a commit, durable after it, all or nothing through any crash.
struct sf_atomic;

// One kernel mapping of one file: every process that maps the file sees every store at once.
struct sf_mapping;

// A commit, or a sync, on its way to the disk.
struct sf_ticket;

// How an atomic map is opened, for sf_atomic_open(). Filled in by sf_atomic_options_init(); then set what is to be otherwise.
struct sf_atomic_options {
    // The size of this struct in bytes.
    size_t struct_size;
    // The least length in bytes. A shorter file is grown to it if it may be created; else it is an error. 0: the file's.
    size_t len;
    // Bytes of addresses to reserve: growth within them never moves the memory.
    size_t reserve;
    // Size of the journal in bytes. 0: a quarter of the file, 1 to 16 MiB.
    uint64_t journal_bytes;
    // How long to wait, in milliseconds, for another writer to let go of the file.
    uint64_t lock_timeout_ms;
    // How plain stores are found: an enum sf_tracker.
    int32_t tracker;
    // Create the file if it does not exist, and let `len` grow it.
    bool create;
    // Show the last commit, and change nothing. Takes no lock; not for sf_atomic_view().
    bool read_only;
    // After each durable commit, show its bytes to readers of the plain file.
    bool publish;
    // Leave no committed-over bytes behind in the journal.
    bool scrub;
    // Accept a file with several hard links.
    bool allow_hard_links;
    // Accept a journal on another device.
    bool allow_other_device;
    // Accept tmpfs and network file systems, where nothing is durable, or not ours to promise.
    bool allow_volatile;
    // An access to a page that is gone finds zeros, and sf_atomic_check() says so; without it SIGBUS. True unless set otherwise.
    bool guard;
    // Leave the memory out of core dumps.
    bool keep_from_dumps;
    // Zeros.
    uint8_t reserved[3];
};

// Is told a line of the log: see sf_set_log().
typedef void (*sf_log_callback)(void *context, int level, const char *message);

// What to map and how, for sf_mapping_open(). Filled in by sf_mapping_options_init(); then set what is to be otherwise.
struct sf_mapping_options {
    // The size of this struct in bytes.
    size_t struct_size;
    // Bytes to map. 0: from `offset` to the end of the file.
    size_t len;
    // The mapping's first byte is this byte of the file, which need not lie on a page boundary.
    uint64_t offset;
    // Bytes of addresses to reserve: resizing up to there keeps every address.
    size_t reserve;
    // How long to wait, in milliseconds, for a process that holds the file for commits.
    uint64_t lock_timeout_ms;
    // Allow stores.
    bool write;
    // Create the file if it does not exist, with 0666 less the umask; and let it grow to `offset + len`. Needs `write`.
    bool create;
    // The same, and a file that exists is an error.
    bool create_new;
    // Let a file that is too short grow. Its blocks are allocated at once. Needs `write`.
    bool grow;
    // Grow without allocating blocks.
    bool sparse;
    // Stores stay in this process (MAP_PRIVATE).
    bool private_copy;
    // Read everything in before the open returns (MAP_POPULATE).
    bool populate;
    // An access to a page that is gone finds zeros, and sf_mapping_check() says so; without it SIGBUS. True unless set
    // otherwise.
    bool guard;
    // Leave the pages out of core dumps.
    bool keep_from_dumps;
    // Forked children do not get the pages.
    bool keep_from_children;
    // Zeros.
    uint8_t reserved[6];
};

// What a recovery did. Set `struct_size` to its `sizeof` first.
struct sf_recovery {
    // The size of this struct in bytes.
    size_t struct_size;
    // So many commits were brought into the data file.
    uint64_t replayed_commits;
    // The last of them, or the one that the file held already.
    uint64_t last;
    // A journal stood beside the file.
    bool journal_found;
    // Behind it a record had been begun that was never acknowledged; it was dropped.
    bool torn_tail;
    // The journal was discarded, as asked.
    bool discarded;
    // Zeros.
    uint8_t reserved[5];
};

// What stands beside and on a data file. Set `struct_size` to its `sizeof` first.
struct sf_inspection {
    // The size of this struct in bytes.
    size_t struct_size;
    // Size of the journal file.
    uint64_t journal_bytes;
    // How often the journal was established anew.
    uint64_t epoch;
    // The last commit that the journal has let go of: the data file holds it.
    uint64_t checkpointed_through;
    // The commits that the journal holds.
    uint64_t records;
    // The last commit that file and journal hold together.
    uint64_t last;
    // Version of the journal's format; 0 without a journal.
    uint32_t format_version;
    // The process that has the file open for commits; 0 for none.
    uint32_t writer_pid;
    // Why an open would be refused, as an enum sf_error; SF_ERROR_NONE if it would not.
    int32_t problem;
    // The journal exists.
    bool journal_found;
    // The data file carries a mark.
    bool marked;
    // Behind the records one was begun that is not whole.
    bool torn_tail;
    // Nobody has the file open, and the next open will recover.
    bool recovery_waits;
    // The name of the writer's program.
    char writer_command[16];
    // The identity that mark and journal share, in hexadecimal.
    char identity[48];
    // Why an open would be refused, in words.
    char problem_message[512];
};

// How many pages of a range are what. -1 where the kernel does not tell. Set `struct_size` to its `sizeof` first.
struct sf_residency {
    // The size of this struct in bytes.
    size_t struct_size;
    // Pages that the range touches.
    uint64_t pages;
    // Pages in memory.
    int64_t resident;
    // Pages that are not yet written to the file.
    int64_t dirty;
    // Pages on their way to the device.
    int64_t write_back;
    // Pages that were in memory and are not any more, as far as the kernel remembers.
    int64_t evicted;
    // Of those, the ones whose return would mean that memory is short.
    int64_t recently_evicted;
};

// Where an atomic map stands. Set `struct_size` to its `sizeof` first.
struct sf_status {
    // The size of this struct in bytes.
    size_t struct_size;
    // The last commit.
    uint64_t last;
    // The last commit that is durable.
    uint64_t durable;
    // The last commit that the plain file holds.
    uint64_t checkpointed;
    // Room for records in the journal, in bytes.
    uint64_t journal_bytes;
    // Bytes of it that hold records not yet checkpointed.
    uint64_t journal_used_bytes;
    // So many commits were brought into the file by the open.
    uint64_t recovered_commits;
    // How plain stores are found: an enum sf_tracker.
    int32_t tracker;
    // The last checkpoint failed; the next one tries again.
    bool checkpoint_failed;
    // Commits are refused.
    bool latched;
    // They are refused because another program changed the file: see sf_atomic_refresh().
    bool changed_by_others;
    // The open found a journal.
    bool journal_found;
    // Why the last checkpoint failed, or an empty string.
    char checkpoint_error[256];
    // Why commits are refused, or an empty string.
    char latched_reason[256];
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// As mmap(2). A shared mapping of a regular file is known to the other calls by address from here on; everything else is the
// kernel's.
//
// The address; or MAP_FAILED with the errors of mmap(2).
void *sf_mmap(void *address,
              size_t len,
              int prot,
              int flags,
              int fd,
              off_t offset);

// As mmap(2) of a file with MAP_SHARED, as memory that commits: nothing reaches the file before sf_msync(), sf_munmap() or
// sf_commit_all(), and each of those is one commit, through any crash. `options` may be NULL.
//
// All such mappings of one file in the process are one image. An address that is asked for without MAP_FIXED is not honoured.
// While it is mapped nobody else may write the file: another process that opens it through this library is refused; who does
// not use it is noticed at the next commit.
//
// The address; or MAP_FAILED with the errors of mmap(2) and of sf_atomic_view(), and with
// EOPNOTSUPP: the file cannot be mapped so (it has no name, lies on tmpfs; flags that a private image cannot keep). sf_mmap()
// may do.
// EBUSY: this process maps the file already, in another way.
// EAGAIN: another process commits to the file.
void *sf_mmap_atomic(void *address,
                     size_t len,
                     int prot,
                     int flags,
                     int fd,
                     off_t offset,
                     const struct sf_atomic_options *options);

// As munmap(2), of any part of any number of mappings. Of an atomic one, what was stored to that part and is not committed is
// committed first. The memory of a handle is refused (EINVAL): that is for its close.
//
// 0; or -1 with the errors of munmap(2). Where a commit fails, its errno, and nothing was unmapped.
int sf_munmap(void *address,
              size_t len);

// As mremap(2), in place or moving. `new_address` counts with MREMAP_FIXED only, and is always given. The memory of a handle is
// refused (EINVAL): that is for its resize.
//
// The address; or MAP_FAILED with the errors of mremap(2).
void *sf_mremap(void *old_address,
                size_t old_len,
                size_t new_len,
                int flags,
                void *new_address);

// As mprotect(2).
//
// 0; or -1 with the errors of mprotect(2).
int sf_mprotect(void *address, size_t len, int prot);

// As msync(3p), with what it promises; see sf_msync(3). `flags` is exactly one of MS_SYNC and MS_ASYNC, with or without
// MS_INVALIDATE.
//
// MS_SYNC: on return the bytes of a kernel mapping are on disk, with the file's length and name; the changed pages of an atomic
// one are one commit. MS_ASYNC: returns at once, write-out has begun, a later MS_SYNC waits for it and reports what went wrong.
// MS_INVALIDATE: cached copies are dropped as well, so that the next access reads the disk.
//
// The range may span any number of mappings, of this library or not. `len` is rounded up to whole pages.
//
// 0; or -1 with
// EINVAL: flags that exclude each other or do not exist; an address that is not on a page boundary.
// ENOMEM: a part is not mapped (every mapped part was synced first), or the end overflows.
// EBUSY: MS_INVALIDATE, and pages are locked.
// EIO, ENOSPC, EDQUOT: write-out failed, and is reported again until the data is safe.
int sf_msync(void *address,
             size_t len,
             int flags);

// As madvise(2), every advice. Advice that would throw stored bytes away (MADV_DONTNEED on an atomic mapping) keeps what is not
// committed.
//
// 0; or -1 with the errors of madvise(2).
int sf_madvise(void *address,
               size_t len,
               int advice);

// Commits what is left in every atomic mapping that was made by address: before exec(3) and _exit(2).
//
// 0; or -1 with the first error. Every mapping was tried.
int sf_commit_all(void);

// As sf_commit_all(), and leaves plain files, with no journal beside them: at the end of a program, in a function for atexit(3). The memory
// stays where it is, since other threads may use it still; what is stored there from now on reaches no file.
//
// 0; or -1 with the first error. Every mapping was tried; a file that could not be committed is left to the next open, with its journal.
int sf_close_all(void);

// Opens the file at `path` for commits, with the whole of it in private memory. Costs as much memory as the file has data.
// `options` may be NULL. A journal that waits is recovered first.
//
// A handle for sf_atomic_close(); or NULL with
// ENOENT, EEXIST, EACCES, EROFS: about the file itself.
// EOPNOTSUPP: not a regular file, or one on tmpfs or a network file system, where nothing is durable.
// ENOMEM: the file is shorter than `len` and may not be created; no addresses or memory left.
// ENOSPC: no space for the journal.
// EAGAIN: another handle or process holds the file; the message names it.
// EIO: SF_ERROR_IDENTITY, SF_ERROR_CORRUPT: a journal that does not belong to the file, or is damaged. The device fails.
// EINVAL: options that contradict each other, a path that is NULL or empty.
struct sf_atomic *sf_atomic_open(const char *path,
                                 const struct sf_atomic_options *options);

// As sf_atomic_open(), with the file's page cache under the memory: in no time and at any size; only what is changed costs
// memory.
//
// While it is open nothing else may write the file or change its length, no other process and no other handle of this one: a
// store from elsewhere shows in the memory.
//
// As sf_atomic_open().
struct sf_atomic *sf_atomic_view(const char *path,
                                 const struct sf_atomic_options *options);

// As sf_atomic_open(), of a file that is open already and has a name, since the journal stands beside it. The descriptor stays
// the caller's.
//
// As sf_atomic_open(); NULL with EBADF for a descriptor that is not open, ENOENT for a file without a name.
struct sf_atomic *sf_atomic_open_fd(int fd,
                                    const struct sf_atomic_options *options);

// As sf_atomic_view(), of a file that is open already and has a name. The descriptor stays the caller's.
//
// As sf_atomic_open_fd().
struct sf_atomic *sf_atomic_view_fd(int fd, const struct sf_atomic_options *options);

// Where the memory is, for loads, until the map is resized beyond what was reserved, refreshed or closed. To store there, ask
// for sf_atomic_data_mut(), or declare what will change by sf_atomic_edit().
//
// The address; or NULL with EINVAL for NULL.
const void *sf_atomic_data(const struct sf_atomic *map);

// Where the memory is, for stores: from here on every commit looks for what changed.
//
// A store that races with a commit is in that commit, in the next, or in both; it is not lost. No store may race with another
// call on the map: a rollback, a resize, a read or a write.
//
// The address; or NULL with EINVAL for NULL.
void *sf_atomic_data_mut(struct sf_atomic *map);

// Length of the memory in bytes. 0 for an empty map; and for NULL, with EINVAL.
size_t sf_atomic_len(const struct sf_atomic *map);

// Copies `len` bytes at `offset` into `to`: what was stored last, committed or not.
//
// 0; or -1 with ENOMEM for a range that leaves the map, EIO for bytes that cannot be had, EINVAL.
int sf_atomic_read(const struct sf_atomic *map, size_t offset, void *to, size_t len);

// Copies `len` bytes from `from` to `offset`: a declared edit, and the cheapest one, as the next commit need not search for it.
//
// 0; or -1 as sf_atomic_read().
int sf_atomic_write(struct sf_atomic *map,
                    size_t offset,
                    const void *from,
                    size_t len);

// Declares that the bytes `offset .. offset + len` will change, and returns where they are: the next commit records them
// without searching. Store there before the next call on the map; for later stores declare them again.
//
// The address of byte `offset`; or NULL with the errors of sf_atomic_read().
void *sf_atomic_edit(struct sf_atomic *map,
                     size_t offset,
                     size_t len);

// Makes everything since the last commit durable, all or nothing. `commit`, which may be NULL, gets the commit's number. With
// nothing changed it writes nothing, and the number is the last commit's.
//
// 0; or -1. What to do is said by sf_last_error_kind():
// SF_ERROR_NOT_COMMITTED: nothing happened (ENOSPC, mostly); memory is as it was, and the same call may succeed later.
// SF_ERROR_IN_DOUBT: the disk failed; the next open decides.
// SF_ERROR_LATCHED, SF_ERROR_FOREIGN_CHANGE: refused, until the file is opened again, or sf_atomic_refresh().
// SF_ERROR_NOT_SCRUBBED: the commit counts; what it cut off may still be in the journal.
// SF_ERROR_READ_ONLY: the map was opened for reading.
int sf_atomic_commit(struct sf_atomic *map,
                     uint64_t *commit);

// As sf_atomic_commit(), for the pages that the bytes `offset .. offset + len` touch and no others: what changed elsewhere
// waits for another commit or a rollback. A change of length that waits takes everything with it.
//
// As sf_atomic_commit(); and ENOMEM for a range that leaves the map.
int sf_atomic_commit_range(struct sf_atomic *map,
                           size_t offset,
                           size_t len,
                           uint64_t *commit);

// As sf_atomic_commit(), and leaves the flush to the next commit that flushes, checkpoint or close: a crash before that takes
// this commit, and all after it, away as a whole.
//
// As sf_atomic_commit().
int sf_atomic_commit_relaxed(struct sf_atomic *map,
                             uint64_t *commit);

// Captures everything since the last commit and returns before it is durable. The program may store again at once. Tickets
// complete in order.
//
// A ticket for sf_ticket_wait() and sf_ticket_free(); or NULL as sf_atomic_commit(), except what only the flush can tell: that
// is the ticket's.
struct sf_ticket *sf_atomic_commit_async(struct sf_atomic *map);

// As sf_atomic_commit_range(), and returns before it is durable.
//
// As sf_atomic_commit_async(); and NULL with ENOMEM for a range that leaves the map.
struct sf_ticket *sf_atomic_commit_range_async(struct sf_atomic *map, size_t offset, size_t len);

// Throws everything since the last commit away.
//
// 0; or -1 with EIO: SF_ERROR_LATCHED where it is not known what the last commit is; SF_ERROR_IO or SF_ERROR_TRUNCATED where
// bytes of it cannot be had.
int sf_atomic_rollback(struct sf_atomic *map);

// Sets the length: part of the next commit, or of the rollback. New bytes are zeros. Beyond what was reserved the memory moves:
// ask for its address again.
//
// 0; or -1 with EINVAL for a length beyond the address space, ENOMEM where the kernel has no room. The length is then as it was.
int sf_atomic_resize(struct sf_atomic *map,
                     size_t len);

// Brings the last commit into the plain file and empties the journal. What is not committed stays as it is.
//
// 0; or -1 with what the disk reports. The commits are safe in the journal, and the next checkpoint tries again.
int sf_atomic_checkpoint(struct sf_atomic *map);

// Writes a plain file that holds the last commit to `path`: a file that stands there is replaced as a whole or not at all.
//
// 0; or -1 with EINVAL where `path` is the data file itself or no regular file, EIO (SF_ERROR_RECOVERY_NEEDED) where a journal
// stands beside it, and what the file system reports.
int sf_atomic_copy_to(const struct sf_atomic *map,
                      const char *path);

// Takes the data file as another program left it, with the commits that it lacks made again over it; and puts the file's bytes
// back where pages could not be had. The memory may move.
//
// 0; or -1 with EINVAL where edits that are not committed would be lost: roll back first. EIO, and what the file system reports.
int sf_atomic_refresh(struct sf_atomic *map);

// Is every byte what was stored or committed, as far as anybody touched it? Where a page could not be had, loads found zeros.
//
// 0; or -1 with EIO: SF_ERROR_TRUNCATED for bytes past the end of the file, SF_ERROR_IO otherwise.
int sf_atomic_check(const struct sf_atomic *map);

// Checkpoints, removes the journal, and lets go of the file: a plain file is left that holds the last commit. What was not
// committed is lost. The handle is gone, also after an error.
//
// 0; or -1 with EIO for a map that refuses commits, and what the disk reports: nothing was removed then, and the next open
// recovers. EINVAL for NULL.
int sf_atomic_close(struct sf_atomic *map);

// The words of the last error in this thread, for people: what was tried, on what, why it failed and what to do. Empty where
// there was none.
//
// Calls that succeed leave it alone, as they leave errno. The string is this library's; it stays until the next call in this
// thread.
const char *sf_last_error_message(void);

// The kind of the last error in this thread; SF_ERROR_NONE where there was none.
enum sf_error sf_last_error_kind(void);

// The name of an enum sf_error, such as "not found". Never NULL; "unknown" for a number that this version does not know.
const char *sf_error_kind_name(int kind);

// The version of the library that runs, as in "0.1.0".
const char *sf_version(void);

// Has a function called for what the library has to say and no error of a call can tell: that a mapping went back to the kernel, that
// a checkpoint failed and is tried again. `level` is an enum sf_log_level. Until this is called nothing is said.
//
// `callback` is given `context`, the level (an enum sf_log_level) and a line of text without its end, which is gone when it returns.
// Calling this again replaces it, and NULL ends it: on return nobody is in the callback that was set before, and nobody will be, so that
// what its `context` leads to may be freed.
//
// It is called by whichever thread has something to say, threads of the library too, and by several at a time; errno stays as it is. It may
// be called in the midst of any call: so it calls no function of this library, takes no lock that is held by somebody who calls one,
// and returns soon. It may store to memory that is mapped by this library, and wait for a thread that does: a line that comes while a file
// goes back to the kernel, when such stores wait, is kept until they are made. Of many such lines the last may be lost; then a line says
// how many were. It does not leave by longjmp(3), and an exception that leaves it ends the program. What a child of fork(2) has to say goes
// to its copy.
//
// 0; or -1 with
// EINVAL: no such level.
// EBUSY: called by the callback itself; or the program is in Rust as well, and logs to something else.
int sf_set_log(sf_log_callback callback,
               void *context,
               int level);

// Opens and maps the regular file at `path`. `options` may be NULL: an existing file, all of it, for reading.
//
// A handle for sf_mapping_close(); or NULL with
// ENOENT, EEXIST, EACCES, EROFS: about the file itself.
// EOPNOTSUPP: not a regular file, or a file system that cannot map.
// ENOMEM: the file ends before the mapping would, and may not grow; or no addresses are left.
// ENOSPC: it may grow, but there is no space.
// EAGAIN: another handle has the file open for commits; the message names the process.
// EIO: a journal waits beside the file (SF_ERROR_RECOVERY_NEEDED), or the device fails.
// EINVAL: options that contradict each other, a path that is NULL or empty.
struct sf_mapping *sf_mapping_open(const char *path, const struct sf_mapping_options *options);

// As sf_mapping_open(), of an open file. The descriptor stays the caller's, and may be closed.
//
// As sf_mapping_open(); NULL with EBADF for a descriptor that is not open.
struct sf_mapping *sf_mapping_open_fd(int fd, const struct sf_mapping_options *options);

// Copies `len` bytes at `offset` of the mapping into `to`. A file that was cut is an error, not a signal.
//
// 0; or -1 with ENOMEM for a range that leaves the mapping, EIO for pages that cannot be had (SF_ERROR_TRUNCATED: the file
// became shorter), EACCES for pages that are protected against it, EINVAL.
int sf_mapping_read(const struct sf_mapping *map,
                    size_t offset,
                    void *to,
                    size_t len);

// Copies `len` bytes from `from` to `offset` of the mapping. Durable with the next sync.
//
// 0; or -1 as sf_mapping_read(), with EROFS for pages or a mapping that may only be read, and ENOSPC for a hole that gets no
// block.
int sf_mapping_write(struct sf_mapping *map,
                     size_t offset,
                     const void *from,
                     size_t len);

// Makes the pages of the bytes `offset .. offset + len` durable before it returns, and with them the file's length and, if this
// mapping created the file, its name. A crash during the call leaves any mix of old and new pages.
//
// 0; or -1 with EIO, ENOSPC or EDQUOT: the device did not take everything (SF_ERROR_WRITE_BACK). That is said again until the
// bytes are safe: see sf_mapping_redirty(). EIO (SF_ERROR_TRUNCATED): the file became shorter. ENOMEM for a range that leaves
// the mapping. EINVAL for a private mapping.
int sf_mapping_sync(const struct sf_mapping *map,
                    size_t offset,
                    size_t len);

// Starts writing the pages of the bytes `offset .. offset + len` out, and returns at once.
//
// A ticket for sf_ticket_wait() and sf_ticket_free(); or NULL with the errors of sf_mapping_sync() that are known by then.
struct sf_ticket *sf_mapping_start_sync(const struct sf_mapping *map,
                                        size_t offset,
                                        size_t len);

// Makes the pages of the bytes `offset .. offset + len` dirty again without changing a byte, so that the next sync writes them:
// the way on after SF_ERROR_WRITE_BACK. What must be kept is best stored once more.
//
// 0; or -1 as sf_mapping_sync(), and EROFS for a mapping for reading.
int sf_mapping_redirty(const struct sf_mapping *map,
                       size_t offset,
                       size_t len);

// Writes the pages of the bytes `offset .. offset + len` back and drops them from memory: the next access reads what is on disk.
//
// 0; or -1 with EBUSY: pages are still in memory, because another process maps or locks them. EOPNOTSUPP: the kernel does not
// tell whether they are gone. Otherwise as sf_mapping_sync(); then nothing was dropped.
int sf_mapping_invalidate(struct sf_mapping *map,
                          size_t offset,
                          size_t len);

// Makes the mapping `len` bytes long; the file follows where it is the mapping's to change. Within what was reserved every
// address stays, beyond it the mapping moves: ask sf_mapping_data() again.
//
// 0; or -1 with ENOSPC; ENOMEM (the file is too short and may not grow, no addresses); EIO for a damaged mapping; EINVAL for a
// length that no file can have. Nothing has changed then.
int sf_mapping_resize(struct sf_mapping *map,
                      size_t len);

// Limits what this process may do with the pages of the bytes `offset .. offset + len`. `prot` is PROT_NONE, PROT_READ, or
// PROT_READ | PROT_WRITE. Reads and writes through this library know, and are errors instead of signals.
//
// 0; or -1 with EROFS: stores into a mapping for reading. ENOMEM for a range that leaves the mapping. EINVAL for any other
// `prot`.
int sf_mapping_protect(struct sf_mapping *map,
                       size_t offset,
                       size_t len,
                       int prot);

// Gives advice about the pages of the bytes `offset .. offset + len`: MADV_ of madvise(2), as far as it changes no byte.
//
// 0; or -1 with ENOMEM for a range that leaves the mapping. EINVAL: advice that takes content away (MADV_REMOVE, MADV_FREE and
// their like: sf_madvise() has it), or that the kernel does not know or does not have for this kind of mapping.
int sf_mapping_advise(const struct sf_mapping *map,
                      size_t offset,
                      size_t len,
                      int advice);

// Keeps the pages of the bytes `offset .. offset + len` in memory: mlock(2).
//
// 0; or -1 with ENOMEM: the process may not lock as much (the message names the limit), or the range leaves the mapping.
int sf_mapping_lock(const struct sf_mapping *map,
                    size_t offset,
                    size_t len);

// Lets the kernel reclaim the pages of the bytes `offset .. offset + len` again: munlock(2).
//
// 0; or -1 with ENOMEM for a range that leaves the mapping.
int sf_mapping_unlock(const struct sf_mapping *map, size_t offset, size_t len);

// Where the first byte is, until the mapping is resized, refreshed or closed. Stores through it are everybody's at once, and
// durable with the next sync. Of an empty mapping it may not be used. A page that cannot be had reads as zeros, and
// sf_mapping_check() says so.
//
// The address; or NULL with EINVAL for NULL.
void *sf_mapping_data(const struct sf_mapping *map);

// Length in bytes. 0 for an empty mapping; and for NULL, with EINVAL.
size_t sf_mapping_len(const struct sf_mapping *map);

// Is every byte what the file holds, as far as anybody touched it? To be asked after work through sf_mapping_data(), which
// cannot return an error: where a page could not be had, it found zeros.
//
// 0; or -1 with EIO: SF_ERROR_TRUNCATED for bytes past the end of the file, SF_ERROR_IO otherwise.
int sf_mapping_check(const struct sf_mapping *map);

// Takes the file as it is now: damaged pages become the file's own again, and a mapping that reached to the file's end reaches
// to the new one. It may become shorter; it may move where it becomes longer than what was reserved.
//
// 0; or -1 with ENOMEM: no memory or addresses.
int sf_mapping_refresh(struct sf_mapping *map);

// Unmaps and unlocks, and reports what went wrong and no sync has made good since. It does not sync. The handle is gone, also
// after an error.
//
// 0; or -1 with EIO, ENOSPC or EDQUOT (SF_ERROR_WRITE_BACK, SF_ERROR_TRUNCATED); EINVAL for NULL.
int sf_mapping_close(struct sf_mapping *map);

// Fills in the defaults: an existing file, all of it, for reading. `struct_size` is `sizeof *options`.
//
// 0; or -1 with EINVAL.
int sf_mapping_options_init(struct sf_mapping_options *options, size_t struct_size);

// Fills in the defaults: an existing file, for commits. `struct_size` is `sizeof *options`.
//
// 0; or -1 with EINVAL.
int sf_atomic_options_init(struct sf_atomic_options *options, size_t struct_size);

// Brings the file at `path` to its last commit and removes the journal: what the next open would do, without opening. A file
// without a journal is left alone. `resolution` is an enum sf_resolution; `recovery`, which may be NULL, gets what was done.
//
// 0; or -1 as sf_atomic_open(): EAGAIN for a live writer; EIO for a journal that is damaged (SF_ERROR_CORRUPT) or belongs to
// another file (SF_ERROR_IDENTITY). Nothing is changed then.
int sf_recover(const char *path,
               int resolution,
               struct sf_recovery *recovery);

// Looks at the file at `path` and its journal. Changes nothing and takes no lock; beside a live writer the picture may be that
// of a moment ago. What is wrong with the journal is told in `inspection`, and no error of this call.
//
// 0; or -1 with ENOENT, EACCES and the like where the file cannot be looked at, EOPNOTSUPP where it is no regular file, EINVAL.
int sf_inspect(const char *path,
               struct sf_inspection *inspection);

// Which pages of the bytes `offset .. offset + len`, rounded outwards, are in memory, dirty, or being written: a look at
// something that changes all the time.
//
// `counts` may be NULL. `states` may be NULL if `states_len` is 0; otherwise it gets one enum sf_page for each page that the
// range touches, as mincore(2) does, and must have room for as many.
//
// 0; or -1 with ENOMEM for a range that leaves the mapping, and EINVAL.
int sf_mapping_residency(const struct sf_mapping *map,
                         size_t offset,
                         size_t len,
                         struct sf_residency *counts,
                         unsigned char *states,
                         size_t states_len);

// Tells where the map stands. Set the field `struct_size` of `status` first.
//
// 0; or -1 with EINVAL.
int sf_atomic_status(const struct sf_atomic *map, struct sf_status *status);

// Waits until the commit or the sync is durable. `commit`, which may be NULL, gets the commit's number; 0 for a sync. May be
// called again, and then returns the same.
//
// 0; or -1 with the errors of sf_atomic_commit() or sf_mapping_sync(). When one commit fails, those after it fail with it.
int sf_ticket_wait(const struct sf_ticket *ticket,
                   uint64_t *commit);

// As sf_ticket_wait(), for `timeout_ms` milliseconds at most.
//
// 0; or -1 with ETIMEDOUT (kind SF_ERROR_BUSY) if the end is not known by then, and otherwise as sf_ticket_wait().
int sf_ticket_wait_timeout_ms(const struct sf_ticket *ticket,
                              uint64_t timeout_ms,
                              uint64_t *commit);

// 1 if sf_ticket_wait() would return at once, with success or with an error; 0 if not. -1 with EINVAL for NULL.
int sf_ticket_is_done(const struct sf_ticket *ticket);

// Gives the ticket up. It cancels nothing: the commit or the sync goes on, and what goes wrong is told by the next one.
//
// 0; or -1 with EINVAL for NULL.
int sf_ticket_free(struct sf_ticket *ticket);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* STEADFAST_H */
