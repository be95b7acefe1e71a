/* config.c -- configuration from one table: defaults, a YAML file, the environment, the command
 * line.
 *
 * The table's keys are paths ("hub.mqtt_port"). A file is walked once; each scalar finds its row by
 * path, each mapping must be a prefix of some row's key. What comes later replaces what came
 * before, so the order of precedence is the order of the calls in vg_config_load().
 *
 * Reasons: an unknown key is an error, because a misspelt alarm limit that is ignored is worse than
 * a program that does not start; the suggestion is the nearest key by edit distance.
 *
 * Threads: loading belongs to one thread; the filled struct is read-only afterwards.
 */
#include "base/config.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"

#include <libfyaml.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define CONFIG_FILE_BYTES_MAX (1u << 20)
#define CONFIG_SECRET_BYTES_MAX (64u << 10)
#define CONFIG_KEY_SIZE 128

struct loader {
    struct vg_arena *arena;
    const struct vg_option *options;
    size_t option_count;
    const char *path;   /* of the file; NULL = none */
    const char *folder; /* that relative paths start from; "" = the working directory */
    void *config;
    struct vg_err *err;
};

/* ---- values with units ---- */

struct unit {
    const char *name;
    double factor;
};

/* "<decimal><blanks><unit>"; the product must be a whole, non-negative int64_t. */
static bool parse_with_unit(struct vg_slice text, const struct unit *units, size_t unit_count,
                            int64_t *ret)
{
    size_t digits = 0;
    double number;

    text = vg_slice_trim(text);
    while (digits < text.len &&
           (text.ptr[digits] == '.' || (text.ptr[digits] >= '0' && text.ptr[digits] <= '9')))
        digits++;
    struct vg_slice unit = vg_slice_trim(vg_slice_from(text, digits));

    if (!vg_slice_to_double((struct vg_slice){text.ptr, digits}, &number))
        return false;
    for (size_t i = 0; i < unit_count; i++) {
        double product = number * units[i].factor;

        if (!vg_slice_is(unit, units[i].name))
            continue;
        if (product != nearbyint(product) || product > 9e15)
            return false;
        *ret = (int64_t)product;
        return true;
    }
    return false;
}

static const struct unit byte_units[] = {
    {"TiB", 1099511627776.0},
    {"GiB", 1073741824.0},
    {"MiB", 1048576.0},
    {"KiB", 1024.0},
    {"TB", 1e12},
    {"GB", 1e9},
    {"MB", 1e6},
    {"kB", 1e3},
    {"B", 1},
    {"", 1},
};

static const struct unit duration_units[] = {
    {"d", 86400e6}, {"h", 3600e6}, {"min", 60e6}, {"m", 60e6}, {"s", 1e6}, {"ms", 1e3}, {"us", 1},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

bool vg_bytes_parse(struct vg_slice text, int64_t *ret_bytes)
{
    return parse_with_unit(text, byte_units, COUNT(byte_units), ret_bytes);
}

bool vg_duration_parse(struct vg_slice text, int64_t *ret_us)
{
    if (vg_slice_is(vg_slice_trim(text), "0")) {
        *ret_us = 0;
        return true;
    }
    return parse_with_unit(text, duration_units, COUNT(duration_units), ret_us);
}

/* In the largest unit that leaves a whole number. */
static void format_with_unit(double value, const struct unit *units, size_t unit_count, char *out,
                             size_t size_bytes)
{
    for (size_t i = 0; i < unit_count; i++) {
        double number = value / units[i].factor;

        if (number == nearbyint(number) && (fabs(number) >= 1 || i + 1 == unit_count)) {
            (void)snprintf(out, size_bytes, "%.0f%s", number, units[i].name);
            return;
        }
    }
}

static void format_bound(const struct vg_option *option, double bound, char *out, size_t size_bytes)
{
    if (option->type == VG_OPTION_BYTES)
        format_with_unit(bound, byte_units, COUNT(byte_units), out, size_bytes);
    else if (option->type == VG_OPTION_DURATION)
        format_with_unit(bound, duration_units, COUNT(duration_units), out, size_bytes);
    else
        (void)snprintf(out, size_bytes, "%.15g", bound);
}

/* What a value of this option looks like: "an integer from 1 to 65535". */
static void describe(const struct vg_option *option, char *out, size_t size_bytes)
{
    static const char *const kinds[] = {
        [VG_OPTION_TEXT] = "text",
        [VG_OPTION_PATH] = "a path",
        [VG_OPTION_SECRET] = "a secret, or file:PATH",
        [VG_OPTION_BOOL] = "true or false",
        [VG_OPTION_INTEGER] = "an integer",
        [VG_OPTION_BYTES] = "a size such as 64MiB",
        [VG_OPTION_DURATION] = "a duration such as 250ms, 30s, 5m, 24h or 7d",
        [VG_OPTION_DECIMAL] = "a number",
        [VG_OPTION_CHOICE] = "one of",
    };
    char low[32] = "", high[32] = "";

    if (option->type == VG_OPTION_CHOICE) {
        (void)snprintf(out, size_bytes, "one of %s", option->choices);
        return;
    }
    (void)snprintf(out, size_bytes, "%s", kinds[option->type]);
    if (option->min == 0 && option->max == 0)
        return;
    format_bound(option, option->min, low, sizeof(low));
    format_bound(option, option->max, high, sizeof(high));
    (void)snprintf(out, size_bytes, "%s from %s to %s", kinds[option->type], low, high);
}

/* ---- setting one option ---- */

static enum vg_status fail_value(const struct loader *in, const struct vg_option *option,
                                 const char *place, struct vg_slice found)
{
    char expected[128];

    describe(option, expected, sizeof(expected));
    if (option->type == VG_OPTION_SECRET)
        return vg_fail(in->err, VG_REJECT, "config.value", 0, "%s: %s: expected %s", place,
                       option->key, expected);
    return vg_fail(in->err, VG_REJECT, "config.value", 0, "%s: %s: expected %s, found \"%.*s\"",
                   place, option->key, expected, (int)(found.len < 60 ? found.len : 60),
                   found.len ? found.ptr : "");
}

static enum vg_status fail_memory(const struct loader *in, const char *place)
{
    return vg_fail(in->err, VG_RETRY, "config.memory", 0, "%s: no memory", place);
}

static struct vg_slice resolve_path(const struct loader *in, struct vg_slice path, bool is_relative)
{
    if (!is_relative || path.len == 0 || path.ptr[0] == '/' || in->folder[0] == '\0')
        return vg_arena_dup(in->arena, path);
    return vg_arena_printf(in->arena, "%s/%.*s", in->folder, VG_FMT(path));
}

static enum vg_status read_secret(const struct loader *in, const struct vg_option *option,
                                  const char *place, bool is_relative, struct vg_slice value,
                                  struct vg_slice *ret_text)
{
    struct vg_slice path = resolve_path(in, vg_slice_from(value, strlen("file:")), is_relative);
    struct vg_err why = {0};

    if (!path.ptr)
        return fail_memory(in, place);
    if (vg_file_read(in->arena, path.ptr, CONFIG_SECRET_BYTES_MAX, ret_text, &why) != VG_OK)
        return vg_fail(in->err, VG_REJECT, "config.secret", 0, "%s: %s: %.100s", place, option->key,
                       why.text);
    *ret_text = vg_arena_dup(in->arena, vg_slice_trim(*ret_text));
    return ret_text->ptr ? VG_OK : fail_memory(in, place);
}

static bool is_choice(const char *choices, struct vg_slice value)
{
    struct vg_slice rest = vg_slice_of(choices);

    while (rest.ptr) {
        if (vg_slice_eq(vg_slice_cut(&rest, '|'), value))
            return true;
    }
    return false;
}

static bool parse_bool(struct vg_slice value, bool *ret)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};

    for (size_t i = 0; i < COUNT(words); i++) {
        if (vg_slice_eq_nocase(value, vg_slice_of(words[i]))) {
            *ret = i % 2 == 1;
            return true;
        }
    }
    return false;
}

static bool is_within(const struct vg_option *option, double value)
{
    return (option->min == 0 && option->max == 0) || (value >= option->min && value <= option->max);
}

/* `place` says where the value stands. is_relative: paths start from the file's folder. */
static enum vg_status set_option(const struct loader *in, const struct vg_option *option,
                                 struct vg_slice value, const char *place, bool is_relative)
{
    void *field = (char *)in->config + option->offset;
    enum vg_status status = VG_OK;
    struct vg_slice text = {0};
    int64_t integer = 0;
    double decimal = 0;
    bool is_good = true, flag = false;

    switch (option->type) {
    case VG_OPTION_CHOICE:
        is_good = is_choice(option->choices, value);
        text = vg_arena_dup(in->arena, value);
        break;
    case VG_OPTION_TEXT:
        text = vg_arena_dup(in->arena, value);
        break;
    case VG_OPTION_PATH:
        text = resolve_path(in, value, is_relative);
        break;
    case VG_OPTION_SECRET:
        if (vg_slice_starts(value, VG_SLICE("file:")))
            status = read_secret(in, option, place, is_relative, value, &text);
        else
            text = vg_arena_dup(in->arena, value);
        break;
    case VG_OPTION_BOOL:
        is_good = parse_bool(value, &flag);
        break;
    case VG_OPTION_INTEGER:
        is_good = vg_slice_to_i64(value, &integer) && is_within(option, (double)integer);
        break;
    case VG_OPTION_BYTES:
        is_good = vg_bytes_parse(value, &integer) && is_within(option, (double)integer);
        break;
    case VG_OPTION_DURATION:
        is_good = vg_duration_parse(value, &integer) && is_within(option, (double)integer);
        break;
    case VG_OPTION_DECIMAL:
        is_good = vg_slice_to_double(value, &decimal) && is_within(option, decimal);
        break;
    }
    if (status != VG_OK)
        return status;
    if (!is_good || (text.ptr && memchr(text.ptr, '\0', text.len)))
        return fail_value(in, option, place, value);
    switch (option->type) {
    case VG_OPTION_BOOL:
        memcpy(field, &flag, sizeof(flag));
        return VG_OK;
    case VG_OPTION_DECIMAL:
        memcpy(field, &decimal, sizeof(decimal));
        return VG_OK;
    case VG_OPTION_INTEGER:
    case VG_OPTION_BYTES:
    case VG_OPTION_DURATION:
        memcpy(field, &integer, sizeof(integer));
        return VG_OK;
    case VG_OPTION_TEXT:
    case VG_OPTION_PATH:
    case VG_OPTION_SECRET:
    case VG_OPTION_CHOICE:
        break;
    }
    if (!text.ptr)
        return fail_memory(in, place);
    memcpy(field, &text.ptr, sizeof(text.ptr));
    return VG_OK;
}

/* ---- finding an option by its key ---- */

static const struct vg_option *find_option(const struct loader *in, struct vg_slice key)
{
    for (size_t i = 0; i < in->option_count; i++) {
        if (vg_slice_is(key, in->options[i].key))
            return &in->options[i];
    }
    return NULL;
}

/* Is `key` what stands before a dot in some option's key? */
static bool is_section(const struct loader *in, struct vg_slice key)
{
    for (size_t i = 0; i < in->option_count; i++) {
        const char *option_key = in->options[i].key;

        if (strncmp(option_key, key.ptr, key.len) == 0 && option_key[key.len] == '.')
            return true;
    }
    return false;
}

/* How many characters must be put in, taken out or changed to make b of a (Levenshtein). */
static size_t edit_distance(struct vg_slice a, struct vg_slice b)
{
    size_t row[CONFIG_KEY_SIZE + 1];

    if (a.len > CONFIG_KEY_SIZE || b.len > CONFIG_KEY_SIZE)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t change = diagonal + (a.ptr[i - 1] != b.ptr[j - 1]);
            size_t step = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;

            diagonal = row[j];
            row[j] = change < step ? change : step;
        }
    }
    return row[b.len];
}

/* The part of an option's key that has as many dots as `key`. */
static struct vg_slice same_depth(const char *option_key, struct vg_slice key)
{
    struct vg_slice part = vg_slice_of(option_key);
    size_t dots = 0;

    for (size_t i = 0; i < key.len; i++)
        dots += key.ptr[i] == '.';
    for (size_t i = 0; i < part.len; i++) {
        if (part.ptr[i] == '.' && dots-- == 0)
            part.len = i;
    }
    return part;
}

static enum vg_status fail_unknown(const struct loader *in, struct vg_slice key, const char *place)
{
    struct vg_slice best = {0};
    size_t best_distance = key.len / 3 + 1;

    if (key.len > CONFIG_KEY_SIZE)
        key.len = CONFIG_KEY_SIZE;
    for (size_t i = 0; i < in->option_count; i++) {
        struct vg_slice whole = vg_slice_of(in->options[i].key);
        struct vg_slice part = same_depth(in->options[i].key, key);
        const char *dot = strrchr(whole.ptr, '.');
        size_t distance = edit_distance(key, part);

        if (distance < best_distance || (distance == best_distance && !best.ptr)) {
            best_distance = distance;
            best = part;
        }
        /* The section was forgotten. */
        distance = dot ? edit_distance(key, vg_slice_of(dot + 1)) : SIZE_MAX;
        if (distance < best_distance) {
            best_distance = distance;
            best = whole;
        }
    }
    if (!best.ptr)
        return vg_fail(in->err, VG_REJECT, "config.key", 0, "%s: there is no key \"%.*s\"", place,
                       VG_FMT(key));
    return vg_fail(in->err, VG_REJECT, "config.key", 0,
                   "%s: there is no key \"%.*s\"; did you mean \"%.*s\"?", place, VG_FMT(key),
                   VG_FMT(best));
}

/* ---- the file ---- */

static void place_of(const struct loader *in, struct fy_node *node, char *out, size_t size_bytes)
{
    struct fy_token *token = node ? fy_node_get_scalar_token(node) : NULL;
    const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;

    if (mark)
        (void)snprintf(out, size_bytes, "%.100s:%d:%d", in->path, mark->line + 1, mark->column + 1);
    else
        (void)snprintf(out, size_bytes, "%.100s", in->path);
}

static enum vg_status read_mapping(const struct loader *in, struct fy_node *mapping,
                                   struct vg_slice prefix);

static enum vg_status read_pair(const struct loader *in, struct fy_node_pair *pair,
                                struct vg_slice prefix)
{
    struct fy_node *key_node = fy_node_pair_key(pair), *node = fy_node_pair_value(pair);
    char place[160], key[CONFIG_KEY_SIZE];
    size_t name_len = 0, value_len = 0;
    const char *name = NULL, *value = NULL;

    if (key_node && fy_node_is_scalar(key_node) && !fy_node_is_alias(key_node))
        name = fy_node_get_scalar(key_node, &name_len);
    place_of(in, key_node, place, sizeof(place));
    if (!name || prefix.len + name_len + 2 > sizeof(key))
        return vg_fail(in->err, VG_REJECT, "config.key", 0, "%s: expected the name of a key",
                       place);
    int used = snprintf(key, sizeof(key), "%.*s%s%.*s", VG_FMT(prefix), prefix.len ? "." : "",
                        (int)name_len, name);
    struct vg_slice path = {key, used > 0 ? (size_t)used : 0};
    const struct vg_option *option = find_option(in, path);

    if (!option && !is_section(in, path))
        return fail_unknown(in, path, place);
    if (node && fy_node_is_mapping(node) && !option)
        return read_mapping(in, node, path);
    if (!node || (fy_node_is_scalar(node) && !fy_node_is_alias(node)))
        value = node ? fy_node_get_scalar(node, &value_len) : "";
    if (!option) {
        if (value && value_len == 0)
            return VG_OK; /* a section without keys */
        return vg_fail(in->err, VG_REJECT, "config.value", 0,
                       "%s: \"%s\" is a section: expected keys beneath it", place, key);
    }
    if (!value)
        return vg_fail(in->err, VG_REJECT, "config.value", 0, "%s: %s: expected one plain value",
                       place, key);
    if (value_len > 0)
        place_of(in, node, place, sizeof(place));
    return set_option(in, option, (struct vg_slice){value, value_len}, place, true);
}

static enum vg_status read_mapping(const struct loader *in, struct fy_node *mapping,
                                   struct vg_slice prefix)
{
    enum vg_status status = VG_OK;
    struct fy_node_pair *pair;
    void *cursor = NULL;

    while (status == VG_OK && (pair = fy_node_mapping_iterate(mapping, &cursor)))
        status = read_pair(in, pair, prefix);
    return status;
}

static void keep_quiet(struct fy_diag *diag, void *user, const char *text, size_t len)
{
    (void)diag, (void)user, (void)text, (void)len; /* errors are collected instead */
}

static enum vg_status fail_syntax(const struct loader *in, struct fy_diag *diag)
{
    void *cursor = NULL;
    const struct fy_diag_error *first = fy_diag_errors_iterate(diag, &cursor);

    if (!first)
        return vg_fail(in->err, VG_REJECT, "config.syntax", 0, "%s: not YAML", in->path);
    return vg_fail(in->err, VG_REJECT, "config.syntax", 0, "%.100s:%d:%d: %s", in->path,
                   first->line, first->column, first->msg);
}

static enum vg_status read_document(const struct loader *in, struct fy_parser *parser,
                                    struct fy_diag *diag)
{
    struct fy_document *document = fy_parse_load_document(parser), *second = NULL;
    enum vg_status status = VG_OK;
    struct fy_node *root;

    if (document)
        second = fy_parse_load_document(parser);
    if (fy_parser_get_stream_error(parser) || fy_diag_got_error(diag)) {
        status = fail_syntax(in, diag);
        goto out;
    }
    if (second) {
        status = vg_fail(in->err, VG_REJECT, "config.syntax", 0,
                         "%s: a second document after \"---\": expected one", in->path);
        goto out;
    }
    root = document ? fy_document_root(document) : NULL;
    if (root && fy_node_is_mapping(root))
        status = read_mapping(in, root, (struct vg_slice){0});
    else if (root)
        status = vg_fail(in->err, VG_REJECT, "config.syntax", 0,
                         "%s: expected sections of keys, such as \"hub:\"", in->path);
out:
    if (second)
        fy_parse_document_destroy(parser, second);
    if (document)
        fy_parse_document_destroy(parser, document);
    return status;
}

static enum vg_status read_file(const struct loader *in)
{
    struct fy_diag_cfg diag_config;
    struct fy_parser *parser = NULL;
    struct fy_diag *diag = NULL;
    struct vg_slice content;
    enum vg_status status =
        vg_file_read(in->arena, in->path, CONFIG_FILE_BYTES_MAX, &content, in->err);

    if (status == VG_END)
        return vg_fail(in->err, VG_REJECT, "config.missing", 0, "there is no file %s", in->path);
    if (status != VG_OK)
        return status;
    if (content.len == 0)
        return VG_OK; /* the parser calls an empty file an error */
    if (!vg_slice_is_utf8(content))
        return vg_fail(in->err, VG_REJECT, "config.syntax", 0, "%s: not UTF-8 text", in->path);
    fy_diag_cfg_default(&diag_config);
    diag_config.fp = NULL;
    diag_config.output_fn = keep_quiet;
    diag = fy_diag_create(&diag_config);
    if (diag) {
        fy_diag_set_collect_errors(diag, true);
        parser = fy_parser_create(&(struct fy_parse_cfg){.flags = FYPCF_DEFAULT_DOC, .diag = diag});
    }
    if (!parser || fy_parser_set_string(parser, content.ptr, content.len) != 0)
        status = fail_memory(in, in->path);
    else
        status = read_document(in, parser, diag);
    if (parser)
        fy_parser_destroy(parser);
    if (diag)
        fy_diag_destroy(diag);
    return status;
}

/* ---- all sources ---- */

static enum vg_status set_defaults(const struct loader *in)
{
    enum vg_status status = VG_OK;

    for (size_t i = 0; i < in->option_count && status == VG_OK; i++) {
        if (in->options[i].usual)
            status = set_option(in, &in->options[i], vg_slice_of(in->options[i].usual),
                                "the built-in default", true);
    }
    return status;
}

/* "hub.mqtt_port" -> "VIGIL_HUB_MQTT_PORT" */
static void name_variable(const char *key, char *out, size_t size_bytes)
{
    (void)snprintf(out, size_bytes, "VIGIL_%s", key);
    for (char *p = out; *p; p++) {
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 32);
        else if (*p == '.' || *p == '-')
            *p = '_';
    }
}

static enum vg_status read_environment(const struct loader *in)
{
    enum vg_status status = VG_OK;

    for (size_t i = 0; i < in->option_count && status == VG_OK; i++) {
        char name[CONFIG_KEY_SIZE + 8];
        const char *value;

        name_variable(in->options[i].key, name, sizeof(name));
        value = getenv(name);
        if (value)
            status = set_option(in, &in->options[i], vg_slice_of(value), name, false);
    }
    return status;
}

static enum vg_status read_overrides(const struct loader *in, const char *const *overrides)
{
    static const char place[] = "the command line";
    enum vg_status status = VG_OK;

    for (; overrides && *overrides && status == VG_OK; overrides++) {
        struct vg_slice value = vg_slice_of(*overrides), key = vg_slice_cut(&value, '=');
        const struct vg_option *option = find_option(in, key);

        if (!value.ptr)
            status = vg_fail(in->err, VG_REJECT, "config.key", 0,
                             "%s: expected key=value, found \"%.60s\"", place, *overrides);
        else if (!option)
            status = fail_unknown(in, key, place);
        else
            status = set_option(in, option, value, place, false);
    }
    return status;
}

enum vg_status vg_config_load(struct vg_arena *arena, const struct vg_option *options,
                              size_t option_count, const char *path, const char *const *overrides,
                              void *config, struct vg_err *err)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    struct loader in = {
        .arena = arena,
        .options = options,
        .option_count = option_count,
        .path = path,
        .folder = "",
        .config = config,
        .err = err,
    };
    enum vg_status status = VG_OK;

    if (slash) {
        /* "/vigil.yaml" is in "/.": its paths then begin with "/./" */
        in.folder = slash == path
                        ? "/."
                        : vg_arena_dup(arena, (struct vg_slice){path, (size_t)(slash - path)}).ptr;
        if (!in.folder)
            return fail_memory(&in, path);
    }
    status = set_defaults(&in);
    if (status == VG_OK && path)
        status = read_file(&in);
    if (status == VG_OK)
        status = read_environment(&in);
    if (status == VG_OK)
        status = read_overrides(&in, overrides);
    return status;
}

/* ---- the table, written down ---- */

/* The part of a key before its last dot. */
static struct vg_slice section_of(const char *key)
{
    const char *dot = strrchr(key, '.');

    return (struct vg_slice){key, dot ? (size_t)(dot - key) : 0};
}

/* "an integer from 1 to 65535, per second" */
static void write_kind(const struct vg_option *option, struct vg_buf *out)
{
    char kind[128];

    describe(option, kind, sizeof(kind));
    vg_buf_printf(out, "%s", kind);
    if (option->unit && *option->unit)
        vg_buf_printf(out, ", %s", option->unit);
}

static void write_cell(struct vg_buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            vg_buf_put_byte(out, '\\');
        vg_buf_put_byte(out, (uint8_t)*text);
    }
}

void vg_config_write_markdown(const struct vg_option *options, size_t count, struct vg_buf *out)
{
    struct vg_slice section = {"", SIZE_MAX};

    for (size_t i = 0; i < count; i++) {
        const struct vg_option *option = &options[i];
        const char *usual = option->usual ? option->usual : "";
        char kind[128], variable[CONFIG_KEY_SIZE + 8];

        if (i == 0 || !vg_slice_eq(section, section_of(option->key))) {
            section = section_of(option->key);
            vg_buf_printf(out, "%s## %.*s\n\n", i ? "\n" : "", VG_FMT(section));
            vg_buf_printf(out, "| Key | Value | Default | Meaning | Variable |\n");
            vg_buf_printf(out, "|---|---|---|---|---|\n");
        }
        describe(option, kind, sizeof(kind));
        name_variable(option->key, variable, sizeof(variable));
        vg_buf_printf(out, "| `%s` | ", option->key);
        write_cell(out, kind);
        if (option->unit && *option->unit)
            vg_buf_printf(out, ", %s", option->unit);
        vg_buf_printf(out, *usual ? " | `%s` | " : " |%s | ", usual);
        write_cell(out, option->help);
        vg_buf_printf(out, " | `%s` |\n", variable);
    }
}

/* The lines that open the sections of `key` which the key before did not have open. */
static unsigned write_sections(const char *key, const char *before, struct vg_buf *out)
{
    unsigned depth = 0;
    bool is_open = true;
    const char *begin = key;

    for (const char *dot = strchr(key, '.'); dot; dot = strchr(begin, '.')) {
        size_t len = (size_t)(dot + 1 - key);

        is_open = is_open && strncmp(key, before, len) == 0;
        if (!is_open)
            vg_buf_printf(out, "%s%*s%.*s:\n", depth == 0 && *before ? "\n" : "", (int)depth * 2,
                          "", (int)(dot - begin), begin);
        begin = dot + 1;
        depth++;
    }
    return depth;
}

void vg_config_write_yaml(const struct vg_option *options, size_t count, struct vg_buf *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct vg_option *option = &options[i];
        const char *dot = strrchr(option->key, '.');
        int indent = (int)write_sections(option->key, i ? options[i - 1].key : "", out) * 2;

        vg_buf_printf(out, "%*s# %s (", indent, "", option->help);
        write_kind(option, out);
        vg_buf_printf(out, ")\n%*s%s: ", indent, "", dot ? dot + 1 : option->key);
        if (option->type == VG_OPTION_TEXT || option->type == VG_OPTION_PATH ||
            option->type == VG_OPTION_SECRET)
            vg_json_escape(out, vg_slice_of(option->usual));
        else
            vg_buf_printf(out, "%s", option->usual ? option->usual : "");
        vg_buf_put_byte(out, '\n');
    }
}

void vg_config_write_help(const struct vg_option *options, size_t count, struct vg_buf *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct vg_option *option = &options[i];

        vg_buf_printf(out, "  %s=%s\n      %s (", option->key, option->usual ? option->usual : "",
                      option->help);
        write_kind(option, out);
        vg_buf_printf(out, ")\n");
    }
}
