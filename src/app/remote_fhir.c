/* remote_fhir.c -- see remote_fhir.h. */
#include "app/remote_fhir.h"

#include "base/log.h"
#include "stream/stage.h"

/* Written as a dead letter of the stage "fhir", with the resource as payload. */
static enum vg_status on_refused(void *ctx, struct vg_slice type, struct vg_slice id,
                                 struct vg_slice body, const char *why, struct vg_err *err)
{
    struct stream *stream = ctx;
    struct stream_record record = {.time_us = vg_now_us(), .value = body};
    struct vg_err reason = {0};
    struct stream_out out;
    struct vg_buf key;
    enum vg_status st;

    (void)vg_fail(&reason, VG_REJECT, "fhir.refused", 0, "%s", why);
    vg_buf_init(&key, 4096);
    vg_buf_printf(&key, "%.*s/%.*s", VG_FMT(type), VG_FMT(id));
    record.key = vg_buf_slice(&key);
    stream_out_init(&out);
    stage_deadletter(&out, STREAM_DEADLETTER, 0, &record, "fhir", &reason);
    st = stream_commit(stream, 0, &out, NULL, err);
    stream_out_fini(&out);
    vg_buf_fini(&key);
    vg_log(VG_LOG_WARN, "fhir", "fhir.refused", "a write that was kept back was refused: %s",
           st == VG_OK ? "it is a dead letter now" : "it stays, the dead letter was not written");
    return st;
}

static void on_change(void *ctx, bool is_away, const char *text)
{
    (void)ctx;
    if (is_away)
        vg_log(VG_LOG_WARN, "fhir", "fhir.away", "waiting for FHIR server: %s", text);
    else
        vg_log(VG_LOG_INFO, "fhir", "fhir.there", "%s", text);
}

void remote_fhir_config(const struct settings *s, struct stream *stream,
                        struct fhir_remote_config *ret)
{
    *ret = (struct fhir_remote_config){
        .url = s->fhir_url,
        .ca_path = s->fhir_ca,
        .cert_path = s->fhir_cert,
        .key_path = s->fhir_key,
        .token_file = s->fhir_token_file,
        .token_url = s->fhir_token_url,
        .client_id = s->fhir_client_id,
        .client_secret = s->fhir_client_secret,
        .client_key_path = s->fhir_client_key,
        .client_key_id = s->fhir_client_key_id,
        .scope = s->fhir_scope,
        .connections = (uint32_t)s->fhir_connections,
        .bundle_entries_max = (uint32_t)s->fhir_bundle,
        .timeout_ms = (uint32_t)(s->fhir_timeout_us / 1000),
        .watch_us = s->fhir_watch_us,
        .spool_bytes_max = (uint64_t)s->fhir_spool_bytes,
        .refused = on_refused,
        .changed = on_change,
        .ctx = stream,
    };
}
