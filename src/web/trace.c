/* trace.c -- one message's way through the eighteen steps, read from the journal and the
 * repository.
 *
 * Every hop is a commit of the journal that holds the records put out and the offset that they
 * answer. So the way is found by walking on from the commit that holds the message:
 *
 *     a record whose header `trace` names the message     the step whose topic it is on
 *     an offset beyond the message (or what became of it)  the step of the group that committed it
 *
 * and what is outside the journal (steps 13 to 18: RiskAssessment, row, acts, cards) the repository
 * tells. Nothing is written for the sake of tracing but that header.
 *
 * Costs: a scan of the journal from the message on, until all is found, the durable end or
 * SCAN_MAX_US. Then what was not reached has no time; "isWhole" says false.
 */
#include "base/metrics.h"
#include "web/web_int.h"

#include <stdio.h>

#define SCAN_MAX_US (3 * VG_SECOND_US)
#define LINES_MAX 128

/* Who has passed the message when its offset on `topic` lies beyond it. */
static const struct {
    const char *group;
    enum stream_topic topic;
    unsigned step;
    const char *text;
} hops[] = {
    {"archive", STREAM_DEVICE_RAW, 3, "in the archive"},
    {"connector", STREAM_DEVICE_RAW, 5, NULL},
    {"enrich", STREAM_NORMALIZED, 7, "patient merged in"},
    {"lake-enriched", STREAM_ENRICHED, 9, "in the lake"},
    {"score", STREAM_ENRICHED, 10, "scored"},
    {"lake-scored", STREAM_SCORED, 11, "scored copy in the lake"},
    {"alert", STREAM_SCORED, 13, "rules applied"},
    {"board", STREAM_CARE_CHANGED, 15, "sent to every open board"},
};
#define HOP_COUNT (sizeof(hops) / sizeof(hops[0]))

/* What became of the message: the step of a record that names it. */
static const unsigned topic_steps[STREAM_TOPIC_COUNT] = {
    [STREAM_NORMALIZED] = 6,
    [STREAM_ENRICHED] = 8,
    [STREAM_SCORED] = 12,
    [STREAM_CARE_CHANGED] = 14,
};

struct line {
    unsigned step;
    int64_t time_us; /* 0 = has not happened */
    struct vg_slice text;
};

struct trace {
    struct vg_arena arena;
    struct vg_slice id;
    uint32_t partition;
    uint64_t seq;
    struct vg_slice device;
    int64_t received_us;
    int64_t until_us; /* monotonic */
    struct {
        bool is_known;
        uint32_t partition;
        uint64_t seq; /* the last of its first commit */
    } at[STREAM_TOPIC_COUNT];
    bool hop_done[HOP_COUNT];
    struct line lines[LINES_MAX];
    size_t line_count;
};

static void add_line(struct trace *trace, unsigned step, int64_t time_us, struct vg_slice text)
{
    if (trace->line_count < LINES_MAX)
        trace->lines[trace->line_count++] = (struct line){step, time_us, text};
}

static bool has_line(const struct trace *trace, unsigned step)
{
    for (size_t i = 0; i < trace->line_count; i++) {
        if (trace->lines[i].step == step)
            return true;
    }
    return false;
}

/* Is the id one of the header's, which stand between spaces? */
static bool names(struct vg_slice header, struct vg_slice id)
{
    while (header.len) {
        if (vg_slice_eq(vg_slice_cut(&header, ' '), id))
            return true;
    }
    return false;
}

/* ---- texts ---- */

static struct vg_slice text_of_record(struct trace *trace, enum stream_topic topic,
                                      const struct stream_record *record)
{
    struct vg_json *root = NULL;
    const struct vg_json *news2;
    struct vg_slice type;
    int64_t low = 0;

    if (vg_json_parse(&trace->arena, record->value, NULL, &root, NULL, NULL) != VG_OK)
        return VG_SLICE("");
    if (topic == STREAM_NORMALIZED || topic == STREAM_ENRICHED) {
        struct vg_slice map = stream_header_get(record->headers, "map");

        type = vg_json_get_text(root, topic == STREAM_NORMALIZED ? "Type" : "type");
        return map.len ? vg_arena_printf(&trace->arena, "%.*s, by mapping %.*s", VG_FMT(type),
                                         VG_FMT(map))
                       : vg_arena_dup(&trace->arena, type);
    }
    news2 = vg_json_get(root, "news2");
    if (topic == STREAM_SCORED && vg_json_to_i64(vg_json_get(news2, "low"), &low))
        return vg_arena_printf(&trace->arena, "NEWS2 %d, %.*s", (int)low,
                               VG_FMT(vg_json_get_text(news2, "band")));
    return topic == STREAM_CARE_CHANGED ? VG_SLICE("row in the repository") : VG_SLICE("");
}

/* "Observation o1", from what the connector resolved; and whether the store has it. */
static struct vg_slice text_of_observation(struct trace *trace, struct fhir_store *fhir,
                                           const struct stream_record *record)
{
    struct fhir_resource found;
    struct vg_json *root = NULL;
    struct vg_slice id, header = stream_header_get(record->headers, "fhir");

    if (!header.ptr || vg_json_parse(&trace->arena, header, NULL, &root, NULL, NULL) != VG_OK)
        return VG_SLICE("");
    id = vg_json_get_text(root, "observation");
    if (!id.len)
        return VG_SLICE("");
    if (fhir &&
        fhir_read(fhir, VG_SLICE("Observation"), id, 0, &trace->arena, &found, NULL) == VG_OK)
        return vg_arena_printf(&trace->arena, "Observation/%.*s, version %llu", VG_FMT(id),
                               (unsigned long long)found.version);
    return vg_arena_printf(&trace->arena, "Observation/%.*s", VG_FMT(id));
}

static void add_deadletter(struct trace *trace, const struct stream_record *record, int64_t time_us)
{
    struct vg_json *root = NULL;
    struct vg_slice stage;
    unsigned step = 5;

    if (vg_json_parse(&trace->arena, record->value, NULL, &root, NULL, NULL) != VG_OK)
        return;
    stage = vg_json_get_text(root, "stage");
    for (size_t i = 0; i < HOP_COUNT; i++) {
        if (vg_slice_is(stage, hops[i].group))
            step = hops[i].step;
    }
    add_line(trace, step, time_us,
             vg_arena_printf(&trace->arena, "dead letter of %.*s: %.*s: %.*s", VG_FMT(stage),
                             VG_FMT(vg_json_get_text(root, "reason")),
                             VG_FMT(vg_json_get_text(root, "text"))));
}

/* ---- the walk ---- */

/* The commit that holds the message itself: steps 1, 2 and 4. */
static void begin(struct trace *trace, const struct stream_record *record, int64_t commit_us)
{
    struct vg_slice edge = stream_header_get(record->headers, "edge");
    struct vg_slice edge_time = stream_header_get(record->headers, "edge-time");
    struct vg_slice via = stream_header_get(record->headers, "via");
    int64_t edge_us = 0;

    trace->device = vg_arena_dup(&trace->arena, record->key);
    trace->received_us = record->time_us;
    trace->at[STREAM_DEVICE_RAW].is_known = true;
    trace->at[STREAM_DEVICE_RAW].partition = trace->partition;
    trace->at[STREAM_DEVICE_RAW].seq = trace->seq;
    add_line(trace, 1, record->time_us,
             vg_arena_printf(&trace->arena, "%.*s, %zu bytes", VG_FMT(via), record->value.len));
    if (edge.ptr && vg_time_parse(edge_time, &edge_us, NULL))
        add_line(trace, 2, edge_us,
                 vg_arena_printf(&trace->arena, "by gateway %.*s", VG_FMT(edge)));
    else
        add_line(trace, 2, 0,
                 edge.ptr ? vg_arena_printf(&trace->arena, "by gateway %.*s", VG_FMT(edge))
                          : VG_SLICE("directly from the device"));
    add_line(trace, 4, commit_us,
             vg_arena_printf(&trace->arena, "durable in partition %u, number %llu",
                             trace->partition, (unsigned long long)trace->seq));
}

static void look_at_records(struct trace *trace, struct stream_scan *scan, uint32_t partition,
                            struct fhir_store *fhir, const struct stream_commit_view *view)
{
    bool is_new[STREAM_TOPIC_COUNT] = {false};
    struct stream_record record;
    enum stream_topic topic;

    for (size_t i = 0; i < view->record_count; i++) {
        if (!stream_scan_record(scan, i, &topic, &record) ||
            (unsigned)topic >= STREAM_TOPIC_COUNT ||
            !names(stream_header_get(record.headers, "trace"), trace->id))
            continue;
        if (topic == STREAM_DEADLETTER)
            add_deadletter(trace, &record, view->time_us);
        if (!topic_steps[topic] || (trace->at[topic].is_known && !is_new[topic]))
            continue;
        if (!is_new[topic]) {
            if (topic == STREAM_NORMALIZED && !has_line(trace, 5))
                add_line(trace, 5, view->time_us, text_of_observation(trace, fhir, &record));
            add_line(trace, topic_steps[topic], view->time_us,
                     text_of_record(trace, topic, &record));
        }
        is_new[topic] = trace->at[topic].is_known = true;
        trace->at[topic].partition = partition;
        trace->at[topic].seq = record.seq;
    }
}

static void look_at_offsets(struct trace *trace, struct stream_scan *scan,
                            const struct stream_commit_view *view)
{
    struct vg_slice group;
    enum stream_topic topic;
    uint32_t partition;
    uint64_t next_seq;

    for (size_t i = 0; i < view->offset_count; i++) {
        if (!stream_scan_offset(scan, i, &group, &topic, &partition, &next_seq))
            continue;
        for (size_t h = 0; h < HOP_COUNT; h++) {
            if (trace->hop_done[h] || hops[h].topic != topic ||
                !vg_slice_is(group, hops[h].group) || !trace->at[topic].is_known ||
                trace->at[topic].partition != partition || next_seq <= trace->at[topic].seq)
                continue;
            trace->hop_done[h] = true;
            if (hops[h].text)
                add_line(trace, hops[h].step, view->time_us, vg_slice_of(hops[h].text));
            else if (!has_line(trace, hops[h].step))
                add_line(trace, hops[h].step, view->time_us,
                         VG_SLICE("passed, and no measurement came of it"));
        }
    }
}

/* All that can still come has come: each hop is done, or what it would read never was. */
static bool is_done(const struct trace *trace)
{
    for (size_t h = 0; h < HOP_COUNT; h++) {
        if (!trace->hop_done[h])
            return false;
    }
    return true;
}

/* VG_OK: walked to the end, or all found; VG_END: ran out of time. */
static enum vg_status walk(struct trace *trace, struct stream *stream, struct fhir_store *fhir,
                           uint32_t partition, uint64_t from_seq, struct vg_err *err)
{
    struct stream_commit_view view;
    struct stream_record record;
    struct stream_scan *scan = NULL;
    enum stream_topic topic;
    enum vg_status st = stream_scan_open(stream, partition, from_seq, &scan, err);

    while (st == VG_OK && (st = stream_scan_next(scan, &view, err)) == VG_OK) {
        if (!trace->received_us) {
            if (view.first_seq + view.record_count <= trace->seq)
                continue; /* offsets alone, just before it */
            if (trace->seq < view.first_seq ||
                !stream_scan_record(scan, (size_t)(trace->seq - view.first_seq), &topic, &record) ||
                topic != STREAM_DEVICE_RAW)
                break; /* not kept any more, or not a device's message */
            begin(trace, &record, view.time_us);
        }
        if (view.time_us < trace->received_us - VG_MINUTE_US)
            continue; /* another partition's past */
        look_at_records(trace, scan, partition, fhir, &view);
        look_at_offsets(trace, scan, &view);
        if (is_done(trace))
            break;
        if (vg_mono_us() > trace->until_us) {
            stream_scan_close(scan);
            return VG_END;
        }
    }
    stream_scan_close(scan);
    return st == VG_END ? VG_OK : st;
}

/* ---- what the repository knows ---- */

static enum vg_status add_care(struct trace *trace, struct care *care, struct vg_err *err)
{
    struct vg_json *root = NULL;
    struct vg_buf text;
    enum vg_status st;

    vg_buf_init(&text, 0);
    st = care_trace(care, trace->id, &text, err);
    if (st == VG_OK)
        st = vg_json_parse(&trace->arena, vg_arena_dup(&trace->arena, vg_buf_slice(&text)), NULL,
                           &root, NULL, err);
    for (const struct vg_json *item = root ? root->child : NULL; item; item = item->next) {
        int64_t step = 0, time_us = 0;

        (void)vg_json_to_i64(vg_json_get(item, "step"), &step);
        (void)vg_time_parse(vg_json_get_text(item, "time"), &time_us, NULL);
        if (step < 1 || step > VG_STEP_COUNT || !time_us)
            continue;
        /* The repository's word on 13 and 14 stands for the journal's, which is less exact. */
        for (size_t i = trace->line_count; i-- > 0 && (step == 13 || step == 14);) {
            if (trace->lines[i].step == (unsigned)step)
                trace->lines[i] = trace->lines[--trace->line_count];
        }
    }
    for (const struct vg_json *item = root ? root->child : NULL; item; item = item->next) {
        int64_t step = 0, time_us = 0;

        if (vg_json_to_i64(vg_json_get(item, "step"), &step) && step >= 1 &&
            step <= VG_STEP_COUNT && vg_time_parse(vg_json_get_text(item, "time"), &time_us, NULL))
            add_line(trace, (unsigned)step, time_us, vg_json_get_text(item, "text"));
    }
    vg_buf_fini(&text);
    return st == VG_END ? VG_OK : st;
}

/* ---- the answer ---- */

static bool parse_id(struct vg_slice id, uint32_t *ret_partition, uint64_t *ret_seq)
{
    struct vg_slice rest = id, head = vg_slice_cut(&rest, '-');
    uint64_t partition = 0;

    if (id.len > 31 || !vg_slice_to_u64(head, &partition) || partition > UINT16_MAX ||
        !vg_slice_to_u64(rest, ret_seq))
        return false;
    *ret_partition = (uint32_t)partition;
    return true;
}

static void put_line(struct vg_json_writer *w, const struct trace *trace, unsigned step,
                     const struct line *line)
{
    vg_json_open_object(w);
    vg_json_member_i64(w, "step", step);
    vg_json_member_string(w, "name", vg_slice_of(web_step_name(step)));
    if (line && line->time_us) {
        vg_json_member_time(w, "time", line->time_us);
        vg_json_member_double(w, "ms", (double)(line->time_us - trace->received_us) / 1e3);
    }
    if (line && line->text.len)
        vg_json_member_string(w, "text", line->text);
    vg_json_close_object(w);
}

static void write_answer(const struct trace *trace, bool is_whole, struct vg_buf *out)
{
    struct vg_json_writer w;

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "id", trace->id);
    vg_json_member_string(&w, "device", trace->device);
    vg_json_member_time(&w, "received", trace->received_us);
    vg_json_member_bool(&w, "isWhole", is_whole);
    vg_json_name(&w, "steps");
    vg_json_open_array(&w);
    for (unsigned step = 1; step <= VG_STEP_COUNT; step++) {
        bool is_written[LINES_MAX] = {false};
        size_t count = 0;

        for (;; count++) { /* the step's lines by time */
            size_t best = LINES_MAX;

            for (size_t i = 0; i < trace->line_count; i++) {
                if (trace->lines[i].step == step && !is_written[i] &&
                    (best == LINES_MAX || trace->lines[i].time_us < trace->lines[best].time_us))
                    best = i;
            }
            if (best == LINES_MAX)
                break;
            is_written[best] = true;
            put_line(&w, trace, step, &trace->lines[best]);
        }
        if (count == 0)
            put_line(&w, trace, step, NULL);
    }
    vg_json_close_array(&w);
    vg_json_close_object(&w);
}

enum vg_status web_trace(struct stream *stream, struct fhir_store *fhir, struct care *care,
                         struct vg_slice id, struct vg_buf *out, struct vg_err *err)
{
    struct trace trace = {.id = vg_slice_trim(id), .until_us = vg_mono_us() + SCAN_MAX_US};
    enum vg_status st;

    if (!parse_id(trace.id, &trace.partition, &trace.seq) ||
        trace.partition >= stream_partitions(stream))
        return vg_fail(err, VG_REJECT, "web.trace_id", 0,
                       "expected a message's id, PARTITION-NUMBER, as 0-4711");
    vg_arena_init(&trace.arena, 0);
    st = walk(&trace, stream, fhir, trace.partition, trace.seq, err);
    if (st != VG_OK && st != VG_END)
        goto done;
    if (!trace.received_us) {
        st = vg_fail(err, VG_END, "web.trace_unknown", 0,
                     "no device's message %.*s in the journal (any more)", VG_FMT(trace.id));
        goto done;
    }
    for (uint32_t i = 0; i < stream_partitions(stream) && st == VG_OK && !is_done(&trace); i++) {
        if (i != trace.partition)
            st = walk(&trace, stream, fhir, i, 0, err);
    }
    if (st == VG_OK || st == VG_END) {
        bool is_whole = st == VG_OK;

        st = care ? add_care(&trace, care, err) : VG_OK;
        if (st == VG_OK)
            write_answer(&trace, is_whole, out);
    }
done:
    vg_arena_fini(&trace.arena);
    return st;
}

/* ---- "latest": a message that has had time to get through ---- */

#define LATEST_AGE_US (2 * VG_SECOND_US)
#define LATEST_WINDOW 2048

/* The newest message of a partition that is old enough, else its oldest in the window. */
static enum vg_status latest_of(struct stream *stream, uint32_t partition, int64_t before_us,
                                int64_t *ret_time_us, uint64_t *ret_seq, struct vg_err *err)
{
    struct stream_consumer *consumer = NULL;
    struct stream_batch batch;
    uint64_t end;
    bool is_found = false;
    enum vg_status st;

    st = stream_consumer_open(stream, partition, STREAM_DEVICE_RAW, "web!", &consumer, err);
    if (st != VG_OK)
        return st;
    end = stream_position(consumer);
    stream_seek(consumer, end > LATEST_WINDOW ? end - LATEST_WINDOW : 0);
    while ((st = stream_read(consumer, 256, 0, &batch, err)) == VG_OK) {
        for (size_t i = 0; i < batch.count; i++) {
            if (is_found && batch.records[i].time_us > before_us)
                goto done;
            is_found = true;
            *ret_time_us = batch.records[i].time_us;
            *ret_seq = batch.records[i].seq;
        }
    }
done:
    stream_consumer_close(consumer);
    return is_found ? VG_OK : st;
}

/* Writes the id of the newest message of all partitions. VG_END: there is none. */
static enum vg_status latest_id(struct stream *stream, int64_t now_us, char *out, size_t size,
                                struct vg_err *err)
{
    int64_t best_us = 0;

    for (uint32_t i = 0; i < stream_partitions(stream); i++) {
        int64_t time_us = 0;
        uint64_t seq = 0;
        enum vg_status st = latest_of(stream, i, now_us - LATEST_AGE_US, &time_us, &seq, err);

        if (st != VG_OK && st != VG_END)
            return st;
        if (st == VG_OK && time_us > best_us) {
            best_us = time_us;
            (void)snprintf(out, size, "%u-%llu", i, (unsigned long long)seq);
        }
    }
    return best_us ? VG_OK
                   : vg_fail(err, VG_END, "web.trace_unknown", 0, "no message has come lately");
}

enum vg_status web_trace_call(struct web_call *call, struct vg_err *err)
{
    const struct web_config *config = &call->web->config;
    struct vg_slice id = call->tail;
    char latest[32];
    enum vg_status st = VG_OK;

    if (vg_slice_is(id, "latest")) {
        st = latest_id(config->stream, call->now_us, latest, sizeof(latest), err);
        id = vg_slice_of(st == VG_OK ? latest : "");
    }
    if (st == VG_OK)
        st = web_trace(config->stream, config->fhir, config->care, id, &call->out, err);
    if (st == VG_OK)
        web_audit(call->web, vg_slice_of(call->user.name), "trace.view", id);
    return st;
}
