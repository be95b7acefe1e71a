/* regex_test.c -- the regular expressions of filters; linear time on hostile ones. */
#include "connector/regex.h"

#include "vg_test.h"

static const struct {
    const char *pattern, *flags, *text;
    bool want;
} rows[] = {
    {"abc", "", "xxabcxx", true},
    {"abc", "", "abx", false},
    {"", "", "", true},
    {"^abc$", "", "abc", true},
    {"^abc$", "", "abc\n", true},
    {"^abc$", "", "xabc", false},
    {"^b", "", "a\nb", false},
    {"^b", "m", "a\nb", true},
    {"a$", "m", "a\nb", true},
    {"a.c", "", "a\nc", false},
    {"a.c", "s", "a\nc", true},
    {"a b c", "x", "abc", false},
    {"ABC", "i", "xabcx", true},
    {"[A-C]+$", "i", "abc", true},
    {"[^a]", "i", "A", false},
    {"a|b|cd", "", "xcd", true},
    {"^(a|b|cd)$", "", "cd", true},
    {"^(a|b|cd)$", "", "c", false},
    {"^(?:ab)+$", "", "ababab", true},
    {"^(?<name>ab)*$", "", "", true},
    {"^a{2}$", "", "aa", true},
    {"^a{2}$", "", "aaa", false},
    {"^a{2,3}$", "", "aaa", true},
    {"^a{2,3}$", "", "aaaa", false},
    {"^a{2,}$", "", "aaaaa", true},
    {"^a{2,}$", "", "a", false},
    {"^a{0,2}$", "", "", true},
    {"^a{0,2}$", "", "aa", true},
    {"^a{0,2}$", "", "aaa", false},
    {"^a{0}b$", "", "b", true},
    {"^(ab|c){1,3}$", "", "abcab", true},
    {"^(ab|c){1,3}$", "", "abcabc", false},
    {"^a*?b+?$", "", "aabb", true},
    {"^a{x}$", "", "a{x}", true},
    {"^\\d{3}-\\w+\\s\\S$", "", "123-ab_9 !", true},
    {"^\\D\\W$", "", "a-", true},
    {"[\\d.]+", "", "1.5", true},
    {"^[a\\-z]$", "", "-", true},
    {"^[]a]$", "", "]", true},
    {"\\bhr\\b", "", "the hr now", true},
    {"\\bhr\\b", "", "three", false},
    {"\\Bhr", "", "xhr", true},
    {"^\\x41\\u0042\\t$", "", "AB\t", true},
    {"^\\.\\/$", "", "./", true},
    {"^.$", "", "\xc3\xa9", true},
    {"^[\xc3\xa0-\xc3\xbf]$", "", "\xc3\xa9", true},
    {"\\A42\\z", "", "42", true},
    {"(?i)^HR$", "", "hr", true},
    {"(?im)^b.C$", "", "a\nB-c", true},
    {"(?s)a.c", "", "a\nc", true},
    {"(?:)a", "", "a", true},
};

static const struct {
    const char *pattern, *flags;
} wrong[] = {
    {"(", ""},       {")", ""},
    {"[a", ""},      {"*a", ""},
    {"a\\", ""},     {"(?=a)", ""},
    {"\\1", ""},     {"\\p{L}", ""},
    {"a(?i)b", ""},  {"(?x)a b", ""},
    {"(?i", ""},     {"(?-i)a", ""},
    {"[b-a]", ""},   {"a{3,2}", ""},
    {"a", "g"},      {"(?<!a)b", ""},
    {"a{1000}", ""}, {"((((((((((((((((((((((((((((((((((a))))))))))))))))))))))))))))))))))", ""},
};

static void test_matches(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct regex *re = NULL;
        struct vg_arena arena;
        uint64_t steps = 100000;

        vg_arena_init(&arena, 0);
        CHECK_ROW(rows[i].pattern);
        if (CHECK(regex_compile(&arena, vg_slice_of(rows[i].pattern), vg_slice_of(rows[i].flags),
                                &re, NULL) == VG_OK))
            CHECK(regex_search(re, vg_slice_of(rows[i].text), &steps) == rows[i].want);
        vg_arena_fini(&arena);
    }
}

static void test_refused(void)
{
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const struct regex *re = NULL;
        struct vg_arena arena;
        struct vg_err err = {0};

        vg_arena_init(&arena, 0);
        CHECK_ROW(wrong[i].pattern);
        CHECK(regex_compile(&arena, vg_slice_of(wrong[i].pattern), vg_slice_of(wrong[i].flags), &re,
                            &err) == VG_REJECT);
        CHECK(err.code != NULL);
        vg_arena_fini(&arena);
    }
}

int main(void)
{
    RUN(test_matches);
    RUN(test_refused);
    return vg_test_report();
}
