/* hl7.h -- HL7 version 2 messages in their bar-and-hat encoding (ER7): a reader of views.
 *
 * Nothing is copied but what has escape sequences or another character set. A message is
 * segments (lines), fields, repetitions, components, subcomponents; which characters part them is
 * said by the message's first line. CR, LF and CRLF end a segment. What an MLLP frame puts around a
 * message may still be there.
 *
 * Character sets (MSH-18): empty, ASCII, UNICODE UTF-8 (UTF-8), 8859/1. An empty one or ASCII may
 * hold UTF-8; anything else beyond ASCII is refused, because a guess may change a name.
 */
#ifndef VG_BASE_HL7_H
#define VG_BASE_HL7_H

#include "base/buf.h"

#define VG_HL7_SEGMENTS_MAX 20000u

struct vg_hl7_segment {
    struct vg_slice text; /* without its end */
    uint32_t number;      /* 1 = MSH */
    char id[4];
};

struct vg_hl7 {
    struct vg_slice text; /* borrowed */
    struct vg_hl7_segment msh;
    char field, component, repetition, escape, subcomponent; /* '\0' = the message has none */
    bool is_latin1;
};

/* Reads the first segment and checks that the others have names. VG_REJECT hl7.syntax,
 * hl7.charset, hl7.size; the text names segment and field. Where the separators could be read, *ret
 * is set even then (ret->field != 0), so that the message can be answered. */
VG_CHECK enum vg_status vg_hl7_open(struct vg_slice message, struct vg_hl7 *ret,
                                    struct vg_err *err);

/* The next segment (the first call gives MSH): VG_OK, VG_END, or VG_REJECT hl7.syntax. Start with
 * a zeroed cursor. */
struct vg_hl7_cursor {
    size_t at;
    uint32_t number;
};
VG_CHECK enum vg_status vg_hl7_next(const struct vg_hl7 *hl7, struct vg_hl7_cursor *cursor,
                                    struct vg_hl7_segment *ret, struct vg_err *err);

/* Is it one that brings observations: ORU^R01 (R30, R31, R32, or no event), with an MSH-11 that is
 * empty or a letter of `processing`? VG_REJECT hl7.type, hl7.processing. */
VG_CHECK enum vg_status vg_hl7_check_kind(const struct vg_hl7 *hl7, const char *processing,
                                          struct vg_err *err);

/* Field by HL7's number (MSH-1 is the separator itself), all its repetitions; empty when absent. */
struct vg_slice vg_hl7_field(const struct vg_hl7 *hl7, const struct vg_hl7_segment *segment,
                             unsigned number);
/* Part `number` (1 = first) of `text` between separators; empty when absent or separator is '\0'
 * and number is above 1. */
struct vg_slice vg_hl7_part(struct vg_slice text, char separator, unsigned number);
/* Component of the first repetition. */
struct vg_slice vg_hl7_component(const struct vg_hl7 *hl7, struct vg_slice field, unsigned number);
struct vg_slice vg_hl7_first(const struct vg_hl7 *hl7, struct vg_slice field); /* repetition */

/* Where the observations that follow are: follows the message's segments; PV1 sets it to its PV1-3
 * without empty components at the end, PID forgets it, so that nothing of one patient is left for
 * the next. Raw. */
void vg_hl7_follow_place(const struct vg_hl7 *hl7, const struct vg_hl7_segment *segment,
                         struct vg_slice *place);
/* Appends a place as text, with ^ between its components whatever the message has there. */
void vg_hl7_put_place(const struct vg_hl7 *hl7, struct vg_slice place, struct vg_buf *out);
/* Appends what stands at the patient, by an OBX: its OBX-18, else the place (the bed), else who
 * sends (MSH-3); the universal id where there is no name. */
void vg_hl7_put_device(const struct vg_hl7 *hl7, const struct vg_hl7_segment *obx,
                       struct vg_slice place, struct vg_buf *out);

/* `""`: the sender says that there is no value (empty: it says nothing). */
bool vg_hl7_is_null(struct vg_slice raw);

/* Appends `raw` as UTF-8 with its escape sequences undone: \F\ \S\ \T\ \R\ \E\ \Xdd..\ \.br\ (and
 * \.sp\: a line feed); \H\, \N\ and other formatting are left out; what cannot be read stays. */
void vg_hl7_put_text(const struct vg_hl7 *hl7, struct vg_slice raw, struct vg_buf *out);

/* A time stamp: YYYY[MM[DD[HH[MM[SS[.S+]]]]]][+-ZZZZ]. */
enum vg_hl7_precision {
    VG_HL7_YEAR = 4,
    VG_HL7_MONTH = 6,
    VG_HL7_DAY = 8,
    VG_HL7_HOUR = 10,
    VG_HL7_MINUTE = 12,
    VG_HL7_SECOND = 14,
};
struct vg_hl7_time {
    int64_t civil_us; /* as its clock shows, counted as if that were UTC */
    int32_t zone_s;   /* east of UTC; 0 without has_zone */
    bool has_zone;
    enum vg_hl7_precision precision; /* what is missing is taken as 1 January, 00:00:00 */
};
bool vg_hl7_time_parse(struct vg_slice text, struct vg_hl7_time *ret);

#endif
