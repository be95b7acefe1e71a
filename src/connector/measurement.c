/* measurement.c -- the normalized measurement and its wire form. */
#include "connector/measurement.h"

#include "base/json.h"
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
        vg_json_escape(out, text);
    else
        vg_buf_put(out, VG_SLICE("null"));
}

static void put_time(struct vg_buf *out, int64_t time_us, unsigned tenths)
{
    char text[40];

    vg_buf_put_byte(out, '"');
    vg_buf_put(out, (struct vg_slice){text, value_ticks_text(time_us, tenths, text)});
    vg_buf_put_byte(out, '"');
}

void measurement_write(struct vg_buf *out, const struct measurement *m)
{
    vg_buf_put(out, VG_SLICE("{\"Type\":"));
    put_text(out, m->type);
    vg_buf_put(out, VG_SLICE(",\"OccurrenceTimeUtc\":"));
    put_time(out, m->occurrence_us, m->occurrence_tenths);
    vg_buf_put(out, VG_SLICE(",\"IngestionTimeUtc\":"));
    put_time(out, m->ingestion_us, 0);
    vg_buf_put(out, VG_SLICE(",\"DeviceId\":"));
    put_text(out, m->device_id);
    vg_buf_put(out, VG_SLICE(",\"PatientId\":"));
    put_text(out, m->patient_id);
    vg_buf_put(out, VG_SLICE(",\"EncounterId\":"));
    put_text(out, m->encounter_id);
    vg_buf_put(out, VG_SLICE(",\"CorrelationId\":"));
    put_text(out, m->correlation_id);
    vg_buf_put(out, VG_SLICE(",\"Properties\":["));
    for (const struct measurement_value *v = m->values; v; v = v->next) {
        vg_buf_put(out, VG_SLICE("{\"Name\":"));
        put_text(out, v->name);
        vg_buf_put(out, VG_SLICE(",\"Value\":"));
        put_text(out, v->text);
        vg_buf_put(out, v->next ? VG_SLICE("},") : VG_SLICE("}"));
    }
    vg_buf_put(out, VG_SLICE("]}"));
}
