/* draft.c -- a resource on its way in: parsed, checked, indexed, and cut for its stored text.
 *
 * The stored text is the client's text. Only three things are ours and are spliced in: `id`,
 * `meta.versionId` and `meta.lastUpdated`. Nothing is re-serialised, so 38.20 stays 38.20 and
 * +05:30 stays +05:30. (The members of `meta` are put side by side without the blanks between
 * them.)
 *
 * The places are chosen so that a text that was read and is put back unchanged comes out the same:
 * id directly after resourceType and meta directly after id, unless the client's text has them.
 */
#include "fhir/fhir_int.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum vg_status fhir_refuse(struct fhir_issue *issue, struct vg_err *err, int http_status,
                           const char *code, struct vg_slice expression, const char *fmt, ...)
{
    static const struct {
        int http_status;
        const char *code;
    } codes[] = {{400, "fhir.invalid"},      {404, "fhir.not_found"}, {409, "fhir.conflict"},
                 {412, "fhir.precondition"}, {413, "fhir.size"},      {422, "fhir.rule"}};
    const char *err_code = "fhir.refused";
    char text[200];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i].http_status == http_status)
            err_code = codes[i].code;
    *issue = (struct fhir_issue){http_status, code, expression};
    return vg_fail(err, VG_REJECT, err_code, 0, "%s", text);
}

/* Without what was found there: it may be somebody's data. */
static const char *words_of(const char *json_code)
{
    static const struct {
        const char *code, *words;
    } rows[] = {{"json.depth", "nested deeper than 64"},
                {"json.duplicate", "a member whose name this object has already"},
                {"json.size", "more values than a text may have"},
                {"json.utf8", "not UTF-8, or half of a surrogate pair"}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (json_code && strcmp(rows[i].code, json_code) == 0)
            return rows[i].words;
    return "not strict JSON";
}

enum vg_status fhir_parse(struct vg_arena *arena, struct vg_slice text, struct vg_json **ret_root,
                          struct fhir_issue *issue, struct vg_err *err)
{
    /* Bounded by the body's size; a Bundle of thousands is one text. */
    static const struct vg_json_options options = {.depth_max = 64, .values_max = 8000000};
    struct vg_json_place place = {0};
    struct vg_err why = {0};
    enum vg_status st = vg_json_parse(arena, text, &options, ret_root, &place, &why);

    if (st == VG_OK && (*ret_root)->type == VG_JSON_OBJECT)
        return VG_OK;
    if (st != VG_OK && why.code && strcmp(why.code, "json.memory") == 0)
        return fhir_refuse(issue, err, 413, "too-long", (struct vg_slice){0},
                           "the text is larger than can be held");
    if (st != VG_OK && st != VG_REJECT)
        return vg_fail(err, st, why.code, 0, "%s", why.text);
    if (st == VG_OK)
        return fhir_refuse(issue, err, 400, "structure", (struct vg_slice){0},
                           "the text must be a JSON object");
    return fhir_refuse(issue, err, 400, "structure", (struct vg_slice){0}, "line %u, column %u: %s",
                       place.line, place.column, words_of(why.code));
}

/* Offset in `body` of the byte after (or at) a value's text. */
static size_t end_of(struct vg_slice body, const struct vg_json *value)
{
    return (size_t)(value->source.ptr - body.ptr) + value->source.len;
}

static size_t start_of(struct vg_slice body, const struct vg_json *value)
{
    return (size_t)(value->source.ptr - body.ptr);
}

static bool is_ours(const struct vg_json *member)
{
    return vg_slice_is(member->name, "versionId") || vg_slice_is(member->name, "lastUpdated");
}

static void put_part(struct vg_buf *out, struct vg_slice body, size_t from, size_t to)
{
    vg_buf_put(out, (struct vg_slice){body.ptr + from, to - from});
}

/* The two cuts, id and meta, in the order in which they stand. */
static enum vg_status splice(struct vg_arena *arena, struct vg_slice body,
                             const struct vg_json *root, struct vg_slice id,
                             struct fhir_draft *draft, struct vg_err *err)
{
    const struct vg_json *type = vg_json_get(root, "resourceType");
    const struct vg_json *old_id = vg_json_get(root, "id"), *meta = vg_json_get(root, "meta");
    size_t id_at = old_id ? start_of(body, old_id) : end_of(body, type);
    size_t id_end = old_id ? end_of(body, old_id) : id_at;
    size_t meta_at = meta ? start_of(body, meta) : id_end;
    size_t meta_end = meta ? end_of(body, meta) : meta_at;
    bool is_meta_first = meta && meta_at < id_at;
    struct vg_buf text;
    size_t cut = 0;

    vg_buf_init(&text, body.len + 256);
    for (int step = 0; step < 2; step++) {
        bool is_meta = is_meta_first == (step == 0);

        if (!is_meta) {
            put_part(&text, body, is_meta_first ? meta_end : 0, id_at);
            vg_buf_printf(&text, "%s\"%.*s\"", old_id ? "" : ",\"id\":", VG_FMT(id));
            continue;
        }
        put_part(&text, body, is_meta_first ? 0 : id_end, meta_at);
        vg_buf_printf(&text, "%s{", meta ? "" : ",\"meta\":");
        cut = text.len;
        for (const struct vg_json *member = meta ? meta->child : NULL; member;
             member = member->next) {
            if (is_ours(member))
                continue;
            draft->needs_comma = true;
            if (text.len > cut)
                vg_buf_put_byte(&text, ',');
            vg_json_escape(&text, member->name);
            vg_buf_put_byte(&text, ':');
            vg_buf_put(&text, member->source);
        }
        vg_buf_put_byte(&text, '}');
    }
    put_part(&text, body, is_meta_first ? id_end : meta_end, body.len);

    struct vg_slice all =
        vg_buf_ok(&text) ? vg_arena_dup(arena, vg_buf_slice(&text)) : (struct vg_slice){0};

    vg_buf_fini(&text);
    if (!all.ptr)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for the text of one resource");
    draft->before = (struct vg_slice){all.ptr, cut};
    draft->after = vg_slice_from(all, cut);
    return VG_OK;
}

enum vg_status fhir_draft_make(struct vg_arena *arena, unsigned type, struct vg_slice id,
                               struct vg_slice body, struct vg_slice base_url,
                               struct fhir_draft *ret_draft, struct fhir_issue *issue,
                               struct vg_err *err)
{
    struct fhir_draft draft = {0};
    struct vg_json *root = NULL;
    enum vg_status st;

    if (body.len > FHIR_RESOURCE_BYTES_MAX)
        return fhir_refuse(issue, err, 413, "too-long", (struct vg_slice){0},
                           "a resource may have %u bytes, this has %zu", FHIR_RESOURCE_BYTES_MAX,
                           body.len);
    st = fhir_parse(arena, body, &root, issue, err);
    if (st != VG_OK)
        return st;
    if (!vg_slice_is(vg_json_get_text(root, "resourceType"), fhir_type_name(type)))
        return fhir_refuse(issue, err, 400, "invalid", VG_SLICE("resourceType"),
                           "resourceType must be %s, as in the request", fhir_type_name(type));
    const struct vg_json *meta = vg_json_get(root, "meta"), *old_id = vg_json_get(root, "id");

    if (meta && meta->type != VG_JSON_OBJECT)
        return fhir_refuse(issue, err, 400, "structure", VG_SLICE("meta"),
                           "meta must be an object");
    if (old_id && (old_id->type != VG_JSON_STRING || !fhir_id_is_ok(old_id->text)))
        return fhir_refuse(issue, err, 400, "value", VG_SLICE("id"),
                           "id must be 1 to 64 of A-Z a-z 0-9 - .");
    st = fhir_check(arena, type, root, issue, err);
    if (st == VG_OK)
        st = fhir_index_make(arena, type, root, base_url, &draft.index, err);
    if (st == VG_OK)
        st = splice(arena, body, root, id, &draft, err);
    if (st != VG_OK)
        return st;
    draft.root = root;
    *ret_draft = draft;
    return VG_OK;
}

struct vg_slice fhir_draft_text(struct vg_arena *arena, const struct fhir_draft *draft,
                                uint64_t version, int64_t updated_us)
{
    char ours[128], time[VG_TIME_TEXT_SIZE];
    size_t ours_len, len;
    char *text;

    (void)vg_time_format(updated_us, 3, time);
    ours_len = (size_t)snprintf(ours, sizeof(ours),
                                "\"versionId\":\"%" PRIu64 "\",\"lastUpdated\":\"%s\"%s", version,
                                time, draft->needs_comma ? "," : "");
    len = draft->before.len + ours_len + draft->after.len;
    text = vg_arena_alloc(arena, len);
    if (!text)
        return (struct vg_slice){0};
    memcpy(text, draft->before.ptr, draft->before.len);
    memcpy(text + draft->before.len, ours, ours_len);
    memcpy(text + draft->before.len + ours_len, draft->after.ptr, draft->after.len);
    return (struct vg_slice){text, len};
}

/* ---- the same content? ---- */

enum place { AT_ROOT, IN_META, BELOW };

static bool same(const struct vg_json *a, const struct vg_json *b, enum place place);

/* Members that the server owns do not count: the id (it is the same by the address), and meta's
 * version and time, with the whole of a meta that has nothing else. */
static bool is_counted(const struct vg_json *member, enum place place)
{
    if (place == IN_META)
        return !is_ours(member);
    if (place == BELOW || vg_slice_is(member->name, "id"))
        return place == BELOW;
    if (!vg_slice_is(member->name, "meta"))
        return true;
    for (const struct vg_json *one = member->child; one; one = one->next)
        if (!is_ours(one))
            return true;
    return false;
}

static const struct vg_json *counted(const struct vg_json *member, enum place place)
{
    while (member && !is_counted(member, place))
        member = member->next;
    return member;
}

static bool same_members(const struct vg_json *a, const struct vg_json *b, enum place place)
{
    size_t count_a = 0, count_b = 0;
    const struct vg_json *other = counted(b->child, place);

    for (const struct vg_json *m = other; m; m = counted(m->next, place))
        count_b++;
    for (const struct vg_json *m = counted(a->child, place); m; m = counted(m->next, place)) {
        /* Mostly they stand in the same order: then nothing is searched for. */
        const struct vg_json *match =
            other && vg_slice_eq(other->name, m->name) ? other : vg_json_get_slice(b, m->name);
        bool is_meta = place == AT_ROOT && vg_slice_is(m->name, "meta");

        count_a++;
        if (!match || !same(m, match, is_meta ? IN_META : BELOW))
            return false;
        other = other ? counted(other->next, place) : NULL;
    }
    return count_a == count_b;
}

static bool same(const struct vg_json *a, const struct vg_json *b, enum place place)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case VG_JSON_NULL:
    case VG_JSON_FALSE:
    case VG_JSON_TRUE:
        return true;
    case VG_JSON_NUMBER:
    case VG_JSON_STRING:
        return vg_slice_eq(a->text, b->text);
    case VG_JSON_ARRAY:
        if (a->count != b->count)
            return false;
        for (a = a->child, b = b->child; a && b; a = a->next, b = b->next)
            if (!same(a, b, BELOW))
                return false;
        return true;
    case VG_JSON_OBJECT:
        return same_members(a, b, place);
    }
    return false;
}

bool fhir_is_same(const struct vg_json *a, const struct vg_json *b)
{
    return same(a, b, AT_ROOT);
}
