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
    return vg_slice_trim(text).len == 0;
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
