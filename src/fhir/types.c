/* types.c -- the resource types of FHIR R4, their shapes, and ids.
 *
 * The position of a name in the sorted list is its key on disk. R4 is frozen: the list never
 * changes (the generator refuses to make another number of types).
 */
#include "base/crypto.h"
#include "fhir/tables.h"

#include <stdio.h>

#define NAME_COUNT 146u

static const char *const series[] = {"Observation", "RiskAssessment", "AuditEvent", "Provenance"};

unsigned fhir_type_find(struct vg_slice name)
{
    size_t low = 0, high = NAME_COUNT;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = vg_slice_cmp(name, vg_slice_of(fhir_type_names[middle]));

        if (order == 0)
            return (unsigned)middle + 1;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return 0;
}

const char *fhir_type_name(unsigned type)
{
    return type >= 1 && type <= NAME_COUNT ? fhir_type_names[type - 1] : "";
}

unsigned fhir_type_count(void)
{
    return NAME_COUNT;
}

bool fhir_type_is_series(unsigned type)
{
    for (size_t i = 0; i < sizeof(series) / sizeof(series[0]); i++)
        if (strcmp(series[i], fhir_type_name(type)) == 0)
            return true;
    return false;
}

const struct fhir_shape *fhir_shape_of(unsigned type)
{
    return type >= FHIR_T_SHAPES ? &fhir_shapes[type - FHIR_T_SHAPES] : NULL;
}

const struct fhir_member *fhir_member_find(const struct fhir_shape *shape, struct vg_slice name)
{
    const struct fhir_member *members = &fhir_members[shape->first];
    size_t low = 0, high = shape->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct fhir_member *one = &members[middle];
        int order = vg_slice_cmp(name, (struct vg_slice){fhir_pool + one->name, one->name_len});

        if (order == 0)
            return one;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

bool fhir_is_mandatory(unsigned type, struct vg_slice member)
{
    const struct fhir_shape *shape = &fhir_shapes[fhir_resource_shapes[type]];
    const struct fhir_member *found;

    if (fhir_list_has("resourceType,id,meta", member))
        return true;
    if (member.len && member.ptr[0] == '_')
        member = vg_slice_from(member, 1);
    found = fhir_member_find(shape, member);
    return found && (found->flags & (FHIR_IS_REQUIRED | FHIR_IS_MODIFIER)) != 0;
}

bool fhir_id_is_ok(struct vg_slice id)
{
    if (id.len == 0 || id.len > FHIR_ID_BYTES_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '.'))
            return false;
    }
    return true;
}

#define ID_DRAWN_LEN 26u

static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";

bool fhir_id_is_drawn(struct vg_slice id)
{
    bool is_drawn = id.len == ID_DRAWN_LEN && id.ptr[0] == 'v';

    for (size_t i = 1; i < id.len && is_drawn; i++)
        is_drawn = memchr(digits, id.ptr[i], sizeof(digits) - 1) != NULL;
    return is_drawn;
}

struct vg_slice fhir_id_draw(struct vg_arena *arena)
{
    uint64_t time_ms = (uint64_t)(vg_now_us() / 1000);
    uint8_t random[16];
    char text[ID_DRAWN_LEN];

    /* A leading letter: some servers refuse ids that look like numbers. */
    text[0] = 'v';
    for (int i = 9; i >= 1; i--, time_ms >>= 5)
        text[i] = digits[time_ms & 31];
    vg_random(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++)
        text[10 + i] = digits[random[i] & 31];
    return vg_arena_dup(arena, (struct vg_slice){text, sizeof(text)});
}
