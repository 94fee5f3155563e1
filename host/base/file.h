/* Files: mapped reading, and writing that never leaves a half-written file under its final name. errno is read
 * here and nowhere else. */
#ifndef NB_BASE_FILE_H
#define NB_BASE_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/err.h"

/* A file mapped for reading. data is NULL where size is 0. */
typedef struct nb_map {
    const unsigned char *data;
    size_t size;
    char *path; /* owned */
} nb_map;

nb_status nb_map_open(const char *path, nb_map *out, nb_err *err);
void nb_map_close(nb_map *map); /* NULL and a zeroed map are fine */

/* Tells the kernel that [offset, offset + bytes) will not be needed soon. Advice only. */
void nb_map_drop(const nb_map *map, size_t offset, size_t bytes);

/* The whole of a small file, NUL-terminated (the NUL is not counted in *size, which may be NULL). A file larger
 * than `limit` bytes is NB_E_INPUT. Free with nb_free. */
nb_status nb_file_read(const char *path, size_t limit, char **out, size_t *size, nb_err *err);

/* Writing: bytes go to PATH.partial; commit flushes to disk and renames. A file that is not committed is removed. */
typedef struct nb_out nb_out;
nb_status nb_out_open(const char *path, nb_out **out, nb_err *err);
nb_status nb_out_write(nb_out *out, const void *data, size_t bytes, nb_err *err);
/* Overwrites bytes written before; offset + bytes must lie inside them. */
nb_status nb_out_patch(nb_out *out, uint64_t offset, const void *data, size_t bytes, nb_err *err);
uint64_t nb_out_size(const nb_out *out);
/* Frees `out` whatever happens. */
nb_status nb_out_commit(nb_out *out, nb_err *err);
void nb_out_abort(nb_out *out); /* NULL is fine */

/* Writes a whole small file by the same way. */
nb_status nb_file_write(const char *path, const void *data, size_t bytes, nb_err *err);
/* Appends one line (a newline is added) and flushes it to disk; for journals. */
nb_status nb_file_append_line(const char *path, const char *line, nb_err *err);
/* Copies bytes of `from` to `to` by the same way. */
nb_status nb_file_copy(const char *from, const char *to, nb_err *err);

nb_status nb_file_readable(const char *path, nb_err *err); /* can nb_map_open open it? */

bool nb_path_exists(const char *path);
bool nb_path_is_dir(const char *path);
/* Do both names stand for the same file (device and inode)? False where one does not exist. */
bool nb_path_same(const char *a, const char *b);
bool nb_path_is_link(const char *path);
/* Is `dir` what `path` names, or a folder above it? Links are followed; false where either is missing. */
bool nb_path_holds(const char *dir, const char *path);
void nb_path_trim(char *path); /* cuts slashes off the end */
nb_status nb_path_join(const char *dir, const char *name, char **out, nb_err *err);
/* The part after the last '/'. Points into path. */
const char *nb_path_base(const char *path);
/* The folder that it is in: "." where it names none. Free with nb_free. */
nb_status nb_path_parent(const char *path, char **out, nb_err *err);
/* Makes a folder (one that is there is fine) and holds it for this process until *out is closed with nb_lock_release: NB_E_FAILED where
 * another process holds it. Where the file system knows no locks nothing is held. */
nb_status nb_dir_lock(const char *path, int *out, nb_err *err);
void nb_lock_release(int lock); /* negative: nothing */
nb_status nb_dir_make(const char *path, nb_err *err); /* parents must exist; an existing folder is fine */
/* Removes a folder and the files and folders in it; a missing one is fine. Links are removed, not followed. */
nb_status nb_dir_remove(const char *path, nb_err *err);
void nb_dir_remove_empty(const char *path); /* if it is a folder without names in it */
/* Names in a folder, sorted by bytes, "." and ".." left out. Free each and the array with nb_names_free. */
nb_status nb_dir_list(const char *path, char ***names, size_t *count, nb_err *err);
void nb_names_free(char **names, size_t count);
nb_status nb_file_rename(const char *from, const char *to, nb_err *err); /* and syncs the folder */
nb_status nb_file_remove(const char *path, nb_err *err);                 /* a missing file is fine */
/* Bytes free for this user on the file system of path's folder. */
nb_status nb_disk_free(const char *path, uint64_t *out, nb_err *err);

#endif
