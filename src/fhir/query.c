/* query.c -- a search's text into a struct fhir_query that an engine can answer.
 *
 * "patient=p1&code=http://loinc.org|8867-4&date=ge2026-03-14&_sort=-date&_count=10"
 *
 * What is not understood is left out, and out of the self link, so that the reader sees what was
 * really asked; with strict handling it is refused. A known parameter with a modifier that is not
 * supported and a value that cannot be read are always refused. Escapes: \, \| \$ \\.
 *
 * The cursor "_after=<sort value>_<key>" is the whole state of a next link: nothing is kept here.
 */
#include "base/http_server.h"
#include "fhir/fhir_int.h"

#include <math.h>
#include <stdio.h>

struct parsing {
    struct vg_arena *arena;
    struct fhir_query *query;
    struct vg_slice base_url;
    const struct fhir_chain *chain;
    struct fhir_issue *issue;
    struct vg_err *err;
    struct vg_buf self;
    bool is_strict, has_sort, has_updated;
};

/* Parameter names come from outside, but the ones echoed are those of our own table. */
static enum vg_status bad(struct parsing *in, const char *name, const char *why)
{
    return fhir_refuse(in->issue, in->err, 400, "value", vg_slice_of(name), "parameter %s: %s",
                       name, why);
}

static enum vg_status full(struct parsing *in)
{
    return vg_fail(in->err, VG_RETRY, "fhir.memory", 0, "no room for the search");
}

/* Cuts at the first unescaped `sep`. */
static struct vg_slice cut(struct vg_slice *rest, char sep)
{
    for (size_t i = 0; i < rest->len; i++) {
        if (rest->ptr[i] == '\\') {
            i++;
        } else if (rest->ptr[i] == sep) {
            struct vg_slice head = {rest->ptr, i};

            *rest = (struct vg_slice){rest->ptr + i + 1, rest->len - i - 1};
            return head;
        }
    }
    struct vg_slice head = *rest;

    *rest = (struct vg_slice){0};
    return head;
}

static struct vg_slice unescape(struct vg_arena *arena, struct vg_slice text)
{
    char *out;
    size_t len = 0;

    if (text.len == 0 || !memchr(text.ptr, '\\', text.len))
        return text;
    out = vg_arena_alloc(arena, text.len);
    for (size_t i = 0; out && i < text.len; i++) {
        if (text.ptr[i] == '\\' && i + 1 < text.len)
            i++;
        out[len++] = text.ptr[i];
    }
    return (struct vg_slice){out, len};
}

static enum fhir_prefix take_prefix(struct vg_slice *text)
{
    static const char prefixes[][3] = {
        [FHIR_EQ] = "eq", [FHIR_NE] = "ne", [FHIR_GT] = "gt", [FHIR_LT] = "lt", [FHIR_GE] = "ge",
        [FHIR_LE] = "le", [FHIR_SA] = "sa", [FHIR_EB] = "eb", [FHIR_AP] = "ap"};

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (text->len > 2 && memcmp(text->ptr, prefixes[i], 2) == 0) {
            *text = vg_slice_from(*text, 2);
            return (enum fhir_prefix)i;
        }
    }
    return FHIR_EQ;
}

static void parse_token(struct parsing *in, struct vg_slice text, struct fhir_value *value)
{
    struct vg_slice rest = text, head = cut(&rest, '|');

    if (!rest.ptr) {
        value->text = unescape(in->arena, head);
        value->has_code = true;
        return;
    }
    value->has_system = true;
    value->system = unescape(in->arena, head);
    value->text = unescape(in->arena, rest);
    value->has_code = value->text.len > 0;
}

static bool parse_quantity(struct parsing *in, struct vg_slice text, bool has_unit,
                           struct fhir_value *value)
{
    struct vg_slice rest = text, number = cut(&rest, '|');

    value->prefix = take_prefix(&number);
    if (!fhir_number_parse(number, &value->number, &value->from, &value->to) ||
        (rest.ptr && !has_unit))
        return false;
    if (rest.ptr) {
        struct vg_slice system = cut(&rest, '|');

        value->has_unit_system = system.len > 0;
        value->unit_system = unescape(in->arena, system);
        value->unit = unescape(in->arena, rest);
    }
    if (value->prefix == FHIR_AP) {
        value->from = fmin(value->from, value->number - fabs(value->number) * 0.1);
        value->to = fmax(value->to, value->number + fabs(value->number) * 0.1);
    }
    return true;
}

static bool parse_date(struct vg_slice text, struct fhir_value *value)
{
    value->prefix = take_prefix(&text);
    if (!fhir_time_parse(text, &value->span, NULL, NULL))
        return false;
    if (value->prefix == FHIR_AP) {
        int64_t now = vg_now_us();
        int64_t far =
            value->span.low_us > now ? value->span.low_us - now : now - value->span.high_us;

        if (far > 0) {
            value->span.low_us -= far / 10;
            value->span.high_us += far / 10;
        }
    }
    return true;
}

static enum vg_status add_value(struct parsing *in, const struct fhir_param *param,
                                struct fhir_value value, struct fhir_filter *filter)
{
    if (filter->value_count == filter->capacity)
        return bad(in, param->name, "too many values");
    filter->values[filter->value_count++] = value;
    return VG_OK;
}

/* Is a Patient what some path of the parameter is mostly about? */
static bool has_patients(const struct fhir_param_view *view)
{
    for (size_t i = 0; i < view->path_count; i++)
        if (view->paths[i]->role == FHIR_ROLE_PATIENT)
            return true;
    return false;
}

/* An id alone: any of the types that the parameter may point at. Where a Patient may be meant,
 * types that nothing points at under this id are left out: then the patient's timeline is the way.
 */
static enum vg_status parse_id(struct parsing *in, const struct fhir_param_view *view,
                               unsigned only_type, struct vg_slice id, struct fhir_filter *filter)
{
    const struct fhir_param *param = view->param;
    const struct fhir_chain *chain = in->chain;
    bool asks = !only_type && param->target && strchr(param->target, ',') && has_patients(view) &&
                chain && chain->is_pointed_at;
    enum vg_status st = VG_OK;

    for (unsigned type = 1; type <= fhir_type_count() && st == VG_OK; type++) {
        struct vg_slice name = vg_slice_of(fhir_type_name(type)), text;
        bool is_wanted = true;

        if ((only_type && type != only_type) ||
            (param->target && !fhir_list_has(param->target, name)))
            continue;
        text = vg_arena_printf(in->arena, "%.*s/%.*s", VG_FMT(name), VG_FMT(id));
        if (!text.ptr)
            return full(in);
        if (asks && !vg_slice_is(name, "Patient"))
            st = chain->is_pointed_at(chain->ctx, in->query->type, view, text, &is_wanted, in->err);
        if (st == VG_OK && is_wanted)
            st = add_value(in, param, (struct fhir_value){.text = text}, filter);
    }
    return st;
}

/* One value of a reference parameter. */
static enum vg_status parse_reference(struct parsing *in, const struct fhir_param_view *view,
                                      unsigned only_type, struct vg_slice text,
                                      struct fhir_filter *filter)
{
    struct vg_slice plain = fhir_reference_plain(unescape(in->arena, text), in->base_url), id;
    const struct fhir_param *param = view->param;
    unsigned type;

    if (fhir_reference_cut(plain, &type, &id) || memchr(plain.ptr, ':', plain.len)) {
        if (fhir_reference_cut(plain, &type, &id) &&
            ((only_type && type != only_type) ||
             (param->target && !fhir_list_has(param->target, vg_slice_of(fhir_type_name(type))))))
            return VG_OK; /* can never match: no value */
        return add_value(in, param, (struct fhir_value){.text = plain}, filter);
    }
    if (!fhir_id_is_ok(plain))
        return bad(in, param->name, "a reference is an id, Type/id or a URL");
    return parse_id(in, view, only_type, plain, filter);
}

/* One value of a kind; false: it cannot be read. */
static bool parse_one(struct parsing *in, enum fhir_kind kind, struct vg_slice text,
                      struct fhir_value *value)
{
    switch (kind) {
    case FHIR_TOKEN:
        parse_token(in, text, value);
        return true;
    case FHIR_STRING:
    case FHIR_URI:
        value->text = unescape(in->arena, text);
        return true;
    case FHIR_REFERENCE: /* in a composite only */
        value->text = fhir_reference_plain(unescape(in->arena, text), in->base_url);
        return true;
    case FHIR_QUANTITY:
        return parse_quantity(in, text, true, value);
    case FHIR_NUMBER:
        return parse_quantity(in, text, false, value);
    case FHIR_DATE:
    case FHIR_SPECIAL:
        return parse_date(text, value);
    case FHIR_COMPOSITE:
        break;
    }
    return false;
}

/* "a$b" or "a$b$c": a value with its neighbours. */
static enum vg_status parse_composite(struct parsing *in, const struct fhir_param_view *view,
                                      struct vg_slice text, struct fhir_filter *filter)
{
    const struct fhir_path *const *columns[] = {view->paths, view->values, view->thirds};
    struct fhir_value *first = NULL, **next = &first;
    struct vg_slice rest = text;

    for (size_t i = 0; i < 3 && columns[i]; i++) {
        struct vg_slice part = cut(&rest, '$');

        *next = vg_arena_alloc(in->arena, sizeof(**next));
        if (!*next)
            return full(in);
        if (part.len == 0 || !parse_one(in, columns[i][0]->kind, part, *next) ||
            (columns[i][0]->kind == FHIR_TOKEN && !(*next)->has_code))
            return bad(in, view->param->name, "a composite is its parts joined by $");
        next = &(*next)->beside;
    }
    if (rest.ptr)
        return bad(in, view->param->name, "a composite is its parts joined by $");
    return add_value(in, view->param, *first, filter);
}

static enum vg_status parse_value(struct parsing *in, const struct fhir_param_view *view,
                                  unsigned only_type, struct vg_slice text,
                                  struct fhir_filter *filter)
{
    static const char *const forms[] = {
        [FHIR_QUANTITY] = "a quantity is a number, or number|system|code",
        [FHIR_NUMBER] = "must be a number, with a prefix or without",
        [FHIR_DATE] = "a date is [prefix]YYYY[-MM[-DD[Thh:mm[:ss][zone]]]]",
        [FHIR_SPECIAL] = "a date is [prefix]YYYY[-MM[-DD[Thh:mm[:ss][zone]]]]"};
    const struct fhir_param *param = view->param;
    struct fhir_value value = {0};

    if (filter->modifier == FHIR_MISSING) {
        if (!vg_slice_is(text, "true") && !vg_slice_is(text, "false"))
            return bad(in, param->name, ":missing is true or false");
        value.number = vg_slice_is(text, "true");
        return add_value(in, param, value, filter);
    }
    if (filter->modifier == FHIR_OF_IDENTIFIER) {
        parse_token(in, text, &value);
        return add_value(in, param, value, filter);
    }
    if (param->kind == FHIR_REFERENCE)
        return parse_reference(in, view, only_type, text, filter);
    if (param->kind == FHIR_COMPOSITE)
        return parse_composite(in, view, text, filter);
    if (strcmp(param->name, "_id") == 0) {
        value.text = unescape(in->arena, text);
        return add_value(in, param, value, filter);
    }
    if (!parse_one(in, param->kind, text, &value))
        return bad(in, param->name, forms[param->kind]);
    if (param->kind == FHIR_TOKEN) {
        if (!value.has_code && !value.has_system)
            return VG_OK;
    }
    return add_value(in, param, value, filter);
}

static enum vg_status modifier_of(struct parsing *in, const struct fhir_param *param,
                                  struct vg_slice name, enum fhir_modifier *ret_modifier,
                                  unsigned *ret_type)
{
    static const struct {
        const char *name;
        enum fhir_kind kind;
        enum fhir_modifier modifier;
    } modifiers[] = {
        {"not", FHIR_TOKEN, FHIR_NOT},
        {"exact", FHIR_STRING, FHIR_EXACT},
        {"contains", FHIR_STRING, FHIR_CONTAINS},
        {"below", FHIR_URI, FHIR_BELOW},
        {"above", FHIR_URI, FHIR_ABOVE},
        {"identifier", FHIR_REFERENCE, FHIR_OF_IDENTIFIER},
    };

    *ret_modifier = FHIR_PLAIN;
    *ret_type = 0;
    if (name.len == 0)
        return VG_OK;
    for (size_t i = 0; i < sizeof(modifiers) / sizeof(modifiers[0]); i++) {
        if (param->kind == modifiers[i].kind && vg_slice_is(name, modifiers[i].name)) {
            *ret_modifier = modifiers[i].modifier;
            return VG_OK;
        }
    }
    if (vg_slice_is(name, "missing") && param->kind != FHIR_COMPOSITE &&
        param->kind != FHIR_SPECIAL) {
        *ret_modifier = FHIR_MISSING;
        return VG_OK;
    }
    if (param->kind == FHIR_REFERENCE && fhir_type_find(name)) {
        *ret_type = fhir_type_find(name);
        return VG_OK;
    }
    return fhir_refuse(in->issue, in->err, 400, "not-supported", vg_slice_of(param->name),
                       "parameter %s does not have this modifier", param->name);
}

/* patient.identifier=…: the inner search is asked first, its answer becomes the values. */
static enum vg_status parse_chain(struct parsing *in, const struct fhir_param *param,
                                  unsigned only_type, struct vg_slice inner, struct vg_slice text,
                                  struct fhir_filter *filter)
{
    struct vg_slice rest = vg_slice_of(param->target ? param->target
                                       : only_type   ? fhir_type_name(only_type)
                                                     : "Patient");
    struct vg_slice deeper = inner, modifier = vg_slice_cut(&deeper, '.');
    struct vg_slice name = vg_slice_cut(&modifier, ':');
    bool is_known = false;

    while (rest.len) {
        unsigned type = fhir_type_find(vg_slice_cut(&rest, ','));
        const struct fhir_param_view *next = fhir_param_find(type, name);
        struct vg_slice *references = NULL;
        size_t count = 0;
        enum vg_status st;

        if ((only_type && type != only_type) || !next ||
            (deeper.ptr && next->param->kind != FHIR_REFERENCE))
            continue;
        is_known = true;
        st = in->chain->find(in->chain->ctx, type, inner, text, &references, &count, in->issue,
                             in->err);
        if (st != VG_OK)
            return st;
        struct fhir_value *values =
            vg_arena_alloc(in->arena, (filter->value_count + count + 1) * sizeof(*values));

        if (!values)
            return full(in);
        if (filter->value_count)
            memcpy(values, filter->values, filter->value_count * sizeof(*values));
        filter->values = values;
        for (size_t i = 0; i < count; i++)
            values[filter->value_count++] = (struct fhir_value){.text = references[i]};
    }
    if (!is_known)
        return fhir_refuse(in->issue, in->err, 400, "not-supported", vg_slice_of(param->name),
                           "parameter %s cannot be chained like this", param->name);
    return VG_OK;
}

static void echo(struct parsing *in, struct vg_slice name, struct vg_slice value)
{
    if (in->self.len)
        vg_buf_put_byte(&in->self, '&');
    vg_url_encode(&in->self, name);
    vg_buf_put_byte(&in->self, '=');
    vg_url_encode(&in->self, value);
}

/* The name is told when it looks like one. */
static enum vg_status unknown(struct parsing *in, struct vg_slice name)
{
    bool is_plain = name.len <= 64;

    if (!in->is_strict)
        return VG_OK;
    for (size_t i = 0; i < name.len; i++) {
        char c = (char)(name.ptr[i] | 32);

        is_plain &= (c >= 'a' && c <= 'z') || strchr("-_.:", name.ptr[i]);
    }
    return fhir_refuse(in->issue, in->err, 400, "not-supported", (struct vg_slice){0},
                       "the search parameter%s%.*s is not known, or not with this value: see "
                       "/metadata",
                       is_plain ? " " : "", is_plain ? (int)name.len : 0, name.ptr);
}

/* A composite is found through its code: the plain code parameter of the same places drives it. */
static enum vg_status add_code_of(struct parsing *in, const struct fhir_filter *composite)
{
    struct vg_slice name = vg_slice_of(composite->param->param->name);
    const char *value = strstr(name.ptr, "-value-");
    struct fhir_query *query = in->query;
    const struct fhir_param_view *code;

    if (!value)
        return VG_OK; /* slower, not wrong */
    name.len = (size_t)(value - name.ptr);
    code = fhir_param_find(query->type, name);
    if (!code || query->filter_count == FHIR_FILTERS_MAX)
        return VG_OK;
    query->filters[query->filter_count++] = (struct fhir_filter){
        .param = code, .values = composite->values, .value_count = composite->value_count};
    return VG_OK;
}

/* Values, one of which must match; `name` is the parameter's with its modifier. */
static enum vg_status parse_values(struct parsing *in, unsigned only_type, struct vg_slice text,
                                   struct fhir_filter *filter)
{
    struct vg_slice rest = text;
    enum vg_status st = VG_OK;
    /* An id alone may be one of any of these. */
    size_t each = filter->param->param->kind == FHIR_REFERENCE ? fhir_type_count() : 1, max = each;

    for (size_t i = 0; i < text.len; i++)
        max += text.ptr[i] == ',' ? each : 0;
    filter->capacity = max < FHIR_VALUES_MAX ? max : FHIR_VALUES_MAX;
    filter->values = vg_arena_alloc(in->arena, filter->capacity * sizeof(*filter->values));
    if (!filter->values)
        return full(in);
    while (st == VG_OK && rest.len) {
        struct vg_slice one = cut(&rest, ',');

        if (one.len)
            st = parse_value(in, filter->param, only_type, one, filter);
    }
    return st;
}

static enum vg_status parse_filter(struct parsing *in, struct vg_slice name, struct vg_slice text)
{
    struct vg_slice inner = name;
    struct vg_slice own = vg_slice_cut(&inner, '.'), modifier_text = own;
    struct vg_slice plain = vg_slice_cut(&modifier_text, ':');
    const struct fhir_param_view *view = fhir_param_find(in->query->type, plain);
    struct fhir_filter filter = {.param = view};
    unsigned only_type;
    enum vg_status st;

    if (!view ||
        (inner.ptr && (view->param->kind != FHIR_REFERENCE || !in->chain || !in->chain->find)))
        return unknown(in, name);
    st = modifier_of(in, view->param, modifier_text, &filter.modifier, &only_type);
    if (st != VG_OK)
        return st;
    if (text.len == 0)
        return VG_OK;
    if (in->query->filter_count == FHIR_FILTERS_MAX)
        return bad(in, view->param->name, "too many filters");
    if (inner.ptr && filter.modifier != FHIR_PLAIN)
        return bad(in, view->param->name, "a chain goes through a reference itself");
    if (inner.ptr) {
        st = parse_chain(in, view->param, only_type, inner, text, &filter);
    } else {
        st = parse_values(in, only_type, text, &filter);
    }
    if (st != VG_OK)
        return st;
    in->has_updated |= strcmp(view->param->name, "_lastUpdated") == 0;
    in->query->filters[in->query->filter_count++] = filter;
    echo(in, name, text);
    return view->param->kind == FHIR_COMPOSITE ? add_code_of(in, &filter) : VG_OK;
}

/* _has:Observation:patient:code=…; what is asked of the one that points is one plain parameter. */
static enum vg_status parse_has(struct parsing *in, struct vg_slice name, struct vg_slice text)
{
    struct fhir_query *query = in->query;
    struct vg_slice rest = name;
    unsigned searched = query->type, type, only_type;
    struct fhir_has has = {0};
    enum vg_status st;

    (void)vg_slice_cut(&rest, ':');
    type = fhir_type_find(vg_slice_cut(&rest, ':'));
    has.type = type;
    has.reference = type ? fhir_param_find(type, vg_slice_cut(&rest, ':')) : NULL;

    struct vg_slice inner = vg_slice_cut(&rest, ':');

    has.filter.param = type ? fhir_param_find(type, inner) : NULL;
    if (!has.reference || !has.filter.param || has.reference->param->kind != FHIR_REFERENCE ||
        memchr(name.ptr, '.', name.len))
        return fhir_refuse(in->issue, in->err, 400, "not-supported", VG_SLICE("_has"),
                           "_has is _has:Type:reference parameter:parameter, one level deep");
    if (text.len == 0)
        return VG_OK;
    if (query->has_count == sizeof(query->has) / sizeof(query->has[0]))
        return bad(in, "_has", "too many");
    st = modifier_of(in, has.filter.param->param, rest, &has.filter.modifier, &only_type);
    query->type = type; /* what the values are read for */
    if (st == VG_OK)
        st = parse_values(in, only_type, text, &has.filter);
    query->type = searched;
    if (st != VG_OK)
        return st;
    query->has[query->has_count++] = has;
    echo(in, name, text);
    return VG_OK;
}

/* Patient/p1: only what stands in this compartment. */
static enum vg_status parse_compartment(struct parsing *in, struct vg_slice name,
                                        struct vg_slice text)
{
    const struct fhir_param_view *view = NULL;
    struct fhir_filter filter = {0};
    struct vg_slice id;
    unsigned type;

    if (fhir_reference_cut(text, &type, &id))
        view = fhir_compartment_find(type, in->query->type);
    if (!view)
        return fhir_refuse(in->issue, in->err, 404, "not-supported", (struct vg_slice){0},
                           "there is no such compartment, or nothing of this type in it");
    if (in->query->filter_count == FHIR_FILTERS_MAX)
        return bad(in, "_compartment", "too many filters");
    filter.param = view;
    filter.values = vg_arena_alloc(in->arena, sizeof(*filter.values));
    if (!filter.values)
        return full(in);
    filter.values[filter.value_count++] = (struct fhir_value){.text = text};
    in->query->filters[in->query->filter_count++] = filter;
    echo(in, name, text);
    return VG_OK;
}

/* The sorts that an index answers; VALUES when none does. */
static enum fhir_sort sort_of(const struct fhir_query *query)
{
    const struct fhir_sort_key *key = &query->sort_keys[0];
    const struct fhir_path *date = fhir_role_path(query->type, FHIR_ROLE_DATE);
    const char *second =
        query->sort_key_count == 2 ? query->sort_keys[1].param->param->name : "_id";

    if (query->sort_key_count > 2 || strcmp(second, "_id") != 0)
        return FHIR_SORT_VALUES;
    if (strcmp(key->param->param->name, "_id") == 0)
        return FHIR_SORT_ID;
    if (strcmp(key->param->param->name, "_lastUpdated") == 0)
        return FHIR_SORT_UPDATED;
    return date && key->param->param->kind == FHIR_DATE && key->param->path_count == 1 &&
                   key->param->paths[0] == date
               ? FHIR_SORT_DATE
               : FHIR_SORT_VALUES;
}

static enum vg_status parse_sort(struct parsing *in, struct vg_slice name, struct vg_slice text)
{
    struct fhir_query *query = in->query;
    struct vg_slice rest = text;

    query->sort_key_count = 0;
    while (rest.len) {
        struct vg_slice field = vg_slice_cut(&rest, ',');
        bool is_descending = field.len && field.ptr[0] == '-';
        const struct fhir_param_view *view =
            fhir_param_find(query->type, vg_slice_from(field, is_descending ? 1 : 0));

        if (!view || view->param->kind == FHIR_COMPOSITE) {
            query->sort_key_count = 0;
            return unknown(in, name);
        }
        if (query->sort_key_count == FHIR_SORT_KEYS_MAX)
            return bad(in, "_sort", "too many keys");
        query->sort_keys[query->sort_key_count++] = (struct fhir_sort_key){view, is_descending};
    }
    if (query->sort_key_count == 0)
        return VG_OK;
    query->sort = sort_of(query);
    query->is_descending = query->sort != FHIR_SORT_VALUES && query->sort_keys[0].is_descending;
    query->id_order = 0;
    if (query->sort_key_count == 2 &&
        (query->sort == FHIR_SORT_DATE || query->sort == FHIR_SORT_UPDATED))
        query->id_order = query->sort_keys[1].is_descending ? -1 : 1;
    in->has_sort = true;
    echo(in, name, text);
    return VG_OK;
}

static enum vg_status parse_count(struct parsing *in, struct vg_slice name, struct vg_slice text)
{
    uint64_t count;

    if (!vg_slice_to_u64(text, &count))
        return bad(in, "_count", "must be a number");
    in->query->count = count > FHIR_COUNT_MAX ? FHIR_COUNT_MAX : (uint32_t)count;
    (void)name;
    return VG_OK;
}

static enum vg_status parse_total(struct parsing *in, struct vg_slice name, struct vg_slice text)
{
    if (vg_slice_is(text, "accurate"))
        in->query->wants_total = true;
    else if (!vg_slice_is(text, "none") && !vg_slice_is(text, "estimate"))
        return bad(in, "_total", "must be none, estimate or accurate");
    echo(in, name, text);
    return VG_OK;
}

static enum vg_status parse_summary(struct parsing *in, struct vg_slice name, struct vg_slice text)
{
    if (vg_slice_is(text, "count"))
        in->query->is_count_only = true;
    else if (vg_slice_is(text, "true"))
        in->query->summary = FHIR_SUMMARY_TRUE;
    else if (vg_slice_is(text, "text"))
        in->query->summary = FHIR_SUMMARY_TEXT;
    else if (vg_slice_is(text, "data"))
        in->query->summary = FHIR_SUMMARY_DATA;
    else if (!vg_slice_is(text, "false"))
        return bad(in, "_summary", "is true, text, data, count or false");
    echo(in, name, text);
    return VG_OK;
}

static enum vg_status parse_elements(struct parsing *in, struct vg_slice name, struct vg_slice text)
{
    struct fhir_query *query = in->query;
    struct vg_slice rest = text;

    while (rest.len) {
        struct vg_slice one = vg_slice_cut(&rest, ',');

        if (one.len && query->element_count == sizeof(query->elements) / sizeof(query->elements[0]))
            return bad(in, "_elements", "too many elements");
        if (one.len)
            query->elements[query->element_count++] = one;
    }
    echo(in, name, text);
    return VG_OK;
}

/* "*", "Type:*" or "Type:parameter[:target]"; with :iterate also for what was brought along. */
static enum vg_status parse_include(struct parsing *in, struct vg_slice name, struct vg_slice text)
{
    struct fhir_query *query = in->query;
    bool is_reverse = vg_slice_starts(name, VG_SLICE("_revinclude"));
    struct fhir_include *list = is_reverse ? query->revincludes : query->includes;
    size_t *count = is_reverse ? &query->revinclude_count : &query->include_count;
    struct vg_slice rest = text, param_text;
    struct fhir_include include = {.is_repeated = memchr(name.ptr, ':', name.len) != NULL};

    if (vg_slice_is(text, "*") && is_reverse)
        return bad(in, "_revinclude", "must name the type that points here, as in Observation:*");
    if (vg_slice_is(text, "*")) {
        include.type = query->type;
    } else {
        include.type = fhir_type_find(vg_slice_cut(&rest, ':'));
        param_text = vg_slice_cut(&rest, ':');
        if (include.type && !vg_slice_is(param_text, "*"))
            include.param = fhir_param_find(include.type, param_text);
        include.target = fhir_type_find(rest);
        if (!include.type || (rest.len && !include.target) ||
            (include.param ? include.param->param->kind != FHIR_REFERENCE
                           : !vg_slice_is(param_text, "*")) ||
            (!include.is_repeated && is_reverse && include.target &&
             include.target != query->type) ||
            (!include.is_repeated && !is_reverse && include.type != query->type))
            return unknown(in, name);
    }
    if (*count == sizeof(query->includes) / sizeof(query->includes[0]))
        return bad(in, is_reverse ? "_revinclude" : "_include", "too many includes");
    list[(*count)++] = include;
    echo(in, name, text);
    return VG_OK;
}

/* "<number>_<key>", "<number>_<id>" or "<id>_<key>": an id holds no '_'. */
static enum vg_status parse_cursor(struct parsing *in, struct vg_slice name, struct vg_slice text)
{
    struct fhir_query *query = in->query;
    struct vg_slice rest = text;

    (void)name;
    query->cursor_text = vg_slice_cut(&rest, '_');
    query->cursor_id = rest; /* or the key: the sort will say */
    query->has_cursor = true;
    return VG_OK;
}

static enum vg_status parse_ignored(struct parsing *in, struct vg_slice name, struct vg_slice text)
{
    (void)in, (void)name, (void)text; /* how to answer: the REST layer has seen it */
    return VG_OK;
}

static const struct {
    const char *name;
    enum vg_status (*parse)(struct parsing *in, struct vg_slice name, struct vg_slice text);
} controls[] = {
    {"_after", parse_cursor},
    {"_compartment", parse_compartment},
    {"_count", parse_count},
    {"_elements", parse_elements},
    {"_format", parse_ignored},
    {"_include", parse_include},
    {"_include:iterate", parse_include},
    {"_include:recurse", parse_include},
    {"_pretty", parse_ignored},
    {"_revinclude", parse_include},
    {"_revinclude:iterate", parse_include},
    {"_revinclude:recurse", parse_include},
    {"_sort", parse_sort},
    {"_summary", parse_summary},
    {"_total", parse_total},
    {"max", parse_ignored},
};

static enum vg_status parse_pair(struct parsing *in, struct vg_slice name, struct vg_slice value)
{
    for (size_t i = 0; i < sizeof(controls) / sizeof(controls[0]); i++)
        if (vg_slice_is(name, controls[i].name))
            return controls[i].parse(in, name, value);
    if (vg_slice_starts(name, VG_SLICE("_has:")))
        return parse_has(in, name, value);
    return parse_filter(in, name, value);
}

enum vg_status fhir_query_parse(struct vg_arena *arena, unsigned type, struct vg_slice text,
                                bool is_strict, struct vg_slice base_url,
                                const struct fhir_chain *chain, struct fhir_query *ret_query,
                                struct fhir_issue *issue, struct vg_err *err)
{
    struct fhir_query *query = ret_query;
    struct parsing in = {.arena = arena,
                         .query = query,
                         .base_url = base_url,
                         .chain = chain,
                         .issue = issue,
                         .err = err,
                         .is_strict = is_strict};
    enum vg_status st = VG_OK;
    struct vg_slice rest = text;

    *query = (struct fhir_query){
        .type = type, .count = FHIR_COUNT_USUAL, .is_descending = true, .sort = FHIR_SORT_UPDATED};
    vg_buf_init(&in.self, 64u << 10);
    while (rest.len && st == VG_OK) {
        struct vg_slice value = vg_slice_cut(&rest, '&');
        struct vg_slice name = vg_slice_cut(&value, '=');

        if (name.len == 0)
            continue;
        name = vg_url_decode(arena, name, true);
        value = value.len ? vg_url_decode(arena, value, true) : VG_SLICE("");
        if (!name.ptr || !value.ptr || !vg_slice_is_utf8(name) || !vg_slice_is_utf8(value))
            st = fhir_refuse(issue, err, 400, "value", (struct vg_slice){0},
                             "the query is not percent-encoded UTF-8");
        else
            st = parse_pair(&in, name, value);
    }
    if (st != VG_OK)
        goto done;
    /* Series come newest first by when they were true; a reader that follows _lastUpdated wants
     * that order. */
    if (!in.has_sort && !in.has_updated && fhir_type_is_series(type) &&
        fhir_role_path(type, FHIR_ROLE_DATE))
        query->sort = FHIR_SORT_DATE;
    if (query->has_cursor &&
        (query->id_order ? !fhir_id_is_ok(query->cursor_id)
                         : !vg_slice_to_i64(query->cursor_id, &query->cursor_key))) {
        st = bad(&in, "_after", "is not a page that was given out");
        goto done;
    }
    if (query->has_cursor && query->sort != FHIR_SORT_ID && query->sort != FHIR_SORT_VALUES &&
        !vg_slice_to_i64(query->cursor_text, &query->cursor_number)) {
        st = bad(&in, "_after", "is not a page that was given out");
        goto done;
    }
    if (query->has_cursor && query->sort == FHIR_SORT_ID && !fhir_id_is_ok(query->cursor_text)) {
        st = bad(&in, "_after", "is not a page that was given out");
        goto done;
    }
    if (query->count == 0)
        query->is_count_only = true;
    if (query->count != FHIR_COUNT_USUAL) {
        char number[16];

        (void)snprintf(number, sizeof(number), "%u", query->count);
        echo(&in, VG_SLICE("_count"), vg_slice_of(number));
    }
    query->self = in.self.len ? vg_arena_dup(arena, vg_buf_slice(&in.self)) : VG_SLICE("");
    if (!vg_buf_ok(&in.self) || !query->self.ptr)
        st = full(&in);
done:
    vg_buf_fini(&in.self);
    return st;
}
