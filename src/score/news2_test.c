/* news2_test.c -- every boundary of the chart as a row. */
#include "score/news2.h"

#include "base/file.h"
#include "base/json.h"
#include "score/score.h"
#include "vg_test.h"

#include <string.h>

static const struct news2_input normal = {
    .has = {true, true, true, true, true, true, true},
    .value = {16, 97, 0, 120, 70, 'A', 37.0},
    .oxygen_scale = 1,
};

static void test_boundaries(void)
{
    static const struct {
        const char *name;
        enum news2_part part;
        double value;
        int want;
    } rows[] = {
        {"respiration 0", NEWS2_RESPIRATION, 0, 3},
        {"respiration 8", NEWS2_RESPIRATION, 8, 3},
        {"respiration 9", NEWS2_RESPIRATION, 9, 1},
        {"respiration 11", NEWS2_RESPIRATION, 11, 1},
        {"respiration 12", NEWS2_RESPIRATION, 12, 0},
        {"respiration 20", NEWS2_RESPIRATION, 20, 0},
        {"respiration 20.4 rounds down", NEWS2_RESPIRATION, 20.4, 0},
        {"respiration 20.5 rounds up", NEWS2_RESPIRATION, 20.5, 2},
        {"respiration 21", NEWS2_RESPIRATION, 21, 2},
        {"respiration 24", NEWS2_RESPIRATION, 24, 2},
        {"respiration 25", NEWS2_RESPIRATION, 25, 3},
        {"SpO2 91", NEWS2_SPO2, 91, 3},
        {"SpO2 91.5 rounds up", NEWS2_SPO2, 91.5, 2},
        {"SpO2 92", NEWS2_SPO2, 92, 2},
        {"SpO2 93", NEWS2_SPO2, 93, 2},
        {"SpO2 94", NEWS2_SPO2, 94, 1},
        {"SpO2 95", NEWS2_SPO2, 95, 1},
        {"SpO2 96", NEWS2_SPO2, 96, 0},
        {"SpO2 100", NEWS2_SPO2, 100, 0},
        {"air", NEWS2_OXYGEN, 0, 0},
        {"half a litre is oxygen", NEWS2_OXYGEN, 0.5, 2},
        {"systolic 90", NEWS2_SYSTOLIC, 90, 3},
        {"systolic 90.5 rounds up", NEWS2_SYSTOLIC, 90.5, 2},
        {"systolic 91", NEWS2_SYSTOLIC, 91, 2},
        {"systolic 100", NEWS2_SYSTOLIC, 100, 2},
        {"systolic 101", NEWS2_SYSTOLIC, 101, 1},
        {"systolic 105", NEWS2_SYSTOLIC, 105, 1},
        {"systolic 110", NEWS2_SYSTOLIC, 110, 1},
        {"systolic 111", NEWS2_SYSTOLIC, 111, 0},
        {"systolic 219", NEWS2_SYSTOLIC, 219, 0},
        {"systolic 220", NEWS2_SYSTOLIC, 220, 3},
        {"pulse 0", NEWS2_PULSE, 0, 3},
        {"pulse 40", NEWS2_PULSE, 40, 3},
        {"pulse 41", NEWS2_PULSE, 41, 1},
        {"pulse 50", NEWS2_PULSE, 50, 1},
        {"pulse 51", NEWS2_PULSE, 51, 0},
        {"pulse 90", NEWS2_PULSE, 90, 0},
        {"pulse 91", NEWS2_PULSE, 91, 1},
        {"pulse 110", NEWS2_PULSE, 110, 1},
        {"pulse 111", NEWS2_PULSE, 111, 2},
        {"pulse 130", NEWS2_PULSE, 130, 2},
        {"pulse 131", NEWS2_PULSE, 131, 3},
        {"alert", NEWS2_CONSCIOUSNESS, 'A', 0},
        {"new confusion", NEWS2_CONSCIOUSNESS, 'C', 3},
        {"voice", NEWS2_CONSCIOUSNESS, 'V', 3},
        {"pain", NEWS2_CONSCIOUSNESS, 'P', 3},
        {"unresponsive", NEWS2_CONSCIOUSNESS, 'U', 3},
        {"temperature 35.0", NEWS2_TEMPERATURE, 35.0, 3},
        {"temperature 35.04 rounds down", NEWS2_TEMPERATURE, 35.04, 3},
        {"temperature 35.05 rounds up", NEWS2_TEMPERATURE, 35.05, 1},
        {"temperature 35.1", NEWS2_TEMPERATURE, 35.1, 1},
        {"temperature 36.0", NEWS2_TEMPERATURE, 36.0, 1},
        {"temperature 36.1", NEWS2_TEMPERATURE, 36.1, 0},
        {"temperature 38.0", NEWS2_TEMPERATURE, 38.0, 0},
        {"temperature 38.05 rounds up", NEWS2_TEMPERATURE, 38.05, 1},
        {"temperature 38.1 is 1, not 11", NEWS2_TEMPERATURE, 38.1, 1},
        {"temperature 39.0", NEWS2_TEMPERATURE, 39.0, 1},
        {"temperature 39.1", NEWS2_TEMPERATURE, 39.1, 2},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct news2_input input = normal;
        struct news2 news2;

        CHECK_ROW(rows[i].name);
        input.value[rows[i].part] = rows[i].value;
        news2 = news2_score(&input);
        CHECK(news2.score[rows[i].part] == rows[i].want);
        CHECK(news2.low == rows[i].want && news2.high == rows[i].want);
        CHECK(news2.is_complete);
        CHECK(news2.has_single_three == (rows[i].want == 3));
    }
}

static void test_scale_2(void)
{
    static const struct {
        const char *name;
        double spo2, oxygen;
        int want;
    } rows[] = {
        {"83 on air", 83, 0, 3},        {"84 on air", 84, 0, 2},
        {"85 on air", 85, 0, 2},        {"86 on air", 86, 0, 1},
        {"87 on air", 87, 0, 1},        {"88 on air", 88, 0, 0},
        {"92 on air", 92, 0, 0},        {"93 on air is no hazard", 93, 0, 0},
        {"94 on air", 94, 0, 0},        {"95 on air", 95, 0, 0},
        {"96 on air", 96, 0, 0},        {"97 on air", 97, 0, 0},
        {"100 on air", 100, 0, 0},      {"83 on oxygen", 83, 2, 3},
        {"85 on oxygen", 85, 2, 2},     {"87 on oxygen", 87, 2, 1},
        {"88 on oxygen", 88, 2, 0},     {"92 on oxygen", 92, 2, 0},
        {"92.5 on oxygen", 92.5, 2, 1}, {"93 on oxygen", 93, 2, 1},
        {"94 on oxygen", 94, 2, 1},     {"95 on oxygen", 95, 2, 2},
        {"96 on oxygen", 96, 2, 2},     {"97 on oxygen: too much", 97, 2, 3},
        {"100 on oxygen", 100, 2, 3},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct news2_input input = normal;
        struct news2 news2;

        CHECK_ROW(rows[i].name);
        input.oxygen_scale = 2;
        input.value[NEWS2_SPO2] = rows[i].spo2;
        input.value[NEWS2_OXYGEN] = rows[i].oxygen;
        news2 = news2_score(&input);
        CHECK(news2.score[NEWS2_SPO2] == rows[i].want);
        CHECK(news2.low == rows[i].want + (rows[i].oxygen > 0 ? 2 : 0));
    }
}

static void test_partial_sets(void)
{
    struct news2_input input = {.oxygen_scale = 1};
    struct news2 news2 = news2_score(&input);

    CHECK_ROW("nothing known is 0 to 20");
    CHECK(news2.low == 0 && news2.high == 20 && !news2.is_complete && !news2.has_single_three);
    CHECK(strcmp(news2.band, "low") == 0);

    CHECK_ROW("consciousness and oxygen missing: 5 points of room");
    input = normal;
    input.has[NEWS2_CONSCIOUSNESS] = input.has[NEWS2_OXYGEN] = false;
    input.value[NEWS2_RESPIRATION] = 22;
    news2 = news2_score(&input);
    CHECK(news2.low == 2 && news2.high == 7 && !news2.is_complete);

    CHECK_ROW("scale 2, oxygen unknown: 97 is 0 on air, 3 and 2 on oxygen");
    input = normal;
    input.oxygen_scale = 2;
    input.has[NEWS2_OXYGEN] = false;
    news2 = news2_score(&input);
    CHECK(news2.low == 0 && news2.high == 5);

    CHECK_ROW("scale 2, oxygen unknown, below 93 it does not matter");
    input.value[NEWS2_SPO2] = 90;
    news2 = news2_score(&input);
    CHECK(news2.low == 0 && news2.high == 2);
}

/* Whatever the missing parts turn out to be, the score lies in the interval, and both ends occur.
 */
static void test_interval_holds_every_completion(void)
{
    static const double values[NEWS2_PART_COUNT][4] = {
        {8, 10, 16, 30},   {80, 93, 95, 98},     {0, 0, 2, 15},      {80, 95, 120, 230},
        {35, 45, 70, 140}, {'A', 'A', 'C', 'U'}, {34, 35.5, 37, 40},
    };
    static const int scales[] = {1, 2};

    for (unsigned code = 0; code < 1u << 14; code += 7) {
        struct news2_input input = {0};

        for (int part = 0; part < NEWS2_PART_COUNT; part++) {
            input.has[part] = true;
            input.value[part] = values[part][code >> (2 * part) & 3];
        }
        for (size_t s = 0; s < 2; s++) {
            int total;

            input.oxygen_scale = scales[s];
            total = news2_score(&input).low;
            for (unsigned missing = 0; missing < 1u << NEWS2_PART_COUNT; missing += 3) {
                struct news2_input partial = input;
                struct news2 news2;

                for (int part = 0; part < NEWS2_PART_COUNT; part++)
                    partial.has[part] = !(missing >> part & 1);
                news2 = news2_score(&partial);
                if (!CHECK(news2.low <= total && total <= news2.high))
                    return;
            }
        }
    }
}

static void test_bands(void)
{
    static const struct {
        const char *name;
        double respiration, pulse, systolic, temperature;
        int low;
        const char *band;
    } rows[] = {
        {"0", 16, 70, 120, 37, 0, "low"},
        {"4 without a 3", 22, 115, 120, 37, 4, "low"},
        {"3 from one part", 26, 70, 120, 37, 3, "low-medium"},
        {"4 with a 3", 26, 95, 120, 37, 4, "low-medium"},
        {"5", 22, 115, 105, 37, 5, "medium"},
        {"6", 22, 115, 95, 37, 6, "medium"},
        {"7", 22, 115, 85, 37, 7, "high"},
        {"11", 26, 140, 85, 39.5, 11, "high"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct news2_input input = normal;
        struct news2 news2;

        CHECK_ROW(rows[i].name);
        input.value[NEWS2_RESPIRATION] = rows[i].respiration;
        input.value[NEWS2_PULSE] = rows[i].pulse;
        input.value[NEWS2_SYSTOLIC] = rows[i].systolic;
        input.value[NEWS2_TEMPERATURE] = rows[i].temperature;
        news2 = news2_score(&input);
        CHECK(news2.low == rows[i].low);
        CHECK(strcmp(news2.band, rows[i].band) == 0);
    }
}

/* rr spo2 scale o2 sbp hr acvpu temp, the seven sub-scores, total, band, note */
static void test_vectors(void)
{
    struct vg_arena arena;
    struct vg_slice text, line;
    unsigned count = 0;

    vg_arena_init(&arena, 1 << 20);
    if (vg_file_read(&arena, VG_SOURCE_DIR "/../shared/data/news2_vectors.tsv", 0, &text, NULL) !=
        VG_OK) {
        SKIP("../shared/data/news2_vectors.tsv is not here");
        vg_arena_fini(&arena);
        return;
    }
    while (text.ptr && text.len > 0) {
        static const enum news2_part parts[] = {NEWS2_RESPIRATION, NEWS2_SPO2,  NEWS2_OXYGEN,
                                                NEWS2_SYSTOLIC,    NEWS2_PULSE, NEWS2_CONSCIOUSNESS,
                                                NEWS2_TEMPERATURE};
        static const int columns[] = {0, 1, 3, 4, 5, 6, 7};
        struct vg_slice fields[18] = {{0}};
        struct news2_input input = {0};
        struct news2 news2;
        int64_t number = 0;
        char row[128];

        line = vg_slice_cut(&text, '\n');
        if (line.len == 0 || line.ptr[0] == '#' || vg_slice_starts(line, VG_SLICE("rr\t")))
            continue;
        (void)snprintf(row, sizeof(row), "%.*s", VG_FMT(line));
        CHECK_ROW(row);
        for (size_t i = 0; i < 18 && line.ptr; i++)
            fields[i] = vg_slice_cut(&line, '\t');
        for (size_t i = 0; i < NEWS2_PART_COUNT; i++) {
            input.has[parts[i]] = fields[columns[i]].len > 0;
            if (parts[i] == NEWS2_CONSCIOUSNESS)
                input.value[parts[i]] = fields[columns[i]].ptr[0];
            else
                CHECK(vg_slice_to_double(fields[columns[i]], &input.value[parts[i]]));
        }
        CHECK(vg_slice_to_i64(fields[2], &number));
        input.oxygen_scale = (int)number;
        news2 = news2_score(&input);
        for (size_t i = 0; i < NEWS2_PART_COUNT; i++)
            CHECK(vg_slice_to_i64(fields[8 + i], &number) && number == news2.score[parts[i]]);
        CHECK(vg_slice_to_i64(fields[15], &number) && number == news2.low);
        CHECK(vg_slice_is(fields[16], news2.band));
        count++;
    }
    CHECK_ROW("");
    CHECK(count >= 90);
    vg_arena_fini(&arena);
}

/* docs/news2-vectors.json is for anybody's implementation: it holds what ours says, and ours says
 * what it holds. */
static void test_published_vectors(void)
{
    struct vg_arena arena;
    struct vg_slice text = {0};
    struct vg_json *root = NULL;
    const struct vg_json *vector;
    struct vg_buf out;
    size_t count = 0;

    vg_arena_init(&arena, 0);
    vg_buf_init(&out, 0);
    score_news2_vectors(&out);
    CHECK(vg_file_read(&arena, VG_SOURCE_DIR "/docs/news2-vectors.json", 0, &text, NULL) == VG_OK);
    if (!CHECK(vg_slice_eq(text, vg_buf_slice(&out))))
        printf("it differs: vigil model news2-vectors >docs/news2-vectors.json\n");
    vg_buf_fini(&out);
    if (!CHECK(vg_json_parse(&arena, text, NULL, &root, NULL, NULL) == VG_OK))
        goto done;
    vector = vg_json_get(root, "vectors");
    for (vector = vector ? vector->child : NULL; vector; vector = vector->next, count++) {
        static const char *const names[NEWS2_PART_COUNT] = {
            "respiration", "spo2", "oxygen", "systolic", "pulse", "consciousness", "temperature"};
        const struct vg_json *input_json = vg_json_get(vector, "input");
        struct news2_input input = {0};
        struct news2 news2;
        int64_t low = -1, high = -1, scale = 0;
        char about[128];

        (void)vg_slice_to_cstr(vg_json_get_text(vector, "about"), about, sizeof(about));
        CHECK_ROW(about);
        for (int part = 0; part < NEWS2_PART_COUNT; part++) {
            const struct vg_json *value = vg_json_get(input_json, names[part]);

            input.has[part] = value != NULL;
            if (value && part == NEWS2_CONSCIOUSNESS)
                input.value[part] = vg_json_text(value).ptr[0];
            else if (value)
                CHECK(vg_json_to_double(value, &input.value[part]));
        }
        CHECK(vg_json_to_i64(vg_json_get(input_json, "spo2Scale"), &scale));
        input.oxygen_scale = (int)scale;
        news2 = news2_score(&input);
        CHECK(vg_json_to_i64(vg_json_get(vector, "low"), &low) && low == news2.low);
        CHECK(vg_json_to_i64(vg_json_get(vector, "high"), &high) && high == news2.high);
        CHECK(vg_slice_is(vg_json_get_text(vector, "band"), news2.band));
    }
    CHECK_ROW("");
    CHECK(count > 120);
done:
    vg_arena_fini(&arena);
}

int main(void)
{
    RUN(test_published_vectors);
    RUN(test_boundaries);
    RUN(test_scale_2);
    RUN(test_partial_sets);
    RUN(test_interval_holds_every_completion);
    RUN(test_bands);
    RUN(test_vectors);
    return vg_test_report();
}
