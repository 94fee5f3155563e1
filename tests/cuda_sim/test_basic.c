/* Whole kernels made by nvcc for compute_75, 80 and 90 against plain C. */
#include "rig.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int archs[] = {75, 80, 90};
#define EACH_ARCH(a) for (int ai_ = 0, a = archs[0]; ai_ < 3; ai_++, a = archs[ai_ < 3 ? ai_ : 0])

Test(basic, vector_add)
{
    enum { N = 1000 };
    float a[N], b[N], o[N];
    for (int i = 0; i < N; i++) {
        a[i] = (float)i * 0.37f;
        b[i] = 1.0f / (float)(i + 1);
    }
    EACH_ARCH(arch)
    {
        rig_start(arch, 1);
        CUfunction f = rig_function(rig_load("basic", arch), "add");
        CUdeviceptr da = rig_upload(a, sizeof a), db = rig_upload(b, sizeof b), dout = rig_alloc(sizeof o);
        int n = N;
        void *args[] = {&dout, &da, &db, &n};
        OK(rig_launch(f, 8, 128, 0, args));
        rig_download(o, dout, sizeof o);
        for (int i = 0; i < N; i++)
            cr_assert_eq(o[i], a[i] + b[i], "sm_%d element %d", arch, i);
        cuda_sim_reset();
    }
}
