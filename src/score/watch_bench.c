/* watch_bench.c -- what a run of watching costs: PATIENTS monitors that sent each minute for DAYS.
 *
 * Prints one line: seconds of the run, processor seconds, memory at its peak.
 */
#include "score/watch_int.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static enum vg_status fill(struct lake *lake, int patients, int days, int64_t now_us)
{
    static const char values[] =
        "{\"code\":\"8867-4\",\"value\":%d,\"unit\":\"/min\"},{\"code\":\"9279-1\",\"value\":%d,"
        "\"unit\":\"/min\"},{\"code\":\"59408-5\",\"value\":%d,\"unit\":\"%%\"},{\"code\":"
        "\"8480-6\",\"value\":%d,\"unit\":\"mm[Hg]\"},{\"code\":\"8310-5\",\"value\":36.%d,"
        "\"unit\":\"Cel\"}";
    enum vg_status st = VG_OK;

    for (int day = 0; day < days && st == VG_OK; day++) {
        for (int i = 0; i < patients * 1440 && st == VG_OK; i++) {
            int p = i % patients, minute = i / patients, r = (i * 7919 + day) % 9;
            char text[1200], time[VG_TIME_TEXT_SIZE], readings[500];

            (void)vg_time_format(now_us - (days - day) * VG_DAY_US + minute * VG_MINUTE_US, 3,
                                 time);
            (void)snprintf(readings, sizeof(readings), values, 70 + r + p % 20, 14 + r, 95 + r % 5,
                           110 + p % 30 + r, r);
            (void)snprintf(text, sizeof(text),
                           "{\"patientId\":\"p%d\",\"patient\":{\"ageYears\":70},"
                           "\"effectiveDateTime\":\"%s\",\"values\":[%s]}",
                           p, time, readings);
            st = lake_append(lake, LAKE_ENRICHED, "b", vg_slice_of(text), (struct vg_slice){0},
                             NULL);
            (void)snprintf(text, sizeof(text),
                           "{\"patientId\":\"p%d\",\"windowEnd\":\"%s\",\"scoredTime\":\"%s\","
                           "\"trigger\":\"reading\",\"models\":[{\"name\":\"sepsis-vitals\","
                           "\"version\":\"2\",\"digest\":\"0123456789abcdef\",\"mode\":\"show\","
                           "\"thresholds\":{\"medium\":0.07,\"high\":0.13},\"probability\":0.0%d1,"
                           "\"horizonHours\":6,\"band\":\"low\",\"contributions\":[]}]}",
                           p, time, time, 1 + r);
            if (st == VG_OK)
                st = lake_append(lake, LAKE_SCORED, "b", vg_slice_of(text), (struct vg_slice){0},
                                 NULL);
        }
        if (st == VG_OK)
            st = lake_flush(lake, LAKE_ENRICHED, "b", (uint64_t)day + 1, NULL);
        if (st == VG_OK)
            st = lake_flush(lake, LAKE_SCORED, "b", (uint64_t)day + 1, NULL);
    }
    return st;
}

int main(int argc, char **argv)
{
    char root[] = "/tmp/vigil-watch-bench-XXXXXX", lake_dir[64], dir[64], command[80];
    int patients = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 20;
    int days = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 2;
    struct watch_config config = {
        .model_dir = argc > 3 ? argv[3] : VG_SOURCE_DIR "/models",
        .period_us = 7 * VG_DAY_US,
        .outcome_period_us = 90 * VG_DAY_US,
        .budget_us = VG_HOUR_US,
        .hours_min = 1,
        .patients_min = 1,
    };
    struct lake_config lake_config = {0};
    struct lake *lake = NULL;
    struct vg_err err = {0};
    struct rusage before, after;
    int64_t run_us;
    enum vg_status st = VG_RETRY;

    if (patients < 1 || days < 1 || !mkdtemp(root))
        return 2;
    (void)snprintf(lake_dir, sizeof(lake_dir), "%s/lake", root);
    (void)snprintf(dir, sizeof(dir), "%s/watch", root);
    lake_config.dir = config.lake_dir = lake_dir;
    config.dir = dir;
    if (vg_dir_make(lake_dir, &err) == VG_OK)
        st = lake_open(&lake_config, &lake, &err);
    if (st == VG_OK)
        st = fill(lake, patients, days, vg_now_us());
    lake_close(lake);
    (void)getrusage(RUSAGE_SELF, &before);
    run_us = vg_mono_us();
    if (st == VG_OK)
        st = watch_run(&config, &err);
    run_us = vg_mono_us() - run_us;
    (void)getrusage(RUSAGE_SELF, &after);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
    if (system(command) != 0)
        (void)fprintf(stderr, "%s stays\n", root);
    if (st != VG_OK) {
        (void)fprintf(stderr, "%s: %s\n", err.code ? err.code : "watch", err.text);
        return 1;
    }
    printf("bench=watch patients=%d days=%d records=%d run_s=%.1f cpu_s=%.1f peak_mib=%ld\n",
           patients, days, patients * days * 1440, (double)run_us / 1e6,
           (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec) +
               (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec) / 1e6,
           after.ru_maxrss / 1024);
    return 0;
}
