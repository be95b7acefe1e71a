/* ward_load.c -- a ward's monitors against a running platform: what arrives where, and how late.
 *
 *     ward_load --data DIR --beds N --token FILE [--tls] [--seconds 15] [--window 8]
 *               [--backlog 20000] [--rate-part 0.5] [--drain 60] [--label TEXT]
 *
 * The devices are those of `vigil seed --beds N`: one MQTT connection each, QoS 1, each message one
 * ward payload (nine vital signs, seven measurements). Two phases, one line of key=value:
 *
 *   max_   closed loop: each device keeps `window` messages without PUBACK, as long as fewer than
 *          `backlog` messages wait for the connector. Sustained rate = messages over the time until
 *          the connector, enrich, score and alert have nothing left, their tail included.
 *   half_  open loop: `rate-part` of that rate, on a schedule that does not wait for the server. A
 *          latency counts from the time at which the message was due, so a stall is seen by all
 *          that it delayed.
 *
 * PUBACK: to the read of the PUBACK. Flag: each patient in turn crosses NEWS2's threshold for some
 * messages; from the reading that opened the Flag (the event names its time) to the event of the
 * board's stream that carries the Flag. Observation: a second thread takes the newest published
 * reading, asks /fhir for it until it is there, then takes the next. The lags are read from
 * /api/steps (records that a step has done against those of the step before).
 *
 * Threads: main (epoll: devices and the board's event stream), probe (REST). CPU and memory of the
 * server are from /proc/PID.
 */
#include "../measure.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/http_client.h"
#include "base/json.h"
#include "hub/mqtt_packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEASUREMENTS_PER_MESSAGE 7
#define VALUES_PER_MESSAGE 9
#define BEDS_MAX 2000
#define RING 4096        /* messages of a device that are remembered, at most 65,535 */
#define CONNECT_BATCH 64 /* logins at once: the hub hashes passwords */
#define ILL_US (2 * VG_SECOND_US)
#define WELL_US (6 * VG_SECOND_US)
#define PROBE_PAUSE_US 2000
#define STEPS_EVERY_US (50 * 1000)

struct options {
    const char *data, *token, *label;
    unsigned beds, window, seconds, drain;
    uint64_t backlog;
    double rate_part;
    bool has_tls;
};

/* One message on its way. */
struct sent {
    int64_t time_ms; /* in the payload */
    uint64_t due_ns;
};

struct wire {
    int fd;
    SSL *ssl;
    struct vg_buf out; /* what the socket has not taken */
    size_t out_at;
    bool wants_write;
    char *in;
    size_t in_bytes, in_room;
};

struct device {
    struct wire wire; /* first: epoll's pointer */
    unsigned number;  /* from 1 */
    bool is_online, has_flag;
    char topic[64];
    uint16_t next_id;
    unsigned inflight;
    int64_t last_ms;
    int64_t ill_from_us, well_from_us; /* monotonic, of the round at hand */
    uint64_t next_due_ns;
    struct sent ring[RING]; /* by packet id modulo RING */
};

/* What the steps have done since the platform started. */
struct steps {
    _Atomic uint64_t connected, normalized, enriched_in, enriched, scored_in, scored, alerted;
};

struct probe {
    pthread_t thread;
    struct vg_http_client *client;
    char authorization[160], cookie[256], base[64];
    _Atomic uint64_t marker; /* device number << 48 | due time in us of the newest publish */
    _Atomic int64_t marker_ms;
    _Atomic bool is_measuring, is_ending;
    struct histogram readable; /* probe's own until it has ended a phase */
    pthread_mutex_t lock;
    uint64_t failures;
};

static struct options options = {.label = "vigil",
                                 .beds = 100,
                                 .window = 8,
                                 .seconds = 15,
                                 .drain = 60,
                                 .backlog = 20000,
                                 .rate_part = 0.5};
static struct device *devices;
static struct wire board;
static struct histogram puback, flag;
static struct steps steps;
static struct probe probe = {.lock = PTHREAD_MUTEX_INITIALIZER};
static uint64_t published, acked, online, flags_seen, board_events;
static bool is_ill_allowed, is_closed_loop, is_paused;
static int epoll_fd;
static int server_pid;

static void die(const char *what)
{
    (void)fprintf(stderr, "ward_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void check(enum vg_status st, const struct vg_err *err)
{
    if (st != VG_OK) {
        (void)fprintf(stderr, "ward_load: %s: %s\n", err->code, err->text);
        exit(1);
    }
}

/* ---- histograms ---- */

static void observe(struct histogram *h, uint64_t ns)
{
    histogram_count(h, ns / 1000 + 1);
}

/* ---- bytes ---- */

static ssize_t wire_write(struct wire *w, const char *bytes, size_t len)
{
    ssize_t n = w->ssl ? SSL_write(w->ssl, bytes, (int)len) : send(w->fd, bytes, len, MSG_NOSIGNAL);

    if (n > 0)
        return n;
    if (w->ssl) {
        int why = SSL_get_error(w->ssl, (int)n);

        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
            return 0;
    } else if (errno == EAGAIN || errno == EINTR) {
        return 0;
    }
    die("the server closed a connection (write)");
    return -1;
}

static ssize_t wire_read(struct wire *w, char *to, size_t len)
{
    ssize_t n = w->ssl ? SSL_read(w->ssl, to, (int)len) : recv(w->fd, to, len, 0);

    if (n > 0)
        return n;
    if (w->ssl) {
        int why = SSL_get_error(w->ssl, (int)n);

        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
            return 0;
    } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    die("the server closed a connection (read)");
    return -1;
}

/* Writes what `out` holds, as far as the socket takes it. */
static void wire_flush(struct wire *w)
{
    while (w->out_at < w->out.len) {
        ssize_t n = wire_write(w, w->out.ptr + w->out_at, w->out.len - w->out_at);

        if (n == 0)
            break;
        w->out_at += (size_t)n;
    }
    if (w->out_at == w->out.len) {
        vg_buf_clear(&w->out);
        w->out_at = 0;
    }
    if (w->wants_write != (w->out.len > 0)) {
        struct epoll_event event = {.events = EPOLLIN | (w->out.len ? EPOLLOUT : 0u),
                                    .data.ptr = w};

        w->wants_write = w->out.len > 0;
        if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, w->fd, &event) != 0)
            die("epoll");
    }
}

static void dial(struct wire *w, unsigned port, SSL_CTX *tls, size_t in_room)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = 1;

    vg_buf_init(&w->out, 0);
    w->in_room = in_room;
    w->in = malloc(in_room);
    w->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (!w->in || w->fd < 0 || connect(w->fd, (struct sockaddr *)&at, sizeof(at)) != 0)
        die("connect");
    (void)setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (!tls)
        return;
    w->ssl = SSL_new(tls);
    if (!w->ssl || !SSL_set_fd(w->ssl, w->fd) || SSL_connect(w->ssl) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
}

static void join_loop(struct wire *w)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = w};

    if (fcntl(w->fd, F_SETFL, O_NONBLOCK) != 0 ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, w->fd, &event) != 0)
        die("epoll");
}

/* ---- the board's event stream ---- */

static bool find_text(struct vg_slice in, const char *what, size_t *ret_after)
{
    const char *at = memmem(in.ptr, in.len, what, strlen(what));

    if (at)
        *ret_after = (size_t)(at - in.ptr) + strlen(what);
    return at != NULL;
}

static void take_event(struct vg_slice event, uint64_t now_ns)
{
    static const char patient[] = "\"patientId\":\"demo-patient-", since[] = "\"since\":\"";
    struct vg_slice number, time;
    size_t after = 0;
    uint64_t bed = 0;
    int64_t since_us;

    if (!find_text(event, "event: patient\n", &after))
        return;
    board_events++;
    if (!find_text(event, patient, &after))
        return;
    number = vg_slice_from(event, after);
    number = vg_slice_cut(&number, '"');
    if (!vg_slice_to_u64(number, &bed) || bed < 1 || bed > options.beds)
        return;
    struct device *d = &devices[bed - 1];

    if (!find_text(event, "\"flag\":{", &after)) {
        d->has_flag = false;
        return;
    }
    event = vg_slice_from(event, after);
    if (d->has_flag || !find_text(event, since, &after))
        return;
    d->has_flag = true;
    time = vg_slice_from(event, after);
    time = vg_slice_cut(&time, '"');
    if (!vg_time_parse(time, &since_us, NULL))
        return;
    for (size_t i = 0; i < RING; i++) {
        if (d->ring[i].time_ms == since_us / 1000 && d->ring[i].due_ns) {
            observe(&flag, now_ns - d->ring[i].due_ns);
            flags_seen++;
            return;
        }
    }
}

static void on_board(void)
{
    for (;;) {
        ssize_t n = wire_read(&board, board.in + board.in_bytes, board.in_room - board.in_bytes);
        struct vg_slice rest;
        const char *end;
        uint64_t now_ns;

        if (n <= 0)
            return;
        now_ns = vg_mono_ns();
        board.in_bytes += (size_t)n;
        rest = (struct vg_slice){board.in, board.in_bytes};
        while ((end = memmem(rest.ptr, rest.len, "\n\n", 2)) != NULL) {
            size_t len = (size_t)(end - rest.ptr) + 2;

            take_event((struct vg_slice){rest.ptr, len}, now_ns);
            rest = vg_slice_from(rest, len);
        }
        memmove(board.in, rest.ptr, rest.len);
        board.in_bytes = rest.len;
        if (board.in_bytes == board.in_room)
            die("an event is too long");
    }
}

/* Logs in and opens the stream. HTTP/1.0: the events come as they are, without chunks. */
static void open_board(unsigned port, SSL_CTX *tls, struct vg_slice password)
{
    static const char set_cookie[] = "Set-Cookie: ";
    struct wire login = {0};
    struct vg_buf body, text;
    struct vg_slice cookie;
    size_t after = 0;

    vg_buf_init(&body, 0);
    vg_buf_init(&text, 0);
    vg_buf_printf(&body, "{\"user\":\"admin\",\"password\":\"%.*s\"}", VG_FMT(password));
    vg_buf_printf(&text,
                  "POST /api/login HTTP/1.0\r\nHost: localhost\r\n"
                  "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%.*s",
                  body.len, VG_FMT(vg_buf_slice(&body)));
    dial(&login, port, tls, 65536);
    if (wire_write(&login, text.ptr, text.len) != (ssize_t)text.len)
        die("login");
    do {
        ssize_t n =
            wire_read(&login, login.in + login.in_bytes, login.in_room - 1 - login.in_bytes);

        login.in_bytes += n > 0 ? (size_t)n : 0;
        cookie = (struct vg_slice){login.in, login.in_bytes};
    } while (!find_text(cookie, "\r\n\r\n", &after));
    if (!find_text(cookie, set_cookie, &after)) {
        (void)fprintf(stderr, "ward_load: login was refused\n");
        exit(1);
    }
    cookie = vg_slice_from(cookie, after);
    cookie = vg_slice_cut(&cookie, ';');
    (void)snprintf(probe.cookie, sizeof(probe.cookie), "Cookie: %.*s", VG_FMT(cookie));
    vg_buf_clear(&text);
    vg_buf_printf(&text, "GET /api/events HTTP/1.0\r\nHost: localhost\r\nCookie: %.*s\r\n\r\n",
                  VG_FMT(cookie));
    dial(&board, port, tls, 4u << 20);
    if (wire_write(&board, text.ptr, text.len) != (ssize_t)text.len)
        die("events");
    join_loop(&board);
    SSL_free(login.ssl);
    (void)close(login.fd);
    free(login.in);
    vg_buf_fini(&login.out);
    vg_buf_fini(&text);
    vg_buf_fini(&body);
}

/* ---- devices ---- */

/* A well patient's values drift a little; an ill one's NEWS2 is far above the threshold. */
static int write_payload(char *out, size_t size, const struct device *d, const char *time,
                         bool is_ill)
{
    unsigned drift = (unsigned)(d->last_ms / 1000 + d->number) % 5;

    return is_ill
               ? snprintf(out, size,
                          "{\"time\":\"%s\",\"hr\":%u,\"rr\":%u,\"spo2\":%u,\"o2\":2,\"sys\":%u,"
                          "\"dia\":55,\"map\":66,\"temp\":39.%u,\"avpu\":\"A\"}",
                          time, 126 + drift, 27 + drift, 88 + drift % 2, 90 + drift, 2 + drift)
               : snprintf(out, size,
                          "{\"time\":\"%s\",\"hr\":%u,\"rr\":%u,\"spo2\":%u,\"o2\":0,\"sys\":%u,"
                          "\"dia\":76,\"map\":91,\"temp\":36.%u,\"avpu\":\"A\"}",
                          time, 68 + drift, 13 + drift, 96 + drift % 3, 118 + drift, 6 + drift % 4);
}

/* Patients fall ill one after the other, spread over the round. */
static bool is_ill_now(struct device *d, int64_t now_us)
{
    if (!is_ill_allowed)
        return false;
    if (now_us >= d->well_from_us) {
        d->ill_from_us = now_us + WELL_US;
        d->well_from_us = d->ill_from_us + ILL_US;
    }
    return now_us >= d->ill_from_us;
}

static void publish(struct device *d, uint64_t due_ns)
{
    char payload[512], time[VG_TIME_TEXT_SIZE];
    int64_t now_ms = vg_now_us() / 1000;
    struct mqtt_publish p = {.qos = 1, .topic = vg_slice_of(d->topic)};

    d->last_ms = now_ms > d->last_ms ? now_ms : d->last_ms + 1;
    d->next_id = d->next_id == 65535 ? 1 : (uint16_t)(d->next_id + 1);
    d->ring[d->next_id % RING] = (struct sent){d->last_ms, due_ns};
    (void)vg_time_format(d->last_ms * 1000, 3, time);
    p.packet_id = d->next_id;
    p.payload.ptr = payload;
    p.payload.len =
        (size_t)write_payload(payload, sizeof(payload), d, time, is_ill_now(d, vg_mono_us()));
    mqtt_publish_encode(&d->wire.out, 4, &p);
    d->inflight++;
    published++;
    /* The device first, the time last: the probe reads them the other way round. */
    atomic_store_explicit(&probe.marker, 0, memory_order_release);
    atomic_store_explicit(&probe.marker_ms, d->last_ms, memory_order_release);
    atomic_store_explicit(&probe.marker, (uint64_t)d->number << 48 | due_ns / 1000,
                          memory_order_release);
}

static void fill_window(struct device *d)
{
    uint64_t now_ns;

    if (!is_closed_loop || is_paused || d->inflight >= options.window)
        return;
    now_ns = vg_mono_ns();
    while (d->inflight < options.window)
        publish(d, now_ns);
    wire_flush(&d->wire);
}

static void take_packet(struct device *d, const struct mqtt_frame *frame, const uint8_t *body,
                        uint64_t now_ns)
{
    if (frame->type == MQTT_CONNACK && frame->body_bytes >= 2) {
        if (body[1]) {
            (void)fprintf(stderr, "ward_load: bed-%u: CONNACK %u\n", d->number, body[1]);
            exit(1);
        }
        d->is_online = true;
        online++;
    } else if (frame->type == MQTT_PUBACK && frame->body_bytes >= 2) {
        unsigned id = (unsigned)(body[0] << 8 | body[1]);

        d->inflight--;
        acked++;
        observe(&puback, now_ns - d->ring[id % RING].due_ns);
    }
}

static void on_device(struct device *d)
{
    struct wire *w = &d->wire;

    for (;;) {
        ssize_t n = wire_read(w, w->in + w->in_bytes, w->in_room - w->in_bytes);
        struct mqtt_frame frame;
        uint64_t now_ns;
        size_t at = 0;

        if (n <= 0)
            break;
        w->in_bytes += (size_t)n;
        now_ns = vg_mono_ns();
        while (mqtt_frame_peek((struct vg_slice){w->in + at, w->in_bytes - at}, &frame) ==
                   MQTT_FRAME_OK &&
               w->in_bytes - at >= frame.header_bytes + frame.body_bytes) {
            take_packet(d, &frame, (const uint8_t *)w->in + at + frame.header_bytes, now_ns);
            at += frame.header_bytes + frame.body_bytes;
        }
        memmove(w->in, w->in + at, w->in_bytes - at);
        w->in_bytes -= at;
    }
    fill_window(d);
}

static void turn(uint64_t timeout_us)
{
    struct epoll_event events[256];
    struct timespec timeout = {.tv_sec = (time_t)(timeout_us / 1000000),
                               .tv_nsec = (long)(timeout_us % 1000000 * 1000)};
    int count = epoll_pwait2(epoll_fd, events, 256, &timeout, NULL);

    for (int i = 0; i < count; i++) {
        struct wire *w = events[i].data.ptr;

        if (events[i].events & EPOLLOUT)
            wire_flush(w);
        if (w == &board)
            on_board();
        else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            on_device((struct device *)w);
    }
}

static void connect_device(struct device *d, unsigned port, SSL_CTX *tls, struct vg_slice password)
{
    struct mqtt_connect connect = {.version = 4, .is_clean = true};
    char id[32];

    (void)snprintf(id, sizeof(id), "bed-%u", d->number);
    (void)snprintf(d->topic, sizeof(d->topic), "devices/%s/messages/events/", id);
    connect.client_id = connect.user = vg_slice_of(id);
    connect.has_user = connect.has_password = true;
    connect.password = password;
    dial(&d->wire, port, tls, 16384);
    join_loop(&d->wire);
    mqtt_connect_encode(&d->wire.out, &connect);
    wire_flush(&d->wire);
}

static void connect_all(unsigned port, SSL_CTX *tls, struct vg_slice credentials)
{
    for (unsigned i = 0; i < options.beds; i++) {
        struct vg_slice line = vg_slice_cut(&credentials, '\n');

        (void)vg_slice_cut(&line, ' ');
        if (line.len == 0)
            die("ward-credentials.txt has fewer beds");
        devices[i].number = i + 1;
        connect_device(&devices[i], port, tls, line);
        while (online + CONNECT_BATCH < i + 1)
            turn(1000000);
    }
    while (online < options.beds)
        turn(1000000);
}

/* ---- the probe's thread ---- */

static enum vg_status fetch(const char *path, const char *who, struct vg_arena *arena,
                            struct vg_slice *ret_body, struct vg_err *err)
{
    const char *headers[] = {who, NULL};
    struct vg_http_answer answer;
    struct vg_slice url = vg_arena_printf(arena, "%s%s", probe.base, path);
    enum vg_status st = vg_http_fetch(probe.client, "GET", url.ptr, headers, (struct vg_slice){0},
                                      arena, &answer, err);

    if (st == VG_OK && answer.status != 200)
        st = vg_fail(err, VG_REJECT, "ward_load.http", 0, "%d for %.100s", answer.status, path);
    if (st == VG_OK)
        *ret_body = answer.body;
    return st;
}

static void read_steps(struct vg_arena *arena)
{
    struct {
        unsigned step;
        _Atomic uint64_t *to;
    } wanted[] = {{5, &steps.connected}, {6, &steps.normalized}, {7, &steps.enriched_in},
                  {8, &steps.enriched},  {10, &steps.scored_in}, {12, &steps.scored},
                  {14, &steps.alerted}};
    struct vg_slice body;
    struct vg_json *root;
    struct vg_err err = {0};

    check(fetch("/api/steps", probe.cookie, arena, &body, &err), &err);
    check(vg_json_parse(arena, body, NULL, &root, NULL, &err), &err);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        const struct vg_json *step = vg_json_at(vg_json_get(root, "steps"), wanted[i].step - 1);
        int64_t count = 0;

        (void)vg_json_to_i64(vg_json_get(step, "count"), &count);
        atomic_store(wanted[i].to, (uint64_t)count);
    }
}

/* Asks for the newest published reading until it is there. */
static void probe_one(struct vg_arena *arena)
{
    uint64_t marker = atomic_load_explicit(&probe.marker, memory_order_acquire);
    int64_t time_ms = atomic_load_explicit(&probe.marker_ms, memory_order_acquire);
    char path[256], time[VG_TIME_TEXT_SIZE];
    uint64_t due_us = marker & ((1ull << 48) - 1), started_us = vg_mono_ns() / 1000;
    bool is_there = false;

    if (!marker || marker != atomic_load_explicit(&probe.marker, memory_order_acquire) ||
        started_us > due_us + 20000) { /* nothing is being published */
        (void)usleep(PROBE_PAUSE_US);
        return;
    }
    (void)vg_time_format(time_ms * 1000, 3, time);
    (void)snprintf(path, sizeof(path),
                   "/fhir/Observation?patient=demo-patient-%03u&code=8867-4&date=%s&_count=1",
                   (unsigned)(marker >> 48), time);
    while (!is_there && !atomic_load(&probe.is_ending)) {
        struct vg_slice body = {0};
        struct vg_err err = {0};

        vg_arena_reset(arena);
        if (fetch(path, probe.authorization, arena, &body, &err) != VG_OK) {
            (void)fprintf(stderr, "ward_load: probe: %s: %s\n", err.code, err.text);
            probe.failures++;
            return;
        }
        is_there = memmem(body.ptr, body.len, "\"entry\"", 7) != NULL;
        if (!is_there)
            (void)usleep(PROBE_PAUSE_US);
    }
    if (is_there && atomic_load(&probe.is_measuring)) {
        pthread_mutex_lock(&probe.lock);
        observe(&probe.readable, (vg_mono_ns() / 1000 - due_us) * 1000);
        pthread_mutex_unlock(&probe.lock);
    }
}

static void *run_probe(void *unused)
{
    int64_t next_us = 0;
    struct vg_arena arena;

    (void)unused;
    vg_arena_init(&arena, 64u << 20);
    while (!atomic_load(&probe.is_ending)) {
        vg_arena_reset(&arena);
        if (vg_mono_us() >= next_us || is_paused) {
            read_steps(&arena);
            next_us = vg_mono_us() + STEPS_EVERY_US;
            vg_arena_reset(&arena);
        }
        if (atomic_load(&probe.is_measuring))
            probe_one(&arena);
        else
            (void)usleep(PROBE_PAUSE_US);
    }
    vg_arena_fini(&arena);
    return NULL;
}

/* ---- CPU and memory ---- */

static size_t read_proc(const char *name, char *out, size_t size)
{
    char path[64];
    size_t len = 0;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", server_pid, name);
    file = fopen(path, "r");
    if (file) {
        len = fread(out, 1, size - 1, file);
        (void)fclose(file);
    }
    out[len] = '\0';
    return len;
}

static double server_cpu_s(void)
{
    double cpu_s = process_cpu_s(server_pid);

    if (cpu_s < 0)
        die("the server is gone");
    return cpu_s;
}

static double server_mib(const char *what)
{
    unsigned long kib = 0;
    char text[4096];
    const char *at;

    (void)read_proc("status", text, sizeof(text));
    at = strstr(text, what);
    if (!at || sscanf(at + strlen(what), ": %lu", &kib) != 1)
        return 0;
    return (double)kib / 1024;
}

/* ---- phases ---- */

static bool is_drained(void)
{
    return acked == published && atomic_load(&steps.connected) >= acked &&
           atomic_load(&steps.enriched_in) >= atomic_load(&steps.normalized) &&
           atomic_load(&steps.scored_in) >= atomic_load(&steps.enriched) &&
           atomic_load(&steps.alerted) >= atomic_load(&steps.scored);
}

struct result {
    double seconds, rate, cpu_us, own_us;
    uint64_t messages, normalized, scored;
    bool is_drained;
};

static void begin_phase(void)
{
    memset(&puback, 0, sizeof(puback));
    memset(&flag, 0, sizeof(flag));
    pthread_mutex_lock(&probe.lock);
    memset(&probe.readable, 0, sizeof(probe.readable));
    pthread_mutex_unlock(&probe.lock);
    flags_seen = board_events = 0;
    atomic_store(&probe.is_measuring, true);
    is_ill_allowed = true;
    for (unsigned i = 0; i < options.beds; i++) {
        devices[i].ill_from_us = vg_mono_us() + WELL_US * (int64_t)(i + 1) / options.beds;
        devices[i].well_from_us = devices[i].ill_from_us + ILL_US;
    }
}

static void closed_loop(uint64_t end_ns)
{
    is_closed_loop = true;
    for (unsigned i = 0; i < options.beds; i++)
        fill_window(&devices[i]);
    while (vg_mono_ns() < end_ns) {
        bool was_paused = is_paused;

        turn(is_paused ? 1000 : 10000);
        is_paused = acked > atomic_load(&steps.connected) + options.backlog;
        for (unsigned i = 0; i < options.beds && was_paused && !is_paused; i++)
            fill_window(&devices[i]);
    }
    is_closed_loop = is_paused = false;
}

/* Each device has its own schedule, evenly beside the others. */
static void open_loop(uint64_t end_ns, double rate)
{
    uint64_t period_ns = (uint64_t)(1e9 * options.beds / rate), start_ns = vg_mono_ns();
    unsigned at = 0;

    for (unsigned i = 0; i < options.beds; i++)
        devices[i].next_due_ns = start_ns + period_ns * i / options.beds;
    for (;;) {
        uint64_t now_ns = vg_mono_ns();

        if (now_ns >= end_ns)
            break;
        while (devices[at].next_due_ns <= now_ns) {
            publish(&devices[at], devices[at].next_due_ns);
            wire_flush(&devices[at].wire);
            devices[at].next_due_ns += period_ns;
            at = (at + 1) % options.beds;
        }
        now_ns = vg_mono_ns();
        turn(devices[at].next_due_ns > now_ns ? (devices[at].next_due_ns - now_ns) / 1000 : 0);
    }
}

static struct result run_phase(double rate)
{
    uint64_t start_ns, before = published, normalized = atomic_load(&steps.normalized),
                       scored = atomic_load(&steps.scored), end_ns, last_ns;
    double cpu_s = server_cpu_s(), own_s = own_cpu_s();
    struct result result;

    begin_phase();
    start_ns = vg_mono_ns();
    end_ns = start_ns + options.seconds * 1000000000ull;
    if (rate > 0)
        open_loop(end_ns, rate);
    else
        closed_loop(end_ns);
    is_ill_allowed = false;
    atomic_store(&probe.is_measuring, false);
    last_ns = vg_mono_ns() + options.drain * 1000000000ull;
    while (!is_drained() && vg_mono_ns() < last_ns)
        turn(5000);
    result.is_drained = is_drained();
    result.seconds = (double)(vg_mono_ns() - start_ns) / 1e9;
    /* Events and idle work that follow are not the messages'. */
    result.messages = published - before;
    result.rate = (double)result.messages / result.seconds;
    result.cpu_us = (server_cpu_s() - cpu_s) / (double)result.messages * 1e6;
    result.own_us = (own_cpu_s() - own_s) / (double)result.messages * 1e6;
    result.normalized = atomic_load(&steps.normalized) - normalized;
    result.scored = atomic_load(&steps.scored) - scored;
    end_ns = vg_mono_ns() + 500000000ull;
    while (vg_mono_ns() < end_ns) /* the last events of the board */
        turn(10000);
    return result;
}

static void print_phase(const char *name, const struct result *r)
{
    bool is_half = strcmp(name, "half") == 0;
    double rate = is_half ? (double)r->messages / (double)options.seconds : r->rate;

    printf(" %s_messages=%" PRIu64 " %s_msgs_per_s=%.0f %s_measurements_per_s=%.0f "
           "%s_values_per_s=%.0f %s_puback_p50_ms=%.2f %s_puback_p99_ms=%.2f "
           "%s_flags=%" PRIu64 " %s_flag_p50_ms=%.1f %s_flag_p99_ms=%.1f "
           "%s_rest_count=%" PRIu64 " %s_rest_p50_ms=%.1f %s_rest_p99_ms=%.1f "
           "%s_cpu_us_per_msg=%.1f %s_generator_us_per_msg=%.1f %s_seconds=%.1f %s_drained=%d "
           "%s_lost=%" PRId64 " %s_scored=%" PRIu64 " %s_board_events=%" PRIu64,
           name, r->messages, name, rate, name, rate * MEASUREMENTS_PER_MESSAGE, name,
           rate * VALUES_PER_MESSAGE, name, histogram_ms(&puback, 0.5), name,
           histogram_ms(&puback, 0.99), name, flag.count, name, histogram_ms(&flag, 0.5), name,
           histogram_ms(&flag, 0.99), name, probe.readable.count, name,
           histogram_ms(&probe.readable, 0.5), name, histogram_ms(&probe.readable, 0.99), name,
           r->cpu_us, name, r->own_us, name, r->seconds, name, r->is_drained, name,
           (int64_t)(r->messages * MEASUREMENTS_PER_MESSAGE) - (int64_t)r->normalized, name,
           r->scored, name, board_events);
}

/* ---- options ---- */

static void read_options(int argc, char **argv)
{
    static const struct option longs[] = {{"data", 1, NULL, 'd'},
                                          {"beds", 1, NULL, 'b'},
                                          {"token", 1, NULL, 'T'},
                                          {"tls", 0, NULL, 't'},
                                          {"seconds", 1, NULL, 's'},
                                          {"window", 1, NULL, 'w'},
                                          {"backlog", 1, NULL, 'k'},
                                          {"rate-part", 1, NULL, 'r'},
                                          {"drain", 1, NULL, 'D'},
                                          {"label", 1, NULL, 'L'},
                                          {0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        uint64_t number = 0;
        bool is_number = optarg && vg_slice_to_u64(vg_slice_of(optarg), &number);

        if (c == 'd')
            options.data = optarg;
        else if (c == 'T')
            options.token = optarg;
        else if (c == 't')
            options.has_tls = true;
        else if (c == 'L')
            options.label = optarg;
        else if (c == 'r' && vg_slice_to_double(vg_slice_of(optarg), &options.rate_part))
            continue;
        else if (c == 'b' && is_number)
            options.beds = (unsigned)number;
        else if (c == 's' && is_number)
            options.seconds = (unsigned)number;
        else if (c == 'w' && is_number)
            options.window = (unsigned)number;
        else if (c == 'k' && is_number)
            options.backlog = number;
        else if (c == 'D' && is_number)
            options.drain = (unsigned)number;
        else
            exit(2);
    }
    if (!options.data || !options.token || options.beds < 1 || options.beds > BEDS_MAX ||
        options.window < 1 || options.window > RING / 2 || options.seconds < 1 ||
        !(options.rate_part > 0)) {
        (void)fprintf(stderr, "ward_load: --data, --token, --beds 1..%d, --window 1..%d\n",
                      BEDS_MAX, RING / 2);
        exit(2);
    }
}

static struct vg_slice read_file(struct vg_arena *arena, const char *name)
{
    struct vg_slice text = {0};
    struct vg_err err = {0};

    check(vg_file_read(arena, vg_arena_printf(arena, "%s/%s", options.data, name).ptr, 1 << 20,
                       &text, &err),
          &err);
    return text;
}

static unsigned port_of(const struct vg_json *run, const char *name)
{
    int64_t port = 0;

    if (!vg_json_to_i64(vg_json_get(run, name), &port) || port < 1 || port > 65535)
        die("run.json names no such port");
    return (unsigned)port;
}

int main(int argc, char **argv)
{
    struct vg_http_client_config http = {0};
    struct vg_slice credentials, login, token = {0};
    struct result most, half;
    struct vg_arena arena;
    struct vg_json *run;
    struct vg_err err = {0};
    SSL_CTX *tls;
    int64_t pid = 0;

    read_options(argc, argv);
    vg_arena_init(&arena, 16u << 20);
    check(vg_json_parse(&arena, read_file(&arena, "run.json"), NULL, &run, NULL, &err), &err);
    credentials = read_file(&arena, "ward-credentials.txt");
    login = read_file(&arena, "first-login.txt");
    (void)vg_slice_cut(&login, ' ');
    http.ca_path = vg_arena_printf(&arena, "%s/tls/ca.crt", options.data).ptr;
    (void)vg_json_to_i64(vg_json_get(run, "pid"), &pid);
    server_pid = (int)pid;
    check(vg_file_read(&arena, options.token, 256, &token, &err), &err);
    token = vg_slice_trim(token);
    (void)snprintf(probe.authorization, sizeof(probe.authorization), "Authorization: Bearer %.*s",
                   VG_FMT(token));
    (void)snprintf(probe.base, sizeof(probe.base), "https://localhost:%u", port_of(run, "web"));
    check(vg_http_client_open(&http, &probe.client, &err), &err);
    tls = SSL_CTX_new(TLS_client_method());
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    devices = calloc(options.beds, sizeof(*devices));
    if (!tls || epoll_fd < 0 || !devices ||
        SSL_CTX_load_verify_locations(tls, http.ca_path, NULL) != 1)
        die("start");
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);

    open_board(port_of(run, "web"), tls, vg_slice_trim(login));
    connect_all(port_of(run, options.has_tls ? "mqtts" : "plain"), options.has_tls ? tls : NULL,
                credentials);
    if (pthread_create(&probe.thread, NULL, run_probe, NULL) != 0)
        die("thread");

    printf("bench=system label=%s tls=%d devices=%u window=%u", options.label, options.has_tls,
           options.beds, options.window);
    most = run_phase(0);
    print_phase("max", &most);
    half = run_phase(most.rate * options.rate_part);
    print_phase("half", &half);
    printf(" rss_mib=%.0f rss_peak_mib=%.0f probe_failures=%" PRIu64 "\n", server_mib("VmRSS"),
           server_mib("VmHWM"), probe.failures);
    atomic_store(&probe.is_ending, true);
    (void)pthread_join(probe.thread, NULL);
    vg_http_client_close(probe.client);
    return most.is_drained && half.is_drained ? 0 : 1;
}
