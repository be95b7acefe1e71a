/* vg_test.h -- the whole test framework: CHECK says what failed and goes on, RUN names a test.
 *
 * main() runs the tests and returns vg_test_report(): 0 = all passed, 1 = some failed, 77 = nothing
 * failed but something was skipped for want of data (ctest shows it as skipped).
 */
#ifndef VG_TEST_H
#define VG_TEST_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static int vg_test_checks, vg_test_failures, vg_test_skips;
static const char *vg_test_row = "";

/* A failing check prints its place and the name of the table row that ran (CHECK_ROW). */
#define CHECK(what) vg_test_check((what), #what, __FILE__, __LINE__)
#define CHECK_ROW(name) (vg_test_row = (name))
#define RUN(test)                                                                                  \
    do {                                                                                           \
        int before = vg_test_failures;                                                             \
        vg_test_row = "";                                                                          \
        test();                                                                                    \
        printf("%s %s\n", vg_test_failures == before ? "ok  " : "FAIL", #test);                    \
    } while (0)
/* Loud: a test whose data is not here. */
#define SKIP(why) (printf("SKIPPED %s: %s\n", __func__, (why)), vg_test_skips++)

static inline bool vg_test_check(bool is_true, const char *what, const char *file, int line)
{
    vg_test_checks++;
    if (!is_true) {
        vg_test_failures++;
        printf("%s:%d: %s%s%s%s\n", file, line, what, *vg_test_row ? " [" : "", vg_test_row,
               *vg_test_row ? "]" : "");
    }
    return is_true;
}

static inline int vg_test_report(void)
{
    printf("%d checks, %d failed, %d skipped\n", vg_test_checks, vg_test_failures, vg_test_skips);
    return vg_test_failures ? 1 : vg_test_skips ? 77 : 0;
}

#endif
