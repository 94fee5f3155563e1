/* What the OpenCL backend chooses by measurement: work-group sizes and tiles. */
#include "host/backend/opencl.h"

nb__cl_tuning nb__cl_tuning_default(unsigned features) {
    nb__cl_tuning t = {.wide_items = 1, .slices = 8, .tile_from = 32};
    (void)features;
    return t;
}
