/* arena_test.c -- memory that dies together: bounded, zeroed, aligned, kept over a reset. */
#include "base/arena.h"
#include "vg_test.h"

#include <stdalign.h>

static bool is_zero(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i])
            return false;
    }
    return true;
}

static void test_alloc(void)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 4096, 65536, 65537, 1000000};
    struct vg_arena arena;

    vg_arena_init(&arena, 0);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            char *memory = vg_arena_alloc(&arena, sizes[i]);

            if (!CHECK(memory != NULL))
                return;
            CHECK((uintptr_t)memory % alignof(max_align_t) == 0);
            CHECK(is_zero(memory, sizes[i])); /* also after a reset */
            memset(memory, 0xa5, sizes[i]);
        }
        vg_arena_reset(&arena);
        CHECK(arena.used_bytes == 0);
    }
    CHECK(arena.peak_bytes >= 1000000 + 65537 + 65536);
    vg_arena_fini(&arena);
}

static void test_limit(void)
{
    struct vg_arena arena;
    size_t total = 0;

    vg_arena_init(&arena, 1000);
    CHECK(vg_arena_alloc(&arena, 1001) == NULL);
    CHECK(vg_arena_alloc(&arena, SIZE_MAX) == NULL);
    CHECK(vg_arena_alloc(&arena, SIZE_MAX - 8) == NULL);
    while (vg_arena_alloc(&arena, 10))
        total += 16;
    CHECK(total <= 1000 && total > 900);
    CHECK(vg_arena_dup(&arena, VG_SLICE("does not fit any more")).ptr == NULL);
    CHECK(vg_arena_printf(&arena, "%d times no fit", 12345).ptr == NULL);
    vg_arena_reset(&arena);
    CHECK(vg_arena_alloc(&arena, 900) != NULL);
    vg_arena_fini(&arena);
    vg_arena_fini(&arena); /* twice is fine */
}

static void test_chunks_are_kept(void)
{
    struct vg_arena arena;

    vg_arena_init(&arena, 0);
    char *first = vg_arena_alloc(&arena, 100);
    char *large = vg_arena_alloc(&arena, 200000);

    vg_arena_reset(&arena);
    CHECK(vg_arena_alloc(&arena, 100) == first);
    CHECK(vg_arena_alloc(&arena, 200000) == large);
    vg_arena_fini(&arena);
}

static void test_copies(void)
{
    struct vg_arena arena;
    char source[] = "pulse";

    vg_arena_init(&arena, 0);
    struct vg_slice copy = vg_arena_dup(&arena, vg_slice_of(source));
    source[0] = 'x';
    CHECK(vg_slice_is(copy, "pulse") && copy.ptr[copy.len] == '\0');
    copy = vg_arena_dup(&arena, (struct vg_slice){0});
    CHECK(copy.ptr != NULL && copy.len == 0);
    copy = vg_arena_printf(&arena, "%s-%d", "bed", 4);
    CHECK(vg_slice_is(copy, "bed-4") && copy.ptr[copy.len] == '\0');
    vg_arena_fini(&arena);
}

int main(void)
{
    RUN(test_alloc);
    RUN(test_limit);
    RUN(test_chunks_are_kept);
    RUN(test_copies);
    return vg_test_report();
}
