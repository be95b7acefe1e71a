/* config.h -- one table from which parsing, defaults, checks, --help and the manual come.
 *
 * The file is YAML: sections of keys ("hub:" then "mqtt_port: 8883"). An error names file, line,
 * column and key, what was expected and what was found. Unknown keys are errors with a suggestion.
 * VIGIL_SECTION_KEY in the environment overrides the file.
 */
#ifndef VG_BASE_CONFIG_H
#define VG_BASE_CONFIG_H

#include "base/arena.h"
#include "base/buf.h"

enum vg_option_type {
    VG_OPTION_TEXT,     /* const char * */
    VG_OPTION_PATH,     /* const char *; relative to the configuration file's folder */
    VG_OPTION_SECRET,   /* const char *; never printed; "file:PATH" reads it from a file */
    VG_OPTION_BOOL,     /* bool */
    VG_OPTION_INTEGER,  /* int64_t, within min..max */
    VG_OPTION_BYTES,    /* int64_t; "64MiB", "10 GiB", "512" */
    VG_OPTION_DURATION, /* int64_t microseconds; "250ms", "30s", "5m", "24h", "7d" */
    VG_OPTION_DECIMAL,  /* double, within min..max */
    VG_OPTION_CHOICE,   /* const char *, one of `choices` ("a|b|c") */
};

struct vg_option {
    const char *key; /* "hub.mqtt_port" */
    enum vg_option_type type;
    size_t offset;     /* offsetof() in the struct that is filled */
    const char *usual; /* default, written as in the file */
    const char *unit;  /* "" or "per second", for the manual */
    double min, max;   /* both 0 = no bound */
    const char *choices;
    const char *help; /* one sentence */
};

/* Fill *config (of the program's own struct type) with the defaults, then from the file (path may
 * be NULL: defaults only), then from the environment, then from `overrides` ("key=value",
 * NULL-ended, may be NULL). Texts live in `arena`. VG_REJECT on the first error. */
VG_CHECK enum vg_status vg_config_load(struct vg_arena *arena, const struct vg_option *options,
                                       size_t option_count, const char *path,
                                       const char *const *overrides, void *config,
                                       struct vg_err *err);

/* The table as Markdown (for docs/configuration.md), as YAML with comments (for
 * vigil.example.yaml) and as plain text (for --help). */
void vg_config_write_markdown(const struct vg_option *options, size_t count, struct vg_buf *out);
void vg_config_write_yaml(const struct vg_option *options, size_t count, struct vg_buf *out);
void vg_config_write_help(const struct vg_option *options, size_t count, struct vg_buf *out);

/* The same readers for command-line values. */
bool vg_bytes_parse(struct vg_slice text, int64_t *ret_bytes);
bool vg_duration_parse(struct vg_slice text, int64_t *ret_us);

#endif
