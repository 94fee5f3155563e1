/* libcuda.so.1 and libcublas.so by dlopen. Both stay loaded: drivers do not bear to be unloaded. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "host/backend/cuda_api.h"

/* A function's address from the loader's; ISO C has no cast between the two. */
static int find(void *library, const char *symbol, void *field, size_t size) {
    void *address = dlsym(library, symbol);
    memcpy(field, &address, size);
    return address != NULL;
}

static struct {
    pthread_once_t once;
    nb__cu_api api;
    int loaded;
    char why[256];
} driver = {.once = PTHREAD_ONCE_INIT};

static void load_driver(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    const char *missing = NULL;
    if (!library) {
        for (int i = 0; i < 2; i++)
            (void)dlerror(); /* the second call frees the first one's text */
        snprintf(driver.why, sizeof driver.why, "no NVIDIA driver: libcuda.so.1 was not found");
        return;
    }
#define NB_CU_LOAD(field, symbol, args)                                                            \
    if (!find(library, symbol, &driver.api.field, sizeof driver.api.field))                        \
        missing = symbol;
    NB_CU_FUNCTIONS(NB_CU_LOAD)
#undef NB_CU_LOAD
    if (missing) {
        snprintf(driver.why, sizeof driver.why, "the NVIDIA driver is too old, it has no %s; R580 or later is wanted", missing);
        return;
    }
    nb__cu_result r = driver.api.init(0);
    const char *name = "unknown error", *text = "";
    if (r != 0) {
        driver.api.error_name(r, &name);
        driver.api.error_string(r, &text);
        snprintf(driver.why, sizeof driver.why, "the NVIDIA driver does not start: %s (%d), %s", name, r, text);
        return;
    }
    driver.loaded = 1;
}

const nb__cu_api *nb__cu_load(char *why, size_t cap) {
    pthread_once(&driver.once, load_driver);
    if (!driver.loaded)
        snprintf(why, cap, "%s", driver.why);
    return driver.loaded ? &driver.api : NULL;
}

static struct {
    pthread_once_t once;
    nb__blas_api api;
    int loaded;
} blas = {.once = PTHREAD_ONCE_INIT};

static void load_blas(void) {
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so.11"};
    void *library = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !library; i++) {
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        blas.api.library = names[i];
    }
    blas.loaded = library != NULL;
#define NB_BLAS_LOAD(field, symbol, args)                                                          \
    blas.loaded = blas.loaded && find(library, symbol, &blas.api.field, sizeof blas.api.field);
    NB_BLAS_FUNCTIONS(NB_BLAS_LOAD)
#undef NB_BLAS_LOAD
}

const nb__blas_api *nb__blas_load(void) {
    pthread_once(&blas.once, load_blas);
    return blas.loaded ? &blas.api : NULL;
}
