#include "host/base/log.h"

#include <stdarg.h>
#include <stdio.h>

void nb_logf(const nb_log *log, nb_log_level level, const char *fmt, ...) {
    if (!log || !log->write)
        return;
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    log->write(log->ctx, level, line);
}
