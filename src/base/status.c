#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum vg_status vg_fail(struct vg_err *err, enum vg_status status, const char *code, int sys_errno,
                       const char *fmt, ...)
{
    va_list args;
    int used;

    if (!err)
        return status;
    err->code = code;
    err->sys_errno = sys_errno;
    va_start(args, fmt);
    used = vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    if (sys_errno && used >= 0 && (size_t)used < sizeof(err->text)) {
        char reason[96];
        /* The GNU strerror_r: thread-safe, may return a static string. */
        const char *text = strerror_r(sys_errno, reason, sizeof(reason));

        (void)snprintf(err->text + used, sizeof(err->text) - (size_t)used, ": %s", text);
    }
    return status;
}
