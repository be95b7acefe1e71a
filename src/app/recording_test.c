/* recording_test.c -- both formats, with what their files really hold: gaps, NaN, zeros. */
#include "app/recording.h"

#include "base/clock.h"
#include "vg_test.h"

#include <math.h>

static enum vg_status read_text(const char *text, const char *patient, struct recording *recording,
                                struct vg_err *err)
{
    FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    enum vg_status st = recording_read(file, patient, recording, err);

    (void)fclose(file);
    return st;
}

static const char sepsis[] = "Patient|Set|HR|O2Sat|Temp|SBP|MAP|DBP|Resp|ICULOS|SepsisLabel\n"
                             "p1|A|||||||||1|0\n"
                             "p1|A|97|95||98|75.33||19|2|0\n"
                             "p1|A|NaN|99|37.2|122|86|60|22|4|1\n"
                             "p2|A|60|98|||||12|1|0\n";

static void test_an_hourly_record(void)
{
    struct recording recording = {0};
    struct vg_err err = {0};

    if (!CHECK(read_text(sepsis, NULL, &recording, &err) == VG_OK))
        return;
    CHECK(recording.count == 2); /* the empty row is left out */
    CHECK(recording.rows[0].hr == 97 && recording.rows[0].spo2 == 95 &&
          recording.rows[0].sys == 98);
    CHECK(recording.rows[0].map == 75.33 && isnan(recording.rows[0].temp));
    CHECK(isnan(recording.rows[1].hr) && recording.rows[1].temp == 37.2);
    CHECK(recording.rows[1].time_us - recording.rows[0].time_us == 2 * VG_HOUR_US);
    CHECK(recording.rows[0].avpu == '\0' && isnan(recording.rows[0].o2));
    recording_fini(&recording);
}

static void test_one_of_many_patients(void)
{
    static const struct {
        const char *what, *patient;
        enum vg_status status;
        double hr;
    } rows[] = {
        {"by number", "2", VG_OK, 60},
        {"by name", "p2", VG_OK, 60},
        {"the first", "p1", VG_OK, 97},
        {"not there", "3", VG_REJECT, 0},
        {"not there by name", "p3", VG_REJECT, 0},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct recording recording = {0};
        struct vg_err err = {0};

        CHECK_ROW(rows[i].what);
        CHECK(read_text(sepsis, rows[i].patient, &recording, &err) == rows[i].status);
        CHECK(rows[i].status != VG_OK || recording.rows[0].hr == rows[i].hr);
        CHECK(rows[i].status == VG_OK || strcmp(err.code, "replay.patient") == 0);
        recording_fini(&recording);
    }
}

static void test_a_record_by_the_second(void)
{
    struct recording recording = {0};

    if (!CHECK(read_text("Time [s], HR, PULSE, RESP, SpO2\n-0,90,89,11,96\n1,NaN,88,NaN,96\r\n",
                         NULL, &recording, NULL) == VG_OK))
        return;
    CHECK(recording.count == 2 && recording.rows[0].hr == 90 && recording.rows[1].hr == 88);
    CHECK(recording.rows[0].time_us == 0 && recording.rows[1].time_us == VG_SECOND_US);
    CHECK(isnan(recording.rows[1].rr));
    recording_fini(&recording);
}

static void test_what_cannot_be_read_is_named(void)
{
    static const struct {
        const char *text, *code, *says;
    } rows[] = {
        {"", "replay.empty", "empty"},
        {"a,b,c\n1,2,3\n", "replay.header", "line 1"},
        {"Time [s],HR\n1,x7\n", "replay.row", "line 2, column 2: expected a number, found 'x7'"},
        {"Time [s],HR\n2,7\n1,7\n", "replay.row", "line 3: time goes backwards"},
        {"Time [s],HR\n1e99,7\n", "replay.row", "line 2"},
        {"Time [s],HR\n1,\n", "replay.empty", "no row"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct recording recording = {0};
        struct vg_err err = {0};
        FILE *file = tmpfile();

        CHECK_ROW(rows[i].says);
        (void)fputs(rows[i].text, file);
        rewind(file);
        CHECK(recording_read(file, NULL, &recording, &err) == VG_REJECT);
        CHECK(err.code && strcmp(err.code, rows[i].code) == 0 && strstr(err.text, rows[i].says));
        (void)fclose(file);
    }
}

int main(void)
{
    RUN(test_an_hourly_record);
    RUN(test_one_of_many_patients);
    RUN(test_a_record_by_the_second);
    RUN(test_what_cannot_be_read_is_named);
    return vg_test_report();
}
