/* json_bench.c -- what it costs to read one telemetry message, and to write one record.
 *
 * The arena is reset between messages, as on the hot path. */
#include "base/clock.h"
#include "base/json.h"

#include <stdio.h>

#define ROUNDS 1000000

static const char message[] =
    "{\"deviceId\":\"monitor-0042\",\"messageId\":\"6b1f3a52-77c1-4f0e-9d5a-0e6d5b1c2a11\","
    "\"time\":\"2026-03-14T10:00:00.123Z\",\"vitals\":{\"heartRate\":72,\"respiratoryRate\":16,"
    "\"spo2\":97.5,\"systolic\":121,\"diastolic\":79,\"temperature\":36.8},"
    "\"battery\":87,\"alarms\":[]}";

static double parse_ns(struct vg_arena *arena, const struct vg_json_options *options)
{
    uint64_t begin_ns = vg_mono_ns();

    for (int i = 0; i < ROUNDS; i++) {
        struct vg_json *root = NULL;

        vg_arena_reset(arena);
        if (vg_json_parse(arena, vg_slice_of(message), options, &root, NULL, NULL) != VG_OK)
            return -1;
    }
    return (double)(vg_mono_ns() - begin_ns) / ROUNDS;
}

static double write_ns(struct vg_buf *out)
{
    uint64_t begin_ns = vg_mono_ns();

    for (int i = 0; i < ROUNDS; i++) {
        struct vg_json_writer w;

        vg_buf_clear(out);
        vg_json_writer_init(&w, out);
        vg_json_open_object(&w);
        vg_json_member_string(&w, "deviceId", VG_SLICE("monitor-0042"));
        vg_json_member_string(&w, "type", VG_SLICE("heartrate"));
        vg_json_member_time(&w, "time", 1773482400123000 + i);
        vg_json_member_double(&w, "value", 36.8);
        vg_json_member_i64(&w, "sequence", i);
        vg_json_close_object(&w);
    }
    return (double)(vg_mono_ns() - begin_ns) / ROUNDS;
}

int main(void)
{
    static const struct vg_json_options lenient = {.is_lenient = true};
    struct vg_arena arena;
    struct vg_buf out;

    vg_arena_init(&arena, 0);
    vg_buf_init(&out, 0);
    (void)parse_ns(&arena, NULL); /* warm up */
    double strict_ns = parse_ns(&arena, NULL), lenient_ns = parse_ns(&arena, &lenient);
    double record_ns = write_ns(&out);

    printf("bench=json message_bytes=%zu strict_ns=%.0f lenient_ns=%.0f gb_per_s=%.2f "
           "record_bytes=%zu write_ns=%.0f\n",
           sizeof(message) - 1, strict_ns, lenient_ns, (double)(sizeof(message) - 1) / strict_ns,
           out.len, record_ns);
    vg_buf_fini(&out);
    vg_arena_fini(&arena);
    return strict_ns < 0 || lenient_ns < 0;
}
