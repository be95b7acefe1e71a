/* smart.c -- SMART Backend Services: a program shows who it is and gets a token for five minutes.
 *
 * A client is registered with its public keys (a JWKS, or where it is) and the scopes it may have.
 * It posts an assertion that it has signed (private_key_jwt, RS384 or ES384) to /fhir/auth/token;
 * each assertion is good once. The token is random; only its SHA-256 is kept, so a copy of the
 * database opens nothing. A client that is removed loses its tokens at once. The keys are in
 * jwks.c.
 */
#include "fhir/smart_int.h"

#include "base/crypto.h"
#include "base/db.h"
#include "fhir/jwks_int.h"
#include "fhir/rest_int.h"
#include "fhir/side_int.h"

#include <stdio.h>

#define TOKEN_PREFIX "vgf_"
#define TOKEN_CHARS (sizeof(TOKEN_PREFIX) - 1 + 64)
#define TOKEN_LIFE_US (5 * VG_MINUTE_US)
#define ASSERTION_LIFE_US (5 * VG_MINUTE_US)
#define SKEW_US (30 * VG_SECOND_US) /* clocks differ */
#define ASSERTION_BYTES_MAX 16384u

/* ---- registered clients ---- */

enum vg_status fhir_client_put(const char *path, struct vg_slice name, struct vg_slice jwks,
                               struct vg_slice scopes, struct vg_err *err)
{
    struct fhir_side *side = NULL;
    struct fhir_access access;
    struct vg_arena arena;
    const char *why = "";
    bool is_usable;
    enum vg_status st;

    vg_arena_init(&arena, 0);
    is_usable = fhir_jwks_is_usable(&arena, jwks, &why);
    vg_arena_fini(&arena);
    if (!is_usable)
        return vg_fail(err, VG_REJECT, "fhir.jwks", 0, "the key set cannot be used: %s", why);
    if (!fhir_scopes_parse(scopes, &access))
        return vg_fail(err, VG_REJECT, "fhir.scope", 0,
                       "scopes are like \"system/Observation.rs system/Patient.read\"");
    if (name.len == 0 || name.len >= sizeof(access.caller))
        return vg_fail(err, VG_REJECT, "fhir.client", 0, "a client's name has 1 to %zu bytes",
                       sizeof(access.caller) - 1);
    st = fhir_side_open(path, &side, err);
    if (st == VG_OK)
        st = fhir_side_run(side,
                           "INSERT INTO client(name, jwks, scopes, made_us) VALUES(?,?,?,?)"
                           " ON CONFLICT(name) DO UPDATE SET jwks=excluded.jwks,"
                           " scopes=excluded.scopes",
                           &(struct fhir_side_args){.texts = {name, jwks, scopes},
                                                    .text_count = 3,
                                                    .numbers = {vg_now_us()},
                                                    .number_count = 1},
                           err);
    fhir_side_close(side);
    return st;
}

enum vg_status fhir_client_remove(const char *path, struct vg_slice name, struct vg_err *err)
{
    struct fhir_side *side = NULL;
    enum vg_status st = fhir_side_open(path, &side, err);

    if (st == VG_OK)
        st = fhir_side_run(side, "DELETE FROM client WHERE name=?",
                           &(struct fhir_side_args){.texts = {name}, .text_count = 1}, err);
    fhir_side_close(side);
    return st;
}

enum vg_status fhir_client_list(const char *path, struct vg_buf *out, struct vg_err *err)
{
    struct fhir_side *side = NULL;
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = fhir_side_open(path, &side, err);

    if (st == VG_OK)
        st = fhir_side_begin(side, "SELECT name, scopes FROM client ORDER BY name", &stmt, err);
    if (st == VG_OK) {
        while ((st = vg_db_step(stmt, err)) == VG_OK) {
            struct vg_slice name = vg_db_text(stmt, 0), scopes = vg_db_text(stmt, 1);

            vg_buf_printf(out, "%.*s\t%.*s\n", VG_FMT(name), VG_FMT(scopes));
        }
        fhir_side_end(side, stmt);
    }
    fhir_side_close(side);
    return st == VG_END ? VG_OK : st;
}

/* ---- assertions ---- */

struct assertion {
    struct vg_slice client, jti;
    int64_t ends_us;
    struct vg_slice scopes; /* that the client may have */
};

static bool names_us(const struct vg_json *audience, struct vg_slice address)
{
    if (vg_json_is(audience, VG_JSON_STRING))
        return vg_slice_eq(audience->text, address);
    for (const struct vg_json *one = audience ? audience->child : NULL; one; one = one->next)
        if (vg_slice_eq(vg_json_text(one), address))
            return true;
    return false;
}

/* Seconds since 1970, also with a fraction. */
static bool seconds_of(const struct vg_json *value, int64_t *ret_us)
{
    double seconds;

    if (!vg_json_to_double(value, &seconds) || seconds < 0 || seconds > 1e11)
        return false;
    *ret_us = (int64_t)(seconds * 1e6);
    return true;
}

static const char *claims_check(struct fhir_job *job, const struct vg_json *claims,
                                struct assertion *found)
{
    struct vg_slice address =
        vg_arena_printf(&job->arena, "%.*s/auth/token", VG_FMT(job->store->base_url));
    int64_t now_us = vg_now_us(), not_before_us = 0;

    found->client = vg_json_get_text(claims, "sub");
    found->jti = vg_json_get_text(claims, "jti");
    if (found->client.len == 0 || !vg_slice_eq(found->client, vg_json_get_text(claims, "iss")))
        return "iss and sub must both be the client";
    if (!names_us(vg_json_get(claims, "aud"), address))
        return "aud must be the token endpoint";
    if (!seconds_of(vg_json_get(claims, "exp"), &found->ends_us) ||
        found->ends_us + SKEW_US <= now_us)
        return "the assertion has expired";
    if (found->ends_us > now_us + ASSERTION_LIFE_US + SKEW_US)
        return "exp must be within five minutes";
    if (vg_json_get(claims, "nbf") && (!seconds_of(vg_json_get(claims, "nbf"), &not_before_us) ||
                                       not_before_us > now_us + SKEW_US))
        return "the assertion is not valid yet";
    if (found->jti.len == 0 || found->jti.len > 256)
        return "a jti is needed";
    return NULL;
}

static enum vg_status client_find(struct fhir_job *job, struct vg_slice name,
                                  struct vg_slice *ret_jwks, struct vg_slice *ret_scopes,
                                  struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum vg_status st = fhir_side_begin(job->store->side,
                                        "SELECT jwks, scopes FROM client WHERE name=?", &stmt, err);

    if (st != VG_OK)
        return st;
    vg_db_bind_text(stmt, 1, name);
    st = vg_db_step(stmt, err);
    if (st == VG_OK) {
        *ret_jwks = vg_arena_dup(&job->arena, vg_db_text(stmt, 0));
        *ret_scopes = vg_arena_dup(&job->arena, vg_db_text(stmt, 1));
    }
    fhir_side_end(job->store->side, stmt);
    return st;
}

/* NULL: the assertion is good, and has now been used. Else why not. */
static const char *assertion_check(struct fhir_job *job, struct vg_slice jwt,
                                   struct assertion *found)
{
    struct vg_arena *arena = &job->arena;
    struct vg_slice rest = jwt, head_text, claims_text, signature, signed_text, jwks = {0};
    struct vg_json *head = NULL, *claims = NULL;
    struct vg_err err = {0};
    const char *why;
    enum vg_status st;

    if (jwt.len > ASSERTION_BYTES_MAX)
        return "the assertion is too large";
    head_text = fhir_base64url_decode(arena, vg_slice_cut(&rest, '.'));
    claims_text = fhir_base64url_decode(arena, vg_slice_cut(&rest, '.'));
    signature = fhir_base64url_decode(arena, rest);
    if (!head_text.len || !claims_text.len || !signature.len ||
        vg_json_parse(arena, head_text, NULL, &head, NULL, NULL) != VG_OK ||
        vg_json_parse(arena, claims_text, NULL, &claims, NULL, NULL) != VG_OK)
        return "the assertion is no signed JWT";
    signed_text = (struct vg_slice){jwt.ptr, jwt.len - rest.len - 1};
    why = claims_check(job, claims, found);
    if (why)
        return why;
    st = client_find(job, found->client, &jwks, &found->scopes, &err);
    /* An unknown client and a wrong signature look the same from outside. */
    if (st != VG_OK || !fhir_jwks_has_signed(job->store, arena, jwks, head, signed_text, signature))
        return "the client is not known, or its signature does not fit";
    st =
        fhir_side_run(job->store->side, "INSERT INTO assertion(client, jti, ends_us) VALUES(?,?,?)",
                      &(struct fhir_side_args){.texts = {found->client, found->jti},
                                               .text_count = 2,
                                               .numbers = {found->ends_us},
                                               .number_count = 1},
                      &err);
    if (st != VG_OK)
        return "the assertion has been used before";
    return NULL;
}

/* ---- tokens ---- */

static unsigned rights_for(const struct fhir_access *access, unsigned type)
{
    unsigned rights = 0;

    for (size_t i = 0; i < access->scope_count; i++)
        if (access->scopes[i].type == 0 || access->scopes[i].type == type)
            rights |= access->scopes[i].rights;
    return rights;
}

static void scope_write(struct vg_buf *out, unsigned type, unsigned rights)
{
    static const char letters[] = "cruds";

    if (!rights)
        return;
    vg_buf_printf(out, "%ssystem/%s.", out->len ? " " : "", type ? fhir_type_name(type) : "*");
    for (unsigned i = 0; i < 5; i++)
        if (rights & (1u << i))
            vg_buf_put_byte(out, (uint8_t)letters[i]);
}

/* What was asked for and may be had. */
static void scopes_grant(const struct fhir_access *allowed, const struct fhir_access *wanted,
                         struct vg_buf *out)
{
    for (size_t i = 0; i < wanted->scope_count; i++) {
        const struct fhir_scope *want = &wanted->scopes[i];

        scope_write(out, want->type, rights_for(allowed, want->type) & want->rights);
        for (size_t n = 0; n < allowed->scope_count && want->type == 0; n++)
            if (allowed->scopes[n].type)
                scope_write(out, allowed->scopes[n].type, allowed->scopes[n].rights & want->rights);
    }
}

static void token_hash(struct vg_slice token, char out[static 65])
{
    vg_sha256_hex(token, out);
}

static enum vg_status token_make(struct fhir_job *job, const struct assertion *assertion,
                                 struct vg_slice scopes, char out[static TOKEN_CHARS + 1],
                                 struct vg_err *err)
{
    struct fhir_side *side = job->store->side;
    uint8_t secret[32];
    char hash[65];
    int64_t now_us = vg_now_us();
    enum vg_status st;

    vg_random(secret, sizeof(secret));
    memcpy(out, TOKEN_PREFIX, sizeof(TOKEN_PREFIX) - 1);
    vg_hex(secret, sizeof(secret), out + sizeof(TOKEN_PREFIX) - 1);
    token_hash(vg_slice_of(out), hash);
    st = fhir_side_run(
        side, "INSERT INTO token(hash, client, scopes, ends_us) VALUES(?,?,?,?)",
        &(struct fhir_side_args){.texts = {vg_slice_of(hash), assertion->client, scopes},
                                 .text_count = 3,
                                 .numbers = {now_us + TOKEN_LIFE_US},
                                 .number_count = 1},
        err);
    /* An assertion is remembered for as long as it could be used again. */
    if (st == VG_OK)
        st = fhir_side_run(side, "DELETE FROM token WHERE ends_us<?",
                           &(struct fhir_side_args){.numbers = {now_us}, .number_count = 1}, err);
    if (st == VG_OK)
        st = fhir_side_run(
            side, "DELETE FROM assertion WHERE ends_us<?",
            &(struct fhir_side_args){.numbers = {now_us - 2 * SKEW_US}, .number_count = 1}, err);
    return st;
}

bool fhir_smart_is_token(struct vg_slice bearer)
{
    return bearer.len == TOKEN_CHARS && vg_slice_starts(bearer, VG_SLICE(TOKEN_PREFIX));
}

enum vg_status fhir_smart_access(struct fhir_store *store, struct vg_slice bearer,
                                 struct fhir_access *ret_access, struct vg_err *err)
{
    sqlite3_stmt *stmt = NULL;
    char hash[65];
    enum vg_status st;

    if (!store->side || !fhir_smart_is_token(bearer))
        return VG_END;
    token_hash(bearer, hash);
    st = fhir_side_begin(store->side,
                         "SELECT t.scopes, t.client FROM token t JOIN client c ON c.name=t.client"
                         " WHERE t.hash=? AND t.ends_us>?",
                         &stmt, err);
    if (st != VG_OK)
        return st;
    vg_db_bind_text(stmt, 1, vg_slice_of(hash));
    (void)sqlite3_bind_int64(stmt, 2, vg_now_us());
    st = vg_db_step(stmt, err);
    if (st == VG_OK &&
        (!fhir_scopes_parse(vg_db_text(stmt, 0), ret_access) ||
         !vg_slice_to_cstr(vg_db_text(stmt, 1), ret_access->caller, sizeof(ret_access->caller))))
        st = VG_END;
    fhir_side_end(store->side, stmt);
    return st;
}

/* ---- endpoints ---- */

static void oauth_error(struct fhir_job *job, int http_status, const char *code, const char *why)
{
    struct vg_json_writer w;

    vg_buf_clear(&job->out);
    vg_json_writer_init(&w, &job->out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "error", vg_slice_of(code));
    vg_json_member_string(&w, "error_description", vg_slice_of(why));
    vg_json_close_object(&w);
    job->http_status = http_status;
}

static struct vg_slice form_get(struct fhir_job *job, const char *name)
{
    struct vg_slice rest = vg_slice_trim(job->body);

    while (rest.len) {
        struct vg_slice value = vg_slice_cut(&rest, '&');

        if (vg_slice_is(vg_slice_cut(&value, '='), name))
            return vg_url_decode(&job->arena, value, true);
    }
    return (struct vg_slice){0};
}

void fhir_run_token(struct fhir_job *job)
{
    static const char kind[] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    struct vg_slice scope = form_get(job, "scope");
    struct assertion assertion = {0};
    struct fhir_access allowed, wanted;
    struct vg_json_writer w;
    struct vg_err err = {0};
    struct vg_buf granted;
    char token[TOKEN_CHARS + 1];
    const char *why;

    job->content_type_out = "application/json";
    if (!job->store->side) {
        oauth_error(job, 400, "invalid_request", "this service gives out no tokens");
        return;
    }
    if (!vg_slice_is(form_get(job, "grant_type"), "client_credentials")) {
        oauth_error(job, 400, "unsupported_grant_type", "grant_type must be client_credentials");
        return;
    }
    if (!vg_slice_is(form_get(job, "client_assertion_type"), kind)) {
        oauth_error(job, 400, "invalid_request", "client_assertion_type must be jwt-bearer");
        return;
    }
    why = assertion_check(job, form_get(job, "client_assertion"), &assertion);
    if (why) {
        oauth_error(job, 401, "invalid_client", why);
        return;
    }
    vg_buf_init(&granted, 16384);
    if (!fhir_scopes_parse(scope, &wanted) || !fhir_scopes_parse(assertion.scopes, &allowed)) {
        oauth_error(job, 400, "invalid_scope", "scopes are like system/Observation.rs");
    } else {
        scopes_grant(&allowed, &wanted, &granted);
        if (granted.len == 0)
            oauth_error(job, 400, "invalid_scope", "none of these scopes may be had");
        else if (token_make(job, &assertion, vg_buf_slice(&granted), token, &err) != VG_OK)
            oauth_error(job, 503, "temporarily_unavailable", "try again");
        else {
            vg_json_writer_init(&w, &job->out);
            vg_json_open_object(&w);
            vg_json_member_string(&w, "access_token", vg_slice_of(token));
            vg_json_member_string(&w, "token_type", VG_SLICE("bearer"));
            vg_json_member_i64(&w, "expires_in", TOKEN_LIFE_US / VG_SECOND_US);
            vg_json_member_string(&w, "scope", vg_buf_slice(&granted));
            vg_json_close_object(&w);
            job->http_status = 200;
            /* For the audit: who it was is known only now. */
            if (!vg_slice_to_cstr(assertion.client, job->access.caller, sizeof(job->access.caller)))
                job->access.caller[0] = '\0';
        }
    }
    vg_buf_fini(&granted);
}

static void strings(struct vg_json_writer *w, const char *name, const char *const *list)
{
    vg_json_name(w, name);
    vg_json_open_array(w);
    for (; *list; list++)
        vg_json_put_string(w, vg_slice_of(*list));
    vg_json_close_array(w);
}

void fhir_run_smart_configuration(struct fhir_job *job)
{
    static const char *const grants[] = {"client_credentials", NULL};
    static const char *const methods[] = {"private_key_jwt", NULL};
    static const char *const algorithms[] = {"RS384", "ES384", NULL};
    static const char *const scopes[] = {"system/*.cruds", "system/*.rs", "system/*.read",
                                         "system/*.write", NULL};
    static const char *const capabilities[] = {"client-confidential-asymmetric", "permission-v1",
                                               "permission-v2", NULL};
    struct vg_slice address =
        vg_arena_printf(&job->arena, "%.*s/auth/token", VG_FMT(job->store->base_url));
    struct vg_json_writer w;

    job->content_type_out = "application/json";
    job->http_status = 200;
    vg_json_writer_init(&w, &job->out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "token_endpoint", address);
    strings(&w, "token_endpoint_auth_methods_supported", methods);
    strings(&w, "token_endpoint_auth_signing_alg_values_supported", algorithms);
    strings(&w, "grant_types_supported", grants);
    strings(&w, "scopes_supported", scopes);
    strings(&w, "capabilities", capabilities);
    vg_json_close_object(&w);
}
