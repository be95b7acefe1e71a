/* served.c -- asks an MLflow or a KServe V2 server for probabilities.
 *
 *   MLflow  POST URL/invocations              {"dataframe_split":{"columns":[…],"data":[[…]]}}
 *                                        -> {"predictions":[0.1,…]} or [[0.9,0.1],…]: the last is
 * taken KServe  POST URL/v2/models/NAME/infer     {"inputs":[{"name":"features","datatype":"FP32",
 *                                              "shape":[n,width],"data":[…]}]}
 *                                        -> {"outputs":[{"name":…,"shape":[n] or
 * [n,k],"data":[…]}]}
 *
 * A missing value is null for MLflow (pandas makes NaN of it). KServe's JSON has no word for it:
 * "NaN" is what Triton and MLServer read, bare.
 *
 * BREAKER. A batch waits for the deadline, no longer (remote.c: nobody else waits with it). After
 * some failures in a row nobody is asked for a while, and the rule score stands alone; then one
 * batch tries. An answer of the wrong length, or with a number that is no probability, is a
 * failure.
 *
 * Threads: none; whoever asks holds the lock.
 */
#include "score/served.h"

#include "base/file.h"
#include "base/http_client.h"
#include "base/log.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BODY_BYTES_MAX ((size_t)16 << 20)
#define TOKEN_BYTES_MAX 8192

struct served {
    struct served_config config;
    struct vg_http_client *client;
    struct vg_arena arena, answer; /* the configuration's texts; dies with an answer */
    struct vg_buf body;
    const char *url;
    unsigned failure_count;
    int64_t rests_until_us;
};

enum vg_status served_open(const struct served_config *config, struct served **ret_served,
                           struct vg_err *err)
{
    struct served *served = calloc(1, sizeof(*served));
    struct vg_http_client_config client = {
        .ca_path = config->ca_path,
        .timeout_ms = (uint32_t)(config->deadline_us / 1000),
        .connect_ms = (uint32_t)(config->deadline_us / 1000),
        .body_bytes_max = BODY_BYTES_MAX,
    };
    size_t len = strlen(config->url);
    enum vg_status st;

    if (!served)
        return vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a model");
    served->config = *config;
    vg_arena_init(&served->arena, 0);
    vg_arena_init(&served->answer, 4 * BODY_BYTES_MAX);
    vg_buf_init(&served->body, BODY_BYTES_MAX);
    while (len > 0 && config->url[len - 1] == '/')
        len--;
    served->url =
        config->kind == SERVED_MLFLOW
            ? vg_arena_printf(&served->arena, "%.*s/invocations", (int)len, config->url).ptr
            : vg_arena_printf(&served->arena, "%.*s/v2/models/%s/infer", (int)len, config->url,
                              config->name)
                  .ptr;
    st = served->url ? vg_http_client_open(&client, &served->client, err)
                     : vg_fail(err, VG_RETRY, "score.memory", 0, "no memory for a model");
    if (st == VG_OK) {
        *ret_served = served;
        served = NULL;
    }
    served_close(served);
    return st;
}

void served_close(struct served *served)
{
    if (!served)
        return;
    vg_http_client_close(served->client);
    vg_arena_fini(&served->arena);
    vg_arena_fini(&served->answer);
    vg_buf_fini(&served->body);
    free(served);
}

static void put_row(struct vg_buf *out, const float *row, size_t width, const char *missing)
{
    for (size_t i = 0; i < width; i++) {
        if (i > 0)
            vg_buf_put_byte(out, ',');
        if (isfinite(row[i]))
            vg_buf_printf(out, "%.9g", (double)row[i]);
        else
            vg_buf_printf(out, "%s", missing);
    }
}

static void write_request(struct served *served, const struct feature_set *set, const float *rows,
                          size_t count)
{
    struct vg_buf *out = &served->body;

    vg_buf_clear(out);
    if (served->config.kind == SERVED_KSERVE) {
        vg_buf_printf(out,
                      "{\"inputs\":[{\"name\":\"features\",\"datatype\":\"FP32\",\"shape\":"
                      "[%zu,%zu],\"data\":[",
                      count, set->count);
        for (size_t r = 0; r < count; r++) {
            if (r > 0)
                vg_buf_put_byte(out, ',');
            put_row(out, rows + r * set->count, set->count, "NaN");
        }
        vg_buf_printf(out, "]}]}");
        return;
    }
    vg_buf_printf(out, "{\"dataframe_split\":{\"columns\":[");
    for (size_t i = 0; i < set->count; i++)
        vg_buf_printf(out, "%s\"%s\"", i > 0 ? "," : "", features[set->index[i]].name);
    vg_buf_printf(out, "],\"data\":[");
    for (size_t r = 0; r < count; r++) {
        vg_buf_printf(out, "%s[", r > 0 ? "," : "");
        put_row(out, rows + r * set->count, set->count, "null");
        vg_buf_put_byte(out, ']');
    }
    vg_buf_printf(out, "]}}");
}

/* The probabilities among the answer's numbers: one for each row, or the last of several. */
static bool take_numbers(const struct vg_json *list, size_t count, double *ret)
{
    const struct vg_json *item = vg_json_is(list, VG_JSON_ARRAY) ? list->child : NULL;
    size_t each = list && count > 0 && list->count % count == 0 ? list->count / count : 0;

    if (each == 0)
        return false;
    for (size_t r = 0; r < count; r++) {
        const struct vg_json *last = item;

        for (size_t i = 0; i < each; i++, item = item->next)
            last = item;
        if (vg_json_is(last, VG_JSON_ARRAY)) {
            if (!last->child)
                return false;
            for (last = last->child; last->next;)
                last = last->next;
        }
        if (!vg_json_to_double(last, &ret[r]) || !(ret[r] >= 0 && ret[r] <= 1))
            return false;
    }
    return true;
}

static enum vg_status read_answer(struct served *served, const struct vg_http_answer *answer,
                                  size_t count, double *ret, struct vg_err *err)
{
    const struct vg_json *list = NULL;
    struct vg_json *root = NULL;

    if (answer->status != 200)
        return vg_fail(err, VG_RETRY, "score.remote", 0, "the model's server answered %d",
                       answer->status);
    if (vg_json_parse(&served->answer, answer->body, NULL, &root, NULL, err) != VG_OK)
        return vg_fail(err, VG_RETRY, "score.remote", 0, "the model's server did not answer JSON");
    if (served->config.kind == SERVED_MLFLOW) {
        list = vg_json_is(root, VG_JSON_ARRAY) ? root : vg_json_get(root, "predictions");
    } else {
        const struct vg_json *outputs = vg_json_get(root, "outputs");

        for (const struct vg_json *o = outputs ? outputs->child : NULL; o && !list; o = o->next) {
            if (!served->config.output ||
                vg_slice_is(vg_json_get_text(o, "name"), served->config.output))
                list = vg_json_get(o, "data");
        }
    }
    if (!take_numbers(list, count, ret))
        return vg_fail(err, VG_RETRY, "score.remote", 0,
                       "the model's server did not answer with a probability for each of %zu rows",
                       count);
    return VG_OK;
}

static enum vg_status ask(struct served *served, size_t count, double *ret, struct vg_err *err)
{
    const char *headers[3] = {"Content-Type: application/json"};
    struct vg_http_answer answer;
    enum vg_status st = VG_OK;

    if (served->config.token_path) {
        struct vg_slice token;

        st = vg_file_read(&served->answer, served->config.token_path, TOKEN_BYTES_MAX, &token, err);
        token = vg_slice_trim(token);
        if (st != VG_OK || memchr(token.ptr, '\n', token.len))
            return vg_fail(err, VG_RETRY, "score.remote", 0, "cannot read the token's file");
        headers[1] =
            vg_arena_printf(&served->answer, "Authorization: Bearer %.*s", VG_FMT(token)).ptr;
    }
    st = vg_http_fetch(served->client, "POST", served->url, headers, vg_buf_slice(&served->body),
                       &served->answer, &answer, err);
    return st == VG_OK ? read_answer(served, &answer, count, ret, err) : st;
}

enum vg_status served_predict(struct served *served, const struct feature_set *set,
                              const float *rows, size_t count, double *ret_probabilities,
                              struct vg_err *err)
{
    struct vg_err cause = {0};
    int64_t now_us = vg_mono_us();

    if (now_us < served->rests_until_us)
        return vg_fail(err, VG_END, "score.remote", 0, "not asked: it failed %u times in a row",
                       served->failure_count);
    vg_arena_reset(&served->answer);
    write_request(served, set, rows, count);
    if (!vg_buf_ok(&served->body))
        return vg_fail(err, VG_RETRY, "score.remote", 0, "%zu rows are too many for a request",
                       count);
    if (ask(served, count, ret_probabilities, &cause) == VG_OK) {
        if (served->failure_count > 0)
            vg_log(VG_LOG_INFO, "score", "score.remote", "the model's server answers again");
        served->failure_count = 0;
        return VG_OK;
    }
    if (++served->failure_count >= served->config.failures_max)
        served->rests_until_us = now_us + served->config.rest_us;
    return vg_fail(err, VG_RETRY, "score.remote", 0, "%s", cause.text);
}
