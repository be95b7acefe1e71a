/* regex.c -- regular expressions as a set of threads over a small program (Thompson, Pike).
 *
 * A mapping's expression meets text that a device chose, so a backtracking engine would let a
 * device stop its partition. Here every character is looked at once by each of at most
 * REGEX_CODE_MAX threads. Counted repeats are unrolled, within that bound.
 *
 * Threads: a compiled program is read-only; matching works on the stack.
 */
#include "connector/regex.h"

#include <stdlib.h>

#define REGEX_CODE_MAX 512
#define REGEX_DEPTH_MAX 32

enum op {
    OP_CHAR,  /* arg = code point */
    OP_ANY,   /* any character */
    OP_LINE,  /* any character but \n */
    OP_CLASS, /* arg = index of class */
    OP_SPLIT, /* goto arg and other */
    OP_JUMP,
    OP_BEGIN, /* ^ or \A */
    OP_BEGIN_LINE,
    OP_END, /* $ or \z */
    OP_END_LINE,
    OP_WORD,     /* \b */
    OP_NOT_WORD, /* \B */
    OP_MATCH,
};

struct range {
    uint32_t from, to;
};

struct code {
    enum op op;
    uint32_t arg, other;
    const struct range *ranges; /* OP_CLASS */
    uint32_t range_count;
    bool is_negated;
};

struct regex {
    struct code code[REGEX_CODE_MAX];
    uint32_t count;
    bool ignores_case;
};

struct compiler {
    struct vg_arena *arena;
    struct regex *re;
    const char *at, *end;
    bool is_multiline, is_dotall;
    unsigned depth;
    const char *trouble;
};

static uint32_t next_char(const char **at, const char *end)
{
    unsigned char first = (unsigned char)*(*at)++;
    unsigned more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;
    uint32_t c = more == 3 ? first & 7u : more == 2 ? first & 15u : more == 1 ? first & 31u : first;

    while (more-- > 0 && *at < end && ((unsigned char)**at & 0xc0) == 0x80)
        c = c << 6 | ((unsigned char)*(*at)++ & 63u);
    return c;
}

static uint32_t fold(uint32_t c)
{
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

static bool is_word(uint32_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           c >= 0xc0;
}

static struct code *emit(struct compiler *c, enum op op)
{
    static struct code nowhere;

    if (c->re->count >= REGEX_CODE_MAX) {
        c->trouble = "is too long";
        return &nowhere; /* the caller's write goes nowhere: trouble is set */
    }
    struct code *code = &c->re->code[c->re->count++];

    *code = (struct code){.op = op};
    return code;
}

#define CLASS_RANGES_MAX 64

struct class_builder {
    struct range ranges[CLASS_RANGES_MAX];
    uint32_t count;
};

static void class_add(struct compiler *c, struct class_builder *b, uint32_t from, uint32_t to)
{
    if (b->count == CLASS_RANGES_MAX)
        c->trouble = "has too large a class";
    else
        b->ranges[b->count++] = (struct range){from, to};
}

/* \d \D \w \W \s \S into a class; false: not one of them. */
static bool class_escape(struct compiler *c, struct class_builder *b, char kind)
{
    static const struct {
        char kind;
        struct range ranges[7];
        unsigned count;
    } table[] = {
        {'d', {{'0', '9'}}, 1},
        {'D', {{0, '0' - 1}, {'9' + 1, 0x10ffff}}, 2},
        {'w', {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}, {0xc0, 0x10ffff}}, 5},
        {'W', {{0, '0' - 1}, {':', '@'}, {'[', '^'}, {'`', '`'}, {'{', 0xbf}}, 5},
        {'s',
         {{'\t', '\r'},
          {' ', ' '},
          {0x85, 0x85},
          {0xa0, 0xa0},
          {0x2000, 0x200a},
          {0x2028, 0x2029},
          {0x3000, 0x3000}},
         7},
        {'S',
         {{0, 8},
          {14, 31},
          {33, 0x84},
          {0x86, 0x9f},
          {0xa1, 0x1fff},
          {0x200b, 0x2027},
          {0x202a, 0x10ffff}},
         7},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].kind == kind) {
            for (unsigned r = 0; r < table[i].count; r++)
                class_add(c, b, table[i].ranges[r].from, table[i].ranges[r].to);
            return true;
        }
    return false;
}

static void emit_class(struct compiler *c, const struct class_builder *b, bool is_negated)
{
    struct range *ranges = vg_arena_alloc(c->arena, sizeof(*ranges) * (b->count ? b->count : 1));
    struct code *code = emit(c, OP_CLASS);

    if (!ranges) {
        c->trouble = "needs too much memory";
        return;
    }
    memcpy(ranges, b->ranges, sizeof(*ranges) * b->count);
    code->ranges = ranges;
    code->range_count = b->count;
    code->is_negated = is_negated;
}

/* What stands after a backslash for one character. */
static uint32_t escaped_char(struct compiler *c)
{
    static const char from[] = "nrtfvae0";
    static const char to[] = "\n\r\t\f\v\a\033\0";
    uint32_t value = 0;
    char kind = *c->at;
    const char *hit = kind ? strchr(from, kind) : NULL;

    if (hit) {
        c->at++;
        return (unsigned char)to[hit - from];
    }
    if (kind == 'x' || kind == 'u') {
        unsigned digits = kind == 'x' ? 2 : 4;

        c->at++;
        for (; digits > 0; digits--, c->at++) {
            char d = c->at < c->end ? *c->at : '?';

            if (d >= '0' && d <= '9')
                value = value * 16 + (uint32_t)(d - '0');
            else if ((d | 32) >= 'a' && (d | 32) <= 'f')
                value = value * 16 + (uint32_t)((d | 32) - 'a' + 10);
            else {
                c->trouble = "has a bad \\x or \\u";
                return 0;
            }
        }
        return value;
    }
    if ((kind >= '1' && kind <= '9') || (kind >= 'A' && kind <= 'Z') ||
        (kind >= 'a' && kind <= 'z')) {
        c->trouble = "has an escape that is not supported (back-references, \\p and the like)";
        return 0;
    }
    return next_char(&c->at, c->end);
}

static void parse_class(struct compiler *c)
{
    struct class_builder b = {.count = 0};
    bool is_negated = false, is_first = true;

    if (c->at < c->end && *c->at == '^') {
        is_negated = true;
        c->at++;
    }
    for (; c->at < c->end && (*c->at != ']' || is_first) && !c->trouble; is_first = false) {
        uint32_t from, to;

        if (*c->at == '\\' && c->at + 1 < c->end) {
            c->at++;
            if (class_escape(c, &b, *c->at)) {
                c->at++;
                continue;
            }
            if (*c->at == 'b') {
                from = '\b';
                c->at++;
            } else {
                from = escaped_char(c);
            }
        } else {
            from = next_char(&c->at, c->end);
        }
        to = from;
        if (c->at + 1 < c->end && *c->at == '-' && c->at[1] != ']') {
            c->at++;
            if (*c->at == '[') {
                c->trouble = "has a class subtraction, which is not supported";
                return;
            }
            if (*c->at == '\\' && c->at + 1 < c->end) {
                c->at++;
                to = escaped_char(c);
            } else {
                to = next_char(&c->at, c->end);
            }
            if (to < from)
                c->trouble = "has a class range in the wrong order";
        }
        class_add(c, &b, from, to);
    }
    if (c->at >= c->end) {
        c->trouble = "has a class without its ]";
        return;
    }
    c->at++;
    emit_class(c, &b, is_negated);
}

static void parse_alternatives(struct compiler *c);

static void parse_atom(struct compiler *c)
{
    struct class_builder b = {.count = 0};

    switch (*c->at++) {
    case '(':
        if (c->at + 1 < c->end && c->at[0] == '?') {
            if (c->at[1] == ':') {
                c->at += 2;
            } else if (c->at[1] == '<' && c->at + 2 < c->end && c->at[2] != '=' &&
                       c->at[2] != '!') {
                while (c->at < c->end && *c->at != '>')
                    c->at++;
                c->at += c->at < c->end;
            } else {
                c->trouble = "has a group construct that is not supported";
                return;
            }
        }
        if (++c->depth > REGEX_DEPTH_MAX) {
            c->trouble = "is nested too deep";
            return;
        }
        parse_alternatives(c);
        c->depth--;
        if (c->at >= c->end || *c->at != ')')
            c->trouble = c->trouble ? c->trouble : "has a group without its )";
        else
            c->at++;
        return;
    case '[':
        parse_class(c);
        return;
    case '.':
        (void)emit(c, c->is_dotall ? OP_ANY : OP_LINE);
        return;
    case '^':
        (void)emit(c, c->is_multiline ? OP_BEGIN_LINE : OP_BEGIN);
        return;
    case '$':
        (void)emit(c, c->is_multiline ? OP_END_LINE : OP_END);
        return;
    case '*':
    case '+':
    case '?':
        c->trouble = "has a quantifier with nothing before it";
        return;
    case '\\':
        if (c->at >= c->end) {
            c->trouble = "ends with a backslash";
            return;
        }
        switch (*c->at) {
        case 'b':
        case 'B':
            (void)emit(c, *c->at++ == 'b' ? OP_WORD : OP_NOT_WORD);
            return;
        case 'A':
            c->at++;
            (void)emit(c, OP_BEGIN);
            return;
        case 'z':
        case 'Z':
            c->at++;
            (void)emit(c, OP_END);
            return;
        default:
            if (class_escape(c, &b, *c->at)) {
                c->at++;
                emit_class(c, &b, false);
            } else {
                emit(c, OP_CHAR)->arg = escaped_char(c);
            }
            return;
        }
    default:
        c->at--;
        emit(c, OP_CHAR)->arg = next_char(&c->at, c->end);
    }
}

/* The instructions from..count once more at the end, jumps moved along. */
static void repeat_code(struct compiler *c, uint32_t from, uint32_t count)
{
    uint32_t shift = c->re->count - from;

    for (uint32_t i = 0; i < count && !c->trouble; i++) {
        struct code code = c->re->code[from + i];

        if (code.op == OP_SPLIT || code.op == OP_JUMP) {
            code.arg += shift;
            code.other += shift;
        }
        *emit(c, code.op) = code;
    }
}

static void insert_split(struct compiler *c, uint32_t at)
{
    if (c->re->count >= REGEX_CODE_MAX) {
        c->trouble = "is too long";
        return;
    }
    memmove(&c->re->code[at + 1], &c->re->code[at], sizeof(struct code) * (c->re->count - at));
    c->re->count++;
    for (uint32_t i = at + 1; i < c->re->count; i++)
        if (c->re->code[i].op == OP_SPLIT || c->re->code[i].op == OP_JUMP) {
            c->re->code[i].arg++;
            c->re->code[i].other++;
        }
    c->re->code[at] = (struct code){.op = OP_SPLIT, .arg = at + 1, .other = c->re->count};
}

/* {n}, {n,}, {n,m}; anything else after { is a literal brace. */
static bool parse_counts(struct compiler *c, uint32_t *ret_min, uint32_t *ret_max)
{
    const char *p = c->at + 1;
    uint32_t value[2] = {0, 0};
    bool has_comma = false, has[2] = {false, false};

    for (; p < c->end && *p != '}'; p++) {
        if (*p == ',' && !has_comma) {
            has_comma = true;
        } else if (*p >= '0' && *p <= '9' && value[has_comma] < 1000) {
            value[has_comma] = value[has_comma] * 10 + (uint32_t)(*p - '0');
            has[has_comma] = true;
        } else {
            return false;
        }
    }
    if (p >= c->end || !has[0])
        return false;
    c->at = p + 1;
    *ret_min = value[0];
    *ret_max = !has_comma ? value[0] : has[1] ? value[1] : UINT32_MAX;
    return true;
}

static void parse_repeat(struct compiler *c)
{
    uint32_t start = c->re->count, min, max, size;

    parse_atom(c);
    if (c->trouble || c->at >= c->end)
        return;
    size = c->re->count - start;
    if (*c->at == '*' || *c->at == '+' || *c->at == '?') {
        min = *c->at == '+';
        max = *c->at == '?' ? 1 : UINT32_MAX;
        c->at++;
    } else if (*c->at != '{' || !parse_counts(c, &min, &max)) {
        return;
    }
    if (c->at < c->end && *c->at == '?')
        c->at++; /* lazy: the same for a yes or no */
    if (max < min) {
        c->trouble = "has a {n,m} in the wrong order";
        return;
    }
    if (max == 0) {
        c->re->count = start;
        return;
    }
    /* min copies, then max-min optional ones or a loop. The first copy is there already. */
    for (uint32_t i = 1; i < min && !c->trouble; i++)
        repeat_code(c, start, size);
    if (max == UINT32_MAX) {
        uint32_t loop = min == 0 ? start : c->re->count;

        if (min > 0)
            repeat_code(c, start, size);
        insert_split(c, loop);
        emit(c, OP_JUMP)->arg = loop;
        if (!c->trouble)
            c->re->code[loop].other = c->re->count;
        return;
    }
    for (uint32_t i = min; i < max && !c->trouble; i++) {
        uint32_t at = i == 0 ? start : c->re->count;

        if (i > 0) /* the plain copy is at start + 1 once its split stands before it */
            repeat_code(c, min == 0 ? start + 1 : start, size);
        insert_split(c, at);
    }
}

static void parse_alternatives(struct compiler *c)
{
    uint32_t start = c->re->count;

    while (c->at < c->end && *c->at != ')' && *c->at != '|' && !c->trouble)
        parse_repeat(c);
    if (c->at < c->end && *c->at == '|' && !c->trouble) {
        uint32_t jump;

        if (++c->depth > REGEX_DEPTH_MAX * 4) {
            c->trouble = "has too many alternatives";
            return;
        }
        c->at++;
        insert_split(c, start);
        jump = c->re->count;
        (void)emit(c, OP_JUMP);
        if (c->trouble)
            return;
        c->re->code[start].other = c->re->count;
        parse_alternatives(c);
        if (!c->trouble)
            c->re->code[jump].arg = c->re->count;
        c->depth--;
    }
}

/* (?i) and the like, where the pattern begins: they hold for all of it. */
static void take_inline_flags(struct compiler *c)
{
    const char *at = c->at + 2;

    if (c->end - c->at < 4 || memcmp(c->at, "(?", 2) != 0)
        return;
    while (at < c->end && (*at == 'i' || *at == 'm' || *at == 's'))
        at++;
    if (at >= c->end || *at != ')' || at == c->at + 2)
        return; /* something else: refused, or read, where groups are */
    for (c->at += 2; c->at < at; c->at++) {
        c->re->ignores_case |= *c->at == 'i';
        c->is_multiline |= *c->at == 'm';
        c->is_dotall |= *c->at == 's';
    }
    c->at++;
}

enum vg_status regex_compile(struct vg_arena *arena, struct vg_slice pattern, struct vg_slice flags,
                             const struct regex **ret_regex, struct vg_err *err)
{
    struct regex *re = vg_arena_alloc(arena, sizeof(*re));
    struct compiler c = {
        .arena = arena, .re = re, .at = pattern.ptr, .end = pattern.ptr + pattern.len};

    if (!re)
        return vg_fail(err, VG_REJECT, "connector.memory", 0, "no memory for a regular expression");
    take_inline_flags(&c);
    for (size_t i = 0; i < flags.len; i++) {
        switch (flags.ptr[i]) {
        case 'i':
            re->ignores_case = true;
            break;
        case 'm':
            c.is_multiline = true;
            break;
        case 's':
            c.is_dotall = true;
            break;
        case 'x': /* there: groups without a name keep nothing; here none does */
            break;
        default:
            return vg_fail(err, VG_REJECT, "connector.regex", 0,
                           "regular expression flag '%c': expected i, m, s or x", flags.ptr[i]);
        }
    }
    parse_alternatives(&c);
    if (!c.trouble && c.at < c.end)
        c.trouble = "has a ) without its (";
    (void)emit(&c, OP_MATCH);
    if (c.trouble)
        return vg_fail(err, VG_REJECT, "connector.regex", 0, "regular expression %s", c.trouble);
    *ret_regex = re;
    return VG_OK;
}

/* ---- matching ---- */

struct threads {
    uint16_t list[REGEX_CODE_MAX];
    uint32_t count;
    uint32_t seen[REGEX_CODE_MAX]; /* generation in which it was added */
};

struct matcher {
    const struct regex *re;
    const char *start, *end;
    uint32_t generation;
    uint64_t *steps_left;
};

/* Follows jumps without recursion; true when the program's end is reached. */
static bool add_thread(struct matcher *m, struct threads *t, uint32_t pc, const char *at,
                       uint32_t before, uint32_t after)
{
    uint16_t stack[REGEX_CODE_MAX * 2];
    uint32_t depth = 0;

    stack[depth++] = (uint16_t)pc;
    while (depth > 0) {
        const struct code *code;
        bool goes_on = false;

        pc = stack[--depth];
        if (t->seen[pc] == m->generation)
            continue;
        t->seen[pc] = m->generation;
        if (*m->steps_left == 0)
            return false;
        --*m->steps_left;
        code = &m->re->code[pc];
        switch (code->op) {
        case OP_MATCH:
            return true;
        case OP_JUMP:
            stack[depth++] = (uint16_t)code->arg;
            break;
        case OP_SPLIT:
            stack[depth++] = (uint16_t)code->other;
            stack[depth++] = (uint16_t)code->arg;
            break;
        case OP_BEGIN:
            goes_on = at == m->start;
            break;
        case OP_BEGIN_LINE:
            goes_on = at == m->start || before == '\n';
            break;
        case OP_END: /* also before a last line feed, as .NET has it */
            goes_on = at == m->end || (at + 1 == m->end && after == '\n');
            break;
        case OP_END_LINE:
            goes_on = at == m->end || after == '\n';
            break;
        case OP_WORD:
        case OP_NOT_WORD:
            goes_on = ((at > m->start && is_word(before)) != (at < m->end && is_word(after))) ==
                      (code->op == OP_WORD);
            break;
        case OP_CHAR:
        case OP_ANY:
        case OP_LINE:
        case OP_CLASS:
            t->list[t->count++] = (uint16_t)pc;
            break;
        }
        if (goes_on)
            stack[depth++] = (uint16_t)(pc + 1);
    }
    return false;
}

static bool in_class(const struct code *code, uint32_t c)
{
    for (uint32_t i = 0; i < code->range_count; i++)
        if (c >= code->ranges[i].from && c <= code->ranges[i].to)
            return true;
    return false;
}

static bool takes(const struct regex *re, const struct code *code, uint32_t c)
{
    switch (code->op) {
    case OP_CHAR:
        return re->ignores_case ? fold(code->arg) == fold(c) : code->arg == c;
    case OP_ANY:
        return true;
    case OP_LINE:
        return c != '\n';
    case OP_CLASS: {
        bool is_in = in_class(code, c);

        if (!is_in && re->ignores_case)
            is_in = in_class(code, fold(c)) || (c >= 'a' && c <= 'z' && in_class(code, c - 32));
        return is_in != code->is_negated;
    }
    case OP_SPLIT:
    case OP_JUMP:
    case OP_BEGIN:
    case OP_BEGIN_LINE:
    case OP_END:
    case OP_END_LINE:
    case OP_WORD:
    case OP_NOT_WORD:
    case OP_MATCH:
        break;
    }
    return false;
}

static uint32_t peek(const char *at, const char *end)
{
    return at < end ? next_char(&at, end) : 0;
}

bool regex_search(const struct regex *regex, struct vg_slice text, uint64_t *steps_left)
{
    struct threads a = {.count = 0}, b = {.count = 0}, *now = &a, *then = &b;
    const char *at = text.ptr ? text.ptr : "", *end = at + text.len;
    struct matcher m = {regex, at, end, 1, steps_left};
    uint32_t before = 0;

    for (;;) {
        uint32_t c = peek(at, end);

        /* A match may begin anywhere: a new thread at each character. */
        if (add_thread(&m, now, 0, at, before, c))
            return true;
        if (at >= end || *steps_left == 0)
            return false;
        (void)next_char(&at, end);
        m.generation++;
        then->count = 0;

        uint32_t after = peek(at, end);

        for (uint32_t i = 0; i < now->count; i++)
            if (takes(regex, &regex->code[now->list[i]], c) &&
                add_thread(&m, then, now->list[i] + 1u, at, c, after))
                return true;
        before = c;
        struct threads *swap = now;

        now = then;
        then = swap;
    }
}
