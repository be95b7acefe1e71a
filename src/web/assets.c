/* assets.c -- the browser's app, from the program itself: no folder to lose, no other server to
 * ask.
 *
 * ui/build.mjs makes the files and the table web_assets[] (as C, at build time). A file whose name
 * holds its hash is kept by browsers for ever; the page itself is asked for each time. Any other
 * path that is not a call gets the page: the app's own addresses (/patient/…) can be opened and
 * reloaded.
 */
#include "web/assets_int.h"
#include "web/web_int.h"

static const struct {
    const char *name, *value;
} headers[] = {
    /* No inline script or style, nothing from elsewhere, in nobody's frame. */
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src "
     "'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {"Permissions-Policy", "camera=(), geolocation=(), microphone=()"},
    {"Vary", "Accept-Encoding"},
};

static const struct web_asset_file *find(struct vg_slice path)
{
    for (size_t i = 0; i < web_asset_count; i++) {
        if (vg_slice_is(path, web_assets[i].path))
            return &web_assets[i];
    }
    return NULL;
}

static bool has_dot(struct vg_slice path)
{
    return path.len && memchr(path.ptr, '.', path.len);
}

void web_asset(struct vg_http_request *request, void *ctx)
{
    struct vg_slice path = vg_http_path(request), bytes;
    struct vg_slice accepted = vg_http_header(request, "Accept-Encoding");
    const struct web_asset_file *file = find(path);
    bool takes_gzip = accepted.len && memmem(accepted.ptr, accepted.len, "gzip", 4);

    (void)ctx;
    if (!file && !has_dot(path))
        file = find(VG_SLICE("/index.html"));
    if (!file) {
        vg_http_reply_error(request, 404, "web.not_found", "no such file");
        return;
    }
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        vg_http_add_header(request, headers[i].name, vg_slice_of(headers[i].value));
    vg_http_add_header(request, "Cache-Control",
                       file->is_hashed ? VG_SLICE("public, max-age=31536000, immutable")
                                       : VG_SLICE("no-cache"));
    vg_http_add_header(request, "ETag", vg_slice_of(file->etag));
    if (vg_slice_is(vg_http_header(request, "If-None-Match"), file->etag)) {
        vg_http_reply(request, 304, NULL, (struct vg_slice){0});
        return;
    }
    bytes = (struct vg_slice){(const char *)file->bytes, file->len};
    if (takes_gzip && file->gzip_len < file->len) {
        vg_http_add_header(request, "Content-Encoding", VG_SLICE("gzip"));
        bytes = (struct vg_slice){(const char *)file->gzip, file->gzip_len};
    }
    vg_http_reply(request, 200, file->type, bytes);
}
