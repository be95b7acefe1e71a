/* search_index.c -- what a resource is found by: its index rows.
 *
 * The resource is walked once, along the generated tree of steps; where a step has leaves, the
 * value becomes a row for each of their paths. The datatype of a leaf says how a value is read.
 *
 * Not indexed: SampledData and Range (they are no single quantity), contained resources, references
 * into them.
 */
#include "base/crypto.h"
#include "fhir/tables.h"

#include <stdio.h>

/* ---- values ---- */

struct vg_slice fhir_reference_plain(struct vg_slice reference, struct vg_slice base_url)
{
    struct vg_slice rest = reference;

    if (base_url.len && vg_slice_starts(rest, base_url) && rest.len > base_url.len &&
        rest.ptr[base_url.len] == '/')
        rest = vg_slice_from(rest, base_url.len + 1);
    struct vg_slice tail = rest;
    struct vg_slice type = vg_slice_cut(&tail, '/'), id = vg_slice_cut(&tail, '/');

    if (fhir_type_find(type) && fhir_id_is_ok(id) &&
        (tail.len == 0 || vg_slice_starts(tail, VG_SLICE("_history/"))))
        return (struct vg_slice){type.ptr, type.len + 1 + id.len};
    return reference;
}

bool fhir_reference_cut(struct vg_slice reference, unsigned *ret_type, struct vg_slice *ret_id)
{
    struct vg_slice id = reference;
    struct vg_slice name = vg_slice_cut(&id, '/');
    unsigned type = fhir_type_find(name);

    if (type == 0 || !fhir_id_is_ok(id))
        return false;
    *ret_type = type;
    *ret_id = id;
    return true;
}

/* Letters beyond Latin-1 and Latin Extended-A: Vietnamese, Greek, Cyrillic. The same when unknown.
 */
static unsigned fold_letter(unsigned c)
{
    static const struct {
        unsigned from, to, base; /* base 0: small letters stand `shift` further on */
        unsigned shift;
    } ranges[] = {
        {0x01a0, 0x01a1, 'o', 0},   {0x01af, 0x01b0, 'u', 0},   {0x0386, 0x0386, 0x3b1, 0},
        {0x0388, 0x0388, 0x3b5, 0}, {0x0389, 0x0389, 0x3b7, 0}, {0x038a, 0x038a, 0x3b9, 0},
        {0x038c, 0x038c, 0x3bf, 0}, {0x038e, 0x038e, 0x3c5, 0}, {0x038f, 0x038f, 0x3c9, 0},
        {0x0391, 0x03a9, 0, 32},    {0x03aa, 0x03aa, 0x3b9, 0}, {0x03ab, 0x03ab, 0x3c5, 0},
        {0x03ac, 0x03ac, 0x3b1, 0}, {0x03ad, 0x03ad, 0x3b5, 0}, {0x03ae, 0x03ae, 0x3b7, 0},
        {0x03af, 0x03af, 0x3b9, 0}, {0x03c2, 0x03c2, 0x3c3, 0}, {0x03ca, 0x03ca, 0x3b9, 0},
        {0x03cb, 0x03cb, 0x3c5, 0}, {0x03cc, 0x03cc, 0x3bf, 0}, {0x03cd, 0x03cd, 0x3c5, 0},
        {0x03ce, 0x03ce, 0x3c9, 0}, {0x0401, 0x0401, 0x435, 0}, {0x0419, 0x0419, 0x438, 0},
        {0x0400, 0x040f, 0, 80},    {0x0410, 0x042f, 0, 32},    {0x0439, 0x0439, 0x438, 0},
        {0x0451, 0x0451, 0x435, 0}, {0x1ea0, 0x1eb7, 'a', 0},   {0x1eb8, 0x1ec7, 'e', 0},
        {0x1ec8, 0x1ecb, 'i', 0},   {0x1ecc, 0x1ee3, 'o', 0},   {0x1ee4, 0x1ef1, 'u', 0},
        {0x1ef2, 0x1ef9, 'y', 0},
    };

    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
        if (c >= ranges[i].from && c <= ranges[i].to)
            return ranges[i].base ? ranges[i].base : c + ranges[i].shift;
    return c;
}

/* Of one character of two or three bytes; never longer than it was. */
static size_t fold_wide(const char *from, size_t len, char *to)
{
    unsigned c = len == 2
                     ? ((unsigned char)from[0] & 0x1fu) << 6 | ((unsigned char)from[1] & 0x3f)
                     : ((unsigned char)from[0] & 0x0fu) << 12 |
                           ((unsigned char)from[1] & 0x3fu) << 6 | ((unsigned char)from[2] & 0x3f);
    unsigned folded = fold_letter(c);

    if (folded == c) {
        memcpy(to, from, len);
        return len;
    }
    if (folded < 0x80) {
        to[0] = (char)folded;
        return 1;
    }
    to[0] = (char)(0xc0 | folded >> 6);
    to[1] = (char)(0x80 | (folded & 0x3f));
    return 2;
}

struct vg_slice fhir_fold(struct vg_arena *arena, struct vg_slice text)
{
    /* U+00C0 to U+017F, the base letter of each; a blank keeps the character. */
    static const char base[] = "aaaaaaaceeeeiiiidnooooo ouuuuytsaaaaaaaceeeeiiiidnooooo ouuuuyty"
                               "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiiiiijjkkklllllll"
                               "lllnnnnnnnnnoooooooorrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";
    char *out = vg_arena_alloc(arena, text.len + 1);
    size_t len = 0;

    _Static_assert(sizeof(base) - 1 == 0x180 - 0xc0, "one letter each");
    if (!out)
        return (struct vg_slice){0};
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        unsigned next = i + 1 < text.len ? (unsigned char)text.ptr[i + 1] : 0;

        if (c >= 'A' && c <= 'Z') {
            out[len++] = (char)(c + 32);
        } else if ((c == 0xcc || (c == 0xcd && next < 0xb0)) && (next & 0xc0) == 0x80) {
            i++; /* a combining mark */
        } else if (c >= 0xc3 && c <= 0xc5 && (next & 0xc0) == 0x80) {
            char letter = base[((c & 0x1fu) << 6 | (next & 0x3f)) - 0xc0];

            if (letter == ' ') {
                out[len++] = (char)c;
                out[len++] = (char)next;
            } else {
                out[len++] = letter;
            }
            i++;
        } else if (c >= 0xc6 && c <= 0xd1 && (next & 0xc0) == 0x80) {
            len += fold_wide(text.ptr + i, 2, out + len);
            i++;
        } else if (c == 0xe1 && (next == 0xba || next == 0xbb) && i + 2 < text.len) {
            len += fold_wide(text.ptr + i, 3, out + len);
            i += 2;
        } else {
            out[len++] = (char)c;
        }
    }
    return (struct vg_slice){out, len};
}

/* ---- rows ---- */

struct indexing {
    struct vg_arena *arena;
    struct vg_slice base_url;
    const struct fhir_path *path;
    unsigned datatype;
    struct fhir_index *index;
    const struct fhir_param_view *wanted; /* NULL = none is looked for */
    bool is_out_of_memory, has_wanted;
};

static struct fhir_index_row *row_add(struct indexing *in, bool is_code)
{
    struct fhir_index_row **rows = is_code ? &in->index->codes : &in->index->rows;
    size_t *count = is_code ? &in->index->code_count : &in->index->count;
    size_t *capacity = is_code ? &in->index->code_capacity : &in->index->capacity;
    struct fhir_index_row *row;

    if (*count == *capacity) {
        size_t more = *capacity ? *capacity * 2 : 8;
        struct fhir_index_row *grown = vg_arena_alloc(in->arena, more * sizeof(*grown));

        if (!grown) {
            in->is_out_of_memory = true;
            return NULL;
        }
        if (*count)
            memcpy(grown, *rows, *count * sizeof(*grown));
        *rows = grown;
        *capacity = more;
    }
    row = &(*rows)[(*count)++];
    *row = (struct fhir_index_row){.kind = in->path->kind, .path = in->path};
    return row;
}

static void index_code(struct indexing *in, uint32_t part, struct vg_slice system,
                       struct vg_slice code, bool has_any_system)
{
    bool is_role = in->path->role == FHIR_ROLE_CODE || in->path->role == FHIR_ROLE_COMPONENT;
    struct fhir_index_row *row;

    if (code.len == 0 || !(row = row_add(in, is_role)))
        return;
    row->part = part;
    row->text = code;
    row->system = system;
    row->has_any_system = has_any_system;
}

/* An Observation's code that is a text alone stands in the timeline too, for $lastn: under a name
 * that no code can have. A long text by its hash. */
static void index_text_code(struct indexing *in, uint32_t part, struct vg_slice text)
{
    char hash[65];
    struct vg_slice name;

    if (text.len == 0 || in->path->role != FHIR_ROLE_CODE ||
        strcmp(fhir_type_name(in->path->type), "Observation") != 0)
        return;
    if (text.len > 200) {
        vg_sha256_hex(text, hash);
        text = vg_slice_of(hash);
    }
    name = vg_arena_printf(in->arena, FHIR_TEXT_CODE "%.*s", VG_FMT(text));
    if (name.ptr)
        index_code(in, part, (struct vg_slice){0}, name, true);
    else
        in->is_out_of_memory = true;
}

static void index_token(struct indexing *in, const struct vg_json *value, uint32_t part)
{
    const struct vg_json *coding;

    switch (value->type) {
    case VG_JSON_STRING:
        index_code(in, part, (struct vg_slice){0}, value->text, true);
        break;
    case VG_JSON_TRUE:
    case VG_JSON_FALSE:
        index_code(in, part, (struct vg_slice){0}, value->source, true);
        break;
    case VG_JSON_OBJECT:
        if (in->datatype == FHIR_T_CODEABLE_CONCEPT) {
            coding = vg_json_get(value, "coding");
            for (coding = vg_json_is(coding, VG_JSON_ARRAY) ? coding->child : NULL; coding;
                 coding = coding->next)
                index_code(in, part, vg_json_get_text(coding, "system"),
                           vg_json_get_text(coding, "code"), false);
            if (!vg_json_get(value, "coding"))
                index_text_code(in, part, vg_json_get_text(value, "text"));
        } else if (in->datatype == FHIR_T_CODING) {
            index_code(in, part, vg_json_get_text(value, "system"), vg_json_get_text(value, "code"),
                       false);
        } else { /* Identifier; ContactPoint, whose system is no name space */
            index_code(in, part, vg_json_get_text(value, "system"),
                       vg_json_get_text(value, "value"), in->datatype == FHIR_T_CONTACT_POINT);
        }
        break;
    case VG_JSON_NULL:
    case VG_JSON_NUMBER:
    case VG_JSON_ARRAY:
        break;
    }
}

static void index_text(struct indexing *in, struct vg_slice text, uint32_t part)
{
    struct fhir_index_row *row = text.len ? row_add(in, false) : NULL;

    if (row) {
        row->part = part;
        row->text = text;
    }
}

/* A canonical with its version is found without it, too. */
static void index_uri(struct indexing *in, const struct vg_json *value, uint32_t part)
{
    struct vg_slice text = vg_json_text(value), rest = text, plain = vg_slice_cut(&rest, '|');

    index_text(in, text, part);
    if (in->datatype == FHIR_T_CANONICAL && plain.len < text.len)
        index_text(in, plain, part);
}

static void index_reference(struct indexing *in, const struct vg_json *value, uint32_t part)
{
    struct vg_slice text = vg_json_get_text(value, "reference");
    const struct vg_json *identifier = vg_json_get(value, "identifier");
    struct fhir_index_row *row;

    if (value->type == VG_JSON_STRING) {
        index_uri(in, value, part);
        return;
    }
    if (vg_json_get_text(identifier, "value").len && (row = row_add(in, false))) {
        row->kind = FHIR_TOKEN;
        row->is_identifier = true;
        row->part = part;
        row->text = vg_json_get_text(identifier, "value");
        row->system = vg_json_get_text(identifier, "system");
    }
    if (text.len == 0 || text.ptr[0] == '#')
        return;
    text = fhir_reference_plain(text, in->base_url);
    if (in->path->role == FHIR_ROLE_PATIENT && vg_slice_starts(text, VG_SLICE("Patient/")))
        in->index->patient = text;
    else
        index_text(in, text, part);
}

static void widen(struct fhir_span *span, struct fhir_span more)
{
    if (span->low_us == FHIR_NO_DATE) {
        *span = more;
        return;
    }
    if (more.low_us < span->low_us)
        span->low_us = more.low_us;
    if (more.high_us > span->high_us)
        span->high_us = more.high_us;
}

/* dateTime, instant, date; Period; Timing by its outer bounds. */
static struct fhir_span span_of(const struct vg_json *value)
{
    struct fhir_span none = {FHIR_NO_DATE, FHIR_NO_DATE}, span = none, one;
    const struct vg_json *events = vg_json_get(value, "event");

    if (vg_json_is(value, VG_JSON_STRING))
        return fhir_time_parse(value->text, &span, NULL, NULL) ? span : none;
    if (vg_json_is(events, VG_JSON_ARRAY)) {
        for (const struct vg_json *event = events->child; event; event = event->next)
            if (fhir_time_parse(vg_json_text(event), &one, NULL, NULL))
                widen(&span, one);
        return span;
    }
    if (vg_json_get(value, "repeat"))
        value = vg_json_get(vg_json_get(value, "repeat"), "boundsPeriod");
    struct vg_slice start = vg_json_get_text(value, "start"), end = vg_json_get_text(value, "end");

    if (start.len == 0 && end.len == 0)
        return none;
    span = (struct fhir_span){FHIR_OPEN_START, FHIR_OPEN_END};
    if (fhir_time_parse(start, &one, NULL, NULL))
        span.low_us = one.low_us;
    if (fhir_time_parse(end, &one, NULL, NULL))
        span.high_us = one.high_us;
    return span;
}

static void index_date(struct indexing *in, const struct vg_json *value, uint32_t part)
{
    struct fhir_span span = span_of(value);
    struct fhir_index_row *row;

    if (span.low_us == FHIR_NO_DATE)
        return;
    if (in->path->role == FHIR_ROLE_DATE) {
        widen(&in->index->span, span);
        return;
    }
    row = row_add(in, false);
    if (row) {
        row->part = part;
        row->span = span;
    }
}

/* A string, or every text of a HumanName or Address. */
static void index_string(struct indexing *in, const struct vg_json *value, uint32_t part)
{
    if (value->type == VG_JSON_OBJECT || value->type == VG_JSON_ARRAY) {
        for (const struct vg_json *child = value->child; child; child = child->next)
            if (!fhir_list_has("id,use,type,period,extension", child->name) &&
                !(child->name.len && child->name.ptr[0] == '_'))
                index_string(in, child, part);
        return;
    }
    struct fhir_index_row *row = vg_json_text(value).len ? row_add(in, false) : NULL;

    if (row) {
        row->part = part;
        row->text = fhir_fold(in->arena, value->text);
        row->system = value->text;
        in->is_out_of_memory |= !row->text.ptr;
    }
}

/* The number as it stands in a double: exact to 15 digits, which is what a comparison needs; the
 * text itself is never touched. */
static void index_quantity(struct indexing *in, const struct vg_json *value, uint32_t part)
{
    struct vg_slice currency = vg_json_get_text(value, "currency");
    double number;
    struct fhir_index_row *row;

    if (!vg_json_to_double(value->type == VG_JSON_OBJECT ? vg_json_get(value, "value") : value,
                           &number) ||
        !(row = row_add(in, false)))
        return;
    row->part = part;
    row->value = number;
    if (value->type != VG_JSON_OBJECT)
        return;
    row->system =
        currency.len ? VG_SLICE("urn:iso:std:iso:4217") : vg_json_get_text(value, "system");
    row->text = currency.len ? currency : vg_json_get_text(value, "code");
    row->unit = vg_json_get_text(value, "unit");
}

static void index_value(struct indexing *in, const struct vg_json *value, uint32_t part)
{
    if (!in->path->has_parts)
        part = 0;
    switch (in->path->kind) {
    case FHIR_TOKEN:
        index_token(in, value, part);
        break;
    case FHIR_REFERENCE:
        index_reference(in, value, part);
        break;
    case FHIR_DATE:
        index_date(in, value, part);
        break;
    case FHIR_STRING:
        index_string(in, value, part);
        break;
    case FHIR_QUANTITY:
    case FHIR_NUMBER:
        index_quantity(in, value, part);
        break;
    case FHIR_URI:
        index_uri(in, value, part);
        break;
    case FHIR_COMPOSITE:
    case FHIR_SPECIAL:
        break; /* made of others; columns */
    }
}

/* ---- the walk ---- */

static const struct fhir_step *step_find(const struct fhir_step *steps, size_t count,
                                         struct vg_slice name)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct fhir_step *one = &steps[middle];

        if (vg_slice_cmp((struct vg_slice){fhir_pool + one->name, one->name_len}, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count &&
                   vg_slice_eq((struct vg_slice){fhir_pool + steps[low].name, steps[low].name_len},
                               name)
               ? &steps[low]
               : NULL;
}

static bool is_in(const struct fhir_param_view *view, const struct fhir_path *path)
{
    for (size_t i = 0; i < view->path_count; i++)
        if (view->paths[i] == path)
            return true;
    return false;
}

/* `patient` is a subject that is a Patient: a reference that names another type is none. */
static bool may_be(const struct fhir_param_view *view, const struct vg_json *value)
{
    struct vg_slice reference = vg_json_get_text(value, "reference"), id;
    unsigned type;

    return view->param->kind != FHIR_REFERENCE || !view->param->target ||
           !fhir_reference_cut(reference, &type, &id) ||
           fhir_list_has(view->param->target, vg_slice_of(fhir_type_name(type)));
}

/* `part` is counted at the first array on the way. Recursion is as deep as the tree of steps. */
static void walk(struct indexing *in, const struct fhir_step *steps, size_t count,
                 const struct vg_json *node, uint32_t part);

static void take(struct indexing *in, const struct fhir_step *step, const struct vg_json *value,
                 uint32_t part)
{
    if (fhir_pool[step->where_member] &&
        !vg_slice_is(vg_json_get_text(value, fhir_pool + step->where_member),
                     fhir_pool + step->where_value))
        return;
    for (size_t i = 0; i < step->leaf_count; i++) {
        in->path = &fhir_paths[fhir_leaves[step->leaf + i].path];
        in->datatype = fhir_leaves[step->leaf + i].type;
        in->has_wanted |= in->wanted && is_in(in->wanted, in->path) && may_be(in->wanted, value);
        index_value(in, value, part);
    }
    if (step->child_count)
        walk(in, &fhir_steps[step->child], step->child_count, value, part);
}

static void walk(struct indexing *in, const struct fhir_step *steps, size_t count,
                 const struct vg_json *node, uint32_t part)
{
    if (!vg_json_is(node, VG_JSON_OBJECT))
        return;
    for (const struct vg_json *member = node->child; member; member = member->next) {
        const struct fhir_step *step = step_find(steps, count, member->name);
        bool is_array = member->type == VG_JSON_ARRAY;

        for (; step && step < steps + count && vg_slice_is(member->name, fhir_pool + step->name);
             step++) {
            uint32_t index = 0;

            for (const struct vg_json *value = is_array ? member->child : member; value;
                 value = is_array ? value->next : NULL)
                take(in, step, value, part ? part : is_array ? ++index : 0);
        }
    }
}

/* Patient.deceased: a date counts as true, absence as false. */
static void index_deceased(struct indexing *in, unsigned type, const struct vg_json *root)
{
    const struct fhir_param_view *view = fhir_param_find(type, VG_SLICE("deceased"));
    bool is_true = vg_json_get(root, "deceasedDateTime") != NULL;

    if (!view || !view->paths[0]->is_exists)
        return;
    if (vg_json_is(vg_json_get(root, "deceasedBoolean"), VG_JSON_TRUE))
        is_true = true;
    in->path = view->paths[0];
    index_code(in, 0, (struct vg_slice){0}, is_true ? VG_SLICE("true") : VG_SLICE("false"), true);
}

enum vg_status fhir_index_make(struct vg_arena *arena, unsigned type, const struct vg_json *root,
                               struct vg_slice base_url, struct fhir_index *ret_index,
                               struct vg_err *err)
{
    struct fhir_index index = {.span = {FHIR_NO_DATE, FHIR_NO_DATE}};
    struct indexing in = {.arena = arena, .base_url = base_url, .index = &index};
    const struct fhir_step_root *steps = &fhir_step_roots[type];

    walk(&in, &fhir_steps[steps->first], steps->count, root, 0);
    if (vg_slice_is(vg_json_get_text(root, "resourceType"), "Patient"))
        index_deceased(&in, type, root);
    if (in.is_out_of_memory)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for the index of one resource");
    *ret_index = index;
    return VG_OK;
}

enum vg_status fhir_has_element(struct vg_arena *arena, const struct fhir_param_view *view,
                                const struct vg_json *root, struct vg_slice base_url, bool *ret_has,
                                struct vg_err *err)
{
    struct fhir_index index = {.span = {FHIR_NO_DATE, FHIR_NO_DATE}};
    struct indexing in = {.arena = arena, .base_url = base_url, .index = &index, .wanted = view};
    unsigned type = fhir_type_find(vg_slice_of(view->param->type));
    const struct fhir_step_root *steps = &fhir_step_roots[type];

    walk(&in, &fhir_steps[steps->first], steps->count, root, 0);
    if (in.is_out_of_memory)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for the index of one resource");
    *ret_has = in.has_wanted || (view->path_count && view->paths[0]->is_exists);
    return VG_OK;
}

/* ---- sorting ---- */

struct sorting {
    struct vg_buf *out;
    bool is_descending;
};

static void put_byte(const struct sorting *to, uint8_t byte)
{
    vg_buf_printf(to->out, "%02x", to->is_descending ? 255u - byte : (unsigned)byte);
}

static void put_number(const struct sorting *to, uint64_t bits)
{
    for (int shift = 56; shift >= 0; shift -= 8)
        put_byte(to, (uint8_t)(bits >> shift));
}

static uint64_t bits_of_date(int64_t us)
{
    return (uint64_t)us ^ (uint64_t)1 << 63;
}

static uint64_t bits_of_double(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits >> 63 ? ~bits : bits ^ (uint64_t)1 << 63;
}

/* Of several values the smallest counts going up, the largest going down. */
static bool is_better(const struct fhir_index_row *row, const struct fhir_index_row *best,
                      bool is_descending)
{
    int order;

    if (!best)
        return true;
    switch (row->kind) {
    case FHIR_DATE:
        order = row->span.low_us < best->span.low_us ? -1 : row->span.low_us > best->span.low_us;
        break;
    case FHIR_QUANTITY:
    case FHIR_NUMBER:
        order = row->value < best->value ? -1 : row->value > best->value;
        break;
    default:
        order = vg_slice_cmp(row->text, best->text);
        break;
    }
    return is_descending ? order > 0 : order < 0;
}

static void put_sort_key(struct vg_buf *out, const struct fhir_sort_key *key,
                         const struct fhir_index *index, struct vg_slice id, int64_t updated_us)
{
    const struct fhir_param_view *view = key->param;
    const struct fhir_index_row *best = NULL;
    struct fhir_index_row own = {.kind = FHIR_REFERENCE};
    struct sorting to = {out, key->is_descending};

    for (size_t i = 0; i < index->count; i++)
        if (is_in(view, index->rows[i].path) &&
            is_better(&index->rows[i], best, key->is_descending))
            best = &index->rows[i];
    for (size_t i = 0; i < index->code_count; i++)
        if (is_in(view, index->codes[i].path) &&
            !vg_slice_starts(index->codes[i].text, VG_SLICE(FHIR_TEXT_CODE)) &&
            is_better(&index->codes[i], best, key->is_descending))
            best = &index->codes[i];
    for (size_t i = 0; i < view->path_count && !best; i++) {
        if (view->paths[i]->role == FHIR_ROLE_PATIENT && index->patient.len) {
            own.text = index->patient;
            best = &own;
        } else if (view->paths[i]->role == FHIR_ROLE_DATE && index->span.low_us != FHIR_NO_DATE) {
            own.kind = FHIR_DATE;
            own.span = index->span;
            best = &own;
        }
    }
    if (view->param->kind == FHIR_SPECIAL) {
        own.text = id;
        own.span.low_us = updated_us;
        own.kind = strcmp(view->param->name, "_id") == 0 ? FHIR_TOKEN : FHIR_DATE;
        best = &own;
    }
    if (!best) {
        vg_buf_printf(out, "ff"); /* last, whatever the direction */
        return;
    }
    vg_buf_printf(out, "01");
    if (best->kind == FHIR_DATE) {
        put_number(&to, bits_of_date(best->span.low_us));
    } else if (best->kind == FHIR_QUANTITY || best->kind == FHIR_NUMBER) {
        put_number(&to, bits_of_double(best->value));
    } else {
        for (size_t i = 0; i < best->text.len && i < 100; i++)
            put_byte(&to, (uint8_t)best->text.ptr[i]);
        put_byte(&to, 0);
    }
}

struct vg_slice fhir_sort_text(struct vg_arena *arena, const struct fhir_query *query,
                               const struct vg_json *root, struct vg_slice base_url)
{
    struct fhir_index index;
    struct fhir_span updated = {0};
    struct vg_slice text = {0};
    struct vg_buf out;

    if (fhir_index_make(arena, query->type, root, base_url, &index, NULL) != VG_OK)
        return text;
    (void)fhir_time_parse(vg_json_get_text(vg_json_get(root, "meta"), "lastUpdated"), &updated,
                          NULL, NULL);
    vg_buf_init(&out, 4096);
    for (size_t i = 0; i < query->sort_key_count; i++)
        put_sort_key(&out, &query->sort_keys[i], &index, vg_json_get_text(root, "id"),
                     updated.low_us);
    if (vg_buf_ok(&out))
        text = vg_arena_dup(arena, vg_buf_slice(&out));
    vg_buf_fini(&out);
    return text;
}
