/* jsonpath.c -- JSONPath: text to a small program, once. (jsonpath_run.c runs it.)
 *
 * A path is a list of steps; a filter holds terms, a term holds paths. && and || have no
 * precedence, as in the reference engine: a chain is grouped to the right whenever the operator
 * changes.
 *
 * Recursion is bounded: filters in filters by PATH_DEPTH_MAX.
 *
 * Threads: a compiled path is read-only.
 */
#include "connector/jsonpath_int.h"

#include "connector/value.h"

#define PATH_TEXT_MAX 4096
#define PATH_DEPTH_MAX 16 /* filters in filters */

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
            if (!hit && (c == '\0' || !strchr("\\\"'/", c)))
                return syntax(r, "expected one of b f n r t \\ \" ' / behind a backslash");
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
