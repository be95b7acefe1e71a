/* registry_test.c -- devices are added, changed and listed; another process's change shows. */
#include "hub/registry.h"

#include "vg_test.h"

#include <string.h>
#include <unistd.h>

static char root[64];

static void test_ids(void)
{
    const struct {
        const char *row;
        struct vg_slice id;
        bool want;
    } cases[] = {
        {"plain", VG_SLICE("bed-4"), true},
        {"all that is allowed", VG_SLICE("aZ9-._:@=$!*'(),"), true},
        {"empty", VG_SLICE(""), false},
        {"plus (CVE-2017-7650)", VG_SLICE("bed+"), false},
        {"hash (CVE-2017-7650)", VG_SLICE("#"), false},
        {"slash", VG_SLICE("bed/4"), false},
        {"NUL", VG_SLICE("bed\x00"), false},
        {"blank", VG_SLICE("bed 4"), false},
        {"percent", VG_SLICE("bed%2f"), false},
        {"begins with $", VG_SLICE("$SYS"), false},
        {"not ASCII", VG_SLICE("b\xc3\xa4t"), false},
    };
    char id[REGISTRY_ID_MAX + 1];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CHECK_ROW(cases[i].row);
        CHECK(registry_id_is_valid(cases[i].id) == cases[i].want);
    }
    memset(id, 'a', sizeof(id));
    CHECK(registry_id_is_valid((struct vg_slice){id, REGISTRY_ID_MAX}));
    CHECK(!registry_id_is_valid((struct vg_slice){id, REGISTRY_ID_MAX + 1}));
}

static void test_devices(void)
{
    struct registry *registry = NULL, *other = NULL;
    struct directory *directory = NULL, *later = NULL;
    const struct registry_device *device;
    struct vg_err err = {0};
    int64_t before = 0, after = 0;
    char hash[VG_PASSWORD_HASH_SIZE];

    CHECK(registry_open(root, &registry, &err) == VG_OK);
    CHECK(registry_open(root, &other, &err) == VG_OK);
    CHECK(registry_version(registry, &before, &err) == VG_OK);

    CHECK(registry_add(other, "gw-1", true, NULL, VG_SLICE("one"), &err) == VG_OK);
    CHECK(registry_add(other, "bed-4", false, "gw-1", VG_SLICE("two"), &err) == VG_OK);
    CHECK(registry_version(registry, &after, &err) == VG_OK && after != before);

    CHECK(registry_add(other, "bed-4", false, NULL, VG_SLICE("x"), &err) == VG_REJECT);
    CHECK(strcmp(err.code, "registry.exists") == 0);
    CHECK(registry_add(other, "bed/4", false, NULL, VG_SLICE("x"), &err) == VG_REJECT);
    CHECK(strcmp(err.code, "registry.id") == 0);
    CHECK(registry_add(other, "bed-5", false, "bed-4", VG_SLICE("x"), &err) == VG_REJECT);
    CHECK(strcmp(err.code, "registry.gateway") == 0);
    CHECK(registry_add(other, "bed-5", false, "nobody", VG_SLICE("x"), &err) == VG_REJECT);

    CHECK(registry_directory(registry, &directory, &err) == VG_OK);
    CHECK(directory_count(directory) == 2);
    device = directory_get(directory, VG_SLICE("bed-4"));
    CHECK(device && device->is_enabled && !device->is_gateway);
    CHECK(device && strcmp(device->through, "gw-1") == 0 && device->created_us > 0);
    CHECK(device && vg_password_verify(device->hash, VG_SLICE("two")));
    CHECK(device && !vg_password_verify(device->hash, VG_SLICE("twp")));
    CHECK(directory_get(directory, VG_SLICE("bed-5")) == NULL);
    (void)snprintf(hash, sizeof(hash), "%s", device ? device->hash : "");

    /* Own changes do not move the own version; a directory once taken does not change. */
    CHECK(registry_version(registry, &before, &err) == VG_OK);
    CHECK(registry_begin(registry, &err) == VG_OK);
    CHECK(registry_set_seen(registry, "bed-4", 4711, &err) == VG_OK);
    CHECK(registry_set_seen(registry, "bed-9", 4711, &err) == VG_END);
    CHECK(registry_commit(registry, &err) == VG_OK);
    CHECK(registry_version(registry, &after, &err) == VG_OK && after == before);
    CHECK(registry_set_enabled(other, "bed-4", false, &err) == VG_OK);
    CHECK(registry_set_enabled(other, "bed-9", false, &err) == VG_END);
    CHECK(registry_set_password(other, "bed-4", VG_SLICE("three"), &err) == VG_OK);
    CHECK(registry_directory(registry, &later, &err) == VG_OK);
    CHECK(device && device->is_enabled && strcmp(device->hash, hash) == 0);
    device = directory_get(later, VG_SLICE("bed-4"));
    CHECK(device && !device->is_enabled && device->seen_us == 4711);
    CHECK(device && strcmp(device->hash, hash) != 0);

    directory_unref(directory_ref(directory));
    directory_unref(directory);
    directory_unref(later);
    registry_close(registry);
    registry_close(other);
}

static void test_whom_a_sender_speaks_for(void)
{
    static const struct {
        const char *row, *names, *device;
        bool want, want_free;
    } cases[] = {
        {"itself, where nothing is said", NULL, "gw-7", true, true},
        {"itself, whatever is said", "", "gw-7", true, true},
        {"another, where nothing is said", NULL, "bed-4", false, true},
        {"nobody else", "", "bed-4", false, false},
        {"by name", "bed-3, bed-4 ,bed-5", "bed-4", true, true},
        {"a name is not the begin of another", "bed-4", "bed-42", false, false},
        {"nor its end", "bed-4", "a-bed-4", false, false},
        {"a unit", "ICU^*", "ICU^^5^EXAMPLE", true, true},
        {"another unit", "ICU^*", "WARD^ICU^5", false, false},
        {"a star in the middle", "ICU^*^EXAMPLE", "ICU^^5^EXAMPLE", true, true},
        {"and what is behind it counts", "ICU^*^EXAMPLE", "ICU^^5^OTHER", false, false},
        {"two stars that begin wrongly", "*-a*-b", "x-a-a-y-b", true, true},
        {"a star for nothing", "bed-4*", "bed-4", true, true},
        {"anybody", "*", "bed-4", true, true},
        {"empty names are nobody's", " , ,", "", false, false},
        {"case counts", "icu^*", "ICU^^5", false, false},
    };
    struct registry *registry = NULL;
    struct directory *directory;
    struct vg_err err = {0};

    CHECK(registry_open(root, &registry, &err) == VG_OK);
    CHECK(registry_add(registry, "gw-7", false, NULL, VG_SLICE("x"), &err) == VG_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vg_slice device = vg_slice_of(cases[i].device);

        CHECK_ROW(cases[i].row);
        directory = NULL;
        CHECK(registry_set_speaks_for(registry, "gw-7", cases[i].names, &err) == VG_OK);
        CHECK(registry_directory(registry, &directory, &err) == VG_OK);
        CHECK(directory_may_speak(directory, VG_SLICE("gw-7"), device, false) == cases[i].want);
        CHECK(directory_may_speak(directory, VG_SLICE("gw-7"), device, true) == cases[i].want_free);
        directory_unref(directory);
    }
    CHECK_ROW("what is no list");
    CHECK(registry_set_speaks_for(registry, "gw-7", "a\nb", &err) == VG_REJECT);
    CHECK(registry_set_speaks_for(registry, "gw-8", "a", &err) == VG_END);
    registry_close(registry);
}

int main(void)
{
    char command[96];

    if (vg_crypto_init(NULL) != VG_OK)
        return 1;
    (void)snprintf(root, sizeof(root), "/tmp/vigil-registry-XXXXXX");
    if (!mkdtemp(root))
        return 1;
    RUN(test_ids);
    RUN(test_devices);
    RUN(test_whom_a_sender_speaks_for);
    (void)snprintf(command, sizeof(command), "rm -rf %s", root);
    if (system(command) != 0)
        return 1;
    return vg_test_report();
}
