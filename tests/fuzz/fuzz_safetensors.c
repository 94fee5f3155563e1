/* Whatever the bytes: a header that is accepted describes the file exactly. */
#include <string.h>

#include "host/ckpt/impl.h"
#include "tests/fuzz/fuzz.h"

static void check(const nb_map *map, const nb__tensors *list) {
    const unsigned char *at = list->count ? list->items[0].data : map->data + map->size;
    for (size_t i = 0; i < list->count; i++) {
        const nb_view *v = &list->items[i];
        size_t bytes;
        MUST(v->ndim <= NB_MAX_DIMS && v->name && v->path == map->path);
        MUST(nb_dtype_bytes(v->dtype, nb_view_count(v), &bytes) && bytes == v->bytes);
        MUST(v->data == at && v->offset <= map->size && v->bytes <= map->size - v->offset);
        MUST(map->data + v->offset == at);
        at += v->bytes;
    }
    MUST(at == map->data + map->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[] = "fuzz";
    nb_map map = {data, size, path};
    nb__tensors list = {0};
    const nb_view **index;
    nb_err err = {0};
    nb_status status = nb__st_parse(&map, &list, &err);
    if (status == NB_OK)
        check(&map, &list);
    else
        MUST(err.status == status && err.text[0]);
    if (status == NB_OK) {
        MUST(nb__tensors_index(&list, &index, &err) == NB_OK); /* JSON has no duplicate keys */
        for (size_t i = 1; i < list.count; i++)
            MUST(strcmp(index[i - 1]->name, index[i]->name) < 0);
        free(index);
    }
    nb__tensors_free(&list);
    return 0;
}
