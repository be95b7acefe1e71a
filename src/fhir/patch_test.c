/* patch_test.c -- JSON Patch: every operation, what it leaves alone, what it refuses. */
#include "fhir/patch_int.h"

#include <stdio.h>

#include "vg_test.h"

#define DOC                                                                                        \
    "{\"resourceType\":\"Patient\", \"id\":\"p\", \"a\":{\"x\" : 1.10,\"y\":[1, 2,3]},\"b\":[],"   \
    "\"s\":\"t\",\"m~n/o\":null}"

static void test_operations(void)
{
    static const struct {
        const char *name, *patch;
        int status; /* 0 = done */
        const char *want;
    } rows[] = {
        {"nothing changes no byte", "[]", 0, DOC},
        {"a test changes no byte", "[{\"op\":\"test\",\"path\":\"/a/x\",\"value\":1.1}]", 0, DOC},
        {"numbers are equal by value", "[{\"op\":\"test\",\"path\":\"/a/x\",\"value\":11e-1}]", 0,
         DOC},
        {"objects are equal in any order",
         "[{\"op\":\"test\",\"path\":\"/a\",\"value\":{\"y\":[1,2,3],\"x\":1.1}}]", 0, DOC},
        {"arrays are not", "[{\"op\":\"test\",\"path\":\"/a/y\",\"value\":[2,1,3]}]", 422, NULL},
        {"a text is no number", "[{\"op\":\"test\",\"path\":\"/a/x\",\"value\":\"1.10\"}]", 422,
         NULL},
        {"escapes in a path", "[{\"op\":\"test\",\"path\":\"/m~0n~1o\",\"value\":null}]", 0, DOC},
        {"add a member keeps the digits of the others",
         "[{\"op\":\"add\",\"path\":\"/a/z\",\"value\":0.50}]", 0,
         "{\"resourceType\":\"Patient\",\"id\":\"p\",\"a\":{\"x\":1.10,\"y\":[1, 2,3],\"z\":0.50},"
         "\"b\":[],\"s\":\"t\",\"m~n/o\":null}"},
        {"add replaces a member in its place", "[{\"op\":\"add\",\"path\":\"/a\",\"value\":1}]", 0,
         "{\"resourceType\":\"Patient\",\"id\":\"p\",\"a\":1,\"b\":[],\"s\":\"t\",\"m~n/o\":null}"},
        {"add at an index",
         "[{\"op\":\"add\",\"path\":\"/a/y/1\",\"value\":9},{\"op\":\"test\",\"path\":\"/a/y\","
         "\"value\":[1,9,2,3]}]",
         0, NULL},
        {"add at the end, by number and by -",
         "[{\"op\":\"add\",\"path\":\"/a/y/3\",\"value\":4},{\"op\":\"add\",\"path\":\"/a/y/-\","
         "\"value\":5},{\"op\":\"test\",\"path\":\"/a/y\",\"value\":[1,2,3,4,5]}]",
         0, NULL},
        {"not beyond it", "[{\"op\":\"add\",\"path\":\"/a/y/4\",\"value\":4}]", 422, NULL},
        {"no leading zero", "[{\"op\":\"add\",\"path\":\"/a/y/01\",\"value\":4}]", 422, NULL},
        {"nothing is made on the way", "[{\"op\":\"add\",\"path\":\"/q/r\",\"value\":4}]", 422,
         NULL},
        {"remove",
         "[{\"op\":\"remove\",\"path\":\"/a/y/0\"},{\"op\":\"test\",\"path\":\"/a/y\","
         "\"value\":[2,3]}]",
         0, NULL},
        {"remove what is not there", "[{\"op\":\"remove\",\"path\":\"/q\"}]", 422, NULL},
        {"replace", "[{\"op\":\"replace\",\"path\":\"/s\",\"value\":{\"k\":1}}]", 0, NULL},
        {"replace what is not there", "[{\"op\":\"replace\",\"path\":\"/q\",\"value\":1}]", 422,
         NULL},
        {"move",
         "[{\"op\":\"move\",\"from\":\"/a/y/2\",\"path\":\"/a/y/0\"},{\"op\":\"test\","
         "\"path\":\"/a/y\",\"value\":[3,1,2]}]",
         0, NULL},
        {"move to where it is", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a\"}]", 0, DOC},
        {"move into itself", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a/y\"}]", 422, NULL},
        {"copy is another value",
         "[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/c\"},{\"op\":\"remove\",\"path\":\"/c/x\"},"
         "{\"op\":\"test\",\"path\":\"/a/x\",\"value\":1.1}]",
         0, NULL},
        {"the whole, if it is the same resource",
         "[{\"op\":\"replace\",\"path\":\"\",\"value\":{\"resourceType\":\"Patient\",\"id\":\"p\"}}"
         "]",
         0, "{\"resourceType\":\"Patient\",\"id\":\"p\"}"},
        {"another id", "[{\"op\":\"replace\",\"path\":\"/id\",\"value\":\"q\"}]", 422, NULL},
        {"no id", "[{\"op\":\"remove\",\"path\":\"/id\"}]", 422, NULL},
        {"another type", "[{\"op\":\"add\",\"path\":\"/resourceType\",\"value\":\"Flag\"}]", 422,
         NULL},
        {"an op that is none", "[{\"op\":\"merge\",\"path\":\"/a\"}]", 400, NULL},
        {"no path", "[{\"op\":\"remove\"}]", 400, NULL},
        {"no value", "[{\"op\":\"add\",\"path\":\"/a\"}]", 400, NULL},
        {"no from", "[{\"op\":\"copy\",\"path\":\"/a\"}]", 400, NULL},
        {"a path without /", "[{\"op\":\"remove\",\"path\":\"a\"}]", 400, NULL},
        {"an escape that is none", "[{\"op\":\"remove\",\"path\":\"/~2\"}]", 400, NULL},
        {"no array", "{\"op\":\"test\"}", 400, NULL},
        {"no JSON", "[", 400, NULL},
    };
    struct vg_arena arena;

    vg_arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fhir_issue issue = {0};
        struct vg_err err = {0};
        struct vg_slice text = {0};
        enum vg_status st =
            fhir_patch(&arena, VG_SLICE(DOC), vg_slice_of(rows[i].patch), &text, &issue, &err);

        if (!CHECK(rows[i].status ? st == VG_REJECT && issue.http_status == rows[i].status
                                  : st == VG_OK) ||
            !CHECK(!rows[i].want || vg_slice_is(text, rows[i].want)))
            printf("  [%s] %d %s: %.*s\n", rows[i].name, issue.http_status, err.text, VG_FMT(text));
    }
    vg_arena_fini(&arena);
}

static void test_narratives(void)
{
    static const char doc[] = "{\"resourceType\":\"Patient\",\"id\":\"p\",\"text\":{\"status\":"
                              "\"generated\",\"div\":\"<div>male</div>\"},\"gender\":\"male\"}";
    static const struct {
        const char *patch;
        bool is_kept;
    } rows[] = {
        {"[{\"op\":\"replace\",\"path\":\"/gender\",\"value\":\"female\"}]", false},
        {"[{\"op\":\"test\",\"path\":\"/gender\",\"value\":\"male\"}]", true},
        {"[{\"op\":\"replace\",\"path\":\"/text/div\",\"value\":\"<div>f</div>\"}]", true},
    };
    struct vg_arena arena;

    vg_arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fhir_issue issue = {0};
        struct vg_slice text = {0};

        CHECK(fhir_patch(&arena, vg_slice_of(doc), vg_slice_of(rows[i].patch), &text, &issue,
                         NULL) == VG_OK);
        CHECK((memmem(text.ptr, text.len, "\"text\"", 6) != NULL) == rows[i].is_kept);
    }
    vg_arena_fini(&arena);
}

/* Copies into copies double; they end in a refusal, not in the stack's or the memory's end. */
static void test_copies_of_copies(void)
{
    struct fhir_issue issue = {0};
    struct vg_arena arena;
    struct vg_slice text;
    struct vg_buf patch;

    vg_arena_init(&arena, (size_t)256 << 20);
    for (int is_deep = 0; is_deep < 2; is_deep++) {
        vg_buf_init(&patch, 0);
        vg_buf_put_byte(&patch, '[');
        for (int i = 0; i < 200; i++)
            vg_buf_printf(&patch, "%s{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/%s%d\"}",
                          i ? "," : "", is_deep ? "d" : "w", is_deep ? 0 : i);
        vg_buf_put_byte(&patch, ']');
        CHECK(fhir_patch(&arena, VG_SLICE(DOC), vg_buf_slice(&patch), &text, &issue, NULL) ==
              VG_REJECT);
        vg_buf_fini(&patch);
    }
    vg_arena_fini(&arena);
}

int main(void)
{
    RUN(test_operations);
    RUN(test_narratives);
    RUN(test_copies_of_copies);
    return vg_test_report();
}
