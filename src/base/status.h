/* status.h -- what went wrong, and what the caller should do about it.
 *
 * The return value answers "what do I do now?"; struct vg_err answers "why?".
 * There are five answers only, so every stage can switch on them.
 */
#ifndef VG_BASE_STATUS_H
#define VG_BASE_STATUS_H

#define VG_CHECK             __attribute__((warn_unused_result))
#define VG_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

enum vg_status {
    VG_OK = 0,
    VG_END,    /* nothing more to read, or nothing found: not a failure, nothing is logged */
    VG_RETRY,  /* the same input may work later: back off, keep the offset */
    VG_REJECT, /* this input can never work: dead-letter it and go on */
    VG_FATAL,  /* our own state is in doubt: stop this stage, call a human */
};

/* Filled only on failure. `code` is a static string such as "stream.write", stable across
 * releases: it is the metric label and the row in docs/operations.md. `text` is for whoever
 * reads the log at 3 a.m.: starts lower-case, names the thing, says what was expected and what
 * was found, no full stop, no patient data, no secret. */
struct vg_err {
    const char *code;
    int sys_errno;
    char text[256];
};

/* Fill *err (may be NULL) and hand `status` back, so that failing is one line:
 *     return vg_fail(err, VG_RETRY, "stream.write", errno, "segment %u", segment);
 * With sys_errno != 0 its description is appended to the text. */
VG_PRINTF(5, 6)
enum vg_status vg_fail(struct vg_err *err, enum vg_status status, const char *code, int sys_errno,
                       const char *fmt, ...);

#endif
