/* settings.h -- everything that can be set, in one struct and one table (settings.c).
 *
 * Parsing, defaults, checks, --help, vigil.example.yaml and docs/configuration.md come from the
 * table.
 */
#ifndef VG_APP_SETTINGS_H
#define VG_APP_SETTINGS_H

#include "base/config.h"

struct settings {
    const char *data_dir;
    const char *log_level;
    const char *names; /* extra names in the server's certificate */

    const char *hub_address;
    int64_t hub_mqtts_port, hub_https_port, hub_plain_port;
    bool hub_has_plain;
    int64_t hub_payload_bytes_max, hub_connections_max, hub_inflight_max, hub_connect_timeout_us,
        hub_lag_max, hub_loops;

    const char *hl7_senders, *hl7_client_ca, *hl7_plain_address, *hl7_processing;
    int64_t hl7_port, hl7_plain_port, hl7_frame_timeout_us, hl7_idle_us;
    bool hl7_has_plain;

    const char *stream_engine;
    int64_t stream_partitions, stream_segment_bytes, stream_retention_bytes;

    const char *connector_device_mapping, *connector_fhir_mapping, *connector_identity,
        *connector_device_system, *connector_compat, *connector_zone;
    int64_t connector_identity_age_us;

    const char *fhir_engine, *fhir_import_dir, *fhir_subscription_hosts, *fhir_cors_origins;
    bool fhir_audit;
    const char *fhir_url, *fhir_ca, *fhir_cert, *fhir_key, *fhir_token_file, *fhir_token_url,
        *fhir_client_id, *fhir_client_secret, *fhir_client_key, *fhir_client_key_id, *fhir_scope;
    int64_t fhir_connections, fhir_bundle, fhir_timeout_us, fhir_watch_us, fhir_spool_bytes;

    const char *lake_engine;
    int64_t lake_flush_us, lake_upkeep_every_us, lake_keep_us, lake_keep_removed_us,
        lake_flush_rows;

    const char *score_engine, *score_model_dir;
    int64_t score_lateness_us, score_tick_us, score_history_us, score_expiry_us;
    int64_t score_watch_every_us, score_watch_period_us, score_watch_outcomes_us, score_watch_hours,
        score_watch_patients;

    int64_t alert_news2_open, alert_news2_high, alert_news2_close, alert_hold, alert_close_us,
        alert_hold_us, alert_rest_us, alert_stale_us;

    const char *care_engine;
    int64_t care_report_every_us;

    const char *notify_teams_url, *notify_teams_format, *notify_webhook_url, *notify_webhook_format,
        *notify_ca;

    const char *web_address, *web_url;
    int64_t web_port, web_idle_us, web_life_us;

    const char *edge_upstream_host, *edge_gateway, *edge_password, *edge_ca;
    int64_t edge_upstream_port, edge_inflight_max;
};

extern const struct vg_option settings_options[];
extern const size_t settings_option_count;

/* The file (NULL: vigil.yaml where there is one, else defaults), the environment, then --set
 * values. */
VG_CHECK enum vg_status settings_load(struct vg_arena *arena, const char *path,
                                      const char *const *overrides, struct settings *ret_settings,
                                      struct vg_err *err);

/* data_dir/name; lives in the arena. NULL when it is full. */
const char *settings_path(struct vg_arena *arena, const struct settings *settings,
                          const char *name);

#endif
