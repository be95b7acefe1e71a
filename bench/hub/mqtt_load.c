/* mqtt_load.c -- MQTT load generator: C connections, each with W QoS 1 messages in flight.
 *
 *     mqtt_load --port P [--host 127.0.0.1] [--tls CA] [--connections 50] [--window 20]
 *               [--seconds 5] [--payload 256] [--version 4|5] [--topic FORMAT] [--id FORMAT]
 *               [--password TEXT] [--pid SERVER] [--label TEXT]
 *
 * Prints one key=value line. FORMATs hold one %u, the connection's number. Packets are built once;
 * only the packet id is patched before each send, so the generator costs a fraction of a
 * microsecond a message and does not hide the server. Closed loop: a PUBACK is answered with the
 * next PUBLISH. Latency is from the write of a packet to the read of its PUBACK, in a histogram
 * of 1.6 % steps. CPU of the server comes from /proc/PID/stat, of the generator from getrusage. One
 * thread, epoll.
 */
#include "../measure.h"

#include "base/clock.h"
#include "base/slice.h"
#include "hub/mqtt_packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define WINDOW_MAX 1000
#define CONNECT_BATCH 64 /* logins at once: a server hashes passwords */

struct options {
    const char *host, *ca, *topic, *id, *password, *label;
    unsigned port, connections, window, seconds, payload, version;
    int pid;
};

enum state { CONNECTING, ONLINE };

struct client {
    int fd;
    SSL *ssl;
    enum state state;
    unsigned number;
    char *burst; /* `window` packets, one after the other, ids to be patched */
    size_t packet_bytes;
    size_t id_at;  /* of the packet id inside a packet */
    char *pending; /* what the socket has not taken */
    size_t pending_bytes, pending_room;
    uint8_t in[16384];
    size_t in_bytes;
    uint16_t next_id;
    unsigned inflight;
    uint64_t sent_ns[WINDOW_MAX + 1]; /* by packet id modulo (window + 1) */
};

static struct options options = {.host = "127.0.0.1",
                                 .topic = "devices/load-%u/messages/events/",
                                 .id = "load-%u",
                                 .label = "server",
                                 .connections = 50,
                                 .window = 20,
                                 .seconds = 5,
                                 .payload = 256,
                                 .version = 4};
static struct histogram histogram;
static uint64_t acked, online;
static bool is_measuring, is_ending;
static int epoll_fd;

static void die(const char *what)
{
    (void)fprintf(stderr, "mqtt_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- bytes ---- */

static ssize_t wire_write(struct client *c, const char *bytes, size_t len)
{
    ssize_t n = c->ssl ? SSL_write(c->ssl, bytes, (int)len) : send(c->fd, bytes, len, MSG_NOSIGNAL);

    if (n > 0)
        return n;
    if (c->ssl) {
        int why = SSL_get_error(c->ssl, (int)n);

        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
            return 0;
    } else if (errno == EAGAIN || errno == EINTR) {
        return 0;
    }
    die("the server closed a connection (write)");
    return -1;
}

static ssize_t wire_read(struct client *c, void *to, size_t len)
{
    ssize_t n = c->ssl ? SSL_read(c->ssl, to, (int)len) : recv(c->fd, to, len, 0);

    if (n > 0)
        return n;
    if (c->ssl) {
        int why = SSL_get_error(c->ssl, (int)n);

        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
            return 0;
    } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    die("the server closed a connection (read)");
    return -1;
}

static void watch(struct client *c, bool wants_write)
{
    struct epoll_event event = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0u), .data.ptr = c};

    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event) != 0)
        die("epoll");
}

static void send_or_keep(struct client *c, const char *bytes, size_t len)
{
    size_t done = 0;

    while (!c->pending_bytes && done < len) {
        ssize_t n = wire_write(c, bytes + done, len - done);

        if (n == 0)
            break;
        done += (size_t)n;
    }
    if (done == len)
        return;
    if (c->pending_room - c->pending_bytes < len - done) {
        c->pending_room = c->pending_bytes + len - done + 65536;
        c->pending = realloc(c->pending, c->pending_room);
        if (!c->pending)
            die("memory");
    }
    memcpy(c->pending + c->pending_bytes, bytes + done, len - done);
    c->pending_bytes += len - done;
    watch(c, true);
}

static void flush_pending(struct client *c)
{
    size_t done = 0;

    while (done < c->pending_bytes) {
        ssize_t n = wire_write(c, c->pending + done, c->pending_bytes - done);

        if (n == 0)
            break;
        done += (size_t)n;
    }
    memmove(c->pending, c->pending + done, c->pending_bytes - done);
    c->pending_bytes -= done;
    if (!c->pending_bytes)
        watch(c, false);
}

/* ---- MQTT ---- */

static void fill_window(struct client *c)
{
    unsigned count = options.window - c->inflight;
    uint64_t now_ns;

    if (is_ending || count == 0)
        return;
    now_ns = vg_mono_ns(); /* one clock read a burst */
    for (unsigned i = 0; i < count; i++) {
        char *at = c->burst + i * c->packet_bytes + c->id_at;

        c->next_id = c->next_id == 65535 ? 1 : (uint16_t)(c->next_id + 1);
        at[0] = (char)(c->next_id >> 8);
        at[1] = (char)c->next_id;
        c->sent_ns[c->next_id % (options.window + 1)] = now_ns;
    }
    c->inflight += count;
    send_or_keep(c, c->burst, count * c->packet_bytes);
}

static void build_burst(struct client *c)
{
    char topic[256];
    char *payload = malloc(options.payload + 1);
    struct mqtt_publish p = {.qos = 1, .packet_id = 1};
    struct vg_buf out;

    if (!payload)
        die("memory");
    memset(payload, ' ', options.payload);
    (void)snprintf(payload, options.payload, "{\"time\":\"2026-03-14T10:00:00.000Z\",\"hr\":72");
    payload[strlen(payload)] = ',';
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(topic, sizeof(topic), options.topic, c->number);
#pragma GCC diagnostic pop
    p.topic = vg_slice_of(topic);
    p.payload = (struct vg_slice){payload, options.payload};
    vg_buf_init(&out, 0);
    for (unsigned i = 0; i < options.window; i++)
        mqtt_publish_encode(&out, (uint8_t)options.version, &p);
    c->burst = out.ptr; /* kept */
    c->packet_bytes = out.len / options.window;
    c->id_at = c->packet_bytes - options.payload - 2 - (options.version == 5 ? 1 : 0);
    free(payload);
}

static void send_connect(struct client *c)
{
    char id[128];
    struct mqtt_connect connect = {.version = (uint8_t)options.version, .is_clean = true};
    struct vg_buf out;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(id, sizeof(id), options.id, c->number);
#pragma GCC diagnostic pop
    connect.client_id = vg_slice_of(id);
    if (options.password) {
        connect.has_user = connect.has_password = true;
        connect.user = vg_slice_of(id);
        connect.password = vg_slice_of(options.password);
    }
    vg_buf_init(&out, 0);
    mqtt_connect_encode(&out, &connect);
    send_or_keep(c, out.ptr, out.len);
    vg_buf_fini(&out);
}

static void take_packet(struct client *c, const struct mqtt_frame *frame, const uint8_t *body,
                        uint64_t now_ns)
{
    if (frame->type == MQTT_CONNACK && frame->body_bytes >= 2) {
        if (body[1]) {
            (void)fprintf(stderr, "mqtt_load: CONNACK %u\n", body[1]);
            exit(1);
        }
        c->state = ONLINE;
        online++;
    } else if (frame->type == MQTT_PUBACK && frame->body_bytes >= 2) {
        unsigned id = (unsigned)(body[0] << 8 | body[1]);

        if (frame->body_bytes > 2 && body[2] >= 0x80) {
            (void)fprintf(stderr, "mqtt_load: PUBACK 0x%02x\n", body[2]);
            exit(1);
        }
        c->inflight--;
        if (is_measuring) {
            acked++;
            histogram_count(&histogram,
                            (now_ns - c->sent_ns[id % (options.window + 1)]) / 1000 + 1);
        }
    } else if (frame->type == MQTT_DISCONNECT) {
        (void)fprintf(stderr, "mqtt_load: DISCONNECT 0x%02x\n", frame->body_bytes ? body[0] : 0);
        exit(1);
    }
}

static void on_readable(struct client *c)
{
    ssize_t n;

    do {
        size_t room = sizeof(c->in) - c->in_bytes, at = 0;
        uint64_t now_ns;
        struct mqtt_frame frame;

        n = wire_read(c, c->in + c->in_bytes, room);
        if (n <= 0)
            break;
        c->in_bytes += (size_t)n;
        now_ns = vg_mono_ns();
        while (mqtt_frame_peek((struct vg_slice){(char *)c->in + at, c->in_bytes - at}, &frame) ==
                   MQTT_FRAME_OK &&
               c->in_bytes - at >= frame.header_bytes + frame.body_bytes) {
            take_packet(c, &frame, c->in + at + frame.header_bytes, now_ns);
            at += frame.header_bytes + frame.body_bytes;
        }
        memmove(c->in, c->in + at, c->in_bytes - at);
        c->in_bytes -= at;
        if ((size_t)n < room && !c->ssl)
            break;
    } while (n > 0);
    if (c->state == ONLINE && is_measuring)
        fill_window(c);
}

static void turn(int timeout_ms)
{
    struct epoll_event events[256];
    int count = epoll_wait(epoll_fd, events, 256, timeout_ms);

    for (int i = 0; i < count; i++) {
        struct client *c = events[i].data.ptr;

        if (events[i].events & EPOLLOUT)
            flush_pending(c);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            on_readable(c);
    }
}

/* ---- connections ---- */

static void dial(struct client *c, unsigned number, SSL_CTX *tls)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int one = 1;

    c->number = number;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || inet_pton(AF_INET, options.host, &at.sin_addr) != 1 ||
        connect(c->fd, (struct sockaddr *)&at, sizeof(at)) != 0)
        die("connect");
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (tls) {
        c->ssl = SSL_new(tls);
        if (!c->ssl || !SSL_set_fd(c->ssl, c->fd) || SSL_connect(c->ssl) != 1) {
            ERR_print_errors_fp(stderr);
            exit(1);
        }
    }
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0 ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0)
        die("epoll");
    build_burst(c);
    send_connect(c);
}

static SSL_CTX *open_tls(void)
{
    SSL_CTX *tls = options.ca ? SSL_CTX_new(TLS_client_method()) : NULL;

    if (!tls)
        return NULL;
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (SSL_CTX_load_verify_locations(tls, options.ca, NULL) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    return tls;
}

/* ---- CPU ---- */

static double server_cpu_s(void)
{
    double cpu_s = options.pid ? process_cpu_s(options.pid) : 0;

    return cpu_s < 0 ? 0 : cpu_s; /* it is not ours to say that the server is gone */
}

static void read_options(int argc, char **argv)
{
    static const struct option longs[] = {{"host", 1, NULL, 'h'},     {"port", 1, NULL, 'p'},
                                          {"tls", 1, NULL, 't'},      {"connections", 1, NULL, 'c'},
                                          {"window", 1, NULL, 'w'},   {"seconds", 1, NULL, 's'},
                                          {"payload", 1, NULL, 'l'},  {"version", 1, NULL, 'v'},
                                          {"topic", 1, NULL, 'T'},    {"id", 1, NULL, 'i'},
                                          {"password", 1, NULL, 'P'}, {"pid", 1, NULL, 'd'},
                                          {"label", 1, NULL, 'L'},    {0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        uint64_t number = 0;
        bool is_number = optarg && vg_slice_to_u64(vg_slice_of(optarg), &number);

        switch (c) {
        case 'h':
            options.host = optarg;
            break;
        case 't':
            options.ca = optarg;
            break;
        case 'T':
            options.topic = optarg;
            break;
        case 'i':
            options.id = optarg;
            break;
        case 'P':
            options.password = optarg;
            break;
        case 'L':
            options.label = optarg;
            break;
        case 'p':
            options.port = (unsigned)number;
            break;
        case 'c':
            options.connections = (unsigned)number;
            break;
        case 'w':
            options.window = (unsigned)number;
            break;
        case 's':
            options.seconds = (unsigned)number;
            break;
        case 'l':
            options.payload = (unsigned)number;
            break;
        case 'v':
            options.version = (unsigned)number;
            break;
        case 'd':
            options.pid = (int)number;
            break;
        default:
            exit(2);
        }
        if (strchr("pcwslvd", c) && !is_number) {
            (void)fprintf(stderr, "mqtt_load: '%s' is no number\n", optarg);
            exit(2);
        }
    }
    if (!options.port || !options.connections || !options.window || options.window > WINDOW_MAX ||
        options.payload < 64 || (options.version != 4 && options.version != 5)) {
        (void)fprintf(stderr, "mqtt_load: --port, --window 1..%u, --payload 64.., --version 4|5\n",
                      WINDOW_MAX);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct client *clients;
    SSL_CTX *tls;
    double server_before, own_before, elapsed, server_s, own_s;
    uint64_t start_ns, end_ns;

    read_options(argc, argv);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    clients = calloc(options.connections, sizeof(*clients));
    tls = open_tls();
    if (epoll_fd < 0 || !clients)
        die("start");
    for (unsigned i = 0; i < options.connections; i++) {
        dial(&clients[i], i, tls);
        while (online + CONNECT_BATCH < i + 1)
            turn(1000);
    }
    while (online < options.connections)
        turn(1000);

    /* A fifth of the time to warm up, which is not counted. */
    is_measuring = true;
    for (unsigned i = 0; i < options.connections; i++)
        fill_window(&clients[i]);
    end_ns = vg_mono_ns() + options.seconds * 200000000ull;
    while (vg_mono_ns() < end_ns)
        turn(10);
    acked = 0;
    memset(&histogram, 0, sizeof(histogram));
    server_before = server_cpu_s();
    own_before = own_cpu_s();
    start_ns = vg_mono_ns();
    end_ns = start_ns + options.seconds * 1000000000ull;
    while (vg_mono_ns() < end_ns)
        turn(10);
    elapsed = (double)(vg_mono_ns() - start_ns) / 1e9;
    server_s = server_cpu_s() - server_before;
    own_s = own_cpu_s() - own_before;
    is_ending = true;
    printf("server=%s tls=%d version=%u connections=%u window=%u payload=%u acked_per_s=%.0f "
           "p50_ms=%.3f p99_ms=%.3f p999_ms=%.3f server_cpu_us_per_msg=%.3f "
           "generator_cpu_us_per_msg=%.3f\n",
           options.label, tls != NULL, options.version, options.connections, options.window,
           options.payload, (double)acked / elapsed, histogram_ms(&histogram, 0.5),
           histogram_ms(&histogram, 0.99), histogram_ms(&histogram, 0.999),
           acked ? server_s / (double)acked * 1e6 : 0, acked ? own_s / (double)acked * 1e6 : 0);
    return acked ? 0 : 1;
}
