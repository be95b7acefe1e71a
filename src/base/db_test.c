/* db_test.c -- how a store opens SQLite: modes, migrations, statements, and what errors mean. */
#include "base/db.h"
#include "vg_test.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/vigil-db-XXXXXX";
static char path[64];

static const char *const migrations[] = {
    "CREATE TABLE ward(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE bed(id INTEGER PRIMARY KEY, ward INTEGER NOT NULL REFERENCES ward(id));"
    "INSERT INTO ward VALUES(1, 'north')",
    "ALTER TABLE ward ADD COLUMN floor INTEGER",
};

static int64_t number_of(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    int64_t value = -1;

    if (CHECK(vg_db_prepare(db, sql, &stmt, NULL) == VG_OK) && vg_db_step(stmt, NULL) == VG_OK)
        value = sqlite3_column_int64(stmt, 0);
    (void)sqlite3_finalize(stmt);
    return value;
}

static void remove_files(void)
{
    char beside[80];

    (void)unlink(path);
    (void)snprintf(beside, sizeof(beside), "%s-wal", path);
    (void)unlink(beside);
    (void)snprintf(beside, sizeof(beside), "%s-shm", path);
    (void)unlink(beside);
}

static void test_open(void)
{
    struct vg_err err = {0};
    struct stat info;
    sqlite3 *db = NULL;

    CHECK(vg_db_open(path, true, &db, &err) == VG_FATAL && db == NULL); /* nothing to read */
    CHECK(vg_db_open(path, false, &db, &err) == VG_OK);
    CHECK(stat(path, &info) == 0 && (info.st_mode & 0777) == 0600);
    CHECK(number_of(db, "SELECT journal_mode = 'wal' FROM pragma_journal_mode") == 1);
    CHECK(number_of(db, "PRAGMA synchronous") == 2);
    CHECK(number_of(db, "PRAGMA foreign_keys") == 1);
    CHECK(vg_db_exec(db, "PRAGMA writable_schema=ON; DELETE FROM sqlite_schema", &err) !=
          VG_OK); /* defensive */
    vg_db_close(db);
    CHECK(vg_db_open("/nowhere/x.db", false, &db, &err) == VG_FATAL && db == NULL);
    CHECK(strcmp(err.code, "db.open") == 0);
    vg_db_close(NULL);
    remove_files();
}

/* Of the process that this program starts itself again as. */
static int add_ward(const char *file, const char *name)
{
    sqlite3_stmt *stmt = NULL;
    sqlite3 *db = NULL;
    enum vg_status st = vg_db_open(file, false, &db, NULL);

    if (st == VG_OK)
        st = vg_db_prepare(db, "INSERT INTO ward(name) VALUES(?1)", &stmt, NULL);
    if (st == VG_OK) {
        vg_db_bind_text(stmt, 1, vg_slice_of(name));
        st = vg_db_run(stmt, NULL);
    }
    (void)sqlite3_finalize(stmt);
    vg_db_close(db);
    return st == VG_OK ? 0 : 1;
}

/* Two connections of one process, and another process that comes, writes and goes: its last act is
 * to take the log away if nobody else seems to have the file open. */
static void test_another_process_writes(void)
{
    struct vg_err err = {0};
    sqlite3 *one = NULL, *two = NULL;

    CHECK(vg_db_open(path, false, &one, &err) == VG_OK);
    CHECK(vg_db_migrate(one, migrations, 3, &err) == VG_OK);
    CHECK(vg_db_open(path, false, &two, &err) == VG_OK);
    for (int i = 0; i < 3; i++) {
        const char name[] = {'w', (char)('0' + i), '\0'};
        pid_t child = fork();
        int status = -1;

        if (child == 0) {
            (void)execl("/proc/self/exe", "db_test", path, name, (char *)NULL);
            _exit(127);
        }
        CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
        CHECK(number_of(one, "SELECT COUNT(*) FROM ward") == 2 + i);
        CHECK(number_of(two, "SELECT COUNT(*) FROM ward") == 2 + i);
    }
    vg_db_close(one);
    vg_db_close(two);
    remove_files();
}

static void test_migrate(void)
{
    static const char *const broken[] = {"CREATE TABLE a(x)",
                                         "CREATE TABLE b(x); CREATE TABLE a(x)"};
    struct vg_err err = {0};
    sqlite3 *db = NULL, *reader = NULL;

    if (!CHECK(vg_db_open(path, false, &db, &err) == VG_OK))
        return;
    CHECK(vg_db_migrate(db, migrations, 1, &err) == VG_OK);
    CHECK(number_of(db, "PRAGMA user_version") == 1);
    CHECK(vg_db_migrate(db, migrations, 3, &err) == VG_OK);
    CHECK(vg_db_migrate(db, migrations, 3, &err) == VG_OK); /* nothing to do */
    CHECK(number_of(db, "PRAGMA user_version") == 3);
    CHECK(number_of(db, "SELECT count(*) FROM ward WHERE floor IS NULL") == 1);
    CHECK(vg_db_migrate(db, migrations, 2, &err) == VG_FATAL);
    CHECK(strcmp(err.code, "db.version") == 0);
    CHECK(vg_db_open(path, true, &reader, &err) == VG_OK);
    CHECK(number_of(reader, "SELECT count(*) FROM ward") == 1);
    CHECK(vg_db_exec(reader, "DELETE FROM ward", &err) == VG_FATAL);
    CHECK(strcmp(err.code, "db.readonly") == 0);
    vg_db_close(reader);
    vg_db_close(db);
    remove_files();
    /* A migration that fails leaves nothing of itself. */
    CHECK(vg_db_open(path, false, &db, &err) == VG_OK);
    CHECK(vg_db_migrate(db, broken, 2, &err) == VG_FATAL);
    CHECK(number_of(db, "PRAGMA user_version") == 1);
    CHECK(number_of(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'b'") == 0);
    CHECK(sqlite3_get_autocommit(db));
    vg_db_close(db);
    remove_files();
}

static void test_statements(void)
{
    struct vg_err err = {0};
    sqlite3_stmt *put = NULL, *get = NULL;
    sqlite3 *db = NULL;

    if (!CHECK(vg_db_open(":memory:", false, &db, &err) == VG_OK))
        return;
    CHECK(vg_db_exec(db, "CREATE TABLE t(a TEXT PRIMARY KEY, b TEXT CHECK(b <> 'no'))", &err) ==
          VG_OK);
    CHECK(vg_db_prepare(db, "INSERT INTO t VALUES(?1, ?2)", &put, &err) == VG_OK);
    CHECK(vg_db_prepare(db, "SELECT a, b FROM t ORDER BY a", &get, &err) == VG_OK);
    vg_db_bind_text(put, 1, VG_SLICE("k\0ey"));
    CHECK(vg_db_run(put, &err) == VG_OK); /* b was not bound: NULL */
    vg_db_bind_text(put, 1, VG_SLICE(""));
    vg_db_bind_text(put, 2, VG_SLICE("v"));
    CHECK(vg_db_run(put, &err) == VG_OK);
    vg_db_bind_text(put, 1, VG_SLICE(""));
    CHECK(vg_db_run(put, &err) == VG_REJECT && strcmp(err.code, "db.constraint") == 0);
    vg_db_bind_text(put, 1, VG_SLICE("x"));
    vg_db_bind_text(put, 2, VG_SLICE("no"));
    CHECK(vg_db_run(put, &err) == VG_REJECT);
    for (int round = 0; round < 2; round++) { /* the end resets the statement */
        CHECK(vg_db_step(get, &err) == VG_OK);
        CHECK(vg_db_text(get, 0).ptr != NULL && vg_db_text(get, 0).len == 0);
        CHECK(vg_slice_is(vg_db_text(get, 1), "v"));
        CHECK(vg_db_step(get, &err) == VG_OK);
        CHECK(vg_slice_eq(vg_db_text(get, 0), VG_SLICE("k\0ey")));
        CHECK(vg_db_text(get, 1).ptr == NULL);
        CHECK(vg_db_step(get, &err) == VG_END);
    }
    CHECK(vg_db_run(get, &err) == VG_FATAL); /* rows where none are expected */
    (void)sqlite3_finalize(get);
    CHECK(vg_db_prepare(db, "SELECT nonsense FROM t", &get, &err) == VG_FATAL);
    CHECK(get == NULL && strcmp(err.code, "db.error") == 0);
    (void)sqlite3_finalize(put);
    vg_db_close(db);
}

static void test_errors(void)
{
    struct vg_err err = {0};
    sqlite3 *db = NULL, *other = NULL;
    FILE *file;

    if (!CHECK(vg_db_open(path, false, &db, &err) == VG_OK))
        return;
    CHECK(vg_db_migrate(db, migrations, 2, &err) == VG_OK);
    CHECK(vg_db_exec(db, "INSERT INTO bed VALUES(1, 99)", &err) == VG_REJECT); /* no such ward */
    CHECK(vg_db_open(path, false, &other, &err) == VG_OK);
    CHECK(sqlite3_busy_timeout(other, 0) == SQLITE_OK);
    CHECK(vg_db_exec(db, "BEGIN IMMEDIATE", &err) == VG_OK);
    CHECK(vg_db_exec(other, "BEGIN IMMEDIATE", &err) == VG_RETRY);
    CHECK(strcmp(err.code, "db.busy") == 0);
    CHECK(vg_db_exec(db, "COMMIT", &err) == VG_OK);
    vg_db_close(other);
    CHECK(vg_db_exec(db, "PRAGMA max_page_count=4", &err) == VG_OK);
    CHECK(vg_db_exec(db, "CREATE TABLE big AS SELECT randomblob(100000)", &err) == VG_RETRY);
    CHECK(strcmp(err.code, "db.full") == 0);
    vg_db_close(db);
    remove_files();
    file = fopen(path, "w");
    CHECK(file && fputs("this is no database, and long enough to be seen as none", file) > 0);
    CHECK(file && fclose(file) == 0);
    CHECK(vg_db_open(path, false, &db, &err) == VG_FATAL && db == NULL);
    CHECK(strcmp(err.code, "db.corrupt") == 0);
    CHECK(vg_db_fail(NULL, &err, "open") == VG_RETRY && strcmp(err.code, "db.memory") == 0);
    remove_files();
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return add_ward(argv[1], argv[2]);
    if (!mkdtemp(dir))
        return 1;
    (void)snprintf(path, sizeof(path), "%s/x.db", dir);
    RUN(test_open);
    RUN(test_another_process_writes);
    RUN(test_migrate);
    RUN(test_statements);
    RUN(test_errors);
    CHECK(rmdir(dir) == 0);
    return vg_test_report();
}
