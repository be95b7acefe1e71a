/* mllp_test.c -- HL7 v2 over MLLP against a real hub: frames in any pieces, who may send, what is
 * answered and when. */
#include "hub/hub_int.h"

#include "base/tls.h"

#include "vg_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 8000

static char root[64];
static struct stream *stream;
static struct hub *hub;
static struct vg_tls *tls;
static struct registry *registry;

/* ---- a disk that waits or is full ---- */

static pthread_mutex_t disk_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t disk_changed = PTHREAD_COND_INITIALIZER;
static bool disk_is_held, disk_is_full;

static int held_fdatasync(void *ctx, int fd)
{
    (void)ctx;
    pthread_mutex_lock(&disk_lock);
    while (disk_is_held)
        pthread_cond_wait(&disk_changed, &disk_lock);
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
    errno = ENOSPC;
    return is_full ? -1 : pwrite(fd, buf, len, offset);
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

VG_PRINTF(1, 2)
static int run(const char *fmt, ...)
{
    char command[1024];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(command, sizeof(command), fmt, args);
    va_end(args);
    return system(command);
}

static struct hub_config config;

static void open_hub(void)
{
    struct vg_err err = {0};

    if (!CHECK(hub_open(&config, stream, &hub, &err) == VG_OK)) {
        printf("%s %s\n", err.code, err.text);
        abort();
    }
}

static void open_all(void)
{
    static struct vg_io io;
    static char dir[96], cert[96], key[96], authority[96];
    struct vg_err err = {0};

    (void)snprintf(root, sizeof(root), "/tmp/vigil-mllp-XXXXXX");
    if (!mkdtemp(root))
        abort();
    io = vg_io_system;
    io.fdatasync = held_fdatasync;
    io.pwrite = full_pwrite;
    (void)snprintf(dir, sizeof(dir), "%s/journal", root);
    (void)snprintf(cert, sizeof(cert), "%s/server.crt", root);
    (void)snprintf(key, sizeof(key), "%s/server.key", root);
    (void)snprintf(authority, sizeof(authority), "%s/senders.crt", root);
    CHECK(registry_open(root, &registry, &err) == VG_OK);
    CHECK(registry_add(registry, "mon-1", false, NULL, VG_SLICE("unused-1"), &err) == VG_OK);
    CHECK(registry_add(registry, "mon-2", false, NULL, VG_SLICE("unused-2"), &err) == VG_OK);
    CHECK(registry_set_speaks_for(registry, "mon-1", "1, A, ICU^*", &err) == VG_OK);
    CHECK(registry_set_speaks_for(registry, "mon-2", "1", &err) == VG_OK);
    CHECK(stream_open(&(struct stream_config){.dir = dir, .io = &io, .segment_bytes = 8u << 20},
                      &stream, &err) == VG_OK);
    CHECK(vg_tls_make_certificates(root, NULL, &err) == VG_OK);
    CHECK(vg_tls_server_open(cert, key, &tls, &err) == VG_OK);
    /* An authority for senders: one certificate for mon-2, one for nobody. */
    CHECK(
        run("cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
            "-subj /CN=senders -keyout senders.key -out senders.crt 2>/dev/null && "
            "for name in mon-2 nobody; do openssl req -newkey ec -pkeyopt "
            "ec_paramgen_curve:P-256 -nodes -subj /CN=$name -keyout $name.key -out $name.csr "
            "2>/dev/null && openssl x509 -req -in $name.csr -CA senders.crt -CAkey senders.key "
            "-CAcreateserial -days 2 -out $name.crt 2>/dev/null; done",
            root) == 0);
    config = (struct hub_config){.data_dir = root,
                                 .tls = tls,
                                 .payload_bytes_max = 64u << 10,
                                 .inflight_max = 16,
                                 .hl7_senders = "192.0.2.0/24=mon-2, 127.0.0.0/8 = mon-1",
                                 .hl7_client_ca = authority,
                                 .has_hl7_plain = true,
                                 .hl7_frame_timeout_us = VG_SECOND_US,
                                 .hl7_idle_us = 2 * VG_SECOND_US};
    open_hub();
}

static void close_all(void)
{
    hub_close(hub);
    stream_close(stream);
    vg_tls_close(tls);
    registry_close(registry);
    CHECK(run("rm -rf %s", root) == 0);
}

static uint64_t raw_count(void)
{
    return stream_lag(stream, "nobody", STREAM_DEVICE_RAW, 0);
}

static struct stream_consumer *consumer;

/* The newest record; views until the next call. */
static struct stream_record newest(void)
{
    struct stream_record record = {0};
    struct stream_batch batch;

    stream_consumer_close(consumer);
    consumer = NULL;
    if (stream_consumer_open(stream, 0, STREAM_DEVICE_RAW, "nobody", &consumer, NULL) != VG_OK)
        return record;
    while (stream_read(consumer, 1, 100000, &batch, NULL) == VG_OK)
        record = batch.records[0];
    return record;
}

/* ---- a client: bytes as they are ---- */

static int dial(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(hub_hl7_plain_port(hub)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
    return fd;
}

static void send_text(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

/* What comes until 0x1C 0x0D, without the frame; "" when nothing comes in `ms`, "closed" at the
 * end. */
static const char *answer_within(int fd, int ms)
{
    static char text[8192];
    size_t len = 0;

    while (len < sizeof(text) - 1) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        ssize_t n;

        if (poll(&poll_fd, 1, ms) <= 0)
            return "";
        n = recv(fd, text + len, 1, 0);
        if (n <= 0)
            return "closed";
        len += (size_t)n;
        if (len >= 2 && text[len - 2] == '\x1c' && text[len - 1] == '\r') {
            text[len - 2] = '\0';
            return text[0] == '\x0b' ? text + 1 : "no frame";
        }
    }
    return "too long";
}

static const char *answer_of(int fd)
{
    return answer_within(fd, WAIT_MS);
}

static void send_frame(int fd, const char *message)
{
    char frame[8192];
    int len = snprintf(frame, sizeof(frame), "\x0b%s\x1c\r", message);

    send_text(fd, frame, (size_t)len);
}

#define MESSAGE(id, rest)                                                                          \
    "MSH|^~\\&|MON^1^X|WARD|HUB|HOSP|20260301120000+0000||ORU^R01^ORU_R01|" id "|P|2.6" rest       \
    "\rOBX|1|NM|147842^^MDC||72\r"

static void test_a_message_is_stored_as_it_came_and_acknowledged(void)
{
    uint64_t before = raw_count();
    int fd = dial();
    struct stream_record record;
    const char *answer;

    send_frame(fd, MESSAGE("A1", ""));
    answer = answer_of(fd);
    CHECK(strncmp(answer, "MSH|^~\\&|HUB|HOSP|MON^1^X|WARD|", 31) == 0);
    CHECK(strstr(answer, "||ACK^R01^ACK|V") != NULL && strstr(answer, "|P|2.6\r") != NULL);
    CHECK(strstr(answer, "\rMSA|AA|A1\r") != NULL && strstr(answer, "ERR") == NULL);
    CHECK(raw_count() == before + 1);
    record = newest();
    CHECK(vg_slice_is(record.key, "mon-1"));
    CHECK(vg_slice_is(record.value, MESSAGE("A1", "")));
    CHECK(vg_slice_is(stream_header_get(record.headers, "via"), "mllp"));
    CHECK(vg_slice_is(stream_header_get(record.headers, "ct"), "application/hl7-v2+er7"));
    CHECK(vg_slice_is(stream_header_get(record.headers, "mid"), "MON^1^X|WARD|A1"));
    close(fd);
}

/* ---- frames ---- */

static const struct {
    const char *name, *bytes;
    size_t len;
    int answers; /* AA */
} frames[] = {
#define BYTES(text) text, sizeof(text) - 1
    {"garbage before the first frame", BYTES("hello\x0b" MESSAGE("F1", "") "\x1c\r"), 1},
    {"two in one segment", BYTES("\x0b" MESSAGE("F2", "") "\x1c\r\x0b" MESSAGE("F3", "") "\x1c\r"),
     2},
    {"the last carriage return is missing",
     BYTES("\x0b" MESSAGE("F4", "") "\x1c\x0b" MESSAGE("F5", "") "\x1c"), 2},
    {"an end that was lost costs that message alone",
     BYTES("\x0b" MESSAGE("F6", "") "\x0b" MESSAGE("F7", "") "\x1c\r"), 1},
    {"line feeds between frames", BYTES("\n\r\n\x0b" MESSAGE("F8", "") "\x1c\r\n\n"), 1},
    {"an end without a begin", BYTES("\x1c\r\x0b" MESSAGE("F9", "") "\x1c\r"), 1},
};

static void test_frames(void)
{
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        uint64_t before = raw_count();
        int fd = dial();

        CHECK_ROW(frames[i].name);
        send_text(fd, frames[i].bytes, frames[i].len);
        for (int n = 0; n < frames[i].answers; n++)
            CHECK(strstr(answer_of(fd), "\rMSA|AA|F") != NULL);
        CHECK(raw_count() == before + (uint64_t)frames[i].answers);
        close(fd);
    }
}

static void test_a_frame_in_any_pieces(void)
{
    static const char bytes[] = "\x0b" MESSAGE("P1", "") "\x1c\r";
    uint64_t before = raw_count();
    int fd = dial();
    int one = 1;

    CHECK(setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof(one)) == 0);
    for (size_t i = 0; i + 1 < sizeof(bytes); i++)
        send_text(fd, bytes + i, 1);
    CHECK(strstr(answer_of(fd), "\rMSA|AA|P1\r") != NULL);
    CHECK(raw_count() == before + 1);
    close(fd);
}

/* ---- what is refused, and how ---- */

static const struct {
    const char *name, *message;
    const char *want;  /* in the answer; NULL: there is none */
    const char *again; /* in a second answer */
    bool is_taken;
} modes[] = {
    {"not HL7", "hello", "MSA|AR|\rERR|||100^", NULL, false},
    {"a line without a name", "MSH|^~\\&|A||||||ORU^R01|R1|P|2.6\rmore text",
     "MSA|AR|R1\rERR|||100^", NULL, false},
    {"another type of message", "MSH|^~\\&|A||||||ADT^A01|R2|P|2.6\r",
     "MSA|AR|R2\rERR||MSH^1^9|200^", NULL, false},
    {"training", "MSH|^~\\&|A||||||ORU^R01|R3|T|2.6\r", "MSA|AR|R3\rERR||MSH^1^11|202^", NULL,
     false},
    {"a set that is not served", "MSH|^~\\&|A||||||ORU^R01|R4|P|2.6||||||8859/5\r",
     "MSA|AR|R4\rERR||MSH^1^18|103^", NULL, false},
    {"separators of its own", "MSH#*~?!#A######ORU*R01#R5#P#2.6\r", "MSA#AA#R5\r", NULL, true},
    {"enhanced, accept always", MESSAGE("E1", "|||AL|NE"), "MSA|CA|E1\r", NULL, true},
    {"enhanced, application always", MESSAGE("E2", "|||NE|AL"), "MSA|AA|E2\r", NULL, true},
    {"enhanced, both", MESSAGE("E3", "|||AL|AL"), "MSA|CA|E3\r", "MSA|AA|E3\r", true},
    {"enhanced, neither", MESSAGE("E4", "|||NE|NE"), NULL, NULL, true},
    {"enhanced, on success", MESSAGE("E5", "|||SU|NE"), "MSA|CA|E5\r", NULL, true},
    {"enhanced, on error, and there is none", MESSAGE("E6", "|||ER|ER"), NULL, NULL, true},
    {"enhanced, on error", "MSH|^~\\&|A||||||ADT^A01|E7|P|2.6|||ER|NE\r", "MSA|CR|E7\rERR", NULL,
     false},
    {"enhanced, on success, and it is an error", "MSH|^~\\&|A||||||ADT^A01|E8|P|2.6|||SU|SU\r",
     NULL, NULL, false},
};

static void test_modes(void)
{
    int fd = dial();

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        uint64_t before = raw_count();
        const char *answer;

        CHECK_ROW(modes[i].name);
        send_frame(fd, modes[i].message);
        if (modes[i].want) {
            answer = answer_of(fd);
            if (!CHECK(strstr(answer, modes[i].want) != NULL))
                printf("  %s\n", answer);
        }
        if (modes[i].again)
            CHECK(strstr(answer_of(fd), modes[i].again) != NULL);
        /* Nothing more comes before the next message's own answer. */
        send_frame(fd, MESSAGE("NEXT", ""));
        CHECK(strstr(answer_of(fd), "MSA|AA|NEXT\r") != NULL);
        CHECK(raw_count() == before + 1 + modes[i].is_taken);
    }
    close(fd);
}

static void test_a_message_that_is_too_large_is_refused_and_told(void)
{
    static char frame[80 << 10];
    int len = snprintf(frame, sizeof(frame), "\x0b%s", MESSAGE("BIG", ""));
    uint64_t before = raw_count();
    int fd = dial();
    const char *answer;

    memset(frame + len, 'x', sizeof(frame) - (size_t)len);
    send_text(fd, frame, sizeof(frame));
    answer = answer_of(fd);
    CHECK(strstr(answer, "MSA|AR|BIG\rERR|||104^") != NULL);
    CHECK(strcmp(answer_of(fd), "closed") == 0);
    CHECK(raw_count() == before);
    close(fd);
}

/* ---- when ---- */

static void test_an_answer_waits_for_the_disk(void)
{
    int fd = dial();

    set_disk(true, false);
    send_frame(fd, MESSAGE("D1", ""));
    CHECK(strcmp(answer_within(fd, 300), "") == 0);
    set_disk(false, false);
    CHECK(strstr(answer_of(fd), "MSA|AA|D1\r") != NULL);
    close(fd);
}

static void test_a_full_disk_answers_nobody_and_loses_nothing(void)
{
    uint64_t before = raw_count();
    int fd = dial();

    set_disk(false, true);
    send_frame(fd, MESSAGE("D2", ""));
    CHECK(strcmp(answer_within(fd, 300), "") == 0);
    send_frame(fd, MESSAGE("D3", "")); /* waits in its socket */
    set_disk(false, false);
    CHECK(strstr(answer_of(fd), "MSA|AA|D2\r") != NULL);
    CHECK(strstr(answer_of(fd), "MSA|AA|D3\r") != NULL);
    CHECK(raw_count() == before + 2);
    close(fd);
}

static void test_many_at_once_are_answered_in_their_order(void)
{
    enum { COUNT = 200 }; /* far more than may be in flight */
    static char bytes[COUNT * 200];
    uint64_t before = raw_count();
    int len = 0, fd = dial();

    for (int i = 0; i < COUNT; i++)
        len += snprintf(bytes + len, sizeof(bytes) - (size_t)len, "\x0b%s%d%s\x1c\r",
                        "MSH|^~\\&|A||||||ORU^R01|N", i, "|P|2.6\rOBX|1|NM|1^x^L||72\r");
    send_text(fd, bytes, (size_t)len);
    for (int i = 0; i < COUNT; i++) {
        char want[32];

        (void)snprintf(want, sizeof(want), "MSA|AA|N%d\r", i);
        if (!CHECK(strstr(answer_of(fd), want) != NULL))
            break;
    }
    CHECK(raw_count() == before + COUNT);
    close(fd);
}

static void test_a_half_frame_and_silence_end_a_connection(void)
{
    int half = dial(), silent = dial();

    send_text(half, "\x0bMSH|^~", 7);
    CHECK(strcmp(answer_of(half), "closed") == 0);
    CHECK(strcmp(answer_of(silent), "closed") == 0);
    close(half);
    close(silent);
}

/* ---- who ---- */

/* The answer to one message over TLS; "" when the connection does not come about. */
static const char *ask_over_tls(const char *name, const char *message)
{
    static char text[4096];
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(hub_hl7_port(hub)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), n;
    char path[128], frame[1024];
    size_t len = 0;

    text[0] = '\0';
    if (name) {
        (void)snprintf(path, sizeof(path), "%s/%s.crt", root, name);
        CHECK(SSL_use_certificate_file(ssl, path, SSL_FILETYPE_PEM) == 1);
        (void)snprintf(path, sizeof(path), "%s/%s.key", root, name);
        CHECK(SSL_use_PrivateKey_file(ssl, path, SSL_FILETYPE_PEM) == 1);
    }
    CHECK(connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && SSL_set_fd(ssl, fd) == 1);
    if (SSL_connect(ssl) == 1) {
        n = snprintf(frame, sizeof(frame), "\x0b%s\x1c\r", message);
        (void)SSL_write(ssl, frame, n);
        while (len < sizeof(text) - 1 && (n = SSL_read(ssl, text + len, 1)) == 1 &&
               text[len] != '\x1c')
            len++;
        text[len] = '\0';
    }
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
    return text;
}

static void test_senders(void)
{
    uint64_t before = raw_count();
    struct vg_err err = {0};

    CHECK_ROW("by its address");
    CHECK(strstr(ask_over_tls(NULL, MESSAGE("S1", "")), "MSA|AA|S1\r") != NULL);
    CHECK(vg_slice_is(newest().key, "mon-1"));
    CHECK_ROW("its certificate says more than its address");
    CHECK(strstr(ask_over_tls("mon-2", MESSAGE("S2", "")), "MSA|AA|S2\r") != NULL);
    CHECK(vg_slice_is(newest().key, "mon-2"));
    CHECK_ROW("a certificate of a device that is not registered");
    CHECK(strcmp(ask_over_tls("nobody", MESSAGE("S3", "")), "") == 0);
    CHECK_ROW("a certificate of another authority");
    CHECK(strcmp(ask_over_tls("server", MESSAGE("S4", "")), "") == 0);
    CHECK(raw_count() == before + 2);

    CHECK_ROW("a device that is disabled while it is connected");
    {
        int fd = dial();

        send_frame(fd, MESSAGE("S5", ""));
        CHECK(strstr(answer_of(fd), "MSA|AA|S5\r") != NULL);
        CHECK(registry_set_enabled(registry, "mon-1", false, &err) == VG_OK);
        CHECK(strcmp(answer_of(fd), "closed") == 0);
        close(fd);
        fd = dial();
        CHECK(strcmp(answer_of(fd), "closed") == 0);
        close(fd);
        CHECK(registry_set_enabled(registry, "mon-1", true, &err) == VG_OK);
    }
    CHECK_ROW("an address that is nobody's");
    hub_close(hub);
    hub = NULL;
    config.hl7_senders = "192.0.2.7=mon-1";
    open_hub();
    {
        int fd = dial();

        CHECK(strcmp(answer_of(fd), "closed") == 0);
        close(fd);
    }
    CHECK(strstr(ask_over_tls("mon-2", MESSAGE("S6", "")), "MSA|AA|S6\r") != NULL);
    CHECK_ROW("neither a certificate nor an address");
    CHECK(strcmp(ask_over_tls(NULL, MESSAGE("S7", "")), "") == 0);
}

/* ---- for whom ---- */

#define HEAD(id, rest) "MSH|^~\\&|A||||||ORU^R01|" id "|P|2.6" rest "\r"
#define SCOPE "does not speak for"

static const struct {
    const char *name, *message;
    const char *want; /* in the answer */
} named[] = {
    {"a bed of its unit", HEAD("W1", "") "PV1||I|ICU^^5\rOBX|1|NM|1^x^L||72\r", "MSA|AA|W1\r"},
    {"a bed of another unit", HEAD("W2", "") "PV1||I|WARD^^5\rOBX|1|NM|1^x^L||72\r",
     "MSA|AE|W2\rERR||OBX^1^18|204^"},
    {"the second patient's bed",
     HEAD("W3", "") "PID|||1\rPV1||I|ICU^^5\rOBX|1|NM|1^x^L||72\rPID|||2\rPV1||I|WARD^^1\r"
                    "OBX|1|NM|1^x^L||72\r",
     "MSA|AE|W3\rERR||OBX^2^18|204^"},
    {"equipment of somebody else in a bed of its unit",
     HEAD("W4", "") "PV1||I|ICU^^5\rOBX|1|NM|1^x^L||72|||||||||||||PUMP-7\r",
     "MSA|AE|W4\rERR||OBX^1^18|204^"},
    {"a line without a value names nobody",
     HEAD("W5", "") "PV1||I|WARD^^5\rOBX|1||69965^x^MDC|1.0.0.0|||||||X\r", "MSA|AA|W5\r"},
    {"a patient without a bed is not in the bed of the one before",
     HEAD("W6", "") "PV1||I|WARD^^5\rPID|||2\rOBX|1|NM|1^x^L||72\r", "MSA|AA|W6\r"},
    {"an escaped separator is what it stands for",
     HEAD("W7", "") "OBX|1|NM|1^x^L||72|||||||||||||ICU\\S\\9\r", "MSA|AA|W7\r"},
    {"enhanced: commit error", HEAD("W8", "|||AL|NE") "OBX|1|NM|1^x^L||72|||||||||||||PUMP-7\r",
     "MSA|CE|W8\rERR||OBX^1^18|204^"},
};

static void test_whom_a_sender_speaks_for(void)
{
    int fd = dial();

    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
        uint64_t before = raw_count();
        bool is_taken = strstr(named[i].want, "|AA|") != NULL;
        struct vg_slice refused;
        const char *answer;

        CHECK_ROW(named[i].name);
        send_frame(fd, named[i].message);
        answer = answer_of(fd);
        if (!CHECK(strstr(answer, named[i].want) != NULL))
            printf("  %s\n", answer);
        CHECK(raw_count() == before + 1); /* kept in any case */
        refused = stream_header_get(newest().headers, "refused");
        CHECK(is_taken ? !refused.ptr
                       : memmem(refused.ptr, refused.len, SCOPE, strlen(SCOPE)) != NULL);
    }
    close(fd);
}

static void test_settings_that_are_wrong(void)
{
    static const char *const senders[] = {"10.0.0.1",      "10.0.0.1=", "10.0.0.300=a",
                                          "10.0.0.1/33=a", "=a",        "10.0.0.1=a/b",
                                          "::1/129=a"};
    struct hub_config wrong = config;
    struct hub *opened = NULL;
    struct vg_err err = {0};

    for (size_t i = 0; i < sizeof(senders) / sizeof(senders[0]); i++) {
        CHECK_ROW(senders[i]);
        wrong.hl7_senders = senders[i];
        CHECK(hub_open(&wrong, stream, &opened, &err) == VG_REJECT);
        CHECK(strcmp(err.code, "hub.config") == 0);
    }
    CHECK_ROW("an authority that is not there");
    wrong.hl7_senders = "";
    wrong.hl7_client_ca = "/nonexistent";
    CHECK(hub_open(&wrong, stream, &opened, &err) == VG_REJECT);
    CHECK_ROW("neither: no listener");
    hub_close(hub);
    hub = NULL;
    config.hl7_senders = config.hl7_client_ca = NULL;
    open_hub();
    CHECK(hub_hl7_port(hub) == 0 && hub_hl7_plain_port(hub) == 0);
}

int main(void)
{
    open_all();
    RUN(test_a_message_is_stored_as_it_came_and_acknowledged);
    RUN(test_frames);
    RUN(test_a_frame_in_any_pieces);
    RUN(test_modes);
    RUN(test_a_message_that_is_too_large_is_refused_and_told);
    RUN(test_an_answer_waits_for_the_disk);
    RUN(test_a_full_disk_answers_nobody_and_loses_nothing);
    RUN(test_many_at_once_are_answered_in_their_order);
    RUN(test_a_half_frame_and_silence_end_a_connection);
    RUN(test_whom_a_sender_speaks_for);
    RUN(test_senders);
    RUN(test_settings_that_are_wrong);
    stream_consumer_close(consumer);
    close_all();
    return vg_test_report();
}
