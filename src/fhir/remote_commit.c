/* remote_commit.c -- a commit for the FHIR server.
 *
 *     writes -> checked and given their ids (as the embedded engine would)
 *            -> what is referred to before what refers to it
 *            -> sent (remote_write.c)
 *            -> done, refused, or kept for later (remote_spool.c)
 *
 * A create draws its id; a conditional create looks for what is there and else takes an id that is
 * made of its condition, so that two who do it at once write one resource.
 */
#include "base/clock.h"
#include "base/crypto.h"
#include "fhir/remote_int.h"

#include <stdio.h>

/* ---- a commit ---- */

static enum vg_status refuse(struct remote_item *item, struct fhir_issue *issue, struct vg_err *err)
{
    item->state = REMOTE_REFUSED;
    item->http_status = issue->http_status;
    item->issue = issue->code;
    item->expression = issue->expression;
    (void)snprintf(item->why, sizeof(item->why), "%s", err && err->code ? err->text : "");
    return VG_REJECT;
}

/* What a conditional create means: what is there, or a write with an id made of the condition. */
static enum vg_status look_before_create(struct fhir_remote *r, const struct fhir_write *write,
                                         struct remote_item *item, struct vg_arena *arena,
                                         struct fhir_issue *issue, struct vg_err *err)
{
    struct fhir_results results;
    char hex[65];
    enum vg_status st = remote_search(r, item->type, write->if_none_exist, arena, &results, err);

    if (st == VG_REJECT)
        issue->http_status = 400, issue->code = "invalid";
    if (st != VG_OK)
        return st;
    if (results.match_count > 1)
        return fhir_refuse(issue, err, 412, "multiple-matches", (struct vg_slice){0},
                           "several resources match the condition");
    if (results.match_count == 1) {
        item->id = results.resources[0].id;
        item->version = results.resources[0].version;
        item->updated_us = results.resources[0].last_updated_us;
        item->state = REMOTE_DONE;
        item->http_status = 200;
        item->is_unchanged = true;
        return VG_OK;
    }
    vg_sha256_hex(write->if_none_exist, hex);
    item->id = vg_arena_printf(arena, "c%.63s", hex);
    return item->id.ptr ? VG_OK : vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for an id");
}

/* The client's text with the id. Version and time are the server's: a meta with nothing else in it
 * is left out. */
static struct vg_slice bare_text(struct vg_arena *arena, const struct fhir_draft *draft)
{
    struct vg_slice before = draft->before, after = draft->after;

    if (!draft->needs_comma) {
        before.len -= 1; /* { */
        while (before.len && before.ptr[before.len - 1] != '"')
            before.len--;
        before.len -= sizeof("\"meta\"") - 1;
        before = vg_slice_trim(before);
        after = vg_slice_trim(vg_slice_from(after, 1)); /* } */
        if (before.len && before.ptr[before.len - 1] == ',')
            before.len--;
        else
            after = vg_slice_from(after, 1);
    }
    return vg_arena_printf(arena, "%.*s%.*s", VG_FMT(before), VG_FMT(after));
}

static enum vg_status prepare_one(struct fhir_remote *r, const struct fhir_write *write,
                                  struct remote_item *item, struct vg_arena *arena,
                                  struct fhir_issue *issue, struct vg_err *err)
{
    struct fhir_draft draft;
    enum vg_status st = VG_OK;

    item->type = fhir_type_find(write->type);
    item->is_delete = write->what == FHIR_DELETE;
    item->if_match = write->what == FHIR_UPDATE ? write->if_match : 0;
    item->id = write->id;
    if (item->type == 0)
        return fhir_refuse(issue, err, 404, "not-supported", (struct vg_slice){0},
                           "this is not a resource type of R4");
    if (write->what == FHIR_CREATE) {
        item->id = fhir_id_draw(arena);
        if (write->if_none_exist.ptr)
            st = look_before_create(r, write, item, arena, issue, err);
    } else if (!fhir_id_is_ok(write->id)) {
        st = fhir_refuse(issue, err, 400, "value", VG_SLICE("id"),
                         "id must be 1 to 64 of A-Z a-z 0-9 - .");
    }
    if (st != VG_OK || item->is_delete || item->state == REMOTE_DONE)
        return st;
    st = fhir_draft_make(arena, item->type, item->id, write->body, r->store->base_url, &draft,
                         issue, err);
    if (st != VG_OK)
        return st;
    item->body = bare_text(arena, &draft);
    return item->body.ptr ? VG_OK
                          : vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for a resource");
}

struct ordering {
    struct remote_item *items, *out;
    unsigned char *seen; /* 1: on the way, 2: out */
    const struct vg_map *names;
    struct vg_arena *arena;
    size_t count, out_count, depth;
};

static void place(struct ordering *o, size_t index);

static void place_targets(struct ordering *o, const struct vg_json *json)
{
    for (const struct vg_json *at = json->child; at; at = at->next) {
        const struct remote_item *target =
            at->type == VG_JSON_STRING && vg_slice_is(at->name, "reference")
                ? vg_map_get(o->names, at->text)
                : NULL;

        if (target)
            place(o, (size_t)(target - o->items));
        if (at->child)
            place_targets(o, at);
    }
}

static void place(struct ordering *o, size_t index)
{
    struct fhir_issue issue;
    struct vg_json *root = NULL;
    struct vg_arena scratch;

    if (o->seen[index])
        return;
    o->seen[index] = 1;
    if (!o->items[index].is_delete && o->items[index].body.len && o->depth < 16) {
        o->depth++;
        vg_arena_init(&scratch, FHIR_SCRATCH_BYTES_MAX);
        if (fhir_parse(&scratch, o->items[index].body, &root, &issue, NULL) == VG_OK)
            place_targets(o, root);
        vg_arena_fini(&scratch);
        o->depth--;
    }
    o->out[o->out_count++] = o->items[index];
}

/* Deletions first, then what is referred to before what refers to it. VG_REJECT: one twice. */
static enum vg_status order(struct remote_item *items, size_t count, struct vg_arena *arena,
                            struct remote_item **ret_items, struct vg_err *err)
{
    struct ordering o = {.items = items, .arena = arena, .count = count};
    struct vg_map names;
    bool is_ok = true;
    enum vg_status st = VG_OK;

    o.out = vg_arena_alloc(arena, count * sizeof(*o.out));
    o.seen = vg_arena_alloc(arena, count);
    if (!o.out || !o.seen)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for %zu writes", count);
    vg_map_init(&names);
    o.names = &names;
    for (size_t i = 0; i < count && st == VG_OK; i++) {
        struct vg_slice name = remote_name_of(&items[i], arena);

        if (items[i].state == REMOTE_DONE)
            continue;
        if (name.ptr && vg_map_put(&names, name, &items[i], &is_ok)) {
            items[i].state = REMOTE_REFUSED;
            items[i].http_status = 400;
            items[i].issue = "invalid";
            st = vg_fail(err, VG_REJECT, "fhir.invalid", 0, "a resource twice in one commit");
        } else if (!name.ptr || !is_ok) {
            st = vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for %zu writes", count);
        }
    }
    for (size_t i = 0; i < count && st == VG_OK; i++)
        if (items[i].is_delete)
            place(&o, i);
    for (size_t i = 0; i < count && st == VG_OK; i++)
        place(&o, i);
    vg_map_fini(&names, NULL);
    *ret_items = o.out;
    return st;
}

/* What the server has not taken waits on our disk. */
static enum vg_status keep(struct fhir_remote *r, struct remote_item *items, size_t count,
                           struct vg_arena *arena, struct vg_err *err)
{
    struct remote_item **open = vg_arena_alloc(arena, (count + 1) * sizeof(struct remote_item *));
    size_t open_count = 0;
    enum vg_status st;

    if (!open)
        return vg_fail(err, VG_RETRY, "fhir.memory", 0, "no room for %zu writes", count);
    for (size_t i = 0; i < count; i++)
        if (items[i].state == REMOTE_OPEN)
            open[open_count++] = &items[i];
    st = open_count ? spool_put(r->spool, open, open_count, err) : VG_OK;
    for (size_t i = 0; i < open_count && st == VG_OK; i++) {
        open[i]->state = REMOTE_DONE;
        open[i]->http_status = 202;
        open[i]->updated_us = vg_now_us();
        open[i]->is_unchanged = true; /* nothing has changed there yet */
    }
    (void)pthread_mutex_lock(&r->lock);
    (void)pthread_cond_broadcast(&r->wake);
    (void)pthread_mutex_unlock(&r->lock);
    return st;
}

static void tell(const struct remote_item *item, struct fhir_written *written,
                 struct vg_arena *arena)
{
    *written = (struct fhir_written){.http_status = item->http_status,
                                     .id = vg_arena_dup(arena, item->id),
                                     .version = item->version,
                                     .last_updated_us = item->updated_us,
                                     .is_unchanged = item->is_unchanged,
                                     .issue = item->state == REMOTE_REFUSED ? item->issue : NULL,
                                     .expression = item->expression.len
                                                       ? vg_arena_dup(arena, item->expression)
                                                       : (struct vg_slice){0}};
}

static enum vg_status commit(struct fhir_remote *r, struct remote_item *items, size_t count,
                             struct vg_arena *arena, struct vg_err *err)
{
    struct remote_item *ordered = NULL;
    struct vg_err why = {0};
    enum vg_status st = order(items, count, arena, &ordered, err);
    bool must_wait;

    if (st != VG_OK)
        return st;
    (void)pthread_mutex_lock(&r->lock);
    must_wait = r->is_away;
    (void)pthread_mutex_unlock(&r->lock);
    /* Behind what waits already: of one resource the older write goes first. */
    must_wait |= spool_count(r->spool) > 0;
    if (!must_wait)
        st = remote_send(r, ordered, count, true, arena, &why);
    if ((must_wait || st == VG_RETRY) && !remote_has_refusal(ordered, count))
        st = keep(r, ordered, count, arena, &why);
    else if (remote_has_refusal(ordered, count))
        st = VG_REJECT;
    for (size_t i = 0; i < count; i++) {
        items[ordered[i].index] = ordered[i];
        if (ordered[i].state == REMOTE_DONE && ordered[i].http_status != 202 &&
            !ordered[i].is_unchanged)
            atomic_fetch_add(&r->store->change_counts[ordered[i].type], 1);
    }
    if (st == VG_REJECT && !why.code)
        for (size_t i = count; i-- > 0;)
            if (items[i].state == REMOTE_REFUSED)
                (void)vg_fail(&why, VG_REJECT, "fhir.refused", 0, "the FHIR server refused: %.200s",
                              items[i].why);
    if (st != VG_OK && err)
        *err = why;
    return st;
}

enum vg_status remote_commit(struct fhir_remote *r, const struct fhir_write *writes, size_t count,
                             struct vg_arena *arena, struct fhir_written *written,
                             size_t *ret_failed, struct vg_err *err)
{
    struct vg_arena scratch;
    struct fhir_issue issue = {0};
    struct remote_item *items;
    struct vg_err why = {0};
    enum vg_status st = VG_OK;

    vg_arena_init(&scratch, FHIR_SCRATCH_BYTES_MAX);
    items = vg_arena_alloc(&scratch, (count + 1) * sizeof(*items));
    if (!items)
        st = vg_fail(&why, VG_RETRY, "fhir.memory", 0, "no room for %zu writes", count);
    for (size_t i = 0; i < count && st == VG_OK; i++) {
        items[i].index = i;
        st = prepare_one(r, &writes[i], &items[i], &scratch, &issue, &why);
        if (st == VG_REJECT)
            st = refuse(&items[i], &issue, &why);
    }
    if (st == VG_OK)
        st = commit(r, items, count, &scratch, &why);
    for (size_t i = 0; i < count && st == VG_OK; i++)
        tell(&items[i], &written[i], arena);
    for (size_t i = count; i-- > 0 && st == VG_REJECT;) {
        if (items[i].state != REMOTE_REFUSED)
            continue;
        tell(&items[i], &written[i], arena);
        if (ret_failed)
            *ret_failed = i;
    }
    if (st != VG_OK && err)
        *err = why;
    vg_arena_fini(&scratch);
    return st;
}
