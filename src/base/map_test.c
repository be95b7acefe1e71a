/* map_test.c -- the table against a plain array of flags, under puts, removals and walks. */
#include "base/map.h"
#include "vg_test.h"

#define KEY_COUNT 5000

static char values[KEY_COUNT]; /* their addresses are the values */
static int freed_count;

static struct vg_slice key_of(unsigned i, char out[static 24])
{
    return (struct vg_slice){out, (size_t)snprintf(out, 24, "device-%u", i)};
}

static void count_free(void *value)
{
    (void)value;
    freed_count++;
}

static void test_put_get_remove(void)
{
    struct vg_map map;
    char text[24];
    bool ok = false;

    vg_map_init(&map);
    CHECK(vg_map_get(&map, VG_SLICE("x")) == NULL && vg_map_remove(&map, VG_SLICE("x")) == NULL);
    for (unsigned i = 0; i < KEY_COUNT; i++)
        CHECK(vg_map_put(&map, key_of(i, text), &values[i], &ok) == NULL && ok);
    CHECK(map.count == KEY_COUNT && map.capacity >= KEY_COUNT);
    CHECK(vg_map_put(&map, VG_SLICE("device-7"), &values[8], &ok) == &values[7] && ok);
    CHECK(vg_map_put(&map, VG_SLICE("device-7"), &values[7], &ok) == &values[8]);
    for (unsigned i = 0; i < KEY_COUNT; i += 2)
        CHECK(vg_map_remove(&map, key_of(i, text)) == &values[i]);
    for (unsigned i = 0; i < KEY_COUNT; i++)
        CHECK(vg_map_get(&map, key_of(i, text)) == (i % 2 ? &values[i] : NULL));
    CHECK(vg_map_remove(&map, VG_SLICE("device-0")) == NULL && map.count == KEY_COUNT / 2);
    freed_count = 0;
    vg_map_fini(&map, count_free);
    CHECK(freed_count == KEY_COUNT / 2 && map.count == 0);
    vg_map_fini(&map, NULL);
}

static void test_odd_keys(void)
{
    struct vg_map map;
    char key[] = "borrowed";
    bool ok = false;

    vg_map_init(&map);
    (void)vg_map_put(&map, (struct vg_slice){0}, &values[0], &ok);
    (void)vg_map_put(&map, VG_SLICE("a\0b"), &values[1], &ok);
    (void)vg_map_put(&map, VG_SLICE("a\0c"), &values[2], &ok);
    (void)vg_map_put(&map, vg_slice_of(key), &values[3], &ok);
    key[0] = 'x'; /* the table has a copy */
    CHECK(vg_map_get(&map, VG_SLICE("")) == &values[0]);
    CHECK(vg_map_get(&map, VG_SLICE("a\0b")) == &values[1]);
    CHECK(vg_map_get(&map, VG_SLICE("a\0c")) == &values[2]);
    CHECK(vg_map_get(&map, VG_SLICE("a")) == NULL);
    CHECK(vg_map_get(&map, VG_SLICE("borrowed")) == &values[3]);
    vg_map_fini(&map, NULL);
}

/* A walk shows each key; removing every third while it goes hides none and shows none twice. */
static void test_walk(void)
{
    for (unsigned count = 0; count < 200; count++) {
        int shown[200] = {0};
        struct vg_map map;
        struct vg_slice key;
        char text[24];
        size_t cursor = 0;
        unsigned total = 0;
        void *value;
        bool ok;

        vg_map_init(&map);
        for (unsigned i = 0; i < count; i++)
            (void)vg_map_put(&map, key_of(i, text), &values[i], &ok);
        while (vg_map_next(&map, &cursor, &key, &value)) {
            ptrdiff_t i = (char *)value - values;

            if (!CHECK(i >= 0 && i < (ptrdiff_t)count))
                break;
            CHECK(vg_slice_eq(key, key_of((unsigned)i, text)));
            shown[i]++;
            if (total++ % 3 == 0)
                CHECK(vg_map_remove(&map, key_of((unsigned)i, text)) == value);
        }
        CHECK(!vg_map_next(&map, &cursor, &key, &value));
        for (unsigned i = 0; i < count; i++)
            CHECK(shown[i] == 1);
        CHECK(map.count == count - (count + 2) / 3);
        vg_map_fini(&map, NULL);
    }
}

/* Devices that come and go for ever do not make the table grow. */
static void test_churn(void)
{
    struct vg_map map;
    char text[24];
    bool ok = true;

    vg_map_init(&map);
    for (unsigned i = 0; i < 200000; i++) {
        (void)vg_map_put(&map, key_of(i, text), &values[i % KEY_COUNT], &ok);
        if (i >= 10)
            ok = ok && vg_map_remove(&map, key_of(i - 10, text)) == &values[(i - 10) % KEY_COUNT];
        if (!ok)
            break;
    }
    CHECK(ok && map.count == 10 && map.capacity <= 32);
    vg_map_fini(&map, NULL);
}

static void test_seeds_differ(void)
{
    struct vg_map a, b;

    vg_map_init(&a);
    vg_map_init(&b);
    CHECK(a.seed != b.seed);
    vg_map_fini(&a, NULL);
    vg_map_fini(&b, NULL);
}

int main(void)
{
    RUN(test_put_get_remove);
    RUN(test_odd_keys);
    RUN(test_walk);
    RUN(test_churn);
    RUN(test_seeds_differ);
    return vg_test_report();
}
