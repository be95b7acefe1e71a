/* cmd_device.c -- vigil device: which devices may connect. Works while the platform runs: the hub
 * sees a change within a second and drops the connections that it ends. */
#include "app/app.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/json.h"
#include "hub/registry.h"

#include <stdio.h>

static const char usage[] =
    "usage: vigil device add ID [--gateway] [--through GATEWAY] [--speaks-for NAMES]\n"
    "                        [--password-file FILE] [--data DIR]\n"
    "       vigil device speaks-for ID NAMES [--data DIR]\n"
    "       vigil device list [--json] [--data DIR]\n"
    "       vigil device disable ID | enable ID [--data DIR]\n"
    "       vigil device rotate ID [--password-file FILE] [--data DIR]\n"
    "\n"
    "add and rotate print the password that they drew, once. --gateway: it may bring messages of\n"
    "devices added --through it. disable and rotate end the device's connection within a second.\n"
    "NAMES: the beds and monitors that its messages may name beside itself, with commas between\n"
    "them, * for any text: 'ICU^*, PUMP-7'; '' for nobody. Of whom nothing is said: HL7 v2 may "
    "name\n"
    "nobody else, other messages whom the mapping reads.\n";

#define PASSWORD_LENGTH 24 /* about 118 bits */

/* From --password-file, or drawn into `drawn` (then to be printed). */
static enum vg_status choose_password(struct app_options *options, const char *file,
                                      char drawn[static PASSWORD_LENGTH + 1],
                                      struct vg_slice *ret_password, struct vg_err *err)
{
    enum vg_status st;

    drawn[0] = '\0';
    if (!file) {
        vg_random_password(drawn, PASSWORD_LENGTH);
        *ret_password = vg_slice_of(drawn);
        return VG_OK;
    }
    st = vg_file_read(&options->arena, file, 4096, ret_password, err);
    if (st == VG_END)
        return vg_fail(err, VG_REJECT, "device.password_file", 0, "no such file: %s", file);
    if (st != VG_OK)
        return st;
    *ret_password = vg_slice_trim(*ret_password);
    if (ret_password->len < 12 || ret_password->len > 256)
        return vg_fail(err, VG_REJECT, "device.password", 0,
                       "a device's password has 12 to 256 characters, this one has %zu",
                       ret_password->len);
    return VG_OK;
}

static void print_row(const struct registry_device *device)
{
    char seen[VG_TIME_TEXT_SIZE] = "never";

    if (device->seen_us)
        (void)vg_time_format(device->seen_us, 0, seen);
    (void)printf("%-24s %-9s %-8s %-24s %s\n", device->id,
                 device->is_enabled ? "enabled" : "disabled",
                 device->is_gateway ? "gateway" : "device",
                 device->through[0] ? device->through : "-", seen);
}

static void put_json(struct vg_json_writer *w, const struct registry_device *device)
{
    vg_json_open_object(w);
    vg_json_member_string(w, "id", vg_slice_of(device->id));
    vg_json_member_bool(w, "enabled", device->is_enabled);
    vg_json_member_bool(w, "gateway", device->is_gateway);
    if (device->through[0])
        vg_json_member_string(w, "through", vg_slice_of(device->through));
    vg_json_member_time(w, "created", device->created_us);
    if (device->speaks_for)
        vg_json_member_string(w, "speaksFor", vg_slice_of(device->speaks_for));
    if (device->seen_us)
        vg_json_member_time(w, "seen", device->seen_us);
    vg_json_close_object(w);
}

static enum vg_status list(struct registry *registry, bool is_json, struct vg_err *err)
{
    struct directory *directory = NULL;
    enum vg_status st = registry_directory(registry, &directory, err);
    struct vg_json_writer w;
    struct vg_buf out;

    if (st != VG_OK)
        return st;
    vg_buf_init(&out, 0);
    vg_json_writer_init(&w, &out);
    vg_json_open_array(&w);
    if (!is_json)
        (void)printf("%-24s %-9s %-8s %-24s %s\n", "ID", "STATE", "KIND", "THROUGH", "LAST SEEN");
    for (size_t i = 0; i < directory_count(directory); i++) {
        if (is_json)
            put_json(&w, directory_at(directory, i));
        else
            print_row(directory_at(directory, i));
    }
    vg_json_close_array(&w);
    if (is_json)
        (void)printf("%.*s\n", VG_FMT(vg_buf_slice(&out)));
    if (!vg_buf_ok(&out))
        st = vg_fail(err, VG_RETRY, "device.memory", 0, "no memory for the list");
    vg_buf_fini(&out);
    directory_unref(directory);
    return st;
}

struct asked {
    bool is_gateway, is_json;
    const char *through, *file, *names;
};

/* A device with its names is there whole, or not at all. */
static enum vg_status add(struct registry *registry, const char *id, const struct asked *asked,
                          struct vg_slice password, struct vg_err *err)
{
    enum vg_status st = registry_begin(registry, err);

    if (st == VG_OK)
        st = registry_add(registry, id, asked->is_gateway, asked->through, password, err);
    if (st == VG_OK && asked->names)
        st = registry_set_speaks_for(registry, id, asked->names, err);
    return st == VG_OK ? registry_commit(registry, err) : st;
}

static enum vg_status change(struct app_options *options, struct registry *registry,
                             const struct asked *asked, struct vg_err *err)
{
    const char *what = options->rest[0], *id = options->rest[1];
    char drawn[PASSWORD_LENGTH + 1];
    struct vg_slice password = {0};
    enum vg_status st;

    if (strcmp(what, "disable") == 0 || strcmp(what, "enable") == 0) {
        st = registry_set_enabled(registry, id, what[0] == 'e', err);
    } else if (strcmp(what, "speaks-for") == 0) {
        st = registry_set_speaks_for(registry, id, options->rest[2], err);
    } else {
        st = choose_password(options, asked->file, drawn, &password, err);
        if (st == VG_OK)
            st = strcmp(what, "add") == 0 ? add(registry, id, asked, password, err)
                                          : registry_set_password(registry, id, password, err);
        if (st == VG_OK && drawn[0])
            (void)printf("%s\n", drawn);
    }
    return st == VG_END
               ? vg_fail(err, VG_REJECT, "device.unknown", 0, "there is no device '%s'", id)
               : st;
}

int cmd_device(int argc, char **argv)
{
    static const struct {
        const char *name;
        size_t words;
    } known[] = {{"list", 1},   {"add", 2},    {"disable", 2},
                 {"enable", 2}, {"rotate", 2}, {"speaks-for", 3}};
    struct app_options options;
    struct registry *registry = NULL;
    struct vg_err err = {0};
    enum vg_status st = VG_OK;
    struct asked asked;
    bool is_list, is_right = false;
    const char *what;
    int code = app_options_init(&options, argc, argv);

    asked = (struct asked){.is_gateway = app_take_switch(&options, "--gateway"),
                           .is_json = app_take_switch(&options, "--json"),
                           .through = app_take_option(&options, "--through"),
                           .names = app_take_option(&options, "--speaks-for"),
                           .file = app_take_option(&options, "--password-file")};
    what = options.rest_count > 0 ? options.rest[0] : "";
    is_list = strcmp(what, "list") == 0;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        is_right |=
            strcmp(what, known[i].name) == 0 && (size_t)options.rest_count == known[i].words;
    if (code == 0 && (options.wants_help || !is_right)) {
        (void)fputs(usage, options.wants_help ? stdout : stderr);
        code = options.wants_help ? 0 : 2;
        goto done;
    }
    if (code != 0)
        goto done;
    st = vg_dir_make(options.settings.data_dir, &err);
    if (st == VG_OK)
        st = registry_open(options.settings.data_dir, &registry, &err);
    if (st == VG_OK && is_list)
        st = list(registry, asked.is_json, &err);
    else if (st == VG_OK)
        st = change(&options, registry, &asked, &err);
    if (st != VG_OK)
        code = app_fail(&err);
done:
    registry_close(registry);
    app_options_fini(&options);
    return code;
}
