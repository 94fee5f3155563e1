/* Which OpenCL devices there are, what they can do, and which one a name means. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/backend/opencl.h"
#include "host/base/alloc.h"
#include "host/base/size.h"

enum { MAX_PLATFORMS = 16 };

/* A driver's text, with single spaces, cut to fit. */
static void put_text(char *out, size_t cap, const char *text) {
    size_t len = 0;
    for (; *text && len + 1 < cap; text++)
        if (*text != ' ' || (len > 0 && out[len - 1] != ' '))
            out[len++] = *text;
    out[len - (len > 0 && out[len - 1] == ' ')] = 0;
}

char *nb__cl_device_whole_text(const nb__cl_api *api, cl_device_id device, cl_device_info what) {
    char *text;
    size_t bytes = 0;
    if (api->clGetDeviceInfo(device, what, 0, NULL, &bytes) != CL_SUCCESS || nb_calloc(bytes + 1, 1, "a text", &text, NULL) != NB_OK)
        return NULL;
    if (api->clGetDeviceInfo(device, what, bytes, text, NULL) != CL_SUCCESS)
        text[0] = 0;
    return text;
}

void nb__cl_device_text(const nb__cl_api *api, cl_device_id device, cl_device_info what, char *out, size_t cap) {
    char *text = nb__cl_device_whole_text(api, device, what);
    put_text(out, cap, text ? text : "");
    nb_free(text);
}

void nb__cl_platform_text(const nb__cl_api *api, cl_platform_id platform, cl_platform_info what, char *out, size_t cap) {
    char text[4096] = "";
    size_t bytes = 0;
    if (api->clGetPlatformInfo(platform, what, sizeof text - 1, text, &bytes) != CL_SUCCESS)
        text[0] = 0;
    put_text(out, cap, text);
}

size_t nb__cl_device_number(const nb__cl_api *api, cl_device_id device, cl_device_info what) {
    uint64_t value = 0;
    size_t bytes = 0;
    if (api->clGetDeviceInfo(device, what, sizeof value, &value, &bytes) != CL_SUCCESS)
        return 0;
    uint32_t narrow;
    memcpy(&narrow, &value, sizeof narrow);
    return bytes == sizeof narrow ? narrow : (size_t)value;
}

nb_status nb__cl_find(const nb__cl_api *api, nb__cl_place *places, size_t *count, char *why, nb_err *err) {
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint found = 0;
    *count = 0;
    cl_int code = api->clGetPlatformIDs(MAX_PLATFORMS, platforms, &found);
    if (code == -1001 || (code == CL_SUCCESS && found == 0)) {
        snprintf(why, 256, "no OpenCL platform: no driver (ICD) is installed");
        return NB_OK;
    }
    if (code != CL_SUCCESS)
        return nb__cl_fail(err, code, "the list of platforms");
    for (cl_uint p = 0; p < found && p < MAX_PLATFORMS; p++) {
        cl_device_id devices[NB_CL_MAX_DEVICES];
        cl_uint some = 0;
        code = api->clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, NB_CL_MAX_DEVICES, devices, &some);
        if (code != CL_SUCCESS)
            continue; /* a platform without devices */
        for (cl_uint d = 0; d < some && d < NB_CL_MAX_DEVICES && *count < NB_CL_MAX_DEVICES; d++)
            places[(*count)++] = (nb__cl_place){platforms[p], devices[d]};
    }
    if (*count == 0)
        snprintf(why, 256, "no OpenCL device on %u platform%s", found, found == 1 ? "" : "s");
    return NB_OK;
}

static const char *type_name(size_t type) {
    return type & CL_DEVICE_TYPE_GPU ? "GPU" : type & CL_DEVICE_TYPE_CPU ? "CPU" : "accelerator";
}

void nb__cl_describe(const nb__cl_api *api, const nb__cl_place *place, size_t index, nb_device_info *out) {
    char platform[96], version[128], driver[64], extensions[600];
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "opencl:%zu", index);
    nb__cl_device_text(api, place->device, CL_DEVICE_NAME, out->model, sizeof out->model);
    nb__cl_platform_text(api, place->platform, CL_PLATFORM_NAME, platform, sizeof platform);
    nb__cl_device_text(api, place->device, CL_DEVICE_VERSION, version, sizeof version);
    nb__cl_device_text(api, place->device, CL_DRIVER_VERSION, driver, sizeof driver);
    nb__cl_device_text(api, place->device, CL_DEVICE_EXTENSIONS, extensions, sizeof extensions);
    snprintf(out->detail, sizeof out->detail, "%s, %s, %s, driver %s, %zu units; %s", platform,
             type_name(nb__cl_device_number(api, place->device, CL_DEVICE_TYPE)), version, driver,
             nb__cl_device_number(api, place->device, CL_DEVICE_MAX_COMPUTE_UNITS), extensions);
    out->memory = out->memory_free = nb__cl_device_number(api, place->device, CL_DEVICE_GLOBAL_MEM_SIZE);
}

/* Is the extension one of the words of the list? */
static bool has_word(const char *list, const char *word) {
    size_t len = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += len)
        if ((at == list || at[-1] == ' ') && (at[len] == ' ' || at[len] == 0))
            return true;
    return false;
}

static unsigned extension_features(const char *extensions) {
    unsigned f = 0;
    if (has_word(extensions, "cl_khr_fp64"))
        f |= NB_CL_FP64;
    if (has_word(extensions, "cl_khr_fp16"))
        f |= NB_CL_FP16;
    if (has_word(extensions, "cl_khr_subgroups"))
        f |= NB_CL_SUBGROUPS;
    if (has_word(extensions, "cl_khr_integer_dot_product"))
        f |= NB_CL_DOT;
    if (has_word(extensions, "cl_intel_required_subgroup_size") && has_word(extensions, "cl_intel_subgroups"))
        f |= NB_CL_SUBGROUP16;
    return f;
}

unsigned nb__cl_features(const nb__cl_api *api, cl_device_id device) {
    char *extensions = nb__cl_device_whole_text(api, device, CL_DEVICE_EXTENSIONS);
    unsigned f = extensions ? extension_features(extensions) : 0;
    nb_free(extensions);
    size_t type = nb__cl_device_number(api, device, CL_DEVICE_TYPE);
    size_t single = nb__cl_device_number(api, device, CL_DEVICE_SINGLE_FP_CONFIG);
    if (type & CL_DEVICE_TYPE_CPU)
        f |= NB_CL_CPU;
    if (!nb__cl_device_number(api, device, CL_DEVICE_DOUBLE_FP_CONFIG))
        f &= ~(unsigned)NB_CL_FP64;
    /* These are built as OpenCL C 3.0, where their functions are there without more. */
    char version[128];
    nb__cl_device_text(api, device, CL_DEVICE_VERSION, version, sizeof version);
    bool three = strncmp(version, "OpenCL ", 7) == 0 && version[7] >= '3';
    if (!three)
        f &= ~(unsigned)(NB_CL_DOT | NB_CL_SUBGROUP16);
    if (single & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT)
        f |= NB_CL_DIVIDE;
    return f;
}

static bool contains_nocase(const char *text, const char *part) {
    size_t len = strlen(part);
    for (; *text; text++) {
        size_t i = 0;
        while (i < len && text[i] && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
            i++;
        if (i == len)
            return true;
    }
    return false;
}

static bool is_named(const nb__cl_api *api, const nb__cl_place *place, const char *name) {
    static const cl_platform_info of_platform[] = {CL_PLATFORM_NAME, CL_PLATFORM_VENDOR, CL_PLATFORM_VERSION};
    static const cl_device_info of_device[] = {CL_DEVICE_NAME, CL_DEVICE_VENDOR};
    char text[512];
    for (size_t i = 0; i < sizeof of_platform / sizeof *of_platform; i++) {
        nb__cl_platform_text(api, place->platform, of_platform[i], text, sizeof text);
        if (contains_nocase(text, name))
            return true;
    }
    for (size_t i = 0; i < sizeof of_device / sizeof *of_device; i++) {
        nb__cl_device_text(api, place->device, of_device[i], text, sizeof text);
        if (contains_nocase(text, name))
            return true;
    }
    return false;
}

/* -1 where no place fits. */
static long choose(const nb__cl_api *api, const nb__cl_place *places, size_t count, const char *spec) {
    for (size_t i = 0; !spec && i < count; i++)
        if (nb__cl_device_number(api, places[i].device, CL_DEVICE_TYPE) & CL_DEVICE_TYPE_GPU)
            return (long)i;
    if (!spec)
        return 0;
    char *end;
    errno = 0;
    unsigned long index = strtoul(spec, &end, 10);
    if (isdigit((unsigned char)*spec) && !*end)
        return errno == 0 && index < count ? (long)index : -1;
    for (size_t i = 0; *spec && i < count; i++)
        if (is_named(api, &places[i], spec))
            return (long)i;
    return -1;
}

nb_status nb__cl_choose(const nb__cl_api *api, const char *spec, nb__cl_place *out, size_t *index, nb_err *err) {
    nb__cl_place places[NB_CL_MAX_DEVICES];
    size_t count;
    char why[256] = "";
    NB_TRY(nb__cl_find(api, places, &count, why, err));
    if (count == 0)
        return nb_fail_at(err, NB_E_DEVICE, NULL, "opencl", "%s", why);
    long i = choose(api, places, count, spec);
    if (i < 0)
        return nb_fail_at(err, NB_E_DEVICE, NULL, "opencl", "no OpenCL device is called \"%s\"; there %s %zu, see `nibble devices`",
                          spec, count == 1 ? "is" : "are", count);
    *index = (size_t)i;
    *out = places[i];
    return NB_OK;
}
