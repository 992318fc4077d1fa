/* Puts a line at the start of a file by a plain store, and syncs it by address: mapped_file FILE LINE
 *
 *     cc mapped_file.c $(pkg-config --cflags --libs steadfast) -o mapped_file
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "steadfast.h"

#define LEN 4096

static int failed(const char *what) {
    fprintf(stderr, "%s: %s: %s\n", what, strerror(errno), sf_last_error_message());
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 3 || strlen(argv[2]) > LEN - 2) {
        fprintf(stderr, "usage: mapped_file FILE LINE\n");
        return 2;
    }
    int fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || ftruncate(fd, LEN) != 0) {
        perror(argv[1]);
        return 1;
    }
    char *memory = (char *)sf_mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if ((void *)memory == MAP_FAILED) {
        return failed("mmap");
    }
    close(fd);

    strcpy(memory, argv[2]);
    strcat(memory, "\n");
    /* Write-out begins, and the program goes on. */
    if (sf_msync(memory, LEN, MS_ASYNC) != 0) {
        return failed("msync");
    }
    /* On return it is on disk, with the file's length and name. */
    if (sf_msync(memory, LEN, MS_SYNC) != 0) {
        return failed("msync");
    }
    return sf_munmap(memory, LEN) == 0 ? 0 : failed("munmap");
}
