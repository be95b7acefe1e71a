/* json.c -- the JSON reader. (json_write.c is the writer.)
 *
 * One pass, no recursion. A string or number without escapes is a view into the source, so that the
 * usual message costs no copy; nodes are taken from the arena in blocks. The open containers are a
 * stack of frames (depth is bounded), and each frame knows the names it has seen: a 64-bit filter
 * that says "surely new" for nearly every name, a walk for small objects, and from NAMES_WALKED
 * members on a table keyed by a secret seed, so that hostile names cannot make it quadratic.
 *
 * Strict is RFC 8259. Lenient is what Newtonsoft's reader takes by default; beyond json.h it takes
 * a trailing comma in arrays, a byte order mark, raw control characters in strings, ".5" and "5.",
 * and reads a byte that is not UTF-8, or a lone surrogate, as U+FFFD (a device that sends one bad
 * byte in a comment field must not lose its reading). A repeated member keeps its first place in
 * the list and gets the last value.
 *
 * Threads: a parse belongs to the caller's thread; trees are read-only afterwards.
 */
#include "base/json.h"

#include "base/siphash_int.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define JSON_DEPTH_USUAL 64
#define JSON_VALUES_USUAL 100000
#define NAMES_WALKED 16 /* members up to which a walk finds a repeated name */
#define NODE_BLOCK_FIRST 16
#define NODE_BLOCK_MAX 128

/* A container that is open. */
struct frame {
    struct vg_json *container;
    struct vg_json *last;   /* member or element; NULL right after the bracket */
    uint64_t seen;          /* filter over the names so far */
    struct vg_json **table; /* names by hash, once there are many */
    size_t table_capacity;
};

struct parser {
    struct vg_arena *arena;
    const char *p, *end;
    struct vg_slice source;
    bool is_lenient;
    uint32_t depth, depth_max;
    uint32_t values_left;
    struct frame *frames;
    struct vg_json *nodes; /* the rest of the current block */
    uint32_t node_count, block_count;
    enum vg_status status;
    struct vg_json_place place;
    struct vg_err *err;
};

static uint64_t names_seed;
static pthread_once_t names_seed_once = PTHREAD_ONCE_INIT;

static void make_names_seed(void)
{
    names_seed = siphash_seed();
}

/* ---- failing ---- */

__attribute__((cold, noinline)) static bool fail(struct parser *in, const char *code,
                                                 const char *at, const char *what)
{
    struct vg_json_place place = vg_json_place_of(in->source, at);

    in->place = place;
    in->status = vg_fail(in->err, VG_REJECT, code, 0, "line %u, column %u: %s", place.line,
                         place.column, what);
    return false;
}

__attribute__((cold, noinline)) static bool fail_expected(struct parser *in, const char *expected)
{
    struct vg_json_place place = vg_json_place_of(in->source, in->p);
    char found[24] = "the end of the text";

    if (in->p < in->end) {
        unsigned char c = (unsigned char)*in->p;

        (void)snprintf(found, sizeof(found), c > ' ' && c < 0x7f ? "'%c'" : "byte 0x%02x", c);
    }
    in->place = place;
    in->status =
        vg_fail(in->err, VG_REJECT, "json.syntax", 0, "line %u, column %u: expected %s, found %s",
                place.line, place.column, expected, found);
    return false;
}

struct vg_json_place vg_json_place_of(struct vg_slice source, const char *at)
{
    struct vg_json_place place = {1, 1};

    for (const char *p = source.ptr; p < at && p < source.ptr + source.len; p++) {
        place.column++;
        if (*p == '\n')
            place = (struct vg_json_place){place.line + 1, 1};
    }
    return place;
}

/* ---- white space and comments ---- */

static bool skip_comment(struct parser *in)
{
    const char *begin = in->p;

    if (in->end - in->p < 2 || (in->p[1] != '/' && in->p[1] != '*'))
        return fail_expected(in, "a value or a comment");
    in->p += 2;
    if (begin[1] == '/') {
        while (in->p < in->end && *in->p != '\n' && *in->p != '\r')
            in->p++;
        return true;
    }
    for (; in->end - in->p >= 2; in->p++) {
        if (in->p[0] == '*' && in->p[1] == '/') {
            in->p += 2;
            return true;
        }
    }
    return fail(in, "json.syntax", begin, "a comment that does not end");
}

static bool skip_space_slow(struct parser *in)
{
    while (in->p < in->end) {
        char c = *in->p;

        if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
            in->p++;
        else if (c != '/' || !in->is_lenient)
            return true;
        else if (!skip_comment(in))
            return false;
    }
    return true;
}

static inline bool skip_space(struct parser *in)
{
    if (in->p<in->end && * in->p> ' ' && *in->p != '/')
        return true;
    return skip_space_slow(in);
}

/* ---- strings ---- */

/* The length of the well-formed UTF-8 sequence at p that begins with a byte above 0x7f; 0: none. */
static unsigned utf8_length(const char *text, const char *end)
{
    const unsigned char *p = (const unsigned char *)text;
    const size_t left = (size_t)(end - text);

    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        return left >= 2 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
    if (left < 3 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80)
        return 0;
    if ((p[0] & 0xf0) == 0xe0) {
        if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f))
            return 0; /* overlong; a surrogate */
        return 3;
    }
    if (left < 4 || (p[3] & 0xc0) != 0x80 || p[0] < 0xf0 || p[0] > 0xf4 ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return 4;
}

/* To the first byte that is not plain text: a quote, a backslash, a control or non-ASCII byte. */
static inline const char *skip_plain(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(' '); /* signed: bytes above 0x7f are below it too */

    for (; end - p >= 16; p += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i hits = _mm_or_si128(
            _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)),
            _mm_cmplt_epi8(bytes, space));
        unsigned mask = (unsigned)_mm_movemask_epi8(hits);

        if (mask)
            return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && (signed char)*p >= ' ' && *p != '"' && *p != '\\')
        p++;
    return p;
}

static char *put_utf8(char *out, uint32_t point)
{
    if (point < 0x80) {
        *out++ = (char)point;
    } else if (point < 0x800) {
        *out++ = (char)(0xc0 | point >> 6);
        *out++ = (char)(0x80 | (point & 0x3f));
    } else if (point < 0x10000) {
        *out++ = (char)(0xe0 | point >> 12);
        *out++ = (char)(0x80 | (point >> 6 & 0x3f));
        *out++ = (char)(0x80 | (point & 0x3f));
    } else {
        *out++ = (char)(0xf0 | point >> 18);
        *out++ = (char)(0x80 | (point >> 12 & 0x3f));
        *out++ = (char)(0x80 | (point >> 6 & 0x3f));
        *out++ = (char)(0x80 | (point & 0x3f));
    }
    return out;
}

/* The four digits of \uXXXX; -1: not four hexadecimal digits. */
static int32_t read_hex4(const char *p, const char *end)
{
    int32_t value = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;

        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* One escape at p (the backslash): its code point into *ret_point, its length is returned; 0 after
 * fail(). */
static size_t read_escape(struct parser *in, const char *p, const char *end, uint32_t *ret_point)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *known = p[1] ? strchr(from, p[1]) : NULL;
    int32_t high, low;

    if (known || (in->is_lenient && p[1] == '\'')) {
        *ret_point = (uint32_t)(known ? to[known - from] : '\'');
        return 2;
    }
    high = p[1] == 'u' ? read_hex4(p + 2, end) : -1;
    if (high < 0)
        return fail(in, "json.syntax", p, "an escape that does not exist");
    *ret_point = (uint32_t)high;
    if (high < 0xd800 || high > 0xdfff)
        return 6;
    low = high < 0xdc00 && end - p >= 8 && p[6] == '\\' && p[7] == 'u' ? read_hex4(p + 8, end) : -1;
    if (low >= 0xdc00 && low <= 0xdfff) {
        *ret_point = 0x10000 + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
        return 12;
    }
    if (!in->is_lenient)
        return fail(in, "json.utf8", p, "half of a surrogate pair");
    *ret_point = 0xfffd;
    return 6;
}

/* A copy of from..to with escapes resolved and, in lenient mode, bad UTF-8 replaced. */
static bool decode_string(struct parser *in, const char *from, const char *to,
                          struct vg_slice *ret_text)
{
    const size_t len = (size_t)(to - from);
    /* A bad byte becomes three; an escape never grows. */
    char *text = vg_arena_alloc(in->arena, in->is_lenient ? 3 * len : len);
    char *out = text;

    if (!text)
        return fail(in, "json.memory", from, "a string larger than the memory for it");
    while (from < to) {
        uint32_t point = 0xfffd;
        size_t used = 1;

        if (*from == '\\') {
            used = read_escape(in, from, to, &point);
            if (used == 0)
                return false;
        } else if ((unsigned char)*from < 0x80) {
            *out++ = *from++;
            continue;
        } else if ((used = utf8_length(from, to)) > 0) {
            memcpy(out, from, used);
            out += used;
            from += used;
            continue;
        } else {
            used = 1;
        }
        out = put_utf8(out, point);
        from += used;
    }
    *ret_text = (struct vg_slice){text, (size_t)(out - text)};
    return true;
}

/* The string at in->p, which is at its opening quote. */
static inline bool read_string(struct parser *in, struct vg_slice *ret_text)
{
    const char quote = *in->p, *begin = in->p + 1, *p = begin;
    bool is_view = true;

    for (;;) {
        if (quote == '"')
            p = skip_plain(p, in->end);
        if (p >= in->end)
            return fail(in, "json.syntax", in->p, "a string that does not end");
        unsigned char c = (unsigned char)*p;

        if (c == (unsigned char)quote)
            break;
        if (c == '\\') {
            if (in->end - p < 2)
                return fail(in, "json.syntax", in->p, "a string that does not end");
            is_view = false;
            p += 2; /* what follows is checked when it is decoded */
        } else if (c >= 0x80) {
            unsigned length = utf8_length(p, in->end);

            if (length == 0 && !in->is_lenient)
                return fail(in, "json.utf8", p, "a byte that is not UTF-8");
            is_view = is_view && length > 0;
            p += length ? length : 1;
        } else if (c < ' ' && !in->is_lenient) {
            return fail(in, "json.syntax", p, "a control character inside a string");
        } else {
            p++;
        }
    }
    in->p = p + 1;
    *ret_text = (struct vg_slice){begin, (size_t)(p - begin)};
    return is_view || decode_string(in, begin, p, ret_text);
}

/* ---- numbers and words ---- */

static inline bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The end of the RFC 8259 number at p; NULL: there is none. */
static inline const char *number_end(const char *p, const char *end)
{
    if (p < end && *p == '-')
        p++;
    if (p >= end || !is_digit(*p))
        return NULL;
    if (*p++ != '0') {
        while (p < end && is_digit(*p))
            p++;
    } else if (p < end && is_digit(*p)) {
        return NULL;
    }
    if (p < end && *p == '.') {
        if (++p >= end || !is_digit(*p))
            return NULL;
        while (p < end && is_digit(*p))
            p++;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        if (++p < end && (*p == '+' || *p == '-'))
            p++;
        if (p >= end || !is_digit(*p))
            return NULL;
        while (p < end && is_digit(*p))
            p++;
    }
    return p;
}

/* The rest of `text` from i on are digits of `base`, at least one, and fit in 64 bits. */
static bool read_digits(struct vg_slice text, size_t i, unsigned base, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (i >= text.len)
        return false;
    for (; i < text.len; i++) {
        char c = text.ptr[i];
        unsigned digit = is_digit(c)            ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                                : 99;

        if (digit >= base || value > (UINT64_MAX - digit) / base)
            return false;
        value = value * base + digit;
    }
    *ret_value = value;
    return true;
}

/* 0x1F and 017, as Newtonsoft reads them: all 64 bits, so the highest is the sign. */
static bool is_other_base(struct vg_slice text, int64_t *ret_value)
{
    uint64_t value = 0;
    bool is_hex = text.len > 2 && text.ptr[0] == '0' && (text.ptr[1] | 0x20) == 'x';

    if (!is_hex && !(text.len > 1 && text.ptr[0] == '0' && is_digit(text.ptr[1])))
        return false;
    if (!read_digits(text, is_hex ? 2 : 1, is_hex ? 16 : 8, &value))
        return false;
    *ret_value = (int64_t)value;
    return true;
}

/* ".5", "5.", "-017" (which is decimal): digits around an optional point, an optional exponent. */
static bool is_loose_decimal(struct vg_slice text)
{
    size_t i = 0, digit_count = 0;

    if (text.len > 1 && text.ptr[0] == '0' && is_digit(text.ptr[1]))
        return false; /* octal or wrong */
    if (i < text.len && text.ptr[i] == '-')
        i++;
    for (; i < text.len && is_digit(text.ptr[i]); i++)
        digit_count++;
    if (i < text.len && text.ptr[i] == '.')
        i++;
    for (; i < text.len && is_digit(text.ptr[i]); i++)
        digit_count++;
    if (digit_count > 0 && i < text.len && (text.ptr[i] | 0x20) == 'e') {
        i++;
        if (i < text.len && (text.ptr[i] == '+' || text.ptr[i] == '-'))
            i++;
        if (i >= text.len)
            return false;
        while (i < text.len && is_digit(text.ptr[i]))
            i++;
    }
    return digit_count > 0 && i == text.len;
}

static bool is_number_byte(char c)
{
    return is_digit(c) || (c && strchr("+-.xXabcdefABCDEF", c));
}

static bool read_number(struct parser *in, struct vg_json *node)
{
    const char *begin = in->p, *end = number_end(begin, in->end);
    int64_t unused;

    if (in->is_lenient && (!end || (end < in->end && is_number_byte(*end)))) {
        for (end = begin; end < in->end && is_number_byte(*end);)
            end++;
        struct vg_slice text = {begin, (size_t)(end - begin)};

        if (!is_loose_decimal(text) && !is_other_base(text, &unused))
            end = NULL;
    }
    if (!end)
        return fail(in, "json.syntax", begin, "a malformed number");
    in->p = end;
    node->type = VG_JSON_NUMBER;
    node->text = (struct vg_slice){begin, (size_t)(end - begin)};
    return true;
}

static bool take_word(struct parser *in, const char *word, size_t len)
{
    if ((size_t)(in->end - in->p) < len || memcmp(in->p, word, len) != 0)
        return false;
    in->p += len;
    return true;
}

/* true, false, null; NaN and the infinities in lenient mode. */
static bool read_word(struct parser *in, struct vg_json *node)
{
    static const struct {
        const char *word;
        size_t len;
        enum vg_json_type type;
        bool is_lenient;
    } words[] = {
        {"true", 4, VG_JSON_TRUE, false},      {"false", 5, VG_JSON_FALSE, false},
        {"null", 4, VG_JSON_NULL, false},      {"NaN", 3, VG_JSON_NUMBER, true},
        {"Infinity", 8, VG_JSON_NUMBER, true}, {"-Infinity", 9, VG_JSON_NUMBER, true},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if ((words[i].is_lenient && !in->is_lenient) || !take_word(in, words[i].word, words[i].len))
            continue;
        node->type = words[i].type;
        if (node->type == VG_JSON_NUMBER)
            node->text = (struct vg_slice){in->p - words[i].len, words[i].len};
        return true;
    }
    return fail_expected(in, "a value");
}

/* ---- the tree ---- */

static inline struct vg_json *new_node(struct parser *in)
{
    if (in->values_left == 0) {
        (void)fail(in, "json.size", in->p, "more values than allowed");
        return NULL;
    }
    in->values_left--;
    if (in->node_count == 0) {
        in->nodes = vg_arena_alloc(in->arena, in->block_count * sizeof(*in->nodes));
        if (!in->nodes) {
            (void)fail(in, "json.memory", in->p, "more values than the memory for them");
            return NULL;
        }
        in->node_count = in->block_count;
        if (in->block_count < NODE_BLOCK_MAX)
            in->block_count *= 2;
    }
    in->node_count--;
    return in->nodes++;
}

static bool open_container(struct parser *in, struct vg_json *node)
{
    if (in->depth == in->depth_max)
        return fail(in, "json.depth", in->p, "nested deeper than allowed");
    node->type = *in->p++ == '{' ? VG_JSON_OBJECT : VG_JSON_ARRAY;
    in->frames[in->depth++] = (struct frame){.container = node};
    return true;
}

/* Where `name` stands in the frame's table, or the free place for it. */
static struct vg_json **find_in_table(struct frame *frame, struct vg_slice name)
{
    const size_t mask = frame->table_capacity - 1;
    size_t i = siphash(names_seed, name) & mask;

    while (frame->table[i] && !vg_slice_eq(frame->table[i]->name, name))
        i = (i + 1) & mask;
    return &frame->table[i];
}

static bool grow_table(struct parser *in, struct frame *frame)
{
    size_t capacity = frame->table ? frame->table_capacity * 2 : (size_t)NAMES_WALKED * 4;
    struct vg_json **table = vg_arena_alloc(in->arena, capacity * sizeof(struct vg_json *));

    if (!table)
        return fail(in, "json.memory", in->p, "more members than the memory for them");
    if (!frame->table)
        (void)pthread_once(&names_seed_once, make_names_seed);
    frame->table = table;
    frame->table_capacity = capacity;
    for (struct vg_json *member = frame->container->child; member; member = member->next)
        *find_in_table(frame, member->name) = member;
    return true;
}

/* The member of this name that the frame's object has already; NULL: none. */
static inline struct vg_json *find_member(struct frame *frame, struct vg_slice name)
{
    uint64_t bit = 1;

    if (frame->table)
        return *find_in_table(frame, name);
    if (name.len > 0)
        bit <<= ((unsigned char)name.ptr[0] * 7u + (unsigned char)name.ptr[name.len - 1] * 5u +
                 (unsigned char)name.ptr[name.len / 2] * 3u + name.len) &
                63;
    if (frame->seen & bit) {
        for (struct vg_json *member = frame->container->child; member; member = member->next) {
            if (vg_slice_eq(member->name, name))
                return member;
        }
    }
    frame->seen |= bit;
    return NULL;
}

static struct vg_json *append(struct parser *in, struct frame *frame, struct vg_slice name)
{
    struct vg_json *node = new_node(in);

    if (!node)
        return NULL;
    node->name = name;
    node->parent = frame->container;
    if (frame->last)
        frame->last->next = node;
    else
        frame->container->child = node;
    frame->last = node;
    frame->container->count++;
    if (frame->container->type == VG_JSON_ARRAY || frame->container->count <= NAMES_WALKED)
        return node;
    if (!frame->table || (size_t)frame->container->count * 4 > frame->table_capacity * 3)
        return grow_table(in, frame) ? node : NULL;
    *find_in_table(frame, name) = node;
    return node;
}

static bool is_name_byte(char c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || c == '$' ||
           (unsigned char)c >= 0x80;
}

static bool read_bare_name(struct parser *in, struct vg_slice *ret_name)
{
    const char *begin = in->p;

    while (in->p < in->end && is_name_byte(*in->p))
        in->p++;
    *ret_name = (struct vg_slice){begin, (size_t)(in->p - begin)};
    if (ret_name->len == 0)
        return fail_expected(in, "a member name");
    if (!vg_slice_is_utf8(*ret_name))
        return fail(in, "json.utf8", begin, "a member name that is not UTF-8");
    return true;
}

/* A member's name and colon; then the node for its value. */
static struct vg_json *read_member(struct parser *in, struct frame *frame)
{
    const char *begin = in->p;
    struct vg_slice name;

    if (in->p < in->end && (*in->p == '"' || (in->is_lenient && *in->p == '\''))) {
        if (!read_string(in, &name))
            return NULL;
    } else if (!in->is_lenient) {
        (void)fail_expected(in, "a member name in quotes");
        return NULL;
    } else if (!read_bare_name(in, &name)) {
        return NULL;
    }
    struct vg_json *same = find_member(frame, name);

    if (same && !in->is_lenient) {
        (void)fail(in, "json.duplicate", begin, "a member name that this object has already");
        return NULL;
    }
    if (!skip_space(in))
        return NULL;
    if (in->p >= in->end || *in->p != ':') {
        (void)fail_expected(in, "':'");
        return NULL;
    }
    in->p++;
    if (!same)
        return append(in, frame, name);
    if (in->values_left == 0) {
        (void)fail(in, "json.size", in->p, "more values than allowed");
        return NULL;
    }
    in->values_left--;
    *same = (struct vg_json){.name = same->name, .next = same->next, .parent = same->parent};
    return same;
}

/* Reads a scalar, or opens a container (whose span ends when it is closed). */
static inline bool read_value(struct parser *in, struct vg_json *node)
{
    if (!skip_space(in))
        return false;
    if (in->p >= in->end)
        return fail_expected(in, "a value");
    node->source.ptr = in->p;
    switch (*in->p) {
    case '{':
    case '[':
        return open_container(in, node);
    case '\'':
        if (!in->is_lenient)
            return fail_expected(in, "a value");
        /* fall through */
    case '"':
        node->type = VG_JSON_STRING;
        if (!read_string(in, &node->text))
            return false;
        node->source.len = (size_t)(in->p - node->source.ptr);
        return true;
    case '-':
    case '.':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        if (in->is_lenient && in->end - in->p >= 2 && in->p[1] == 'I') {
            if (!read_word(in, node))
                return false;
        } else if (*in->p == '.' && !in->is_lenient) {
            return fail_expected(in, "a value");
        } else if (!read_number(in, node)) {
            return false;
        }
        break;
    default:
        if (!read_word(in, node))
            return false;
    }
    node->source.len = (size_t)(in->p - node->source.ptr);
    if (in->p < in->end && !strchr(" ,]}\n\r\t/", *in->p))
        return fail_expected(in, "the end of a value");
    return true;
}

/* The node that the next value fills; NULL: the tree is complete, or in->status says why not. */
static inline struct vg_json *next_node(struct parser *in)
{
    while (in->depth > 0) {
        struct frame *frame = &in->frames[in->depth - 1];
        const bool is_object = frame->container->type == VG_JSON_OBJECT;
        const char closing = is_object ? '}' : ']';

        if (!skip_space(in))
            return NULL;
        if (frame->last && in->p < in->end && *in->p == ',') {
            in->p++;
            if (!skip_space(in))
                return NULL;
            if (in->is_lenient && in->p < in->end && *in->p == closing)
                continue; /* a trailing comma; the bracket closes on the next turn */
        } else if (in->p < in->end && *in->p == closing) {
            in->p++;
            frame->container->source.len = (size_t)(in->p - frame->container->source.ptr);
            in->depth--;
            continue;
        } else if (frame->last) {
            (void)fail_expected(in, is_object ? "',' or '}'" : "',' or ']'");
            return NULL;
        }
        return is_object ? read_member(in, frame) : append(in, frame, (struct vg_slice){0});
    }
    return NULL;
}

static void parse_tree(struct parser *in, bool allow_trailing, struct vg_json **ret_root)
{
    struct vg_json *root = new_node(in);

    for (struct vg_json *node = root; node; node = next_node(in)) {
        if (!read_value(in, node))
            return;
    }
    if (in->status != VG_OK)
        return;
    if (!allow_trailing) {
        if (!skip_space(in))
            return;
        if (in->p < in->end) {
            (void)fail_expected(in, "nothing after the value");
            return;
        }
    }
    *ret_root = root;
}

enum vg_status vg_json_parse(struct vg_arena *arena, struct vg_slice source,
                             const struct vg_json_options *options, struct vg_json **ret_root,
                             struct vg_json_place *ret_place, struct vg_err *err)
{
    static const struct vg_json_options strict;
    struct frame usual_frames[JSON_DEPTH_USUAL];

    if (!options)
        options = &strict;
    struct parser in = {
        .arena = arena,
        .p = source.ptr,
        .end = source.ptr ? source.ptr + source.len : NULL,
        .source = source,
        .is_lenient = options->is_lenient,
        .depth_max = options->depth_max ? options->depth_max : JSON_DEPTH_USUAL,
        .values_left = options->values_max ? options->values_max : JSON_VALUES_USUAL,
        .frames = usual_frames,
        .block_count = NODE_BLOCK_FIRST,
        .err = err,
    };

    if (in.is_lenient && vg_slice_starts(source, VG_SLICE("\xef\xbb\xbf")))
        in.p += 3;
    if (in.depth_max > JSON_DEPTH_USUAL) {
        in.frames = vg_arena_alloc(arena, in.depth_max * sizeof(struct frame));
        if (!in.frames)
            (void)fail(&in, "json.memory", in.p, "no memory for so much depth");
    }
    if (in.status == VG_OK)
        parse_tree(&in, options->allow_trailing, ret_root);
    if (in.status != VG_OK && ret_place)
        *ret_place = in.place;
    return in.status;
}

/* ---- looking things up ---- */

const struct vg_json *vg_json_get_slice(const struct vg_json *object, struct vg_slice name)
{
    if (!vg_json_is(object, VG_JSON_OBJECT))
        return NULL;
    for (const struct vg_json *member = object->child; member; member = member->next) {
        if (vg_slice_eq(member->name, name))
            return member;
    }
    return NULL;
}

const struct vg_json *vg_json_get(const struct vg_json *object, const char *name)
{
    return vg_json_get_slice(object, vg_slice_of(name));
}

/* The exact name goes before one that differs in case. */
const struct vg_json *vg_json_get_nocase(const struct vg_json *object, struct vg_slice name)
{
    const struct vg_json *exact = vg_json_get_slice(object, name);

    if (exact || !vg_json_is(object, VG_JSON_OBJECT))
        return exact;
    for (const struct vg_json *member = object->child; member; member = member->next) {
        if (vg_slice_eq_nocase(member->name, name))
            return member;
    }
    return NULL;
}

const struct vg_json *vg_json_at(const struct vg_json *array, size_t index)
{
    const struct vg_json *element;

    if (!vg_json_is(array, VG_JSON_ARRAY) || index >= array->count)
        return NULL;
    for (element = array->child; index > 0; index--)
        element = element->next;
    return element;
}

struct vg_slice vg_json_text(const struct vg_json *value)
{
    return vg_json_is(value, VG_JSON_STRING) ? value->text : (struct vg_slice){0};
}

struct vg_slice vg_json_get_text(const struct vg_json *object, const char *name)
{
    return vg_json_text(vg_json_get(object, name));
}

bool vg_json_is(const struct vg_json *value, enum vg_json_type type)
{
    return value && value->type == type;
}

bool vg_json_to_bool(const struct vg_json *value, bool *ret)
{
    if (!vg_json_is(value, VG_JSON_TRUE) && !vg_json_is(value, VG_JSON_FALSE))
        return false;
    *ret = value->type == VG_JSON_TRUE;
    return true;
}

bool vg_json_to_i64(const struct vg_json *value, int64_t *ret)
{
    if (!vg_json_is(value, VG_JSON_NUMBER))
        return false;
    return is_other_base(value->text, ret) || vg_slice_to_i64(value->text, ret);
}

/* Exact when the digits fit in 53 bits and the power of ten is exact too (W. Clinger's fast path):
 * then one correctly rounded operation gives the nearest double. */
static bool to_double_fast(struct vg_slice text, double *ret)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    uint64_t digits = 0;
    unsigned decimals = 0;
    size_t i = text.len > 0 && text.ptr[0] == '-';
    bool after_point = false, is_negative = i > 0;

    if (text.len > 17)
        return false;
    for (; i < text.len; i++) {
        if (text.ptr[i] == '.') {
            after_point = true;
        } else if (!is_digit(text.ptr[i])) {
            return false;
        } else {
            digits = digits * 10 + (uint64_t)(text.ptr[i] - '0');
            decimals += after_point;
        }
    }
    if (digits > (uint64_t)1 << 53)
        return false;
    double value = (double)digits / powers[decimals];

    *ret = is_negative ? -value : value;
    return true;
}

bool vg_json_to_double(const struct vg_json *value, double *ret)
{
    int64_t integer;
    char *copy;

    if (!vg_json_is(value, VG_JSON_NUMBER) || value->text.len == 0)
        return false;
    if (is_other_base(value->text, &integer)) {
        *ret = (double)integer;
        return true;
    }
    if (to_double_fast(value->text, ret))
        return true;
    if (value->text.len < 350)
        return vg_slice_to_double(value->text, ret);
    /* Digits by the thousand are legal, if odd. */
    copy = malloc(value->text.len + 1);
    if (!copy)
        return false;
    memcpy(copy, value->text.ptr, value->text.len);
    copy[value->text.len] = '\0';
    double wide = strtod(copy, NULL);

    free(copy);
    if (!isfinite(wide))
        return false;
    *ret = wide;
    return true;
}
