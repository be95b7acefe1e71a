/* http_parse.c -- the strict reader of one HTTP/1.1 request head; see http_parse.h. */
#include "base/http_parse.h"

static bool is_token(struct vg_slice text)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c && strchr(others, c))))
            return false;
    }
    return text.len > 0;
}

/* No control characters; a tab only where it is allowed. */
static bool is_text(struct vg_slice text, bool allows_space)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (c == 0x7f || (c <= ' ' && !(allows_space && (c == ' ' || c == '\t'))))
            return false;
    }
    return true;
}

/* A line up to CRLF. False: no CRLF, or a bare CR or LF in it. */
static bool cut_line(struct vg_slice *rest, struct vg_slice *ret_line)
{
    const char *end = rest->len ? memchr(rest->ptr, '\n', rest->len) : NULL;
    size_t len = end ? (size_t)(end - rest->ptr) : 0;

    if (len == 0 || end[-1] != '\r')
        return false;
    *ret_line = (struct vg_slice){rest->ptr, len - 1};
    rest->ptr = end + 1;
    rest->len -= len + 1;
    return !ret_line->len || !memchr(ret_line->ptr, '\r', ret_line->len);
}

/* "http://host/path" is what a proxy is sent, and every server must understand. */
static struct vg_slice without_authority(struct vg_slice target)
{
    static const struct vg_slice schemes[] = {{"http://", 7}, {"https://", 8}};

    for (size_t i = 0; i < 2; i++) {
        const char *path;

        if (target.len < schemes[i].len ||
            !vg_slice_eq_nocase((struct vg_slice){target.ptr, schemes[i].len}, schemes[i]))
            continue;
        target = vg_slice_from(target, schemes[i].len);
        path = target.len ? memchr(target.ptr, '/', target.len) : NULL;
        return path ? vg_slice_from(target, (size_t)(path - target.ptr)) : VG_SLICE("/");
    }
    return target;
}

static int parse_request_line(struct vg_slice line, struct http_head *head)
{
    struct vg_slice rest = line, target;

    head->method = vg_slice_cut(&rest, ' ');
    target = vg_slice_cut(&rest, ' ');
    if (!is_token(head->method) || head->method.len > 16 || !is_text(target, false))
        return 400;
    if (!vg_slice_starts(rest, VG_SLICE("HTTP/")) || rest.len != 8)
        return 400;
    head->is_http_1_0 = vg_slice_is(rest, "HTTP/1.0");
    if (!head->is_http_1_0 && !vg_slice_is(rest, "HTTP/1.1"))
        return 505;
    target = without_authority(target);
    if (target.len == 0 || target.ptr[0] != '/')
        return 400;
    head->raw_path = vg_slice_cut(&target, '?');
    head->query = target;
    return 0;
}

/* One member of a comma-separated list, as Connection has them. */
static bool list_has(struct vg_slice list, const char *word)
{
    while (list.len)
        if (vg_slice_eq_nocase(vg_slice_trim(vg_slice_cut(&list, ',')), vg_slice_of(word)))
            return true;
    return false;
}

/* Digits only: no sign, no list. */
static bool parse_length(struct vg_slice text, uint64_t *ret)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
    return vg_slice_to_u64(text, ret);
}

struct seen {
    unsigned hosts, lengths, codings;
};

/* What a header means for the connection. */
static int apply_header(struct http_head *head, const struct http_header *header, struct seen *seen)
{
    if (vg_slice_eq_nocase(header->name, VG_SLICE("host"))) {
        if (seen->hosts++)
            return 400;
    } else if (vg_slice_eq_nocase(header->name, VG_SLICE("content-length"))) {
        if (seen->lengths++ || !parse_length(header->value, &head->content_length))
            return 400;
    } else if (vg_slice_eq_nocase(header->name, VG_SLICE("transfer-encoding"))) {
        if (seen->codings++)
            return 400;
        if (!vg_slice_eq_nocase(header->value, VG_SLICE("chunked")))
            return 501;
        head->is_chunked = true;
    } else if (vg_slice_eq_nocase(header->name, VG_SLICE("connection"))) {
        if (list_has(header->value, "close"))
            head->keeps_alive = false;
        else if (head->is_http_1_0 && list_has(header->value, "keep-alive"))
            head->keeps_alive = true;
    } else if (vg_slice_eq_nocase(header->name, VG_SLICE("expect"))) {
        if (!vg_slice_eq_nocase(header->value, VG_SLICE("100-continue")))
            return 417;
        head->expects_continue = !head->is_http_1_0;
    }
    return 0;
}

int http_head_parse(struct vg_slice text, struct http_head *ret)
{
    struct vg_slice rest = text, line = {0};
    struct seen seen = {0};
    int status;

    *ret = (struct http_head){0};
    if (!cut_line(&rest, &line))
        return 400;
    status = parse_request_line(line, ret);
    if (status)
        return status;
    ret->keeps_alive = !ret->is_http_1_0;
    for (;;) {
        struct http_header header;
        const char *colon;

        if (!cut_line(&rest, &line))
            return 400;
        if (line.len == 0)
            break;
        colon = memchr(line.ptr, ':', line.len);
        if (!colon)
            return 400;
        header.name = (struct vg_slice){line.ptr, (size_t)(colon - line.ptr)};
        header.value = vg_slice_trim(vg_slice_from(line, header.name.len + 1));
        if (!is_token(header.name) || !is_text(header.value, true))
            return 400;
        if (ret->header_count == HTTP_HEADERS_MAX)
            return 431;
        ret->headers[ret->header_count++] = header;
        status = apply_header(ret, &header, &seen);
        if (status)
            return status;
    }
    if (rest.len || (!ret->is_http_1_0 && seen.hosts != 1))
        return 400;
    /* Two lengths are how one request is smuggled inside another. */
    if (seen.codings && (seen.lengths || ret->is_http_1_0))
        return 400;
    return 0;
}

struct vg_slice http_head_get(const struct http_head *head, const char *name)
{
    struct vg_slice wanted = vg_slice_of(name);

    for (size_t i = 0; i < head->header_count; i++)
        if (vg_slice_eq_nocase(head->headers[i].name, wanted))
            return head->headers[i].value.len ? head->headers[i].value : VG_SLICE("");
    return (struct vg_slice){0};
}

bool http_chunk_size_parse(struct vg_slice line, uint64_t *ret_size)
{
    struct vg_slice rest = line, digits = vg_slice_trim(vg_slice_cut(&rest, ';'));
    uint64_t size = 0;

    if (digits.len == 0 || digits.len > 15) /* 60 bits: no overflow */
        return false;
    for (size_t i = 0; i < digits.len; i++) {
        char c = digits.ptr[i];

        if (c >= '0' && c <= '9')
            size = size * 16 + (uint64_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            size = size * 16 + (uint64_t)((c | 32) - 'a' + 10);
        else
            return false;
    }
    *ret_size = size;
    return true;
}
