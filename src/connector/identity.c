/* identity.c -- whose reading it is: the Device, the Patient and the Encounter of a message.
 *
 * Answers, refusals too, are cached under everything that decides them, and forgotten as soon as
 * any Device, Patient or Encounter has changed (fhir_change_count): a device that is put on another
 * bed's patient counts from the next batch on. Our own writes are left out of that, so that ten
 * thousand new devices do not each forget all the others.
 *
 * What differs from the reference engine, on purpose: a patient id in the message is compared with
 * the device's patient also when the device is known; an encounter must be that patient's; a
 * Patient that is gone or an entered-in-error Device is no identity; search values are
 * percent-encoded.
 *
 * Created resources have ids made of their identifier (SHA-256), so that two partitions that meet a
 * new patient at once write the same resource.
 *
 * Threads: the stage's own only.
 */
#include "connector/identity.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/map.h"

#include <stdio.h>
#include <stdlib.h>

#define CACHE_ENTRIES_MAX 50000
#define ARENA_BYTES_MAX (8u << 20)
#define ID_MAX 64
#define IDENTIFIER_BYTES_MAX 1024

static const char *const watched[] = {"Device", "Patient", "Encounter"};
#define WATCHED_COUNT 3

struct entry {
    char patient[ID_MAX + 1], device[ID_MAX + 1], encounter[ID_MAX + 1];
    int64_t encounter_start_us; /* the encounter counts for readings from here on */
    int64_t linked_us;     /* before this the device was another patient's; INT64_MIN = never */
    struct vg_err refusal; /* code NULL = none */
};

struct identity {
    struct identity_config config;
    struct vg_slice device_system;
    struct vg_map cache;
    uint64_t changes[WATCHED_COUNT]; /* that the cache knows of */
    struct vg_arena arena;           /* one resolve */
    struct vg_buf key, query, body;
};

bool identity_mode_of(const char *name, enum identity_mode *ret_mode)
{
    static const char *const names[] = {[IDENTITY_LOOKUP] = "lookup",
                                        [IDENTITY_LOOKUP_WITH_ENCOUNTER] = "lookup-with-encounter",
                                        [IDENTITY_CREATE] = "create"};

    *ret_mode = IDENTITY_LOOKUP;
    for (size_t i = 0; name && i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i]) == 0) {
            *ret_mode = (enum identity_mode)i;
            return true;
        }
    return name == NULL;
}

enum vg_status identity_open(const struct identity_config *config, struct identity **ret_identity,
                             struct vg_err *err)
{
    struct identity *id = calloc(1, sizeof(*id));

    if (!id)
        return vg_fail(err, VG_FATAL, "connector.memory", 0, "no memory for identities");
    id->config = *config;
    id->device_system = vg_slice_of(config->device_system);
    vg_map_init(&id->cache);
    vg_arena_init(&id->arena, ARENA_BYTES_MAX);
    vg_buf_init(&id->key, 1u << 20);
    vg_buf_init(&id->query, 1u << 20);
    vg_buf_init(&id->body, 8u << 20);
    *ret_identity = id;
    return VG_OK;
}

static void forget(struct identity *id)
{
    vg_map_fini(&id->cache, free);
    vg_map_init(&id->cache);
}

void identity_close(struct identity *id)
{
    if (!id)
        return;
    vg_map_fini(&id->cache, free);
    vg_arena_fini(&id->arena);
    vg_buf_fini(&id->key);
    vg_buf_fini(&id->query);
    vg_buf_fini(&id->body);
    free(id);
}

static bool read_changes(const struct identity *id, uint64_t changes[static WATCHED_COUNT])
{
    bool is_same = true;

    for (int i = 0; i < WATCHED_COUNT; i++) {
        changes[i] = fhir_change_count(id->config.store, watched[i]);
        is_same &= changes[i] == id->changes[i];
    }
    return is_same;
}

void identity_begin(struct identity *id)
{
    uint64_t changes[WATCHED_COUNT];

    if (!read_changes(id, changes) || id->cache.count > CACHE_ENTRIES_MAX) {
        if (id->cache.count > 0)
            forget(id);
        memcpy(id->changes, changes, sizeof(changes));
    }
}

/* ---- asking the store ---- */

static void put_encoded(struct vg_buf *out, struct vg_slice text)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if ((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '-' ||
            c == '.' || c == '_' || c == '~') {
            vg_buf_put_byte(out, c);
        } else {
            vg_buf_put_byte(out, '%');
            vg_buf_put_byte(out, (uint8_t)hex[c >> 4]);
            vg_buf_put_byte(out, (uint8_t)hex[c & 15]);
        }
    }
}

/* A token search takes \ | , $ in a value as signs: they are escaped before they are encoded. */
static void put_token(struct vg_buf *out, struct vg_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] && strchr("\\|,$", text.ptr[i]))
            put_encoded(out, VG_SLICE("\\"));
        put_encoded(out, (struct vg_slice){text.ptr + i, 1});
    }
}

static bool is_id(struct vg_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (!((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '-' ||
              c == '.'))
            return false;
    }
    return text.len > 0 && text.len <= ID_MAX;
}

static void made_id(struct identity *id, struct vg_slice system, struct vg_slice value,
                    char out[static 65])
{
    vg_buf_clear(&id->query);
    vg_buf_put(&id->query, system);
    vg_buf_put_byte(&id->query, '_');
    vg_buf_put(&id->query, value);
    vg_sha256_hex(vg_buf_slice(&id->query), out);
}

/* Where none was found, one that we have made may be there all the same: a server may find it later
 * than it reads it, or take the signs in an identifier otherwise. Made again, it would lose its
 * link to its patient. */
static enum vg_status find_made(struct identity *id, const char *type, struct vg_slice system,
                                struct vg_slice value, struct fhir_resource *ret,
                                const struct vg_json **ret_json, struct vg_err *err)
{
    const struct vg_json *identifiers;
    struct vg_json *root;
    char made[65];
    enum vg_status st;

    made_id(id, system, value, made);
    st = fhir_read(id->config.store, vg_slice_of(type), vg_slice_of(made), 0, &id->arena, ret, err);
    if (st == VG_OK && ret->is_deleted)
        st = VG_END;
    if (st != VG_OK)
        return st;
    if (vg_json_parse(&id->arena, ret->body, NULL, &root, NULL, NULL) != VG_OK)
        return vg_fail(err, VG_REJECT, "connector.identity", 0, "%s/%s cannot be read", type, made);
    *ret_json = root;
    identifiers = vg_json_get(root, "identifier");
    for (const struct vg_json *at = identifiers ? identifiers->child : NULL; at; at = at->next)
        if (vg_slice_eq(vg_json_get_text(at, "value"), value))
            return VG_OK;
    return vg_fail(err, VG_REJECT, "connector.identity", 0,
                   "%s/%s was made for the identifier in the message and has it no more", type,
                   made);
}

/* The one resource of `type` with this identifier, parsed. VG_END: none. */
static enum vg_status find(struct identity *id, const char *type, struct vg_slice system,
                           struct vg_slice value, struct fhir_resource *ret,
                           const struct vg_json **ret_json, struct vg_err *err)
{
    struct fhir_results results = {0};
    struct vg_json *root;
    enum vg_status st;

    if (value.len > IDENTIFIER_BYTES_MAX)
        return vg_fail(err, VG_REJECT, "connector.identity", 0,
                       "%s identifier of %zu bytes: expected at most %d", type, value.len,
                       IDENTIFIER_BYTES_MAX);
    vg_buf_clear(&id->query);
    vg_buf_put(&id->query, VG_SLICE("_count=2&identifier="));
    if (system.len > 0) {
        put_token(&id->query, system);
        vg_buf_put(&id->query, VG_SLICE("%7C"));
    }
    put_token(&id->query, value);
    st = fhir_search(id->config.store, vg_slice_of(type), vg_buf_slice(&id->query), &id->arena,
                     &results, err);
    if (st != VG_OK)
        return st == VG_END ? VG_END : st;
    if (results.match_count == 0)
        return id->config.mode == IDENTITY_CREATE
                   ? find_made(id, type, system, value, ret, ret_json, err)
                   : VG_END;
    if (results.match_count > 1)
        return vg_fail(err, VG_REJECT, "connector.identity", 0,
                       "several %s resources with the identifier in the message: expected one",
                       type);
    *ret = results.resources[0];
    if (vg_json_parse(&id->arena, ret->body, NULL, &root, NULL, NULL) != VG_OK || !is_id(ret->id))
        return vg_fail(err, VG_REJECT, "connector.identity", 0, "%s/%.*s cannot be read", type,
                       VG_FMT(ret->id));
    *ret_json = root;
    return VG_OK;
}

/* "Patient/x" -> "x"; empty: anything else. */
static struct vg_slice local_id(const struct vg_json *reference, const char *type)
{
    struct vg_slice text = vg_json_get_text(reference, "reference");
    struct vg_slice prefix = vg_slice_of(type);

    if (!vg_slice_starts(text, prefix) || text.len < prefix.len + 2 || text.ptr[prefix.len] != '/')
        return (struct vg_slice){0};
    text = vg_slice_from(text, prefix.len + 1);
    return is_id(text) ? text : (struct vg_slice){0};
}

static void keep_id(char out[static ID_MAX + 1], struct vg_slice id)
{
    if (!vg_slice_to_cstr(id, out, ID_MAX + 1))
        out[0] = '\0'; /* cannot be: is_id() was asked */
}

static enum vg_status check_patient(struct identity *id, struct vg_slice patient,
                                    struct vg_err *err)
{
    struct fhir_resource resource;
    enum vg_status st =
        fhir_read(id->config.store, VG_SLICE("Patient"), patient, 0, &id->arena, &resource, err);

    if (st == VG_END || (st == VG_OK && resource.is_deleted))
        return vg_fail(err, VG_REJECT, "connector.identity", 0,
                       "the device is linked to Patient/%.*s, which is not there", VG_FMT(patient));
    return st;
}

/* Is the patient that the message names the one that the device is linked to? */
static enum vg_status compare_patient(struct identity *id, const struct measurement *m,
                                      struct vg_slice linked, struct vg_err *err)
{
    const struct vg_json *json;
    struct fhir_resource found;
    enum vg_status st;

    if (measurement_is_blank(m->patient_id) || vg_slice_eq(m->patient_id, linked))
        return VG_OK;
    st = find(id, "Patient", (struct vg_slice){0}, m->patient_id, &found, &json, err);
    if (st == VG_END)
        return vg_fail(err, VG_REJECT, "connector.mismatch", 0,
                       "the message names a patient that is not known, its device is linked to "
                       "Patient/%.*s",
                       VG_FMT(linked));
    if (st == VG_OK && !vg_slice_eq(found.id, linked))
        return vg_fail(err, VG_REJECT, "connector.mismatch", 0,
                       "the message names Patient/%.*s, its device is linked to Patient/%.*s",
                       VG_FMT(found.id), VG_FMT(linked));
    return st;
}

static enum vg_status resolve_encounter(struct identity *id, const struct measurement *m,
                                        struct entry *entry, struct vg_err *err)
{
    struct vg_slice patient = vg_slice_of(entry->patient);
    struct fhir_results results = {0};
    struct fhir_resource found;
    const struct vg_json *json;
    struct vg_json *root;
    enum vg_status st;

    entry->encounter_start_us = INT64_MIN;
    if (!measurement_is_blank(m->encounter_id)) {
        st = find(id, "Encounter", (struct vg_slice){0}, m->encounter_id, &found, &json, err);
        if (st == VG_END)
            return vg_fail(err, VG_REJECT, "connector.identity", 0,
                           "no Encounter has the identifier in the message");
        if (st != VG_OK)
            return st;
        if (vg_slice_is(vg_json_get_text(json, "status"), "entered-in-error"))
            return vg_fail(err, VG_REJECT, "connector.identity", 0,
                           "Encounter/%.*s is entered-in-error", VG_FMT(found.id));
        if (!vg_slice_eq(local_id(vg_json_get(json, "subject"), "Patient"), patient))
            return vg_fail(err, VG_REJECT, "connector.mismatch", 0,
                           "the message names Encounter/%.*s, which is not of Patient/%s",
                           VG_FMT(found.id), entry->patient);
        keep_id(entry->encounter, found.id);
        return VG_OK;
    }
    if (id->config.mode == IDENTITY_LOOKUP_WITH_ENCOUNTER)
        return vg_fail(err, VG_REJECT, "connector.identity", 0, "the message names no Encounter");
    if (id->config.is_medtech)
        return VG_OK;
    vg_buf_clear(&id->query);
    vg_buf_put(&id->query, VG_SLICE("_count=2&status=in-progress&patient="));
    put_encoded(&id->query, patient);
    st = fhir_search(id->config.store, VG_SLICE("Encounter"), vg_buf_slice(&id->query), &id->arena,
                     &results, err);
    if (st == VG_END || (st == VG_OK && results.match_count != 1))
        return VG_OK; /* none, or not clear which: the reading stands without */
    if (st != VG_OK)
        return st;
    if (vg_json_parse(&id->arena, results.resources[0].body, NULL, &root, NULL, NULL) != VG_OK)
        return VG_OK;
    keep_id(entry->encounter, results.resources[0].id);
    (void)vg_time_parse(vg_json_get_text(vg_json_get(root, "period"), "start"),
                        &entry->encounter_start_us, NULL);
    return VG_OK;
}

/* ---- making what is missing ---- */

static void put_identifier(struct vg_json_writer *w, struct vg_slice system, struct vg_slice value)
{
    vg_json_name(w, "identifier");
    vg_json_open_array(w);
    vg_json_open_object(w);
    if (system.len > 0)
        vg_json_member_string(w, "system", system);
    vg_json_member_string(w, "value", value);
    vg_json_close_object(w);
    vg_json_close_array(w);
}

/* Appends the Device with its link to id->body: a new one, or `found` with one member more before
 * its last brace. */
static void make_device(struct identity *id, const struct measurement *m,
                        const struct fhir_resource *found, const struct entry *entry)
{
    struct vg_json_writer w;
    char link[ID_MAX + 16];

    if (found) {
        size_t len = found->body.len;

        while (len > 0 && found->body.ptr[len - 1] != '}')
            len--;
        vg_buf_put(&id->body, (struct vg_slice){found->body.ptr, len ? len - 1 : 0});
        vg_buf_printf(&id->body, ",\"patient\":{\"reference\":\"Patient/%s\"}}", entry->patient);
        return;
    }
    (void)snprintf(link, sizeof(link), "Patient/%s", entry->patient);
    vg_json_writer_init(&w, &id->body);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "resourceType", VG_SLICE("Device"));
    vg_json_member_string(&w, "id", vg_slice_of(entry->device));
    put_identifier(&w, id->device_system, m->device_id);
    vg_json_name(&w, "patient");
    vg_json_open_object(&w);
    vg_json_member_string(&w, "reference", vg_slice_of(link));
    vg_json_close_object(&w);
    vg_json_close_object(&w);
}

/* The Device is not there (found NULL), or is linked to nobody: Patient by the message's id, then
 * the Device with its link, in one commit. */
static enum vg_status create(struct identity *id, const struct measurement *m,
                             const struct fhir_resource *found, struct entry *entry,
                             struct vg_err *err)
{
    struct fhir_write writes[2];
    struct fhir_written written[2];
    struct fhir_resource patient;
    const struct vg_json *json;
    struct vg_json_writer w;
    uint64_t changes[WATCHED_COUNT];
    size_t count = 0, failed = 0, device_at;
    enum vg_status st;
    bool is_current;

    if (measurement_is_blank(m->patient_id))
        return vg_fail(err, VG_REJECT, "connector.identity", 0,
                       "the device is linked to no patient and the message names none");
    vg_buf_clear(&id->body);
    st = find(id, "Patient", (struct vg_slice){0}, m->patient_id, &patient, &json, err);
    if (st == VG_OK) {
        keep_id(entry->patient, patient.id);
    } else if (st == VG_END) {
        made_id(id, (struct vg_slice){0}, m->patient_id, entry->patient);
        vg_json_writer_init(&w, &id->body);
        vg_json_open_object(&w);
        vg_json_member_string(&w, "resourceType", VG_SLICE("Patient"));
        vg_json_member_string(&w, "id", vg_slice_of(entry->patient));
        put_identifier(&w, (struct vg_slice){0}, m->patient_id);
        vg_json_close_object(&w);
        writes[count++] = (struct fhir_write){
            .what = FHIR_UPDATE, .type = VG_SLICE("Patient"), .id = vg_slice_of(entry->patient)};
    } else {
        return st;
    }
    if (found)
        keep_id(entry->device, found->id);
    else
        made_id(id, id->device_system, m->device_id, entry->device);

    device_at = id->body.len;
    make_device(id, m, found, entry);
    if (!vg_buf_ok(&id->body))
        return vg_fail(err, VG_REJECT, "connector.identity", 0, "the Device is too large to link");
    if (count == 1)
        writes[0].body = (struct vg_slice){id->body.ptr, device_at};
    writes[count++] = (struct fhir_write){.what = FHIR_UPDATE,
                                          .type = VG_SLICE("Device"),
                                          .id = vg_slice_of(entry->device),
                                          .body = vg_slice_from(vg_buf_slice(&id->body), device_at),
                                          .if_match = found ? found->version : 0};
    is_current = read_changes(id, changes);
    st = fhir_commit(id->config.store, writes, count, &id->arena, written, &failed, err);
    if (st == VG_REJECT && failed < count &&
        (written[failed].http_status == 409 || written[failed].http_status == 412))
        return vg_fail(err, VG_RETRY, "connector.identity", 0, "the Device was changed meanwhile");
    if (st != VG_OK)
        return st;
    /* Only our own writes since the batch began: the cache is as good as before. */
    changes[0] += !written[count - 1].is_unchanged;
    changes[1] += count == 2 && !written[0].is_unchanged;
    if (is_current)
        memcpy(id->changes, changes, sizeof(changes));
    return VG_OK;
}

/* Since when the device is this patient's and was not another's: a reading from before that, out of
 * a gateway's backlog or a replay, is not this patient's. While it was nobody's counts as this
 * one's. */
static enum vg_status find_link_time(struct identity *id, struct vg_slice device,
                                     struct vg_slice patient, int64_t *ret_us, struct vg_err *err)
{
    struct fhir_results versions = {0};
    int64_t since_us = INT64_MIN;
    enum vg_status st =
        fhir_history(id->config.store, VG_SLICE("Device"), device, &id->arena, &versions, err);

    *ret_us = INT64_MIN;
    for (size_t i = 0; i < versions.count && st == VG_OK; i++) {
        const struct fhir_resource *version = &versions.resources[i];
        struct vg_slice linked = {0};
        struct vg_json *json;

        if (!version->is_deleted &&
            vg_json_parse(&id->arena, version->body, NULL, &json, NULL, NULL) == VG_OK)
            linked = local_id(vg_json_get(json, "patient"), "Patient");
        if (linked.len == 0)
            continue;
        if (!vg_slice_eq(linked, patient)) {
            *ret_us = since_us;
            break;
        }
        since_us = version->last_updated_us;
    }
    return st;
}

static enum vg_status resolve(struct identity *id, const struct measurement *m, struct entry *entry,
                              struct vg_err *err)
{
    const struct vg_json *json = NULL;
    struct fhir_resource device;
    struct vg_slice patient = {0};
    enum vg_status st = find(id, "Device", id->device_system, m->device_id, &device, &json, err);
    bool has_device = st == VG_OK;

    if (!has_device && st != VG_END)
        return st;
    if (has_device) {
        if (vg_slice_is(vg_json_get_text(json, "status"), "entered-in-error"))
            return vg_fail(err, VG_REJECT, "connector.identity", 0,
                           "Device/%.*s is entered-in-error", VG_FMT(device.id));
        patient = local_id(vg_json_get(json, "patient"), "Patient");
        if (patient.len == 0 && vg_json_get(json, "patient"))
            return vg_fail(err, VG_REJECT, "connector.identity", 0,
                           "Device/%.*s: patient is not a reference of the form Patient/id",
                           VG_FMT(device.id));
    }
    if (patient.len > 0) {
        st = check_patient(id, patient, err);
        if (st == VG_OK)
            st = compare_patient(id, m, patient, err);
        if (st == VG_OK)
            st = find_link_time(id, device.id, patient, &entry->linked_us, err);
        if (st != VG_OK)
            return st;
        keep_id(entry->device, device.id);
        keep_id(entry->patient, patient);
    } else if (id->config.mode == IDENTITY_CREATE) {
        st = create(id, m, has_device ? &device : NULL, entry, err);
        if (st != VG_OK)
            return st;
    } else if (has_device) {
        return vg_fail(err, VG_REJECT, "connector.identity", 0,
                       "Device/%.*s is linked to no patient", VG_FMT(device.id));
    } else {
        return vg_fail(err, VG_REJECT, "connector.identity", 0,
                       "no Device has the identifier of this message");
    }
    return resolve_encounter(id, m, entry, err);
}

static void put_key(struct vg_buf *key, struct vg_slice part)
{
    vg_buf_put_u32(key, part.ptr ? (uint32_t)part.len : UINT32_MAX);
    vg_buf_put(key, part);
}

enum vg_status identity_resolve(struct identity *id, const struct measurement *m,
                                struct identity_answer *ret_answer, struct vg_err *err)
{
    struct entry *entry;
    enum vg_status st;
    bool ok;

    vg_buf_clear(&id->key);
    put_key(&id->key, m->device_id);
    put_key(&id->key, m->patient_id);
    put_key(&id->key, m->encounter_id);
    entry = vg_map_get(&id->cache, vg_buf_slice(&id->key));
    if (!entry) {
        struct vg_err why = {0};

        entry = calloc(1, sizeof(*entry));
        if (entry)
            entry->linked_us = INT64_MIN;
        if (!entry || !vg_buf_ok(&id->key)) {
            free(entry);
            return vg_fail(err, VG_RETRY, "connector.memory", 0, "no memory for an identity");
        }
        vg_arena_reset(&id->arena);
        st = resolve(id, m, entry, &why);
        if (st != VG_OK && st != VG_REJECT) {
            free(entry);
            if (err)
                *err = why;
            return st;
        }
        if (st == VG_REJECT)
            entry->refusal = why;
        (void)vg_map_put(&id->cache, vg_buf_slice(&id->key), entry, &ok);
        if (!ok) {
            free(entry);
            return vg_fail(err, VG_RETRY, "connector.memory", 0, "no memory for an identity");
        }
    }
    if (entry->refusal.code) {
        if (err)
            *err = entry->refusal;
        return VG_REJECT;
    }
    if (m->occurrence_us < entry->linked_us)
        return vg_fail(err, VG_REJECT, "connector.relinked", 0,
                       "the reading is older than the device's link to Patient/%s: before, it was "
                       "another patient's",
                       entry->patient);
    ret_answer->patient = vg_slice_of(entry->patient);
    ret_answer->device = vg_slice_of(entry->device);
    ret_answer->encounter = m->occurrence_us >= entry->encounter_start_us
                                ? vg_slice_of(entry->encounter)
                                : (struct vg_slice){0};
    return VG_OK;
}
