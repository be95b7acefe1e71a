/* Contract of the lake: what is flushed is there once, in a Delta log that anybody can read. */
#include "lake/delta.h"
#include "lake/lake.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/json.h"

#include "vg_test.h"

#include <dirent.h>
#include <math.h>
#include <unistd.h>

static char dir[64];

static struct lake *open_lake(void)
{
    struct lake *lake = NULL;
    struct vg_err err = {0};

    if (!CHECK(lake_open(&(struct lake_config){.dir = dir}, &lake, &err) == VG_OK))
        printf("%s: %s\n", err.code, err.text);
    return lake;
}

static void fresh_dir(void)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/vigil-lake-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
}

static enum vg_status append(struct lake *lake, const char *patient, int64_t time_us, double value)
{
    char text[VG_TIME_TEXT_SIZE], record[512];

    (void)vg_time_format(time_us, 3, text);
    (void)snprintf(
        record, sizeof(record),
        "{\"patientId\":\"%s\",\"patient\":{\"ageYears\":70,\"gender\":\"female\"},"
        "\"deviceId\":\"bed-1\",\"type\":\"vitals\",\"effectiveDateTime\":\"%s\","
        "\"receivedTime\":\"%s\",\"observationId\":\"o1\",\"values\":["
        "{\"name\":\"hr\",\"system\":\"http://loinc.org\",\"code\":\"8867-4\",\"value\":%g,"
        "\"unit\":\"/min\"},{\"name\":\"avpu\",\"code\":\"80288-4\",\"text\":\"A\"}]}",
        patient, text, text, value);
    return lake_append(lake, LAKE_ENRICHED, "app", vg_slice_of(record), VG_SLICE("0-1"), NULL);
}

static void check_query(struct lake *lake, const char *sql, const char *want)
{
    struct vg_err err = {0};
    struct vg_buf out;

    vg_buf_init(&out, 0);
    if (!CHECK(lake_query(lake, sql, &out, &err) == VG_OK))
        printf("%s: %s\n", err.code, err.text);
    if (!CHECK(vg_slice_is(vg_buf_slice(&out), want)))
        printf("%s\n  got  %.*s\n  want %s\n", sql, (int)out.len, out.ptr, want);
    vg_buf_fini(&out);
}

static void test_rows_are_there_after_the_flush_and_not_before(void)
{
    struct lake *lake;

    fresh_dir();
    lake = open_lake();
    CHECK(append(lake, "p1", 1000 * VG_SECOND_US, 72.5) == VG_OK);
    check_query(lake, "SELECT count(*) AS n FROM {enriched}", "[{\"n\":0}]");
    CHECK(lake_flush(lake, LAKE_ENRICHED, "app", 1, NULL) == VG_OK);
    check_query(lake, "SELECT count(*) AS n FROM {enriched}", "[{\"n\":2}]");
    check_query(lake, "-- how many\nSELECT count(*) AS n FROM {enriched} ;\n", "[{\"n\":2}]");
    check_query(lake, "SELECT count(*) AS n FROM {enriched} -- so many", "[{\"n\":2}]");
    check_query(lake,
                "SELECT patientId, code, value, valueText, valueUnit, ageYears, gender, trace FROM "
                "{enriched} ORDER BY code",
                "[{\"patientId\":\"p1\",\"code\":\"80288-4\",\"value\":null,\"valueText\":\"A\","
                "\"valueUnit\":null,\"ageYears\":70,\"gender\":\"female\",\"trace\":\"0-1\"},\n"
                "{\"patientId\":\"p1\",\"code\":\"8867-4\",\"value\":72.5,\"valueText\":null,"
                "\"valueUnit\":\"/min\",\"ageYears\":70,\"gender\":\"female\",\"trace\":\"0-1\"}]");
    lake_close(lake);
    lake = open_lake();
    check_query(lake, "SELECT count(*) AS n FROM {enriched}", "[{\"n\":2}]");
    lake_close(lake);
}

static void test_the_position_is_in_the_same_commit(void)
{
    struct lake *lake;
    uint64_t next_seq = 99;

    fresh_dir();
    lake = open_lake();
    CHECK(lake_position(lake, LAKE_ENRICHED, "app", &next_seq, NULL) == VG_OK && next_seq == 0);
    CHECK(append(lake, "p1", VG_SECOND_US, 1) == VG_OK);
    CHECK(lake_flush(lake, LAKE_ENRICHED, "app", 17, NULL) == VG_OK);
    CHECK(append(lake, "p1", 2 * VG_SECOND_US, 1) == VG_OK); /* lost with the process */
    lake_close(lake);
    lake = open_lake();
    CHECK(lake_position(lake, LAKE_ENRICHED, "app", &next_seq, NULL) == VG_OK && next_seq == 17);
    CHECK(lake_position(lake, LAKE_SCORED, "app", &next_seq, NULL) == VG_OK && next_seq == 0);
    lake_close(lake);
}

static void test_a_file_for_each_date(void)
{
    struct lake *lake;

    fresh_dir();
    lake = open_lake();
    CHECK(append(lake, "p1", VG_DAY_US - 1000, 1) == VG_OK);
    CHECK(append(lake, "p1", VG_DAY_US, 2) == VG_OK);
    CHECK(lake_flush(lake, LAKE_ENRICHED, "app", 2, NULL) == VG_OK);
    check_query(lake,
                "SELECT date::VARCHAR AS d, sum(value) AS v FROM {enriched} GROUP BY 1 ORDER BY 1",
                "[{\"d\":\"1970-01-01\",\"v\":1.0},\n{\"d\":\"1970-01-02\",\"v\":2.0}]");
    lake_close(lake);
}

struct history {
    double values[16];
    size_t count;
};

static void take(void *ctx, const struct lake_reading *reading)
{
    struct history *history = ctx;

    if (vg_slice_is(reading->code, "80288-4")) { /* a text, no number */
        CHECK(vg_slice_is(reading->text, "A") && isnan(reading->value));
        return;
    }
    CHECK(vg_slice_is(reading->code, "8867-4") && vg_slice_is(reading->unit, "/min"));
    if (history->count < 16)
        history->values[history->count++] = reading->value;
}

static void test_history_is_one_patients_in_order_of_time(void)
{
    struct history history = {0};
    struct lake *lake;

    fresh_dir();
    lake = open_lake();
    CHECK(lake_history(lake, VG_SLICE("p1"), 0, VG_DAY_US, take, &history, NULL) == VG_OK);
    CHECK(history.count == 0);
    CHECK(append(lake, "p1", 30 * VG_SECOND_US, 3) == VG_OK);
    CHECK(append(lake, "p2", 15 * VG_SECOND_US, 9) == VG_OK);
    CHECK(lake_flush(lake, LAKE_ENRICHED, "app", 2, NULL) == VG_OK);
    CHECK(append(lake, "p1", 10 * VG_SECOND_US, 1) == VG_OK);
    CHECK(append(lake, "p1", 20 * VG_SECOND_US, 2) == VG_OK);
    CHECK(append(lake, "p1", 40 * VG_SECOND_US, 4) == VG_OK);
    CHECK(lake_flush(lake, LAKE_ENRICHED, "app", 5, NULL) == VG_OK);
    CHECK(lake_history(lake, VG_SLICE("p1"), 10 * VG_SECOND_US, 40 * VG_SECOND_US, take, &history,
                       NULL) == VG_OK);
    CHECK(history.count == 3);
    for (size_t i = 0; i < history.count; i++)
        CHECK(history.values[i] == (double)(i + 1));
    lake_close(lake);
}

static void test_a_record_without_patient_or_time_is_refused(void)
{
    static const char *const records[] = {
        "{\"effectiveDateTime\":\"2026-03-14T10:00:00Z\",\"values\":[]}",
        "{\"patientId\":\"p1\",\"values\":[]}",
        "{\"patientId\":\"p1\",\"effectiveDateTime\":\"yesterday\"}",
        "not JSON",
    };
    struct lake *lake;

    fresh_dir();
    lake = open_lake();
    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
        CHECK_ROW(records[i]);
        CHECK(lake_append(lake, LAKE_ENRICHED, "app", vg_slice_of(records[i]), VG_SLICE(""),
                          NULL) == VG_REJECT);
    }
    lake_close(lake);
}

/* Two handles stand for two processes: the second must not overwrite the first's version. */
static void test_two_writers_do_not_overwrite_each_other(void)
{
    struct lake *a, *b;

    fresh_dir();
    a = open_lake();
    b = open_lake();
    for (int i = 0; i < 3; i++) {
        CHECK(append(a, "p1", (1 + 2 * i) * VG_SECOND_US, 1) == VG_OK);
        CHECK(lake_flush(a, LAKE_ENRICHED, "app", (uint64_t)(1 + 2 * i), NULL) == VG_OK);
        CHECK(append(b, "p2", (2 + 2 * i) * VG_SECOND_US, 1) == VG_OK);
        CHECK(lake_flush(b, LAKE_ENRICHED, "app", (uint64_t)(2 + 2 * i), NULL) == VG_OK);
    }
    lake_close(a);
    lake_close(b);
    a = open_lake();
    check_query(a, "SELECT patientId, count(*) AS n FROM {enriched} GROUP BY 1 ORDER BY 1",
                "[{\"patientId\":\"p1\",\"n\":6},\n{\"patientId\":\"p2\",\"n\":6}]");
    lake_close(a);
}

/* A commit whose sync failed is tried again: its entry is there, its rows are not added twice. */
static void test_a_commit_tried_again_adds_nothing_twice(void)
{
    struct lake *lake, *again;

    fresh_dir();
    lake = open_lake();
    again = open_lake();
    CHECK(append(lake, "p1", 1000 * VG_SECOND_US, 72.5) == VG_OK);
    CHECK(append(again, "p1", 1000 * VG_SECOND_US, 72.5) == VG_OK);
    CHECK(lake_flush(lake, LAKE_ENRICHED, "app", 5, NULL) == VG_OK);
    CHECK(lake_flush(again, LAKE_ENRICHED, "app", 5, NULL) == VG_OK);
    check_query(again, "SELECT count(*) AS n FROM {enriched}", "[{\"n\":2}]");
    lake_close(again);
    lake_close(lake);
}

static void test_scored_records_are_one_row(void)
{
    struct lake *lake;

    fresh_dir();
    lake = open_lake();
    CHECK(lake_append(
              lake, LAKE_SCORED, "app",
              VG_SLICE("{\"patientId\":\"p1\",\"windowEnd\":\"2026-03-14T10:00:00Z\","
                       "\"scoredTime\":\"2026-03-14T10:00:01.5Z\",\"trigger\":\"reading\","
                       "\"news2\":{\"low\":5,\"high\":8,\"complete\":false,\"band\":\"medium\","
                       "\"parts\":[{\"part\":\"pulse\"}]},\"model\":{\"name\":\"m\",\"version\":"
                       "\"1\",\"probability\":0.25,\"band\":\"low\"}}"),
              VG_SLICE("0-7 0-8"), NULL) == VG_OK);
    CHECK(lake_flush(lake, LAKE_SCORED, "app", 1, NULL) == VG_OK);
    check_query(
        lake,
        "SELECT news2Low, news2High, news2Complete, probability, parts, date::VARCHAR AS d, "
        "trace FROM {scored}",
        "[{\"news2Low\":5,\"news2High\":8,\"news2Complete\":false,\"probability\":0.25,"
        "\"parts\":\"[{\\\"part\\\":\\\"pulse\\\"}]\",\"d\":\"2026-03-14\",\"trace\":\"0-7 "
        "0-8\"}]");
    lake_close(lake);
}

/* DuckDB wrote the data; the log is ours, so its lines are looked at one by one. */
static void test_the_log_says_what_delta_demands(void)
{
    struct lake *lake;
    struct vg_arena arena;
    struct vg_slice rest;
    char path[128];
    unsigned protocols = 0, metas = 0;

    fresh_dir();
    lake = open_lake();
    lake_close(lake);
    vg_arena_init(&arena, 0);
    (void)snprintf(path, sizeof(path), "%s/enriched/_delta_log/%020d.json", dir, 0);
    if (!CHECK(vg_file_read(&arena, path, 0, &rest, NULL) == VG_OK))
        return;
    while (rest.len) {
        struct vg_slice line = vg_slice_cut(&rest, '\n');
        struct vg_json *action, *schema;

        if (!line.len || !CHECK(vg_json_parse(&arena, line, NULL, &action, NULL, NULL) == VG_OK))
            continue;
        protocols += vg_json_get(action, "protocol") != NULL;
        if (!vg_json_get(action, "metaData"))
            continue;
        metas++;
        CHECK(vg_json_parse(&arena,
                            vg_json_get_text(vg_json_get(action, "metaData"), "schemaString"), NULL,
                            &schema, NULL, NULL) == VG_OK);
        CHECK(vg_slice_is(vg_json_get_text(schema, "type"), "struct"));
    }
    CHECK(protocols == 1 && metas == 1);
    vg_arena_fini(&arena);
}

/* ---- upkeep ---- */

static struct lake_upkeep maintain(struct lake *lake, int64_t keep_us, int64_t keep_removed_us,
                                   int64_t now_us)
{
    struct lake_policy policy = {keep_us, keep_removed_us};
    struct lake_upkeep upkeep;
    struct vg_err err = {0};

    if (!CHECK(lake_maintain(lake, &policy, now_us, NULL, NULL, &upkeep, &err) == VG_OK))
        printf("%s: %s\n", err.code, err.text);
    return upkeep;
}

/* Parquet files on the disk, of the first day. */
static int count_files(void)
{
    char path[128];
    struct dirent *entry;
    int count = 0;
    DIR *folder;

    (void)snprintf(path, sizeof(path), "%s/enriched/date=1970-01-01", dir);
    folder = opendir(path);
    while (folder && (entry = readdir(folder)))
        count += strstr(entry->d_name, ".parquet") != NULL;
    if (folder)
        (void)closedir(folder);
    return count;
}

static void fill(struct lake *lake, int flushes)
{
    for (int i = 0; i < flushes; i++) {
        CHECK(append(lake, i % 2 ? "p1" : "p2", (i + 1) * VG_SECOND_US, i) == VG_OK);
        CHECK(lake_flush(lake, LAKE_ENRICHED, "app", (uint64_t)(i + 1), NULL) == VG_OK);
    }
}

static void test_small_files_become_one_and_the_old_ones_go_later(void)
{
    static const char all[] = "SELECT count(*) AS n, sum(value) AS v FROM {enriched}";
    int64_t now_us = vg_now_us() + VG_DAY_US;
    struct lake_upkeep upkeep;
    uint64_t next_seq = 0;
    struct lake *lake;

    fresh_dir();
    lake = open_lake();
    fill(lake, 10);
    CHECK(count_files() == 10);
    upkeep = maintain(lake, 0, 7 * VG_DAY_US, now_us);
    CHECK(upkeep.merged_count == 10 && upkeep.made_count == 1 && upkeep.deleted_count == 0);
    CHECK(count_files() == 11); /* a reader of the version before still finds its files */
    check_query(lake, all, "[{\"n\":20,\"v\":45.0}]");
    upkeep = maintain(lake, 0, VG_HOUR_US, now_us);
    CHECK(upkeep.merged_count == 0 && upkeep.deleted_count == 10 && count_files() == 1);
    check_query(lake, all, "[{\"n\":20,\"v\":45.0}]");
    CHECK(lake_position(lake, LAKE_ENRICHED, "app", &next_seq, NULL) == VG_OK && next_seq == 10);
    lake_close(lake);
    lake = open_lake();
    check_query(lake, all, "[{\"n\":20,\"v\":45.0}]");
    lake_close(lake);
}

/* Two processes: one merges what the other has merged already. */
static void test_a_merge_that_comes_too_late_changes_nothing(void)
{
    struct lake_policy policy = {0, VG_DAY_US};
    struct lake_upkeep upkeep;
    struct lake *a, *b;

    fresh_dir();
    a = open_lake();
    fill(a, 10);
    b = open_lake();
    (void)maintain(a, 0, VG_DAY_US, vg_now_us());
    CHECK(lake_maintain(b, &policy, vg_now_us(), NULL, NULL, &upkeep, NULL) == VG_OK);
    CHECK(upkeep.merged_count == 0);
    lake_close(b);
    check_query(a, "SELECT count(*) AS n FROM {enriched}", "[{\"n\":20}]");
    CHECK(count_files() == 11); /* ten sources and the one that was merged first */
    lake_close(a);
}

static void test_dates_beyond_the_policy_are_forgotten(void)
{
    struct lake_upkeep upkeep;
    struct lake *lake;

    fresh_dir();
    lake = open_lake();
    CHECK(append(lake, "p1", VG_HOUR_US, 1) == VG_OK);
    CHECK(append(lake, "p1", 5 * VG_DAY_US, 2) == VG_OK);
    CHECK(lake_flush(lake, LAKE_ENRICHED, "app", 2, NULL) == VG_OK);
    upkeep = maintain(lake, 3 * VG_DAY_US, VG_DAY_US, 4 * VG_DAY_US + VG_HOUR_US);
    CHECK(upkeep.expired_count == 1);
    check_query(lake, "SELECT sum(value) AS v FROM {enriched}", "[{\"v\":2.0}]");
    lake_close(lake);
}

static void test_a_checkpoint_stands_for_the_log(void)
{
    static const char all[] = "SELECT count(*) AS n, sum(value) AS v FROM {enriched}";
    struct lake_upkeep upkeep;
    uint64_t next_seq = 0;
    struct lake *lake;
    char path[160];

    fresh_dir();
    lake = open_lake();
    fill(lake, 105);
    upkeep = maintain(lake, 0, VG_DAY_US, vg_now_us() + 90 * VG_DAY_US);
    CHECK(upkeep.checkpoint_count == 1 && upkeep.made_count >= 1);
    lake_close(lake);
    /* The entries below the checkpoint were old enough to go. */
    (void)snprintf(path, sizeof(path), "%s/enriched/_delta_log/%020d.json", dir, 0);
    CHECK(access(path, F_OK) != 0);
    lake = open_lake();
    check_query(lake, all, "[{\"n\":210,\"v\":5460.0}]");
    CHECK(lake_position(lake, LAKE_ENRICHED, "app", &next_seq, NULL) == VG_OK && next_seq == 105);
    CHECK(append(lake, "p3", VG_SECOND_US, 1) == VG_OK);
    CHECK(lake_flush(lake, LAKE_ENRICHED, "app", 106, NULL) == VG_OK);
    lake_close(lake);
}

static enum vg_status open_again(struct vg_err *err)
{
    struct lake *lake = NULL;
    enum vg_status st = lake_open(&(struct lake_config){.dir = dir}, &lake, err);

    lake_close(lake);
    return st;
}

/* The hint is nobody's promise; a checkpoint that cannot be read matters only where the log does
 * not begin at its beginning; and a table whose beginning is gone is never taken for an empty one.
 */
static void test_a_checkpoint_that_cannot_be_read(void)
{
    static const char all[] = "SELECT count(*) AS n FROM {enriched}";
    char hint[160], checkpoint[160], first[160];
    struct vg_err err = {0};
    struct lake *lake;

    fresh_dir();
    lake = open_lake();
    fill(lake, 105);
    (void)maintain(lake, 0, VG_DAY_US, vg_now_us());
    lake_close(lake);
    (void)snprintf(hint, sizeof(hint), "%s/enriched/_delta_log/_last_checkpoint", dir);
    (void)snprintf(checkpoint, sizeof(checkpoint),
                   "%s/enriched/_delta_log/%020d.checkpoint.parquet", dir, 105);
    (void)snprintf(first, sizeof(first), "%s/enriched/_delta_log/%020d.json", dir, 0);
    CHECK(unlink(hint) == 0 && access(checkpoint, F_OK) == 0);
    lake = open_lake();
    check_query(lake, all, "[{\"n\":210}]");
    lake_close(lake);
    CHECK(vg_file_write(checkpoint, VG_SLICE("PAR1 and no more"), 0600, NULL) == VG_OK);
    lake = open_lake();
    check_query(lake, all, "[{\"n\":210}]");
    lake_close(lake);
    CHECK(unlink(first) == 0);
    CHECK(open_again(&err) != VG_OK);
    CHECK(unlink(checkpoint) == 0);
    CHECK(open_again(&err) == VG_FATAL && strcmp(err.code, "lake.log") == 0);
}

/* What a crash between a file's writing and its commit leaves. */
static void test_files_without_a_commit_go(void)
{
    struct lake_upkeep upkeep;
    struct lake *lake;
    char path[160];

    fresh_dir();
    lake = open_lake();
    fill(lake, 1);
    (void)snprintf(path, sizeof(path), "%s/enriched/date=1970-01-01/part-orphan.zstd.parquet", dir);
    CHECK(vg_file_write(path, VG_SLICE("half"), 0600, NULL) == VG_OK);
    upkeep = maintain(lake, 0, VG_HOUR_US, vg_now_us());
    CHECK(upkeep.deleted_count == 0); /* somebody may be writing it */
    upkeep = maintain(lake, 0, VG_HOUR_US, vg_now_us() + VG_DAY_US);
    CHECK(upkeep.deleted_count == 1 && count_files() == 1);
    lake_close(lake);
}

int main(void)
{
    if (!CHECK(vg_crypto_init(NULL) == VG_OK))
        return vg_test_report();
    RUN(test_rows_are_there_after_the_flush_and_not_before);
    RUN(test_the_position_is_in_the_same_commit);
    RUN(test_a_file_for_each_date);
    RUN(test_history_is_one_patients_in_order_of_time);
    RUN(test_a_record_without_patient_or_time_is_refused);
    RUN(test_two_writers_do_not_overwrite_each_other);
    RUN(test_a_commit_tried_again_adds_nothing_twice);
    RUN(test_scored_records_are_one_row);
    RUN(test_the_log_says_what_delta_demands);
    RUN(test_small_files_become_one_and_the_old_ones_go_later);
    RUN(test_a_merge_that_comes_too_late_changes_nothing);
    RUN(test_dates_beyond_the_policy_are_forgotten);
    RUN(test_a_checkpoint_stands_for_the_log);
    RUN(test_a_checkpoint_that_cannot_be_read);
    RUN(test_files_without_a_commit_go);
    return vg_test_report();
}
