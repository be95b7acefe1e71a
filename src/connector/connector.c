/* connector.c -- the stage: from a device's message to an Observation.
 *
 *     device.raw -> known? -> decoded -> envelope -> device mapping -> measurements
 *                -> identity -> FHIR mapping -> Observations of the batch -> one fhir_commit
 *                -> iomt.normalized (one record a measurement) or iomt.deadletter
 *
 * A batch is worked on in groups that fill one commit (OBSERVATIONS_PER_COMMIT). Everything of a
 * group lives in one arena. The FHIR service is written before the stream: after a crash between
 * the two the batch comes again and finds its Observations as they should be (observation.h says
 * why).
 *
 * An Observation is read from the store before it is added to, but not where it cannot be there: a
 * reading newer than all that its device has (asked once, then kept). That is nearly every reading.
 *
 * A batch that may have been begun before a crash is worked on with the mapping that it was begun
 * with, whichever is active by now: that one is noted on disk before its first effect, and counts
 * for what was in the journal when this process began, one batch's length of it at most.
 *
 * Whose reading it is has an age: while a FHIR server elsewhere is away, somebody may put a device
 * on another patient there. Beyond identity_age_us a batch waits in the journal: a late reading is
 * bad, one on the wrong patient is worse. Once the server has told what changed, the Device's
 * history decides (identity.c).
 *
 * What is wrong with one message is its dead letter and nobody else's: a refused write is taken out
 * and the rest is written.
 *
 * Memory: the arena, ARENA_BYTES_MAX; a message that finds it full gets an empty one once.
 * Threads: the stage's own; mappings are read-only, and exchanged between two batches only.
 */
#include "connector/connector.h"

#include "base/crypto.h"
#include "base/log.h"
#include "base/map.h"
#include "base/metrics.h"
#include "connector/decode.h"
#include "connector/dedupe.h"
#include "connector/device_mapping.h"
#include "connector/group.h"
#include "connector/identity.h"
#include "connector/mapping_store.h"
#include "connector/value.h"

#include <stdio.h>
#include <stdlib.h>

/* Under a backlog: neighbours in the store share its pages, so a larger commit costs less for each
 * (a fifth less than 500). While nothing waits a commit is as small as what came. */
#define OBSERVATIONS_PER_COMMIT 2000
#define BATCH_COUNT_MAX 1024
#define ARENA_BYTES_MAX (128u << 20)
#define BODIES_BYTES_MAX (64u << 20)
#define REFUSALS_TO_SINGLES 8
#define RESTORE_RECORDS 262144 /* sequence numbers of all topics */
#define DEVICES_MAX 100000

/* A device in the store, and how new its newest Observation is. */
struct newest {
    int64_t time_us, pending_us;
    struct newest *next_pending;
    bool is_pending;
};

/* A measurement that goes on the stream. */
struct item {
    const struct measurement *measurement;
    const struct observation *observation;
    const struct fhir_template *template;
    struct item *next;
};

struct message {
    const struct stream_record *record;
    struct item *first, **tail;
    struct vg_err why; /* code NULL = nothing was wrong */
};

struct connector {
    struct connector_config config;
    struct mapping_store *mappings, *own_mappings;
    const struct mapping_pair *mapping; /* of the batch */
    bool has_written;  /* the FHIR service has something of this batch, which is not committed */
    bool is_replaying; /* the batch may have been begun by the process before, with `mapping` */
    size_t batch_count, replayed_count; /* messages */
    char begun[MAPPING_VERSION_SIZE];   /* noted on disk */
    struct decode_config decode;
    struct identity *identity;
    struct dedupe *dedupe;
    struct vg_map newest; /* Device id -> struct newest */

    /* one group of messages */
    struct vg_arena arena;
    struct group_table groups;
    struct message *messages;
    size_t message_count, message_capacity;
    struct newest *pending;    /* newest times that count once this group is written */
    struct fhir_write *writes; /* OBSERVATIONS_PER_COMMIT of each */
    struct fhir_written *written;
    struct vg_buf bodies, value, headers, fhir;

    struct vg_metric *messages_total, *repeats_total, *absent_total, *measurements_total,
        *observations_total, *batch_seconds;
};

/* ---- open, close ---- */

static enum vg_status open_mappings(struct connector *c, struct vg_err *err)
{
    const struct mapping_store_config files = {.device_path = c->config.device_mapping,
                                               .fhir_path = c->config.fhir_mapping,
                                               .compat = c->config.compat};
    struct vg_err why = {0};
    enum vg_status st =
        c->config.mappings ? VG_OK : mapping_store_open(&files, &c->own_mappings, err);

    c->mappings = c->config.mappings ? c->config.mappings : c->own_mappings;
    if (st != VG_OK)
        return st;
    st = mapping_store_take_begun(c->mappings, c->config.partition, &c->mapping, &why);
    if (st == VG_OK) {
        c->is_replaying = true;
        memcpy(c->begun, c->mapping->version, sizeof(c->begun));
    } else if (st != VG_END) {
        vg_log(VG_LOG_ERROR, "connector", why.code,
               "partition %u: a batch that a crash cut short is worked on with the active mapping; "
               "what it had written with another one stays: %s",
               c->config.partition, why.text);
    }
    return VG_OK;
}

enum vg_status connector_open(const struct connector_config *config,
                              struct connector **ret_connector, struct vg_err *err)
{
    struct identity_config identity = {.store = config->store,
                                       .device_system = config->device_system};
    struct connector *c;
    enum vg_status st;

    if (!identity_mode_of(config->identity, &identity.mode))
        return vg_fail(err, VG_REJECT, "connector.config", 0,
                       "identity '%s': expected lookup, lookup-with-encounter or create",
                       config->identity);
    c = calloc(1, sizeof(*c));
    if (c) {
        c->writes = calloc(OBSERVATIONS_PER_COMMIT, sizeof(*c->writes));
        c->written = calloc(OBSERVATIONS_PER_COMMIT, sizeof(*c->written));
    }
    if (!c || !c->writes || !c->written) {
        if (c) {
            free(c->writes);
            free(c->written);
        }
        free(c);
        return vg_fail(err, VG_FATAL, "connector.memory", 0, "no memory for the connector");
    }
    c->config = *config;
    vg_arena_init(&c->arena, ARENA_BYTES_MAX);
    vg_buf_init(&c->bodies, BODIES_BYTES_MAX);
    vg_buf_init(&c->value, 0);
    vg_buf_init(&c->headers, 0);
    vg_buf_init(&c->fhir, 0);
    vg_map_init(&c->newest);
    c->messages_total = vg_counter("vigil_connector_messages_total", "Device messages read", "");
    c->repeats_total =
        vg_counter("vigil_connector_repeats_total", "Messages that had been here before", "");
    c->absent_total = vg_counter("vigil_connector_absent_total",
                                 "Readings that a device itself said it could not take", "");
    c->decode.processing = config->hl7_processing;
    c->measurements_total =
        vg_counter("vigil_connector_measurements_total", "Normalized measurements put out", "");
    c->observations_total =
        vg_counter("vigil_connector_observations_total", "Observations written", "");
    c->batch_seconds = vg_histogram("vigil_connector_batch_seconds", "Time for a batch", "");
    st = zone_parse(vg_slice_of(config->zone), &c->decode.zone)
             ? open_mappings(c, err)
             : vg_fail(err, VG_REJECT, "connector.config", 0,
                       "zone: expected +hh:mm, -hh:mm, Z, local or nothing");
    if (st == VG_OK) {
        identity.is_medtech = mapping_store_is_medtech(c->mappings);
        st = identity_open(&identity, &c->identity, err);
    }
    if (st == VG_OK)
        st = dedupe_open(config->dedupe_size, &c->dedupe, err);
    if (st != VG_OK) {
        connector_close(c);
        return st;
    }
    *ret_connector = c;
    return VG_OK;
}

void connector_close(struct connector *c)
{
    if (!c)
        return;
    identity_close(c->identity);
    dedupe_close(c->dedupe);
    vg_map_fini(&c->newest, free);
    free(c->messages);
    free(c->writes);
    free(c->written);
    vg_buf_fini(&c->bodies);
    vg_buf_fini(&c->value);
    vg_buf_fini(&c->headers);
    vg_buf_fini(&c->fhir);
    vg_arena_fini(&c->arena);
    mapping_pair_drop(c->mapping);
    mapping_store_close(c->own_mappings);
    free(c);
}

/* ---- one message ---- */

static enum vg_status build_envelope(struct connector *c, const struct stream_record *record,
                                     const struct decoded *decoded, struct device_envelope *ret,
                                     struct vg_err *err)
{
    struct vg_slice json = decoded->body ? (struct vg_slice){0} : record->value;
    enum vg_status st;
    struct device_property system[3], *properties;
    struct vg_slice name, value, mid = {0};
    size_t count = 0, cursor = 0, system_count = 0;
    char time[40];

    while (stream_header_next(record->headers, &cursor, &name, &value))
        count++;
    properties = vg_arena_alloc(&c->arena, sizeof(*properties) * (count + 1));
    if (!properties)
        return vg_fail(err, VG_REJECT, "connector.memory", 0, "no memory for the message");
    count = cursor = 0;
    while (stream_header_next(record->headers, &cursor, &name, &value)) {
        if (vg_slice_starts(name, VG_SLICE("p.")))
            properties[count++] = (struct device_property){vg_slice_from(name, 2), value};
        else if (vg_slice_is(name, "ctime"))
            properties[count++] =
                (struct device_property){VG_SLICE("iothub-creation-time-utc"), value};
        else if (vg_slice_is(name, "mid"))
            mid = value;
    }
    name = (struct vg_slice){time, value_time_text(record->time_us, time)};
    system[system_count++] =
        (struct device_property){VG_SLICE("iothub-connection-device-id"), record->key};
    system[system_count++] =
        (struct device_property){VG_SLICE("iothub-enqueuedtime"), vg_arena_dup(&c->arena, name)};
    if (mid.len > 0)
        system[system_count++] = (struct device_property){VG_SLICE("message-id"), mid};
    st = device_envelope_build(c->mapping->device, &c->arena, json, properties, count, system,
                               system_count, ret, err);
    if (st == VG_OK && decoded->body)
        decode_put_body(decoded, ret);
    return st;
}

/* The newest time that the store has of a device; asked once. */
static enum vg_status newest_of(struct connector *c, struct vg_slice device, struct newest **ret,
                                struct vg_err *err)
{
    struct newest *newest = vg_map_get(&c->newest, device);
    struct fhir_results results = {0};
    struct vg_json *root;
    struct vg_slice query, text;
    enum vg_status st;
    bool ok;

    *ret = newest;
    if (newest)
        return VG_OK;
    query =
        vg_arena_printf(&c->arena, "device=Device%%2F%.*s&_sort=-date&_count=1", VG_FMT(device));
    newest = calloc(1, sizeof(*newest));
    if (!newest || !query.ptr) {
        free(newest);
        return vg_fail(err, VG_RETRY, "connector.memory", 0, "no memory for a device");
    }
    newest->time_us = newest->pending_us = INT64_MIN;
    st = fhir_search(c->config.store, VG_SLICE("Observation"), query, &c->arena, &results, err);
    if (st == VG_RETRY || st == VG_FATAL) {
        free(newest);
        return st;
    }
    if (st == VG_REJECT || results.match_count > 0)
        newest->time_us = INT64_MAX; /* unless the text says better: each one is read first */
    if (st == VG_OK && results.match_count > 0 &&
        vg_json_parse(&c->arena, results.resources[0].body, NULL, &root, NULL, NULL) == VG_OK) {
        text = vg_json_get_text(root, "effectiveDateTime");
        if (text.len == 0)
            text = vg_json_get_text(vg_json_get(root, "effectivePeriod"), "end");
        (void)vg_time_parse(text, &newest->time_us, NULL);
    }
    (void)vg_map_put(&c->newest, device, newest, &ok);
    if (!ok) {
        free(newest);
        return vg_fail(err, VG_RETRY, "connector.memory", 0, "no memory for a device");
    }
    *ret = newest;
    return VG_OK;
}

/* Reads what the store has of a new Observation of this group, unless it cannot have any. `is_own`:
 * the device speaks for itself, so that no other partition writes its Observations. */
static enum vg_status load_stored(struct connector *c, struct observation *o, bool is_own,
                                  struct vg_err *err)
{
    struct fhir_resource stored;
    struct newest *newest;
    enum vg_status st;

    /* The reference's instants last a second: a newer one may be in the same. */
    if (o->template->interval == FHIR_INTERVAL_INSTANT && !o->template->is_medtech) {
        st = newest_of(c, o->device, &newest, err);
        if (st != VG_OK)
            return st;
        if (o->start_us > newest->pending_us)
            newest->pending_us = o->start_us;
        if (!newest->is_pending) {
            newest->is_pending = true;
            newest->next_pending = c->pending;
            c->pending = newest;
        }
        if (is_own && o->start_us > newest->time_us)
            return VG_OK;
    }
    st = fhir_read(c->config.store, VG_SLICE("Observation"), vg_slice_of(o->id), 0, &c->arena,
                   &stored, err);
    if (st == VG_END || (st == VG_OK && stored.is_deleted))
        return VG_OK;
    if (st != VG_OK)
        return st;
    return observation_load(o, &c->arena, stored.body, stored.version, err);
}

static enum vg_status add_measurement(struct connector *c, uint32_t index, struct measurement *m,
                                      struct vg_err *err)
{
    const struct fhir_template *t = fhir_mapping_find(c->mapping->fhir, m->type);
    struct message *message = &c->messages[index];
    struct observation_contributor *contributor;
    struct identity_answer who;
    struct observation *o;
    struct item *item;
    enum vg_status st;
    bool is_new;

    if (!t)
        return vg_fail(err, VG_REJECT, "connector.no_template", 0,
                       "the FHIR mapping has no template for type '%.*s'", VG_FMT(m->type));
    st = identity_resolve(c->identity, m, &who, err);
    if (st != VG_OK)
        return st;
    st = group_open(&c->groups, &c->arena, t, m, who.patient, who.device, &o, &is_new, err);
    if (st != VG_OK)
        return st;
    if (is_new) {
        o->encounter = who.encounter;
        st = load_stored(c, o, vg_slice_eq(m->device_id, message->record->key), err);
        if (st != VG_OK)
            return st;
    }
    st = observation_add(o, &c->arena, m, err);
    if (st != VG_OK)
        return st;
    contributor = vg_arena_alloc(&c->arena, sizeof(*contributor));
    item = vg_arena_alloc(&c->arena, sizeof(*item));
    if (!contributor || !item)
        return vg_fail(err, VG_REJECT, "connector.memory", 0, "batch needs too much memory");
    *contributor = (struct observation_contributor){index, o->contributors};
    o->contributors = contributor;
    *item = (struct item){m, o, t, NULL};
    *message->tail = item;
    message->tail = &item->next;
    return VG_OK;
}

/* Whose readings they are is for the sender to say only as far as it speaks for them. What Vigil
 * decodes names monitors and beds by itself; with any other JSON the mapping's author has chosen
 * where the device's name is read, and a sender of whom nothing was said is believed. */
static enum vg_status check_sender(const struct connector *c, const struct message *message,
                                   const struct measurement *first, bool is_decoded,
                                   struct vg_err *err)
{
    struct vg_slice sender = message->record->key;

    for (const struct measurement *m = first; m && c->config.may_speak; m = m->next)
        if (!vg_slice_eq(m->device_id, sender) &&
            !c->config.may_speak(c->config.may_speak_ctx, sender, m->device_id, !is_decoded))
            return vg_fail(err, VG_REJECT, "connector.sender", 0,
                           "the sender does not speak for '%.*s' (vigil device speaks-for)",
                           (int)(m->device_id.len < 128 ? m->device_id.len : 128),
                           m->device_id.ptr);
    return VG_OK;
}

/* The hub has refused it, and told its sender. A person who puts it back wants it judged anew. */
static enum vg_status check_refused(const struct stream_record *record, struct vg_err *err)
{
    struct vg_slice why = stream_header_get(record->headers, "refused");

    if (!why.ptr || stream_header_get(record->headers, "replay-of").ptr)
        return VG_OK;
    return vg_fail(err, VG_REJECT, "connector.sender", 0, "%.*s (vigil device speaks-for)",
                   VG_FMT(why));
}

/* VG_REJECT: message->why is set; what was right in it goes on all the same. */
static enum vg_status take_message(struct connector *c, uint32_t index, struct vg_err *err)
{
    struct message *message = &c->messages[index];
    struct measurement *first = NULL, **tail = &first;
    struct device_envelope envelope;
    struct decoded decoded;
    enum vg_status st;

    st = check_refused(message->record, &message->why);
    if (st == VG_OK)
        st = decode_record(&c->decode, message->record, &c->arena, &decoded, &message->why);
    if (st == VG_OK)
        st = build_envelope(c, message->record, &decoded, &envelope, &message->why);
    if (st != VG_OK)
        return st;
    vg_metric_add(c->absent_total, decoded.absent);
    st = device_mapping_apply(c->mapping->device, &envelope.root, &c->arena, &tail, NULL,
                              &message->why);
    if (check_sender(c, message, first, decoded.body != NULL, &message->why) != VG_OK)
        return VG_REJECT;
    if (decoded.partial.code) {
        message->why = decoded.partial; /* says more than what the mapping made of it */
        st = VG_REJECT;
    } else if (st == VG_END && decoded.absent) {
        return VG_OK; /* the device has said itself that it has nothing */
    } else if (st == VG_END) {
        return vg_fail(&message->why, VG_REJECT, "connector.no_match", 0,
                       "no template of the device mapping matches this message");
    }
    for (struct measurement *m = first; m; m = m->next) {
        struct vg_err why = {0};
        enum vg_status one;

        m->ingestion_us = message->record->time_us;
        one = add_measurement(c, index, m, &why);
        if (one == VG_REJECT && !message->why.code)
            message->why = why;
        if (one != VG_OK && one != VG_REJECT) {
            *err = why;
            return one;
        }
        if (one != VG_OK)
            st = one;
    }
    return st;
}

/* ---- one group of messages ---- */

static void reset_group(struct connector *c)
{
    vg_arena_reset(&c->arena);
    c->groups = (struct group_table){0};
    c->message_count = 0;
    while (c->pending) {
        c->pending->is_pending = false;
        c->pending->pending_us = c->pending->time_us;
        c->pending = c->pending->next_pending;
    }
}

static void refuse(struct connector *c, const struct observation *o, const struct vg_err *why)
{
    for (const struct observation_contributor *by = o->contributors; by; by = by->next) {
        struct message *message = &c->messages[by->message];

        if (!message->why.code)
            (void)vg_fail(&message->why, VG_REJECT, "connector.rejected", 0,
                          "the FHIR service refused the Observation: %.200s", why->text);
        for (struct item *item = message->first; item; item = item->next)
            if (item->observation == o)
                item->observation = NULL; /* nothing that is not in the FHIR service goes on */
    }
}

/* Writes observations[0..count) in one transaction; a refused one is taken out and the rest tried
 * again. */
static enum vg_status commit(struct connector *c, struct observation **observations, size_t count,
                             struct vg_err *err)
{
    struct fhir_write *writes = c->writes;
    struct fhir_written *written = c->written;
    size_t refused = 0, at = 0, step;

    vg_buf_clear(&c->bodies);
    for (size_t i = 0; i < count; i++) {
        const struct observation *o = observations[i];
        size_t start = c->bodies.len;

        observation_write(o, &c->bodies);
        writes[i] = (struct fhir_write){.what = FHIR_UPDATE,
                                        .type = VG_SLICE("Observation"),
                                        .id = {o->id, 64},
                                        .body = {NULL, c->bodies.len - start},
                                        .if_match = o->version};
    }
    if (!vg_buf_ok(&c->bodies))
        return vg_fail(err, VG_RETRY, "connector.memory", 0, "Observations need too much memory");
    for (size_t i = 0, start = 0; i < count; start += writes[i].body.len, i++)
        writes[i].body.ptr = c->bodies.ptr + start;

    for (step = count; at<count; step = refused> REFUSALS_TO_SINGLES ? 1 : count - at) {
        struct vg_err why = {0};
        size_t failed = 0, left = step < count - at ? step : count - at;
        enum vg_status st =
            fhir_commit(c->config.store, writes + at, left, &c->arena, written, &failed, &why);

        if (st == VG_OK) {
            vg_metric_add(c->observations_total, left);
            c->has_written = true;
            at += left;
            continue;
        }
        if (st != VG_REJECT || failed >= left || written[failed].http_status == 409 ||
            written[failed].http_status == 412) {
            *err = why;
            if (st == VG_REJECT) /* somebody wrote it meanwhile: read it again */
                st = VG_RETRY;
            return st;
        }
        refuse(c, observations[at + failed], &why);
        refused++;
        failed += at;
        memmove(observations + failed, observations + failed + 1,
                sizeof(*observations) * (count - failed - 1));
        memmove(writes + failed, writes + failed + 1, sizeof(*writes) * (count - failed - 1));
        count--;
    }
    return VG_OK;
}

static void put_trace(struct connector *c, const struct stream_record *record)
{
    char trace[48];
    int n = snprintf(trace, sizeof(trace), "%u-%llu", c->config.partition,
                     (unsigned long long)record->seq);

    stream_header_put(&c->headers, "trace", (struct vg_slice){trace, (size_t)n});
}

static void put_item(struct connector *c, const struct stream_record *record,
                     const struct item *item, struct stream_out *out)
{
    const struct observation *o = item->observation;

    vg_buf_clear(&c->value);
    vg_buf_clear(&c->headers);
    vg_buf_clear(&c->fhir);
    measurement_write(&c->value, item->measurement);
    vg_buf_put(&c->fhir, VG_SLICE("{\"patient\":\""));
    vg_buf_put(&c->fhir, o->patient);
    vg_buf_put(&c->fhir, VG_SLICE("\",\"device\":\""));
    vg_buf_put(&c->fhir, o->device);
    if (o->encounter.len > 0) {
        vg_buf_put(&c->fhir, VG_SLICE("\",\"encounter\":\""));
        vg_buf_put(&c->fhir, o->encounter);
    }
    vg_buf_put(&c->fhir, VG_SLICE("\",\"observation\":\""));
    vg_buf_put(&c->fhir, (struct vg_slice){o->id, 64});
    vg_buf_put(&c->fhir, VG_SLICE("\",\"values\":"));
    observation_write_values(item->template, item->measurement, &c->fhir);
    vg_buf_put_byte(&c->fhir, '}');
    put_trace(c, record);
    stream_header_put(&c->headers, "map", vg_slice_of(c->mapping->version));
    stream_header_put(&c->headers, "fhir", vg_buf_slice(&c->fhir));
    stream_out_add(out, STREAM_NORMALIZED, record->time_us, item->measurement->device_id,
                   vg_buf_slice(&c->headers), vg_buf_slice(&c->value));
    vg_metric_add(c->measurements_total, 1);
}

static void put_deadletter(struct connector *c, const struct message *message,
                           struct stream_out *out)
{
    char label[80];

    (void)snprintf(label, sizeof(label), "reason=\"%.60s\"", message->why.code);
    vg_metric_add(vg_counter("vigil_connector_deadletters_total",
                             "Messages put to iomt.deadletter, by reason", label),
                  1);
    stage_deadletter(out, STREAM_DEVICE_RAW, c->config.partition, message->record, "connector",
                     &message->why);
}

/* Writes the group's Observations, then puts out its records. */
static enum vg_status finish_group(struct connector *c, struct stream_out *out, struct vg_err *err)
{
    struct observation *changed[OBSERVATIONS_PER_COMMIT];
    size_t count = 0;

    for (struct observation *o = c->groups.first; o; o = o->next) {
        if (o->is_changed)
            changed[count++] = o;
        if (count == OBSERVATIONS_PER_COMMIT || (count > 0 && !o->next)) {
            enum vg_status st = commit(c, changed, count, err);

            if (st != VG_OK)
                return st;
            count = 0;
        }
    }
    for (struct newest *n = c->pending; n; n = n->next_pending)
        if (n->pending_us > n->time_us)
            n->time_us = n->pending_us;
    for (size_t i = 0; i < c->message_count; i++) {
        const struct message *message = &c->messages[i];

        for (const struct item *item = message->first; item; item = item->next)
            if (item->observation)
                put_item(c, message->record, item, out);
        if (message->why.code)
            put_deadletter(c, message, out);
    }
    return VG_OK;
}

static bool grow_messages(struct connector *c, size_t count)
{
    struct message *grown;

    if (count <= c->message_capacity)
        return true;
    grown = realloc(c->messages, sizeof(*grown) * count);
    if (!grown)
        return false;
    c->messages = grown;
    c->message_capacity = count;
    return true;
}

/* The batch's mappings: what is active now. One that comes again after the FHIR service had taken a
 * part of it, in this process or the one before, keeps those it had: another version could leave
 * the first one's Observations behind. */
static enum vg_status take_mapping(struct connector *c, const struct stream_batch *batch,
                                   struct vg_err *err)
{
    enum vg_status st;

    c->is_replaying = c->is_replaying && c->replayed_count < BATCH_COUNT_MAX && batch->count > 0 &&
                      batch->records[0].seq < c->config.replay_end_seq;
    if (c->has_written || c->is_replaying)
        return VG_OK;
    mapping_pair_drop(c->mapping);
    c->mapping = mapping_store_take(c->mappings);
    if (strcmp(c->begun, c->mapping->version) == 0)
        return VG_OK;
    st = mapping_store_begin(c->mappings, c->config.partition, c->mapping, err);
    if (st == VG_OK)
        memcpy(c->begun, c->mapping->version, sizeof(c->begun));
    return st;
}

static enum vg_status check_age(const struct connector *c, struct vg_err *err)
{
    int64_t age_us = c->config.identity_age_us;

    if (age_us == 0 || vg_mono_us() - fhir_counted_us(c->config.store) <= age_us)
        return VG_OK;
    return vg_fail(err, VG_RETRY, "connector.unconfirmed", 0,
                   "the FHIR server has not said for more than %lld s whose the devices are: their "
                   "readings wait, none is lost",
                   (long long)(age_us / VG_SECOND_US));
}

static enum vg_status connector_process(void *self, const struct stream_batch *batch,
                                        struct stream_out *out, struct vg_err *err)
{
    struct connector *c = self;
    int64_t start_us = vg_mono_us();
    enum vg_status st = VG_OK;

    if (!grow_messages(c, batch->count))
        return vg_fail(err, VG_RETRY, "connector.memory", 0, "no memory for a batch");
    st = check_age(c, err);
    if (st == VG_OK)
        st = take_mapping(c, batch, err);
    if (st != VG_OK)
        return st;
    c->batch_count = batch->count;
    dedupe_undo(c->dedupe); /* the last batch, if it was not committed, is this one */
    identity_begin(c->identity);
    if (c->newest.count > DEVICES_MAX) {
        vg_map_fini(&c->newest, free);
        vg_map_init(&c->newest);
    }
    reset_group(c);
    for (size_t i = 0; i < batch->count && st == VG_OK; i++) {
        const struct stream_record *record = &batch->records[i];

        vg_metric_add(c->messages_total, 1);
        if (dedupe_is_repeat(c->dedupe, record)) {
            vg_metric_add(c->repeats_total, 1);
            continue;
        }
        for (bool is_again = false;; is_again = true) {
            struct message *message = &c->messages[c->message_count];

            *message = (struct message){.record = record, .tail = &message->first};
            st = take_message(c, (uint32_t)c->message_count, err);
            if (st != VG_REJECT || is_again || c->message_count == 0 ||
                strcmp(message->why.code, "connector.memory") != 0) {
                c->message_count++;
                break;
            }
            /* The others have filled the arena: they go first, and this one has it to itself. */
            st = finish_group(c, out, err);
            reset_group(c);
            if (st != VG_OK)
                break;
        }
        if (st == VG_REJECT)
            st = VG_OK;
        if (st == VG_OK && c->groups.count + 8 > OBSERVATIONS_PER_COMMIT) {
            st = finish_group(c, out, err);
            reset_group(c);
        }
    }
    if (st == VG_OK)
        st = finish_group(c, out, err);
    reset_group(c);
    vg_metric_observe_us(c->batch_seconds, vg_mono_us() - start_us);
    return st;
}

static void connector_committed(void *self, uint64_t next_seq)
{
    struct connector *c = self;

    (void)next_seq;
    c->has_written = false;
    c->replayed_count += c->batch_count;
    dedupe_keep(c->dedupe);
}

static uint64_t connector_restore_from(void *self, uint64_t committed_seq)
{
    (void)self;
    return committed_seq > RESTORE_RECORDS ? committed_seq - RESTORE_RECORDS : 0;
}

static enum vg_status connector_restore(void *self, const struct stream_batch *batch,
                                        struct vg_err *err)
{
    struct connector *c = self;

    (void)err;
    for (size_t i = 0; i < batch->count; i++)
        (void)dedupe_is_repeat(c->dedupe, &batch->records[i]);
    dedupe_keep(c->dedupe);
    return VG_OK;
}

const struct stage_ops *connector_stage_ops(void)
{
    static const struct stage_ops ops = {
        .name = "connector",
        .steps = {5},
        .output_step = 6,
        .input = STREAM_DEVICE_RAW,
        .batch_count_max = BATCH_COUNT_MAX,
        .process = connector_process,
        .restore = connector_restore,
        .restore_from = connector_restore_from,
        .committed = connector_committed,
    };

    return &ops;
}
