/* A Hugging Face directory: config.json beside one safetensors file, or shards and their index. */
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/json.h"
#include "host/base/str.h"
#include "host/ckpt/impl.h"

static const char SINGLE[] = "model.safetensors";
static const char INDEX[] = "model.safetensors.index.json";

enum { MAX_CONFIG = 64 << 20, MAX_INDEX = 256 << 20, MAX_SHARDS = 100000 };

/* Reads DIR/name; an absent file leaves *out NULL where it is optional. */
static nb_status read_object(const char *dir, const char *name, size_t limit, bool optional, json_t **out, nb_err *err) {
    char *path;
    NB_TRY(nb_path_join(dir, name, &path, err));
    nb_status status = NB_OK;
    json_t *value = NULL;
    if (!nb_path_exists(path)) {
        if (!optional)
            status = nb_fail_at(err, NB_E_INPUT, dir, NULL, "has no %s: not a Hugging Face model folder", name);
        goto out;
    }
    NB_GO(nb_json_read(path, limit, &value, err));
    if (!json_is_object(value)) {
        status = nb_fail_at(err, NB_E_INPUT, path, NULL, "is no JSON object");
        goto out;
    }
    *out = value;
    value = NULL;
out:
    json_decref(value);
    nb_free(path);
    return status;
}

static nb_status map_shard(nb_ckpt *c, const char *name, nb_err *err) {
    char *path;
    NB_TRY(nb_regrow(c->n_maps + 1, sizeof *c->maps, "mapped files", &c->maps, err));
    NB_TRY(nb_path_join(c->path, name, &path, err));
    nb_status status = nb_map_open(path, &c->maps[c->n_maps], err);
    nb_free(path);
    if (status == NB_OK)
        c->n_maps++;
    return status;
}

/* Maps are moved while the list grows, so tensors are read when all are there; paths stay where they are. */
static nb_status parse_shards(nb_ckpt *c, nb_err *err) {
    for (size_t i = 0; i < c->n_maps; i++)
        NB_TRY(nb__st_parse(&c->maps[i], &c->tensors, err));
    return NB_OK;
}

static bool safe_name(const char *name) {
    return nb_ends_with(name, ".safetensors") && !strchr(name, '/') && !strchr(name, '\\') && name[0] != '.';
}

/* Maps each shard that the index names, in order of name. */
static nb_status map_indexed(nb_ckpt *c, const json_t *weight_map, nb_err *err) {
    const char *tensor;
    json_t *file;
    nb_status status = NB_OK;
    json_t *names = json_object();
    if (!names)
        return nb_fail_memory(err, 0, "shard names");
    json_object_foreach((json_t *)(uintptr_t)weight_map, tensor, file) {
        const char *name = json_string_value(file);
        if (!name || !safe_name(name)) {
            status = nb_fail_at(err, NB_E_INPUT, c->path, tensor, "%s names '%.100s', which is no shard's name", INDEX,
                                name ? name : "");
            goto out;
        }
        if (json_object_set_new(names, name, json_true()) != 0) {
            status = nb_fail_memory(err, 0, "shard names");
            goto out;
        }
    }
    if (json_object_size(names) > MAX_SHARDS) {
        status = nb_fail_at(err, NB_E_INPUT, c->path, INDEX, "names %zu shards", json_object_size(names));
        goto out;
    }
    char **sorted = NULL;
    size_t count = 0;
    NB_GO(nb_dir_list(c->path, &sorted, &count, err));
    size_t found = 0;
    for (size_t i = 0; i < count && status == NB_OK; i++)
        if (json_object_get(names, sorted[i])) {
            status = map_shard(c, sorted[i], err);
            json_object_del(names, sorted[i]);
            found++;
        }
    nb_names_free(sorted, count);
    if (status == NB_OK && json_object_size(names))
        status = nb_fail_at(err, NB_E_INPUT, c->path, json_object_iter_key(json_object_iter(names)),
                            "the shard that %s names is missing (%zu of them are there)", INDEX, found);
out:
    json_decref(names);
    return status;
}

/* Every name in the map must be in the shard that it names. Tensors that the map leaves out are kept. */
static nb_status check_map(const nb_ckpt *c, const json_t *weight_map, const nb_view *const *by_name, nb_err *err) {
    const char *tensor;
    json_t *file;
    json_object_foreach((json_t *)(uintptr_t)weight_map, tensor, file) {
        size_t lo = 0, hi = c->tensors.count;
        while (lo < hi) {
            size_t mid = lo + (hi - lo) / 2;
            if (strcmp(by_name[mid]->name, tensor) < 0)
                lo = mid + 1;
            else
                hi = mid;
        }
        const char *shard = json_string_value(file);
        if (lo == c->tensors.count || strcmp(by_name[lo]->name, tensor) != 0)
            return nb_fail_at(err, NB_E_INPUT, c->path, tensor, "%s puts it into %.100s, which does not hold it", INDEX, shard);
        if (strcmp(nb_path_base(by_name[lo]->path), shard) != 0)
            return nb_fail_at(err, NB_E_INPUT, by_name[lo]->path, tensor, "%s puts this tensor into %.100s", INDEX, shard);
    }
    return NB_OK;
}

static nb_status open_sharded(nb_ckpt *c, nb_err *err) {
    json_t *index = NULL;
    const nb_view **by_name = NULL;
    nb_status status;
    NB_GO(read_object(c->path, INDEX, MAX_INDEX, false, &index, err));
    const json_t *weight_map = json_object_get(index, "weight_map");
    if (!json_is_object(weight_map) || json_object_size(weight_map) == 0) {
        status = nb_fail_at(err, NB_E_INPUT, c->path, INDEX, "has no weight_map");
        goto out;
    }
    NB_GO(map_indexed(c, weight_map, err));
    NB_GO(parse_shards(c, err));
    NB_GO(nb__tensors_index(&c->tensors, &by_name, err));
    status = check_map(c, weight_map, by_name, err);
out:
    nb_free(by_name);
    json_decref(index);
    return status;
}

/* A folder without the usual names: the only safetensors file in it (AutoGPTQ's habit), or an answer that helps. */
static nb_status open_unusual(nb_ckpt *c, nb_err *err) {
    char **names;
    size_t count, found = 0, which = 0;
    bool pickle = false;
    NB_TRY(nb_dir_list(c->path, &names, &count, err));
    for (size_t i = 0; i < count; i++) {
        if (nb_ends_with(names[i], ".safetensors")) {
            found++;
            which = i;
        }
        if (nb_glob("pytorch_model*.bin*", names[i]) || nb_ends_with(names[i], ".pth"))
            pickle = true;
    }
    nb_status status;
    if (found == 1)
        status = map_shard(c, names[which], err);
    else if (pickle)
        status = nb_fail_at(err, NB_E_UNSUPPORTED, c->path, NULL,
                            "holds only PyTorch pickle weights, which can run code when they are read; convert them to "
                            "safetensors (save_pretrained in Transformers does)");
    else
        status = nb_fail_at(err, NB_E_INPUT, c->path, NULL, "has neither %s nor %s", SINGLE, INDEX);
    nb_names_free(names, count);
    return status == NB_OK ? parse_shards(c, err) : status;
}

/* Older AutoGPTQ keeps the settings of quantized weights in quantize_config.json alone: they are put where the others
 * have them. */
static nb_status add_quantize_config(nb_ckpt *c, nb_err *err) {
    bool packed = false;
    json_t *settings = NULL;
    for (size_t i = 0; i < c->tensors.count && !packed; i++)
        packed = nb_ends_with(c->tensors.items[i].name, ".qweight");
    if (!packed || json_object_get(c->config, "quantization_config"))
        return NB_OK;
    NB_TRY(read_object(c->path, "quantize_config.json", MAX_CONFIG, true, &settings, err));
    if (settings && json_object_set_new(c->config, "quantization_config", settings) != 0)
        return nb_fail_memory(err, 0, "a quantization_config");
    return NB_OK;
}

nb_status nb__hf_open(nb_ckpt *c, nb_err *err) {
    char *single = NULL, *index = NULL;
    nb_status status;
    c->kind = NB_CKPT_HF;
    NB_GO(read_object(c->path, "config.json", MAX_CONFIG, false, &c->config, err));
    NB_GO(read_object(c->path, "generation_config.json", MAX_CONFIG, true, &c->generation_config, err));
    NB_GO(nb_path_join(c->path, SINGLE, &single, err));
    NB_GO(nb_path_join(c->path, INDEX, &index, err));
    /* One file wins over an index, as in Transformers. */
    if (nb_path_exists(single)) {
        NB_GO(map_shard(c, SINGLE, err));
        status = parse_shards(c, err);
    } else if (nb_path_exists(index)) {
        status = open_sharded(c, err);
    } else {
        status = open_unusual(c, err);
    }
    if (status == NB_OK)
        status = add_quantize_config(c, err);
out:
    nb_free(single);
    nb_free(index);
    return status;
}
