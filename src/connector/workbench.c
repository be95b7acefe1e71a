/* workbench.c -- trying, checking and putting in force of mappings, asked in JSON.
 *
 * The mapping debugger says what is wrong, the store keeps and exchanges. Each request has memory
 * of its own, which dies with it; nothing of a message is kept.
 *
 * Threads: the caller's.
 */
#include "connector/workbench.h"

#include "connector/debugger.h"
#include "connector/decode.h"

#include <stdio.h>

#define ARENA_BYTES_MAX (128u << 20)
#define RESULT_BYTES_MAX (4u << 20)

/* A text member; ptr NULL when it is absent. An empty text is one, too. */
static struct vg_slice text_of(const struct vg_json *root, const char *name)
{
    const struct vg_json *member = vg_json_get(root, name);

    if (!vg_json_is(member, VG_JSON_STRING))
        return (struct vg_slice){0};
    return member->text.ptr ? member->text : VG_SLICE("");
}

static enum vg_status parse(struct vg_arena *arena, struct vg_slice request,
                            const struct vg_json **ret_root, struct vg_err *err)
{
    struct vg_json *root = NULL;

    if (vg_json_parse(arena, request, NULL, &root, NULL, NULL) != VG_OK ||
        !vg_json_is(root, VG_JSON_OBJECT))
        return vg_fail(err, VG_REJECT, "connector.workbench", 0, "expected a JSON object");
    *ret_root = root;
    return VG_OK;
}

/* ---- what is wrong with two texts ---- */

struct findings {
    struct vg_json_writer *w;
    struct vg_err *err; /* of the first error */
};

static void write_finding(void *ctx, const struct debugger_finding *f)
{
    const struct findings *findings = ctx;
    struct vg_json_writer *w = findings->w;

    vg_json_open_object(w);
    vg_json_member_string(w, "file", vg_slice_of(f->is_in_fhir ? "fhir" : "device"));
    vg_json_member_string(w, "severity", vg_slice_of(f->is_warning ? "warning" : "error"));
    vg_json_member_i64(w, "line", f->line);
    vg_json_member_i64(w, "column", f->column);
    vg_json_member_string(w, "text", f->text);
    vg_json_close_object(w);
    if (!f->is_warning && findings->err && !findings->err->code)
        (void)vg_fail(findings->err, VG_REJECT, "connector.mapping", 0,
                      "%s mapping, line %u, column %u: %.*s", f->is_in_fhir ? "FHIR" : "device",
                      f->line, f->column, (int)(f->text.len < 160 ? f->text.len : 160),
                      f->text.ptr);
}

/* Opens the debugger and writes the member `findings`. *ret NULL: the texts are too large. */
static struct debugger *check(struct vg_arena *arena, struct vg_slice device, struct vg_slice fhir,
                              bool is_medtech, struct vg_json_writer *w, size_t *ret_errors,
                              struct vg_err *err)
{
    struct findings findings = {w, err};
    struct debugger *d = debugger_open(arena, device, fhir, is_medtech, ret_errors);

    vg_json_name(w, "findings");
    vg_json_open_array(w);
    if (d)
        debugger_findings(d, write_finding, &findings);
    vg_json_close_array(w);
    if (!d || (*ret_errors && err && !err->code))
        (void)vg_fail(err, VG_REJECT, "connector.mapping", 0, "the mappings are too large");
    return d;
}

/* ---- a message's envelope ---- */

static void put_properties(const struct stream_record *record, struct vg_json_writer *w)
{
    struct vg_slice name, value, mid = stream_header_get(record->headers, "mid");
    size_t cursor = 0;

    vg_json_name(w, "Properties");
    vg_json_open_object(w);
    while (stream_header_next(record->headers, &cursor, &name, &value)) {
        if (vg_slice_starts(name, VG_SLICE("p.")))
            name = vg_slice_from(name, 2);
        else if (vg_slice_is(name, "ctime"))
            name = VG_SLICE("iothub-creation-time-utc");
        else
            continue;
        vg_json_name_slice(w, name);
        vg_json_put_string(w, value);
    }
    vg_json_close_object(w);
    vg_json_name(w, "SystemProperties");
    vg_json_open_object(w);
    vg_json_member_string(w, "iothub-connection-device-id", record->key);
    vg_json_member_time(w, "iothub-enqueuedtime", record->time_us);
    if (mid.len)
        vg_json_member_string(w, "message-id", mid);
    vg_json_close_object(w);
}

enum vg_status workbench_envelope(const char *zone, const char *hl7_processing,
                                  const struct stream_record *record, struct vg_buf *out,
                                  struct vg_err *err)
{
    const struct vg_json_options lenient = {.is_lenient = true};
    struct decode_config config = {.processing = hl7_processing};
    struct vg_json *body = NULL;
    struct decoded decoded = {0};
    struct vg_json_writer w;
    struct vg_arena arena;
    enum vg_status st;

    if (!zone_parse(vg_slice_of(zone), &config.zone))
        return vg_fail(err, VG_REJECT, "connector.config", 0, "zone");
    vg_arena_init(&arena, ARENA_BYTES_MAX);
    st = decode_record(&config, record, &arena, &decoded, err);
    body = decoded.body;
    if (st == VG_OK && !body && record->value.len > 0)
        st = vg_json_parse(&arena, record->value, &lenient, &body, NULL, err);
    if (st == VG_OK) {
        vg_json_writer_init(&w, out);
        vg_json_open_object(&w);
        vg_json_member_raw(&w, "Body", body ? body->source : VG_SLICE("null"));
        put_properties(record, &w);
        vg_json_close_object(&w);
    }
    vg_arena_fini(&arena);
    return st;
}

/* ---- the calls ---- */

/* VG_END with words: what was asked for is not there. */
static enum vg_status no_version(struct vg_slice version, struct vg_err *err)
{
    return vg_fail(err, VG_END, "connector.mapping_version", 0, "there is no version %.*s",
                   (int)(version.len < 32 ? version.len : 32), version.ptr);
}

enum vg_status workbench_show(struct mapping_store *store, struct vg_slice version,
                              struct vg_buf *out, struct vg_err *err)
{
    char name[MAPPING_VERSION_SIZE];
    struct vg_slice device, fhir;
    struct vg_json_writer w;
    struct vg_arena arena;
    enum vg_status st;

    vg_arena_init(&arena, ARENA_BYTES_MAX);
    if (vg_slice_is(version, "active"))
        version = VG_SLICE("");
    st = vg_slice_is(version, "files")
             ? mapping_store_files(store, &arena, &device, &fhir, err)
             : mapping_store_texts(store, version, &arena, &device, &fhir, err);
    if (st == VG_OK) {
        mapping_version_of(device, fhir, mapping_store_is_medtech(store), name);
        vg_json_writer_init(&w, out);
        vg_json_open_object(&w);
        vg_json_member_string(&w, "version", vg_slice_of(name));
        vg_json_member_string(&w, "device", device);
        vg_json_member_string(&w, "fhir", fhir);
        vg_json_close_object(&w);
    }
    if (st == VG_END)
        st = no_version(version, err);
    vg_arena_fini(&arena);
    return st;
}

enum vg_status workbench_try(struct mapping_store *store, struct vg_slice request,
                             struct vg_buf *out, struct vg_err *err)
{
    const struct vg_json *root = NULL;
    struct vg_slice device, fhir, payload, compat;
    struct debugger *d = NULL;
    struct vg_json_writer w;
    struct vg_arena arena;
    struct vg_buf result;
    bool is_envelope = false, is_medtech = mapping_store_is_medtech(store);
    char version[MAPPING_VERSION_SIZE];
    size_t errors = 0;
    enum vg_status st;

    vg_arena_init(&arena, ARENA_BYTES_MAX);
    vg_buf_init(&result, RESULT_BYTES_MAX);
    st = parse(&arena, request, &root, err);
    if (st != VG_OK)
        goto done;
    device = text_of(root, "device");
    fhir = text_of(root, "fhir");
    payload = text_of(root, "payload");
    compat = text_of(root, "compat");
    (void)vg_json_to_bool(vg_json_get(root, "isEnvelope"), &is_envelope);
    if (!device.ptr || !fhir.ptr) {
        st =
            vg_fail(err, VG_REJECT, "connector.workbench", 0, "expected the texts device and fhir");
        goto done;
    }
    mapping_version_of(device, fhir, is_medtech, version); /* under the setting, not the switch */
    if (compat.ptr)
        is_medtech = vg_slice_is(compat, "medtech");
    vg_json_writer_init(&w, &result);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "version", vg_slice_of(version));
    d = check(&arena, device, fhir, is_medtech, &w, &errors, NULL);
    if (d && errors == 0 && payload.len > 0) {
        vg_json_name(&w, "result");
        (void)debugger_test(d, VG_SLICE("message"), payload, is_envelope, &w);
    }
    vg_json_close_object(&w);
    if (d && vg_buf_ok(&result))
        vg_buf_put(out, vg_buf_slice(&result));
    else
        st = vg_fail(err, VG_REJECT, "connector.workbench", 0,
                     "the mappings, or what they make of the message, are too large to be tried");
done:
    debugger_close(d);
    vg_buf_fini(&result);
    vg_arena_fini(&arena);
    return st;
}

static enum vg_status texts_to_activate(struct mapping_store *store, struct vg_arena *arena,
                                        const struct vg_json *root, struct mapping_act *act,
                                        struct vg_slice *ret_device, struct vg_slice *ret_fhir,
                                        struct vg_err *err)
{
    struct vg_slice what = vg_json_get_text(root, "do"), version = text_of(root, "version");
    enum vg_status st;

    if (vg_slice_is(what, "reload")) {
        act->how = "reload";
        act->is_of_files = true;
        return mapping_store_files(store, arena, ret_device, ret_fhir, err);
    }
    if (vg_slice_is(what, "rollback") && version.len > 0) {
        act->how = "rollback";
        st = mapping_store_texts(store, version, arena, ret_device, ret_fhir, err);
        return st == VG_END ? no_version(version, err) : st;
    }
    act->how = "workbench";
    *ret_device = text_of(root, "device");
    *ret_fhir = text_of(root, "fhir");
    if (vg_slice_is(what, "activate") && ret_device->ptr && ret_fhir->ptr)
        return VG_OK;
    return vg_fail(err, VG_REJECT, "connector.workbench", 0,
                   "expected do: activate with device and fhir, rollback with version, or reload");
}

enum vg_status workbench_act(struct mapping_store *store, struct vg_slice who,
                             struct vg_slice request, struct vg_buf *out, struct vg_err *err)
{
    char version[MAPPING_VERSION_SIZE] = "", previous[MAPPING_VERSION_SIZE] = "";
    struct mapping_act act = {.who = who};
    const struct vg_json *root = NULL;
    struct vg_slice device, fhir;
    struct debugger *d = NULL;
    struct vg_json_writer w;
    struct vg_arena arena;
    struct vg_err why = {0};
    size_t errors = 0;
    enum vg_status st;

    vg_arena_init(&arena, ARENA_BYTES_MAX);
    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    st = parse(&arena, request, &root, err);
    act.base = text_of(root, "base");
    if (st == VG_OK)
        st = texts_to_activate(store, &arena, root, &act, &device, &fhir, err);
    if (st == VG_OK && act.is_of_files) {
        vg_json_name(&w, "files");
        vg_json_open_object(&w);
        vg_json_member_string(&w, "device", vg_slice_of(mapping_store_path(store, false)));
        vg_json_member_string(&w, "fhir", vg_slice_of(mapping_store_path(store, true)));
        vg_json_close_object(&w);
    }
    if (st == VG_OK) {
        d = check(&arena, device, fhir, mapping_store_is_medtech(store), &w, &errors, &why);
        if (!d || errors > 0) {
            st = VG_REJECT;
            if (err)
                *err = why;
        }
    }
    if (st == VG_OK)
        st = mapping_store_activate(store, device, fhir, &act, version, previous, err);
    if (st == VG_OK) {
        vg_json_member_string(&w, "version", vg_slice_of(version));
        vg_json_member_string(&w, "previous", vg_slice_of(previous));
    }
    vg_json_close_object(&w);
    debugger_close(d);
    vg_arena_fini(&arena);
    return st;
}
