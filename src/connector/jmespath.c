/* jmespath.c -- JMESPath: text to a tree, once. (jmespath_run.c runs it.)
 *
 * Reading is by binding power (an operator takes what binds tighter than it does).
 *
 * Recursion is bounded by the tree's height (HEIGHT_MAX).
 *
 * Threads: a compiled expression is read-only.
 */
#include "connector/jmespath_int.h"

#include <stdio.h>

#define TEXT_MAX 4096
#define HEIGHT_MAX 100 /* of the tree */

/* How tight an operator binds to what stands before it; 0 = it is none. */
static const uint8_t binding[TOKEN_BAD + 1] = {
    [TOKEN_PIPE] = 1,     [TOKEN_OR] = 2,   [TOKEN_AND] = 3,     [TOKEN_EQ] = 5,
    [TOKEN_NE] = 5,       [TOKEN_LT] = 5,   [TOKEN_LE] = 5,      [TOKEN_GT] = 5,
    [TOKEN_GE] = 5,       [TOKEN_DOT] = 40, [TOKEN_FLATTEN] = 9, [TOKEN_FILTER] = 21,
    [TOKEN_LBRACKET] = 55};
#define BINDING_PROJECTION_ENDS 10 /* what binds less ends the right side of a projection */
#define BINDING_STAR 20
#define BINDING_FILTER 21
#define BINDING_DOT 40
#define BINDING_NOT 6 /* !a.b is !(a.b), !a == b is (!a) == b */

const struct node jmespath_current_node = {.kind = NODE_CURRENT, .height = 1};

struct token {
    enum token_kind kind;
    struct vg_slice text; /* without quotes */
    size_t at;
};

struct reader {
    struct vg_arena *arena;
    struct vg_slice text;
    size_t next_at;
    struct token now;
    unsigned depth;
    enum vg_status status;
    struct vg_err *err;
};

/* The first thing wrong is told; everything after it is given up. */
static struct node *syntax_at(struct reader *r, size_t at, const char *what)
{
    if (r->status != VG_OK)
        return NULL;
    if (at < r->text.len)
        r->status =
            vg_fail(r->err, VG_REJECT, "jmespath.syntax", 0,
                    "JMESPath: %s, found '%c' at character %zu", what, r->text.ptr[at], at + 1);
    else
        r->status = vg_fail(r->err, VG_REJECT, "jmespath.syntax", 0,
                            "JMESPath: %s, found the end at character %zu", what, at + 1);
    return NULL;
}

static struct node *syntax(struct reader *r, const char *what)
{
    return syntax_at(r, r->now.at, what);
}

static struct vg_slice part(const struct reader *r, size_t from, size_t to)
{
    return (struct vg_slice){r->text.ptr + from, to - from};
}

static bool is_name_char(char c, bool is_first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (!is_first && c >= '0' && c <= '9');
}

static char look(const struct reader *r, size_t at)
{
    return at < r->text.len ? r->text.ptr[at] : '\0';
}

/* From the opening quote at now.at to the closing one. */
static void scan_quoted(struct reader *r, char quote, enum token_kind kind)
{
    size_t at = r->now.at + 1;

    while (at < r->text.len && r->text.ptr[at] != quote)
        at += r->text.ptr[at] == '\\' ? 2 : 1;
    if (at >= r->text.len) {
        r->now.kind = TOKEN_BAD;
        r->next_at = r->text.len;
        (void)syntax_at(r, r->text.len, "expected a closing quote");
        return;
    }
    r->now.kind = kind;
    r->now.text = part(r, r->now.at + 1, at);
    r->next_at = at + 1;
}

static void scan_number(struct reader *r)
{
    size_t at = r->now.at + 1;

    while (look(r, at) >= '0' && look(r, at) <= '9')
        at++;
    r->now.text = part(r, r->now.at, at);
    r->now.kind = TOKEN_NUMBER;
    r->next_at = at;
}

static void advance(struct reader *r)
{
    static const struct {
        const char *text;
        enum token_kind kind;
    } marks[] = {
        {"||", TOKEN_OR},     {"|", TOKEN_PIPE},     {"&&", TOKEN_AND},     {"&", TOKEN_EXPREF},
        {"==", TOKEN_EQ},     {"!=", TOKEN_NE},      {"!", TOKEN_NOT},      {"<=", TOKEN_LE},
        {"<", TOKEN_LT},      {">=", TOKEN_GE},      {">", TOKEN_GT},       {"[]", TOKEN_FLATTEN},
        {"[?", TOKEN_FILTER}, {"[", TOKEN_LBRACKET}, {"]", TOKEN_RBRACKET}, {"(", TOKEN_LPAREN},
        {")", TOKEN_RPAREN},  {"{", TOKEN_LBRACE},   {"}", TOKEN_RBRACE},   {",", TOKEN_COMMA},
        {":", TOKEN_COLON},   {".", TOKEN_DOT},      {"*", TOKEN_STAR},     {"@", TOKEN_CURRENT}};
    char c;

    while (look(r, r->next_at) && strchr(" \t\r\n", look(r, r->next_at)))
        r->next_at++;
    r->now = (struct token){.kind = TOKEN_END, .at = r->next_at};
    if (r->next_at >= r->text.len)
        return;
    c = look(r, r->next_at);
    if (is_name_char(c, true)) {
        size_t at = r->next_at;

        while (is_name_char(look(r, at), false))
            at++;
        r->now.kind = TOKEN_NAME;
        r->now.text = part(r, r->now.at, at);
        r->next_at = at;
        return;
    }
    if (c == '"' || c == '\'' || c == '`') {
        scan_quoted(r, c, c == '"' ? TOKEN_QUOTED : c == '`' ? TOKEN_LITERAL : TOKEN_RAW);
        return;
    }
    if ((c >= '0' && c <= '9') ||
        (c == '-' && look(r, r->next_at + 1) >= '0' && look(r, r->next_at + 1) <= '9')) {
        scan_number(r);
        return;
    }
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
        if (vg_slice_starts(vg_slice_from(r->text, r->next_at), vg_slice_of(marks[i].text))) {
            r->now.kind = marks[i].kind;
            r->next_at += strlen(marks[i].text);
            return;
        }
    r->now.kind = TOKEN_BAD;
    (void)syntax(r, "expected an expression");
}

static bool accept(struct reader *r, enum token_kind kind)
{
    if (r->status != VG_OK || r->now.kind != kind)
        return false;
    advance(r);
    return true;
}

static bool expect(struct reader *r, enum token_kind kind, const char *what)
{
    if (accept(r, kind))
        return true;
    (void)syntax(r, what);
    return false;
}

static struct node *make(struct reader *r, enum node_kind kind, const struct node *left,
                         const struct node *right)
{
    struct node *node;
    uint8_t height = left ? left->height : 0;

    if (r->status != VG_OK)
        return NULL;
    if (right && right->height > height)
        height = right->height;
    if (height >= HEIGHT_MAX)
        return syntax(r, "expected less nesting");
    node = vg_arena_alloc(r->arena, sizeof(*node));
    if (!node) {
        r->status = vg_fail(r->err, VG_REJECT, "connector.memory", 0, "no memory for a JMESPath");
        return NULL;
    }
    node->kind = kind;
    node->left = left;
    node->right = right;
    node->height = (uint8_t)(height + 1);
    return node;
}

static struct node *read_expression(struct reader *r, unsigned power);

/* The JSON of a `literal` or of a "quoted name". */
static const struct vg_json *read_json(struct reader *r, struct vg_slice text, bool has_ticks)
{
    const struct vg_json_options lenient = {.is_lenient = true};
    char *copy = vg_arena_alloc(r->arena, text.len + 1);
    struct vg_json *json = NULL;
    size_t used = 0;

    if (!copy) {
        (void)syntax(r, "no memory for a literal");
        return NULL;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (has_ticks && text.ptr[i] == '\\' && i + 1 < text.len && text.ptr[i + 1] == '`')
            i++;
        copy[used++] = text.ptr[i];
    }
    if (vg_json_parse(r->arena, (struct vg_slice){copy, used}, &lenient, &json, NULL, NULL) !=
        VG_OK) {
        (void)syntax(r, has_ticks ? "expected JSON between the backticks"
                                  : "expected a text in double quotes");
        return NULL;
    }
    return json;
}

static struct node *read_literal(struct reader *r)
{
    struct node *node = make(r, NODE_LITERAL, NULL, NULL);
    struct vg_slice text = r->now.text;

    if (!node)
        return NULL;
    if (r->now.kind == TOKEN_LITERAL) {
        node->json = read_json(r, text, true);
    } else {
        struct vg_json *json = vg_arena_alloc(r->arena, sizeof(*json));
        char *copy = vg_arena_alloc(r->arena, text.len + 1);
        size_t used = 0;

        if (!json || !copy)
            return syntax(r, "no memory for a text");
        for (size_t i = 0; i < text.len; i++) {
            if (text.ptr[i] == '\\' && i + 1 < text.len && text.ptr[i + 1] == '\'')
                i++;
            copy[used++] = text.ptr[i];
        }
        json->type = VG_JSON_STRING;
        json->text = (struct vg_slice){copy, used};
        node->json = json;
    }
    advance(r);
    return r->status == VG_OK ? node : NULL;
}

/* The name of a field or of a hash's member; now is on it. */
static bool read_name(struct reader *r, struct vg_slice *ret)
{
    if (r->now.kind == TOKEN_QUOTED) {
        const struct vg_json *json =
            read_json(r, part(r, r->now.at, r->next_at), false); /* with its quotes */

        if (!json)
            return false;
        *ret = json->text;
    } else if (r->now.kind == TOKEN_NAME) {
        *ret = vg_arena_dup(r->arena, r->now.text);
    } else {
        (void)syntax(r, "expected a name");
        return false;
    }
    advance(r);
    return r->status == VG_OK;
}

static void append_part(struct node *list, struct node ***tail, struct node *node)
{
    if (!node)
        return;
    **tail = node;
    *tail = &node->next;
    if (list->height <= node->height)
        list->height = (uint8_t)(node->height + 1);
}

static struct node *read_call(struct reader *r, struct vg_slice name, size_t name_at)
{
    const struct function *function = jmespath_find_function(name);
    struct node *call = make(r, NODE_CALL, NULL, NULL), **tail = call ? &call->first : NULL;
    size_t count = 0;
    char what[96];

    if (!function) {
        (void)snprintf(what, sizeof(what), "there is no function '%.*s'",
                       (int)(name.len < 40 ? name.len : 40), name.ptr);
        return syntax_at(r, name_at, what);
    }
    advance(r); /* the parenthesis */
    while (call && r->status == VG_OK && !accept(r, TOKEN_RPAREN)) {
        bool is_expref;
        struct node *argument;

        if (count > 0 && !expect(r, TOKEN_COMMA, "expected , or )"))
            return NULL;
        if (count == ARGUMENTS_MAX)
            return syntax(r, "expected fewer arguments");
        is_expref = accept(r, TOKEN_EXPREF);
        argument = read_expression(r, 0);
        if (argument)
            argument->is_expref = is_expref;
        append_part(call, &tail, argument);
        count++;
    }
    if (!call || r->status != VG_OK)
        return NULL;
    if (count < function->count_min || count > function->count_max) {
        (void)snprintf(what, sizeof(what), "%s takes %s%u argument%s and is given %zu",
                       function->name, function->count_max > function->count_min ? "at least " : "",
                       function->count_min, function->count_min == 1 ? "" : "s", count);
        return syntax_at(r, name_at, what);
    }
    call->function = function;
    if (call->height > HEIGHT_MAX)
        return syntax(r, "expected less nesting");
    return call;
}

/* What stands in [ ] as a list or in { } as a hash; now is behind the opening bracket. */
static struct node *read_multi(struct reader *r, bool is_hash)
{
    struct node *node = make(r, is_hash ? NODE_MULTI_HASH : NODE_MULTI_LIST, NULL, NULL);
    struct node **tail = node ? &node->first : NULL;

    while (node && r->status == VG_OK) {
        struct vg_slice name = {0};
        struct node *one;

        if (is_hash &&
            (!read_name(r, &name) || !expect(r, TOKEN_COLON, "expected : behind the name")))
            return NULL;
        one = make(r, NODE_CHAIN, read_expression(r, 0), &jmespath_current_node);
        if (one)
            one->name = name;
        append_part(node, &tail, one);
        if (accept(r, is_hash ? TOKEN_RBRACE : TOKEN_RBRACKET))
            break;
        (void)expect(r, TOKEN_COMMA, is_hash ? "expected , or }" : "expected , or ]");
    }
    if (node && node->height > HEIGHT_MAX)
        return syntax(r, "expected less nesting");
    return r->status == VG_OK ? node : NULL;
}

static struct node *read_dotted(struct reader *r, unsigned power)
{
    if (r->now.kind == TOKEN_NAME || r->now.kind == TOKEN_QUOTED || r->now.kind == TOKEN_STAR)
        return read_expression(r, power);
    if (accept(r, TOKEN_LBRACKET))
        return read_multi(r, false);
    if (accept(r, TOKEN_LBRACE))
        return read_multi(r, true);
    return syntax(r, "expected a name, *, [ or { behind .");
}

/* What a projection does to each element: all up to the next operator that ends it. */
static const struct node *read_projected(struct reader *r, unsigned power)
{
    if (binding[r->now.kind] < BINDING_PROJECTION_ENDS)
        return &jmespath_current_node;
    if (r->now.kind == TOKEN_LBRACKET || r->now.kind == TOKEN_FILTER)
        return read_expression(r, power);
    if (accept(r, TOKEN_DOT))
        return read_dotted(r, power);
    return syntax(r, "expected ., [ or an operator");
}

static struct node *read_filter(struct reader *r, const struct node *left)
{
    struct node *condition = read_expression(r, 0), *node, **tail;
    const struct node *right;

    if (!condition || !expect(r, TOKEN_RBRACKET, "expected ]"))
        return NULL;
    right =
        r->now.kind == TOKEN_FLATTEN ? &jmespath_current_node : read_projected(r, BINDING_FILTER);
    node = make(r, NODE_FILTER, left, right);
    tail = node ? &node->first : NULL;
    if (node)
        append_part(node, &tail, condition);
    if (node && node->height > HEIGHT_MAX)
        return syntax(r, "expected less nesting");
    return r->status == VG_OK ? node : NULL;
}

static bool read_integer(struct reader *r, int64_t *ret)
{
    if (!vg_slice_to_i64(r->now.text, ret) || *ret > INT32_MAX || *ret < INT32_MIN) {
        (void)syntax(r, "expected an index");
        return false;
    }
    advance(r);
    return r->status == VG_OK;
}

/* [2], [-1], [1:3], [::2] */
static struct node *read_index(struct reader *r, const struct node *left)
{
    int64_t values[3] = {0, 0, 1};
    bool has[3] = {false, false, false};
    int at = 0;
    struct node *node;

    for (;;) {
        if (r->now.kind == TOKEN_NUMBER) {
            has[at] = true;
            if (!read_integer(r, &values[at]))
                return NULL;
        }
        if (at == 2 || r->now.kind != TOKEN_COLON)
            break;
        advance(r);
        at++;
    }
    if (r->now.kind != TOKEN_RBRACKET)
        return syntax(r, "expected an index, : or ]");
    if (at > 0 && values[2] == 0)
        return syntax(r, "a slice's step cannot be 0");
    advance(r);
    node = make(r, at > 0 ? NODE_SLICE : NODE_INDEX, NULL, NULL);
    if (!node)
        return NULL;
    node->from = values[0];
    node->to = values[1];
    node->by = values[2];
    node->has_from = has[0];
    node->has_to = has[1];
    if (left != &jmespath_current_node)
        node = make(r, NODE_CHAIN, left, node);
    return at > 0 && node ? make(r, NODE_LIST, node, read_projected(r, BINDING_STAR)) : node;
}

static bool is_star_bracket(const struct reader *r)
{
    struct vg_slice rest = vg_slice_from(r->text, r->next_at);

    while (rest.len > 0 && strchr(" \t\r\n", rest.ptr[0]))
        rest = vg_slice_from(rest, 1);
    return r->now.kind == TOKEN_STAR && rest.len > 0 && rest.ptr[0] == ']';
}

/* What follows "[" behind `left`. */
static struct node *read_brackets(struct reader *r, const struct node *left, bool may_be_list)
{
    if (r->now.kind == TOKEN_NUMBER || r->now.kind == TOKEN_COLON)
        return read_index(r, left);
    if (is_star_bracket(r)) {
        advance(r);
        advance(r);
        return make(r, NODE_LIST, left, read_projected(r, BINDING_STAR));
    }
    if (may_be_list)
        return read_multi(r, false);
    return syntax(r, "expected an index, : or *");
}

/* What an expression begins with. */
static struct node *read_first(struct reader *r)
{
    struct token token = r->now;
    struct node *node;

    switch (token.kind) {
    case TOKEN_LITERAL:
    case TOKEN_RAW:
        return read_literal(r);
    case TOKEN_NAME:
    case TOKEN_QUOTED:
        node = make(r, NODE_FIELD, NULL, NULL);
        if (!node || !read_name(r, &node->name))
            return NULL;
        if (token.kind == TOKEN_NAME && r->now.kind == TOKEN_LPAREN)
            return read_call(r, token.text, token.at);
        return node;
    case TOKEN_CURRENT:
        advance(r);
        return make(r, NODE_CHAIN, &jmespath_current_node, &jmespath_current_node);
    case TOKEN_NOT:
        advance(r);
        return make(r, NODE_NOT, read_expression(r, BINDING_NOT), NULL);
    case TOKEN_LPAREN:
        advance(r);
        node = read_expression(r, 0);
        return expect(r, TOKEN_RPAREN, "expected )") ? node : NULL;
    case TOKEN_STAR:
        advance(r);
        return make(r, NODE_VALUES, &jmespath_current_node, read_projected(r, BINDING_STAR));
    case TOKEN_FLATTEN:
        advance(r);
        return make(r, NODE_LIST, make(r, NODE_FLATTEN, &jmespath_current_node, NULL),
                    read_projected(r, binding[TOKEN_FLATTEN]));
    case TOKEN_FILTER:
        advance(r);
        return read_filter(r, &jmespath_current_node);
    case TOKEN_LBRACE:
        advance(r);
        return read_multi(r, true);
    case TOKEN_LBRACKET:
        advance(r);
        return read_brackets(r, &jmespath_current_node, true);
    default: /* everything else is an operator, a closing bracket or the end */
        return syntax(r, "expected an expression");
    }
}

/* What follows `left`. */
static struct node *read_next(struct reader *r, const struct node *left)
{
    enum token_kind kind = r->now.kind;
    unsigned power = binding[kind];
    struct node *node;

    advance(r);
    switch (kind) {
    case TOKEN_DOT:
        if (accept(r, TOKEN_STAR))
            return make(r, NODE_VALUES, left, read_projected(r, BINDING_DOT));
        return make(r, NODE_CHAIN, left, read_dotted(r, BINDING_DOT));
    case TOKEN_PIPE:
        return make(r, NODE_CHAIN, left, read_expression(r, power));
    case TOKEN_OR:
        return make(r, NODE_OR, left, read_expression(r, power));
    case TOKEN_AND:
        return make(r, NODE_AND, left, read_expression(r, power));
    case TOKEN_FLATTEN:
        return make(r, NODE_LIST, make(r, NODE_FLATTEN, left, NULL), read_projected(r, power));
    case TOKEN_FILTER:
        return read_filter(r, left);
    case TOKEN_LBRACKET:
        return read_brackets(r, left, false);
    default: /* == != < <= > >= : nothing else has a binding power */
        node = make(r, NODE_COMPARE, left, read_expression(r, power));
        if (node)
            node->compare = kind;
        return node;
    }
}

static struct node *read_expression(struct reader *r, unsigned power)
{
    struct node *left;

    if (++r->depth > HEIGHT_MAX)
        return syntax(r, "expected less nesting");
    left = read_first(r);
    while (left && r->status == VG_OK && binding[r->now.kind] > power)
        left = read_next(r, left);
    r->depth--;
    return r->status == VG_OK ? left : NULL;
}

enum vg_status jmespath_compile(struct vg_arena *arena, struct vg_slice text, bool is_medtech,
                                const struct jmespath **ret_path, struct vg_err *err)
{
    struct reader r = {.arena = arena, .text = text, .err = err};
    struct jmespath *path = vg_arena_alloc(arena, sizeof(*path));

    if (text.len > TEXT_MAX)
        return vg_fail(err, VG_REJECT, "jmespath.syntax", 0,
                       "JMESPath of %zu characters: expected at most %d", text.len, TEXT_MAX);
    if (!path)
        return vg_fail(err, VG_REJECT, "connector.memory", 0, "no memory for a JMESPath");
    advance(&r);
    path->root = read_expression(&r, 0);
    path->is_medtech = is_medtech;
    if (r.status == VG_OK && r.now.kind != TOKEN_END)
        (void)syntax(&r, "expected an operator or the end");
    if (r.status != VG_OK)
        return r.status;
    *ret_path = path;
    return VG_OK;
}
