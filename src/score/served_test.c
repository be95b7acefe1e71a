/* served_test.c -- a model behind HTTP: what is asked, what is believed, who is left alone. */
#include "score/served.h"

#include "base/clock.h"
#include "base/http_server.h"
#include "vg_test.h"

#include <math.h>

enum behaviour { GOOD, PAIRS, SLOW, BROKEN, FEW, HIGH, NOT_JSON };

static enum behaviour behaviour;
static int asked;
static char body[4096];
static struct vg_http_request *kept[4]; /* in the loop's thread */
static size_t kept_count;

static void handle(struct vg_http_request *request, void *ctx)
{
    static const char *const mlflow[] = {
        [GOOD] = "{\"predictions\":[0.25,0.75]}",
        [PAIRS] = "{\"predictions\":[[0.75,0.25],[0.25,0.75]]}",
        [FEW] = "{\"predictions\":[0.25]}",
        [HIGH] = "{\"predictions\":[0.25,1.5]}",
        [NOT_JSON] = "<html>",
    };
    static const char *const kserve[] = {
        [GOOD] = "{\"outputs\":[{\"name\":\"p\",\"shape\":[2],\"data\":[0.25,0.75]}]}",
        [PAIRS] = "{\"outputs\":[{\"name\":\"label\",\"data\":[0,1]},"
                  "{\"name\":\"p\",\"shape\":[2,2],\"data\":[0.75,0.25,0.25,0.75]}]}",
        [FEW] = "{\"outputs\":[]}",
        [HIGH] = "{\"outputs\":[{\"name\":\"p\",\"data\":[-0.1,0.5]}]}",
        [NOT_JSON] = "[",
    };
    enum behaviour now = (enum behaviour)__atomic_load_n((int *)&behaviour, __ATOMIC_ACQUIRE);

    (void)vg_slice_to_cstr(vg_http_body(request), body, sizeof(body));
    (void)__atomic_add_fetch(&asked, 1, __ATOMIC_RELEASE);
    if (now == SLOW) {
        kept[kept_count++] = request; /* no reply in time */
        return;
    }
    if (now == BROKEN)
        vg_http_reply_error(request, 500, "test", "broken");
    else
        vg_http_reply(request, 200, "application/json", vg_slice_of((ctx ? kserve : mlflow)[now]));
}

static void reply_late(void *ctx)
{
    while (kept_count > 0)
        vg_http_reply_error(kept[--kept_count], 500, "test", "late");
    __atomic_store_n((bool *)ctx, true, __ATOMIC_RELEASE);
}

static void set_behaviour(enum behaviour now)
{
    __atomic_store_n((int *)&behaviour, (int)now, __ATOMIC_RELEASE);
}

static int asked_now(void)
{
    return __atomic_load_n(&asked, __ATOMIC_ACQUIRE);
}

int main(void)
{
    static const struct {
        const char *name;
        enum behaviour behaviour;
        bool is_good;
    } rows[] = {
        {"a probability for each row", GOOD, true},
        {"of each class: the last counts", PAIRS, true},
        {"nobody answers in time", SLOW, false},
        {"the server fails", BROKEN, false},
        {"too few rows", FEW, false},
        {"no probability", HIGH, false},
        {"not JSON", NOT_JSON, false},
    };
    struct vg_http_server_config server_config = {.address = "127.0.0.1"};
    struct vg_http_server *server = NULL;
    struct vg_loop *loop = NULL;
    struct feature_set set = {0};
    const float input[4] = {26, (float)NAN, 14, 37.5f};
    double output[2];
    struct vg_err err = {0};
    int64_t deadline_us;
    bool is_late = false;
    char url[64];

    CHECK(feature_set_add(&set, VG_SLICE("respiration_last temperature_last"), &err) == VG_OK);
    if (!CHECK(vg_loop_open("test", &loop, &err) == VG_OK &&
               vg_http_server_open(loop, &server_config, &server, &err) == VG_OK &&
               vg_http_route(server, "POST", "/invocations", handle, NULL, &err) == VG_OK &&
               vg_http_route(server, "POST", "/v2/models/m1/infer", handle, &asked, &err) ==
                   VG_OK &&
               vg_loop_start(loop, &err) == VG_OK)) {
        printf("%s: %s\n", err.code, err.text);
        return 1;
    }
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/", (unsigned)vg_http_server_port(server));
    for (int kind = SERVED_MLFLOW; kind <= SERVED_KSERVE; kind++) {
        struct served_config config = {.kind = (enum served_kind)kind,
                                       .url = url,
                                       .name = "m1",
                                       .output = "p",
                                       .deadline_us = 200 * 1000,
                                       .failures_max = 3,
                                       .rest_us = 300 * 1000};
        struct served *served = NULL;
        int before;

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            CHECK_ROW(rows[i].name);
            set_behaviour(rows[i].behaviour);
            CHECK(served_open(&config, &served, &err) == VG_OK);
            CHECK((served_predict(served, &set, input, 2, output, &err) == VG_OK) ==
                  rows[i].is_good);
            if (rows[i].is_good)
                CHECK(output[0] > 0.24 && output[0] < 0.26 && output[1] > 0.74 && output[1] < 0.76);
            served_close(served);
        }
        CHECK_ROW("what is asked");
        CHECK(strcmp(body,
                     kind == SERVED_MLFLOW
                         ? "{\"dataframe_split\":{\"columns\":[\"respiration_last\","
                           "\"temperature_last\"],\"data\":[[26,null],[14,37.5]]}}"
                         : "{\"inputs\":[{\"name\":\"features\",\"datatype\":\"FP32\",\"shape\":"
                           "[2,2],\"data\":[26,NaN,14,37.5]}]}") == 0);

        CHECK_ROW("after three failures it is left alone, then one batch tries");
        CHECK(served_open(&config, &served, &err) == VG_OK);
        set_behaviour(BROKEN);
        before = asked_now();
        for (int i = 0; i < 10; i++)
            CHECK(served_predict(served, &set, input, 2, output, &err) ==
                  (i < 3 ? VG_RETRY : VG_END));
        CHECK(asked_now() == before + 3);
        set_behaviour(GOOD);
        deadline_us = vg_mono_us() + 5 * VG_SECOND_US;
        while (served_predict(served, &set, input, 2, output, &err) != VG_OK &&
               vg_mono_us() < deadline_us)
            ;
        CHECK(asked_now() == before + 4);
        CHECK(served_predict(served, &set, input, 2, output, &err) == VG_OK);
        served_close(served);
    }
    CHECK(vg_loop_post(loop, reply_late, &is_late));
    deadline_us = vg_mono_us() + 5 * VG_SECOND_US;
    while (!__atomic_load_n(&is_late, __ATOMIC_ACQUIRE) && vg_mono_us() < deadline_us)
        ;
    vg_loop_stop(loop);
    vg_http_server_close(server);
    vg_loop_close(loop);
    return vg_test_report();
}
