/* cors.c -- pages of other origins, SMART apps say: which may read what we answer (CORS).
 *
 * Only those of fhir.cors_origins, and without credentials: a browser then sends no cookie, so such
 * a page can do what the token that it was given allows, and nothing in a person's name. A
 * preflight is answered for any address: what there is and who may is said by the request itself.
 */
#include "fhir/rest_int.h"

static bool is_listed(const char *origins, struct vg_slice origin)
{
    struct vg_slice list = vg_slice_of(origins);

    while (list.len && origin.len)
        if (vg_slice_eq_nocase(vg_slice_trim(vg_slice_cut(&list, ',')), origin))
            return true;
    return false;
}

bool fhir_cors_reply(const struct fhir_store *store, struct vg_http_request *request)
{
    struct vg_slice origin = vg_http_header(request, "Origin");

    if (!store->cors_origins || !*store->cors_origins)
        return false;
    vg_http_add_header(request, "Vary", VG_SLICE("Origin"));
    if (!is_listed(store->cors_origins, origin))
        return false;
    vg_http_add_header(request, "Access-Control-Allow-Origin", origin);
    if (!vg_slice_is(vg_http_method(request), "OPTIONS") ||
        !vg_http_header(request, "Access-Control-Request-Method").ptr) {
        vg_http_add_header(request, "Access-Control-Expose-Headers",
                           VG_SLICE("Content-Location, ETag, Last-Modified, Location, Retry-After, "
                                    "WWW-Authenticate"));
        return false;
    }
    vg_http_add_header(request, "Access-Control-Allow-Methods",
                       VG_SLICE("GET, HEAD, POST, PUT, PATCH, DELETE"));
    vg_http_add_header(request, "Access-Control-Allow-Headers",
                       VG_SLICE("Accept, Authorization, Cache-Control, Content-Type, If-Match, "
                                "If-Modified-Since, If-None-Exist, If-None-Match, Prefer, "
                                "X-Requested-With"));
    vg_http_add_header(request, "Access-Control-Max-Age", VG_SLICE("600"));
    vg_http_reply(request, 204, NULL, (struct vg_slice){0});
    return true;
}
