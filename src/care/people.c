/* people.c -- users, their sessions and tokens, and the record of what they saw and did. */
#include "base/clock.h"
#include "base/crypto.h"
#include "care/care_int.h"

enum vg_status care_user_put(struct care *care, const struct care_user *user,
                             const char *password_hash, struct vg_err *err)
{
    struct vg_slice name = vg_slice_of(user->name);
    enum vg_status st;

    pthread_mutex_lock(&care->write_lock);
    st = care_begin(care, err);
    if (st == VG_OK) {
        st = SQL_RUN(
            care->writer, err, NULL, NULL,
            "INSERT INTO person (name, role, display, password_hash, is_enabled) VALUES (?, "
            "?, ?, ?, 1) ON CONFLICT (name) DO UPDATE SET role = excluded.role, display = "
            "excluded.display, password_hash = excluded.password_hash, is_enabled = 1",
            sql_t(name), sql_t(vg_slice_of(user->role)), sql_t(vg_slice_of(user->display)),
            sql_t(vg_slice_of(password_hash)));
        /* Whoever is logged in with the old password is not any more. */
        if (st == VG_OK)
            st = SQL_RUN(care->writer, err, NULL, NULL,
                         "DELETE FROM login WHERE person = ? AND kind = 'session'", sql_t(name));
        st = care_end(care, st, err);
    }
    pthread_mutex_unlock(&care->write_lock);
    return st;
}

struct found_user {
    struct care_user user;
    char password_hash[128];
    bool is_found;
};

/* Columns name, role, display, password_hash. */
static enum vg_status take_user(void *ctx, const struct sql_row *row)
{
    struct found_user *found = ctx;

    found->is_found =
        vg_slice_to_cstr(sql_text(row, 0), found->user.name, sizeof(found->user.name)) &&
        vg_slice_to_cstr(sql_text(row, 1), found->user.role, sizeof(found->user.role)) &&
        vg_slice_to_cstr(sql_text(row, 2), found->user.display, sizeof(found->user.display)) &&
        vg_slice_to_cstr(sql_text(row, 3), found->password_hash, sizeof(found->password_hash));
    return VG_OK;
}

enum vg_status care_user_get(struct care *care, struct vg_slice name, struct care_user *ret_user,
                             char password_hash[static 128], struct vg_err *err)
{
    struct found_user found = {0};
    enum vg_status st = CARE_READ(care, err, take_user, &found,
                                  "SELECT name, role, display, password_hash FROM person "
                                  "WHERE name = ? AND is_enabled = 1",
                                  sql_t(name));

    if (st != VG_OK || !found.is_found)
        return st == VG_OK ? VG_END : st;
    *ret_user = found.user;
    memcpy(password_hash, found.password_hash, sizeof(found.password_hash));
    return VG_OK;
}

enum vg_status care_user_disable(struct care *care, struct vg_slice name, struct vg_err *err)
{
    enum vg_status st;

    pthread_mutex_lock(&care->write_lock);
    st = care_begin(care, err);
    if (st == VG_OK)
        st = SQL_RUN(care->writer, err, NULL, NULL,
                     "UPDATE person SET is_enabled = 0 WHERE name = ?", sql_t(name));
    if (st == VG_OK)
        st = SQL_RUN(care->writer, err, NULL, NULL, "DELETE FROM login WHERE person = ?",
                     sql_t(name));
    st = care_end(care, st, err);
    pthread_mutex_unlock(&care->write_lock);
    return st;
}

static enum vg_status write_user(void *ctx, const struct sql_row *row)
{
    struct vg_json_writer *w = ctx;

    vg_json_open_object(w);
    vg_json_member_string(w, "name", sql_text(row, 0));
    vg_json_member_string(w, "role", sql_text(row, 1));
    vg_json_member_string(w, "display", sql_text(row, 2));
    vg_json_member_bool(w, "enabled", sql_integer(row, 3) != 0);
    vg_json_close_object(w);
    return VG_OK;
}

enum vg_status care_users(struct care *care, struct vg_buf *out, struct vg_err *err)
{
    struct vg_json_writer w;
    enum vg_status st;

    vg_json_writer_init(&w, out);
    vg_json_open_object(&w);
    vg_json_name(&w, "users");
    vg_json_open_array(&w);
    st = CARE_READ(care, err, write_user, &w,
                   "SELECT name, role, display, is_enabled FROM person WHERE ? = 1 ORDER BY name",
                   sql_i(1));
    vg_json_close_array(&w);
    vg_json_close_object(&w);
    return st;
}

enum vg_status care_login_put(struct care *care, const char *kind, struct vg_slice secret,
                              struct vg_slice user, int64_t expires_us, struct vg_err *err)
{
    char hash[65];

    enum vg_status st = CARE_WRITE(care, err, NULL, NULL,
                                   "DELETE FROM login WHERE expires_us <> 0 AND expires_us < ?",
                                   sql_i(vg_now_us()));

    if (st != VG_OK)
        return st;
    vg_sha256_hex(secret, hash);
    return CARE_WRITE(
        care, err, NULL, NULL,
        "INSERT INTO login (secret_hash, kind, person, expires_us) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (secret_hash) DO UPDATE SET expires_us = excluded.expires_us",
        sql_t(vg_slice_of(hash)), sql_t(vg_slice_of(kind)), sql_t(user), sql_i(expires_us));
}

enum vg_status care_login_renew(struct care *care, struct vg_slice secret, int64_t expires_us,
                                struct vg_err *err)
{
    char hash[65];

    vg_sha256_hex(secret, hash);
    return CARE_WRITE(care, err, NULL, NULL,
                      "UPDATE login SET expires_us = ? WHERE secret_hash = ?", sql_i(expires_us),
                      sql_t(vg_slice_of(hash)));
}

enum vg_status care_login_get(struct care *care, const char *kind, struct vg_slice secret,
                              int64_t now_us, struct care_user *ret_user, struct vg_err *err)
{
    struct found_user found = {0};
    char hash[65];
    enum vg_status st;

    vg_sha256_hex(secret, hash);
    st = CARE_READ(care, err, take_user, &found,
                   "SELECT p.name, p.role, p.display, '' FROM login l JOIN person p ON p.name = "
                   "l.person WHERE l.secret_hash = ? AND l.kind = ? AND p.is_enabled = 1 AND "
                   "(l.expires_us = 0 OR l.expires_us > ?)",
                   sql_t(vg_slice_of(hash)), sql_t(vg_slice_of(kind)), sql_i(now_us));
    if (st != VG_OK || !found.is_found)
        return st == VG_OK ? VG_END : st;
    *ret_user = found.user;
    return VG_OK;
}

enum vg_status care_login_drop(struct care *care, struct vg_slice secret, struct vg_err *err)
{
    char hash[65];

    vg_sha256_hex(secret, hash);
    return CARE_WRITE(care, err, NULL, NULL, "DELETE FROM login WHERE secret_hash = ?",
                      sql_t(vg_slice_of(hash)));
}

enum vg_status care_audit(struct care *care, int64_t time_us, struct vg_slice user,
                          const char *what, struct vg_slice subject, struct vg_err *err)
{
    return CARE_WRITE(care, err, NULL, NULL,
                      "INSERT INTO audit (time_us, person, what, subject) VALUES (?, ?, ?, ?)",
                      sql_i(time_us), sql_t(user), sql_t(vg_slice_of(what)),
                      sql_t(subject.ptr ? subject : VG_SLICE("")));
}
