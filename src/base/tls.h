/* tls.h -- TLS 1.2+ contexts, and the certificates that a fresh installation makes for itself. */
#ifndef VG_BASE_TLS_H
#define VG_BASE_TLS_H

#include "base/status.h"

#include <stdbool.h>

struct vg_tls;
struct bufferevent;
struct event_base;
struct ssl_ctx_st;

/* A server's side: TLS 1.3, and 1.2 with ECDHE and AEAD only. Files are PEM; a key file that others
 * than its owner may read is refused (tls.key_mode). */
VG_CHECK enum vg_status vg_tls_server_open(const char *cert_path, const char *key_path,
                                           struct vg_tls **ret_tls, struct vg_err *err);
void vg_tls_close(struct vg_tls *tls);
struct ssl_ctx_st *vg_tls_context(struct vg_tls *tls);

/* A bufferevent over an accepted socket (closed with it), TLS when tls is given, plain when NULL.
 */
struct bufferevent *vg_tls_accept(struct event_base *base, int fd, struct vg_tls *tls);

/* Makes, where they are missing, in `dir`: ca.crt, ca.key (10 years) and server.crt, server.key
 * (825 days; P-256; names: localhost, the host's name, and `extra_names`, comma-separated, may be
 * NULL; addresses 127.0.0.1 and ::1). Keys have mode 0600. */
VG_CHECK enum vg_status vg_tls_make_certificates(const char *dir, const char *extra_names,
                                                 struct vg_err *err);

#endif
