/* Put before a program by LD_PRELOAD: each time it syncs a file of a disk, it waits as long as the file SLOW_DISK says
 * at that moment, and counts it there; where that names a `device`, also each time it reads or writes one of it. What
 * goes through pipes, sockets or a mapping of memory waits for nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct disk {
    int64_t wait_nanoseconds, device, waits;
};
static struct disk *disk;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SLOW_DISK");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *found = mmap(0, sizeof *disk, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (found != MAP_FAILED) disk = found;
    close(file);
}

static void work(int file, int syncs) {
    int kept = errno;
    struct stat found;
    int64_t nanoseconds = disk ? __atomic_load_n(&disk->wait_nanoseconds, __ATOMIC_RELAXED) : 0;
    if (nanoseconds && !fstat(file, &found) && S_ISREG(found.st_mode) &&
        (disk->device ? disk->device == (int64_t)found.st_dev : syncs)) {
        struct timespec wait = {nanoseconds / 1000000000, nanoseconds % 1000000000};
        __atomic_fetch_add(&disk->waits, 1, __ATOMIC_RELAXED);
        nanosleep(&wait, 0);
    }
    errno = kept;
}

#define NEXT(result, name, arguments, values, syncs) \
    result name arguments { \
        static result (*next) arguments; \
        if (!next) next = (result(*) arguments)dlsym(RTLD_NEXT, #name); \
        work(file, syncs); \
        return next values; \
    }

NEXT(ssize_t, read, (int file, void *to, size_t size), (file, to, size), 0)
NEXT(ssize_t, write, (int file, const void *from, size_t size), (file, from, size), 0)
NEXT(ssize_t, pread, (int file, void *to, size_t size, off_t at), (file, to, size, at), 0)
NEXT(ssize_t, pwrite, (int file, const void *from, size_t size, off_t at), (file, from, size, at), 0)
NEXT(ssize_t, pread64, (int file, void *to, size_t size, off64_t at), (file, to, size, at), 0)
NEXT(ssize_t, pwrite64, (int file, const void *from, size_t size, off64_t at), (file, from, size, at), 0)
NEXT(ssize_t, preadv, (int file, const struct iovec *to, int count, off_t at), (file, to, count, at), 0)
NEXT(ssize_t, pwritev, (int file, const struct iovec *from, int count, off_t at), (file, from, count, at), 0)
NEXT(int, fsync, (int file), (file), 1)
NEXT(int, fdatasync, (int file), (file), 1)

/* The C library writes and reads its own streams without calling the functions above. */
size_t fwrite(const void *from, size_t size, size_t count, FILE *stream) {
    static size_t (*next)(const void *, size_t, size_t, FILE *);
    if (!next) next = (size_t(*)(const void *, size_t, size_t, FILE *))dlsym(RTLD_NEXT, "fwrite");
    work(fileno(stream), 0);
    return next(from, size, count, stream);
}

size_t fread(void *to, size_t size, size_t count, FILE *stream) {
    static size_t (*next)(void *, size_t, size_t, FILE *);
    if (!next) next = (size_t(*)(void *, size_t, size_t, FILE *))dlsym(RTLD_NEXT, "fread");
    work(fileno(stream), 0);
    return next(to, size, count, stream);
}
