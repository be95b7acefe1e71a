/* The stage against a real lake that cannot write for a while. */
#include "capture/capture.h"

#include "vg_test.h"

#include <stdlib.h>
#include <sys/resource.h>

/* With no descriptor left nothing can be written. */
static void take_descriptors(bool is_taken)
{
    static struct rlimit usual;
    struct rlimit none;

    if (!usual.rlim_max)
        CHECK(getrlimit(RLIMIT_NOFILE, &usual) == 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = usual.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, is_taken ? &none : &usual) == 0);
}

static void test_a_refused_record_is_told_also_when_its_batch_comes_again(void)
{
    static const char good[] =
        "{\"patientId\":\"p1\",\"effectiveDateTime\":\"2026-03-14T10:00:00Z\",\"receivedTime\":"
        "\"2026-03-14T10:00:01Z\",\"values\":[{\"name\":\"hr\",\"code\":\"8867-4\",\"value\":72}]}";
    const struct stream_record records[] = {
        {.seq = 7, .key = VG_SLICE("p1"), .value = VG_SLICE("{}")},
        {.seq = 8, .key = VG_SLICE("p1"), .value = vg_slice_of(good)},
    };
    const struct stream_batch batch = {.records = records, .count = 2, .next_seq = 9};
    char dir[] = "/tmp/vigil-capture-XXXXXX";
    struct capture_config config = {.table = LAKE_ENRICHED, .flush_rows = 1};
    struct capture *capture = NULL;
    struct stream_out out;
    struct vg_err err = {0};
    uint64_t next_seq = 0;

    CHECK(mkdtemp(dir) != NULL);
    if (!CHECK(lake_open(&(struct lake_config){.dir = dir}, &config.lake, &err) == VG_OK) ||
        !CHECK(capture_open(&config, &capture, &err) == VG_OK)) {
        printf("%s: %s\n", err.code, err.text);
        return;
    }
    const struct stage_ops *ops = capture_stage(capture);

    stream_out_init(&out);
    take_descriptors(true);
    CHECK(ops->process(capture, &batch, &out, &err) == VG_RETRY);
    take_descriptors(false);
    stream_out_clear(&out); /* as the stage does: nothing of this was committed */
    CHECK(ops->process(capture, &batch, &out, &err) == VG_OK);
    CHECK(out.record_count == 1);
    CHECK(lake_position(config.lake, LAKE_ENRICHED, "vigil-capture-0", &next_seq, &err) == VG_OK &&
          next_seq == 9);

    /* Committed: what comes next tells only of itself. */
    const struct stream_record more = {.seq = 9, .key = VG_SLICE("p1"), .value = vg_slice_of(good)};

    stream_out_clear(&out);
    CHECK(ops->process(capture,
                       &(struct stream_batch){.records = &more, .count = 1, .next_seq = 10}, &out,
                       &err) == VG_OK);
    CHECK(out.record_count == 0);
    stream_out_fini(&out);
    capture_close(capture);
    lake_close(config.lake);
}

int main(void)
{
    RUN(test_a_refused_record_is_told_also_when_its_batch_comes_again);
    return vg_test_report();
}
