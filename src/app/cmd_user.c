/* cmd_user.c -- vigil user: who may log in. Works while the platform runs. */
#include "app/app.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "care/care.h"

#include <stdio.h>
#include <unistd.h>

static const char usage[] =
    "usage: vigil user add NAME --role ROLE [--display TEXT] [--password-file FILE] [--data DIR]\n"
    "       vigil user list | disable NAME | token NAME [--data DIR]\n"
    "\n"
    "roles: viewer nurse doctor coordinator admin service. add sets a new password (and the role) "
    "for\n"
    "a user that is there; without --password-file a password is drawn and printed once. token "
    "prints\n"
    "a bearer token for /fhir and /metrics, once.\n";

static bool is_role(const char *role)
{
    static const char *const roles[] = {"viewer",      "nurse", "doctor",
                                        "coordinator", "admin", "service"};

    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        if (strcmp(role, roles[i]) == 0)
            return true;
    }
    return false;
}

static enum vg_status add_user(struct app_options *options, struct care *care, const char *name,
                               struct vg_err *err)
{
    const char *role = app_take_option(options, "--role");
    const char *display = app_take_option(options, "--display");
    const char *file = app_take_option(options, "--password-file");
    char drawn[21], hash[VG_PASSWORD_HASH_SIZE];
    struct vg_slice password;
    struct care_user user = {0};
    enum vg_status st = VG_OK;

    if (!role || !is_role(role))
        return vg_fail(err, VG_REJECT, "user.role", 0,
                       "--role must be viewer, nurse, doctor, coordinator, admin or service");
    if (!vg_slice_to_cstr(vg_slice_of(name), user.name, sizeof(user.name)) ||
        !vg_slice_to_cstr(vg_slice_of(display ? display : name), user.display,
                          sizeof(user.display)))
        return vg_fail(err, VG_REJECT, "user.name", 0, "the name is too long (at most %zu bytes)",
                       sizeof(user.name) - 1);
    (void)vg_slice_to_cstr(vg_slice_of(role), user.role, sizeof(user.role));
    if (file) {
        st = vg_file_read(&options->arena, file, 4096, &password, err);
        if (st == VG_END)
            st = vg_fail(err, VG_REJECT, "user.password_file", 0, "no such file: %s", file);
        password = st == VG_OK ? vg_slice_trim(password) : (struct vg_slice){0};
        if (st == VG_OK && password.len < 8)
            st =
                vg_fail(err, VG_REJECT, "user.password", 0, "a password has at least 8 characters");
    } else {
        vg_random_password(drawn, 20);
        password = vg_slice_of(drawn);
    }
    if (st == VG_OK)
        st = vg_password_hash(password, false, hash, err);
    if (st == VG_OK)
        st = care_user_put(care, &user, hash, err);
    if (st == VG_OK && !file)
        (void)printf("%s\n", drawn);
    return st;
}

static enum vg_status make_token(struct care *care, const char *name, struct vg_err *err)
{
    uint8_t secret[32];
    char hex[65], hash[128];
    struct care_user user;
    enum vg_status st = care_user_get(care, vg_slice_of(name), &user, hash, err);

    if (st == VG_END)
        return vg_fail(err, VG_REJECT, "user.unknown", 0, "there is no user '%s'", name);
    if (st != VG_OK)
        return st;
    vg_random(secret, sizeof(secret));
    vg_hex(secret, sizeof(secret), hex);
    st = care_login_put(care, "token", vg_slice_of(hex), vg_slice_of(name), 0, err);
    if (st == VG_OK)
        (void)printf("%s\n", hex);
    return st;
}

int cmd_user(int argc, char **argv)
{
    struct app_options options;
    struct care *care = NULL;
    struct vg_buf out;
    struct vg_err err = {0};
    enum vg_status st = VG_OK;
    const char *what, *name;
    int code = app_options_init(&options, argc, argv);

    vg_buf_init(&out, 0);
    what = options.rest_count > 0 ? options.rest[0] : "";
    name = options.rest_count > 1 ? options.rest[1] : NULL;
    if (code == 0 && (options.wants_help || (strcmp(what, "list") != 0 && !name))) {
        (void)fputs(usage, options.wants_help ? stdout : stderr);
        code = options.wants_help ? 0 : 2;
        goto done;
    }
    if (code != 0)
        goto done;
    if ((st = vg_dir_make(options.settings.data_dir, &err)) == VG_OK)
        st = care_open(&(struct care_config){.engine = options.settings.care_engine,
                                             .path = settings_path(&options.arena,
                                                                   &options.settings, "care.db")},
                       &care, &err);
    if (st == VG_OK && strcmp(what, "list") == 0) {
        st = care_users(care, &out, &err);
        vg_buf_put_byte(&out, '\n');
        (void)fwrite(out.ptr, 1, out.len, stdout);
    } else if (st == VG_OK && strcmp(what, "add") == 0) {
        st = add_user(&options, care, name, &err);
    } else if (st == VG_OK && strcmp(what, "disable") == 0) {
        st = care_user_disable(care, vg_slice_of(name), &err);
    } else if (st == VG_OK && strcmp(what, "token") == 0) {
        st = make_token(care, name, &err);
    } else if (st == VG_OK) {
        (void)fputs(usage, stderr);
        code = 2;
    }
    if (st != VG_OK)
        code = app_fail(&err);
done:
    vg_buf_fini(&out);
    care_close(care);
    app_options_fini(&options);
    return code;
}
