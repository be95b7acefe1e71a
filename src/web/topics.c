/* topics.c -- the stream for a program outside that scores (Spark, Databricks, a notebook), by the
 * bearer token of a service, whose name is its consumer group:
 *
 *   GET  /api/topics/{topic}/{partition}?count=500   what comes after its place
 *   POST /api/topics/iomt.scored/{partition}         records, and its next place
 *
 * Records and place are one commit: a program that is cut off between both asks again and meets the
 * same records, and what it had sent twice is refused the second time. So nothing is scored twice,
 * and nothing is left out. One commit at a time.
 *
 * iomt.scored is taken only where nothing here scores (score.engine: none). Records are patient
 * data: each batch that is read or written is audited.
 */
#include "web/web_int.h"

#include <stdio.h>

#define COUNT_USUAL 500
#define COUNT_MAX 5000
#define ANSWER_BYTES_MAX ((size_t)4 << 20)
#define NAME_BYTES_MAX 23u
#define KEY_BYTES_MAX 255u

struct place {
    enum stream_topic topic;
    uint32_t partition;
    char group[32]; /* "outside." and the service's name: none of our own */
};

static pthread_mutex_t commit_lock = PTHREAD_MUTEX_INITIALIZER;

static bool topic_of(struct vg_slice name, enum stream_topic *ret_topic)
{
    static const enum stream_topic topics[] = {STREAM_NORMALIZED, STREAM_ENRICHED, STREAM_SCORED};

    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
        *ret_topic = topics[i];
        if (vg_slice_is(name, stream_topic_name(topics[i])))
            return true;
    }
    return false;
}

static enum vg_status place_of(struct web_call *call, struct place *ret_place, struct vg_err *err)
{
    struct vg_slice partition = call->tail, topic = vg_slice_cut(&partition, '/');
    uint64_t number;

    if (!topic_of(topic, &ret_place->topic) || !vg_slice_to_u64(partition, &number) ||
        number >= stream_partitions(call->web->config.stream))
        return VG_END;
    ret_place->partition = (uint32_t)number;
    if (strlen(call->user.name) > NAME_BYTES_MAX)
        return vg_fail(err, VG_REJECT, "topics.name", 0,
                       "the service's name must not be longer than %u bytes", NAME_BYTES_MAX);
    (void)snprintf(ret_place->group, sizeof(ret_place->group), "outside.%.*s", (int)NAME_BYTES_MAX,
                   call->user.name);
    return VG_OK;
}

/* ---- reading ---- */

static void write_record(struct vg_json_writer *w, const struct stream_record *record)
{
    vg_json_open_object(w);
    vg_json_member_i64(w, "seq", (int64_t)record->seq);
    vg_json_member_time(w, "time", record->time_us);
    vg_json_member_string(w, "key", record->key);
    vg_json_name(w, "value");
    vg_json_put_raw(w, record->value);
    vg_json_close_object(w);
}

enum vg_status web_topic_read(struct web_call *call, struct vg_err *err)
{
    int64_t count = call->number < 0 ? COUNT_USUAL : call->number;
    struct stream_consumer *consumer = NULL;
    struct stream_batch batch = {0};
    struct vg_json_writer w;
    struct place place = {0};
    uint64_t next;
    enum vg_status st = web_service_check(call, err);

    if (st == VG_OK)
        st = place_of(call, &place, err);
    if (st == VG_OK && (count < 1 || count > COUNT_MAX))
        st = vg_fail(err, VG_REJECT, "web.count", 0, "expected count from 1 to %d", COUNT_MAX);
    if (st == VG_OK)
        st = stream_consumer_open(call->web->config.stream, place.partition, place.topic,
                                  place.group, &consumer, err);
    if (st != VG_OK)
        return st;
    next = stream_position(consumer);
    st = stream_read(consumer, (size_t)count, 0, &batch, err);
    if (st == VG_OK || st == VG_END) {
        vg_json_writer_init(&w, &call->out);
        vg_json_open_object(&w);
        vg_json_name(&w, "records");
        vg_json_open_array(&w);
        for (size_t i = 0; st == VG_OK && i < batch.count && call->out.len < ANSWER_BYTES_MAX;
             i++) {
            write_record(&w, &batch.records[i]);
            next = i + 1 < batch.count ? batch.records[i + 1].seq : batch.next_seq;
        }
        vg_json_close_array(&w);
        vg_json_member_i64(&w, "next", (int64_t)next);
        vg_json_close_object(&w);
        if (st == VG_OK)
            web_audit(call->web, vg_slice_of(call->user.name), "topics.read", call->tail);
        st = VG_OK;
    }
    stream_consumer_close(consumer);
    return st;
}

/* ---- writing ---- */

/* What alerts, board and lake cannot do without; the rest is theirs to judge. */
static enum vg_status add_record(struct web_call *call, const struct vg_json *record, size_t index,
                                 struct stream_out *out, struct vg_err *err)
{
    const struct vg_json *value = vg_json_get(record, "value");
    struct vg_slice key = vg_json_get_text(value, "patientId");
    int64_t end_us, scored_us;
    bool has_zone = false, has_zone_too = false;

    if (!vg_json_is(value, VG_JSON_OBJECT) || key.len == 0 || key.len > KEY_BYTES_MAX)
        return vg_fail(err, VG_REJECT, "topics.record", 0, "records[%zu].value needs a patientId",
                       index);
    if (!vg_time_parse(vg_json_get_text(value, "windowEnd"), &end_us, &has_zone) || !has_zone ||
        !vg_time_parse(vg_json_get_text(value, "scoredTime"), &scored_us, &has_zone_too) ||
        !has_zone_too)
        return vg_fail(err, VG_REJECT, "topics.record", 0,
                       "records[%zu].value needs windowEnd and scoredTime with a time zone", index);
    stream_out_add(out, STREAM_SCORED, call->now_us, key, (struct vg_slice){0}, value->source);
    return VG_OK;
}

static enum vg_status commit(struct web_call *call, const struct place *place,
                             enum stream_topic read, uint64_t next, struct stream_out *out,
                             uint64_t *ret_seq, struct vg_err *err)
{
    struct stream *stream = call->web->config.stream;
    enum vg_status st;

    stream_out_offset(out, place->group, read, place->partition, next);
    (void)pthread_mutex_lock(&commit_lock);
    if (next <= stream_committed(stream, place->group, read, place->partition)) {
        call->http_status = 409;
        st = vg_fail(err, VG_REJECT, "topics.again", 0,
                     "this service has done everything before %llu already",
                     (unsigned long long)next);
    } else {
        st = stream_commit(stream, place->partition, out, ret_seq, err);
    }
    (void)pthread_mutex_unlock(&commit_lock);
    return st;
}

enum vg_status web_topic_write(struct web_call *call, struct vg_err *err)
{
    const struct vg_json *root = NULL, *records;
    enum stream_topic read = STREAM_ENRICHED;
    struct vg_json_writer w;
    struct place place = {0};
    struct stream_out out;
    int64_t next = 0;
    uint64_t seq = 0;
    size_t count = 0;
    enum vg_status st = web_service_check(call, err);

    if (st == VG_OK)
        st = place_of(call, &place, err);
    if (st == VG_OK && (place.topic != STREAM_SCORED || !call->web->config.takes_scored)) {
        call->http_status = 409;
        st = vg_fail(err, VG_REJECT, "topics.closed", 0,
                     "records are taken on iomt.scored only, and with score.engine: none");
    }
    if (st == VG_OK)
        st = web_body(call, &root, err);
    if (st != VG_OK)
        return st;
    records = vg_json_get(root, "records");
    if (!vg_json_is(records, VG_JSON_ARRAY) || !topic_of(vg_json_get_text(root, "topic"), &read) ||
        !vg_json_to_i64(vg_json_get(root, "next"), &next) || next < 1)
        return vg_fail(err, VG_REJECT, "topics.body", 0,
                       "expected topic (what was read), next (from the answer) and records");
    stream_out_init(&out);
    for (const struct vg_json *one = records->child; one && st == VG_OK; one = one->next)
        st = add_record(call, one, count++, &out, err);
    if (st == VG_OK)
        st = commit(call, &place, read, (uint64_t)next, &out, &seq, err);
    stream_out_fini(&out);
    if (st != VG_OK)
        return st;
    web_audit(call->web, vg_slice_of(call->user.name), "topics.write", call->tail);
    vg_json_writer_init(&w, &call->out);
    vg_json_open_object(&w);
    vg_json_member_i64(&w, "count", (int64_t)count);
    vg_json_member_i64(&w, "firstSeq", (int64_t)seq);
    vg_json_close_object(&w);
    return VG_OK;
}
