/* fhir_load.c -- load for a FHIR R4 server: C clients, each with one request in flight.
 *
 *     fhir_load --port P --what WHAT [--clients 1] [--seconds 10] [--count 0] [--stored 0]
 *               [--patients 500] [--entries 100] [--pid SERVER] [--label TEXT]
 *
 * WHAT is a row of whats[]:
 *   seed         PUT of the patients and a device for each, once
 *   create       POST of one Observation
 *   transaction  `entries` Observations, POST each
 *   search       patient, code and 20 seconds of date: 20 Observations
 *   lastn        Observation/$lastn: the newest of eight codes
 *   newest       the same by eight searches one after the other, for servers without $lastn
 *   read         Observation by id; the ids are asked for before
 *
 * Observation n is the same whoever is measured: sign n % 8 of patient n / 8 % patients, a reading
 * a second each. `stored` says how many there are: writes go on from there, searches ask for what
 * is there. Prints one key=value line. Ends after `seconds` (a fifth of it before, not counted) or,
 * with `count`, after so many Observations. matches_each is what one operation found: a server that
 * answers fast with nothing is seen. One thread a client, blocking sockets, HTTP/1.1 kept alive;
 * its own CPU is in the line. Searches ask for fresh results (HAPI otherwise repeats an answer for
 * a minute).
 */
#include "../measure.h"

#include "base/buf.h"
#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX 1000
#define SIGNS 8
#define FIRST_SECOND 1770000000 /* 2026-02-02T02:40:00Z */
#define WINDOW_S 20
#define IDS_MAX 2000
#define ID_ROOM 72

static const struct {
    const char *code, *unit;
} signs[SIGNS] = {{"8867-4", "/min"},   {"9279-1", "/min"},   {"2708-6", "%"},
                  {"8310-5", "Cel"},    {"8480-6", "mm[Hg]"}, {"8462-4", "mm[Hg]"},
                  {"41653-7", "mg/dL"}, {"3151-8", "L/min"}};

struct client {
    pthread_t thread;
    int fd;
    uint64_t chance;
    struct vg_buf body, out, in;
    int status;
    struct vg_slice reply; /* the body, without its chunks */
};

static struct options {
    const char *what, *label;
    unsigned port, clients, seconds, count, patients, entries;
    long stored;
    int pid;
} options = {.what = "create",
             .label = "server",
             .clients = 1,
             .seconds = 10,
             .patients = 500,
             .entries = 100};

static struct histogram histogram;
static _Atomic uint64_t done, failed, matches, worst_us;
static atomic_long next_number; /* Observation, or patient for seed */
static _Atomic bool is_measuring, is_ending;
static char (*ids)[ID_ROOM];
static size_t ids_count;

static void die(const char *what)
{
    (void)fprintf(stderr, "fhir_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- figures ---- */

static double server_cpu_s(void)
{
    double cpu_s = options.pid ? process_cpu_s(options.pid) : 0;

    return cpu_s < 0 ? 0 : cpu_s; /* it is not ours to say that the server is gone */
}

static void observe(uint64_t us)
{
    uint64_t worst = atomic_load(&worst_us);

    histogram_count(&histogram, us);
    while (us > worst && !atomic_compare_exchange_weak(&worst_us, &worst, us))
        ;
}

static uint64_t draw(struct client *c, uint64_t below)
{
    c->chance ^= c->chance << 13;
    c->chance ^= c->chance >> 7;
    c->chance ^= c->chance << 17;
    return c->chance % below;
}

/* How often the server said `text`. */
static size_t count_of(struct vg_slice body, const char *text)
{
    size_t len = strlen(text), count = 0;
    const char *at = body.ptr;

    while (at && (at = memmem(at, body.len - (size_t)(at - body.ptr), text, len)) != NULL) {
        at += len;
        count++;
    }
    return count;
}

/* ---- HTTP ---- */

static void dial(struct client *c)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    int one = 1;

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&at, sizeof(at)) != 0)
        die("connect");
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void more(struct client *c)
{
    char *room = vg_buf_reserve(&c->in, 65536);
    ssize_t n = room ? recv(c->fd, room, 65536, 0) : -1;

    if (n <= 0)
        die("the server closed a connection");
    c->in.len += (size_t)n;
}

/* Where the line that starts at `at` ends (behind its "\r\n"). */
static size_t line_end(struct client *c, size_t at)
{
    for (;;) {
        char *end = c->in.len > at ? memmem(c->in.ptr + at, c->in.len - at, "\r\n", 2) : NULL;

        if (end)
            return (size_t)(end - c->in.ptr) + 2;
        more(c);
    }
}

/* Chunks are joined where they lie. */
static void receive(struct client *c)
{
    size_t at, end, body, len = 0;
    bool is_chunked = false;

    vg_buf_clear(&c->in);
    at = line_end(c, 0);
    c->status = at > 12 ? (int)strtol(c->in.ptr + 9, NULL, 10) : 0;
    for (; (end = line_end(c, at)) > at + 2; at = end) {
        if (strncasecmp(c->in.ptr + at, "content-length:", 15) == 0)
            len = strtoul(c->in.ptr + at + 15, NULL, 10);
        if (strncasecmp(c->in.ptr + at, "transfer-encoding: chunked", 26) == 0)
            is_chunked = true;
    }
    at = body = end;
    for (size_t size = 1; is_chunked && size; at += size + 2) {
        end = line_end(c, at);
        size = strtoul(c->in.ptr + at, NULL, 16);
        while (c->in.len < end + size + 2)
            more(c);
        memmove(c->in.ptr + body + len, c->in.ptr + end, size);
        len += size;
        at = end;
    }
    while (c->in.len < body + len)
        more(c);
    c->reply = (struct vg_slice){c->in.ptr + body, len};
}

/* `path` is what follows /fhir; with `body` (of c) or without. */
static void exchange(struct client *c, const char *method, const char *path)
{
    size_t sent = 0;

    vg_buf_clear(&c->out);
    vg_buf_printf(&c->out, "%s /fhir%s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n", method, path,
                  options.port);
    if (c->body.len)
        vg_buf_printf(&c->out,
                      "Content-Type: application/fhir+json\r\nPrefer: return=minimal\r\n"
                      "Content-Length: %zu\r\n",
                      c->body.len);
    else
        vg_buf_printf(&c->out, "Accept: application/fhir+json\r\nCache-Control: no-cache\r\n");
    vg_buf_put(&c->out, VG_SLICE("\r\n"));
    vg_buf_put(&c->out, vg_buf_slice(&c->body));
    while (sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.ptr + sent, c->out.len - sent, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR)
            die("send");
        sent += n > 0 ? (size_t)n : 0;
    }
    receive(c);
}

/* ---- what is asked ---- */

static void put_observation(struct vg_buf *out, long n)
{
    char time[VG_TIME_TEXT_SIZE];
    long sign = n % SIGNS, patient = n / SIGNS % (long)options.patients;
    long second = n / SIGNS / (long)options.patients;

    (void)vg_time_format((FIRST_SECOND + second) * VG_SECOND_US, 3, time);
    vg_buf_printf(
        out,
        "{\"resourceType\":\"Observation\",\"identifier\":[{\"system\":\"urn:vigil:reading\","
        "\"value\":\"device-%ld.%s.%s\"}],\"status\":\"final\",\"category\":[{\"coding\":[{"
        "\"system\":\"http://terminology.hl7.org/CodeSystem/observation-category\",\"code\":"
        "\"vital-signs\"}]}],\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":"
        "\"%s\"}]},\"subject\":{\"reference\":\"Patient/patient-%ld\"},\"effectiveDateTime\":"
        "\"%s\",\"issued\":\"%s\",\"device\":{\"reference\":\"Device/device-%ld\"},"
        "\"valueQuantity\":{\"value\":%ld.%ld,\"unit\":\"%s\",\"system\":"
        "\"http://unitsofmeasure.org\",\"code\":\"%s\"}}",
        patient, signs[sign].code, time, signs[sign].code, patient, time, time, patient,
        60 + second % 60, n % 10, signs[sign].unit, signs[sign].unit);
}

/* Each returns how many resources it wrote or found, 0: it failed. */

static size_t do_create(struct client *c)
{
    vg_buf_clear(&c->body);
    put_observation(&c->body, atomic_fetch_add(&next_number, 1));
    exchange(c, "POST", "/Observation");
    return c->status == 201;
}

static size_t do_transaction(struct client *c)
{
    long first = atomic_fetch_add(&next_number, (long)options.entries);

    vg_buf_clear(&c->body);
    vg_buf_printf(&c->body, "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[");
    for (long n = first; n < first + (long)options.entries; n++) {
        vg_buf_printf(&c->body,
                      "%s{\"fullUrl\":\"urn:uuid:00000000-0000-4000-8000-%012ld\",\"resource\":",
                      n > first ? "," : "", n);
        put_observation(&c->body, n);
        vg_buf_printf(&c->body, ",\"request\":{\"method\":\"POST\",\"url\":\"Observation\"}}");
    }
    vg_buf_put(&c->body, VG_SLICE("]}"));
    exchange(c, "POST", "");
    return c->status == 200 ? count_of(c->reply, "\"status\":\"201") : 0;
}

/* A hundred patients and their devices a call. */
static size_t do_seed(struct client *c)
{
    long first = atomic_fetch_add(&next_number, 100);

    vg_buf_clear(&c->body);
    vg_buf_printf(&c->body, "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[");
    for (long n = first; n < first + 100; n++)
        vg_buf_printf(
            &c->body,
            "%s{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"patient-%ld\",\"identifier\":[{"
            "\"system\":\"urn:mrn\",\"value\":\"m%ld\"}],\"name\":[{\"family\":\"Load%ld\"}]},"
            "\"request\":{\"method\":\"PUT\",\"url\":\"Patient/patient-%ld\"}},"
            "{\"resource\":{\"resourceType\":\"Device\",\"id\":\"device-%ld\",\"identifier\":[{"
            "\"system\":\"urn:serial\",\"value\":\"d%ld\"}]},"
            "\"request\":{\"method\":\"PUT\",\"url\":\"Device/device-%ld\"}}",
            n > first ? "," : "", n, n, n, n, n, n, n);
    vg_buf_put(&c->body, VG_SLICE("]}"));
    exchange(c, "POST", "");
    return c->status == 200 ? count_of(c->reply, "\"status\":\"20") : 0;
}

static size_t found(struct client *c, const char *path)
{
    vg_buf_clear(&c->body);
    exchange(c, "GET", path);
    return c->status == 200 ? count_of(c->reply, "\"fullUrl\"") : 0;
}

static size_t do_search(struct client *c)
{
    char path[400], from[VG_TIME_TEXT_SIZE], to[VG_TIME_TEXT_SIZE];
    long seconds = options.stored / SIGNS / (long)options.patients;
    long first = seconds > WINDOW_S ? (long)draw(c, (uint64_t)(seconds - WINDOW_S)) : 0;

    (void)vg_time_format((FIRST_SECOND + first) * VG_SECOND_US, 0, from);
    (void)vg_time_format((FIRST_SECOND + first + WINDOW_S) * VG_SECOND_US, 0, to);
    (void)snprintf(path, sizeof(path),
                   "/Observation?patient=patient-%u&code=http://loinc.org%%7C%s&date=ge%s&"
                   "date=lt%s&_count=100",
                   (unsigned)draw(c, options.patients), signs[draw(c, SIGNS)].code, from, to);
    return found(c, path);
}

static size_t do_lastn(struct client *c)
{
    char path[200];

    (void)snprintf(path, sizeof(path),
                   "/Observation/$lastn?patient=patient-%u&category=vital-signs",
                   (unsigned)draw(c, options.patients));
    return found(c, path);
}

static size_t do_newest(struct client *c)
{
    unsigned patient = (unsigned)draw(c, options.patients);
    size_t count = 0;

    for (size_t sign = 0; sign < SIGNS; sign++) {
        char path[200];

        (void)snprintf(path, sizeof(path),
                       "/Observation?patient=patient-%u&code=http://loinc.org%%7C%s&_sort=-date&"
                       "_count=1",
                       patient, signs[sign].code);
        count += found(c, path);
    }
    return count;
}

static size_t do_read(struct client *c)
{
    char path[ID_ROOM + 20];

    (void)snprintf(path, sizeof(path), "/Observation/%s", ids[draw(c, ids_count)]);
    vg_buf_clear(&c->body);
    exchange(c, "GET", path);
    return c->status == 200;
}

/* Ids of a thousand Observations, found by searches: spread over all that is stored. */
static void collect_ids(struct client *c)
{
    static const char mark[] = "/Observation/";

    ids = calloc(IDS_MAX, sizeof(*ids));
    if (!ids)
        die("memory");
    for (unsigned tries = 0; tries < 200 && ids_count < 1000; tries++) {
        if (!do_search(c))
            continue;
        for (const char *at = c->reply.ptr, *end = at + c->reply.len;
             ids_count < IDS_MAX && (at = memmem(at, (size_t)(end - at), "\"fullUrl\"", 9));) {
            const char *id = memmem(at, (size_t)(end - at), mark, sizeof(mark) - 1);
            const char *quote = id ? memchr(id, '"', (size_t)(end - id)) : NULL;

            if (!quote)
                break;
            id += sizeof(mark) - 1;
            if (vg_slice_to_cstr((struct vg_slice){id, (size_t)(quote - id)}, ids[ids_count],
                                 ID_ROOM))
                ids_count++;
            at = quote;
        }
    }
    if (!ids_count)
        die("no Observation to read");
}

static const struct what {
    const char *name;
    size_t (*run)(struct client *c);
    bool is_write;
} whats[] = {
    {"seed", do_seed, true},
    {"create", do_create, true},
    {"transaction", do_transaction, true},
    {"search", do_search, false},
    {"lastn", do_lastn, false},
    {"newest", do_newest, false},
    {"read", do_read, false},
};

static const struct what *what;

static void *client_main(void *arg)
{
    struct client *c = arg;
    long until = options.stored + (long)options.count;

    while (!is_ending && !(options.count && atomic_load(&next_number) >= until)) {
        int64_t start_us = vg_mono_us();
        size_t count = what->run(c);
        int64_t us = vg_mono_us() - start_us;

        if (!is_measuring)
            continue;
        if (count == 0) {
            if (atomic_fetch_add(&failed, 1) == 0)
                (void)fprintf(stderr, "fhir_load: %s: status %d: %.*s\n", what->name, c->status,
                              (int)(c->reply.len < 400 ? c->reply.len : 400), c->reply.ptr);
            continue;
        }
        observe((uint64_t)us);
        atomic_fetch_add(&done, 1);
        atomic_fetch_add(&matches, count);
    }
    return NULL;
}

static void wait_us(int64_t us)
{
    struct timespec pause = {.tv_sec = us / VG_SECOND_US, .tv_nsec = us % VG_SECOND_US * 1000};

    while (nanosleep(&pause, &pause) != 0 && errno == EINTR)
        ;
}

static void read_options(int argc, char **argv)
{
    static const struct option longs[] = {{"port", 1, NULL, 'p'},
                                          {"what", 1, NULL, 'w'},
                                          {"clients", 1, NULL, 'c'},
                                          {"seconds", 1, NULL, 's'},
                                          {"count", 1, NULL, 'n'},
                                          {"stored", 1, NULL, 'S'},
                                          {"entries", 1, NULL, 'e'},
                                          {"patients", 1, NULL, 'P'},
                                          {"pid", 1, NULL, 'd'},
                                          {"label", 1, NULL, 'L'},
                                          {0}};
    static const struct {
        int letter;
        unsigned *to;
    } numbers[] = {{'p', &options.port},  {'c', &options.clients}, {'s', &options.seconds},
                   {'n', &options.count}, {'e', &options.entries}, {'P', &options.patients}};
    int letter;

    while ((letter = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        uint64_t number = 0;

        if (letter == 'w') {
            options.what = optarg;
            continue;
        }
        if (letter == 'L') {
            options.label = optarg;
            continue;
        }
        if (letter == '?' || !vg_slice_to_u64(vg_slice_of(optarg), &number)) {
            (void)fprintf(stderr, "fhir_load: '%s' is no number\n", optarg ? optarg : "");
            exit(2);
        }
        if (letter == 'S')
            options.stored = (long)number;
        if (letter == 'd')
            options.pid = (int)number;
        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
            if (numbers[i].letter == letter)
                *numbers[i].to = (unsigned)number;
    }
    for (size_t i = 0; i < sizeof(whats) / sizeof(whats[0]); i++)
        if (strcmp(whats[i].name, options.what) == 0)
            what = &whats[i];
    if (!what || !options.port || !options.clients || options.clients > CLIENTS_MAX ||
        !options.patients || !options.entries) {
        (void)fprintf(stderr, "fhir_load: --port, --what, --clients 1..%d are needed\n",
                      CLIENTS_MAX);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct client *clients;
    double server_s, own_s, load[1] = {0};
    int64_t start_us, us;
    uint64_t count;

    read_options(argc, argv);
    clients = calloc(options.clients, sizeof(*clients));
    if (!clients)
        die("memory");
    for (unsigned i = 0; i < options.clients; i++) {
        vg_buf_init(&clients[i].body, 0);
        vg_buf_init(&clients[i].out, 0);
        vg_buf_init(&clients[i].in, 0);
        clients[i].chance = 0x9e3779b97f4a7c15u * (i + 1);
        dial(&clients[i]);
    }
    atomic_store(&next_number, options.stored);
    if (what->run == do_read)
        collect_ids(&clients[0]);
    is_measuring = options.count != 0;
    start_us = vg_mono_us();
    server_s = server_cpu_s();
    own_s = own_cpu_s();
    for (unsigned i = 0; i < options.clients; i++)
        if (pthread_create(&clients[i].thread, NULL, client_main, &clients[i]) != 0)
            die("thread");
    if (!options.count) {
        wait_us(options.seconds * VG_SECOND_US / 5);
        server_s = server_cpu_s();
        own_s = own_cpu_s();
        start_us = vg_mono_us();
        is_measuring = true;
    }
    /* With a count as well: what comes first. Then the figures are of what was done. */
    while (options.seconds && vg_mono_us() - start_us < options.seconds * VG_SECOND_US &&
           !(options.count && atomic_load(&next_number) >= options.stored + (long)options.count))
        wait_us(options.count ? 10 * 1000
                              : options.seconds * VG_SECOND_US - (vg_mono_us() - start_us));
    is_ending = true;
    if (!options.count)
        is_measuring = false; /* those in flight now end after the time */
    for (unsigned i = 0; options.count && i < options.clients; i++)
        (void)pthread_join(clients[i].thread, NULL);
    us = vg_mono_us() - start_us;
    count = done;
    server_s = server_cpu_s() - server_s;
    own_s = own_cpu_s() - own_s;
    for (unsigned i = 0; !options.count && i < options.clients; i++)
        (void)pthread_join(clients[i].thread, NULL);
    (void)getloadavg(load, 1);
    printf("server=%s what=%s clients=%u stored=%ld seconds=%.1f per_s=%.1f resources_per_s=%.0f "
           "matches_each=%.1f p50_ms=%.3f p99_ms=%.3f worst_ms=%.1f failed=%llu "
           "server_cpu_us_each=%.1f generator_cpu_us_each=%.1f load=%.1f stored_after=%ld\n",
           options.label, what->name, options.clients, options.stored, (double)us / 1e6,
           (double)count * 1e6 / (double)us, (double)matches * 1e6 / (double)us,
           count ? (double)matches / (double)count : 0, histogram_ms(&histogram, 0.5),
           histogram_ms(&histogram, 0.99), (double)worst_us / 1000.0, (unsigned long long)failed,
           count ? server_s / (double)count * 1e6 : 0, count ? own_s / (double)count * 1e6 : 0,
           load[0],
           what->is_write && what->run != do_seed ? atomic_load(&next_number) : options.stored);
    for (unsigned i = 0; i < options.clients; i++) {
        (void)close(clients[i].fd);
        vg_buf_fini(&clients[i].body);
        vg_buf_fini(&clients[i].out);
        vg_buf_fini(&clients[i].in);
    }
    free(clients);
    return count && !failed ? 0 : 1;
}
