/* measurement.c -- the normalized measurement and its wire form. */
#include "connector/measurement.h"

#include "base/json.h"
#include "connector/put_int.h"
#include "connector/value.h"

const struct measurement_value *measurement_get(const struct measurement *m, struct vg_slice name)
{
    for (const struct measurement_value *v = m->values; v; v = v->next)
        if (vg_slice_eq(v->name, name))
            return v;
    return NULL;
}

bool measurement_is_blank(struct vg_slice text)
{
    /* White space beyond ASCII: U+0085, 00A0, 1680, 2000 to 200A, 2028, 2029, 202F, 205F, 3000. */
    static const char *const spaces[] = {"\xc2\x85", "\u00a0", "\u1680", "\u2000", "\u2001",
                                         "\u2002",   "\u2003", "\u2004", "\u2005", "\u2006",
                                         "\u2007",   "\u2008", "\u2009", "\u200a", "\u2028",
                                         "\u2029",   "\u202f", "\u205f", "\u3000"};
    size_t count = sizeof(spaces) / sizeof(spaces[0]);

    if (text.len > 0 && text.ptr[0] > ' ' && text.ptr[0] < 0x7f)
        return false; /* nearly every text */
    for (text = vg_slice_trim(text); text.len > 0; text = vg_slice_trim(text)) {
        size_t i = 0;

        if (!((unsigned char)text.ptr[0] & 0x80))
            return false;
        while (i < count && !vg_slice_starts(text, vg_slice_of(spaces[i])))
            i++;
        if (i == count)
            return false;
        text = vg_slice_from(text, strlen(spaces[i]));
    }
    return true;
}

static void put_text(struct vg_buf *out, struct vg_slice text)
{
    if (text.ptr)
        put_quoted(out, text);
    else
        PUT(out, "null");
}

static void put_time(struct vg_buf *out, int64_t time_us, unsigned tenths)
{
    char text[40];

    PUT(out, "\"");
    put(out, (struct vg_slice){text, value_ticks_text(time_us, tenths, text)});
    PUT(out, "\"");
}

void measurement_write(struct vg_buf *out, const struct measurement *m)
{
    PUT(out, "{\"Type\":");
    put_text(out, m->type);
    PUT(out, ",\"OccurrenceTimeUtc\":");
    put_time(out, m->occurrence_us, m->occurrence_tenths);
    PUT(out, ",\"IngestionTimeUtc\":");
    put_time(out, m->ingestion_us, 0);
    PUT(out, ",\"DeviceId\":");
    put_text(out, m->device_id);
    PUT(out, ",\"PatientId\":");
    put_text(out, m->patient_id);
    PUT(out, ",\"EncounterId\":");
    put_text(out, m->encounter_id);
    PUT(out, ",\"CorrelationId\":");
    put_text(out, m->correlation_id);
    PUT(out, ",\"Properties\":[");
    for (const struct measurement_value *v = m->values; v; v = v->next) {
        PUT(out, "{\"Name\":");
        put_text(out, v->name);
        PUT(out, ",\"Value\":");
        put_text(out, v->text);
        put(out, v->next ? VG_SLICE("},") : VG_SLICE("}"));
    }
    PUT(out, "]}");
}
