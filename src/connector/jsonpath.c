/* jsonpath.c -- JSONPath: text to a small program once, program over a token for each message.
 *
 * A path is a list of steps; a filter holds terms, a term holds paths. Running is a depth-first
 * walk that hands each token on to the next step, which gives document order and lets the first hit
 * of an "exists" end the work. Nothing is allocated while running.
 *
 * The reference engine's surprises are kept, because mappings were written against them: [*] takes
 * elements only and .* members only; [?()] on an object tests nothing (its members are wrapped
 * there);
 * ..[?()] tests the token itself first; a container is != everything; null is less than all.
 *
 * Recursion is bounded: path nesting by PATH_DEPTH_MAX, the walk by the JSON reader's depth limit.
 *
 * Threads: a compiled path is read-only.
 */
#include "connector/jsonpath.h"

#include "connector/regex.h"
#include "connector/value.h"

#include <math.h>
#include <stdlib.h>

#define PATH_TEXT_MAX 4096
#define PATH_DEPTH_MAX 16 /* filters in filters */

enum step_kind {
    STEP_ROOT,        /* $ inside a filter */
    STEP_FIELD,       /* .name */
    STEP_MEMBERS,     /* .* */
    STEP_FIELDS,      /* ['a','b'] */
    STEP_SCAN,        /* ..name */
    STEP_SCAN_ALL,    /* ..* */
    STEP_SCAN_FIELDS, /* ..['a','b'] */
    STEP_ELEMENTS,    /* [*] */
    STEP_INDEXES,     /* [0] [0,2] */
    STEP_SLICE,       /* [a:b:c] */
    STEP_FILTER,      /* [?()] */
    STEP_SCAN_FILTER, /* ..[?()] */
};

struct term;

struct step {
    enum step_kind kind;
    struct vg_slice name;
    const struct vg_slice *names;
    const int64_t *indexes;
    uint32_t count; /* of names or indexes */
    int64_t from, to, by;
    bool has_from, has_to;
    const struct term *filter;
    bool skips_scalars; /* SCAN_FILTER: no term can hold of a text or a number */
    uint64_t needed;    /* the kind of a name that what it holds of must have, or 0 */
    struct step *next;
};

struct jsonpath {
    const struct step *first;
    bool is_medtech;
};

enum compare {
    COMPARE_EXISTS,
    COMPARE_EQ,
    COMPARE_NE,
    COMPARE_LT,
    COMPARE_LE,
    COMPARE_GT,
    COMPARE_GE,
    COMPARE_STRICT_EQ,
    COMPARE_STRICT_NE,
    COMPARE_MATCH,
};

/* One side of a comparison: a path from @ or $, or a literal. */
struct side {
    const struct step *path;
    bool is_path;
    struct vg_json literal;
    const struct regex *regex;
};

/* A leaf, or a list of terms under && or ||. */
struct term {
    bool is_list, is_and;
    struct term *first, *last, *next;
    enum compare compare;
    struct side left, right;
};

/* ---- reading ---- */

struct reader {
    struct vg_arena *arena;
    struct vg_slice text;
    size_t at;
    unsigned depth;
    struct vg_err *err;
};

static enum vg_status syntax(struct reader *r, const char *what)
{
    if (r->at < r->text.len)
        return vg_fail(r->err, VG_REJECT, "jsonpath.syntax", 0,
                       "JSONPath: %s, found '%c' at character %zu", what, r->text.ptr[r->at],
                       r->at + 1);
    return vg_fail(r->err, VG_REJECT, "jsonpath.syntax", 0, "JSONPath: %s, found the end", what);
}

static void *take(struct reader *r, size_t size_bytes)
{
    void *memory = vg_arena_alloc(r->arena, size_bytes);

    if (!memory)
        (void)vg_fail(r->err, VG_REJECT, "connector.memory", 0, "no memory for a JSONPath");
    return memory;
}

static char look(const struct reader *r)
{
    return r->at < r->text.len ? r->text.ptr[r->at] : '\0';
}

static void skip_blanks(struct reader *r)
{
    while (look(r) == ' ')
        r->at++;
}

static bool accept(struct reader *r, const char *word)
{
    if (!vg_slice_starts(vg_slice_from(r->text, r->at), vg_slice_of(word)))
        return false;
    r->at += strlen(word);
    return true;
}

static enum vg_status read_path(struct reader *r, bool is_in_filter, struct step ***tail);
static enum vg_status read_filter(struct reader *r, const struct term **ret);

static struct step *add_step(struct reader *r, struct step ***tail, enum step_kind kind)
{
    struct step *step = take(r, sizeof(*step));

    if (step) {
        step->kind = kind;
        **tail = step;
        *tail = &step->next;
    }
    return step;
}

static enum vg_status add_name(struct reader *r, struct step ***tail, struct vg_slice name,
                               bool is_scan)
{
    bool is_all = vg_slice_is(name, "*");
    struct step *step = add_step(r, tail,
                                 is_scan ? (is_all ? STEP_SCAN_ALL : STEP_SCAN)
                                         : (is_all ? STEP_MEMBERS : STEP_FIELD));

    if (!step)
        return VG_REJECT;
    step->name = vg_arena_dup(r->arena, name);
    return VG_OK;
}

/* 'text' with backslash escapes; r->at is on the quote. */
static enum vg_status read_quoted(struct reader *r, struct vg_slice *ret)
{
    char *out = take(r, r->text.len + 1);
    size_t used = 0;

    if (!out)
        return VG_REJECT;
    for (r->at++; look(r) != '\''; r->at++) {
        char c = look(r);

        if (r->at >= r->text.len)
            return syntax(r, "expected a closing quote");
        if (c == '\\' && r->at + 1 < r->text.len) {
            static const char from[] = "bfnrt";
            static const char to[] = "\b\f\n\r\t";
            const char *hit;

            c = r->text.ptr[++r->at];
            hit = c ? strchr(from, c) : NULL;
            c = hit ? to[hit - from] : c;
        }
        out[used++] = c;
    }
    r->at++;
    *ret = (struct vg_slice){out, used};
    return VG_OK;
}

static enum vg_status read_names(struct reader *r, char close, bool is_scan, struct step ***tail)
{
    struct vg_slice names[64];
    uint32_t count = 0;

    for (;;) {
        enum vg_status st;

        if (look(r) != '\'')
            return syntax(r, "expected a name in single quotes");
        if (count == 64)
            return syntax(r, "expected at most 64 names");
        st = read_quoted(r, &names[count++]);
        if (st != VG_OK)
            return st;
        skip_blanks(r);
        if (look(r) == close)
            break;
        if (look(r) != ',')
            return syntax(r, "expected , or the closing bracket");
        r->at++;
        skip_blanks(r);
    }
    struct step *step = add_step(r, tail, is_scan ? STEP_SCAN_FIELDS : STEP_FIELDS);
    struct vg_slice *kept = take(r, sizeof(*kept) * count);

    if (!step || !kept)
        return VG_REJECT;
    memcpy(kept, names, sizeof(*kept) * count);
    step->names = kept;
    step->count = count;
    if (count == 1) {
        step->kind = is_scan ? STEP_SCAN : STEP_FIELD;
        step->name = names[0];
    }
    return VG_OK;
}

static bool read_integer(struct reader *r, int64_t *ret)
{
    size_t start = r->at;

    if (look(r) == '-')
        r->at++;
    while (look(r) >= '0' && look(r) <= '9')
        r->at++;
    return vg_slice_to_i64((struct vg_slice){r->text.ptr + start, r->at - start}, ret) &&
           *ret >= INT32_MIN && *ret <= INT32_MAX;
}

static enum vg_status read_indexes(struct reader *r, char close, struct step ***tail)
{
    int64_t values[64];
    bool has[3] = {false, false, false};
    uint32_t count = 0;
    char separator = '\0';
    struct step *step;

    if (look(r) == '*') {
        r->at++;
        skip_blanks(r);
        if (look(r) != close)
            return syntax(r, "expected the closing bracket");
        return add_step(r, tail, STEP_ELEMENTS) ? VG_OK : VG_REJECT;
    }
    for (;;) {
        skip_blanks(r);
        values[count] = 0;
        if (look(r) == '-' || (look(r) >= '0' && look(r) <= '9')) {
            if (!read_integer(r, &values[count]))
                return syntax(r, "expected an index");
            if (count < 3)
                has[count] = true;
            skip_blanks(r);
        } else if (look(r) != ':' && separator != ':') {
            return syntax(r, "expected an index, *, a quoted name or ?");
        }
        count++;
        if (look(r) == close)
            break;
        if ((look(r) != ',' && look(r) != ':') || (separator && look(r) != separator) ||
            count == (look(r) == ':' ? 3 : 64))
            return syntax(r, "expected , or : or the closing bracket");
        separator = look(r);
        r->at++;
    }
    if (separator == ':') {
        step = add_step(r, tail, STEP_SLICE);
        if (!step)
            return VG_REJECT;
        step->has_from = has[0];
        step->has_to = has[1];
        step->from = values[0];
        step->to = count > 1 ? values[1] : 0;
        step->by = has[2] ? values[2] : 1;
        return step->by == 0 ? syntax(r, "a slice's step cannot be 0") : VG_OK;
    }
    step = add_step(r, tail, STEP_INDEXES);
    int64_t *kept = take(r, sizeof(*kept) * count);

    if (!step || !kept)
        return VG_REJECT;
    memcpy(kept, values, sizeof(*kept) * count);
    step->indexes = kept;
    step->count = count;
    return VG_OK;
}

/* A path that begins with a name, an index and the like selects nothing of a scalar, and an empty
 * left side is false: most filters need not be tried on scalars. */
static bool needs_container(const struct term *term)
{
    if (!term->is_list)
        return term->left.is_path && term->left.path && term->left.path->kind != STEP_ROOT &&
               term->left.path->kind != STEP_SCAN_ALL && term->left.path->kind != STEP_SCAN_FILTER;
    for (const struct term *part = term->first; part; part = part->next)
        if (!needs_container(part))
            return false;
    return true;
}

/* Which of 64 kinds a member's name is of. */
static uint64_t name_bit(struct vg_slice name)
{
    const unsigned char *p = (const unsigned char *)name.ptr;

    if (name.len == 0)
        return 1;
    return UINT64_C(1) << ((p[0] * 7u + p[name.len - 1] * 5u + p[name.len / 2] * 3u + name.len) &
                           63u);
}

/* The kind of a name that an object must have for the term to hold; 0: none is known. */
static uint64_t needed_by(const struct term *term)
{
    const struct step *first;

    /* Of a && b only a is looked at: b may not be what ends the message's work. */
    while (term->is_list && term->is_and)
        term = term->first;
    first = term->left.path;
    /* Whatever it is compared with: where the left side selects nothing, the term is false. */
    return !term->is_list && term->left.is_path && first && first->kind == STEP_FIELD
               ? name_bit(first->name)
               : 0;
}

/* What stands in [ ] or ( ); r->at is on the opening bracket and ends behind the closing one. */
static enum vg_status read_brackets(struct reader *r, bool is_scan, struct step ***tail)
{
    char close = look(r) == '[' ? ']' : ')';
    enum vg_status st;

    r->at++;
    skip_blanks(r);
    if (look(r) == '\'') {
        st = read_names(r, close, is_scan, tail);
    } else if (look(r) == '?') {
        struct step *step;

        r->at++;
        if (look(r) != '(')
            return syntax(r, "expected ( after ?");
        r->at++;
        step = add_step(r, tail, is_scan ? STEP_SCAN_FILTER : STEP_FILTER);
        if (!step)
            return VG_REJECT;
        if (++r->depth > PATH_DEPTH_MAX)
            return syntax(r, "filters are nested too deep");
        st = read_filter(r, &step->filter);
        step->skips_scalars = st == VG_OK && needs_container(step->filter);
        step->needed = st == VG_OK ? needed_by(step->filter) : 0;
        r->depth--;
        skip_blanks(r);
    } else {
        st = read_indexes(r, close, tail);
    }
    if (st != VG_OK)
        return st;
    skip_blanks(r);
    if (look(r) != close)
        return syntax(r, "expected the closing bracket");
    r->at++;
    return VG_OK;
}

static bool ends_path(char c, bool is_in_filter)
{
    return c == ']' || c == ')' || c == ' ' || (is_in_filter && c && strchr("=<!>|&", c));
}

static enum vg_status read_path(struct reader *r, bool is_in_filter, struct step ***tail)
{
    size_t start = r->at;
    bool is_scan = false, after_brackets = false, after_dot = false;
    enum vg_status st = VG_OK;

    while (r->at < r->text.len && !ends_path(look(r), is_in_filter) && st == VG_OK) {
        struct vg_slice name = {r->text.ptr + start, r->at - start};
        char c = look(r);

        if (c != '.' && c != '[' && c != '(') {
            if (after_brackets)
                return syntax(r, "expected . or [ after a closing bracket");
            r->at++;
            continue;
        }
        if (name.len > 0) {
            st = add_name(r, tail, name, is_scan);
            is_scan = false;
        }
        if (st != VG_OK)
            return st;
        if (c == '.') {
            r->at++;
            if (look(r) == '.') {
                is_scan = true;
                r->at++;
            }
            after_brackets = false;
            after_dot = true;
        } else {
            st = read_brackets(r, is_scan, tail);
            is_scan = after_dot = false;
            after_brackets = true;
        }
        start = r->at;
    }
    if (st != VG_OK)
        return st;
    if (r->at > start)
        return add_name(r, tail, (struct vg_slice){r->text.ptr + start, r->at - start}, is_scan);
    return after_dot ? syntax(r, "expected a name after .") : VG_OK;
}

static enum vg_status read_regex(struct reader *r, struct side *side)
{
    size_t start = ++r->at, flags;
    struct vg_slice pattern;

    for (; r->at < r->text.len && look(r) != '/'; r->at++)
        if (look(r) == '\\')
            r->at++;
    if (r->at >= r->text.len)
        return syntax(r, "expected / at the end of the regular expression");
    pattern = (struct vg_slice){r->text.ptr + start, r->at - start};
    flags = ++r->at;
    while (look(r) >= 'a' && look(r) <= 'z')
        r->at++;
    side->literal.type = VG_JSON_STRING;
    return regex_compile(r->arena, pattern, (struct vg_slice){r->text.ptr + flags, r->at - flags},
                         &side->regex, r->err);
}

/* =~ '/pattern/flags' is =~ /pattern/flags. */
static enum vg_status take_quoted_regex(struct reader *r, struct side *side)
{
    struct vg_slice text = side->literal.text;

    if (side->is_path || side->regex || side->literal.type != VG_JSON_STRING)
        return VG_OK;
    for (size_t i = text.len; i > 1; i--)
        if (text.ptr[i - 1] == '/')
            return regex_compile(r->arena, (struct vg_slice){text.ptr + 1, i - 2},
                                 vg_slice_from(text, i), &side->regex, r->err);
    return syntax(r, "expected /regex/ behind =~");
}

static enum vg_status read_side(struct reader *r, struct side *side)
{
    static const struct {
        const char *word;
        enum vg_json_type type;
    } words[] = {{"true", VG_JSON_TRUE}, {"false", VG_JSON_FALSE}, {"null", VG_JSON_NULL}};
    char c;

    skip_blanks(r);
    c = look(r);
    if (c == '@' || c == '$') {
        struct step *first = NULL, **tail = &first;
        enum vg_status st;

        r->at++;
        side->is_path = true;
        if (c == '$' && !add_step(r, &tail, STEP_ROOT))
            return VG_REJECT;
        st = read_path(r, true, &tail);
        side->path = first;
        return st;
    }
    if (c == '\'') {
        side->literal.type = VG_JSON_STRING;
        return read_quoted(r, &side->literal.text);
    }
    if (c == '/')
        return read_regex(r, side);
    for (size_t i = 0; i < 3; i++)
        if (accept(r, words[i].word)) {
            side->literal.type = words[i].type;
            return VG_OK;
        }
    if (c == '-' || (c >= '0' && c <= '9')) {
        size_t start = r->at;
        struct value_number number;

        while (look(r) && !strchr(" )&|=<>!", look(r)))
            r->at++;
        side->literal.type = VG_JSON_NUMBER;
        side->literal.text =
            vg_arena_dup(r->arena, (struct vg_slice){r->text.ptr + start, r->at - start});
        if (side->literal.text.ptr && value_number(&side->literal, &number))
            return VG_OK;
        r->at = start;
    }
    return syntax(r, "expected @path, $path, 'text', a number, true, false, null or /regex/");
}

static bool read_compare(struct reader *r, enum compare *ret)
{
    static const struct {
        const char *word;
        enum compare compare;
    } words[] = {{"===", COMPARE_STRICT_EQ}, {"==", COMPARE_EQ}, {"=~", COMPARE_MATCH},
                 {"!==", COMPARE_STRICT_NE}, {"!=", COMPARE_NE}, {"<>", COMPARE_NE},
                 {"<=", COMPARE_LE},         {"<", COMPARE_LT},  {">=", COMPARE_GE},
                 {">", COMPARE_GT}};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (accept(r, words[i].word)) {
            *ret = words[i].compare;
            return true;
        }
    return false;
}

static void append_term(struct term *list, struct term *term)
{
    if (list->last)
        list->last->next = term;
    else
        list->first = term;
    list->last = term;
}

/* What stands in ?( ), up to and with its closing parenthesis. */
static enum vg_status read_filter(struct reader *r, const struct term **ret)
{
    struct term *root = NULL, *parent = NULL;

    while (r->at < r->text.len) {
        struct term *leaf = take(r, sizeof(*leaf));
        enum vg_status st;
        bool is_and;

        if (!leaf)
            return VG_REJECT;
        st = read_side(r, &leaf->left);
        if (st != VG_OK)
            return st;
        skip_blanks(r);
        if (look(r) != ')' && look(r) != '|' && look(r) != '&') {
            if (!read_compare(r, &leaf->compare))
                return syntax(r, "expected an operator or )");
            st = read_side(r, &leaf->right);
            if (st == VG_OK && leaf->compare == COMPARE_MATCH)
                st = take_quoted_regex(r, &leaf->right);
            if (st != VG_OK)
                return st;
            skip_blanks(r);
        }
        if (accept(r, ")")) {
            if (parent)
                append_term(parent, leaf);
            *ret = root ? root : leaf;
            return VG_OK;
        }
        is_and = accept(r, "&&");
        if (!is_and && !accept(r, "||"))
            return syntax(r, "expected && or || or )");
        /* The operator changed: what follows becomes the last part of what stands before. */
        if (!parent || parent->is_and != is_and) {
            struct term *list = take(r, sizeof(*list));

            if (!list)
                return VG_REJECT;
            list->is_list = true;
            list->is_and = is_and;
            if (parent)
                append_term(parent, list);
            else
                root = list;
            parent = list;
        }
        append_term(parent, leaf);
    }
    return syntax(r, "expected a term or )");
}

enum vg_status jsonpath_compile(struct vg_arena *arena, struct vg_slice text, bool is_medtech,
                                const struct jsonpath **ret_path, struct vg_err *err)
{
    struct reader r = {.arena = arena, .text = text, .err = err};
    struct jsonpath *path;
    struct step *first = NULL, **tail = &first;
    enum vg_status st;

    if (text.len > PATH_TEXT_MAX)
        return vg_fail(err, VG_REJECT, "jsonpath.syntax", 0,
                       "JSONPath of %zu characters: expected at most %d", text.len, PATH_TEXT_MAX);
    skip_blanks(&r);
    if (r.at == text.len)
        return vg_fail(err, VG_REJECT, "jsonpath.syntax", 0, "JSONPath is blank");
    if (look(&r) == '$' &&
        (text.len == r.at + 1 || text.ptr[r.at + 1] == '.' || text.ptr[r.at + 1] == '['))
        r.at++;
    st = read_path(&r, false, &tail);
    if (st != VG_OK)
        return st;
    skip_blanks(&r);
    if (r.at < text.len)
        return syntax(&r, "expected the end of the path");
    path = take(&r, sizeof(*path));
    if (!path)
        return VG_REJECT;
    path->first = first;
    path->is_medtech = is_medtech;
    *ret_path = path;
    return VG_OK;
}

bool jsonpath_may_match(const struct jsonpath *path, const struct jsonpath_nodes *nodes)
{
    const struct step *first = path->first;

    if (first && (first->kind == STEP_FIELD || first->kind == STEP_SCAN))
        return (name_bit(first->name) & nodes->all_names) != 0;
    return !first || first->kind != STEP_SCAN_FILTER || (first->needed & ~nodes->all_names) == 0;
}

bool jsonpath_is_plain(const struct jsonpath *path, struct vg_slice name)
{
    for (const struct step *step = path->first; step; step = step->next)
        if (step->kind != STEP_FIELD)
            return false;
    return path->first && !vg_slice_eq(path->first->name, name);
}

/* ---- running ---- */

/* The usual name differs in length or in its first byte. */
static inline const struct vg_json *find_member(const struct vg_json *object, struct vg_slice name)
{
    if (object->type != VG_JSON_OBJECT)
        return NULL;
    if (name.len == 0)
        return vg_json_get_slice(object, name);
    for (const struct vg_json *m = object->child; m; m = m->next)
        if (m->name.len == name.len && m->name.ptr[0] == name.ptr[0] &&
            memcmp(m->name.ptr, name.ptr, name.len) == 0)
            return m;
    return NULL;
}

struct run {
    const struct vg_json *root;
    const struct jsonpath_nodes *nodes; /* of root, or NULL */
    uint64_t *steps_left;
    struct vg_err *err;
    enum vg_status status;
    bool is_medtech;
};

struct sink {
    jsonpath_visit *visit;
    void *ctx;
};

static bool walk(struct run *run, const struct step *step, const struct vg_json *at,
                 const struct sink *sink);
static bool holds(struct run *run, const struct term *term, const struct vg_json *at);

static bool stop(struct run *run, const char *code, const char *text)
{
    if (run->status == VG_OK)
        run->status = vg_fail(run->err, VG_REJECT, code, 0, "%s", text);
    return false;
}

static bool pay(struct run *run)
{
    if (*run->steps_left == 0)
        return stop(run, "jsonpath.budget", "expressions take too many steps on this message");
    --*run->steps_left;
    return run->status == VG_OK;
}

static bool is_container(const struct vg_json *at)
{
    return at->type == VG_JSON_OBJECT || at->type == VG_JSON_ARRAY;
}

/* ..name, ..['a','b'], ..*: document order, a hit before what is inside it. */
static bool scan(struct run *run, const struct step *step, const struct vg_json *at,
                 const struct sink *sink)
{
    for (const struct vg_json *child = at->child; child; child = child->next) {
        bool is_hit = step->kind == STEP_SCAN_ALL;

        if (!pay(run))
            return false;
        if (at->type == VG_JSON_OBJECT) {
            if (step->kind == STEP_SCAN)
                is_hit = vg_slice_eq(child->name, step->name);
            for (uint32_t i = 0; step->kind == STEP_SCAN_FIELDS && i < step->count && !is_hit; i++)
                is_hit = vg_slice_eq(child->name, step->names[i]);
        }
        if (is_hit && !walk(run, step->next, child, sink))
            return false;
        if (is_container(child) && !scan(run, step, child, sink))
            return false;
    }
    return true;
}

static bool scan_filter(struct run *run, const struct step *step, const struct vg_json *at,
                        const struct sink *sink)
{
    if (!pay(run))
        return false;
    if (holds(run, step->filter, at) && !walk(run, step->next, at, sink))
        return false;
    for (const struct vg_json *child = at->child; child; child = child->next)
        if ((is_container(child) || !step->skips_scalars) && !scan_filter(run, step, child, sink))
            return false;
    return run->status == VG_OK;
}

/* The same of the whole root, whose nodes are known. */
static bool scan_nodes(struct run *run, const struct step *step, const struct sink *sink)
{
    const struct jsonpath_nodes *nodes = run->nodes;

    for (size_t i = 0; i < nodes->count; i++) {
        if (step->needed & ~nodes->names[i])
            continue;
        if (!pay(run) || (holds(run, step->filter, nodes->list[i]) &&
                          !walk(run, step->next, nodes->list[i], sink)))
            return false;
    }
    return run->status == VG_OK;
}

static bool walk_slice(struct run *run, const struct step *step, const struct vg_json *at,
                       const struct sink *sink)
{
    int64_t count = at->count, by = step->by;
    int64_t from = step->has_from ? step->from : by > 0 ? 0 : count - 1;
    int64_t to = step->has_to ? step->to : by > 0 ? count : -1;

    if (step->has_from && from < 0)
        from += count;
    if (step->has_to && to < 0)
        to += count;
    if (by > 0 && from < 0)
        from = 0;
    if (from > (by > 0 ? count : count - 1))
        from = by > 0 ? count : count - 1;
    to = to < -1 ? -1 : to > count ? count : to;
    if (by > 0) {
        const struct vg_json *child = vg_json_at(at, (size_t)from);

        for (int64_t i = from; i < to && child; child = child->next, i++) {
            if (!pay(run))
                return false;
            if ((i - from) % by == 0 && !walk(run, step->next, child, sink))
                return false;
        }
        return true;
    }
    for (int64_t i = from; i > to && i >= 0; i += by) {
        /* From the back a list is walked anew for each element: it is paid for. */
        *run->steps_left -= *run->steps_left < (uint64_t)i ? *run->steps_left : (uint64_t)i;
        if (!pay(run) || !walk(run, step->next, vg_json_at(at, (size_t)i), sink))
            return false;
    }
    return true;
}

/* One token through `step` and all after it. False: stop everything (enough, or an error). */
static bool walk(struct run *run, const struct step *step, const struct vg_json *at,
                 const struct sink *sink)
{
    const struct vg_json *child;

    /* The usual path is names only: a loop, not a recursion. */
    while (step && step->kind == STEP_FIELD) {
        if (!pay(run))
            return false;
        at = find_member(at, step->name);
        if (!at)
            return true;
        step = step->next;
    }
    if (!step)
        return sink->visit(sink->ctx, at);
    if (!pay(run))
        return false;
    switch (step->kind) {
    case STEP_ROOT:
        return walk(run, step->next, run->root, sink);
    case STEP_FIELD:
        break; /* done above */
    case STEP_FIELDS:
        for (uint32_t i = 0; at->type == VG_JSON_OBJECT && i < step->count; i++) {
            child = vg_json_get_slice(at, step->names[i]);
            if (child && !walk(run, step->next, child, sink))
                return false;
        }
        return true;
    case STEP_MEMBERS:
    case STEP_ELEMENTS:
        if (at->type != (step->kind == STEP_MEMBERS ? VG_JSON_OBJECT : VG_JSON_ARRAY))
            return true;
        for (child = at->child; child; child = child->next)
            if (!walk(run, step->next, child, sink))
                return false;
        return true;
    case STEP_SCAN_ALL:
        if (!walk(run, step->next, at, sink))
            return false;
        return !is_container(at) || scan(run, step, at, sink);
    case STEP_SCAN:
    case STEP_SCAN_FIELDS:
        return !is_container(at) || scan(run, step, at, sink);
    case STEP_INDEXES:
        for (uint32_t i = 0; at->type == VG_JSON_ARRAY && i < step->count; i++) {
            if (step->indexes[i] < 0)
                return stop(run, "jsonpath.index", "a negative index in a JSONPath: use a slice");
            child = vg_json_at(at, (size_t)step->indexes[i]);
            if (child && !walk(run, step->next, child, sink))
                return false;
        }
        return true;
    case STEP_SLICE:
        return at->type != VG_JSON_ARRAY || walk_slice(run, step, at, sink);
    case STEP_FILTER:
        for (child = at->type == VG_JSON_ARRAY ? at->child : NULL; child; child = child->next) {
            if (!pay(run))
                return false;
            if (holds(run, step->filter, child) && !walk(run, step->next, child, sink))
                return false;
        }
        return run->status == VG_OK;
    case STEP_SCAN_FILTER:
        if (run->nodes && at == run->root && step->skips_scalars && is_container(at))
            return scan_nodes(run, step, sink);
        return scan_filter(run, step, at, sink);
    }
    return true;
}

/* ---- filters ---- */

static bool both_numbers(const struct vg_json *a, const struct vg_json *b, struct value_number *x,
                         struct value_number *y)
{
    return a->type == VG_JSON_NUMBER && b->type == VG_JSON_NUMBER && value_number(a, x) &&
           value_number(b, y);
}

static int order_numbers(const struct value_number *x, const struct value_number *y)
{
    if (x->is_integer && y->is_integer)
        return x->integer < y->integer ? -1 : x->integer > y->integer;
    return x->real < y->real ? -1 : x->real > y->real;
}

/* For the reference a string of the message that looks like a date is a date, and equals a text
 * that is its ISO form. Both sides are scalars. */
static bool is_equal_date(const struct vg_json *a, const struct vg_json *b, bool is_strict)
{
    int64_t x = 0, y = 0;
    char iso[64];

    if (value_is_date(a) && value_is_date(b))
        return value_date_ticks(a->text, &x) && value_date_ticks(b->text, &y) && x == y;
    return !is_strict && value_is_date(a) && b->type == VG_JSON_STRING &&
           vg_slice_eq(b->text, (struct vg_slice){iso, value_date_iso(a, iso)});
}

/* Same type and equal; integer and real compare by value. */
static bool is_equal(const struct run *run, const struct vg_json *a, const struct vg_json *b,
                     bool is_strict)
{
    struct value_number x, y;

    if (run->is_medtech && (value_is_date(a) || value_is_date(b)))
        return is_equal_date(a, b, is_strict);

    if (both_numbers(a, b, &x, &y))
        return !isnan(x.real) && !isnan(y.real) && order_numbers(&x, &y) == 0;
    return a->type == b->type && (a->type != VG_JSON_STRING || vg_slice_eq(a->text, b->text));
}

/* The number that `value` is as `like`'s type; a text must convert whole. */
static bool coerce(const struct vg_json *value, const struct vg_json *like,
                   struct value_number *ret)
{
    struct value_number kind;
    struct vg_slice text;

    switch (value->type) {
    case VG_JSON_NUMBER:
        if (!value_number(value, ret))
            return false;
        if (like->type == VG_JSON_TRUE || like->type == VG_JSON_FALSE) {
            bool is_true = ret->real < 0 || ret->real > 0;

            *ret = (struct value_number){.is_integer = true, .integer = is_true, .real = is_true};
        }
        return true;
    case VG_JSON_TRUE:
    case VG_JSON_FALSE:
        *ret = (struct value_number){.is_integer = true,
                                     .integer = value->type == VG_JSON_TRUE,
                                     .real = value->type == VG_JSON_TRUE};
        return true;
    case VG_JSON_STRING:
        text = vg_slice_trim(value->text);
        *ret = (struct value_number){0};
        if (like->type != VG_JSON_NUMBER || !value_number(like, &kind)) {
            bool is_true = vg_slice_eq_nocase(text, VG_SLICE("true"));

            ret->is_integer = true;
            ret->integer = is_true;
            ret->real = is_true;
            return is_true || vg_slice_eq_nocase(text, VG_SLICE("false"));
        }
        if (kind.is_integer) {
            ret->is_integer = vg_slice_to_i64(text, &ret->integer);
            ret->real = (double)ret->integer;
            return ret->is_integer;
        }
        return vg_slice_to_double(text, &ret->real);
    case VG_JSON_NULL:
    case VG_JSON_ARRAY:
    case VG_JSON_OBJECT:
        break;
    }
    return false;
}

static bool is_ordered(struct run *run, enum compare compare, const struct vg_json *a,
                       const struct vg_json *b)
{
    struct value_number x, y;
    int order;

    if (a->type == VG_JSON_NULL || b->type == VG_JSON_NULL) {
        order = (a->type != VG_JSON_NULL) - (b->type != VG_JSON_NULL);
    } else if (run->is_medtech && (value_is_date(a) || value_is_date(b))) {
        int64_t ticks = 0, other = 0;

        if (!value_is_date(a) || b->type != VG_JSON_STRING || !value_date_ticks(a->text, &ticks) ||
            !value_date_ticks(b->text, &other))
            return stop(run, "jsonpath.compare",
                        "a JSONPath filter compares a date with something that is none");
        order = ticks < other ? -1 : ticks > other;
    } else if (a->type == VG_JSON_STRING && b->type == VG_JSON_STRING) {
        order = vg_slice_cmp(a->text, b->text);
    } else {
        const struct vg_json *like = a->type == VG_JSON_STRING ? b : a;

        if (!coerce(a, like, &x) || !coerce(b, like, &y))
            return stop(run, "jsonpath.compare",
                        "a JSONPath filter compares a text with a number that it is not");
        order = order_numbers(&x, &y);
    }
    switch (compare) {
    case COMPARE_LT:
        return order < 0;
    case COMPARE_LE:
        return order <= 0;
    case COMPARE_GT:
        return order > 0;
    case COMPARE_GE:
        return order >= 0;
    case COMPARE_EXISTS:
    case COMPARE_EQ:
    case COMPARE_NE:
    case COMPARE_STRICT_EQ:
    case COMPARE_STRICT_NE:
    case COMPARE_MATCH:
        break;
    }
    return false;
}

struct comparison {
    struct run *run;
    const struct term *term;
    const struct vg_json *at, *left;
    bool is_true;
};

static bool compare_right(void *ctx, const struct vg_json *right)
{
    struct comparison *c = ctx;
    enum compare compare = c->term->compare;

    if (is_container(c->left) || is_container(right)) {
        c->is_true = compare == COMPARE_NE;
        return !c->is_true;
    }
    switch (compare) {
    case COMPARE_EQ:
    case COMPARE_STRICT_EQ:
        c->is_true = is_equal(c->run, c->left, right, compare == COMPARE_STRICT_EQ);
        break;
    case COMPARE_NE:
    case COMPARE_STRICT_NE:
        c->is_true = !is_equal(c->run, c->left, right, compare == COMPARE_STRICT_NE);
        break;
    case COMPARE_LT:
    case COMPARE_LE:
    case COMPARE_GT:
    case COMPARE_GE:
        c->is_true = is_ordered(c->run, compare, c->left, right);
        break;
    case COMPARE_MATCH:
        c->is_true = c->left->type == VG_JSON_STRING && c->term->right.regex &&
                     !(c->run->is_medtech && value_is_date(c->left)) &&
                     regex_search(c->term->right.regex, c->left->text, c->run->steps_left);
        break;
    case COMPARE_EXISTS:
        c->is_true = true;
        break;
    }
    return !c->is_true && c->run->status == VG_OK;
}

static bool compare_left(void *ctx, const struct vg_json *left)
{
    struct comparison *c = ctx;
    const struct sink sink = {compare_right, c};

    c->left = left;
    if (c->term->compare == COMPARE_EXISTS)
        c->is_true = true;
    else if (c->term->right.is_path)
        (void)walk(c->run, c->term->right.path, c->at, &sink);
    else
        (void)compare_right(c, &c->term->right.literal);
    return !c->is_true && c->run->status == VG_OK;
}

static bool holds(struct run *run, const struct term *term, const struct vg_json *at)
{
    struct comparison c = {.run = run, .term = term, .at = at};
    const struct sink sink = {compare_left, &c};

    if (term->is_list) {
        for (const struct term *part = term->first; part; part = part->next)
            if (holds(run, part, at) != term->is_and)
                return !term->is_and && run->status == VG_OK;
        return term->is_and && run->status == VG_OK;
    }
    if (term->left.is_path)
        (void)walk(run, term->left.path, at, &sink);
    else
        (void)compare_left(&c, &term->left.literal);
    return c.is_true && run->status == VG_OK;
}

static size_t count_nodes(const struct vg_json *at)
{
    size_t count = 1;

    for (const struct vg_json *child = at->child; child; child = child->next)
        if (is_container(child))
            count += count_nodes(child);
    return count;
}

static void list_nodes(struct jsonpath_nodes *nodes, const struct vg_json *at)
{
    size_t place = nodes->count++;
    uint64_t names = 0;

    nodes->list[place] = at;
    for (const struct vg_json *child = at->child; child; child = child->next) {
        if (at->type == VG_JSON_OBJECT)
            names |= name_bit(child->name);
        if (is_container(child))
            list_nodes(nodes, child); /* as deep as the JSON reader allows */
    }
    nodes->names[place] = names;
    nodes->all_names |= names;
}

bool jsonpath_nodes_init(struct jsonpath_nodes *nodes, struct vg_arena *arena,
                         const struct vg_json *root)
{
    size_t count = count_nodes(root);

    *nodes = (struct jsonpath_nodes){.list = vg_arena_alloc(arena, sizeof(*nodes->list) * count),
                                     .names = vg_arena_alloc(arena, sizeof(*nodes->names) * count)};
    if (!nodes->list || !nodes->names)
        return false;
    list_nodes(nodes, root);
    return true;
}

enum vg_status jsonpath_each(const struct jsonpath *path, const struct vg_json *root,
                             const struct jsonpath_nodes *nodes, uint64_t *steps_left,
                             jsonpath_visit *visit, void *ctx, struct vg_err *err)
{
    struct run run = {root, nodes, steps_left, err, VG_OK, path->is_medtech};
    const struct sink sink = {visit, ctx};

    (void)walk(&run, path->first, root, &sink);
    /* A regular expression that ran dry said "no match": that is not known. */
    if (run.status == VG_OK && *steps_left == 0)
        (void)stop(&run, "jsonpath.budget", "expressions take too many steps on this message");
    return run.status;
}
