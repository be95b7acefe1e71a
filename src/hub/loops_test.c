/* loops_test.c -- a hub with several threads: many clients at once, each acknowledged message once
 * and in its device's order; a device that is added beside it; closing under load. */
#include "hub/hub_int.h"

#include "base/tls.h"

#include "vg_test.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS 24
#define MESSAGES 400
#define WINDOW 8

static char root[64];
static struct stream *stream;
static struct hub *hub;
static struct registry *registry;

struct client {
    pthread_t thread;
    int number;
    uint32_t acked; /* messages 0 to acked - 1 have their PUBACK */
    bool is_wrong;
};

static int dial(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(hub_plain_port(hub)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof(at)) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static bool send_all(int fd, struct vg_buf *out)
{
    size_t done = 0;

    while (done < out->len) {
        ssize_t n = send(fd, out->ptr + done, out->len - done, MSG_NOSIGNAL);

        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    vg_buf_clear(out);
    return true;
}

static bool receive(int fd, uint8_t *out, size_t len)
{
    while (len) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        ssize_t n = poll(&poll_fd, 1, 8000) > 0 ? recv(fd, out, len, 0) : 0;

        if (n <= 0)
            return false;
        out += n;
        len -= (size_t)n;
    }
    return true;
}

/* The socket after a CONNACK of 0; -1: refused. */
static int login(const char *id, const char *password)
{
    struct mqtt_connect c = {.version = MQTT_V311,
                             .is_clean = true,
                             .client_id = vg_slice_of(id),
                             .has_user = true,
                             .has_password = true,
                             .user = vg_slice_of(id),
                             .password = vg_slice_of(password)};
    uint8_t ack[4] = {0};
    struct vg_buf out;
    int fd = dial();

    vg_buf_init(&out, 0);
    mqtt_connect_encode(&out, &c);
    if (fd >= 0 && (!send_all(fd, &out) || !receive(fd, ack, 4) || ack[3] != 0)) {
        close(fd);
        fd = -1;
    }
    vg_buf_fini(&out);
    return fd;
}

static void *run_client(void *ctx)
{
    struct client *client = ctx;
    char id[16], topic[64], payload[32];
    struct vg_buf out;
    uint32_t sent = 0;
    int fd;

    (void)snprintf(id, sizeof(id), "bed-%d", client->number);
    (void)snprintf(topic, sizeof(topic), "devices/%s/messages/events/", id);
    fd = login(id, "secret");
    client->is_wrong = fd < 0;
    vg_buf_init(&out, 0);
    while (fd >= 0 && client->acked < MESSAGES) {
        uint8_t ack[4];

        while (sent < MESSAGES && sent - client->acked < WINDOW) {
            struct mqtt_publish p = {.qos = 1, .packet_id = (uint16_t)(sent + 1)};

            (void)snprintf(payload, sizeof(payload), "%u", sent++);
            p.topic = vg_slice_of(topic);
            p.payload = vg_slice_of(payload);
            mqtt_publish_encode(&out, MQTT_V311, &p);
        }
        if (!send_all(fd, &out) || !receive(fd, ack, 4))
            break;
        if (ack[0] != 0x40 || (uint32_t)(ack[2] << 8 | ack[3]) != client->acked + 1)
            client->is_wrong = true; /* not its own, or not in order */
        client->acked++;
    }
    vg_buf_fini(&out);
    if (fd >= 0)
        close(fd);
    return NULL;
}

static struct client clients[CLIENTS];

static void start_clients(void)
{
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.number = i};
        if (pthread_create(&clients[i].thread, NULL, run_client, &clients[i]) != 0)
            abort();
    }
}

/* Each device's messages on device.raw are 0, 1, 2 … without a gap; at least what was
 * acknowledged. */
static void check_stream(uint32_t rounds)
{
    uint32_t next[CLIENTS] = {0};
    bool is_right = true;

    for (uint32_t p = 0; p < stream_partitions(stream); p++) {
        struct stream_consumer *consumer;
        struct stream_batch batch;

        if (!CHECK(stream_consumer_open(stream, p, STREAM_DEVICE_RAW, "nobody", &consumer, NULL) ==
                   VG_OK))
            return;
        while (stream_read(consumer, 1000, 1u << 20, &batch, NULL) == VG_OK)
            for (size_t i = 0; i < batch.count; i++) {
                uint64_t number, client;

                if (!vg_slice_to_u64(vg_slice_from(batch.records[i].key, 4), &client) ||
                    client >= CLIENTS || !vg_slice_to_u64(batch.records[i].value, &number))
                    continue;
                is_right = is_right && number == next[client] % MESSAGES;
                next[client]++;
            }
        stream_consumer_close(consumer);
    }
    CHECK(is_right);
    for (int i = 0; i < CLIENTS; i++)
        CHECK(next[i] >= (rounds - 1) * MESSAGES + clients[i].acked);
}

static void open_hub(uint32_t loops)
{
    struct hub_config config = {.data_dir = root,
                                .has_plain = true,
                                .loops = loops,
                                .lag_max = 10000000,
                                .inflight_max = 16};
    struct vg_err err = {0};

    if (!CHECK(hub_open(&config, stream, &hub, &err) == VG_OK)) {
        printf("%s %s\n", err.code, err.text);
        abort();
    }
}

static void test_each_acknowledged_message_stands_once_in_order(void)
{
    start_clients();
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
    for (int i = 0; i < CLIENTS; i++)
        CHECK(!clients[i].is_wrong && clients[i].acked == MESSAGES);
    check_stream(1);
}

static void test_a_device_that_is_added_is_let_in_at_once(void)
{
    struct vg_err err = {0};
    int fd;

    CHECK(login("bed-new", "secret") < 0);
    CHECK(registry_add(registry, "bed-new", false, NULL, VG_SLICE("secret"), &err) == VG_OK);
    fd = login("bed-new", "secret");
    CHECK(fd >= 0);
    if (fd >= 0)
        close(fd);
    CHECK(login("bed-new", "wrong") < 0);
}

/* The one that came first, in whichever loop, is closed. */
static void test_a_second_connection_takes_over_from_any_loop(void)
{
    int first = -1, fd;
    uint8_t byte;

    for (int i = 0; i < 12; i++) {
        fd = login("bed-0", "secret");
        CHECK(fd >= 0);
        if (first >= 0) {
            CHECK(!receive(first, &byte, 1));
            close(first);
        }
        first = fd;
    }
    close(first);
}

static void test_closing_under_load_loses_nothing_that_was_acknowledged(void)
{
    start_clients();
    while (stream_lag(stream, "nobody", STREAM_DEVICE_RAW, 0) < CLIENTS * MESSAGES / 2 + 500)
        (void)sched_yield();
    hub_close(hub);
    hub = NULL;
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
    check_stream(2);
}

int main(void)
{
    struct vg_err err = {0};
    char dir[96], id[16];

    (void)snprintf(root, sizeof(root), "/tmp/vigil-loops-XXXXXX");
    if (!mkdtemp(root))
        abort();
    (void)snprintf(dir, sizeof(dir), "%s/journal", root);
    CHECK(registry_open(root, &registry, &err) == VG_OK);
    for (int i = 0; i < CLIENTS; i++) {
        (void)snprintf(id, sizeof(id), "bed-%d", i);
        CHECK(registry_add(registry, id, false, NULL, VG_SLICE("secret"), &err) == VG_OK);
    }
    CHECK(
        stream_open(&(struct stream_config){.dir = dir, .partitions = 2, .segment_bytes = 8u << 20},
                    &stream, &err) == VG_OK);
    open_hub(3);
    RUN(test_each_acknowledged_message_stands_once_in_order);
    RUN(test_a_device_that_is_added_is_let_in_at_once);
    RUN(test_a_second_connection_takes_over_from_any_loop);
    RUN(test_closing_under_load_loses_nothing_that_was_acknowledged);
    hub_close(hub);
    stream_close(stream);
    registry_close(registry);
    (void)snprintf(dir, sizeof(dir), "rm -rf %s", root);
    CHECK(system(dir) == 0);
    return vg_test_report();
}
