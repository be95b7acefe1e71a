/* settings.c -- the one table from which parsing, defaults, --help and the manual come. */
#include "app/settings.h"

#include <stddef.h>
#include <unistd.h>

#define AT(member) offsetof(struct settings, member)

const struct vg_option settings_options[] = {
    {"data.dir", VG_OPTION_PATH, AT(data_dir), "data", "", 0, 0, NULL,
     "Folder for everything that Vigil keeps: journal, archive, databases, lake, keys and "
     "certificates."},
    {"data.names", VG_OPTION_TEXT, AT(names), "", "", 0, 0, NULL,
     "More host names for the server certificate that is made on first start, comma-separated."},
    {"log.level", VG_OPTION_CHOICE, AT(log_level), "info", "", 0, 0, "debug|info|warn|error",
     "The least level that is written to standard error."},

    {"hub.address", VG_OPTION_TEXT, AT(hub_address), "127.0.0.1", "", 0, 0, NULL,
     "Address of the device listeners; 0.0.0.0 for all."},
    {"hub.mqtts_port", VG_OPTION_INTEGER, AT(hub_mqtts_port), "8883", "", 0, 65535, NULL,
     "Port of MQTT over TLS; 0 takes a free one."},
    {"hub.https_port", VG_OPTION_INTEGER, AT(hub_https_port), "8884", "", 0, 65535, NULL,
     "Port where devices post messages over HTTPS; 0 takes a free one."},
    {"hub.plain", VG_OPTION_BOOL, AT(hub_has_plain), "false", "", 0, 0, NULL,
     "Also listen for MQTT without TLS, on 127.0.0.1 only."},
    {"hub.plain_port", VG_OPTION_INTEGER, AT(hub_plain_port), "1883", "", 0, 65535, NULL,
     "Port of MQTT without TLS."},
    {"hub.payload_bytes_max", VG_OPTION_BYTES, AT(hub_payload_bytes_max), "256KiB", "", 1, 1048576,
     NULL, "The largest payload that is accepted."},
    {"hub.connections_max", VG_OPTION_INTEGER, AT(hub_connections_max), "20000", "", 1, 1000000,
     NULL, "Device connections at a time."},
    {"hub.inflight_max", VG_OPTION_INTEGER, AT(hub_inflight_max), "256", "messages", 1, 4096, NULL,
     "Messages of one connection that may wait for their acknowledgement. So many of each device "
     "are "
     "remembered, so that what is sent again counts once."},
    {"hub.connect_timeout", VG_OPTION_DURATION, AT(hub_connect_timeout_us), "10s", "", 0, 0, NULL,
     "A client that has not sent its whole CONNECT by then is closed."},
    {"hub.lag_max", VG_OPTION_INTEGER, AT(hub_lag_max), "1000000", "messages", 1000, 1e12, NULL,
     "Publishers are paused while the connector is further behind than this."},
    {"hub.loops", VG_OPTION_INTEGER, AT(hub_loops), "1", "threads", 1, 64, NULL,
     "Threads that serve device connections; one carries many thousands."},

    {"hl7.senders", VG_OPTION_TEXT, AT(hl7_senders), "", "", 0, 0, NULL,
     "Who may send HL7 v2 over MLLP, by address: ADDRESS[/BITS]=DEVICE, comma-separated; DEVICE is "
     "a registered device (vigil device speaks-for: whom its messages may name). Without this and "
     "hl7.client_ca there is no MLLP."},
    {"hl7.client_ca", VG_OPTION_PATH, AT(hl7_client_ca), "", "", 0, 0, NULL,
     "PEM of the authority of HL7 senders' certificates; the common name is the device."},
    {"hl7.port", VG_OPTION_INTEGER, AT(hl7_port), "2575", "", 0, 65535, NULL,
     "Port of MLLP over TLS, on hub.address; 0 takes a free one."},
    {"hl7.plain", VG_OPTION_BOOL, AT(hl7_has_plain), "false", "", 0, 0, NULL,
     "Also listen for MLLP without TLS."},
    {"hl7.plain_address", VG_OPTION_TEXT, AT(hl7_plain_address), "127.0.0.1", "", 0, 0, NULL,
     "Address of MLLP without TLS; another than loopback only in a network of its own."},
    {"hl7.plain_port", VG_OPTION_INTEGER, AT(hl7_plain_port), "2576", "", 0, 65535, NULL,
     "Port of MLLP without TLS."},
    {"hl7.processing", VG_OPTION_TEXT, AT(hl7_processing), "P", "", 0, 0, NULL,
     "Processing ids (MSH-11) that are taken: P production, T training, D debugging."},
    {"hl7.frame_timeout", VG_OPTION_DURATION, AT(hl7_frame_timeout_us), "30s", "", 0, 0, NULL,
     "A message that has begun must end within this."},
    {"hl7.idle", VG_OPTION_DURATION, AT(hl7_idle_us), "1h", "", 0, 0, NULL,
     "A silent MLLP connection is closed after this."},

    {"stream.engine", VG_OPTION_CHOICE, AT(stream_engine), "journal", "", 0, 0, "journal",
     "What holds the topics."},
    {"stream.partitions", VG_OPTION_INTEGER, AT(stream_partitions), "1", "", 1, 64, NULL,
     "Ordered logs side by side; fixed when the data folder is made."},
    {"stream.segment_bytes", VG_OPTION_BYTES, AT(stream_segment_bytes), "64MiB", "", 65536,
     4294967296.0, NULL, "Size of one journal file."},
    {"stream.retention_bytes", VG_OPTION_BYTES, AT(stream_retention_bytes), "1GiB", "", 0, 0, NULL,
     "Journal kept per partition after every stage has read it."},

    {"connector.device_mapping", VG_OPTION_PATH, AT(connector_device_mapping),
     "mappings/ward-device.json", "", 0, 0, NULL, "MedTech device mapping (CollectionContent)."},
    {"connector.fhir_mapping", VG_OPTION_PATH, AT(connector_fhir_mapping),
     "mappings/ward-fhir.json", "", 0, 0, NULL,
     "MedTech FHIR destination mapping (CollectionFhir)."},
    {"connector.identity", VG_OPTION_CHOICE, AT(connector_identity), "lookup", "", 0, 0,
     "lookup|lookup-with-encounter|create",
     "lookup: a device must be linked to its patient in FHIR; lookup-with-encounter: and the "
     "message has to name an Encounter; create: missing ones are made."},
    {"connector.identity_age", VG_OPTION_DURATION, AT(connector_identity_age_us), "60s", "", 0, 0,
     NULL,
     "With fhir.url: while that server is away its devices' links count for so long after it was "
     "last asked for changes; later, readings wait in the journal until it answers. 0: they "
     "count for ever."},
    {"connector.device_system", VG_OPTION_TEXT, AT(connector_device_system), "", "", 0, 0, NULL,
     "System of the devices' identifiers in FHIR; empty: any."},
    {"connector.compat", VG_OPTION_CHOICE, AT(connector_compat), "default", "", 0, 0,
     "default|medtech",
     "medtech: expressions, numbers, texts and identifiers to the letter as MedTech makes them; "
     "docs/mapping.md lists what differs."},
    {"connector.zone", VG_OPTION_TEXT, AT(connector_zone), "", "", 0, 0, NULL,
     "What a time without a zone means in HL7 and Bluetooth messages: +hh:mm, -hh:mm, Z, or local "
     "(this machine's, with daylight saving); empty: such a reading is refused."},

    {"fhir.engine", VG_OPTION_CHOICE, AT(fhir_engine), "sqlite", "", 0, 0, "sqlite",
     "What holds the FHIR resources."},
    {"fhir.audit", VG_OPTION_BOOL, AT(fhir_audit), "true", "", 0, 0, NULL,
     "An AuditEvent for each access over REST."},
    {"fhir.import_dir", VG_OPTION_PATH, AT(fhir_import_dir), "", "", 0, 0, NULL,
     "Folder that $import may read NDJSON files from; empty: no $import."},
    {"fhir.subscription_hosts", VG_OPTION_TEXT, AT(fhir_subscription_hosts), "", "", 0, 0, NULL,
     "Where Subscriptions may send: hosts or host:port, with commas; http:// before one: without "
     "TLS. Empty: nowhere."},
    {"fhir.cors_origins", VG_OPTION_TEXT, AT(fhir_cors_origins), "", "", 0, 0, NULL,
     "Whose pages may read what /fhir answers (CORS, without cookies), such as "
     "https://app.example.org; several with commas. Empty: nobody's."},

    {"fhir.url", VG_OPTION_TEXT, AT(fhir_url), "", "", 0, 0, NULL,
     "Base URL of a FHIR R4 server to use instead of the embedded one, such as "
     "https://fhir.example.org/r4; empty: the embedded one."},
    {"fhir.ca", VG_OPTION_PATH, AT(fhir_ca), "", "", 0, 0, NULL,
     "PEM of authorities to trust for fhir.url; empty: the system's."},
    {"fhir.cert", VG_OPTION_PATH, AT(fhir_cert), "", "", 0, 0, NULL,
     "PEM certificate shown to that server (mutual TLS)."},
    {"fhir.key", VG_OPTION_PATH, AT(fhir_key), "", "", 0, 0, NULL, "PEM of its private key."},
    {"fhir.token_file", VG_OPTION_PATH, AT(fhir_token_file), "", "", 0, 0, NULL,
     "A file that holds the bearer token for it; read again when it changes."},
    {"fhir.token_url", VG_OPTION_TEXT, AT(fhir_token_url), "", "", 0, 0, NULL,
     "OAuth2 token endpoint for it, with fhir.client_id and a secret or a key."},
    {"fhir.client_id", VG_OPTION_TEXT, AT(fhir_client_id), "", "", 0, 0, NULL,
     "Our client id there."},
    {"fhir.client_secret", VG_OPTION_SECRET, AT(fhir_client_secret), "", "", 0, 0, NULL,
     "Client credentials; file:PATH reads it from a file."},
    {"fhir.client_key", VG_OPTION_PATH, AT(fhir_client_key), "", "", 0, 0, NULL,
     "SMART Backend Services instead: PEM of an RSA (RS384) or P-384 (ES384) private key."},
    {"fhir.client_key_id", VG_OPTION_TEXT, AT(fhir_client_key_id), "", "", 0, 0, NULL,
     "That key's kid in our JWK set."},
    {"fhir.scope", VG_OPTION_TEXT, AT(fhir_scope), "", "", 0, 0, NULL,
     "Scopes asked for, with blanks between them."},
    {"fhir.connections", VG_OPTION_INTEGER, AT(fhir_connections), "4", "", 1, 64, NULL,
     "Connections to it, kept open: so many requests at a time."},
    {"fhir.bundle", VG_OPTION_INTEGER, AT(fhir_bundle), "100", "writes", 1, 1000, NULL,
     "Writes in one transaction; some servers take no more than 160."},
    {"fhir.timeout", VG_OPTION_DURATION, AT(fhir_timeout_us), "30s", "", 0, 0, NULL,
     "A request to it that takes longer is tried again."},
    {"fhir.watch", VG_OPTION_DURATION, AT(fhir_watch_us), "2s", "", 0, 0, NULL,
     "How often changes that others make there are looked for: a device moved to another patient "
     "counts after this."},
    {"fhir.spool_bytes", VG_OPTION_BYTES, AT(fhir_spool_bytes), "1GiB", "", 0, 0, NULL,
     "Writes kept on disk while it is away; when they are more, readings wait in the journal."},

    {"lake.engine", VG_OPTION_CHOICE, AT(lake_engine), "duckdb", "", 0, 0, "duckdb",
     "What writes and reads the Delta tables."},
    {"lake.flush", VG_OPTION_DURATION, AT(lake_flush_us), "30s", "", 0, 0, NULL,
     "Rows wait at most this long before they become a Parquet file."},
    {"lake.flush_rows", VG_OPTION_INTEGER, AT(lake_flush_rows), "20000", "rows", 1, 1e7, NULL,
     "Or until there are this many."},
    {"lake.upkeep_every", VG_OPTION_DURATION, AT(lake_upkeep_every_us), "5m", "", 0, 0, NULL,
     "How often small files are merged and old ones deleted."},
    {"lake.keep", VG_OPTION_DURATION, AT(lake_keep_us), "0s", "", 0, 0, NULL,
     "Dates older than this leave the lake; 0: none do."},
    {"lake.keep_removed", VG_OPTION_DURATION, AT(lake_keep_removed_us), "24h", "", 0, 0, NULL,
     "Files that were merged into others stay so long for readers of an older version."},

    {"score.engine", VG_OPTION_CHOICE, AT(score_engine), "builtin", "", 0, 0, "builtin|none",
     "none: nothing is scored here, another program reads iomt.enriched and writes iomt.scored."},
    {"score.model", VG_OPTION_PATH, AT(score_model_dir), "models", "", 0, 0, NULL,
     "Folder of models, or one model's; read again when it changes. Empty: NEWS2 alone."},
    {"score.lateness", VG_OPTION_DURATION, AT(score_lateness_us), "10m", "", 0, 0, NULL,
     "Readings up to this late belong to the window that they were meant for."},
    {"score.tick", VG_OPTION_DURATION, AT(score_tick_us), "60s", "", 0, 0, NULL,
     "How often expired values are looked for when nothing arrives."},
    {"score.history", VG_OPTION_DURATION, AT(score_history_us), "24h", "", 0, 0, NULL,
     "How much of a patient's past is kept for features, 1 h to 48 h."},
    {"score.expiry", VG_OPTION_DURATION, AT(score_expiry_us), "0s", "", 0, 0, NULL,
     "One expiry for every vital sign; 0: each its own (4 h; temperature and consciousness 6 h)."},
    {"score.watch_every", VG_OPTION_DURATION, AT(score_watch_every_us), "24h", "", 0, 0, NULL,
     "How often the models are watched: drift, alerts, calibration; 0: only when asked."},
    {"score.watch_period", VG_OPTION_DURATION, AT(score_watch_period_us), "168h", "", 0, 0, NULL,
     "What watching looks at, up to now: at most 365 days."},
    {"score.watch_outcomes", VG_OPTION_DURATION, AT(score_watch_outcomes_us), "2160h", "", 0, 0,
     NULL, "How far back scores are judged by outcomes."},
    {"score.watch_hours", VG_OPTION_INTEGER, AT(score_watch_hours), "500", "patient-hours", 1, 1e7,
     NULL, "With fewer of them watching gives figures and concludes nothing."},
    {"score.watch_patients", VG_OPTION_INTEGER, AT(score_watch_patients), "20", "patients", 1, 1e5,
     NULL, "The same for patients."},

    {"alert.news2_open", VG_OPTION_INTEGER, AT(alert_news2_open), "5", "", 1, 20, NULL,
     "A Flag opens at this NEWS2."},
    {"alert.news2_high", VG_OPTION_INTEGER, AT(alert_news2_high), "7", "", 1, 20, NULL,
     "It is of high severity from this NEWS2 on."},
    {"alert.news2_close", VG_OPTION_INTEGER, AT(alert_news2_close), "3", "", 1, 20, NULL,
     "It closes at this NEWS2 or below."},
    {"alert.hold", VG_OPTION_INTEGER, AT(alert_hold), "2", "evaluations", 1, 100, NULL,
     "Evaluations in a row before it opens."},
    {"alert.close", VG_OPTION_DURATION, AT(alert_close_us), "60s", "", 0, 0, NULL,
     "How long it must stay low before it closes."},
    {"alert.hold_for", VG_OPTION_DURATION, AT(alert_hold_us), "0s", "", 0, 0, NULL,
     "Opens also when it has been high for so long, with fewer evaluations; 0: evaluations alone."},
    {"alert.rest", VG_OPTION_DURATION, AT(alert_rest_us), "10m", "", 0, 0, NULL,
     "After closing, a rule raises nothing for so long unless it is worse than before."},
    {"alert.stale", VG_OPTION_DURATION, AT(alert_stale_us), "1h", "", 0, 0, NULL,
     "No vital sign for so long is an alert of its own; 0: never. Longer than the ward's rounds."},

    {"care.engine", VG_OPTION_CHOICE, AT(care_engine), "sqlite", "", 0, 0, "sqlite",
     "What holds the care team's repository."},
    {"care.report_every", VG_OPTION_DURATION, AT(care_report_every_us), "5m", "", 0, 0, NULL,
     "How often the ward report is made."},

    {"notify.teams_url", VG_OPTION_SECRET, AT(notify_teams_url), "", "", 0, 0, NULL,
     "Teams Workflows webhook; file:PATH reads it from a file."},
    {"notify.teams_format", VG_OPTION_CHOICE, AT(notify_teams_format), "adaptive-envelope", "", 0,
     0, "adaptive-envelope|adaptive-bare", "What the flow expects."},
    {"notify.webhook_url", VG_OPTION_SECRET, AT(notify_webhook_url), "", "", 0, 0, NULL,
     "Any other webhook: chat, pager gateway, your own."},
    {"notify.webhook_format", VG_OPTION_CHOICE, AT(notify_webhook_format), "json", "", 0, 0,
     "json|slack|adaptive-envelope|adaptive-bare", "What it expects (slack: Mattermost too)."},
    {"notify.ca", VG_OPTION_PATH, AT(notify_ca), "", "", 0, 0, NULL,
     "PEM of authorities to trust for webhooks; empty: the system's."},

    {"web.address", VG_OPTION_TEXT, AT(web_address), "127.0.0.1", "", 0, 0, NULL,
     "Address of the board and of /fhir; 0.0.0.0 for all."},
    {"web.port", VG_OPTION_INTEGER, AT(web_port), "8443", "", 0, 65535, NULL,
     "Its port; 0 takes a free one."},
    {"web.url", VG_OPTION_TEXT, AT(web_url), "", "", 0, 0, NULL,
     "The address that people use, for links on cards; empty: https://localhost and the port."},
    {"web.idle", VG_OPTION_DURATION, AT(web_idle_us), "15m", "", 0, 0, NULL,
     "A session without a request ends after this."},
    {"web.life", VG_OPTION_DURATION, AT(web_life_us), "12h", "", 0, 0, NULL,
     "Every session ends after this."},

    {"edge.upstream_host", VG_OPTION_TEXT, AT(edge_upstream_host), "", "", 0, 0, NULL,
     "vigil edge: host of the hub that messages are forwarded to."},
    {"edge.upstream_port", VG_OPTION_INTEGER, AT(edge_upstream_port), "8883", "", 1, 65535, NULL,
     "vigil edge: its MQTT port."},
    {"edge.gateway", VG_OPTION_TEXT, AT(edge_gateway), "", "", 0, 0, NULL,
     "vigil edge: this gateway's device id at the hub."},
    {"edge.password", VG_OPTION_SECRET, AT(edge_password), "", "", 0, 0, NULL,
     "vigil edge: its password; file:PATH reads it from a file."},
    {"edge.ca", VG_OPTION_PATH, AT(edge_ca), "", "", 0, 0, NULL,
     "vigil edge: PEM of the authority that signed the hub's certificate."},
    {"edge.inflight_max", VG_OPTION_INTEGER, AT(edge_inflight_max), "100", "messages", 1, 250, NULL,
     "vigil edge: messages on their way without an acknowledgement."},
};
const size_t settings_option_count = sizeof(settings_options) / sizeof(settings_options[0]);

enum vg_status settings_load(struct vg_arena *arena, const char *path, const char *const *overrides,
                             struct settings *ret_settings, struct vg_err *err)
{
    if (!path && access("vigil.yaml", F_OK) == 0)
        path = "vigil.yaml";
    return vg_config_load(arena, settings_options, settings_option_count, path, overrides,
                          ret_settings, err);
}

const char *settings_path(struct vg_arena *arena, const struct settings *settings, const char *name)
{
    return vg_arena_printf(arena, "%s/%s", settings->data_dir, name).ptr;
}
