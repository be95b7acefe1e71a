/* cmd_simulate.c -- vigil simulate: a ward whose monitors are real MQTT clients. */
#include "app/sender.h"
#include "app/ward.h"

#include "base/clock.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char usage[] =
    "usage: vigil simulate --credentials FILE [OPTIONS]\n"
    "\n"
    "A simulated ward: each bed's monitor is an MQTT client with its own credentials. One patient\n"
    "after the other deteriorates and recovers; the first begins after 15 s.\n"
    "\n"
    "  --credentials FILE         lines 'device-id password'; # begins a comment\n"
    "  --beds N                   the first N of them (12)\n"
    "  --rate SECONDS             between two readings of a bed (2)\n"
    "  --deteriorate BED[,BED]    who, in turn: device ids, or numbers from 1; 'none' "
    "(4,9,2,7,...)\n"
    "  --duration TIME            ends by itself: 30s, 5m, 1h (never)\n"
    "  --seed N                   other patients (1)\n" SENDER_USAGE;

#define BEDS_USUAL 12
#define CREDENTIALS_MAX (4u << 20) /* bytes of the file */
#define PROGRESS_TTY_US VG_SECOND_US
#define PROGRESS_LOG_US (30 * VG_SECOND_US)
#define END_WAIT_US (5 * VG_SECOND_US)

struct simulation {
    struct mqtt_clients *clients;
    struct ward ward;
    const char **names; /* device ids, in the options' arena */
    size_t bed_count;
    int64_t *due_us; /* monotonic, per bed */
    int64_t rate_us, duration_us, start_us;
    uint64_t skipped_count; /* readings for which the queue had no room */
    struct vg_buf payload;
};

/* Every line: a device id, white space, its password. */
static enum vg_status add_devices(struct simulation *sim, struct app_options *options,
                                  const char *path, size_t beds_max, struct vg_err *err)
{
    struct vg_slice rest;
    enum vg_status st = vg_file_read(&options->arena, path, CREDENTIALS_MAX, &rest, err);

    if (st == VG_END)
        return vg_fail(err, VG_REJECT, "simulate.credentials", 0, "no such file: %s", path);
    sim->names = vg_arena_alloc(&options->arena, beds_max * sizeof(*sim->names));
    if (st == VG_OK && !sim->names)
        st = vg_fail(err, VG_RETRY, "simulate.memory", 0, "no memory for %zu beds", beds_max);
    for (unsigned number = 1; st == VG_OK && rest.len && sim->bed_count < beds_max; number++) {
        struct vg_slice line = vg_slice_trim(vg_slice_cut(&rest, '\n'));
        size_t id_len = 0;

        if (line.len == 0 || line.ptr[0] == '#')
            continue;
        while (id_len < line.len && line.ptr[id_len] != ' ' && line.ptr[id_len] != '\t')
            id_len++;
        struct vg_slice id = vg_arena_dup(&options->arena, (struct vg_slice){line.ptr, id_len});
        struct vg_slice password =
            vg_arena_dup(&options->arena, vg_slice_trim(vg_slice_from(line, id_len)));

        if (!id.ptr || !password.ptr || password.len == 0)
            return vg_fail(err, VG_REJECT, "simulate.credentials", 0,
                           "%s, line %u: expected 'device-id password'", path, number);
        sim->names[sim->bed_count++] = id.ptr;
        st = mqtt_clients_add(sim->clients, id.ptr, password.ptr, err);
    }
    if (st == VG_OK && sim->bed_count == 0)
        st = vg_fail(err, VG_REJECT, "simulate.credentials", 0, "%s names no device", path);
    return st;
}

/* A device id, or a number from 1. */
static bool bed_find(const struct simulation *sim, struct vg_slice text, size_t *ret_bed)
{
    uint64_t number = 0;

    for (size_t i = 0; i < sim->bed_count; i++)
        if (vg_slice_is(text, sim->names[i])) {
            *ret_bed = i;
            return true;
        }
    if (!vg_slice_to_u64(text, &number) || number == 0 || number > sim->bed_count)
        return false;
    *ret_bed = (size_t)number - 1;
    return true;
}

static enum vg_status ward_make(struct simulation *sim, struct app_options *options,
                                const char *who, uint64_t seed, struct vg_err *err)
{
    struct vg_slice rest = vg_slice_of(who);
    size_t count = 0, order_max = who ? rest.len + 1 : sim->bed_count;
    size_t *order = vg_arena_alloc(&options->arena, order_max * sizeof(*order));

    if (!order)
        return vg_fail(err, VG_RETRY, "simulate.memory", 0, "no memory for the ward");
    if (!who) /* every fifth bed, round and round: never the neighbour next */
        for (; count < sim->bed_count; count++)
            order[count] = (3 + 5 * count) % sim->bed_count;
    else if (!vg_slice_is(rest, "none"))
        while (rest.len) {
            struct vg_slice one = vg_slice_trim(vg_slice_cut(&rest, ','));

            if (!bed_find(sim, one, &order[count++]))
                return vg_fail(err, VG_REJECT, "simulate.deteriorate", 0,
                               "'%.*s' is no bed of this ward", VG_FMT(one));
        }
    if (!ward_init(&sim->ward, sim->bed_count, order, count, seed))
        return vg_fail(err, VG_RETRY, "simulate.memory", 0, "no memory for the ward");
    return VG_OK;
}

/* Sends what is due; returns when the next is. */
static int64_t send_due(struct simulation *sim)
{
    int64_t now_us = vg_mono_us(), next_us = INT64_MAX;

    for (size_t bed = 0; bed < sim->bed_count; bed++) {
        if (sim->due_us[bed] <= now_us) {
            struct reading reading;

            ward_read(&sim->ward, bed, now_us - sim->start_us, vg_now_us(), &reading);
            vg_buf_clear(&sim->payload);
            if (!reading_write(&reading, &sim->payload) ||
                mqtt_clients_send(sim->clients, bed, vg_buf_slice(&sim->payload), NULL) != VG_OK)
                sim->skipped_count++;
            sim->due_us[bed] += sim->rate_us;
            if (sim->due_us[bed] <= now_us) /* stopped for a while: no burst of the past */
                sim->due_us[bed] = now_us + sim->rate_us;
        }
        if (sim->due_us[bed] < next_us)
            next_us = sim->due_us[bed];
    }
    return next_us;
}

static void say_progress(const struct simulation *sim)
{
    struct mqtt_counts counts = mqtt_clients_counts(sim->clients);
    const char *trouble =
        counts.connected < counts.devices ? mqtt_clients_trouble(sim->clients) : "";
    const char *who = "nobody";
    bool is_tty = isatty(STDERR_FILENO);

    for (size_t bed = 0; bed < sim->bed_count; bed++)
        if (ward_severity(&sim->ward, bed, vg_mono_us() - sim->start_us) > 0)
            who = sim->names[bed];
    (void)fprintf(stderr,
                  "%svigil simulate: %zu of %zu beds connected, %llu readings, %llu acknowledged, "
                  "%llu refused, %llu skipped; deteriorating: %s%s%s%s",
                  is_tty ? "\r\033[K" : "", counts.connected, counts.devices,
                  (unsigned long long)counts.queued, (unsigned long long)counts.acked,
                  (unsigned long long)counts.refused, (unsigned long long)sim->skipped_count, who,
                  *trouble ? "; " : "", trouble, is_tty ? "" : "\n");
}

static void simulate(struct simulation *sim)
{
    int64_t every_us = isatty(STDERR_FILENO) ? PROGRESS_TTY_US : PROGRESS_LOG_US;
    int64_t said_us = INT64_MIN / 2;

    while (app_wait_for_signal(0) == 0) {
        int64_t next_us = send_due(sim), now_us = vg_mono_us();

        if (sim->duration_us && now_us - sim->start_us >= sim->duration_us)
            break;
        if (now_us - said_us >= every_us) {
            say_progress(sim);
            said_us = now_us;
        }
        mqtt_clients_turn(sim->clients,
                          next_us > now_us ? (int)((next_us - now_us) / 1000) + 1 : 0);
    }
}

static enum vg_status prepare(struct simulation *sim, struct app_options *options,
                              struct vg_err *err)
{
    const char *credentials = app_take_option(options, "--credentials");
    const char *who = app_take_option(options, "--deteriorate");
    const char *duration = app_take_option(options, "--duration");
    double beds = 0, rate_s = 0, seed = 0;
    struct mqtt_clients_config config;
    enum vg_status st = sender_config(options, &config, err);

    if (st == VG_OK)
        st = sender_number(options, "--beds", 1, WARD_BEDS_MAX, BEDS_USUAL, &beds, err);
    if (st == VG_OK)
        st = sender_number(options, "--rate", 0.01, 3600, 2, &rate_s, err);
    if (st == VG_OK)
        st = sender_number(options, "--seed", 0, 1e9, 1, &seed, err);
    if (st == VG_OK)
        st = sender_no_more(options, err);
    if (st == VG_OK && !credentials)
        st = vg_fail(err, VG_REJECT, "sender.option", 0, "--credentials FILE is needed");
    if (st == VG_OK && duration && !vg_duration_parse(vg_slice_of(duration), &sim->duration_us))
        st = vg_fail(err, VG_REJECT, "sender.option", 0,
                     "--duration takes a time such as 30s or 5m, not '%s'", duration);
    if (st == VG_OK)
        st = mqtt_clients_open(&config, &sim->clients, err);
    if (st == VG_OK)
        st = add_devices(sim, options, credentials, (size_t)beds, err);
    if (st == VG_OK)
        st = ward_make(sim, options, who, (uint64_t)seed, err);
    if (st != VG_OK)
        return st;
    sim->rate_us = (int64_t)(rate_s * 1e6);
    sim->start_us = vg_mono_us();
    sim->due_us = vg_arena_alloc(&options->arena, sim->bed_count * sizeof(*sim->due_us));
    if (!sim->due_us)
        return vg_fail(err, VG_RETRY, "simulate.memory", 0, "no memory for the ward");
    for (size_t i = 0; i < sim->bed_count; i++) /* not all in the same moment */
        sim->due_us[i] = sim->start_us + sim->rate_us * (int64_t)i / (int64_t)sim->bed_count;
    return VG_OK;
}

int cmd_simulate(int argc, char **argv)
{
    struct simulation sim = {0};
    struct app_options options;
    struct vg_err err = {0};
    int code = app_options_init(&options, argc, argv);
    enum vg_status st;

    vg_buf_init(&sim.payload, 4096);
    if (options.wants_help)
        (void)printf("%s", usage);
    if (code || options.wants_help)
        goto done;
    app_block_signals();
    st = prepare(&sim, &options, &err);
    if (st != VG_OK) {
        code = app_fail(&err);
        if (strcmp(err.code, "sender.option") == 0)
            code = 2;
        goto done;
    }
    simulate(&sim);
    if (!sender_drain(sim.clients, "simulate", END_WAIT_US))
        code = 1; /* ended while readings were on their way */
    say_progress(&sim);
    if (isatty(STDERR_FILENO))
        (void)fputc('\n', stderr);
done:
    mqtt_clients_close(sim.clients);
    ward_fini(&sim.ward);
    vg_buf_fini(&sim.payload);
    app_options_fini(&options);
    return code;
}
