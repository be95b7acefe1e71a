/* cmd_trace.c -- vigil trace: one message's journey, from the journal and the repository. Works
 * beside the running platform. */
#include "app/app.h"

#include "base/json.h"
#include "care/care.h"
#include "fhir/fhir.h"
#include "stream/stream.h"
#include "web/web.h"

#include <stdio.h>

static const char usage[] = "usage: vigil trace ID [--json] [--data DIR]\n"
                            "       vigil trace --device DEVICE [--json] [--data DIR]\n"
                            "       vigil trace --flag FLAG [--json] [--data DIR]\n"
                            "\n"
                            "ID is PARTITION-SEQUENCE, as in the records' trace header. --device "
                            "takes that device's newest\n"
                            "message, --flag the message that opened or last changed this Flag.\n";

static void print_line(const struct vg_json *step)
{
    struct vg_slice time = vg_json_get_text(step, "time");
    int64_t number = 0;
    double ms = 0;
    char after[32] = "";

    (void)vg_json_to_i64(vg_json_get(step, "step"), &number);
    if (vg_json_to_double(vg_json_get(step, "ms"), &ms))
        (void)snprintf(after, sizeof(after), "%+.1f ms", ms);
    if (!time.len)
        time = VG_SLICE("-");
    (void)printf("%2lld  %-24.*s  %12s  %-40.*s  %.*s\n", (long long)number, VG_FMT(time), after,
                 VG_FMT(vg_json_get_text(step, "name")), VG_FMT(vg_json_get_text(step, "text")));
}

static enum vg_status print_trace(struct vg_arena *arena, struct vg_slice json, struct vg_err *err)
{
    struct vg_json *root;
    const struct vg_json *steps;
    enum vg_status st = vg_json_parse(arena, json, NULL, &root, NULL, err);

    if (st != VG_OK)
        return st;
    steps = vg_json_get(root, "steps");
    (void)printf("message %.*s of device %.*s, received %.*s\n\n",
                 VG_FMT(vg_json_get_text(root, "id")), VG_FMT(vg_json_get_text(root, "device")),
                 VG_FMT(vg_json_get_text(root, "received")));
    for (const struct vg_json *step = steps ? steps->child : NULL; step; step = step->next)
        print_line(step);
    return VG_OK;
}

/* The newest raw message of a device, over all partitions. */
static enum vg_status find_device(struct stream *stream, struct vg_slice device,
                                  struct vg_arena *arena, struct vg_slice *ret_id,
                                  struct vg_err *err)
{
    uint32_t partition = stream_partition_of(stream, device);
    struct stream_consumer *consumer = NULL;
    struct stream_batch batch;
    enum vg_status st;

    *ret_id = (struct vg_slice){0};
    st = stream_consumer_open(stream, partition, STREAM_DEVICE_RAW, "trace", &consumer, err);
    while (st == VG_OK && (st = stream_read(consumer, 4096, 0, &batch, err)) == VG_OK) {
        for (size_t i = 0; i < batch.count; i++) {
            if (vg_slice_eq(batch.records[i].key, device))
                *ret_id = vg_arena_printf(arena, "%u-%llu", partition,
                                          (unsigned long long)batch.records[i].seq);
        }
    }
    stream_consumer_close(consumer);
    if (st == VG_END)
        st = ret_id->len ? VG_OK
                         : vg_fail(err, VG_REJECT, "trace.device", 0,
                                   "the journal holds no message of device '%.*s'", VG_FMT(device));
    return st;
}

int cmd_trace(int argc, char **argv)
{
    struct app_options options;
    struct stream *stream = NULL;
    struct care *care = NULL;
    struct vg_slice id = {0};
    struct vg_err err = {0};
    struct vg_buf out;
    int code = app_options_init(&options, argc, argv);
    const char *device = app_take_option(&options, "--device");
    const char *flag = app_take_option(&options, "--flag");
    bool is_json = app_take_switch(&options, "--json");
    enum vg_status st = VG_OK;

    vg_buf_init(&out, 0);
    if (code != 0)
        goto done;
    if (options.wants_help || options.rest_count != (device || flag ? 0 : 1)) {
        (void)fputs(usage, options.wants_help ? stdout : stderr);
        code = options.wants_help ? 0 : 2;
        goto done;
    }
    st = app_open_journal(&options, true, &stream, &err);
    if (st == VG_OK)
        st = care_open(&(struct care_config){.path = settings_path(&options.arena,
                                                                   &options.settings, "care.db")},
                       &care, &err);
    if (st == VG_OK && device)
        st = find_device(stream, vg_slice_of(device), &options.arena, &id, &err);
    else if (st == VG_OK && flag)
        st = care_flag_trace(care, vg_slice_of(flag), &options.arena, &id, &err);
    else if (st == VG_OK)
        id = vg_slice_of(options.rest[0]);
    if (st == VG_OK)
        st = web_trace(stream, NULL, care, id, &out, &err);
    if (st == VG_OK && is_json)
        (void)printf("%.*s\n", (int)out.len, out.ptr);
    else if (st == VG_OK)
        st = print_trace(&options.arena, vg_buf_slice(&out), &err);
    if (st == VG_END)
        st = vg_fail(&err, VG_REJECT, "trace.unknown", 0,
                     "the journal holds no message %.*s (any more)", VG_FMT(id));
    if (st != VG_OK)
        code = app_fail(&err);
done:
    vg_buf_fini(&out);
    care_close(care);
    stream_close(stream);
    app_options_fini(&options);
    return code;
}
