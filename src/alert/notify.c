/* notify.c -- the notifier: takes cards that are due from the outbox and posts them.
 *
 * One thread, one card at a time: a slow receiver delays cards, never readings. A card is noted as
 * sent only after a 2xx; everything else is tried again with a doubling wait (or the receiver's
 * Retry-After), with the same Idempotency-Key. After attempts_max it is shown in the browser as
 * failed.
 */
#include "alert/card.h"

#include "base/http_client.h"
#include "base/log.h"
#include "base/metrics.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define IDLE_US (VG_SECOND_US / 5)
#define RETRY_US_USUAL VG_SECOND_US
#define RETRY_US_MAX VG_HOUR_US
#define ATTEMPTS_USUAL 20
#define TARGETS_MAX 16
#define RETRY_AFTER_MAX_S 3600

struct notify {
    struct notify_config config;
    struct notify_target targets[TARGETS_MAX];
    struct vg_http_client *client;
    pthread_t thread;
    pthread_mutex_t lock; /* guards is_stopping */
    pthread_cond_t wake;
    bool is_stopping, has_thread;
};

static const struct notify_target *find_target(const struct notify *notify, const char *name)
{
    for (size_t i = 0; i < notify->config.target_count; i++) {
        if (strcmp(notify->targets[i].name, name) == 0)
            return &notify->targets[i];
    }
    return NULL;
}

/* VG_OK: accepted. Else *ret_wait_us may hold the receiver's own wish (0 = none). */
static enum vg_status post_card(struct notify *notify, const struct care_card *card,
                                struct vg_arena *arena, int64_t *ret_wait_us, struct vg_err *err)
{
    const struct notify_target *target = find_target(notify, card->target);
    struct vg_http_answer answer;
    char key_header[160];
    const char *headers[] = {"Content-Type: application/json", key_header, NULL};
    struct vg_buf body;
    uint64_t seconds;
    enum vg_status st;

    if (!target)
        return vg_fail(err, VG_RETRY, "notify.target", 0, "target '%s' is not configured any more",
                       card->target);
    (void)snprintf(key_header, sizeof(key_header), "Idempotency-Key: %s", card->key);
    vg_buf_init(&body, 1u << 16);
    if (!card_format(card, target, notify->config.board_url, &body) || !vg_buf_ok(&body))
        st = vg_fail(err, VG_RETRY, "notify.format", 0, "target '%s' has an unknown format",
                     card->target);
    else
        st = vg_http_fetch(notify->client, "POST", target->url, headers, vg_buf_slice(&body), arena,
                           &answer, err);
    vg_buf_fini(&body);
    if (st != VG_OK)
        return st;
    if (answer.status >= 200 && answer.status < 300)
        return VG_OK;
    if (vg_slice_to_u64(answer.retry_after, &seconds) && seconds <= RETRY_AFTER_MAX_S)
        *ret_wait_us = (int64_t)seconds * VG_SECOND_US;
    return vg_fail(err, VG_RETRY, "notify.status", 0, "target '%s' answered %d", card->target,
                   answer.status);
}

static enum vg_status handle_card(struct notify *notify, const struct care_card *card,
                                  struct vg_arena *arena, struct vg_err *err)
{
    int64_t now_us, wait_us = 0, retry_us = notify->config.retry_us;
    enum vg_status st = post_card(notify, card, arena, &wait_us, err);

    now_us = vg_now_us();
    if (st == VG_OK) {
        vg_step_done(18, 1, now_us - card->time_us);
        return care_card_sent(notify->config.care, card->id, now_us, err);
    }
    vg_step_error(18, err);
    vg_log_err(VG_LOG_WARN, "notify", err);
    for (int i = 0; i < card->attempts && retry_us < RETRY_US_MAX; i++)
        retry_us *= 2;
    if (wait_us > retry_us)
        retry_us = wait_us;
    if (card->attempts + 1 >= notify->config.attempts_max)
        now_us = retry_us = 0; /* given up */
    return care_card_failed(notify->config.care, card->id, now_us + retry_us,
                            vg_slice_of(err->text), err);
}

/* True: stop. */
static bool wait_a_little(struct notify *notify)
{
    int64_t deadline_us = vg_now_us() + IDLE_US;
    struct timespec deadline = {deadline_us / VG_SECOND_US, deadline_us % VG_SECOND_US * 1000};
    bool is_stopping;

    pthread_mutex_lock(&notify->lock);
    if (!notify->is_stopping)
        (void)pthread_cond_timedwait(&notify->wake, &notify->lock, &deadline);
    is_stopping = notify->is_stopping;
    pthread_mutex_unlock(&notify->lock);
    return is_stopping;
}

static bool is_stopping(struct notify *notify)
{
    bool answer;

    pthread_mutex_lock(&notify->lock);
    answer = notify->is_stopping;
    pthread_mutex_unlock(&notify->lock);
    return answer;
}

static void *notify_main(void *ctx)
{
    struct notify *notify = ctx;
    struct vg_arena arena;
    bool is_over = false;

    (void)pthread_setname_np(pthread_self(), "notify");
    vg_arena_init(&arena, 0);
    while (!is_over) {
        struct care_card card;
        struct vg_err err = {0};
        enum vg_status st;

        vg_arena_reset(&arena);
        st = care_card_next(notify->config.care, vg_now_us(), &arena, &card, &err);
        if (st == VG_OK)
            st = handle_card(notify, &card, &arena, &err);
        if (st != VG_OK && st != VG_END)
            vg_log_err(VG_LOG_ERROR, "notify", &err);
        is_over = st == VG_OK ? is_stopping(notify) : wait_a_little(notify);
    }
    vg_arena_fini(&arena);
    return NULL;
}

enum vg_status notify_start(const struct notify_config *config, struct notify **ret_notify,
                            struct vg_err *err)
{
    struct care_target care_targets[TARGETS_MAX];
    struct vg_http_client_config client = {.ca_path = config->ca_path, .timeout_ms = 10000};
    struct notify *notify = calloc(1, sizeof(*notify));
    enum vg_status st;

    if (!notify)
        return vg_fail(err, VG_RETRY, "notify.memory", ENOMEM, "notifier");
    pthread_mutex_init(&notify->lock, NULL);
    pthread_cond_init(&notify->wake, NULL);
    notify->config = *config;
    if (!notify->config.retry_us)
        notify->config.retry_us = RETRY_US_USUAL;
    if (!notify->config.attempts_max)
        notify->config.attempts_max = ATTEMPTS_USUAL;
    if (config->target_count > TARGETS_MAX) {
        st = vg_fail(err, VG_REJECT, "notify.targets", 0, "at most %d targets", TARGETS_MAX);
        goto done;
    }
    for (size_t i = 0; i < config->target_count; i++) {
        notify->targets[i] = config->targets[i];
        care_targets[i] = (struct care_target){config->targets[i].name, config->targets[i].format};
    }
    st = care_targets_set(config->care, care_targets, config->target_count, err);
    if (st == VG_OK)
        st = vg_http_client_open(&client, &notify->client, err);
    if (st == VG_OK && pthread_create(&notify->thread, NULL, notify_main, notify) != 0)
        st = vg_fail(err, VG_RETRY, "notify.thread", errno, "notifier");
    if (st != VG_OK)
        goto done;
    notify->has_thread = true;
    *ret_notify = notify;
    notify = NULL;
done:
    notify_stop(notify);
    return st;
}

void notify_stop(struct notify *notify)
{
    if (!notify)
        return;
    pthread_mutex_lock(&notify->lock);
    notify->is_stopping = true;
    pthread_cond_signal(&notify->wake);
    pthread_mutex_unlock(&notify->lock);
    if (notify->has_thread)
        (void)pthread_join(notify->thread, NULL);
    vg_http_client_close(notify->client);
    pthread_cond_destroy(&notify->wake);
    pthread_mutex_destroy(&notify->lock);
    free(notify);
}
