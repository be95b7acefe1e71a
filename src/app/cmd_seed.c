/* cmd_seed.c -- vigil seed: a ward to try Vigil with, beside the running platform.
 *
 * Makes devices with credentials in the registry, and over REST the made-up patients that they are
 * linked to: Location, Patient, Encounter and Device for each bed. Ids are fixed, so doing it again
 * changes nothing but the passwords.
 */
#include "app/app.h"

#include "app/ward.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/http_client.h"
#include "base/json.h"
#include "care/care.h"
#include "hub/registry.h"

#include <stdarg.h>
#include <stdio.h>

static const char usage[] =
    "usage: vigil seed [--beds N] [--data DIR]\n"
    "\n"
    "Makes a ward of made-up patients (12 beds) in the platform that runs on this data folder, "
    "with a device\n"
    "for each bed. The devices' passwords go to DATA/ward-credentials.txt, for 'vigil simulate'.\n";

#define BEDS_USUAL 12
#define BEDS_PER_WARD 24
#define PASSWORD_CHARS 24
#define TOKEN_LIFE_US (10 * VG_MINUTE_US)
#define BUNDLE_BEDS_MAX 50

/* Given names with the sex that goes with them in this made-up ward. */
static const struct {
    const char *given, *gender;
} people[] = {
    {"Ada", "female"},  {"Bruno", "male"}, {"Chiara", "female"}, {"Dmitri", "male"},
    {"Elif", "female"}, {"Femi", "male"},  {"Greta", "female"},  {"Hugo", "male"},
    {"Ines", "female"}, {"Jun", "male"},   {"Kavita", "female"}, {"Lars", "male"},
    {"Mei", "female"},  {"Noah", "male"},  {"Olga", "female"},   {"Pedro", "male"},
};
static const char *const families[] = {
    "Abel",   "Brandt",   "Costa", "Dahl",   "Eriksen", "Fischer", "Grant",  "Haddad", "Ito",
    "Jansen", "Kowalski", "Lopez", "Moreau", "Nguyen",  "Okafor",  "Petrov", "Quinn",
};
#define PEOPLE_COUNT (sizeof(people) / sizeof(people[0]))
#define FAMILY_COUNT (sizeof(families) / sizeof(families[0]))

/* Opens an entry of the bundle up to the resource's id; the caller adds members and closes it. */
static void open_entry(struct vg_json_writer *w, const char *type, const char *id)
{
    char url[128];

    (void)snprintf(url, sizeof(url), "%s/%s", type, id);
    vg_json_open_object(w);
    vg_json_name(w, "request");
    vg_json_open_object(w);
    vg_json_member_string(w, "method", VG_SLICE("PUT"));
    vg_json_member_string(w, "url", vg_slice_of(url));
    vg_json_close_object(w);
    vg_json_name(w, "resource");
    vg_json_open_object(w);
    vg_json_member_string(w, "resourceType", vg_slice_of(type));
    vg_json_member_string(w, "id", vg_slice_of(id));
}

static void close_entry(struct vg_json_writer *w)
{
    vg_json_close_object(w);
    vg_json_close_object(w);
}

VG_PRINTF(3, 4)
static void member(struct vg_json_writer *w, const char *name, const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    vg_json_name(w, name);
    if (text[0] == '{' || text[0] == '[')
        vg_json_put_raw(w, vg_slice_of(text));
    else
        vg_json_put_string(w, vg_slice_of(text));
}

static void put_ward(struct vg_json_writer *w, unsigned ward)
{
    char id[32];

    (void)snprintf(id, sizeof(id), "demo-ward-%u", ward);
    open_entry(w, "Location", id);
    member(w, "status", "active");
    member(w, "name", "Ward %u", ward);
    close_entry(w);
}

static void put_bed(struct vg_json_writer *w, unsigned bed, const char *device, int64_t now_us)
{
    unsigned person = (bed - 1) % PEOPLE_COUNT, ward = (bed - 1) / BEDS_PER_WARD + 1;
    unsigned family = (bed * 7 + 3) % FAMILY_COUNT;
    char id[64], start[VG_TIME_TEXT_SIZE];

    (void)vg_time_format(now_us - (int64_t)(bed % 9 + 1) * VG_DAY_US, 0, start);
    (void)snprintf(id, sizeof(id), "demo-bed-%03u", bed);
    open_entry(w, "Location", id);
    member(w, "status", "active");
    member(w, "name", "Bed %u", (bed - 1) % BEDS_PER_WARD + 1);
    member(w, "partOf", "{\"reference\":\"Location/demo-ward-%u\"}", ward);
    close_entry(w);

    (void)snprintf(id, sizeof(id), "demo-patient-%03u", bed);
    open_entry(w, "Patient", id);
    member(w, "identifier",
           "[{\"type\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/v2-0203\","
           "\"code\":\"MR\"}]},\"system\":\"https://vigil.health/demo/mrn\",\"value\":\"MRN-%u\"}]",
           1000 + bed);
    vg_json_member_bool(w, "active", true);
    member(w, "name", "[{\"use\":\"official\",\"family\":\"%s\",\"given\":[\"%s\"]}]",
           families[family], people[person].given);
    member(w, "gender", "%s", people[person].gender);
    member(w, "birthDate", "%u-%02u-%02u", 1935 + bed * 11 % 60, bed % 12 + 1, bed % 28 + 1);
    close_entry(w);

    (void)snprintf(id, sizeof(id), "demo-encounter-%03u", bed);
    open_entry(w, "Encounter", id);
    member(w, "status", "in-progress");
    member(w, "class",
           "{\"system\":\"http://terminology.hl7.org/CodeSystem/v3-ActCode\",\"code\":\"IMP\"}");
    member(w, "subject", "{\"reference\":\"Patient/demo-patient-%03u\"}", bed);
    member(w, "period", "{\"start\":\"%s\"}", start);
    member(w, "location",
           "[{\"location\":{\"reference\":\"Location/demo-bed-%03u\"},\"status\":\"active\"}]",
           bed);
    close_entry(w);

    (void)snprintf(id, sizeof(id), "demo-device-%03u", bed);
    open_entry(w, "Device", id);
    member(w, "identifier", "[{\"value\":\"%s\"}]", device);
    member(w, "status", "active");
    member(w, "type", "{\"text\":\"Bedside monitor\"}");
    member(w, "patient", "{\"reference\":\"Patient/demo-patient-%03u\"}", bed);
    close_entry(w);
}

static void write_bundle(struct vg_buf *out, unsigned first, unsigned last)
{
    struct vg_json_writer w;
    int64_t now_us = vg_now_us() / VG_DAY_US * VG_DAY_US; /* the same all day: nothing changes */

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_member_string(&w, "resourceType", VG_SLICE("Bundle"));
    vg_json_member_string(&w, "type", VG_SLICE("transaction"));
    vg_json_name(&w, "entry");
    vg_json_open_array(&w);
    for (unsigned bed = first; bed <= last; bed++) {
        char device[32];

        if (bed == first || (bed - 1) % BEDS_PER_WARD == 0)
            put_ward(&w, (bed - 1) / BEDS_PER_WARD + 1);
        (void)snprintf(device, sizeof(device), "bed-%u", bed);
        put_bed(&w, bed, device, now_us);
    }
    vg_json_close_array(&w);
    vg_json_close_object(&w);
}

static enum vg_status add_devices(const char *data_dir, unsigned beds, struct vg_buf *credentials,
                                  struct vg_err *err)
{
    struct registry *registry = NULL;
    enum vg_status st = registry_open(data_dir, &registry, err);

    if (st == VG_OK)
        st = registry_begin(registry, err);
    for (unsigned bed = 1; bed <= beds && st == VG_OK; bed++) {
        char id[32], password[PASSWORD_CHARS + 1];

        (void)snprintf(id, sizeof(id), "bed-%u", bed);
        vg_random_password(password, PASSWORD_CHARS);
        st = registry_set_password(registry, id, vg_slice_of(password), err);
        if (st == VG_END)
            st = registry_add(registry, id, false, NULL, vg_slice_of(password), err);
        vg_buf_printf(credentials, "%s %s\n", id, password);
    }
    if (st == VG_OK)
        st = registry_commit(registry, err);
    registry_close(registry);
    return st;
}

/* A token of ten minutes for a user that can do nothing else. */
static enum vg_status make_token(struct app_options *options, char hex[static 65],
                                 struct vg_err *err)
{
    struct care_user user = {.name = "seed", .role = "service", .display = "vigil seed"};
    struct care *care = NULL;
    uint8_t secret[32];
    enum vg_status st =
        care_open(&(struct care_config){.path = settings_path(&options->arena, &options->settings,
                                                              "care.db")},
                  &care, err);

    vg_random(secret, sizeof(secret));
    vg_hex(secret, sizeof(secret), hex);
    if (st == VG_OK)
        st = care_user_put(care, &user, "no password", err);
    if (st == VG_OK)
        st = care_login_put(care, "token", vg_slice_of(hex), vg_slice_of(user.name),
                            vg_now_us() + TOKEN_LIFE_US, err);
    care_close(care);
    return st;
}

static enum vg_status web_port_of(struct app_options *options, int64_t *ret_port,
                                  struct vg_err *err)
{
    struct vg_slice text;
    struct vg_json *run;
    enum vg_status st =
        vg_file_read(&options->arena,
                     settings_path(&options->arena, &options->settings, "run.json"), 0, &text, err);

    if (st == VG_END)
        return vg_fail(err, VG_REJECT, "seed.run", 0, "no platform runs on the folder '%s'",
                       options->settings.data_dir);
    if (st == VG_OK)
        st = vg_json_parse(&options->arena, text, NULL, &run, NULL, err);
    if (st == VG_OK && !vg_json_to_i64(vg_json_get(run, "web"), ret_port))
        st = vg_fail(err, VG_REJECT, "seed.run", 0, "run.json names no web port");
    return st;
}

static enum vg_status post_bundles(struct app_options *options, unsigned beds, int64_t port,
                                   const char *token, struct vg_err *err)
{
    struct vg_http_client_config config = {
        .ca_path = settings_path(&options->arena, &options->settings, "tls/ca.crt"),
        .timeout_ms = 60000,
    };
    char authorization[96], url[64];
    const char *headers[] = {"Content-Type: application/fhir+json", "Prefer: return=minimal",
                             authorization, NULL};
    struct vg_http_client *client = NULL;
    struct vg_http_answer answer;
    struct vg_buf body;
    enum vg_status st = vg_http_client_open(&config, &client, err);

    (void)snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s", token);
    (void)snprintf(url, sizeof(url), "https://localhost:%lld/fhir", (long long)port);
    vg_buf_init(&body, 0);
    for (unsigned first = 1; first <= beds && st == VG_OK; first += BUNDLE_BEDS_MAX) {
        unsigned last = first + BUNDLE_BEDS_MAX - 1;

        vg_buf_clear(&body);
        write_bundle(&body, first, last < beds ? last : beds);
        st = vg_http_fetch(client, "POST", url, headers, vg_buf_slice(&body), &options->arena,
                           &answer, err);
        if (st == VG_OK && answer.status != 200)
            st = vg_fail(err, VG_REJECT, "seed.fhir", 0, "the FHIR service answered %d: %.*s",
                         answer.status, answer.body.len > 150 ? 150 : (int)answer.body.len,
                         answer.body.ptr);
    }
    vg_buf_fini(&body);
    vg_http_client_close(client);
    return st;
}

int cmd_seed(int argc, char **argv)
{
    struct app_options options;
    struct vg_buf credentials;
    struct vg_err err = {0};
    uint64_t beds = BEDS_USUAL;
    int64_t port = 0;
    char token[65];
    int code = app_options_init(&options, argc, argv);
    const char *count = app_take_option(&options, "--beds");
    enum vg_status st;

    vg_buf_init(&credentials, 0);
    if (code != 0)
        goto done;
    if (options.wants_help || options.rest_count ||
        (count &&
         (!vg_slice_to_u64(vg_slice_of(count), &beds) || beds < 1 || beds > WARD_BEDS_MAX))) {
        (void)fputs(usage, options.wants_help ? stdout : stderr);
        code = options.wants_help ? 0 : 2;
        goto done;
    }
    st = web_port_of(&options, &port, &err);
    if (st == VG_OK)
        st = add_devices(options.settings.data_dir, (unsigned)beds, &credentials, &err);
    if (st == VG_OK)
        st = make_token(&options, token, &err);
    if (st == VG_OK)
        st = post_bundles(&options, (unsigned)beds, port, token, &err);
    if (st == VG_OK)
        st = vg_file_write(settings_path(&options.arena, &options.settings, "ward-credentials.txt"),
                           vg_buf_slice(&credentials), 0600, &err);
    if (st != VG_OK)
        code = app_fail(&err);
    else
        (void)printf("a ward of %llu beds is there; its devices' passwords are in %s\n",
                     (unsigned long long)beds,
                     settings_path(&options.arena, &options.settings, "ward-credentials.txt"));
done:
    vg_buf_fini(&credentials);
    app_options_fini(&options);
    return code;
}
