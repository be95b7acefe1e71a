/* http_parse_test.c -- requests that are taken, and refused ones with the reason. */
#include "base/http_parse.h"

#include "vg_test.h"

#define HOST "Host: a\r\n"

static void test_heads(void)
{
    static const struct {
        const char *what, *text;
        int status;
        uint64_t length;
        bool is_chunked, keeps_alive;
    } rows[] = {
        {"a plain GET is kept alive", "GET /a?b=c HTTP/1.1\r\n" HOST "\r\n", 0, 0, false, true},
        {"1.0 is not kept alive", "GET / HTTP/1.0\r\n\r\n", 0, 0, false, false},
        {"1.0 may ask for it", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", 0, 0, false,
         true},
        {"close is close", "GET / HTTP/1.1\r\n" HOST "connection: foo, Close\r\n\r\n", 0, 0, false,
         false},
        {"a length", "POST / HTTP/1.1\r\n" HOST "Content-Length: 12\r\n\r\n", 0, 12, false, true},
        {"chunks", "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n", 0, 0, true,
         true},
        {"a proxy's form of the target", "GET http://h:1/a HTTP/1.1\r\n" HOST "\r\n", 0, 0, false,
         true},
        {"no Host", "GET / HTTP/1.1\r\n\r\n", 400, 0, false, false},
        {"two Hosts", "GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400, 0, false, false},
        {"two lengths", "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
         400, 0, false, false},
        {"a list of lengths", "POST / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\n", 400, 0,
         false, false},
        {"a signed length", "POST / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\n", 400, 0, false,
         false},
        {"an overflowing length",
         "POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", 400, 0, false,
         false},
        {"length and chunks",
         "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
         0, false, false},
        {"another coding", "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n",
         501, 0, false, false},
        {"a bare LF", "GET / HTTP/1.1\n" HOST "\r\n", 400, 0, false, false},
        {"a folded line", "GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", 400, 0, false, false},
        {"space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, 0, false, false},
        {"no colon", "GET / HTTP/1.1\r\n" HOST "X\r\n\r\n", 400, 0, false, false},
        {"no path", "GET a HTTP/1.1\r\n" HOST "\r\n", 400, 0, false, false},
        {"two spaces", "GET  / HTTP/1.1\r\n" HOST "\r\n", 400, 0, false, false},
        {"a version to come", "GET / HTTP/2.0\r\n" HOST "\r\n", 505, 0, false, false},
        {"TLS on a plain port", "\x16\x03\x01\x02\r\n\r\n", 400, 0, false, false},
        {"a control character",
         "GET / HTTP/1.1\r\n" HOST "X: a\x01"
         "b\r\n\r\n",
         400, 0, false, false},
        {"another expectation", "GET / HTTP/1.1\r\n" HOST "Expect: tea\r\n\r\n", 417, 0, false,
         false},
    };
    struct http_head head;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_ROW(rows[i].what);
        CHECK(http_head_parse(vg_slice_of(rows[i].text), &head) == rows[i].status);
        if (rows[i].status)
            continue;
        CHECK(head.content_length == rows[i].length);
        CHECK(head.is_chunked == rows[i].is_chunked);
        CHECK(head.keeps_alive == rows[i].keeps_alive);
    }
}

static void test_parts_of_a_head(void)
{
    struct http_head head;

    CHECK(http_head_parse(
              VG_SLICE("GET /a%20b?x=1?2 HTTP/1.1\r\nhost:a\r\nX-Y: \t v w \r\nE:\r\n\r\n"),
              &head) == 0);
    CHECK(vg_slice_is(head.method, "GET"));
    CHECK(vg_slice_is(head.raw_path, "/a%20b"));
    CHECK(vg_slice_is(head.query, "x=1?2"));
    CHECK(vg_slice_is(http_head_get(&head, "x-y"), "v w"));
    CHECK(http_head_get(&head, "e").ptr && http_head_get(&head, "e").len == 0);
    CHECK(!http_head_get(&head, "z").ptr);
}

static void test_too_many_headers(void)
{
    char text[4096] = "GET / HTTP/1.1\r\n" HOST;
    struct http_head head;
    size_t len = strlen(text);

    for (int i = 0; i < HTTP_HEADERS_MAX; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "A%d: b\r\n", i);
    (void)snprintf(text + len, sizeof(text) - len, "\r\n");
    CHECK(http_head_parse(vg_slice_of(text), &head) == 431);
}

static void test_chunk_sizes(void)
{
    uint64_t size = 0;

    CHECK(http_chunk_size_parse(VG_SLICE("1aF"), &size) && size == 0x1af);
    CHECK(http_chunk_size_parse(VG_SLICE("10;name=value"), &size) && size == 16);
    CHECK(!http_chunk_size_parse(VG_SLICE(""), &size));
    CHECK(!http_chunk_size_parse(VG_SLICE("-1"), &size));
    CHECK(!http_chunk_size_parse(VG_SLICE("0x10"), &size));
    CHECK(!http_chunk_size_parse(VG_SLICE("ffffffffffffffffff"), &size));
}

int main(void)
{
    RUN(test_heads);
    RUN(test_parts_of_a_head);
    RUN(test_too_many_headers);
    RUN(test_chunk_sizes);
    return vg_test_report();
}
