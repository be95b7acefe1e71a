/* platform.c -- see platform.h.
 *
 * Everything is opened in one place and closed in the opposite order. Stages do not know each
 * other: the wiring is the list of (stage, partition) below, and what they share is on the topics.
 */
#include "app/platform.h"

#include "alert/alert.h"
#include "app/control.h"
#include "app/remote_fhir.h"
#include "app/speakers.h"
#include "app/watching.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "base/tls.h"
#include "capture/capture.h"
#include "connector/connector.h"
#include "connector/workbench.h"
#include "edge/edge.h"
#include "enrich/enrich.h"
#include "hub/archive.h"
#include "hub/hub.h"
#include "score/score.h"
#include "stream/stage.h"
#include "web/web.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PARTITIONS_MAX 64
#define STAGES_MAX (PARTITIONS_MAX * 8 + 1)
#define DISK_LOW_BYTES (64 << 20)
#define FIRST_PASSWORD_CHARS 20

/* What one partition runs, beside the shared stores. */
struct lane {
    struct connector *connector;
    struct enrich *enrich;
    struct capture *captures[2]; /* by enum lake_table */
    struct score_stage *score, *remote;
    struct alert *alert;
};

struct platform {
    const struct settings *settings;
    enum platform_kind kind;
    struct vg_arena arena; /* paths */
    struct vg_tls *tls;
    struct stream *stream;
    struct fhir_store *fhir;
    struct lake *lake;
    struct care *care;
    struct mapping_store *mappings;
    struct speakers *speakers;
    struct control *control;
    struct score *score;
    struct watching *watching;
    struct archive *archive;
    struct edge *edge;
    struct web *web;
    struct hub *hub;
    struct notify *notify;
    struct vg_loop *reports;
    bool has_reports_thread;
    struct vg_loop *upkeep;
    bool has_upkeep_thread;
    atomic_bool is_closing; /* what runs on its own stops at the next occasion */
    struct lane lanes[PARTITIONS_MAX];
    struct stage *stages[STAGES_MAX];
    const char *stage_names[STAGES_MAX];
    size_t stage_count;
    char first_login[96]; /* "" = there was a user */
};

static const char *path_of(struct platform *p, const char *name)
{
    return settings_path(&p->arena, p->settings, name);
}

/* ---- stores ---- */

static enum vg_status open_tls(struct platform *p, struct vg_err *err)
{
    enum vg_status st = vg_dir_make(path_of(p, "tls"), err);

    if (st == VG_OK)
        st = vg_tls_make_certificates(path_of(p, "tls"), p->settings->names, err);
    if (st == VG_OK)
        st = vg_tls_server_open(path_of(p, "tls/server.crt"), path_of(p, "tls/server.key"), &p->tls,
                                err);
    return st;
}

static enum vg_status open_stream(struct platform *p, struct vg_err *err)
{
    const struct settings *s = p->settings;
    struct stream_config config = {
        .engine = s->stream_engine,
        .dir = path_of(p, "stream"),
        .partitions = (uint32_t)s->stream_partitions,
        .segment_bytes = (uint64_t)s->stream_segment_bytes,
        .retention_bytes = (uint64_t)s->stream_retention_bytes,
        /* Whatever the hub may take fits, with its key and properties: a record that does not
           would refuse everything that came in the same turn. */
        .record_bytes_max = (uint32_t)s->hub_payload_bytes_max + (1u << 20),
    };
    struct vg_buf damage;
    enum vg_status st = stream_open(&config, &p->stream, err);

    if (st != VG_OK)
        return st;
    vg_buf_init(&damage, 1u << 20);
    if (stream_damage(p->stream, &damage) > 0)
        vg_log(VG_LOG_ERROR, "stream", "stream.damage", "%.*s", VG_FMT(vg_buf_slice(&damage)));
    vg_buf_fini(&damage);
    return VG_OK;
}

/* With nobody to log in there is nobody to add somebody: the first user is made here. */
static enum vg_status make_first_user(struct platform *p, struct vg_err *err)
{
    struct care_user user = {.name = "admin", .role = "admin", .display = "Administrator"};
    char password[FIRST_PASSWORD_CHARS + 1], hash[VG_PASSWORD_HASH_SIZE];
    struct vg_json *users;
    struct vg_buf out;
    enum vg_status st;

    vg_buf_init(&out, 0);
    st = care_users(p->care, &out, err);
    if (st == VG_OK)
        st = vg_json_parse(&p->arena, vg_arena_dup(&p->arena, vg_buf_slice(&out)), NULL, &users,
                           NULL, err);
    vg_buf_fini(&out);
    if (st != VG_OK || vg_json_get(users, "users")->count > 0)
        return st;
    vg_random_password(password, FIRST_PASSWORD_CHARS);
    st = vg_password_hash(vg_slice_of(password), false, hash, err);
    if (st == VG_OK)
        st = care_user_put(p->care, &user, hash, err);
    if (st == VG_OK) {
        (void)snprintf(p->first_login, sizeof(p->first_login), "admin %s\n", password);
        st = vg_file_write(path_of(p, "first-login.txt"), vg_slice_of(p->first_login), 0600, err);
    }
    return st;
}

static enum vg_status open_stores(struct platform *p, const char *base_url, struct vg_err *err)
{
    const struct settings *s = p->settings;
    struct fhir_config fhir = {
        .engine = s->fhir_engine,
        .path = path_of(p, "fhir.db"),
        .base_url = base_url,
        .side_path = path_of(p, "fhir-side.db"),
        .audit_path = s->fhir_audit ? path_of(p, "fhir-audit.spool") : NULL,
        .import_dir = s->fhir_import_dir,
        .hook_hosts = s->fhir_subscription_hosts,
        .cors_origins = s->fhir_cors_origins,
    };
    struct lake_config lake = {.engine = s->lake_engine, .dir = path_of(p, "lake")};
    struct care_config care = {.engine = s->care_engine, .path = path_of(p, "care.db")};
    struct fhir_remote_config remote;
    enum vg_status st;

    if (*s->fhir_url) {
        remote_fhir_config(s, p->stream, &remote);
        fhir.engine = "remote";
        fhir.path = path_of(p, "fhir-spool.db");
        fhir.remote = &remote;
    }
    st = fhir_open(&fhir, &p->fhir, err);

    if (st == VG_OK)
        st = lake_open(&lake, &p->lake, err);
    if (st == VG_OK)
        st = care_open(&care, &p->care, err);
    if (st == VG_OK)
        st = make_first_user(p, err);
    return st;
}

/* ---- stages ---- */

static enum vg_status start_stage(struct platform *p, const struct stage_ops *ops, void *self,
                                  uint32_t partition, struct vg_err *err)
{
    struct stage_config config = {
        .ops = ops, .self = self, .stream = p->stream, .partition = partition};
    enum vg_status st = stage_start(&config, &p->stages[p->stage_count], err);

    if (st == VG_OK)
        p->stage_names[p->stage_count++] = ops->name;
    return st;
}

/* Where the partition ends now: what lies before may have been begun by the process before. */
static enum vg_status partition_end(struct platform *p, uint32_t partition, uint64_t *ret_seq,
                                    struct vg_err *err)
{
    struct stream_consumer *tail;
    enum vg_status st =
        stream_consumer_open(p->stream, partition, STREAM_DEVICE_RAW, "end!", &tail, err);

    if (st == VG_OK) {
        *ret_seq = stream_position(tail);
        stream_consumer_close(tail);
    }
    return st;
}

static enum vg_status open_lane(struct platform *p, uint32_t partition, struct vg_err *err)
{
    const struct settings *s = p->settings;
    struct lane *lane = &p->lanes[partition];
    struct connector_config connector = {
        .mappings = p->mappings,
        .identity = s->connector_identity,
        .device_system = s->connector_device_system,
        .store = p->fhir,
        .partition = partition,
        .dedupe_size = (uint32_t)s->hub_inflight_max,
        .identity_age_us = s->connector_identity_age_us,
        .may_speak = speakers_may,
        .may_speak_ctx = p->speakers,
        .zone = s->connector_zone,
        .hl7_processing = s->hl7_processing,
    };
    struct enrich_config enrich = {.store = p->fhir, .partition = partition};
    struct alert_config alert = {
        .care = p->care,
        .fhir = p->fhir,
        .partition = partition,
        .news2_open = s->alert_news2_open,
        .news2_high = s->alert_news2_high,
        .news2_close = s->alert_news2_close,
        .hold_evaluations = s->alert_hold,
        .close_us = s->alert_close_us,
        .hold_us = s->alert_hold_us,
        .refractory_us = s->alert_rest_us,
        .stale_us = s->alert_stale_us,
    };
    enum vg_status st = partition_end(p, partition, &connector.replay_end_seq, err);

    if (st == VG_OK)
        st = connector_open(&connector, &lane->connector, err);
    if (st == VG_OK)
        st = enrich_open(&enrich, &lane->enrich, err);
    for (int table = LAKE_ENRICHED; table <= LAKE_SCORED && st == VG_OK; table++) {
        struct capture_config capture = {
            .lake = p->lake,
            .table = (enum lake_table)table,
            .partition = partition,
            .flush_us = s->lake_flush_us,
            .flush_rows = (size_t)s->lake_flush_rows,
        };

        st = capture_open(&capture, &lane->captures[table], err);
    }
    if (st == VG_OK && p->score)
        st = score_stage_open(p->score, partition, &lane->score, err);
    if (st == VG_OK && p->score)
        st = score_stage_open(p->score, partition, &lane->remote, err);
    if (st == VG_OK)
        st = alert_open(&alert, &lane->alert, err);
    return st;
}

/* The readers before the writers: the last room of the picture first. */
static enum vg_status start_lane(struct platform *p, uint32_t partition, struct vg_err *err)
{
    struct lane *lane = &p->lanes[partition];
    struct capture **captures = lane->captures;
    const struct {
        const struct stage_ops *ops;
        void *self;
    } stages[] = {
        {&web_stage_ops, p->web},
        {alert_stage(lane->alert), lane->alert},
        {capture_stage(captures[LAKE_SCORED]), captures[LAKE_SCORED]},
        {p->score ? score_remote_ops() : NULL, lane->remote},
        {p->score ? score_stage_ops(p->score) : NULL, lane->score},
        {capture_stage(captures[LAKE_ENRICHED]), captures[LAKE_ENRICHED]},
        {enrich_stage_ops(), lane->enrich},
        {connector_stage_ops(), lane->connector},
    };
    enum vg_status st = VG_OK;

    for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]) && st == VG_OK; i++)
        if (stages[i].ops)
            st = start_stage(p, stages[i].ops, stages[i].self, partition, err);
    return st;
}

static void close_lane(struct lane *lane)
{
    connector_close(lane->connector);
    enrich_close(lane->enrich);
    capture_close(lane->captures[LAKE_ENRICHED]);
    capture_close(lane->captures[LAKE_SCORED]);
    score_stage_close(lane->score);
    score_stage_close(lane->remote);
    alert_close(lane->alert);
}

/* ---- the report, on its schedule (step 16) ---- */

static void make_report(void *ctx)
{
    struct platform *p = ctx;
    struct vg_err err = {0};
    int64_t now_us = vg_now_us();

    if (care_report_make(p->care, now_us, now_us + p->settings->care_report_every_us, &err) ==
        VG_OK) {
        vg_step_done(16, 1, vg_now_us() - now_us);
        return;
    }
    vg_step_error(16, &err);
    vg_log_err(VG_LOG_ERROR, "report", &err);
}

static enum vg_status start_reports(struct platform *p, struct vg_err *err)
{
    enum vg_status st = vg_loop_open("report", &p->reports, err);

    if (st == VG_OK)
        st = vg_loop_every(p->reports, p->settings->care_report_every_us, make_report, p, err);
    if (st == VG_OK)
        st = vg_loop_start(p->reports, err);
    p->has_reports_thread = st == VG_OK;
    if (st == VG_OK && !vg_loop_post(p->reports, make_report, p))
        st = vg_fail(err, VG_RETRY, "app.memory", ENOMEM, "reports");
    return st;
}

/* ---- mappings: versions, and whoever changes them ---- */

static enum vg_status open_mappings(struct platform *p, struct vg_err *err)
{
    const struct mapping_store_config config = {
        .dir = path_of(p, "mappings"),
        .device_path = p->settings->connector_device_mapping,
        .fhir_path = p->settings->connector_fhir_mapping,
        .compat = p->settings->connector_compat,
    };

    return mapping_store_open(&config, &p->mappings, err);
}

static enum vg_status mappings_list(void *ctx, struct vg_buf *out, struct vg_err *err)
{
    struct platform *p = ctx;

    (void)err;
    mapping_store_write(p->mappings, out);
    return VG_OK;
}

static enum vg_status mappings_show(void *ctx, struct vg_slice version, struct vg_buf *out,
                                    struct vg_err *err)
{
    return workbench_show(((struct platform *)ctx)->mappings, version, out, err);
}

static enum vg_status mappings_try(void *ctx, struct vg_slice request, struct vg_buf *out,
                                   struct vg_err *err)
{
    return workbench_try(((struct platform *)ctx)->mappings, request, out, err);
}

static enum vg_status mappings_envelope(void *ctx, const struct stream_record *record,
                                        struct vg_buf *out, struct vg_err *err)
{
    const struct settings *s = ((struct platform *)ctx)->settings;

    return workbench_envelope(s->connector_zone, s->hl7_processing, record, out, err);
}

/* The browser's and the command's: who put what in force is audited here for both. */
static enum vg_status mappings_act(void *ctx, struct vg_slice who, struct vg_slice request,
                                   struct vg_buf *out, struct vg_err *err)
{
    struct platform *p = ctx;
    enum vg_status st = workbench_act(p->mappings, who, request, out, err);
    struct vg_arena arena;
    struct vg_json *root;
    struct vg_slice subject;
    struct vg_err why = {0};

    if (st != VG_OK)
        return st;
    vg_arena_init(&arena, 0);
    if (vg_json_parse(&arena, vg_buf_slice(out), NULL, &root, NULL, &why) == VG_OK) {
        subject =
            vg_arena_printf(&arena, "%.*s, it was %.*s", VG_FMT(vg_json_get_text(root, "version")),
                            VG_FMT(vg_json_get_text(root, "previous")));
        if (care_audit(p->care, vg_now_us(), who, "mapping.activate", subject, &why) == VG_OK)
            why.code = NULL;
    }
    if (why.code) /* it is in force, and in the mappings' own history */
        vg_log_err(VG_LOG_ERROR, "app", &why);
    vg_arena_fini(&arena);
    return VG_OK;
}

/* ---- models ---- */

static enum vg_status models_list(void *ctx, struct vg_buf *out, struct vg_err *err)
{
    (void)err;
    score_models_write(((struct platform *)ctx)->score, true, out);
    return VG_OK;
}

/* For the browser and the command: what could be read is in force, also when something else could
 * not. */
static enum vg_status models_reload(void *ctx, struct vg_slice who, struct vg_buf *out,
                                    struct vg_err *err)
{
    struct platform *p = ctx;
    struct vg_err why = {0};
    enum vg_status st;

    if (!p->score)
        return vg_fail(err, VG_REJECT, "score.model", 0, "score.engine is none");
    st = score_reload(p->score, err);
    if (care_audit(p->care, vg_now_us(), who, "model.reload",
                   st == VG_OK ? VG_SLICE("done") : VG_SLICE("done but for one"), &why) != VG_OK)
        vg_log_err(VG_LOG_ERROR, "app", &why);
    score_models_write(p->score, false, out);
    return st;
}

static enum vg_status models_show(void *ctx, struct vg_slice name, struct vg_buf *out,
                                  struct vg_err *err)
{
    const struct platform *p = ctx;

    return p->watching ? watch_write(watching_what(p->watching), name, out, err) : VG_END;
}

static enum vg_status models_watch(void *ctx, struct vg_slice who, struct vg_buf *out,
                                   struct vg_err *err)
{
    struct platform *p = ctx;
    struct vg_err why = {0};
    enum vg_status st;

    if (!p->watching)
        return vg_fail(err, VG_REJECT, "score.model", 0, "no model runs here");
    st = watching_run_now(p->watching, err);
    if (care_audit(p->care, vg_now_us(), who, "model.watch",
                   st == VG_OK ? VG_SLICE("done") : VG_SLICE("not done"), &why) != VG_OK)
        vg_log_err(VG_LOG_ERROR, "app", &why);
    vg_buf_put(out, VG_SLICE("{}"));
    return st;
}

/* `vigil mapping …`, `vigil model reload` and `vigil model watch` */
static enum vg_status command(void *ctx, struct vg_slice who, struct vg_slice request,
                              struct vg_buf *out, struct vg_err *err)
{
    struct vg_arena arena;
    struct vg_json *root = NULL;
    bool is_models = false, is_watch = false;

    vg_arena_init(&arena, 0);
    if (vg_json_parse(&arena, request, NULL, &root, NULL, err) == VG_OK) {
        is_models = vg_slice_is(vg_json_get_text(root, "do"), "models");
        is_watch = vg_slice_is(vg_json_get_text(root, "do"), "watch");
    }
    vg_arena_fini(&arena);
    *err = (struct vg_err){0}; /* whose request it is not says what is wrong with it */
    return is_models  ? models_reload(ctx, who, out, err)
           : is_watch ? models_watch(ctx, who, out, err)
                      : mappings_act(ctx, who, request, out, err);
}

/* ---- the lake's upkeep ---- */

static bool goes_on(void *ctx)
{
    return !atomic_load_explicit(&((struct platform *)ctx)->is_closing, memory_order_relaxed);
}

static void keep_lake(void *ctx)
{
    struct platform *p = ctx;
    struct lake_policy policy = {p->settings->lake_keep_us, p->settings->lake_keep_removed_us};
    struct lake_upkeep done;
    struct vg_err err = {0};

    if (lake_maintain(p->lake, &policy, vg_now_us(), goes_on, p, &done, &err) != VG_OK) {
        vg_step_error(9, &err);
        vg_log_err(VG_LOG_ERROR, "lake", &err);
    } else if (done.merged_count + done.expired_count + done.deleted_count > 0) {
        vg_log(VG_LOG_INFO, "lake", "lake.upkeep",
               "%zu files merged into %zu, %zu of old dates left out, %zu deleted",
               done.merged_count, done.made_count, done.expired_count, done.deleted_count);
    }
}

static enum vg_status start_upkeep(struct platform *p, struct vg_err *err)
{
    enum vg_status st = vg_loop_open("lake", &p->upkeep, err);

    if (st == VG_OK)
        st = vg_loop_every(p->upkeep, p->settings->lake_upkeep_every_us, keep_lake, p, err);
    if (st == VG_OK)
        st = vg_loop_start(p->upkeep, err);
    p->has_upkeep_thread = st == VG_OK;
    return st;
}

/* ---- doors ---- */

static bool health(void *ctx, struct vg_buf *out)
{
    return platform_health(ctx, out);
}

static enum vg_status open_web(struct platform *p, struct vg_err *err)
{
    const struct settings *s = p->settings;
    const struct web_mappings mappings = {
        .ctx = p,
        .list = mappings_list,
        .show = mappings_show,
        .try = mappings_try,
        .act = mappings_act,
        .envelope = mappings_envelope,
    };
    struct web_config config = {
        .address = s->web_address,
        .port = (uint16_t)s->web_port,
        .cert_path = path_of(p, "tls/server.crt"),
        .key_path = path_of(p, "tls/server.key"),
        .session_idle_us = s->web_idle_us,
        .session_life_us = s->web_life_us,
        .stream = p->stream,
        .fhir = p->fhir,
        .care = p->care,
        .health = health,
        .health_ctx = p,
        .mappings = mappings,
        .models = {.ctx = p,
                   .list = models_list,
                   .reload = models_reload,
                   .show = models_show,
                   .watch = models_watch},
        .takes_scored = p->score == NULL,
    };

    if (!p->score)
        config.models.list = NULL;
    return web_open(&config, &p->web, err);
}

static enum vg_status open_hub(struct platform *p, struct vg_err *err)
{
    const struct settings *s = p->settings;
    struct hub_config config = {
        .data_dir = s->data_dir,
        .address = s->hub_address,
        .tls = p->tls,
        .mqtts_port = (uint16_t)s->hub_mqtts_port,
        .https_port = (uint16_t)s->hub_https_port,
        .has_plain = s->hub_has_plain,
        .plain_port = (uint16_t)s->hub_plain_port,
        .payload_bytes_max = (uint32_t)s->hub_payload_bytes_max,
        .connections_max = (uint32_t)s->hub_connections_max,
        .inflight_max = (uint32_t)s->hub_inflight_max,
        .connect_timeout_us = s->hub_connect_timeout_us,
        /* A gateway's journal is read by its forwarder, and may grow for as long as upstream is
           away. */
        .lag_max = p->kind == PLATFORM_EDGE ? UINT64_MAX : (uint64_t)s->hub_lag_max,
        .loops = (uint32_t)s->hub_loops,
        .hl7_senders = s->hl7_senders,
        .hl7_client_ca = s->hl7_client_ca,
        .hl7_port = (uint16_t)s->hl7_port,
        .has_hl7_plain = s->hl7_has_plain,
        .hl7_plain_address = s->hl7_plain_address,
        .hl7_plain_port = (uint16_t)s->hl7_plain_port,
        .hl7_processing = s->hl7_processing,
        .hl7_frame_timeout_us = s->hl7_frame_timeout_us,
        .hl7_takes_any_name =
            p->kind == PLATFORM_EDGE, /* the hub above knows whom they speak for */
        .hl7_idle_us = s->hl7_idle_us,
    };

    return hub_open(&config, p->stream, &p->hub, err);
}

static enum vg_status start_notify(struct platform *p, struct vg_err *err)
{
    const struct settings *s = p->settings;
    struct notify_target targets[2];
    struct notify_config config = {.care = p->care, .targets = targets};

    if (*s->notify_teams_url)
        targets[config.target_count++] =
            (struct notify_target){"teams", s->notify_teams_format, s->notify_teams_url};
    if (*s->notify_webhook_url)
        targets[config.target_count++] =
            (struct notify_target){"webhook", s->notify_webhook_format, s->notify_webhook_url};
    config.board_url =
        *s->web_url
            ? s->web_url
            : vg_arena_printf(&p->arena, "https://localhost:%u", (unsigned)web_port(p->web)).ptr;
    config.ca_path = *s->notify_ca ? s->notify_ca : NULL;
    return notify_start(&config, &p->notify, err);
}

/* DATA/run.json: where this process listens, for scripts and for `make run`. */
static enum vg_status write_run_file(struct platform *p, struct vg_err *err)
{
    struct vg_json_writer w;
    struct vg_buf out;
    enum vg_status st;

    vg_buf_init(&out, 4096);
    vg_json_writer_init(&w, &out);
    vg_json_open_object(&w);
    vg_json_member_i64(&w, "pid", getpid());
    vg_json_member_i64(&w, "web", p->web ? web_port(p->web) : 0);
    vg_json_member_i64(&w, "mqtts", hub_mqtts_port(p->hub));
    vg_json_member_i64(&w, "https", hub_https_port(p->hub));
    vg_json_member_i64(&w, "plain", hub_plain_port(p->hub));
    vg_json_member_i64(&w, "hl7", hub_hl7_port(p->hub));
    vg_json_member_i64(&w, "hl7Plain", hub_hl7_plain_port(p->hub));
    vg_json_close_object(&w);
    st = vg_file_write(path_of(p, "run.json"), vg_buf_slice(&out), 0600, err);
    vg_buf_fini(&out);
    return st;
}

/* ---- kinds ---- */

static enum vg_status open_whole(struct platform *p, struct vg_err *err)
{
    const struct settings *s = p->settings;
    struct score_config score = {
        .model_dir = s->score_model_dir,
        .allowed_lateness_us = s->score_lateness_us,
        .tick_us = s->score_tick_us,
        .history_us = s->score_history_us,
    };
    const char *base_url =
        *s->web_url
            ? vg_arena_printf(&p->arena, "%s/fhir", s->web_url).ptr
            : vg_arena_printf(&p->arena, "https://localhost:%lld/fhir", (long long)s->web_port).ptr;
    uint32_t count;
    enum vg_status st = open_stores(p, base_url, err);

    if (st != VG_OK)
        return st;
    count = stream_partitions(p->stream);
    score.lake = p->lake;
    score.partitions = count;
    for (size_t i = 0; i < SCORE_VITAL_COUNT; i++)
        score.expiry_us[i] = s->score_expiry_us;
    st = open_mappings(p, err);
    if (st == VG_OK)
        st = speakers_open(s->data_dir, &p->speakers, err);
    if (st == VG_OK && strcmp(s->score_engine, "none") != 0)
        st = score_open(&score, &p->score, err);
    if (st == VG_OK && p->score && *s->score_model_dir)
        st = watching_open(s, &p->watching, err);
    for (uint32_t i = 0; i < count && st == VG_OK; i++)
        st = open_lane(p, i, err);
    if (st == VG_OK)
        st = open_web(p, err);
    if (st == VG_OK)
        st = start_notify(p, err);
    for (uint32_t i = 0; i < count && st == VG_OK; i++)
        st = start_lane(p, i, err);
    if (st == VG_OK)
        st = start_reports(p, err);
    if (st == VG_OK)
        st = start_upkeep(p, err);
    return st;
}

static enum vg_status open_edge(struct platform *p, struct vg_err *err)
{
    const struct settings *s = p->settings;
    struct edge_config config = {
        .gateway_id = s->edge_gateway,
        .password = s->edge_password,
        .host = s->edge_upstream_host,
        .port = (uint16_t)s->edge_upstream_port,
        .ca_path = *s->edge_ca ? s->edge_ca : NULL,
        .inflight_max = (uint32_t)s->edge_inflight_max,
    };
    enum vg_status st;

    if (!*config.gateway_id || !*config.host)
        return vg_fail(err, VG_REJECT, "edge.config", 0,
                       "vigil edge needs edge.upstream_host and edge.gateway");
    if (stream_partitions(p->stream) != 1)
        return vg_fail(err, VG_REJECT, "edge.config", 0, "vigil edge needs stream.partitions: 1");
    st = edge_open(&config, &p->edge, err);
    return st == VG_OK ? start_stage(p, edge_stage(p->edge), p->edge, 0, err) : st;
}

enum vg_status platform_open(const struct settings *settings, enum platform_kind kind,
                             struct platform **ret_platform, struct vg_err *err)
{
    struct platform *p = calloc(1, sizeof(*p));
    enum vg_status st;

    if (!p)
        return vg_fail(err, VG_RETRY, "app.memory", ENOMEM, "platform");
    p->settings = settings;
    p->kind = kind;
    vg_arena_init(&p->arena, 0);
    st = vg_dir_make(settings->data_dir, err);
    if (st == VG_OK)
        st = open_tls(p, err);
    if (st == VG_OK)
        st = open_stream(p, err);
    if (st == VG_OK)
        st = kind == PLATFORM_EDGE ? open_edge(p, err) : open_whole(p, err);
    if (st == VG_OK && kind == PLATFORM_WHOLE)
        st = archive_open(&(struct archive_config){.data_dir = settings->data_dir}, p->stream,
                          &p->archive, err);
    if (st == VG_OK)
        st = open_hub(p, err);
    if (st == VG_OK && kind == PLATFORM_WHOLE)
        st = control_open(settings->data_dir, command, p, &p->control, err);
    if (st == VG_OK)
        st = write_run_file(p, err);
    if (st != VG_OK) {
        platform_close(p);
        return st;
    }
    *ret_platform = p;
    return VG_OK;
}

void platform_close(struct platform *p)
{
    if (!p)
        return;
    atomic_store_explicit(&p->is_closing, true, memory_order_relaxed);
    if (p->hub && unlink(path_of(p, "run.json")) != 0 && errno != ENOENT)
        vg_log(VG_LOG_WARN, "app", "app.run_file", "run.json stays: errno %d", errno);
    if (p->watching)
        watching_end(p->watching);
    control_close(p->control);
    hub_close(p->hub);
    if (p->edge)
        edge_stop(p->edge);
    /* Readers were started first, so the last started is the first of the picture. */
    while (p->stage_count > 0)
        stage_stop(p->stages[--p->stage_count]);
    archive_close(p->archive);
    if (p->has_upkeep_thread)
        vg_loop_stop(p->upkeep);
    vg_loop_close(p->upkeep);
    if (p->has_reports_thread)
        vg_loop_stop(p->reports);
    vg_loop_close(p->reports);
    notify_stop(p->notify);
    web_close(p->web);
    watching_close(p->watching);
    edge_close(p->edge);
    for (size_t i = 0; i < PARTITIONS_MAX; i++)
        close_lane(&p->lanes[i]);
    mapping_store_close(p->mappings);
    speakers_close(p->speakers);
    score_close(p->score);
    care_close(p->care);
    lake_close(p->lake);
    fhir_close(p->fhir);
    stream_close(p->stream);
    vg_tls_close(p->tls);
    vg_arena_fini(&p->arena);
    free(p);
}

/* ---- what people are told ---- */

void platform_describe(struct platform *p, struct vg_buf *out)
{
    vg_buf_printf(out, "vigil %s runs\n", VIGIL_VERSION);
    if (p->web) {
        vg_buf_printf(out, "  board   https://localhost:%u\n", (unsigned)web_port(p->web));
        if (*p->settings->fhir_url)
            vg_buf_printf(out, "  FHIR    %s\n", p->settings->fhir_url);
        else
            vg_buf_printf(out, "  FHIR    https://localhost:%u/fhir\n", (unsigned)web_port(p->web));
    }
    vg_buf_printf(out, "  MQTT    localhost:%u with TLS\n", (unsigned)hub_mqtts_port(p->hub));
    vg_buf_printf(out, "  HTTPS   https://localhost:%u/devices/{id}/messages/events\n",
                  (unsigned)hub_https_port(p->hub));
    if (hub_plain_port(p->hub))
        vg_buf_printf(out, "  MQTT    127.0.0.1:%u without TLS\n",
                      (unsigned)hub_plain_port(p->hub));
    if (hub_hl7_port(p->hub))
        vg_buf_printf(out, "  HL7     localhost:%u MLLP with TLS\n",
                      (unsigned)hub_hl7_port(p->hub));
    if (hub_hl7_plain_port(p->hub))
        vg_buf_printf(out, "  HL7     %s:%u MLLP without TLS\n", p->settings->hl7_plain_address,
                      (unsigned)hub_hl7_plain_port(p->hub));
    vg_buf_printf(out, "  CA      %s\n", path_of(p, "tls/ca.crt"));
    if (p->first_login[0])
        vg_buf_printf(out, "  login   %.*s (also in %s; shown once)\n",
                      (int)strcspn(p->first_login, "\n"), p->first_login,
                      path_of(p, "first-login.txt"));
}

static void put_trouble(struct vg_json_writer *w, const char *area, const char *code,
                        struct vg_slice text)
{
    vg_json_open_object(w);
    vg_json_member_string(w, "area", vg_slice_of(area));
    vg_json_member_string(w, "code", vg_slice_of(code));
    vg_json_member_string(w, "text", text);
    vg_json_close_object(w);
}

bool platform_health(struct platform *p, struct vg_buf *out)
{
    int64_t free_bytes = vg_disk_free_bytes(p->settings->data_dir);
    struct vg_json_writer w;
    struct vg_buf troubles;
    char text[256];
    bool is_well;

    vg_buf_init(&troubles, 1u << 16);
    vg_json_writer_init(&w, &troubles);
    vg_json_open_array(&w);
    if (p->hub) {
        hub_trouble(p->hub, text);
        if (*text)
            put_trouble(&w, "hub", "hub.waiting", vg_slice_of(text));
    }
    if (p->archive) {
        archive_trouble(p->archive, text);
        if (*text)
            put_trouble(&w, "archive", "archive.waiting", vg_slice_of(text));
    }
    if (p->mappings) {
        mapping_store_trouble(p->mappings, text);
        if (*text)
            put_trouble(&w, "connector", "connector.mapping", vg_slice_of(text));
    }
    if (p->score) {
        score_trouble(p->score, text);
        if (*text)
            put_trouble(&w, "score", "score.model", vg_slice_of(text));
    }
    if (p->fhir) {
        fhir_trouble(p->fhir, text);
        if (*text)
            put_trouble(&w, "fhir", "fhir.waiting", vg_slice_of(text));
    }
    for (size_t i = 0; i < p->stage_count; i++) {
        stage_trouble(p->stages[i], text);
        if (*text)
            put_trouble(&w, p->stage_names[i], "stage.waiting", vg_slice_of(text));
    }
    if (free_bytes >= 0 && free_bytes < DISK_LOW_BYTES)
        put_trouble(&w, "disk", "disk.low",
                    VG_SLICE("less than 64 MiB are free in the data folder"));
    vg_json_close_array(&w);
    is_well = troubles.len == 2; /* [] */

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_bool(&w, "ok", is_well);
    vg_json_member_raw(&w, "troubles", vg_buf_slice(&troubles));
    vg_json_member_string(&w, "version", VG_SLICE(VIGIL_VERSION));
    vg_json_close_object(&w);
    vg_buf_fini(&troubles);
    return is_well;
}
