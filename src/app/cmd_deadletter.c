/* cmd_deadletter.c -- vigil deadletter: what could not be processed, and trying it again. */
#include "app/app.h"

#include "base/json.h"
#include "stream/deadletter.h"

#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "usage: vigil deadletter list [--json] [--data DIR]\n"
    "       vigil deadletter replay ID|all [--data DIR]\n"
    "\n"
    "A message that cannot be processed is kept with its reason; nothing behind it waits. replay "
    "puts the\n"
    "device message back at the start (after the mapping or the patient's record was corrected). "
    "It writes\n"
    "to the journal: while the platform runs, use the board's page 'Dead letters' instead.\n";

struct listing {
    struct vg_arena arena;
    bool is_json;
    size_t count;
};

static void print_letter(void *ctx, uint32_t partition, const struct stream_record *letter)
{
    struct listing *listing = ctx;
    struct vg_json *json;
    struct vg_err err = {0};

    listing->count++;
    if (listing->is_json) {
        (void)printf("%.*s\n", VG_FMT(letter->value));
        return;
    }
    vg_arena_reset(&listing->arena);
    if (vg_json_parse(&listing->arena, letter->value, NULL, &json, NULL, &err) != VG_OK) {
        (void)printf("%u-%llu  broken letter: %s\n", partition, (unsigned long long)letter->seq,
                     err.text);
        return;
    }
    (void)printf("%u-%-8llu  %.*s  %-10.*s  %-24.*s  %-16.*s  %.*s\n", partition,
                 (unsigned long long)letter->seq, VG_FMT(vg_json_get_text(json, "time")),
                 VG_FMT(vg_json_get_text(json, "stage")), VG_FMT(vg_json_get_text(json, "reason")),
                 VG_FMT(vg_json_get_text(json, "key")), VG_FMT(vg_json_get_text(json, "text")));
}

struct places {
    struct {
        uint32_t partition;
        uint64_t seq;
    } * items;
    size_t count, capacity;
    bool has_failed;
};

static void take_place(void *ctx, uint32_t partition, const struct stream_record *letter)
{
    struct places *places = ctx;

    if (places->count == places->capacity) {
        size_t capacity = places->capacity ? places->capacity * 2 : 64;
        void *grown = realloc(places->items, capacity * sizeof(*places->items));

        if (!grown) {
            places->has_failed = true;
            return;
        }
        places->items = grown;
        places->capacity = capacity;
    }
    places->items[places->count].partition = partition;
    places->items[places->count++].seq = letter->seq;
}

static enum vg_status replay_one(struct stream *stream, uint32_t partition, uint64_t seq,
                                 struct vg_err *err)
{
    uint64_t raw_seq = 0;
    enum vg_status st = stream_deadletter_replay(stream, partition, seq, &raw_seq, err);

    if (st == VG_OK)
        (void)printf("%u-%llu is on device.raw again, at %llu\n", partition,
                     (unsigned long long)seq, (unsigned long long)raw_seq);
    else if (st == VG_END)
        st = vg_fail(err, VG_REJECT, "deadletter.unknown", 0, "there is no dead letter %u-%llu",
                     partition, (unsigned long long)seq);
    return st;
}

static enum vg_status replay(struct stream *stream, struct vg_slice id, struct vg_err *err)
{
    struct vg_slice first = vg_slice_cut(&id, '-');
    struct places places = {0};
    uint64_t partition, seq;
    enum vg_status st;

    if (vg_slice_is(first, "all")) {
        st = stream_deadletters(stream, take_place, &places, err);
        if (st == VG_OK && places.has_failed)
            st = vg_fail(err, VG_RETRY, "deadletter.memory", 0, "no memory for all letters");
        for (size_t i = 0; i < places.count && st == VG_OK; i++)
            st = replay_one(stream, places.items[i].partition, places.items[i].seq, err);
        free(places.items);
        return st;
    }
    if (!vg_slice_to_u64(first, &partition) || !vg_slice_to_u64(id, &seq) ||
        partition >= stream_partitions(stream))
        return vg_fail(err, VG_REJECT, "deadletter.id", 0,
                       "a dead letter's id looks like 0-4711; 'vigil deadletter list' shows them");
    return replay_one(stream, (uint32_t)partition, seq, err);
}

int cmd_deadletter(int argc, char **argv)
{
    struct app_options options;
    struct listing listing = {0};
    struct stream *stream = NULL;
    struct vg_err err = {0};
    int code = app_options_init(&options, argc, argv);
    const char *what;
    bool is_list;
    enum vg_status st;

    vg_arena_init(&listing.arena, 0);
    listing.is_json = app_take_switch(&options, "--json");
    what = options.rest_count ? options.rest[0] : "";
    is_list = strcmp(what, "list") == 0;
    if (code == 0 && (options.wants_help || (!is_list && strcmp(what, "replay") != 0) ||
                      options.rest_count != (is_list ? 1 : 2))) {
        (void)fputs(usage, options.wants_help ? stdout : stderr);
        code = options.wants_help ? 0 : 2;
    } else if (code == 0) {
        st = app_open_journal(&options, is_list, &stream, &err);
        if (st == VG_OK && is_list)
            st = stream_deadletters(stream, print_letter, &listing, &err);
        else if (st == VG_OK)
            st = replay(stream, vg_slice_of(options.rest[1]), &err);
        if (st == VG_OK && is_list && !listing.is_json)
            (void)fprintf(stderr, "%zu dead letters\n", listing.count);
        if (st != VG_OK)
            code = app_fail(&err);
    }
    vg_arena_fini(&listing.arena);
    stream_close(stream);
    app_options_fini(&options);
    return code;
}
