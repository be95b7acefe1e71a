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

static bool parse_quantity(struct parsing *in, struct vg_slice text, struct fhir_value *value)
{
    struct vg_slice rest = text, number = cut(&rest, '|');

    value->prefix = take_prefix(&number);
    if (!fhir_number_parse(number, &value->number, &value->half))
        return false;
    if (rest.ptr) {
        struct vg_slice system = cut(&rest, '|');

        value->has_unit_system = system.len > 0;
        value->unit_system = unescape(in->arena, system);
        value->unit = unescape(in->arena, rest);
    }
    if (value->prefix == FHIR_AP)
        value->half = fmax(fabs(value->number) * 0.1, value->half);
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

/* One value of a reference parameter. An id alone means the parameter's first target type; where
 * any type may be meant, the usual ones are tried. */
static enum vg_status parse_reference(struct parsing *in, const struct fhir_param *param,
                                      unsigned only_type, struct vg_slice text,
                                      struct fhir_filter *filter)
{
    struct vg_slice plain = fhir_reference_plain(unescape(in->arena, text), in->base_url), id;
    const char *targets = param->target ? param->target
                                        : "Patient,Device,Practitioner,Organization,Observation,"
                                          "Encounter,Flag,RiskAssessment,Task,Location,Group";
    struct vg_slice rest = vg_slice_of(targets);
    unsigned type;

    if (fhir_reference_cut(plain, &type, &id) || memchr(plain.ptr, ':', plain.len)) {
        if (fhir_reference_cut(plain, &type, &id) &&
            ((only_type && type != only_type) ||
             (param->target && !fhir_list_has(param->target, vg_slice_of(fhir_type_name(type))))))
            return VG_OK; /* can never match: no value */
        filter->values[filter->value_count++] = (struct fhir_value){.text = plain};
        return VG_OK;
    }
    if (!fhir_id_is_ok(plain))
        return bad(in, param->name, "a reference is an id, Type/id or a URL");
    while (rest.len) {
        struct vg_slice name = vg_slice_cut(&rest, ',');

        if (only_type && fhir_type_find(name) != only_type)
            continue;
        if (filter->value_count == FHIR_VALUES_MAX)
            return bad(in, param->name, "too many values");
        struct vg_slice full_text =
            vg_arena_printf(in->arena, "%.*s/%.*s", VG_FMT(name), VG_FMT(plain));

        if (!full_text.ptr)
            return full(in);
        filter->values[filter->value_count++] = (struct fhir_value){.text = full_text};
        if (param->target)
            break;
    }
    return VG_OK;
}

static enum vg_status parse_value(struct parsing *in, const struct fhir_param *param,
                                  unsigned only_type, struct vg_slice text,
                                  struct fhir_filter *filter)
{
    struct fhir_value value = {0};
    struct vg_slice rest = text, head;
    bool is_id = strcmp(param->name, "_id") == 0;

    switch (param->kind) {
    case FHIR_REFERENCE:
        return parse_reference(in, param, only_type, text, filter);
    case FHIR_TOKEN:
        parse_token(in, text, &value);
        if (!value.has_code && !value.has_system)
            return VG_OK;
        if (value.has_system && !value.has_code && fhir_type_is_series(in->query->type))
            return bad(in, param->name, "a system without a code is not searched for here");
        break;
    case FHIR_STRING:
        value.text = unescape(in->arena, text);
        break;
    case FHIR_QUANTITY:
        if (!parse_quantity(in, text, &value))
            return bad(in, param->name, "a quantity is a number, or number|system|code");
        break;
    case FHIR_COMPOSITE:
        head = cut(&rest, '$');
        parse_token(in, head, &value);
        if (!value.has_code || !rest.ptr || !parse_quantity(in, rest, &value))
            return bad(in, param->name, "this composite is code$quantity");
        break;
    case FHIR_SPECIAL:
        if (is_id) {
            value.text = unescape(in->arena, text);
            break;
        }
        __attribute__((fallthrough));
    case FHIR_DATE:
        if (!parse_date(text, &value))
            return bad(in, param->name, "a date is [prefix]YYYY[-MM[-DD[Thh:mm[:ss][zone]]]]");
        break;
    }
    filter->values[filter->value_count++] = value;
    return VG_OK;
}

static enum vg_status modifier_of(struct parsing *in, const struct fhir_param *param,
                                  struct vg_slice name, enum fhir_modifier *ret_modifier,
                                  unsigned *ret_type)
{
    *ret_modifier = FHIR_PLAIN;
    *ret_type = 0;
    if (name.len == 0)
        return VG_OK;
    if (param->kind == FHIR_TOKEN && vg_slice_is(name, "not"))
        *ret_modifier = FHIR_NOT;
    else if (param->kind == FHIR_STRING && vg_slice_is(name, "exact"))
        *ret_modifier = FHIR_EXACT;
    else if (param->kind == FHIR_STRING && vg_slice_is(name, "contains"))
        *ret_modifier = FHIR_CONTAINS;
    else if (param->kind == FHIR_REFERENCE && fhir_type_find(name))
        *ret_type = fhir_type_find(name);
    else
        return fhir_refuse(in->issue, in->err, 400, "not-supported", vg_slice_of(param->name),
                           "parameter %s does not have this modifier", param->name);
    return VG_OK;
}

/* patient.identifier=…: the inner search is asked first, its answer becomes the values. */
static enum vg_status parse_chain(struct parsing *in, const struct fhir_param *param,
                                  unsigned only_type, struct vg_slice inner, struct vg_slice text,
                                  struct fhir_filter *filter)
{
    struct vg_slice rest = vg_slice_of(param->target ? param->target : "Patient");
    bool is_known = false;

    while (rest.len) {
        unsigned type = fhir_type_find(vg_slice_cut(&rest, ','));
        struct vg_slice *references = NULL;
        size_t count = 0;
        enum vg_status st;

        if ((only_type && type != only_type) || !fhir_param_find(type, inner))
            continue;
        is_known = true;
        st = in->chain->find(in->chain->ctx, type, inner, text, &references, &count, in->issue,
                             in->err);
        if (st != VG_OK)
            return st;
        for (size_t i = 0; i < count; i++) {
            if (filter->value_count == FHIR_VALUES_MAX)
                return fhir_refuse(in->issue, in->err, 400, "too-costly", vg_slice_of(param->name),
                                   "parameter %s: the chain leads to more than %u resources",
                                   param->name, FHIR_VALUES_MAX);
            filter->values[filter->value_count++] = (struct fhir_value){.text = references[i]};
        }
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

static enum vg_status unknown(struct parsing *in)
{
    if (!in->is_strict)
        return VG_OK;
    return fhir_refuse(in->issue, in->err, 400, "not-supported", (struct vg_slice){0},
                       "a search parameter is not known and handling=strict was asked for");
}

/* A composite is found through its code: the plain code parameter of the same places drives it. */
static enum vg_status add_code_of(struct parsing *in, const struct fhir_filter *composite)
{
    static const char suffix[] = "-value-quantity";
    struct vg_slice name = vg_slice_of(composite->param->param->name);
    struct fhir_query *query = in->query;
    const struct fhir_param_view *code;

    name.len -= sizeof(suffix) - 1;
    code = fhir_param_find(query->type, name);
    if (!code || query->filter_count == FHIR_FILTERS_MAX)
        return VG_OK; /* slower, not wrong */
    query->filters[query->filter_count++] =
        (struct fhir_filter){code, FHIR_PLAIN, composite->values, composite->value_count};
    return VG_OK;
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

    if (!view || (inner.ptr && (view->param->kind != FHIR_REFERENCE || !in->chain)))
        return unknown(in);
    st = modifier_of(in, view->param, modifier_text, &filter.modifier, &only_type);
    if (st != VG_OK)
        return st;
    if (text.len == 0)
        return VG_OK;
    if (in->query->filter_count == FHIR_FILTERS_MAX)
        return bad(in, view->param->name, "too many filters");
    filter.values = vg_arena_alloc(in->arena, FHIR_VALUES_MAX * sizeof(*filter.values));
    if (!filter.values)
        return full(in);
    if (inner.ptr) {
        st = parse_chain(in, view->param, only_type, inner, text, &filter);
    } else {
        struct vg_slice rest = text;

        while (st == VG_OK && rest.len) {
            struct vg_slice one = cut(&rest, ',');

            if (filter.value_count == FHIR_VALUES_MAX)
                return bad(in, view->param->name, "too many values");
            if (one.len)
                st = parse_value(in, view->param, only_type, one, &filter);
        }
    }
    if (st != VG_OK)
        return st;
    in->has_updated |= strcmp(view->param->name, "_lastUpdated") == 0;
    in->query->filters[in->query->filter_count++] = filter;
    echo(in, name, text);
    return view->param->kind == FHIR_COMPOSITE ? add_code_of(in, &filter) : VG_OK;
}

static enum vg_status parse_sort(struct parsing *in, struct vg_slice name, struct vg_slice text)
{
    struct fhir_query *query = in->query;
    struct vg_slice rest = text, field = vg_slice_cut(&rest, ',');
    const struct fhir_path *date = fhir_role_path(query->type, FHIR_ROLE_DATE);
    bool is_descending = field.len && field.ptr[0] == '-';
    enum fhir_sort sort;

    field = vg_slice_from(field, is_descending ? 1 : 0);
    const struct fhir_param_view *view = fhir_param_find(query->type, field);

    if (vg_slice_is(field, "_id"))
        sort = FHIR_SORT_ID;
    else if (vg_slice_is(field, "_lastUpdated"))
        sort = FHIR_SORT_UPDATED;
    else if (view && date && view->param->kind == FHIR_DATE && view->paths[0] == date)
        sort = FHIR_SORT_DATE;
    else
        return unknown(in);
    /* A second key only ever breaks ties, and `_id` says no more than that. */
    if (rest.len && !vg_slice_is(rest, "_id") && !vg_slice_is(rest, "-_id"))
        return unknown(in);
    query->sort = sort;
    query->is_descending = is_descending;
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
    else if (!vg_slice_is(text, "false"))
        return unknown(in);
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

/* Type:parameter[:target] */
static enum vg_status parse_include(struct parsing *in, struct vg_slice name, struct vg_slice text)
{
    struct fhir_query *query = in->query;
    struct vg_slice rest = text;
    unsigned type = fhir_type_find(vg_slice_cut(&rest, ':'));
    const struct fhir_param_view *view = fhir_param_find(type, vg_slice_cut(&rest, ':'));

    if (type != query->type || !view || view->param->kind != FHIR_REFERENCE ||
        (rest.len && !fhir_type_find(rest)))
        return unknown(in);
    if (query->include_count == sizeof(query->includes) / sizeof(query->includes[0]))
        return bad(in, "_include", "too many includes");
    query->includes[query->include_count++] = (struct fhir_include){view, fhir_type_find(rest)};
    echo(in, name, text);
    return VG_OK;
}

/* "<number>_<key>", or "<id>_<key>": an id holds no '_'. */
static enum vg_status parse_cursor(struct parsing *in, struct vg_slice name, struct vg_slice text)
{
    struct fhir_query *query = in->query;
    struct vg_slice rest = text;

    (void)name;
    query->cursor_text = vg_slice_cut(&rest, '_');
    if (!vg_slice_to_i64(rest, &query->cursor_key))
        return bad(in, "_after", "is not a page that was given out");
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
    {"_after", parse_cursor},   {"_count", parse_count},     {"_elements", parse_elements},
    {"_format", parse_ignored}, {"_include", parse_include}, {"_pretty", parse_ignored},
    {"_sort", parse_sort},      {"_summary", parse_summary}, {"_total", parse_total},
    {"max", parse_ignored},
};

static enum vg_status parse_pair(struct parsing *in, struct vg_slice name, struct vg_slice value)
{
    for (size_t i = 0; i < sizeof(controls) / sizeof(controls[0]); i++)
        if (vg_slice_is(name, controls[i].name))
            return controls[i].parse(in, name, value);
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
    if (query->has_cursor && query->sort != FHIR_SORT_ID &&
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
