/* Stands for the OpenCL backend in a build without OpenCL's headers: `nibble devices` says why there is none. */
#include <stdio.h>

#include "host/backend/backend.h"

static const char reason[] = "this build has no OpenCL: the headers (Debian: opencl-c-headers) were missing, or NB_OPENCL was off";

static nb_status none_list(nb_device_info *infos, size_t cap, size_t *count, char *why, nb_err *err) {
    (void)infos, (void)cap, (void)err;
    *count = 0;
    snprintf(why, 256, "%s", reason);
    return NB_OK;
}

static nb_status none_open(const char *spec, const nb_device_options *options, nb_device **out, nb_err *err) {
    (void)spec, (void)options, (void)out;
    return nb_fail_at(err, NB_E_DEVICE, NULL, "opencl", "%s", reason);
}

const nb_backend nb__backend_opencl = {.id = NB_OPENCL, .name = "opencl", .list = none_list, .open = none_open};
