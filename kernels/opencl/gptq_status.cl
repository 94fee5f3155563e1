/* struct nb_gptq_status of kernels/ops.h. */
typedef struct Status {
    uint dead, bad_hessian, bad_weight, pivot;
    float mean;
} Status;
