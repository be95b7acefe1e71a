/* The server with real sockets on loopback: raw ones, and libcurl over TLS with the made authority.
 */
#include "base/http_server.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/http_client.h"
#include "base/tls.h"
#include "vg_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE_MS 5000

static char dir[] = "/tmp/vigil-http-XXXXXX";
static char ca_path[64];
static struct vg_loop *loop;
static struct vg_http_server *plain, *secure, *tiny;
static struct vg_tls *tls;

/* What the handlers have done, told to the test's thread. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct vg_http_request *held, *streaming; /* under lock */
static int held_count, closed_count, stream_count;

static bool wait_for(const int *value, int wanted)
{
    struct timespec until;
    int error = 0;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DEADLINE_MS / 1000;
    pthread_mutex_lock(&lock);
    while (*value < wanted && !error)
        error = pthread_cond_timedwait(&changed, &lock, &until);
    error = *value < wanted;
    pthread_mutex_unlock(&lock);
    return !error;
}

static void note(int *value)
{
    pthread_mutex_lock(&lock);
    (*value)++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void write_error(struct vg_buf *out, int status, const char *code, const char *text)
{
    vg_buf_printf(out, "<%d %s%s>", status, code, text[0] ? "" : ", without a word");
}

/* ---- handlers ---- */

static void on_hello(struct vg_http_request *request, void *ctx)
{
    (void)ctx;
    vg_http_add_header(request, "ETag", VG_SLICE("\"1\r\nX-Evil: 1\""));
    vg_http_add_header(request, "cache-control", VG_SLICE("max-age=1"));
    vg_http_reply(request, 200, "text/plain", VG_SLICE("hello"));
}

static void on_echo(struct vg_http_request *request, void *ctx)
{
    (void)ctx;
    vg_http_reply(request, 201, "application/octet-stream", vg_http_body(request));
}

static void on_parts(struct vg_http_request *request, void *ctx)
{
    struct vg_slice text = vg_arena_printf(
        vg_http_arena(request), "%.*s|%.*s|%.*s|%.*s|%.*s|%.*s|%.*s", VG_FMT(vg_http_path(request)),
        VG_FMT(vg_http_raw_path(request)), VG_FMT(vg_http_query(request)),
        VG_FMT(vg_http_query_get(request, "q")), VG_FMT(vg_http_query_get(request, "form")),
        VG_FMT(vg_http_cookie(request, "sid")), VG_FMT(vg_http_peer(request)));

    (void)ctx;
    vg_http_reply(request, 200, "text/plain", text);
}

static void on_large(struct vg_http_request *request, void *ctx)
{
    size_t len = 8u << 20;
    char *bytes = vg_arena_alloc(vg_http_arena(request), len);

    (void)ctx;
    vg_http_reply(request, bytes ? 200 : 500, "text/plain",
                  (struct vg_slice){bytes, bytes ? len : 0});
}

static void on_hold(struct vg_http_request *request, void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&lock);
    held = request;
    pthread_mutex_unlock(&lock);
    note(&held_count);
}

static void release_held(void *ctx)
{
    struct vg_http_request *request;

    (void)ctx;
    pthread_mutex_lock(&lock);
    request = held;
    held = NULL;
    pthread_mutex_unlock(&lock);
    /* Whole, even where the peer has gone. */
    vg_http_reply(request, vg_slice_is(vg_http_path(request), "/hold") ? 200 : 500, "text/plain",
                  VG_SLICE("held"));
}

static void on_stream_closed(void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&lock);
    streaming = NULL;
    pthread_mutex_unlock(&lock);
    note(&closed_count);
}

static void on_stream(struct vg_http_request *request, void *ctx)
{
    (void)ctx;
    vg_http_stream_begin(request, "text/event-stream", on_stream_closed, NULL);
    vg_http_stream_write(request, VG_SLICE(": welcome\n\n"));
    pthread_mutex_lock(&lock);
    streaming = request;
    pthread_mutex_unlock(&lock);
    note(&stream_count);
}

static void send_event(void *ctx)
{
    if (streaming)
        vg_http_stream_write(streaming, vg_slice_of(ctx));
}

static void end_stream(void *ctx)
{
    (void)ctx;
    if (streaming)
        vg_http_stream_end(streaming);
}

static size_t pending_bytes;

static void send_much(void *ctx)
{
    static char bytes[1 << 20];

    (void)ctx;
    memset(bytes, 'x', sizeof(bytes));
    for (int i = 0; i < 7 && streaming; i++)
        vg_http_stream_write(streaming, (struct vg_slice){bytes, sizeof(bytes)});
    pending_bytes = streaming ? vg_http_stream_pending(streaming) : 0;
    for (int i = 0; i < 20 && streaming; i++)
        vg_http_stream_write(streaming, (struct vg_slice){bytes, sizeof(bytes)});
    note(&held_count);
}

/* ---- a client made of a socket ---- */

static int dial(const struct vg_http_server *server)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(vg_http_server_port(server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (!CHECK(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static void say(int fd, const char *text)
{
    CHECK(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

/* Reads until `mark` has been seen (NULL: until the end); false at the deadline. */
static bool hear(int fd, char *out, size_t size_bytes, const char *mark)
{
    int64_t until_us = vg_mono_us() + DEADLINE_MS * 1000;
    size_t len = 0;

    for (;;) {
        struct pollfd poller = {.fd = fd, .events = POLLIN};
        int left_ms = (int)((until_us - vg_mono_us()) / 1000);
        ssize_t got;

        out[len] = '\0';
        if (mark && strstr(out, mark))
            return true;
        if (left_ms <= 0 || poll(&poller, 1, left_ms) != 1 || len + 1 >= size_bytes)
            return false;
        got = recv(fd, out + len, size_bytes - 1 - len, 0);
        if (got <= 0)
            return !mark && got == 0;
        len += (size_t)got;
    }
}

/* One exchange on a connection of its own, to its end. */
static bool exchange(const struct vg_http_server *server, const char *text, char *out,
                     size_t size_bytes)
{
    int fd = dial(server);
    bool is_whole;

    if (fd < 0)
        return false;
    say(fd, text);
    is_whole = hear(fd, out, size_bytes, NULL);
    (void)close(fd);
    return is_whole;
}

#define CLOSE "Host: a\r\nConnection: close\r\n"

static void test_answers(void)
{
    static const struct {
        const char *what, *text, *status, *has, *has_not;
    } rows[] = {
        {"a page", "GET /hello HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 200 OK", "\r\n\r\nhello",
         NULL},
        {"security headers", "GET /hello HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 200",
         "X-Content-Type-Options: nosniff", "Strict-Transport"},
        {"a handler's own header replaces ours", "GET /hello HTTP/1.1\r\n" CLOSE "\r\n",
         "HTTP/1.1 200", "cache-control: max-age=1", "no-store"},
        {"no header is smuggled into a reply", "GET /hello HTTP/1.1\r\n" CLOSE "\r\n",
         "HTTP/1.1 200", "ETag: \"1  X-Evil: 1\"\r\n", "\r\nX-Evil"},
        {"HEAD has the length and no body", "HEAD /hello HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 200",
         "Content-Length: 5", "\r\n\r\nhello"},
        {"nothing there", "GET /nothing HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 404",
         "{\"error\":{\"code\":\"http.path\"", NULL},
        {"another method", "DELETE /hello HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 405",
         "Allow: GET, HEAD\r\n", NULL},
        {"too large by its length", "POST /echo HTTP/1.1\r\n" CLOSE "Content-Length: 65537\r\n\r\n",
         "HTTP/1.1 413", "Connection: close", NULL},
        {"too large by its chunks",
         "POST /echo HTTP/1.1\r\n" CLOSE "Transfer-Encoding: chunked\r\n\r\n10001\r\n", NULL, NULL,
         NULL},
        {"chunks are put together",
         "POST /echo HTTP/1.1\r\n" CLOSE "Transfer-Encoding: chunked\r\n\r\n"
         "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n",
         "HTTP/1.1 201", "\r\n\r\nabcde", NULL},
        {"broken chunks",
         "POST /echo HTTP/1.1\r\n" CLOSE "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
         "HTTP/1.1 400", NULL, NULL},
        {"a body that waits to be asked for",
         "POST /echo HTTP/1.1\r\n" CLOSE "Content-Length: 2\r\nExpect: 100-continue\r\n\r\nok",
         "HTTP/1.1 201", "\r\n\r\nok", "100 Continue"},
        {"parts",
         "GET /parts/a%20b?x=1&q=c+d%26&y HTTP/1.1\r\n" CLOSE "Cookie: a=b; sid=77\r\n\r\n",
         "HTTP/1.1 200", "\r\n\r\n/parts/a b|/parts/a%20b|x=1&q=c+d%26&y|c d&||77|127.0.0.1", NULL},
        {"a form",
         "POST /parts/ HTTP/1.1\r\n" CLOSE "Content-Type: application/x-www-form-urlencoded; "
         "charset=utf-8\r\nContent-Length: 8\r\n\r\nform=a+b",
         "HTTP/1.1 200", "|a b||127", NULL},
        {"the longest prefix wins", "GET /parts/own/x HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 200",
         "hello", NULL},
        {"dots climb nowhere", "GET /parts/%2e%2e/x HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 400",
         NULL, NULL},
        {"a NUL in the path", "GET /parts/%00 HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 400", NULL,
         NULL},
        {"not HTTP", "\x16\x03\x01\r\n\r\n", "HTTP/1.1 400", NULL, NULL},
        {"errors below a path are its owner's", "GET /shaped/x HTTP/1.1\r\n" CLOSE "\r\n",
         "HTTP/1.1 404", "Content-Type: text/shaped\r\n", "{"},
        {"at the path itself, with a query", "GET /shaped?a=/b HTTP/1.1\r\n" CLOSE "\r\n",
         "HTTP/1.1 404", "\r\n\r\n<404 http.path>", "{"},
        {"a path that only begins like it is another's", "GET /shapedx HTTP/1.1\r\n" CLOSE "\r\n",
         "HTTP/1.1 404", "{\"error\":", NULL},
        {"of a head that cannot be read", "GET /shaped/x?y=z HTTP/1.1\r\nspam\r\n\r\n",
         "HTTP/1.1 400", "\r\n\r\n<400 http.request>", NULL},
        {"of a body that is too large",
         "POST /shaped HTTP/1.1\r\n" CLOSE "Content-Length: 65537\r\n\r\n", "HTTP/1.1 413",
         "<413 http.request>", NULL},
        {"of a path that leads out", "GET /shaped/../x HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 400",
         "<400 http.path>", NULL},
        {"HTTP/1.0", "GET /hello HTTP/1.0\r\n\r\n", "HTTP/1.1 200", "Connection: close", NULL},
        {"pipelined",
         "GET /hello HTTP/1.1\r\nHost: a\r\n\r\nGET /parts/2 HTTP/1.1\r\n" CLOSE "\r\n",
         "HTTP/1.1 200", "/parts/2|", NULL},
    };
    char out[8192];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_ROW(rows[i].what);
        if (!rows[i].status) /* has a test of its own: more is to be sent */
            continue;
        CHECK(exchange(plain, rows[i].text, out, sizeof(out)));
        CHECK(strncmp(out, rows[i].status, strlen(rows[i].status)) == 0);
        CHECK(!rows[i].has || strstr(out, rows[i].has));
        CHECK(!rows[i].has_not || !strstr(out, rows[i].has_not));
    }
}

static void test_a_body_over_the_limit_gets_its_413_though_more_is_sent(void)
{
    static char chunk[70000], out[8192];
    int fd = dial(plain);

    (void)memset(chunk, 'a', sizeof(chunk) - 1);
    say(fd, "POST /echo HTTP/1.1\r\n" CLOSE "Transfer-Encoding: chunked\r\n\r\n1116f\r\n");
    say(fd, chunk);
    say(fd, chunk);
    CHECK(hear(fd, out, sizeof(out), "HTTP/1.1 413"));
    (void)close(fd);
}

static void test_headers_over_the_limit_are_refused(void)
{
    static char text[40000], out[8192];
    int len = snprintf(text, sizeof(text), "GET /shaped HTTP/1.1\r\nHost: a\r\nX: ");

    memset(text + len, 'x', sizeof(text) - 1 - (size_t)len);
    CHECK(exchange(plain, text, out, sizeof(out)));
    CHECK(strncmp(out, "HTTP/1.1 431", 12) == 0);
    CHECK(strstr(out, "<431 http.request>"));
    memcpy(text, "GET /shaped?", 12);
    memset(text + 12, 'x', (size_t)len - 12);
    CHECK(exchange(plain, text, out, sizeof(out)));
    CHECK(strstr(out, "<414 http.request>"));
}

static void test_a_request_may_come_byte_by_byte(void)
{
    static const char text[] = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyz";
    char out[4096];
    int fd = dial(plain);

    for (size_t i = 0; i + 1 < sizeof(text); i++) {
        char one[2] = {text[i], '\0'};

        say(fd, one);
    }
    CHECK(hear(fd, out, sizeof(out), "\r\n\r\nxyz"));
    say(fd, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"); /* and the connection lives on */
    CHECK(hear(fd, out, sizeof(out), "\r\n\r\nhello"));
    (void)close(fd);
}

static void test_a_held_request_outlives_its_peer(void)
{
    char out[4096];
    int fd = dial(plain), other;

    say(fd, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\n" CLOSE "\r\n");
    CHECK(wait_for(&held_count, 1));
    CHECK(vg_loop_post(loop, release_held, NULL));
    CHECK(hear(fd, out, sizeof(out), NULL)); /* then the pipelined one is served */
    CHECK(strstr(out, "\r\n\r\nheldHTTP/1.1 200") && strstr(out, "\r\n\r\nhello"));
    (void)close(fd);

    fd = dial(plain);
    say(fd, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(wait_for(&held_count, 2));
    const struct linger hard = {.l_onoff = 1}; /* RST: gone beyond doubt */
    CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)) == 0);
    (void)close(fd);
    other = dial(plain);
    say(other, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(hear(other, out, sizeof(out), "hello")); /* the loop has passed the RST */
    CHECK(vg_loop_post(loop, release_held, NULL));
    say(other, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(hear(other, out, sizeof(out), "hello"));
    (void)close(other);

    fd = dial(plain); /* half-closed: still answered */
    say(fd, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(shutdown(fd, SHUT_WR) == 0);
    CHECK(wait_for(&held_count, 3));
    CHECK(vg_loop_post(loop, release_held, NULL));
    CHECK(hear(fd, out, sizeof(out), NULL));
    CHECK(strstr(out, "\r\n\r\nheld") != NULL);
    (void)close(fd);
}

static void test_events_are_seen_and_a_viewer_that_goes_is_noticed(void)
{
    static char event[] = "event: beat\ndata: {}\n\n";
    char out[4096];
    int fd = dial(plain);

    say(fd, "GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(hear(fd, out, sizeof(out), "welcome"));
    CHECK(strstr(out, "Content-Type: text/event-stream\r\n") != NULL);
    CHECK(strstr(out, "Transfer-Encoding: chunked\r\n") != NULL);
    CHECK(vg_loop_post(loop, send_event, event));
    CHECK(hear(fd, out, sizeof(out), "16\r\nevent: beat\ndata: {}\n\n\r\n"));
    (void)close(fd);
    CHECK(wait_for(&closed_count, 1)); /* without anything being written */

    fd = dial(plain);
    say(fd, "GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(wait_for(&stream_count, 2));
    CHECK(vg_loop_post(loop, end_stream, NULL));
    CHECK(hear(fd, out, sizeof(out), "\r\n0\r\n\r\n"));
    CHECK(wait_for(&closed_count, 2));
    say(fd, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"); /* an ended stream leaves the connection */
    CHECK(hear(fd, out, sizeof(out), "hello"));
    (void)close(fd);
}

static void test_a_viewer_that_does_not_read_is_measured_and_cut_off(void)
{
    int fd = dial(plain), before = held_count;

    say(fd, "GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(wait_for(&stream_count, 3));
    CHECK(vg_loop_post(loop, send_much, NULL));
    CHECK(wait_for(&held_count, before + 1));
    CHECK(pending_bytes > 1u << 20);
    CHECK(wait_for(&closed_count, 3));
    (void)close(fd);
}

static void test_idle_and_slow_peers_are_dropped(void)
{
    char out[1024];
    int idle = dial(tiny), slow = dial(tiny), body = dial(tiny);
    int64_t start_us = vg_mono_us();

    say(slow, "GET /hello HT");
    say(body, "POST /shaped HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    CHECK(hear(idle, out, sizeof(out), NULL) && out[0] == '\0');
    CHECK(hear(slow, out, sizeof(out), NULL) && out[0] == '\0');
    CHECK(hear(body, out, sizeof(out), NULL) && strncmp(out, "HTTP/1.1 408", 12) == 0);
    CHECK(strstr(out, "<408 http.request>"));
    CHECK(vg_mono_us() - start_us < 3 * VG_SECOND_US);
    (void)close(idle);
    (void)close(slow);
    (void)close(body);
}

static void test_the_longest_idle_connection_makes_room(void)
{
    char out[4096];
    int first = dial(tiny), more[3];

    say(first, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(hear(first, out, sizeof(out), "hello"));
    for (int i = 0; i < 3; i++) { /* connections_max is 3 */
        more[i] = dial(tiny);
        say(more[i], "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
        CHECK(hear(more[i], out, sizeof(out), "hello"));
    }
    CHECK(hear(first, out, sizeof(out), NULL)); /* closed */
    (void)close(first);
    for (int i = 0; i < 3; i++)
        (void)close(more[i]);
}

/* ---- with libcurl over TLS ---- */

static struct vg_http_client *client_open(const char *ca)
{
    const struct vg_http_client_config config = {
        .ca_path = ca, .body_bytes_max = 9u << 20, .timeout_ms = DEADLINE_MS};
    struct vg_http_client *client = NULL;

    CHECK(vg_http_client_open(&config, &client, NULL) == VG_OK);
    return client;
}

static void test_tls_with_the_made_authority(void)
{
    static char large[60000];
    const char *const headers[] = {"Content-Type: application/json", "X-Name: value", NULL};
    struct vg_http_client *client = client_open(ca_path), *stranger = client_open(NULL);
    struct vg_http_answer answer;
    struct vg_arena arena;
    struct vg_err err;
    char url[128];

    vg_arena_init(&arena, 64u << 20);
    (void)snprintf(url, sizeof(url), "https://localhost:%u/hello", vg_http_server_port(secure));
    for (int i = 0; i < 3; i++) { /* on one connection */
        CHECK(vg_http_fetch(client, "GET", url, NULL, (struct vg_slice){0}, &arena, &answer,
                            &err) == VG_OK);
        CHECK(answer.status == 200 && vg_slice_is(answer.body, "hello"));
        CHECK(vg_slice_is(answer.content_type, "text/plain") && answer.etag.len > 0);
        CHECK(answer.location.ptr && answer.location.len == 0);
    }
    CHECK(vg_http_fetch(client, "HEAD", url, NULL, (struct vg_slice){0}, &arena, &answer, &err) ==
          VG_OK);
    CHECK(answer.status == 200 && answer.body.len == 0);

    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%u/echo", vg_http_server_port(secure));
    memset(large, 'e', sizeof(large));
    CHECK(vg_http_fetch(client, "POST", url, headers, (struct vg_slice){large, sizeof(large)},
                        &arena, &answer, &err) == VG_OK);
    CHECK(answer.status == 201 && answer.body.len == sizeof(large));

    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%u/large", vg_http_server_port(secure));
    CHECK(vg_http_fetch(client, "GET", url, NULL, (struct vg_slice){0}, &arena, &answer, &err) ==
          VG_OK);
    CHECK(answer.status == 200 && answer.body.len == 8u << 20);

    CHECK(vg_http_fetch(stranger, "GET", url, NULL, (struct vg_slice){0}, &arena, &answer, &err) ==
          VG_RETRY);
    CHECK(strcmp(err.code, "http.tls") == 0 && !strstr(err.text, "large"));
    vg_http_client_close(client);
    vg_http_client_close(stranger);
    vg_arena_fini(&arena);
}

static void test_a_client_says_why_no_answer_came(void)
{
    const struct vg_http_client_config config = {.timeout_ms = 300, .body_bytes_max = 1000};
    struct vg_http_client *client = NULL;
    struct vg_http_answer answer;
    struct vg_arena arena;
    struct vg_err err;
    char hold[64], large[64];
    const struct {
        const char *url;
        enum vg_status status;
        const char *code;
    } rows[] = {
        {"http://127.0.0.1:1/?secret=1", VG_RETRY, "http.connect"},
        {"http://nowhere.invalid/secret", VG_RETRY, "http.resolve"},
        {"file:///etc/passwd", VG_REJECT, "http.url"},
        {hold, VG_RETRY, "http.timeout"},
        {large, VG_REJECT, "http.size"},
    };

    vg_arena_init(&arena, 0);
    (void)snprintf(hold, sizeof(hold), "http://127.0.0.1:%u/hold", vg_http_server_port(plain));
    (void)snprintf(large, sizeof(large), "http://u:secret@127.0.0.1:%u/large",
                   vg_http_server_port(plain));
    CHECK(vg_http_client_open(&config, &client, NULL) == VG_OK);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_ROW(rows[i].url);
        CHECK(vg_http_fetch(client, "GET", rows[i].url, NULL, (struct vg_slice){0}, &arena, &answer,
                            &err) == rows[i].status);
        CHECK(strcmp(err.code, rows[i].code) == 0);
        CHECK(!strstr(err.text, "secret"));
    }
    CHECK_ROW("");
    CHECK(wait_for(&held_count, 1));
    CHECK(vg_loop_post(loop, release_held, NULL));
    vg_http_client_close(client);
    vg_arena_fini(&arena);
}

static void test_url_coding(void)
{
    struct vg_arena arena;
    struct vg_buf buf;

    vg_arena_init(&arena, 0);
    vg_buf_init(&buf, 0);
    vg_url_encode(&buf, VG_SLICE("a b/\xc3\xa9~$.%"));
    CHECK(vg_slice_is(vg_buf_slice(&buf), "a%20b%2F%C3%A9~%24.%25"));
    CHECK(vg_slice_is(vg_url_decode(&arena, vg_buf_slice(&buf), false), "a b/\xc3\xa9~$.%"));
    CHECK(vg_slice_is(vg_url_decode(&arena, VG_SLICE("a+b"), false), "a+b"));
    CHECK(!vg_url_decode(&arena, VG_SLICE("a%2"), false).ptr);
    CHECK(!vg_url_decode(&arena, VG_SLICE("a%zz"), false).ptr);
    vg_buf_fini(&buf);
    vg_arena_fini(&arena);
}

static struct vg_http_server *serve(const struct vg_http_server_config *config)
{
    static const struct {
        const char *method, *path;
        vg_http_handler *handler;
    } routes[] = {
        {"GET", "/hello", on_hello}, {"POST", "/echo", on_echo},
        {"*", "/parts/*", on_parts}, {"GET", "/parts/own/*", on_hello},
        {"GET", "/hold", on_hold},   {"GET", "/events", on_stream},
        {"GET", "/large", on_large}, {"POST", "/hello", on_echo},
    };
    static const struct vg_http_error_form form = {"/shaped", "text/shaped", write_error};
    struct vg_http_server *server = NULL;

    if (!CHECK(vg_http_server_open(loop, config, &server, NULL) == VG_OK))
        exit(1);
    CHECK(vg_http_shape_errors(server, &form, NULL) == VG_OK);
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]) - (config->connections_max == 0); i++)
        CHECK(vg_http_route(server, routes[i].method, routes[i].path, routes[i].handler, NULL,
                            NULL) == VG_OK);
    return server;
}

int main(void)
{
    char cert[64], key[64], command[128];

    if (!mkdtemp(dir) || vg_crypto_init(NULL) != VG_OK)
        return 1;
    (void)snprintf(ca_path, sizeof(ca_path), "%s/ca.crt", dir);
    (void)snprintf(cert, sizeof(cert), "%s/server.crt", dir);
    (void)snprintf(key, sizeof(key), "%s/server.key", dir);
    if (!CHECK(vg_tls_make_certificates(dir, NULL, NULL) == VG_OK) ||
        !CHECK(vg_tls_server_open(cert, key, &tls, NULL) == VG_OK) ||
        !CHECK(vg_loop_open("http", &loop, NULL) == VG_OK))
        return 1;
    plain = serve(&(struct vg_http_server_config){.address = "127.0.0.1", .body_bytes_max = 65536});
    secure = serve(&(struct vg_http_server_config){.address = "127.0.0.1", .tls = tls});
    tiny = serve(&(struct vg_http_server_config){
        .address = "127.0.0.1", .idle_timeout_s = 1, .connections_max = 3});
    if (vg_loop_start(loop, NULL) != VG_OK)
        return 1;
    RUN(test_answers);
    RUN(test_a_body_over_the_limit_gets_its_413_though_more_is_sent);
    RUN(test_headers_over_the_limit_are_refused);
    RUN(test_a_request_may_come_byte_by_byte);
    RUN(test_a_held_request_outlives_its_peer);
    RUN(test_events_are_seen_and_a_viewer_that_goes_is_noticed);
    RUN(test_a_viewer_that_does_not_read_is_measured_and_cut_off);
    RUN(test_idle_and_slow_peers_are_dropped);
    RUN(test_the_longest_idle_connection_makes_room);
    RUN(test_tls_with_the_made_authority);
    RUN(test_a_client_says_why_no_answer_came);
    RUN(test_url_coding);
    vg_loop_stop(loop);
    vg_http_server_close(plain);
    vg_http_server_close(secure);
    vg_http_server_close(tiny);
    vg_loop_close(loop);
    vg_tls_close(tls);
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command) == 0 ? vg_test_report() : 1;
}
