/* Programs: one for each operation and set of needs, built from the embedded sources on first use, and kept as binaries by
 * device, driver and source, so that the next process need not compile. A binary that is damaged or does not load is made
 * again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/backend/opencl.h"
#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/hash.h"
#include "host/base/str.h"

enum { MAX_BINARY = 256 << 20 };

/* A cached binary: this, then the driver's bytes. */
typedef struct cache_header {
    char magic[8];
    char key[NB_HASH_TEXT];  /* hash of device, driver, options and source */
    char body[NB_HASH_TEXT]; /* hash of the bytes */
} cache_header;

static const char cache_magic[8] = "NBCLBIN1";

/* What a build is made of. */
typedef struct recipe {
    nb__cl_device *device;
    const char *name; /* the operation */
    nb_str options, source;
    char key[NB_HASH_TEXT];
    char *path; /* in the cache; NULL: none is kept */
} recipe;

static const char *source_text(const char *name) {
    for (size_t i = 0; i < nb__cl_source_count; i++)
        if (!strcmp(nb__cl_sources[i].name, name))
            return nb__cl_sources[i].text;
    return NULL;
}

static nb_status add_source(nb_str *s, const char *name, nb_err *err);

/* The file that a line `#include "kernels/opencl/NAME.cl"` names stands in its place, with the places of both. */
static nb_status add_include(nb_str *s, const char *line, const char *from, unsigned number, nb_err *err) {
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(line, "."), line);
    NB_TRY(add_source(s, name, err));
    return nb_str_addf(s, err, "#line %u \"kernels/opencl/%s.cl\"\n", number + 1, from);
}

static nb_status add_source(nb_str *s, const char *name, nb_err *err) {
    static const char include[] = "#include \"kernels/opencl/";
    const char *at = source_text(name);
    if (!at)
        return nb_fail(err, NB_E_UNSUPPORTED, "the library holds no OpenCL source %s", name);
    NB_TRY(nb_str_addf(s, err, "#line 1 \"kernels/opencl/%s.cl\"\n", name));
    for (unsigned number = 1; *at; number++) {
        size_t len = strcspn(at, "\n");
        len += at[len] == '\n';
        if (!strncmp(at, include, sizeof include - 1))
            NB_TRY(add_include(s, at + sizeof include - 1, name, number, err));
        else
            NB_TRY(nb_str_add(s, at, len, err));
        at += len;
    }
    return nb_str_add(s, "\n", 1, err);
}

static nb_status make_key(recipe *r, nb_err *err) {
    static const cl_device_info parts[] = {CL_DEVICE_NAME, CL_DEVICE_VENDOR, CL_DEVICE_VERSION, CL_DRIVER_VERSION,
                                           CL_DEVICE_EXTENSIONS};
    const nb__cl_api *api = r->device->api;
    nb_hash *hash;
    char text[1024];
    NB_TRY(nb_hash_new(&hash, err));
    nb__cl_platform_text(api, r->device->place.platform, CL_PLATFORM_VERSION, text, sizeof text);
    nb_hash_add_str(hash, text);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char *whole = nb__cl_device_whole_text(api, r->device->place.device, parts[i]);
        nb_hash_add_str(hash, whole ? whole : "");
        nb_free(whole);
    }
    nb_hash_add_str(hash, r->options.data);
    nb_hash_add_str(hash, r->source.data);
    nb_hash_text(hash, r->key);
    nb_hash_free(hash);
    return NB_OK;
}

static nb_status make_recipe(recipe *r, unsigned flags, const char *defines, nb_err *err) {
    char file[96];
    const char *language = flags & (NB_CL_DOT | NB_CL_SUBGROUP16) ? "CL3.0" : "CL1.2";
    NB_TRY(nb_str_addf(&r->options, err, "-cl-std=%s -DNB_CL_FP64=%d -DNB_CL_DIVIDE=%d -DNB_CL_CPU=%d", language,
                       !!(flags & NB_CL_FP64), !!(flags & NB_CL_DIVIDE), !!(flags & NB_CL_CPU)));
    NB_TRY(nb_str_addf(&r->options, err, " -DNB_CL_SUBGROUP16=%d", !!(flags & NB_CL_SUBGROUP16)));
    NB_TRY(nb_str_addf(&r->options, err, " -DNB_CL_FP16=%d -DNB_CL_SUBGROUPS=%d -DNB_CL_DOT=%d%s", !!(flags & NB_CL_FP16),
                       !!(flags & NB_CL_SUBGROUPS), !!(flags & NB_CL_DOT),
                       flags & NB_CL_DIVIDE ? " -cl-fp32-correctly-rounded-divide-sqrt" : ""));
    if (defines)
        NB_TRY(nb_str_addf(&r->options, err, " %s", defines));
    NB_TRY(add_source(&r->source, "layout", err));
    NB_TRY(add_source(&r->source, "common", err));
    NB_TRY(add_source(&r->source, r->name, err));
    for (const unsigned *mr = nb__cl_qgemm_rows; !strcmp(r->name, "qgemm") && *mr; mr++) {
        NB_TRY(nb_str_addf(&r->source, err, "#undef MR\n#define MR %u\n", *mr));
        NB_TRY(add_source(&r->source, "qgemm_panels", err));
    }
    NB_TRY(make_key(r, err));
    if (!r->device->keep_binaries)
        return NB_OK;
    snprintf(file, sizeof file, "opencl-%s-%s.bin", r->name, r->key);
    return nb_path_join(r->device->cache_dir, file, &r->path, err);
}

static void free_recipe(recipe *r) {
    nb_str_free(&r->options);
    nb_str_free(&r->source);
    nb_free(r->path);
}

/* ---- failures ---- */

/* Line `number` of the operation's source. */
static void source_line(const recipe *r, unsigned long number, char *out, size_t cap) {
    const char *at = source_text(r->name);
    for (; at && *at && number > 1; number--) {
        at += strcspn(at, "\n");
        at += *at == '\n';
    }
    while (at && (*at == ' ' || *at == '\t'))
        at++;
    snprintf(out, cap, "%.*s", at ? (int)strcspn(at, "\n") : 0, at ? at : "");
}

/* The log goes to the log; its first error, with the line of source that it names, to err. */
static nb_status fail_build(const recipe *r, cl_program program, cl_int code, nb_err *err) {
    const nb__cl_api *api = r->device->api;
    char *log = NULL, mark[96], line[160] = "";
    size_t bytes = 0;
    api->clGetProgramBuildInfo(program, r->device->place.device, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes);
    nb_status status = nb_calloc(bytes + 1, 1, "a build log", &log, err);
    if (status != NB_OK)
        return status;
    api->clGetProgramBuildInfo(program, r->device->place.device, CL_PROGRAM_BUILD_LOG, bytes, log, NULL);
    nb_logf(&r->device->base.log, NB_LOG_WARN, "the OpenCL compiler on kernels/opencl/%s.cl:\n%s", r->name, log);
    snprintf(mark, sizeof mark, "%s.cl:", r->name);
    const char *first = strstr(log, "error"), *at = strstr(log, mark);
    const char *begin = at && first && at < first ? at : first ? first : log;
    const char *place = strstr(begin, mark);
    if (place)
        source_line(r, strtoul(place + strlen(mark), NULL, 10), line, sizeof line);
    status = nb_fail_at(err, NB_E_DEVICE, NULL, "opencl", "the driver cannot build kernels/opencl/%s.cl (%s): %.*s; the line: %s", r->name,
                        nb__cl_error_name(code), (int)strcspn(begin, "\n"), begin, line);
    nb_free(log);
    return status;
}

/* ---- the cache ---- */

static cl_program from_binary(const recipe *r, const unsigned char *bytes, size_t size) {
    const nb__cl_api *api = r->device->api;
    cl_int loaded = CL_SUCCESS, code;
    cl_program p = api->clCreateProgramWithBinary(r->device->context, 1, &r->device->place.device, &size, &bytes, &loaded, &code);
    if (!p || code != CL_SUCCESS || loaded != CL_SUCCESS ||
        api->clBuildProgram(p, 1, &r->device->place.device, r->options.data, NULL, NULL) != CL_SUCCESS) {
        if (p)
            api->clReleaseProgram(p);
        return NULL;
    }
    return p;
}

/* NULL where there is none, or it is not what was written, or the driver does not take it. */
static cl_program from_cache(const recipe *r) {
    char *file, body[NB_HASH_TEXT];
    size_t size;
    cache_header header;
    if (!r->path || !nb_path_exists(r->path) || nb_file_read(r->path, MAX_BINARY, &file, &size, NULL) != NB_OK)
        return NULL;
    cl_program p = NULL;
    if (size > sizeof header) {
        memcpy(&header, file, sizeof header);
        nb_hash_once(file + sizeof header, size - sizeof header, body);
        if (!memcmp(header.magic, cache_magic, sizeof cache_magic) && !memcmp(header.key, r->key, sizeof r->key) &&
            !memcmp(header.body, body, sizeof body))
            p = from_binary(r, (const unsigned char *)file + sizeof header, size - sizeof header);
    }
    nb_free(file);
    if (p)
        nb_logf(&r->device->base.log, NB_LOG_DEBUG, "%s is taken from the cache", r->path);
    else
        nb_logf(&r->device->base.log, NB_LOG_DEBUG, "%s is not usable; it is made again", r->path);
    return p;
}

nb_status nb__cl_make_folder(const char *path, nb_err *err) {
    char *part;
    NB_TRY(nb_strdup(path, &part, err));
    nb_status status = NB_OK;
    for (char *at = part + 1; *at && status == NB_OK; at++)
        if (*at == '/') {
            *at = 0;
            if (!nb_path_is_dir(part))
                status = nb_dir_make(part, err);
            *at = '/';
        }
    if (status == NB_OK && !nb_path_is_dir(path))
        status = nb_dir_make(path, err);
    nb_free(part);
    return status;
}

static nb_status write_cache(const recipe *r, cl_program program, nb_err *err) {
    const nb__cl_api *api = r->device->api;
    size_t size = 0;
    char *file;
    if (api->clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, NULL) != CL_SUCCESS || size == 0 ||
        size > MAX_BINARY)
        return nb_fail(err, NB_E_DEVICE, "the driver gives no binary");
    cache_header header = {0};
    NB_TRY(nb_calloc(sizeof header + size, 1, "a program binary", &file, err));
    unsigned char *body = (unsigned char *)file + sizeof header;
    nb_status status;
    if (api->clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof body, &body, NULL) != CL_SUCCESS) {
        status = nb_fail(err, NB_E_DEVICE, "the driver gives no binary");
        goto out;
    }
    memcpy(header.magic, cache_magic, sizeof header.magic);
    memcpy(header.key, r->key, sizeof r->key);
    nb_hash_once(body, size, header.body);
    memcpy(file, &header, sizeof header);
    NB_GO(nb__cl_make_folder(r->device->cache_dir, err));
    NB_GO(nb_file_write(r->path, file, sizeof header + size, err));
out:
    nb_free(file);
    return status;
}

/* ---- building ---- */

static nb_status from_source(const recipe *r, cl_program *out, nb_err *err) {
    const nb__cl_api *api = r->device->api;
    const char *text = r->source.data;
    cl_int code;
    cl_program p = api->clCreateProgramWithSource(r->device->context, 1, &text, &r->source.len, &code);
    if (code != CL_SUCCESS || !p)
        return nb__cl_fail(err, code, "making a program");
    code = api->clBuildProgram(p, 1, &r->device->place.device, r->options.data, NULL, NULL);
    if (code != CL_SUCCESS) {
        nb_status status = fail_build(r, p, code, err);
        api->clReleaseProgram(p);
        return status;
    }
    nb_err ignored = {0};
    if (r->path && write_cache(r, p, &ignored) != NB_OK)
        nb_logf(&r->device->base.log, NB_LOG_DEBUG, "no program binary is kept: %s", ignored.text);
    *out = p;
    return NB_OK;
}

/* The file of an operation: its name, but qgemm_i8 is qgemm with other activations. */
static const char *source_of(nb_op op) {
    return nb_op_name(op == NB_OP_qgemm_i8 ? NB_OP_qgemm : op);
}

static nb_status build(nb__cl_device *d, nb_op op, unsigned flags, const char *defines, cl_program *out, nb_err *err) {
    recipe r = {.device = d, .name = source_of(op)};
    nb_status status = make_recipe(&r, flags, defines, err);
    if (status == NB_OK) {
        *out = from_cache(&r);
        if (!*out)
            status = from_source(&r, out, err);
    }
    free_recipe(&r);
    return status;
}

static bool same_text(const char *a, const char *b) {
    return (!a && !b) || (a && b && !strcmp(a, b));
}

static nb_status program_get(nb__cl_device *d, const nb_kernel *row, const char *defines, cl_program *out, nb_err *err) {
    for (nb__cl_program *p = d->programs; p; p = p->next)
        if (p->op == row->op && p->flags == row->needs && same_text(p->defines, defines)) {
            *out = p->program;
            return NB_OK;
        }
    nb__cl_program *p;
    NB_TRY(nb_calloc(1, sizeof *p, "a program", &p, err));
    nb_status status = defines ? nb_strdup(defines, &p->defines, err) : NB_OK;
    if (status == NB_OK)
        status = build(d, row->op, row->needs, defines, &p->program, err);
    if (status != NB_OK) {
        nb_free(p->defines);
        nb_free(p);
        return status;
    }
    p->op = row->op;
    p->flags = row->needs;
    p->next = d->programs;
    d->programs = p;
    *out = p->program;
    return NB_OK;
}

static nb_status kernel_make(nb__cl_device *d, cl_program program, const char *entry, nb__cl_kernel *k, nb_err *err) {
    char what[160];
    cl_int code;
    k->kernel = d->api->clCreateKernel(program, entry, &code);
    if (code != CL_SUCCESS || !k->kernel) {
        snprintf(what, sizeof what, "making the kernel %s", entry);
        return nb__cl_fail(err, code, what);
    }
    k->max_group = d->max_group;
    size_t group;
    if (d->api->clGetKernelWorkGroupInfo(k->kernel, d->place.device, CL_KERNEL_WORK_GROUP_SIZE, sizeof group, &group, NULL) ==
        CL_SUCCESS)
        k->max_group = group;
    return NB_OK;
}

nb_status nb__cl_kernel_get(nb__cl_device *d, const nb_kernel *row, const char *entry, const char *defines, nb__cl_kernel **out,
                            nb_err *err) {
    cl_program program;
    NB_TRY(program_get(d, row, defines, &program, err));
    for (nb__cl_kernel *k = d->kernels; k; k = k->next)
        if (k->program == program && !strcmp(k->entry, entry)) {
            *out = k;
            return NB_OK;
        }
    nb__cl_kernel *k;
    NB_TRY(nb_calloc(1, sizeof *k, "a kernel", &k, err));
    nb_status status = kernel_make(d, program, entry, k, err);
    if (status != NB_OK) {
        nb_free(k);
        return status;
    }
    k->program = program;
    k->entry = entry;
    k->next = d->kernels;
    d->kernels = k;
    *out = k;
    return NB_OK;
}

void nb__cl_programs_free(nb__cl_device *d) {
    for (nb__cl_kernel *k = d->kernels, *next; k; k = next) {
        next = k->next;
        d->api->clReleaseKernel(k->kernel);
        nb_free(k);
    }
    for (nb__cl_program *p = d->programs, *next; p; p = next) {
        next = p->next;
        d->api->clReleaseProgram(p->program);
        nb_free(p->defines);
        nb_free(p);
    }
}
