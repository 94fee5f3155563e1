/* Makes a system call or an allocation of a program fail. Loaded by LD_PRELOAD, by the tests only.
 *
 * NB_FAULT=KIND:N[+][:ERRNO]  the N-th call (from 0) of KIND fails, with + each one from then on. KIND:
 *   alloc  malloc, calloc, realloc, aligned_alloc, posix_memalign     (ENOMEM)
 *   write  write, pwrite (ENOSPC)      short  write, pwrite: only the first half is written, no failure
 *   fsync  (EIO)     rename (EIO)      open   open for writing (ENOSPC)     read  open for reading (EMFILE)
 *   mmap   (ENOMEM)  thread  pthread_create (EAGAIN)   mkdir (ENOSPC)
 *   kill   the process dies (SIGKILL) before the N-th write, pwrite, fsync, rename, unlink or rmdir
 *   torn   it dies in the middle of the N-th write or pwrite: half is written
 * NB_FAULT_REPORT=FILE        at exit: "KIND COUNT" of all kinds, "fired 0|1", "live N" (allocations not freed).
 *
 * stdio's own writes do not come through here, so what a program says on standard error is always readable. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *ptr, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *ptr);

enum kind { ALLOC, WRITE, SHORT, FSYNC, RENAME, OPEN, READ, MMAP, THREAD, MKDIR, KILL, TORN, KINDS };
static const char *const names[KINDS] = {"alloc", "write", "short", "fsync", "rename", "open",
                                         "read",  "mmap",  "thread", "mkdir", "kill",  "torn"};
static const int errors[KINDS] = {[ALLOC] = ENOMEM, [WRITE] = ENOSPC, [FSYNC] = EIO,     [RENAME] = EIO,  [OPEN] = ENOSPC,
                                  [READ] = EMFILE,  [MMAP] = ENOMEM,  [THREAD] = EAGAIN, [MKDIR] = ENOSPC};

static atomic_long counts[KINDS], live;
static atomic_int fired;
static bool on;
static enum kind chosen = KINDS;
static long at;
static bool all_after;
static int error;

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("NB_FAULT");
    on = true;
    for (int k = 0; text && k < KINDS; k++) {
        size_t len = strlen(names[k]);
        if (strncmp(text, names[k], len) != 0 || text[len] != ':')
            continue;
        char *end;
        at = strtol(text + len + 1, &end, 10);
        all_after = *end == '+';
        end += all_after;
        error = *end == ':' ? atoi(end + 1) : errors[k];
        chosen = (enum kind)k;
    }
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("NB_FAULT_REPORT");
    char text[512];
    int len = 0;
    on = false;
    if (!path)
        return;
    for (int k = 0; k < KINDS; k++)
        len += snprintf(text + len, sizeof text - (size_t)len, "%s %ld\n", names[k], atomic_load(&counts[k]));
    len += snprintf(text + len, sizeof text - (size_t)len, "fired %d\nlive %ld\n", atomic_load(&fired), atomic_load(&live));
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd >= 0) {
        if (syscall(SYS_write, fd, text, len) != len)
            abort();
        close(fd);
    }
}

/* Counts a call of kind k: is it the one? */
static bool hit(enum kind k) {
    if (!on)
        return false;
    long n = atomic_fetch_add(&counts[k], 1);
    if (k != chosen || n < at || (n > at && !all_after))
        return false;
    atomic_store(&fired, 1);
    errno = error;
    return true;
}

static void die_if_hit(void) {
    if (hit(KILL))
        kill(getpid(), SIGKILL);
}

static void *kept(void *p) {
    if (p)
        atomic_fetch_add(&live, 1);
    return p;
}

void *malloc(size_t size) { return hit(ALLOC) ? NULL : kept(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return hit(ALLOC) ? NULL : kept(__libc_calloc(count, size)); }
void *aligned_alloc(size_t align, size_t size) { return hit(ALLOC) ? NULL : kept(__libc_memalign(align, size)); }

void *realloc(void *ptr, size_t size) {
    if (hit(ALLOC))
        return NULL;
    void *p = __libc_realloc(ptr, size);
    return ptr ? p : kept(p);
}

int posix_memalign(void **out, size_t align, size_t size) {
    if (hit(ALLOC))
        return ENOMEM;
    *out = kept(__libc_memalign(align, size));
    return *out ? 0 : ENOMEM;
}

void free(void *ptr) {
    if (ptr)
        atomic_fetch_sub(&live, 1);
    __libc_free(ptr);
}

ssize_t write(int fd, const void *data, size_t bytes) {
    die_if_hit();
    if (hit(WRITE))
        return -1;
    bool torn = hit(TORN);
    if (torn || (hit(SHORT) && bytes > 1))
        bytes /= 2;
    ssize_t n = syscall(SYS_write, fd, data, bytes);
    if (torn)
        kill(getpid(), SIGKILL);
    return n;
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) {
    die_if_hit();
    if (hit(WRITE))
        return -1;
    bool torn = hit(TORN);
    if (torn || (hit(SHORT) && bytes > 1))
        bytes /= 2;
    ssize_t n = syscall(SYS_pwrite64, fd, data, bytes, offset);
    if (torn)
        kill(getpid(), SIGKILL);
    return n;
}

int fsync(int fd) {
    die_if_hit();
    return hit(FSYNC) ? -1 : (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to) {
    die_if_hit();
    return hit(RENAME) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path) {
    die_if_hit();
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int rmdir(const char *path) {
    die_if_hit();
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}

int mkdir(const char *path, mode_t mode) { return hit(MKDIR) ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode); }

int open(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list ap;
        va_start(ap, flags);
        mode = va_arg(ap, mode_t);
        va_end(ap);
    }
    if (hit((flags & O_ACCMODE) == O_RDONLY ? READ : OPEN))
        return -1;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

void *mmap(void *where, size_t bytes, int prot, int flags, int fd, off_t offset) {
    if (hit(MMAP))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, where, bytes, prot, flags, fd, offset);
}

int pthread_create(pthread_t *out, const pthread_attr_t *attr, void *(*fn)(void *), void *arg) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (hit(THREAD))
        return error;
    if (!real) {
        void *symbol = dlsym(RTLD_NEXT, "pthread_create");
        memcpy(&real, &symbol, sizeof real);
    }
    return real(out, attr, fn, arg);
}
