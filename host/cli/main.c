#include <malloc.h>

#include "host/cli/cli.h"

/* Buffers of a block come and go, of many sizes. From the heap they leave holes that aligned_alloc cannot fill again (glibc before
 * 2.38 looks for size + alignment), 9 MB a block on a model of 135M; mapped ones go back to the system. */
enum { MAPPED_FROM = 1 << 20 };

int main(int argc, char **argv) {
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, MAPPED_FROM);
#endif
    return nb_cli_main(argc, argv);
}
