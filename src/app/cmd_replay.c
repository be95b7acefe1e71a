/* cmd_replay.c -- vigil replay: a real patient's recorded vital signs, through the devices' door.
 */
#include "app/recording.h"
#include "app/sender.h"

#include "base/clock.h"
#include "base/file.h"

#include <errno.h>

static const char usage[] =
    "usage: vigil replay FILE --device ID --password-file FILE [OPTIONS]\n"
    "\n"
    "Plays recorded vital signs as if the device sent them, and waits for every acknowledgement.\n"
    "FILE ('-': standard input): a PhysioNet/CinC Challenge 2019 record ('HR|O2Sat|...', hourly) "
    "or\n"
    "BIDMC numerics ('Time [s], HR, ...'). Times are moved so that the last reading is now.\n"
    "\n"
    "  --patient N                which one of many in the file: its name, or a number from 1 (1)\n"
    "  --speed X                  the time between readings divided by X (1)\n"
    "  --from-now                 the first reading is now; the others are sent when they are "
    "due\n" SENDER_USAGE;

#define PASSWORD_BYTES_MAX 4096
#define STALL_US (60 * VG_SECOND_US)
#define PROGRESS_US (5 * VG_SECOND_US)

struct replay {
    struct mqtt_clients *clients;
    struct recording recording;
    double speed;
    bool is_from_now;
    struct vg_buf payload;
};

/* Waits until `due_us` (monotonic) and until the queue has room. False: a signal came, or the hub
 * takes nothing any more. */
static bool wait_to_send(struct replay *replay, int64_t due_us, struct vg_slice payload)
{
    int64_t said_us = vg_mono_us(), full_us = 0;
    uint64_t acked = 0;

    for (;;) {
        struct mqtt_counts counts = mqtt_clients_counts(replay->clients);
        int64_t now_us = vg_mono_us(), left_ms = (due_us - now_us + 999) / 1000;

        if (left_ms <= 0 && mqtt_clients_send(replay->clients, 0, payload, NULL) == VG_OK)
            return true;
        if (left_ms > 0 || counts.acked != acked || full_us == 0)
            full_us = now_us;
        acked = counts.acked;
        if (app_wait_for_signal(0) || now_us - full_us > STALL_US)
            return false;
        if (now_us - said_us > PROGRESS_US) {
            said_us = now_us;
            (void)fprintf(stderr, "vigil replay: %llu of %zu rows sent, %llu acknowledged%s%s\n",
                          (unsigned long long)counts.queued, replay->recording.count,
                          (unsigned long long)counts.acked,
                          *mqtt_clients_trouble(replay->clients) ? "; " : "",
                          mqtt_clients_trouble(replay->clients));
        }
        mqtt_clients_turn(replay->clients, left_ms > 0 && left_ms < 100 ? (int)left_ms : 100);
    }
}

/* False: interrupted. */
static bool play(struct replay *replay)
{
    const struct reading *rows = replay->recording.rows;
    size_t count = replay->recording.count;
    int64_t anchor_us = rows[replay->is_from_now ? 0 : count - 1].time_us;
    int64_t now_us = vg_now_us(), start_us = vg_mono_us();

    for (size_t i = 0; i < count; i++) {
        struct reading row = rows[i];
        int64_t shift_us = (int64_t)((double)(row.time_us - anchor_us) / replay->speed);

        row.time_us = now_us + shift_us;
        vg_buf_clear(&replay->payload);
        if (!reading_write(&row, &replay->payload))
            continue; /* recording_read() keeps no such row */
        if (!wait_to_send(replay, replay->is_from_now ? start_us + shift_us : start_us,
                          vg_buf_slice(&replay->payload)))
            return false;
    }
    return sender_drain(replay->clients, "replay", STALL_US);
}

static enum vg_status recording_open(struct replay *replay, const char *path, const char *patient,
                                     struct vg_err *err)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    enum vg_status st;

    if (!file)
        return vg_fail(err, VG_REJECT, "replay.file", errno, "%s", path);
    st = recording_read(file, patient, &replay->recording, err);
    if (file != stdin)
        (void)fclose(file); /* only read */
    return st;
}

static enum vg_status prepare(struct replay *replay, struct app_options *options,
                              struct vg_err *err)
{
    const char *device = app_take_option(options, "--device");
    const char *password_file = app_take_option(options, "--password-file");
    const char *patient = app_take_option(options, "--patient");
    const char *path = NULL;
    struct mqtt_clients_config config;
    struct vg_slice password = {0};
    enum vg_status st = sender_config(options, &config, err);

    replay->is_from_now = app_take_switch(options, "--from-now");
    if (st == VG_OK)
        st = sender_number(options, "--speed", 1e-3, 1e6, 1, &replay->speed, err);
    if (st == VG_OK && (options->rest_count == 0 || !device || !password_file))
        st = vg_fail(err, VG_REJECT, "sender.option", 0,
                     "FILE, --device ID and --password-file FILE are needed");
    if (st != VG_OK)
        return st;
    path = options->rest[0];
    options->rest++;
    options->rest_count--;
    st = sender_no_more(options, err);
    if (st == VG_OK)
        st = vg_file_read(&options->arena, password_file, PASSWORD_BYTES_MAX, &password, err);
    if (st == VG_END)
        st = vg_fail(err, VG_REJECT, "replay.password_file", 0, "no such file: %s", password_file);
    if (st == VG_OK)
        password = vg_arena_dup(&options->arena, vg_slice_trim(password));
    if (st == VG_OK)
        st = recording_open(replay, path, patient, err);
    if (st == VG_OK)
        st = mqtt_clients_open(&config, &replay->clients, err);
    if (st == VG_OK)
        st = mqtt_clients_add(replay->clients, device, password.ptr, err);
    return st;
}

int cmd_replay(int argc, char **argv)
{
    struct replay replay = {0};
    struct app_options options;
    struct vg_err err = {0};
    struct mqtt_counts counts;
    int code = app_options_init(&options, argc, argv);

    vg_buf_init(&replay.payload, 4096);
    if (options.wants_help)
        (void)printf("%s", usage);
    if (code || options.wants_help)
        goto done;
    app_block_signals();
    if (prepare(&replay, &options, &err) != VG_OK) {
        code = app_fail(&err);
        if (strcmp(err.code, "sender.option") == 0)
            code = 2;
        goto done;
    }
    code = play(&replay) ? 0 : 1;
    counts = mqtt_clients_counts(replay.clients);
    (void)printf("rows=%zu sent=%llu acknowledged=%llu refused=%llu\n", replay.recording.count,
                 (unsigned long long)counts.queued, (unsigned long long)counts.acked,
                 (unsigned long long)counts.refused);
    if (counts.refused)
        code = 1;
    if (code)
        (void)fprintf(stderr, "vigil: replay.incomplete: not every row was acknowledged%s%s\n",
                      *mqtt_clients_trouble(replay.clients) ? ": " : "",
                      mqtt_clients_trouble(replay.clients));
done:
    mqtt_clients_close(replay.clients);
    recording_fini(&replay.recording);
    vg_buf_fini(&replay.payload);
    app_options_fini(&options);
    return code;
}
