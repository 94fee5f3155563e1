/* Runs a target without a fuzzer: on each file of a folder, on the file cut short, and on mutations of it that are the
 * same in every run. */
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/random.h"
#include "host/base/size.h"
#include "tests/fuzz/fuzz.h"

enum { CUTS = 300, MUTATIONS = 3000 };

/* Exactly as large as the input, so that a sanitizer sees a read beyond it. */
static void run(const char *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    MUST(copy);
    if (size)
        memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

/* Some bytes near the front become random, edge values, or copies of others. */
static void mutate(nb_random *r, char *data, size_t size) {
    static const unsigned char edges[] = {0, 1, 2, 0x7f, 0x80, 0xff, '"', '{', '[', '9', '-'};
    size_t front = nb_min(size, nb_random_below(r, 2) ? 64 : 4096);
    for (uint32_t i = 0, n = 1 + nb_random_below(r, 4); i < n && front; i++) {
        size_t at = nb_random_below(r, (uint32_t)front);
        switch (nb_random_below(r, 3)) {
        case 0: data[at] = (char)nb_random_u32(r); break;
        case 1: data[at] = (char)edges[nb_random_below(r, sizeof edges)]; break;
        default: data[at] = data[nb_random_below(r, (uint32_t)front)]; break;
        }
    }
}

static void replay(const char *path, nb_random *r) {
    char *data, *work;
    size_t size;
    MUST(nb_file_read(path, 1 << 20, &data, &size, NULL) == NB_OK);
    MUST(nb_calloc(size + 1, 1, "a copy", &work, NULL) == NB_OK);
    run(data, size);
    for (size_t i = 0; i < nb_min(CUTS, size); i++)
        run(data, i);
    for (int i = 0; i < MUTATIONS; i++) {
        memcpy(work, data, size);
        mutate(r, work, size);
        run(work, size);
    }
    nb_free(work);
    nb_free(data);
}

int main(int argc, char **argv) {
    nb_random r = nb_random_seed(7);
    size_t seen = 0;
    for (int i = 1; i < argc; i++) {
        char **names, *path;
        size_t count;
        MUST(nb_dir_list(argv[i], &names, &count, NULL) == NB_OK);
        for (size_t j = 0; j < count; j++, seen++) {
            MUST(nb_path_join(argv[i], names[j], &path, NULL) == NB_OK);
            replay(path, &r);
            nb_free(path);
        }
        nb_names_free(names, count);
    }
    MUST(seen > 0);
    printf("%zu seeds\n", seen);
    return 0;
}
