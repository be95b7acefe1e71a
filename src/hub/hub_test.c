/* hub_test.c -- a real hub on free ports, real clients (mosquitto_pub, mosquitto_sub, curl) over
 * TLS, and a client of our own where a packet must be wrong or a moment exact. */
#include "hub/hub_int.h"

#include "base/tls.h"

#include "vg_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_US (8 * VG_SECOND_US)

static char root[64];
static struct stream *stream;
static struct hub *hub;
static struct vg_tls *tls;
static struct registry *registry;

/* ---- a disk that waits or is full ---- */

static pthread_mutex_t disk_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t disk_changed = PTHREAD_COND_INITIALIZER;
static bool disk_is_held, disk_is_full;
static int disk_waiting;

static int held_fdatasync(void *ctx, int fd)
{
    (void)ctx;
    pthread_mutex_lock(&disk_lock);
    disk_waiting++;
    pthread_cond_broadcast(&disk_changed);
    while (disk_is_held)
        pthread_cond_wait(&disk_changed, &disk_lock);
    disk_waiting--;
    pthread_mutex_unlock(&disk_lock);
    return fdatasync(fd);
}

static ssize_t full_pwrite(void *ctx, int fd, const void *buf, size_t len, off_t offset)
{
    bool is_full;

    (void)ctx;
    pthread_mutex_lock(&disk_lock);
    is_full = disk_is_full;
    pthread_mutex_unlock(&disk_lock);
    if (is_full) {
        errno = ENOSPC;
        return -1;
    }
    return pwrite(fd, buf, len, offset);
}

static void set_disk(bool is_held, bool is_full)
{
    pthread_mutex_lock(&disk_lock);
    disk_is_held = is_held;
    disk_is_full = is_full;
    pthread_cond_broadcast(&disk_changed);
    pthread_mutex_unlock(&disk_lock);
}

/* ---- set-up ---- */

static struct hub_config hub_config;

static void open_all(void)
{
    static struct vg_io io;
    static char dir[96], cert[96], key[96];
    struct vg_err err = {0};

    (void)snprintf(root, sizeof(root), "/tmp/vigil-hub-XXXXXX");
    if (!mkdtemp(root))
        abort();
    io = vg_io_system;
    io.fdatasync = held_fdatasync;
    io.pwrite = full_pwrite;
    (void)snprintf(dir, sizeof(dir), "%s/journal", root);
    (void)snprintf(cert, sizeof(cert), "%s/server.crt", root);
    (void)snprintf(key, sizeof(key), "%s/server.key", root);
    CHECK(registry_open(root, &registry, &err) == VG_OK);
    CHECK(registry_add(registry, "bed-4", false, NULL, VG_SLICE("secret-4"), &err) == VG_OK);
    CHECK(registry_add(registry, "bed-5", false, NULL, VG_SLICE("secret-5"), &err) == VG_OK);
    CHECK(registry_add(registry, "gw-1", true, NULL, VG_SLICE("secret-g"), &err) == VG_OK);
    CHECK(registry_add(registry, "bed-6", false, "gw-1", VG_SLICE("secret-6"), &err) == VG_OK);
    CHECK(stream_open(&(struct stream_config){.dir = dir, .io = &io, .segment_bytes = 8u << 20},
                      &stream, &err) == VG_OK);
    CHECK(vg_tls_make_certificates(root, NULL, &err) == VG_OK);
    CHECK(vg_tls_server_open(cert, key, &tls, &err) == VG_OK);
    hub_config = (struct hub_config){.data_dir = root,
                                     .tls = tls,
                                     .has_plain = true,
                                     .payload_bytes_max = 64u << 10,
                                     .inflight_max = 16,
                                     .connect_timeout_us = 1 * VG_SECOND_US,
                                     .lag_max = 1000};
    if (!CHECK(hub_open(&hub_config, stream, &hub, &err) == VG_OK))
        printf("%s %s\n", err.code, err.text);
}

static void close_all(void)
{
    char command[128];

    hub_close(hub);
    stream_close(stream);
    vg_tls_close(tls);
    registry_close(registry);
    (void)snprintf(command, sizeof(command), "rm -rf %s", root);
    if (system(command) != 0)
        abort();
}

VG_PRINTF(1, 2)
static int run(const char *fmt, ...)
{
    char command[1024];
    va_list args;
    int status;

    va_start(args, fmt);
    (void)vsnprintf(command, sizeof(command), fmt, args);
    va_end(args);
    status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- what stands on device.raw ---- */

static uint64_t raw_count(void)
{
    return stream_lag(stream, "nobody", STREAM_DEVICE_RAW, 0);
}

static bool wait_count(uint64_t want)
{
    int64_t end_us = vg_mono_us() + WAIT_US;

    while (raw_count() < want && vg_mono_us() < end_us)
        (void)sched_yield();
    return raw_count() == want;
}

/* The record at `index` from the begin; views until close_consumer(). */
static struct stream_consumer *consumer;

static struct stream_record raw_at(uint64_t index)
{
    struct stream_record record = {0};
    struct stream_batch batch;
    uint64_t at = 0;

    stream_consumer_close(consumer);
    consumer = NULL;
    if (stream_consumer_open(stream, 0, STREAM_DEVICE_RAW, "nobody", &consumer, NULL) != VG_OK)
        return record;
    while (stream_read(consumer, 1, 100000, &batch, NULL) == VG_OK)
        if (at++ == index)
            return batch.records[0];
    return record;
}

static bool is_record(uint64_t index, const char *key, const char *value)
{
    struct stream_record record = raw_at(index);

    return record.key.ptr && vg_slice_is(record.key, key) && vg_slice_is(record.value, value);
}

static bool has_header(uint64_t index, const char *name, const char *value)
{
    struct stream_record record = raw_at(index);
    struct vg_slice got = stream_header_get(record.headers, name);

    return value ? got.ptr && vg_slice_is(got, value) : got.ptr == NULL;
}

/* ---- our own client: plain TCP, bytes as they are ---- */

static int dial(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(hub_plain_port(hub)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
    return fd;
}

static void send_bytes(int fd, struct vg_slice bytes)
{
    while (bytes.len) {
        ssize_t n = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);

        if (n <= 0)
            return;
        bytes = vg_slice_from(bytes, (size_t)n);
    }
}

/* Exactly `len` bytes, or fewer when the peer closed or 8 s are over. */
static size_t receive(int fd, uint8_t *out, size_t len)
{
    size_t got = 0;

    while (got < len) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        ssize_t n;

        if (poll(&poll_fd, 1, (int)(WAIT_US / 1000)) <= 0)
            break;
        n = recv(fd, out + got, len - got, 0);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    return got;
}

static bool is_silent(int fd, int ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    return poll(&poll_fd, 1, ms) == 0;
}

static bool is_closed(int fd)
{
    uint8_t byte[256];

    for (;;) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        ssize_t n;

        if (poll(&poll_fd, 1, (int)(WAIT_US / 1000)) <= 0)
            return false;
        n = recv(fd, byte, sizeof(byte), 0);
        if (n <= 0)
            return true;
    }
}

static void send_connect(int fd, uint8_t version, const char *id, const char *user,
                         const char *password)
{
    struct mqtt_connect c = {.version = version,
                             .is_clean = true,
                             .keep_alive_s = 60,
                             .client_id = vg_slice_of(id),
                             .has_user = true,
                             .has_password = true,
                             .user = vg_slice_of(user),
                             .password = vg_slice_of(password)};
    struct vg_buf out;

    vg_buf_init(&out, 0);
    mqtt_connect_encode(&out, &c);
    send_bytes(fd, vg_buf_slice(&out));
    vg_buf_fini(&out);
}

/* A connection that has its CONNACK. */
static int login(uint8_t version, const char *id, const char *password)
{
    int fd = dial();
    uint8_t ack[64];
    size_t head = 2;

    send_connect(fd, version, id, id, password);
    CHECK(receive(fd, ack, head) == head && ack[0] == 0x20 && ack[1] < sizeof(ack) - 2);
    CHECK(receive(fd, ack + 2, ack[1]) == ack[1] && ack[3] == 0);
    return fd;
}

static void send_publish(int fd, uint8_t version, uint8_t qos, uint16_t packet_id,
                         const char *topic, struct vg_slice payload)
{
    struct mqtt_publish p = {
        .qos = qos, .packet_id = packet_id, .topic = vg_slice_of(topic), .payload = payload};
    struct vg_buf out;

    vg_buf_init(&out, 0);
    mqtt_publish_encode(&out, version, &p);
    send_bytes(fd, vg_buf_slice(&out));
    vg_buf_fini(&out);
}

static bool got_puback(int fd, uint16_t packet_id)
{
    uint8_t ack[4];

    return receive(fd, ack, 4) == 4 && ack[0] == 0x40 && ack[1] == 2 &&
           (ack[2] << 8 | ack[3]) == packet_id;
}

#define EVENTS_4 "devices/bed-4/messages/events/"

/* ---- real clients ---- */

static void test_mosquitto_publishes_over_tls(void)
{
    uint64_t before = raw_count();

    CHECK(run("mosquitto_pub -V mqttv311 -h localhost -p %u --cafile %s/ca.crt -i bed-4 -u bed-4 "
              "-P secret-4 -q 1 -t %s -m '{\"hr\":72}'",
              hub_mqtts_port(hub), root, EVENTS_4) == 0);
    CHECK(run("mosquitto_pub -V mqttv5 -h localhost -p %u --cafile %s/ca.crt -i bed-4 -u "
              "'hub.example/bed-4/?api-version=2021-04-12' -P secret-4 -q 1 -t "
              "'%s%%24.mid=m-17&%%24.ctime=2026-03-14T10%%3A00%%3A00Z&ward=4%%20East' -D publish "
              "user-property shift night -m '{\"hr\":73}'",
              hub_mqtts_port(hub), root, EVENTS_4) == 0);
    if (!CHECK(raw_count() == before + 2))
        return;
    CHECK(is_record(before, "bed-4", "{\"hr\":72}"));
    CHECK(has_header(before, "via", "mqtt") && has_header(before, "mid", NULL));
    CHECK(is_record(before + 1, "bed-4", "{\"hr\":73}"));
    CHECK(has_header(before + 1, "via", "mqtt5") && has_header(before + 1, "mid", "m-17"));
    CHECK(has_header(before + 1, "ctime", "2026-03-14T10:00:00Z"));
    CHECK(has_header(before + 1, "p.ward", "4 East"));
    CHECK(has_header(before + 1, "p.shift", "night"));
}

static void test_mosquitto_is_refused(void)
{
    static const struct {
        const char *row, *version, *id, *user, *password, *topic;
        int qos, want; /* mosquitto_pub's exit code; 0 with a refused PUBACK */
    } cases[] = {
        {"wrong password, 3.1.1", "mqttv311", "bed-4", "bed-4", "wrong", EVENTS_4, 1, 4},
        {"wrong password, 5", "mqttv5", "bed-4", "bed-4", "wrong", EVENTS_4, 1, 134},
        {"unknown device", "mqttv5", "bed-9", "bed-9", "secret-4", EVENTS_4, 1, 134},
        {"client id is not the user's device", "mqttv5", "bed-5", "bed-4", "secret-4", EVENTS_4, 1,
         134},
        {"a wildcard as client id", "mqttv5", "+", "+", "secret-4", EVENTS_4, 1, 133},
        {"# as client id", "mqttv311", "#", "#", "secret-4", EVENTS_4, 1, 2},
    };
    uint64_t before = raw_count();

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int got;

        CHECK_ROW(cases[i].row);
        got = run("mosquitto_pub -V %s -h localhost -p %u --cafile %s/ca.crt -i '%s' -u '%s' -P %s "
                  "-q %d -t '%s' -m x >/dev/null 2>&1",
                  cases[i].version, hub_mqtts_port(hub), root, cases[i].id, cases[i].user,
                  cases[i].password, cases[i].qos, cases[i].topic);
        if (!CHECK(got == cases[i].want))
            printf("exit code %d, wanted %d\n", got, cases[i].want);
    }
    CHECK(raw_count() == before);
}

static void test_curl_posts(void)
{
    uint64_t before = raw_count();

    char out[64];
    static const struct {
        const char *row, *user, *path, *want;
    } cases[] = {
        {"taken", "bed-4:secret-4", "bed-4", "204"},
        {"again, from the cache", "bed-4:secret-4", "bed-4", "204"},
        {"wrong password", "bed-4:wrong", "bed-4", "401"},
        {"another's id", "bed-4:secret-4", "bed-5", "403"},
        {"a gateway for its device", "gw-1:secret-g", "bed-6", "204"},
        {"a gateway for another's device", "gw-1:secret-g", "bed-4", "403"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char command[600];
        FILE *pipe;
        int len = snprintf(command, sizeof(command),
                           "curl -s -o /dev/null -w '%%{http_code}' --cacert %s/ca.crt -u %s -H "
                           "'message-id: h-%zu' --data-binary '{\"hr\":7%zu}' "
                           "'https://localhost:%u/devices/%s/messages/events?api-version=2020&p."
                           "ward=4+East'",
                           root, cases[i].user, i, i, hub_https_port(hub), cases[i].path);

        CHECK_ROW(cases[i].row);
        CHECK(len < (int)sizeof(command));
        pipe = popen(command, "r");
        out[0] = '\0';
        CHECK(pipe && fgets(out, sizeof(out), pipe));
        if (pipe)
            pclose(pipe);
        if (!CHECK(strcmp(out, cases[i].want) == 0))
            printf("got %s, wanted %s\n", out, cases[i].want);
    }
    CHECK(raw_count() == before + 3);
    CHECK(is_record(before, "bed-4", "{\"hr\":70}") && has_header(before, "via", "https"));
    CHECK(has_header(before, "mid", "h-0") && has_header(before, "p.ward", "4 East"));
    CHECK(is_record(before + 2, "bed-6", "{\"hr\":74}") && has_header(before + 2, "edge", "gw-1"));
    CHECK(run("head -c 70000 /dev/zero | curl -s -o /dev/null -w '%%{http_code}' --cacert "
              "%s/ca.crt -u bed-4:secret-4 --data-binary @- "
              "https://localhost:%u/devices/bed-4/messages/events | grep -q 413",
              root, hub_https_port(hub)) == 0);
}

static void test_a_gateway_brings_only_its_devices(void)
{
    uint64_t before = raw_count();
    int fd = login(MQTT_V5, "gw-1", "secret-g");
    uint8_t ack[5];

    send_publish(fd, MQTT_V5, 1, 1,
                 "devices/bed-6/messages/events/%24.edge-time=2026-03-14T10%3A00%3A00Z",
                 VG_SLICE("a"));
    send_publish(fd, MQTT_V5, 1, 2, EVENTS_4, VG_SLICE("b"));
    send_publish(fd, MQTT_V5, 1, 3, "devices/gw-1/messages/events/", VG_SLICE("c"));
    CHECK(got_puback(fd, 1));
    /* One message is refused, in its place in the row; the connection stays. */
    CHECK(receive(fd, ack, 5) == 5 && ack[0] == 0x40 && ack[1] == 3 && ack[3] == 2 &&
          ack[4] == MQTT_NOT_ALLOWED);
    CHECK(got_puback(fd, 3));
    CHECK(raw_count() == before + 2);
    CHECK(is_record(before, "bed-6", "a") && has_header(before, "edge", "gw-1"));
    CHECK(has_header(before, "edge-time", "2026-03-14T10:00:00Z"));
    CHECK(is_record(before + 1, "gw-1", "c") && has_header(before + 1, "edge", NULL));
    close(fd);
}

/* ---- durability ---- */

static void test_a_puback_waits_for_the_disk(void)
{
    int fd = login(MQTT_V311, "bed-4", "secret-4");
    int64_t end_us = vg_mono_us() + WAIT_US;
    bool is_waiting = false;

    send_publish(fd, MQTT_V311, 1, 1, EVENTS_4, VG_SLICE("warm"));
    CHECK(got_puback(fd, 1));
    set_disk(true, false);
    send_publish(fd, MQTT_V311, 1, 2, EVENTS_4, VG_SLICE("held"));
    while (!is_waiting && vg_mono_us() < end_us) {
        pthread_mutex_lock(&disk_lock);
        is_waiting = disk_waiting > 0;
        pthread_mutex_unlock(&disk_lock);
    }
    CHECK(is_waiting);
    CHECK(is_silent(fd, 300));
    /* The loop goes on meanwhile. */
    send_bytes(fd, VG_SLICE("\xC0\x00"));
    uint8_t pong[2];
    CHECK(receive(fd, pong, 2) == 2 && pong[0] == 0xD0);
    set_disk(false, false);
    CHECK(got_puback(fd, 2));
    close(fd);
}

static bool wait_trouble(bool wanted)
{
    int64_t end_us = vg_mono_us() + WAIT_US;
    char text[256];

    do {
        hub_trouble(hub, text);
        (void)sched_yield();
    } while ((text[0] != '\0') != wanted && vg_mono_us() < end_us);
    return (text[0] != '\0') == wanted;
}

static void test_a_full_disk_refuses_nothing_and_loses_nothing(void)
{
    uint64_t before = raw_count();
    int fd = login(MQTT_V311, "bed-4", "secret-4");

    set_disk(false, true);
    send_publish(fd, MQTT_V311, 1, 7, EVENTS_4, VG_SLICE("one"));
    CHECK(wait_trouble(true));
    send_publish(fd, MQTT_V311, 1, 8, EVENTS_4, VG_SLICE("two"));
    CHECK(is_silent(fd, 200));
    CHECK(run("curl -s -o /dev/null -w '%%{http_code}' --cacert %s/ca.crt -u bed-5:secret-5 "
              "--data-binary x https://localhost:%u/devices/bed-5/messages/events | grep -q 503",
              root, hub_https_port(hub)) == 0);
    set_disk(false, false);
    CHECK(got_puback(fd, 7) && got_puback(fd, 8));
    CHECK(wait_trouble(false));
    CHECK(raw_count() == before + 2);
    CHECK(is_record(before, "bed-4", "one") && is_record(before + 1, "bed-4", "two"));
    close(fd);
}

static void test_lagging_consumers_pause_publishers(void)
{
    struct stream_out out;
    int fd = login(MQTT_V311, "bed-4", "secret-4");
    uint64_t next;
    uint8_t pong[2];

    stream_out_init(&out);
    for (int i = 0; i < 1500; i++)
        stream_out_add(&out, STREAM_DEVICE_RAW, 1, VG_SLICE("bed-4"), VG_SLICE(""), VG_SLICE("x"));
    CHECK(stream_commit(stream, 0, &out, &next, NULL) == VG_OK);
    CHECK(wait_trouble(true));
    send_bytes(fd, VG_SLICE("\xC0\x00")); /* others than publishers are served */
    CHECK(receive(fd, pong, 2) == 2 && pong[0] == 0xD0);
    send_publish(fd, MQTT_V311, 1, 1, EVENTS_4, VG_SLICE("later"));
    CHECK(is_silent(fd, 200));
    stream_out_clear(&out);
    stream_out_offset(&out, "connector", STREAM_DEVICE_RAW, 0, next + 1500);
    CHECK(stream_commit(stream, 0, &out, NULL, NULL) == VG_OK);
    CHECK(got_puback(fd, 1));
    CHECK(wait_trouble(false));
    stream_out_fini(&out);
    close(fd);
}

/* ---- sessions and the registry ---- */

static void test_a_second_connection_takes_over(void)
{
    int old = login(MQTT_V5, "bed-4", "secret-4");
    int young = login(MQTT_V5, "bed-4", "secret-4");
    uint8_t head[3];

    CHECK(receive(old, head, 3) == 3 && head[0] == 0xE0 && head[2] == MQTT_TAKEN_OVER);
    CHECK(is_closed(old));
    send_publish(young, MQTT_V5, 1, 1, EVENTS_4, VG_SLICE("young"));
    CHECK(got_puback(young, 1));
    close(old);
    close(young);
}

static void test_a_session_is_remembered(void)
{
    uint8_t ack[64];
    int fd;

    for (int round = 0; round < 2; round++) {
        struct mqtt_connect c = {.version = MQTT_V311,
                                 .client_id = VG_SLICE("bed-5"),
                                 .has_user = true,
                                 .has_password = true,
                                 .user = VG_SLICE("bed-5"),
                                 .password = VG_SLICE("secret-5")};
        struct vg_buf out;

        fd = dial();
        vg_buf_init(&out, 0);
        mqtt_connect_encode(&out, &c);
        vg_buf_put(&out, VG_SLICE("\xE0\x00"));
        send_bytes(fd, vg_buf_slice(&out));
        vg_buf_fini(&out);
        CHECK(receive(fd, ack, 4) == 4 && ack[3] == 0);
        CHECK(ack[2] == round); /* session present the second time */
        CHECK(is_closed(fd));
        close(fd);
    }
    fd = login(MQTT_V311, "bed-5", "secret-5"); /* clean session: forgotten */
    close(fd);
}

static void test_disabled_and_rotated_devices_are_dropped(void)
{
    int fd = login(MQTT_V5, "bed-5", "secret-5");
    uint8_t head[3];

    CHECK(registry_set_enabled(registry, "bed-5", false, NULL) == VG_OK);
    CHECK(receive(fd, head, 3) == 3 && head[0] == 0xE0 && head[2] == MQTT_NOT_ALLOWED);
    close(fd);
    fd = dial();
    send_connect(fd, MQTT_V311, "bed-5", "bed-5", "secret-5");
    CHECK(receive(fd, head, 3) == 3 && head[0] == 0x20);
    CHECK(receive(fd, head, 1) == 1 && head[0] == 5);
    close(fd);
    CHECK(registry_set_enabled(registry, "bed-5", true, NULL) == VG_OK);
    CHECK(registry_set_password(registry, "bed-5", VG_SLICE("secret-6"), NULL) == VG_OK);
    int64_t end_us = vg_mono_us() + WAIT_US;
    uint8_t code = 255;
    while (code != 0 && vg_mono_us() < end_us) {
        uint8_t ack[4] = {0};

        fd = dial();
        send_connect(fd, MQTT_V311, "bed-5", "bed-5", "secret-6");
        CHECK(receive(fd, ack, 4) == 4);
        code = ack[3];
        if (code)
            close(fd);
    }
    CHECK(code == 0);
    CHECK(registry_set_password(registry, "bed-5", VG_SLICE("secret-5"), NULL) == VG_OK);
    CHECK(is_closed(fd));
    close(fd);
}

static void test_a_will_is_published_when_a_device_is_lost(void)
{
    uint64_t before = raw_count();
    struct mqtt_connect c = {
        .version = MQTT_V311,
        .is_clean = true,
        .client_id = VG_SLICE("bed-4"),
        .has_user = true,
        .has_password = true,
        .user = VG_SLICE("bed-4"),
        .password = VG_SLICE("secret-4"),
        .will = {
            .is_there = true, .qos = 1, .topic = VG_SLICE(EVENTS_4), .payload = VG_SLICE("lost")}};
    struct vg_buf out;
    uint8_t ack[4];
    int fd;

    vg_buf_init(&out, 0);
    mqtt_connect_encode(&out, &c);
    fd = dial();
    send_bytes(fd, vg_buf_slice(&out));
    CHECK(receive(fd, ack, 4) == 4 && ack[3] == 0);
    close(fd);
    CHECK(wait_count(before + 1));
    CHECK(is_record(before, "bed-4", "lost") && has_header(before, "will", "1"));

    CHECK_ROW("not after a DISCONNECT");
    fd = dial();
    send_bytes(fd, vg_buf_slice(&out));
    CHECK(receive(fd, ack, 4) == 4 && ack[3] == 0);
    send_bytes(fd, VG_SLICE("\xE0\x00"));
    CHECK(is_closed(fd));
    close(fd);
    CHECK(raw_count() == before + 1);

    CHECK_ROW("another's topic is refused");
    c.will.topic = VG_SLICE("devices/bed-5/messages/events/");
    vg_buf_clear(&out);
    mqtt_connect_encode(&out, &c);
    fd = dial();
    send_bytes(fd, vg_buf_slice(&out));
    CHECK(receive(fd, ack, 4) == 4 && ack[3] == 5);
    close(fd);
    vg_buf_fini(&out);
}

/* ---- what must not be ---- */

/* A 3.1.1 or 5 connection sends `bytes` and must be closed; in MQTT 5 a DISCONNECT says why. */
static void test_wrong_packets_close_the_connection(void)
{
    const struct {
        const char *row;
        uint8_t version;
        struct vg_slice bytes;
        uint8_t reason; /* of the DISCONNECT */
    } cases[] = {
        {"topic of length 0 (CVE-2021-34432)", 4, VG_SLICE("\x30\x03\x00\x00x"), 0},
        {"topic of length 0, 5", 5, VG_SLICE("\x30\x04\x00\x00\x00x"), MQTT_PROTOCOL},
        {"a 5-byte varint (CVE-2026-21888)", 5, VG_SLICE("\x30\xff\xff\xff\xff\x01"),
         MQTT_MALFORMED},
        {"a padded varint", 5, VG_SLICE("\xC0\x80\x00"), MQTT_MALFORMED},
        {"a length beyond every limit", 5, VG_SLICE("\x30\xff\xff\xff\x7f"), MQTT_TOO_LARGE},
        {"topic length beyond the packet", 5, VG_SLICE("\x30\x05\xff\xff\x61\x62\x63"),
         MQTT_MALFORMED},
        {"NUL in a topic", 5, VG_SLICE("\x30\x06\x00\x03\x61\x00\x62\x00"), MQTT_MALFORMED},
        {"a wildcard in a topic", 5, VG_SLICE("\x30\x06\x00\x03\x61/+\x00"), MQTT_TOPIC},
        {"bad UTF-8 in a topic", 5, VG_SLICE("\x30\x05\x00\x02\xc3\x28\x00"), MQTT_MALFORMED},
        {"QoS 3", 5, VG_SLICE("\x36\x08\x00\x01\x61\x00\x01\x00zz"), MQTT_MALFORMED},
        {"QoS 2", 5, VG_SLICE("\x34\x06\x00\x01\x61\x00\x01\x00"), MQTT_QOS},
        {"QoS 2, 3.1.1", 4, VG_SLICE("\x34\x05\x00\x01\x61\x00\x01"), 0},
        {"packet id 0", 5, VG_SLICE("\x32\x06\x00\x01\x61\x00\x00\x00"), MQTT_PROTOCOL},
        {"RETAIN", 5, VG_SLICE("\x31\x04\x00\x01\x61\x00"), MQTT_RETAIN},
        {"a topic alias", 5, VG_SLICE("\x30\x07\x00\x01\x61\x03\x23\x00\x01"), MQTT_TOPIC_ALIAS},
        {"a property twice", 5, VG_SLICE("\x30\x08\x00\x01\x61\x04\x01\x00\x01\x00"),
         MQTT_PROTOCOL},
        {"CONNECT's property in PUBLISH", 5, VG_SLICE("\x30\x07\x00\x01\x61\x03\x21\x00\x05"),
         MQTT_PROTOCOL},
        {"an unknown property", 5, VG_SLICE("\x30\x06\x00\x01\x61\x02\x7e\x00"), MQTT_MALFORMED},
        {"another's topic, QoS 0", 5, VG_SLICE("\x30\x04\x00\x01\x61\x00"), MQTT_NOT_ALLOWED},
        {"$SYS", 5, VG_SLICE("\x30\x07\x00\x04$SYS\x00"), MQTT_NOT_ALLOWED},
        {"PUBREL without PUBLISH (CVE-2024-8376 class)", 5, VG_SLICE("\x62\x02\x00\x01"),
         MQTT_PROTOCOL},
        {"PUBREC out of nowhere (CVE-2023-28366 class)", 5, VG_SLICE("\x50\x02\x00\x01"),
         MQTT_PROTOCOL},
        {"PUBACK that nobody asked for", 4, VG_SLICE("\x40\x02\x00\x01"), 0},
        {"AUTH without a method", 5, VG_SLICE("\xF0\x00"), MQTT_PROTOCOL},
        {"packet type 0", 5, VG_SLICE("\x00\x00"), MQTT_PROTOCOL},
        {"SUBSCRIBE without filters (CVE-2024-10525 class)", 5, VG_SLICE("\x82\x03\x00\x01\x00"),
         MQTT_PROTOCOL},
        {"SUBSCRIBE with wrong flags", 4, VG_SLICE("\x80\x06\x00\x01\x00\x01\x61\x00"), 0},
        {"SUBSCRIBE cut inside a filter", 5, VG_SLICE("\x82\x06\x00\x01\x00\x00\x09\x61"),
         MQTT_MALFORMED},
        {"a filter with # in the middle", 5, VG_SLICE("\x82\x09\x00\x01\x00\x00\x03#/a\x00"),
         MQTT_MALFORMED},
        {"a subscription identifier", 5, VG_SLICE("\x82\x09\x00\x01\x02\x0b\x01\x00\x01\x61\x00"),
         MQTT_SUBSCRIPTION_ID},
        {"a second CONNECT", 4, VG_SLICE("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"), 0},
        {"PINGREQ with a body", 4, VG_SLICE("\xC0\x01x"), 0},
        {"our own packets", 5, VG_SLICE("\x20\x02\x00\x00"), MQTT_PROTOCOL},
    };
    uint64_t before = raw_count();

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int fd = login(cases[i].version, "bed-4", "secret-4");
        uint8_t head[3] = {0};

        CHECK_ROW(cases[i].row);
        send_bytes(fd, cases[i].bytes);
        if (cases[i].reason) {
            size_t got = receive(fd, head, 3);

            if (!CHECK(got == 3 && head[0] == 0xE0 && head[2] == cases[i].reason))
                printf("got %zu bytes, reason 0x%02x\n", got, head[2]);
        }
        CHECK(is_closed(fd));
        close(fd);
    }
    CHECK(raw_count() == before);
}

static void test_wrong_first_packets(void)
{
    const struct {
        const char *row;
        struct vg_slice bytes;
        uint8_t connack[5];
        size_t connack_len;
    } cases[] = {
        {"no MQTT at all", VG_SLICE("GET / HTTP/1.1\r\n\r\n"), {0}, 0},
        {"a huge first packet that is no CONNECT (CVE-2023-0809)",
         VG_SLICE("\x30\xff\xff\xff\x7f"),
         {0},
         0},
        {"a huge CONNECT", VG_SLICE("\x10\xff\xff\xff\x7f"), {0}, 0},
        {"MQTT 3.1",
         VG_SLICE("\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x00"),
         {0x20, 2, 0, 1},
         4},
        {"MQTT 6", VG_SLICE("\x10\x0c\x00\x04MQTT\x06\x02\x00\x3c\x00\x00"), {0x20, 2, 0, 1}, 4},
        {"reserved CONNECT flag", VG_SLICE("\x10\x0c\x00\x04MQTT\x04\x03\x00\x3c\x00\x00"), {0}, 0},
        {"will QoS without a will",
         VG_SLICE("\x10\x0c\x00\x04MQTT\x04\x0a\x00\x3c\x00\x00"),
         {0},
         0},
        {"no user name",
         VG_SLICE("\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05"
                  "bed-4"),
         {0x20, 2, 0, 4},
         4},
        {"an empty client id",
         VG_SLICE("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"),
         {0x20, 2, 0, 2},
         4},
        {"bytes after the last field",
         VG_SLICE("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x00z"),
         {0},
         0},
        {"bad will properties (CVE-2023-3592 class)",
         VG_SLICE("\x10\x15\x00\x04MQTT\x05\x06\x00\x3c\x00\x00\x01"
                  "a\x02\x21\x05\x00\x01"
                  "a"),
         {0},
         0},
        {"CONNECT with PUBLISH's property (CVE-2021-28166 class)",
         VG_SLICE("\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x03\x23\x00\x01\x00\x00"),
         {0},
         0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int fd = dial();
        uint8_t ack[5] = {0};

        CHECK_ROW(cases[i].row);
        send_bytes(fd, cases[i].bytes);
        if (cases[i].connack_len)
            CHECK(receive(fd, ack, cases[i].connack_len) == cases[i].connack_len &&
                  memcmp(ack, cases[i].connack, cases[i].connack_len) == 0);
        CHECK(is_closed(fd));
        close(fd);
    }
}

static void test_a_slow_connect_is_ended(void)
{
    int silent = dial(), slow = dial();

    send_bytes(slow, VG_SLICE("\x10\x20\x00\x04MQ"));
    CHECK(is_closed(silent) && is_closed(slow));
    close(silent);
    close(slow);
}

static void test_limits(void)
{
    int fd = login(MQTT_V5, "bed-4", "secret-4");
    char *large = calloc(1, 70000);
    uint8_t head[3];

    CHECK_ROW("a payload of exactly the limit is taken");
    send_publish(fd, MQTT_V5, 1, 1, EVENTS_4, (struct vg_slice){large, 65536});
    CHECK(got_puback(fd, 1));
    CHECK_ROW("one byte more is not");
    send_publish(fd, MQTT_V5, 1, 2, EVENTS_4, (struct vg_slice){large, 65537});
    CHECK(receive(fd, head, 3) == 3 && head[0] == 0xE0 && head[2] == MQTT_TOO_LARGE);
    CHECK(is_closed(fd));
    close(fd);

    CHECK_ROW("more in flight than Receive Maximum, 5: told; 3.1.1: read later");
    set_disk(true, false);
    fd = login(MQTT_V5, "bed-4", "secret-4");
    int other = login(MQTT_V311, "bed-5", "secret-5");
    for (uint16_t i = 1; i <= 40; i++) {
        send_publish(other, MQTT_V311, 1, i, "devices/bed-5/messages/events/", VG_SLICE("y"));
        send_publish(fd, MQTT_V5, 1, i, EVENTS_4, VG_SLICE("x"));
    }
    CHECK(receive(fd, head, 3) == 3 && head[0] == 0xE0 && head[2] == MQTT_RECEIVE_MAXIMUM);
    set_disk(false, false);
    for (uint16_t i = 1; i <= 40; i++)
        CHECK(got_puback(other, i));
    close(fd);
    close(other);
    free(large);
}

static void test_packets_in_any_pieces(void)
{
    uint64_t before = raw_count();
    struct vg_buf out;
    int fd = login(MQTT_V311, "bed-4", "secret-4");

    vg_buf_init(&out, 0);
    for (uint16_t i = 1; i <= 12; i++) {
        char payload[300];
        struct mqtt_publish p = {
            .qos = 1, .packet_id = i, .topic = VG_SLICE(EVENTS_4), .payload = {payload, 10u * i}};

        memset(payload, 'a' + i, sizeof(payload));
        mqtt_publish_encode(&out, MQTT_V311, &p);
    }
    for (size_t at = 0; at < out.len; at++)
        send_bytes(fd, (struct vg_slice){out.ptr + at, 1});
    for (uint16_t i = 1; i <= 12; i++)
        CHECK(got_puback(fd, i));
    CHECK(raw_count() == before + 12);
    CHECK(raw_at(before + 11).value.len == 120);
    vg_buf_fini(&out);
    close(fd);
}

static void test_subscriptions(void)
{
    uint8_t ack[8];
    int fd = login(MQTT_V5, "bed-4", "secret-4");
    struct vg_buf filters, out;

    vg_buf_init(&filters, 0);
    vg_buf_init(&out, 0);
    mqtt_put_binary(&filters, VG_SLICE("devices/bed-4/messages/devicebound/#"));
    vg_buf_put_byte(&filters, 1);
    mqtt_put_binary(&filters, VG_SLICE("devices/bed-5/messages/devicebound/#"));
    vg_buf_put_byte(&filters, 1);
    mqtt_put_binary(&filters, VG_SLICE("#"));
    vg_buf_put_byte(&filters, 0);
    struct mqtt_subscribe s = {.packet_id = 9, .filters = vg_buf_slice(&filters)};
    mqtt_subscribe_encode(&out, MQTT_V5, MQTT_SUBSCRIBE, &s);
    send_bytes(fd, vg_buf_slice(&out));
    CHECK(receive(fd, ack, 8) == 8 && ack[0] == 0x90 && ack[3] == 9);
    CHECK(ack[5] == 1 && ack[6] == MQTT_NOT_ALLOWED && ack[7] == MQTT_NOT_ALLOWED);
    vg_buf_fini(&filters);
    vg_buf_fini(&out);
    close(fd);
    CHECK(run("timeout 10 mosquitto_sub -E -V mqttv311 -q 1 -h localhost -p %u --cafile %s/ca.crt "
              "-i bed-4 -u bed-4 -P secret-4 -t 'devices/bed-4/messages/devicebound/#'",
              hub_mqtts_port(hub), root) == 0);
}

static void test_closing_answers_what_is_in_flight(void)
{
    int fd = login(MQTT_V5, "bed-4", "secret-4");
    struct vg_err err = {0};
    uint8_t head[3];

    for (uint16_t i = 1; i <= 10; i++)
        send_publish(fd, MQTT_V5, 1, i, EVENTS_4, VG_SLICE("last"));
    CHECK(got_puback(fd, 1)); /* so that all have been read, or will be refused by silence */
    hub_close(hub);
    hub = NULL;
    while (receive(fd, head, 1) == 1 && head[0] == 0x40) {
        uint8_t rest[3];

        CHECK(receive(fd, rest, 3) == 3);
    }
    CHECK(head[0] == 0xE0 && receive(fd, head + 1, 2) == 2 && head[2] == MQTT_SHUTTING_DOWN);
    close(fd);
    CHECK(hub_open(&hub_config, stream, &hub, &err) == VG_OK);
}

int main(void)
{
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    vg_log_set_level(VG_LOG_ERROR);
    if (vg_crypto_init(NULL) != VG_OK)
        return 1;
    open_all();
    if (!hub)
        return vg_test_report();
    RUN(test_a_puback_waits_for_the_disk);
    RUN(test_mosquitto_publishes_over_tls);
    RUN(test_mosquitto_is_refused);
    RUN(test_curl_posts);
    RUN(test_a_gateway_brings_only_its_devices);
    RUN(test_a_full_disk_refuses_nothing_and_loses_nothing);
    RUN(test_a_second_connection_takes_over);
    RUN(test_a_session_is_remembered);
    RUN(test_disabled_and_rotated_devices_are_dropped);
    RUN(test_a_will_is_published_when_a_device_is_lost);
    RUN(test_wrong_packets_close_the_connection);
    RUN(test_wrong_first_packets);
    RUN(test_a_slow_connect_is_ended);
    RUN(test_limits);
    RUN(test_packets_in_any_pieces);
    RUN(test_subscriptions);
    RUN(test_closing_answers_what_is_in_flight);
    RUN(test_lagging_consumers_pause_publishers);
    stream_consumer_close(consumer);
    close_all();
    return vg_test_report();
}
