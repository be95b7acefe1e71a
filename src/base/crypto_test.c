/* crypto_test.c -- known answers for hashes and encodings; passwords verify. */
#include "base/crypto.h"

#include "vg_test.h"

static void test_sha256_of_known_texts(void)
{
    static const struct {
        const char *text, *hex;
    } rows[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    };
    char hex[65];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_ROW(rows[i].text);
        vg_sha256_hex(vg_slice_of(rows[i].text), hex);
        CHECK(strcmp(hex, rows[i].hex) == 0);
    }
}

static void test_a_password_verifies_and_another_does_not(void)
{
    char machine[VG_PASSWORD_HASH_SIZE], person[VG_PASSWORD_HASH_SIZE];

    CHECK(vg_password_hash(VG_SLICE("s3cret"), true, machine, NULL) == VG_OK);
    CHECK(vg_password_hash(VG_SLICE("s3cret"), false, person, NULL) == VG_OK);
    CHECK(strncmp(machine, "$argon2id$v=19$m=19456,t=2,p=1$", 31) == 0);
    CHECK(strncmp(person, "$argon2id$v=19$m=65536,t=3,p=1$", 31) == 0);
    CHECK(vg_password_verify(machine, VG_SLICE("s3cret")));
    CHECK(vg_password_verify(person, VG_SLICE("s3cret")));
    CHECK(!vg_password_verify(machine, VG_SLICE("s3creT")));
    CHECK(!vg_password_verify(machine, (struct vg_slice){0}));
    CHECK(!vg_password_verify("", VG_SLICE("s3cret")));
    CHECK(!vg_password_verify("$argon2id$broken", VG_SLICE("s3cret")));
    for (int is_machine = 0; is_machine <= 1; is_machine++) {
        char nobody[VG_PASSWORD_HASH_SIZE];
        const char *real = is_machine ? machine : person;

        /* The same parameters in the same form: verifying it takes as long. */
        vg_password_hash_of_nobody(is_machine, nobody);
        CHECK(strlen(nobody) == strlen(real));
        CHECK(strncmp(nobody, real, strlen("$argon2id$v=19$m=65536,t=3,p=1$")) == 0);
        CHECK(!vg_password_verify(nobody, VG_SLICE("s3cret")));
    }
}

static void test_base64_and_hex_go_there_and_back(void)
{
    static const struct {
        const char *bytes, *text;
    } rows[] = {{"", ""},        {"f", "Zg=="},          {"fo", "Zm8="},
                {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff", "+/8="}};
    static const char *const bad[] = {"Zg", "Zg=", "Zg==x", "Z!==", "Zm9v Zm9v", "=", "+_8="};
    struct vg_arena arena;
    struct vg_buf buf;
    uint8_t raw[3];

    vg_arena_init(&arena, 0);
    vg_buf_init(&buf, 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vg_slice back;

        CHECK_ROW(rows[i].text);
        vg_buf_clear(&buf);
        vg_base64_put(&buf, vg_slice_of(rows[i].bytes));
        CHECK(vg_slice_is(vg_buf_slice(&buf), rows[i].text));
        back = vg_base64_decode(&arena, vg_slice_of(rows[i].text));
        CHECK(back.ptr && vg_slice_is(back, rows[i].bytes));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_ROW(bad[i]);
        CHECK(!vg_base64_decode(&arena, vg_slice_of(bad[i])).ptr);
    }
    CHECK_ROW("");
    CHECK(vg_unhex(VG_SLICE("00ffA1"), raw, 3) && raw[1] == 0xff && raw[2] == 0xa1);
    CHECK(!vg_unhex(VG_SLICE("00ffa"), raw, 3));
    CHECK(!vg_unhex(VG_SLICE("00ffag"), raw, 3));
    CHECK(!vg_unhex(VG_SLICE("00ff"), raw, 3));
    vg_buf_fini(&buf);
    vg_arena_fini(&arena);
}

static void test_random_passwords_differ_and_have_no_look_alikes(void)
{
    char a[33], b[33];

    vg_random_password(a, 32);
    vg_random_password(b, 32);
    CHECK(strlen(a) == 32 && strcmp(a, b) != 0);
    CHECK(strpbrk(a, "lo01") == NULL);
    CHECK(vg_secret_eq(vg_slice_of(a), vg_slice_of(a)));
    CHECK(!vg_secret_eq(vg_slice_of(a), vg_slice_of(b)));
    CHECK(!vg_secret_eq(vg_slice_of(a), (struct vg_slice){a, 31}));
    CHECK(vg_secret_eq((struct vg_slice){0}, (struct vg_slice){0}));
}

int main(void)
{
    if (vg_crypto_init(NULL) != VG_OK)
        return 1;
    RUN(test_sha256_of_known_texts);
    RUN(test_a_password_verifies_and_another_does_not);
    RUN(test_base64_and_hex_go_there_and_back);
    RUN(test_random_passwords_differ_and_have_no_look_alikes);
    return vg_test_report();
}
