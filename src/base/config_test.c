/* config_test.c -- what the file, the environment and the command line may say, and what is
 * answered when they say something else. */
#include "base/clock.h"
#include "base/config.h"
#include "base/file.h"
#include "vg_test.h"

#include <unistd.h>

struct settings {
    const char *host, *data, *token, *level, *cert;
    bool is_tls;
    int64_t port, buffer_bytes, timeout_us;
    double ratio;
};

static const struct vg_option options[] = {
    {"hub.host", VG_OPTION_TEXT, offsetof(struct settings, host), "127.0.0.1", "", 0, 0, NULL,
     "Address to listen on."},
    {"hub.mqtt_port", VG_OPTION_INTEGER, offsetof(struct settings, port), "8883", "", 1, 65535,
     NULL, "Port for MQTT."},
    {"hub.tls.is_on", VG_OPTION_BOOL, offsetof(struct settings, is_tls), "true", "", 0, 0, NULL,
     "Encrypt."},
    {"hub.tls.cert", VG_OPTION_PATH, offsetof(struct settings, cert), "tls/cert.pem", "", 0, 0,
     NULL, "The certificate."},
    {"hub.token", VG_OPTION_SECRET, offsetof(struct settings, token), "", "", 0, 0, NULL,
     "Shared secret."},
    {"store.data", VG_OPTION_PATH, offsetof(struct settings, data), "data", "", 0, 0, NULL,
     "Where data lives."},
    {"store.buffer", VG_OPTION_BYTES, offsetof(struct settings, buffer_bytes), "64MiB", "", 1024,
     1099511627776.0, NULL, "Write buffer."},
    {"store.timeout", VG_OPTION_DURATION, offsetof(struct settings, timeout_us), "30s", "", 1000,
     86400e6, NULL, "Longest wait."},
    {"score.ratio", VG_OPTION_DECIMAL, offsetof(struct settings, ratio), "0.5", "of the window", 0,
     1, NULL, "How full a window must be."},
    {"log.level", VG_OPTION_CHOICE, offsetof(struct settings, level), "info", "", 0, 0,
     "debug|info|warn|error", "How much is logged."},
};
#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

static struct vg_arena arena;
static char dir[] = "/tmp/vigil-config-XXXXXX";
static char file_path[64];

static enum vg_status load(const char *yaml, const char *const *overrides, struct settings *ret,
                           struct vg_err *err)
{
    vg_arena_reset(&arena);
    *err = (struct vg_err){0};
    if (!CHECK(!yaml || vg_file_write(file_path, vg_slice_of(yaml), 0600, err) == VG_OK))
        return VG_FATAL;
    return vg_config_load(&arena, options, OPTION_COUNT, yaml ? file_path : NULL, overrides, ret,
                          err);
}

static void test_defaults(void)
{
    struct settings got = {0};
    struct vg_err err;

    CHECK(load(NULL, NULL, &got, &err) == VG_OK);
    CHECK(strcmp(got.host, "127.0.0.1") == 0);
    CHECK(got.port == 8883 && got.is_tls);
    CHECK(got.buffer_bytes == 64 << 20 && got.timeout_us == 30 * VG_SECOND_US);
    CHECK(got.ratio > 0.49 && got.ratio < 0.51);
    CHECK(strcmp(got.data, "data") == 0); /* no file: the working directory */
    CHECK(strcmp(got.level, "info") == 0 && strcmp(got.token, "") == 0);
}

static void test_file(void)
{
    struct settings got = {0};
    struct vg_err err;
    char want[128];

    CHECK(load("# a ward\nhub:\n  host: \"::\"\n  mqtt_port: 1\n  tls:\n    is_on: off\n"
               "    cert: /etc/c.pem\n  token: s3cret\nstore:\n  data: ../x\n  buffer: 10 GiB\n"
               "  timeout: 250ms\nscore:\nlog: {level: warn}\n",
               NULL, &got, &err) == VG_OK);
    CHECK(strcmp(got.host, "::") == 0 && got.port == 1 && !got.is_tls);
    CHECK(strcmp(got.cert, "/etc/c.pem") == 0 && strcmp(got.token, "s3cret") == 0);
    (void)snprintf(want, sizeof(want), "%s/../x", dir);
    CHECK(strcmp(got.data, want) == 0);
    CHECK(got.buffer_bytes == (int64_t)10 << 30 && got.timeout_us == 250000);
    CHECK(strcmp(got.level, "warn") == 0);
    CHECK(load("", NULL, &got, &err) == VG_OK);
    CHECK(load("# only a comment\n", NULL, &got, &err) == VG_OK);
    CHECK(load("hub:\n", NULL, &got, &err) == VG_OK);
}

static void test_errors(void)
{
    static const struct {
        const char *name, *yaml, *want_code, *want_text;
    } cases[] = {
        {"misspelt key", "hub:\n  mqtt_prot: 1\n", "config.key",
         ":2:3: there is no key \"hub.mqtt_prot\"; did you mean \"hub.mqtt_port\"?"},
        {"misspelt section", "hbu:\n  host: x\n", "config.key",
         ":1:1: there is no key \"hbu\"; did you mean \"hub\"?"},
        {"forgotten section", "mqtt_port: 1\n", "config.key", "did you mean \"hub.mqtt_port\"?"},
        {"nothing like it", "zzzzzzzzzz: 1\n", "config.key", "there is no key \"zzzzzzzzzz\""},
        {"not an integer", "hub:\n  mqtt_port: abc\n", "config.value",
         ":2:14: hub.mqtt_port: expected an integer from 1 to 65535, found \"abc\""},
        {"out of range", "hub:\n  mqtt_port: 65536\n", "config.value", "found \"65536\""},
        {"no value", "hub:\n  mqtt_port:\n", "config.value", ":2:3: hub.mqtt_port"},
        {"bytes without sense", "store: {buffer: 10 bananas}\n", "config.value",
         "expected a size such as 64MiB from 1KiB to 1TiB"},
        {"duration without unit", "store:\n  timeout: 30\n", "config.value",
         "from 1ms to 1d, found \"30\""},
        {"bool", "hub: {tls: {is_on: maybe}}\n", "config.value", "expected true or false"},
        {"choice", "log:\n  level: loud\n", "config.value",
         "expected one of debug|info|warn|error, found \"loud\""},
        {"list for a value", "hub:\n  host: [a, b]\n", "config.value", "expected one plain value"},
        {"mapping for a value", "hub:\n  host:\n    a: 1\n", "config.value",
         "expected one plain value"},
        {"alias for a value", "hub:\n  host: *x\n", "config.", ""},
        {"value for a section", "hub: 5\n", "config.value", "\"hub\" is a section"},
        {"the same key twice", "hub:\n  host: a\n  host: b\n", "config.syntax", ":3:3: duplicate"},
        {"a tab", "hub:\n\thost: a\n", "config.syntax", ":2:"},
        {"a list at the root", "- 1\n", "config.syntax", "expected sections"},
        {"two documents", "hub:\n---\nhub:\n", "config.syntax", "second document"},
        {"not UTF-8", "hub:\n  host: \xff\n", "config.syntax", "not UTF-8"},
        {"bracket left open", "hub: [1\n", "config.syntax", ":"},
        {"secret from a missing file", "hub: {token: \"file:nowhere\"}\n", "config.secret",
         "nowhere"},
        {"a zero byte in a text", "hub: {host: \"a\\0b\"}\n", "config.value", "hub.host"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct settings got = {0};
        struct vg_err err;

        CHECK_ROW(cases[i].name);
        if (!CHECK(load(cases[i].yaml, NULL, &got, &err) == VG_REJECT))
            continue;
        CHECK(strncmp(err.code, cases[i].want_code, strlen(cases[i].want_code)) == 0);
        if (!CHECK(strstr(err.text, cases[i].want_text) != NULL))
            printf("  text: %s\n", err.text);
        if (!CHECK(strncmp(err.text, dir, strlen(dir)) == 0))
            printf("  text: %s\n", err.text);
    }
    CHECK_ROW("a missing file");
    struct settings got = {0};
    struct vg_err err = {0};

    CHECK(vg_config_load(&arena, options, OPTION_COUNT, "/nowhere/x.yaml", NULL, &got, &err) ==
          VG_REJECT);
    CHECK(strcmp(err.code, "config.missing") == 0);
}

static void test_secrets_are_not_told(void)
{
    static const struct vg_option numeric[] = {
        {"a.pin", VG_OPTION_SECRET, 0, NULL, "", 0, 0, NULL, "A secret."}};
    const char *token;
    struct vg_err err = {0};
    char secret_path[80];

    CHECK(load(NULL, NULL, &(struct settings){0}, &err) == VG_OK);
    (void)snprintf(secret_path, sizeof(secret_path), "%s/secret", dir);
    CHECK(vg_file_write(secret_path, VG_SLICE("  hunter2\n"), 0600, &err) == VG_OK);
    CHECK(vg_file_write(file_path, VG_SLICE("a: {pin: \"file:secret\"}"), 0600, &err) == VG_OK);
    CHECK(vg_config_load(&arena, numeric, 1, file_path, NULL, &token, &err) == VG_OK);
    CHECK(strcmp(token, "hunter2") == 0);
    CHECK(vg_file_write(secret_path, (struct vg_slice){"hun\0ter2", 8}, 0600, &err) == VG_OK);
    CHECK(vg_config_load(&arena, numeric, 1, file_path, NULL, &token, &err) == VG_REJECT);
    CHECK(strstr(err.text, "hun") == NULL);
}

static void test_precedence(void)
{
    static const char *const overrides[] = {"hub.mqtt_port=3", "store.data=rel", NULL};
    static const char *const unknown[] = {"hub.mqtt_pot=3", NULL};
    static const char *const no_value[] = {"hub.mqtt_port", NULL};
    struct settings got = {0};
    struct vg_err err;

    CHECK(setenv("VIGIL_HUB_MQTT_PORT", "2", 1) == 0);
    CHECK(setenv("VIGIL_HUB_TLS_IS_ON", "no", 1) == 0);
    CHECK(load("hub:\n  mqtt_port: 1\n", NULL, &got, &err) == VG_OK);
    CHECK(got.port == 2 && !got.is_tls);
    CHECK(load("hub:\n  mqtt_port: 1\n", overrides, &got, &err) == VG_OK);
    CHECK(got.port == 3 && strcmp(got.data, "rel") == 0);
    CHECK(load(NULL, unknown, &got, &err) == VG_REJECT);
    CHECK(strstr(err.text, "did you mean \"hub.mqtt_port\"?") != NULL);
    CHECK(load(NULL, no_value, &got, &err) == VG_REJECT);
    CHECK(setenv("VIGIL_HUB_MQTT_PORT", "x", 1) == 0);
    CHECK(load(NULL, NULL, &got, &err) == VG_REJECT);
    CHECK(strstr(err.text, "VIGIL_HUB_MQTT_PORT: hub.mqtt_port") != NULL);
    CHECK(unsetenv("VIGIL_HUB_MQTT_PORT") == 0 && unsetenv("VIGIL_HUB_TLS_IS_ON") == 0);
}

static void test_writers(void)
{
    struct settings defaults = {0}, again = {0};
    struct vg_err err;
    struct vg_buf out;

    vg_buf_init(&out, 0);
    vg_config_write_yaml(options, OPTION_COUNT, &out);
    vg_buf_put_byte(&out, '\0');
    CHECK(load(out.ptr, NULL, &again, &err) == VG_OK);
    if (err.code)
        printf("%s\n%s\n", err.text, out.ptr);
    CHECK(again.port == 8883 && again.is_tls && again.timeout_us == 30 * VG_SECOND_US);
    CHECK(strcmp(again.level, "info") == 0 && strcmp(again.host, "127.0.0.1") == 0);
    CHECK(load(NULL, NULL, &defaults, &err) == VG_OK);
    CHECK(defaults.buffer_bytes == again.buffer_bytes);
    vg_buf_clear(&out);
    vg_config_write_markdown(options, OPTION_COUNT, &out);
    vg_buf_put_byte(&out, '\0');
    CHECK(strstr(out.ptr, "| `hub.mqtt_port` | an integer from 1 to 65535 | `8883` | "
                          "Port for MQTT. | `VIGIL_HUB_MQTT_PORT` |") != NULL);
    CHECK(strstr(out.ptr, "one of debug\\|info\\|warn\\|error") != NULL);
    vg_buf_clear(&out);
    vg_config_write_help(options, OPTION_COUNT, &out);
    vg_buf_put_byte(&out, '\0');
    CHECK(strstr(out.ptr, "  score.ratio=0.5\n      How full a window must be. "
                          "(a number from 0 to 1, of the window)\n") != NULL);
    vg_buf_fini(&out);
}

static void test_units(void)
{
    static const struct {
        const char *text;
        bool is_duration, is_good;
        int64_t want;
    } cases[] = {
        {"512", false, true, 512},
        {"64MiB", false, true, 64 << 20},
        {"10 GiB", false, true, (int64_t)10 << 30},
        {" 1.5KiB ", false, true, 1536},
        {"1kB", false, true, 1000},
        {"0", false, true, 0},
        {"0.3", false, false, 0},
        {"-1", false, false, 0},
        {"", false, false, 0},
        {"MiB", false, false, 0},
        {"1e3", false, false, 0},
        {"9999999TiB", false, false, 0},
        {"1mib", false, false, 0},
        {"250ms", true, true, 250000},
        {"30s", true, true, 30000000},
        {"5m", true, true, 300000000},
        {"24h", true, true, 86400000000},
        {"7d", true, true, 604800000000},
        {"1.5h", true, true, 5400000000},
        {"10us", true, true, 10},
        {"0", true, true, 0},
        {"30", true, false, 0},
        {"-5s", true, false, 0},
        {"1.2.3s", true, false, 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vg_slice text = vg_slice_of(cases[i].text);
        int64_t got = -1;

        CHECK_ROW(cases[i].text);
        CHECK((cases[i].is_duration ? vg_duration_parse(text, &got) : vg_bytes_parse(text, &got)) ==
              cases[i].is_good);
        CHECK(got == (cases[i].is_good ? cases[i].want : -1));
    }
}

int main(void)
{
    char secret_path[64];

    vg_arena_init(&arena, 0);
    if (!mkdtemp(dir))
        return 1;
    (void)snprintf(file_path, sizeof(file_path), "%s/vigil.yaml", dir);
    RUN(test_defaults);
    RUN(test_file);
    RUN(test_errors);
    RUN(test_secrets_are_not_told);
    RUN(test_precedence);
    RUN(test_writers);
    RUN(test_units);
    vg_arena_fini(&arena);
    (void)unlink(file_path);
    (void)snprintf(secret_path, sizeof(secret_path), "%s/secret", dir);
    (void)unlink(secret_path);
    (void)rmdir(dir);
    return vg_test_report();
}
