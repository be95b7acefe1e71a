/* http_token.h -- the bearer token that a server wants to see, kept fresh.
 *
 * Three ways to come by one, by what the configuration says:
 *   a file              read again when it changes (somebody else refreshes it)
 *   client id + secret  OAuth2 client credentials, HTTP Basic at the token endpoint
 *   client id + key     SMART Backend Services: a signed assertion (RS384 or ES384, by the key)
 *
 * A token that was fetched is kept until shortly before it expires. Any thread.
 */
#ifndef VG_BASE_HTTP_TOKEN_H
#define VG_BASE_HTTP_TOKEN_H

#include "base/http_client.h"

struct vg_http_token;

/* NULL or "" = not given. All is copied. */
struct vg_http_token_config {
    const char *file; /* holds the token itself */
    const char *url;  /* token endpoint: https, or http on this machine */
    const char *client_id;
    const char *secret;   /* client credentials */
    const char *key_path; /* PEM private key, RSA or P-384: private_key_jwt instead of a secret */
    const char *key_id;   /* its "kid" in the JWK set that the server knows */
    const char *scope;    /* words with blanks between them */
    struct vg_http_client_config http;
};

/* True: the configuration names a way. */
bool vg_http_token_is_wanted(const struct vg_http_token_config *config);

/* Nothing is fetched yet. VG_REJECT http.token: the configuration cannot work. */
VG_CHECK enum vg_status vg_http_token_open(const struct vg_http_token_config *config,
                                           struct vg_http_token **ret_token, struct vg_err *err);
void vg_http_token_close(struct vg_http_token *token); /* NULL is fine */

/* "Authorization: Bearer …" in the arena. VG_RETRY http.token: there is none just now. */
VG_CHECK enum vg_status vg_http_token_get(struct vg_http_token *token, struct vg_arena *arena,
                                          const char **ret_header, struct vg_err *err);
/* The server did not take this header: the next get fetches anew, unless somebody already has. */
void vg_http_token_refused(struct vg_http_token *token, const char *header);

#endif
