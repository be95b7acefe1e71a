/* http_client.h -- HTTP requests, for threads that may wait.
 *
 * libcurl underneath, connections kept between calls. One client belongs to one thread at a time; a
 * pool is a fixed number of them for any number of threads.
 */
#ifndef VG_BASE_HTTP_CLIENT_H
#define VG_BASE_HTTP_CLIENT_H

#include "base/arena.h"

struct vg_http_client;

struct vg_http_client_config {
    const char *ca_path;   /* PEM of the authorities to trust; NULL = the system's */
    const char *cert_path; /* PEM, shown to servers that ask who we are; NULL = none */
    const char *key_path;  /* PEM of its private key */
    uint32_t timeout_ms;   /* whole request; 0 = 10,000 */
    uint32_t connect_ms;   /* of that for the connection; 0 = no bound of its own */
    size_t body_bytes_max; /* of an answer; 0 = 16 MiB */
};

struct vg_http_answer {
    int status;                                                /* 200… */
    struct vg_slice body;                                      /* in the arena */
    struct vg_slice content_type, etag, location, retry_after; /* "" when absent */
    struct vg_slice date, last_modified;
};

VG_CHECK enum vg_status vg_http_client_open(const struct vg_http_client_config *config,
                                            struct vg_http_client **ret_client, struct vg_err *err);
void vg_http_client_close(struct vg_http_client *client);

/* VG_OK: an answer of any status came. VG_RETRY: none came (refused, timed out, TLS): code
 * http.connect, http.timeout, http.tls… Only http:// and https:// URLs; redirects are not followed.
 * `headers` are "Name: value" lines, NULL-ended, may be NULL. The URL is not put into err (it may
 * hold a secret): only its host is. */
VG_CHECK enum vg_status vg_http_fetch(struct vg_http_client *client, const char *method,
                                      const char *url, const char *const *headers,
                                      struct vg_slice body, struct vg_arena *arena,
                                      struct vg_http_answer *ret_answer, struct vg_err *err);

/* ---- a pool: at most `count` requests at a time, each on a connection that stays open ---- */

struct vg_http_pool;

VG_CHECK enum vg_status vg_http_pool_open(const struct vg_http_client_config *config,
                                          uint32_t count, struct vg_http_pool **ret_pool,
                                          struct vg_err *err);
void vg_http_pool_close(struct vg_http_pool *pool); /* nobody is inside; NULL is fine */

/* As vg_http_fetch, from any thread. Waits for a free connection at most as long as a request may
 * take: VG_RETRY http.busy. */
VG_CHECK enum vg_status vg_http_pool_fetch(struct vg_http_pool *pool, const char *method,
                                           const char *url, const char *const *headers,
                                           struct vg_slice body, struct vg_arena *arena,
                                           struct vg_http_answer *ret_answer, struct vg_err *err);

#endif
