/* Any bytes: no crash, and what was accepted lies inside them. */
#include "base/http_parse.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct vg_slice part, struct vg_slice whole)
{
    if (part.len && (part.ptr < whole.ptr || part.ptr + part.len > whole.ptr + whole.len) &&
        !vg_slice_is(part, "/"))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vg_slice text = {(const char *)data, size};
    struct http_head head;
    uint64_t chunk = 0;

    if (http_head_parse(text, &head) == 0) {
        inside(head.method, text);
        inside(head.raw_path, text);
        inside(head.query, text);
        if (head.raw_path.len == 0 || head.raw_path.ptr[0] != '/')
            abort();
        for (size_t i = 0; i < head.header_count; i++) {
            inside(head.headers[i].name, text);
            inside(head.headers[i].value, text);
        }
        if (head.is_chunked && head.content_length)
            abort();
    }
    (void)http_chunk_size_parse(text, &chunk);
    return 0;
}
