/* nibble: version of the library and of its ABI. */
#ifndef NIBBLE_VERSION_H
#define NIBBLE_VERSION_H

#define NB_VERSION_MAJOR 0
#define NB_VERSION_MINOR 1
#define NB_VERSION_PATCH 0
#define NB_VERSION_STRING "0.1.0"

/* What the library exports; everything else is hidden. */
#if defined(__GNUC__)
#define NB_API __attribute__((visibility("default")))
#else
#define NB_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that runs, "major.minor.patch". Static storage; thread-safe. */
NB_API const char *nb_version(void);

#ifdef __cplusplus
}
#endif
#endif
