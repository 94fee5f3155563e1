#include "host/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "host/base/alloc.h"
#include "host/base/size.h"

struct nb_out {
    char *path, *partial;
    int fd;
    uint64_t size;
    size_t held; /* bytes in buf not yet written */
    unsigned char buf[1 << 16];
};

/* A missing or unreadable file is bad input; anything else that the system refuses is a failure. */
static nb_status fail_errno(nb_err *err, const char *path, const char *doing) {
    int e = errno;
    nb_status status =
        e == ENOENT || e == EISDIR || e == ENOTDIR || e == EACCES ? NB_E_INPUT : NB_E_FAILED;
    if (e == ENOMEM)
        status = NB_E_MEMORY;
    char text[128];
    if (strerror_r(e, text, sizeof text) != 0)
        snprintf(text, sizeof text, "error %d", e);
    return nb_fail_at(err, status, path, NULL, "%s: %s", doing, text);
}

/* Failing to write is never the fault of an input. */
static nb_status fail_write(nb_err *err, const char *path, const char *doing) {
    nb_status status = fail_errno(err, path, doing);
    if (status == NB_E_INPUT) {
        status = NB_E_FAILED;
        if (err)
            err->status = status;
    }
    return status;
}

nb_status nb_map_open(const char *path, nb_map *out, nb_err *err) {
    nb_map map = {0};
    nb_status status = NB_OK;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO is refused, not waited for */
    if (fd < 0)
        return fail_errno(err, path, "cannot open");
    if (fstat(fd, &st) != 0) {
        status = fail_errno(err, path, "cannot stat");
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        status = nb_fail_at(err, NB_E_INPUT, path, NULL, "is not a regular file");
        goto out;
    }
    NB_GO(nb_strdup(path, &map.path, err));
    map.size = (size_t)st.st_size;
    if (map.size) {
        void *p = mmap(NULL, map.size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            status = fail_errno(err, path, "cannot map");
            goto out;
        }
        map.data = p;
    }
    *out = map;
out:
    if (status != NB_OK)
        nb_free(map.path);
    close(fd);
    return status;
}

void nb_map_close(nb_map *map) {
    if (!map)
        return;
    if (map->data)
        munmap((void *)(uintptr_t)map->data, map->size);
    nb_free(map->path);
    *map = (nb_map){0};
}

void nb_map_drop(const nb_map *map, size_t offset, size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t first = (offset + page - 1) / page * page;
    size_t last = (offset + bytes) / page * page;
    if (map->data && last <= map->size && first < last)
        posix_madvise((void *)(uintptr_t)(map->data + first), last - first, POSIX_MADV_DONTNEED);
}

nb_status nb_file_read(const char *path, size_t limit, char **out, size_t *size, nb_err *err) {
    nb_map map;
    NB_TRY(nb_map_open(path, &map, err));
    nb_status status = NB_OK;
    char *text = NULL;
    if (map.size > limit)
        status = nb_fail_at(err, NB_E_INPUT, path, NULL, "has %zu bytes, at most %zu are read", map.size, limit);
    else
        status = nb_calloc(map.size + 1, 1, "a file's text", &text, err);
    if (status == NB_OK) {
        if (map.size)
            memcpy(text, map.data, map.size);
        *out = text;
        if (size)
            *size = map.size;
    }
    nb_map_close(&map);
    return status;
}

/* path + suffix. */
static nb_status with_suffix(const char *path, const char *suffix, char **out, nb_err *err) {
    size_t a = strlen(path), b = strlen(suffix);
    char *s;
    NB_TRY(nb_calloc(a + b + 1, 1, "a path", &s, err));
    memcpy(s, path, a);
    memcpy(s + a, suffix, b);
    *out = s;
    return NB_OK;
}

/* A rename is durable once its folder is. File systems that cannot sync a folder are not at fault. */
static void sync_folder(const char *path) {
    char *dir;
    if (nb_path_parent(path, &dir, NULL) != NB_OK)
        return;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    nb_free(dir);
}

static void out_free(nb_out *o) {
    nb_free(o->path);
    nb_free(o->partial);
    nb_free(o);
}

nb_status nb_out_open(const char *path, nb_out **out, nb_err *err) {
    nb_out *o;
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) /* a rename would put a file in the place of a device */
        return nb_fail_at(err, NB_E_USAGE, path, NULL, "exists and is not a regular file");
    NB_TRY(nb_calloc(1, sizeof *o, "an output file", &o, err));
    nb_status status = nb_strdup(path, &o->path, err);
    if (status == NB_OK)
        status = with_suffix(path, ".partial", &o->partial, err);
    if (status == NB_OK) {
        o->fd = open(o->partial, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (o->fd < 0)
            status = fail_write(err, o->partial, "cannot create");
    }
    if (status != NB_OK) {
        out_free(o);
        return status;
    }
    *out = o;
    return NB_OK;
}

static nb_status write_all(int fd, const char *path, const void *data, size_t bytes, nb_err *err) {
    const unsigned char *p = data;
    while (bytes) {
        ssize_t n = write(fd, p, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_write(err, path, "cannot write");
        p += n;
        bytes -= (size_t)n;
    }
    return NB_OK;
}

static nb_status out_flush(nb_out *o, nb_err *err) {
    size_t n = o->held;
    o->held = 0;
    return write_all(o->fd, o->partial, o->buf, n, err);
}

nb_status nb_out_write(nb_out *o, const void *data, size_t bytes, nb_err *err) {
    if (bytes == 0)
        return NB_OK;
    if (o->held + bytes > sizeof o->buf)
        NB_TRY(out_flush(o, err));
    if (bytes > sizeof o->buf) {
        NB_TRY(write_all(o->fd, o->partial, data, bytes, err));
    } else {
        memcpy(o->buf + o->held, data, bytes);
        o->held += bytes;
    }
    o->size += bytes;
    return NB_OK;
}

nb_status nb_out_patch(nb_out *o, uint64_t offset, const void *data, size_t bytes, nb_err *err) {
    if (offset > o->size || bytes > o->size - offset)
        return nb_fail_at(err, NB_E_USAGE, o->path, NULL, "a patch at %llu lies outside the file",
                          (unsigned long long)offset);
    NB_TRY(out_flush(o, err));
    const unsigned char *p = data;
    while (bytes) {
        ssize_t n = pwrite(o->fd, p, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_write(err, o->partial, "cannot write");
        p += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return NB_OK;
}

uint64_t nb_out_size(const nb_out *o) {
    return o->size;
}

nb_status nb_out_commit(nb_out *o, nb_err *err) {
    nb_status status = out_flush(o, err);
    if (status == NB_OK && fsync(o->fd) != 0)
        status = fail_write(err, o->partial, "cannot flush to disk");
    if (close(o->fd) != 0 && status == NB_OK)
        status = fail_write(err, o->partial, "cannot close");
    if (status == NB_OK)
        status = nb_file_rename(o->partial, o->path, err);
    if (status != NB_OK)
        unlink(o->partial);
    out_free(o);
    return status;
}

void nb_out_abort(nb_out *o) {
    if (!o)
        return;
    close(o->fd);
    unlink(o->partial);
    out_free(o);
}

nb_status nb_file_write(const char *path, const void *data, size_t bytes, nb_err *err) {
    nb_out *o;
    NB_TRY(nb_out_open(path, &o, err));
    nb_status status = nb_out_write(o, data, bytes, err);
    if (status != NB_OK) {
        nb_out_abort(o);
        return status;
    }
    return nb_out_commit(o, err);
}

nb_status nb_file_append_line(const char *path, const char *line, nb_err *err) {
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail_write(err, path, "cannot open");
    char *text = NULL;
    nb_status status = with_suffix(line, "\n", &text, err);
    if (status == NB_OK)
        status = write_all(fd, path, text, strlen(text), err);
    if (status == NB_OK && fsync(fd) != 0)
        status = fail_write(err, path, "cannot flush to disk");
    if (close(fd) != 0 && status == NB_OK)
        status = fail_write(err, path, "cannot close");
    nb_free(text);
    return status;
}

nb_status nb_file_copy(const char *from, const char *to, nb_err *err) {
    nb_map map;
    NB_TRY(nb_map_open(from, &map, err));
    nb_status status = nb_file_write(to, map.data, map.size, err);
    nb_map_close(&map);
    return status;
}

nb_status nb_file_readable(const char *path, nb_err *err) {
    nb_map map = {0};
    nb_status status = nb_map_open(path, &map, err);
    nb_map_close(&map);
    return status;
}

bool nb_path_exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

bool nb_path_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool nb_path_same(const char *a, const char *b) {
    struct stat sa, sb;
    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

bool nb_path_is_link(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

bool nb_path_holds(const char *dir, const char *path) {
    char at[PATH_MAX];
    if (!realpath(path, at))
        return false;
    while (!nb_path_same(dir, at)) {
        char *slash = strrchr(at, '/');
        if (!slash || !at[1])
            return false;
        slash[slash == at ? 1 : 0] = 0;
    }
    return true;
}

void nb_path_trim(char *path) {
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        path[--len] = 0;
}

nb_status nb_path_join(const char *dir, const char *name, char **out, nb_err *err) {
    size_t a = strlen(dir), b = strlen(name);
    bool slash = a > 0 && dir[a - 1] != '/';
    char *s;
    NB_TRY(nb_calloc(a + b + 2, 1, "a path", &s, err));
    memcpy(s, dir, a);
    if (slash)
        s[a++] = '/';
    memcpy(s + a, name, b);
    *out = s;
    return NB_OK;
}

const char *nb_path_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

nb_status nb_path_parent(const char *path, char **out, nb_err *err) {
    const char *base = nb_path_base(path);
    NB_TRY(nb_strdup(base == path ? "." : path, out, err));
    if (base != path)
        (*out)[base == path + 1 ? 1 : base - path - 1] = 0;
    return NB_OK;
}

nb_status nb_dir_make(const char *path, nb_err *err) {
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && nb_path_is_dir(path)))
        return NB_OK;
    return fail_write(err, path, "cannot make the folder");
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void nb_names_free(char **names, size_t count) {
    for (size_t i = 0; i < count; i++)
        nb_free(names[i]);
    nb_free(names);
}

nb_status nb_dir_lock(const char *path, int *out, nb_err *err) {
    struct stat held, there;
    NB_TRY(nb_dir_make(path, err));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail_write(err, path, "cannot open");
    bool busy = true;
    for (int tries = 0; busy && tries < 20; tries++) { /* a process that was killed just now lets go within a second */
        if (tries > 0)
            nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        busy = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    }
    /* or its holder has removed it just now */
    busy = busy || fstat(fd, &held) != 0 || stat(path, &there) != 0 || held.st_dev != there.st_dev || held.st_ino != there.st_ino;
    if (busy) {
        close(fd);
        return nb_fail_at(err, NB_E_FAILED, path, NULL, "is in use by another run");
    }
    *out = fd;
    return NB_OK;
}

void nb_lock_release(int lock) {
    if (lock >= 0)
        close(lock);
}

nb_status nb_dir_list(const char *path, char ***out_names, size_t *out_count, nb_err *err) {
    nb_status status = NB_OK;
    char **names = NULL;
    size_t count = 0, room = 0;
    DIR *dir = opendir(path);
    if (!dir)
        return fail_errno(err, path, "cannot open the folder");
    for (struct dirent *e; (e = readdir(dir));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (count == room) {
            room = room ? 2 * room : 16;
            NB_GO(nb_regrow(room, sizeof *names, "file names", &names, err));
        }
        NB_GO(nb_strdup(e->d_name, &names[count], err));
        count++;
    }
    if (count)
        qsort(names, count, sizeof *names, by_bytes);
    *out_names = names;
    *out_count = count;
out:
    if (status != NB_OK)
        nb_names_free(names, count);
    closedir(dir);
    return status;
}

nb_status nb_dir_remove(const char *path, nb_err *err) {
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? NB_OK : fail_write(err, path, "cannot stat");
    if (!S_ISDIR(st.st_mode))
        return nb_file_remove(path, err);
    char **names;
    size_t count;
    NB_TRY(nb_dir_list(path, &names, &count, err));
    nb_status status = NB_OK;
    for (size_t i = 0; i < count && status == NB_OK; i++) {
        char *child;
        status = nb_path_join(path, names[i], &child, err);
        if (status == NB_OK) {
            status = nb_dir_remove(child, err);
            nb_free(child);
        }
    }
    nb_names_free(names, count);
    if (status == NB_OK && rmdir(path) != 0)
        status = fail_write(err, path, "cannot remove the folder");
    return status;
}

void nb_dir_remove_empty(const char *path) {
    (void)rmdir(path);
}

nb_status nb_file_rename(const char *from, const char *to, nb_err *err) {
    if (rename(from, to) != 0)
        return fail_write(err, to, "cannot rename into place");
    sync_folder(to);
    return NB_OK;
}

nb_status nb_file_remove(const char *path, nb_err *err) {
    if (unlink(path) != 0 && errno != ENOENT)
        return fail_write(err, path, "cannot remove");
    return NB_OK;
}

nb_status nb_disk_free(const char *path, uint64_t *out, nb_err *err) {
    struct statvfs fs;
    char *dir;
    NB_TRY(nb_path_is_dir(path) ? nb_strdup(path, &dir, err) : nb_path_parent(path, &dir, err));
    nb_status status = NB_OK;
    if (statvfs(dir, &fs) != 0)
        status = fail_errno(err, dir, "cannot read the free space");
    else
        *out = (uint64_t)fs.f_bavail * fs.f_frsize;
    nb_free(dir);
    return status;
}
