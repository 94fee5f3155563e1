/* Messages from the library to whoever runs it. The library never prints: it calls the sink it was given. */
#ifndef NB_BASE_LOG_H
#define NB_BASE_LOG_H

#include "host/base/err.h"

typedef enum nb_log_level { NB_LOG_DEBUG, NB_LOG_INFO, NB_LOG_WARN } nb_log_level;

/* A sink; a NULL pointer or a NULL write discards. write may be called from one thread at a time. */
typedef struct nb_log {
    void (*write)(void *ctx, nb_log_level level, const char *line);
    void *ctx;
} nb_log;

void nb_logf(const nb_log *log, nb_log_level level, const char *fmt, ...) NB_PRINTF(3, 4);

#endif
