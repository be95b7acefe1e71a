/* http_parse.h -- the head of an HTTP/1.1 request, read strictly. Private to base. */
#ifndef VG_BASE_HTTP_PARSE_H
#define VG_BASE_HTTP_PARSE_H

#include "base/slice.h"

#define HTTP_HEADERS_MAX 64

struct http_header {
    struct vg_slice name, value; /* value without white space around it */
};

/* All slices point into the text that was parsed. */
struct http_head {
    struct vg_slice method;
    struct vg_slice raw_path; /* as sent, no query */
    struct vg_slice query;    /* after '?' */
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t header_count;
    uint64_t content_length; /* 0 when none was given */
    bool is_chunked;
    bool is_http_1_0;
    bool keeps_alive;
    bool expects_continue;
};

/* `text` is a whole head: request line, header lines and the empty line, each ended by CRLF.
 * Returns 0, or the status to answer with (400, 417, 431, 501, 505); *ret is then half filled and
 * not to be used. RFC 9112 without its leniencies: no bare LF, no folded lines, no space before a
 * colon, not both of Content-Length and Transfer-Encoding, one Host. What two readers could read
 * differently is refused. */
int http_head_parse(struct vg_slice text, struct http_head *ret);

/* The first header of that name; ptr NULL: absent. */
struct vg_slice http_head_get(const struct http_head *head, const char *name);

/* A chunk's size line without its CRLF; extensions are ignored. */
bool http_chunk_size_parse(struct vg_slice line, uint64_t *ret_size);

#endif
