/* minimise.c -- JSON without what tells who a patient is, for wall displays.
 *
 * Any object that names a patient (it has "patientId" and "name") gets its initials as its name and
 * loses "identifier"; "sbar" and the "text" that a person wrote in an item's history, which are
 * prose about a patient, go. Everything else is copied as it stands. What a vital sign is called
 * ("name" without a patientId) stays.
 */
#include "web/web_int.h"

static void put_initials(struct vg_json_writer *w, const struct vg_json *object)
{
    struct vg_slice initials = vg_json_get_text(object, "initials");
    struct vg_slice rest = vg_json_get_text(object, "name");
    char text[32];
    size_t len = 0;

    if (initials.len) {
        vg_json_put_string(w, initials);
        return;
    }
    while (rest.len && len + 8 < sizeof(text)) {
        struct vg_slice word = vg_slice_cut(&rest, ' ');

        /* A whole UTF-8 character: its lead byte and what continues it. */
        for (size_t i = 0; i < word.len && (i == 0 || ((unsigned char)word.ptr[i] & 0xc0) == 0x80);
             i++)
            text[len++] = word.ptr[i];
    }
    vg_json_put_string(w, (struct vg_slice){text, len});
}

static void put_value(struct vg_json_writer *w, const struct vg_json *value)
{
    bool is_patient, is_act;

    if (value->type == VG_JSON_ARRAY) {
        vg_json_open_array(w);
        for (const struct vg_json *item = value->child; item; item = item->next)
            put_value(w, item);
        vg_json_close_array(w);
        return;
    }
    if (value->type != VG_JSON_OBJECT) {
        vg_json_put_raw(w, value->source);
        return;
    }
    is_patient = vg_json_get(value, "patientId") && vg_json_get(value, "name");
    is_act = vg_json_get(value, "what") && vg_json_get(value, "user");
    vg_json_open_object(w);
    for (const struct vg_json *member = value->child; member; member = member->next) {
        if ((is_patient && vg_slice_is(member->name, "identifier")) ||
            (is_act && vg_slice_is(member->name, "text")) || vg_slice_is(member->name, "sbar"))
            continue;
        vg_json_name_slice(w, member->name);
        if (is_patient && vg_slice_is(member->name, "name"))
            put_initials(w, value);
        else
            put_value(w, member);
    }
    vg_json_close_object(w);
}

enum vg_status web_minimise(struct vg_slice json, struct vg_buf *out, struct vg_err *err)
{
    static const struct vg_json_options options = {.values_max = 2000000};
    struct vg_json_writer w;
    struct vg_json *root = NULL;
    struct vg_arena arena;
    enum vg_status st;

    vg_arena_init(&arena, (size_t)256 << 20);
    st = vg_json_parse(&arena, json, &options, &root, NULL, err);
    if (st == VG_OK) {
        vg_json_writer_init(&w, out);
        put_value(&w, root);
    }
    vg_arena_fini(&arena);
    return st;
}
