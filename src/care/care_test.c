/* Contract of the repository, on every engine that is built in. */
#include "care/care.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/json.h"

#include "vg_test.h"

#include <unistd.h>

static char path[64];
static struct care *care;

static void open_care(void)
{
    struct vg_err err = {0};

    if (!CHECK(care_open(&(struct care_config){.path = path}, &care, &err) == VG_OK)) {
        printf("%s: %s\n", err.code, err.text);
        exit(1);
    }
}

static void fresh(void)
{
    char dir[] = "/tmp/vigil-care-XXXXXX";

    CHECK(mkdtemp(dir) != NULL);
    (void)snprintf(path, sizeof(path), "%s/care.db", dir);
    open_care();
}

static const char record[] =
    "{\"patientId\":\"p1\",\"patient\":{\"name\":\"Ada Maria Example\",\"ageYears\":76,\"gender\":"
    "\"female\",\"identifier\":\"MRN-1\"},\"location\":\"Ward 4, Bed 12\",\"unit\":\"Ward "
    "4\",\"windowEnd\":"
    "\"2026-03-14T10:00:00Z\",\"scoredTime\":\"2026-03-14T10:00:01Z\",\"news2\":{\"low\":7,"
    "\"high\":9,"
    "\"complete\":false,\"band\":\"high\",\"parts\":[{\"part\":\"respiration\",\"score\":3,"
    "\"value\":26,"
    "\"unit\":\"/"
    "min\",\"state\":\"ok\"}]},\"model\":{\"name\":\"m\",\"version\":\"1\",\"probability\":0.25,"
    "\"band\":\"medium\"},\"vitals\":[{\"code\":\"9279-1\",\"name\":\"respiration\",\"value\":26,"
    "\"unit\":"
    "\"/min\",\"time\":\"2026-03-14T10:00:00Z\",\"state\":\"ok\"}]}";

static void apply_at(const char *patient, int low, int64_t window_end_us, int64_t scored_us,
                     uint64_t seq, const struct care_flag *flag)
{
    struct care_batch *batch = NULL;
    uint64_t applied;
    int64_t change = 0;
    struct care_score score = {.patient_id = vg_slice_of(patient),
                               .record = vg_slice_of(record),
                               .trace = VG_SLICE("0-1 0-2"),
                               .window_end_us = window_end_us,
                               .scored_us = scored_us,
                               .news2_low = low,
                               .news2_high = low + 2,
                               .probability = 0.25};

    if (!CHECK(care_batch_begin(care, "alert-0", &batch, &applied, NULL) == VG_OK))
        return;
    CHECK(care_batch_score(batch, &score, &change, NULL) == VG_OK && change > 0);
    if (flag)
        CHECK(care_batch_flag(batch, flag, &change, NULL) == VG_OK);
    CHECK(care_batch_commit(batch, seq + 1, NULL) == VG_OK);
}

static void apply(const char *patient, int low, int64_t window_end_us, uint64_t seq,
                  const struct care_flag *flag)
{
    apply_at(patient, low, window_end_us, window_end_us + 1, seq, flag);
}

static struct care_flag make_flag(const char *patient, const char *severity, int64_t time_us,
                                  enum care_flag_change change)
{
    return (struct care_flag){.flag_id = vg_slice_of("flag-1"),
                              .patient_id = vg_slice_of(patient),
                              .rule = VG_SLICE("news2"),
                              .severity = vg_slice_of(severity),
                              .title = VG_SLICE("NEWS2 7: respiration 26 /min"),
                              .trace = VG_SLICE("0-1 0-2"),
                              .time_us = time_us,
                              .change = change};
}

/* What a query function wrote, parsed; dies with the arena. */
static struct vg_arena arena;
#define ANSWER(call) (vg_buf_clear(&answer), CHECK((call) == VG_OK), parse_answer())
static struct vg_buf answer;

static const struct vg_json *parse_answer(void)
{
    struct vg_json *root = NULL;
    struct vg_err err = {0};

    if (!CHECK(vg_json_parse(&arena, vg_arena_dup(&arena, vg_buf_slice(&answer)), NULL, &root, NULL,
                             &err) == VG_OK))
        printf("%s\n%.*s\n", err.text, (int)answer.len, answer.ptr);
    return root;
}

static bool text_is(const struct vg_json *object, const char *name, const char *want)
{
    return vg_slice_is(vg_json_get_text(object, name), want);
}

static int64_t number(const struct vg_json *value)
{
    int64_t n = -999;

    (void)vg_json_to_i64(value, &n);
    return n;
}

static void test_a_score_becomes_the_patients_row(void)
{
    const struct vg_json *row;

    fresh();
    apply("p1", 7, 1000 * VG_SECOND_US, 0, NULL);
    row = ANSWER(care_board_row(care, VG_SLICE("p1"), &answer, NULL));
    CHECK(text_is(row, "name", "Ada Maria Example") && text_is(row, "initials", "AME"));
    CHECK(text_is(row, "location", "Ward 4, Bed 12") && text_is(row, "riskBand", "medium"));
    CHECK(number(vg_json_get(vg_json_get(row, "news2"), "low")) == 7);
    CHECK(number(vg_json_get(vg_json_get(vg_json_get(row, "vitals"), "9279-1"), "value")) == 26);
    CHECK(vg_json_get(vg_json_get(row, "spark"), "9279-1")->count == 1);
    CHECK(vg_json_is(vg_json_get(row, "flag"), VG_JSON_NULL));
    vg_buf_clear(&answer);
    CHECK(care_board_row(care, VG_SLICE("nobody"), &answer, NULL) == VG_END);
    care_close(care);
}

static void test_a_late_score_does_not_replace_the_newer_row(void)
{
    const struct vg_json *patient;

    fresh();
    apply("p1", 7, 2000 * VG_SECOND_US, 0, NULL);
    apply("p1", 1, 1000 * VG_SECOND_US, 1, NULL);
    patient = ANSWER(care_patient(care, VG_SLICE("p1"), 0, &answer, NULL));
    CHECK(number(vg_json_get(vg_json_get(vg_json_get(patient, "row"), "news2"), "low")) == 7);
    CHECK(vg_json_get(patient, "scores")->count == 2); /* but it is known */
    care_close(care);
}

/* Two partitions score one patient: what was made first may be applied last. */
static void test_of_one_window_the_row_scored_last_stands(void)
{
    const struct vg_json *row;
    int64_t end_us = 2000 * VG_SECOND_US;

    fresh();
    apply_at("p1", 7, end_us, end_us + 20, 0, NULL);
    apply_at("p1", 1, end_us, end_us + 10, 1, NULL);
    row = ANSWER(care_board_row(care, VG_SLICE("p1"), &answer, NULL));
    CHECK(number(vg_json_get(vg_json_get(row, "news2"), "low")) == 7);
    apply_at("p1", 4, end_us, end_us + 30, 2, NULL);
    row = ANSWER(care_board_row(care, VG_SLICE("p1"), &answer, NULL));
    CHECK(number(vg_json_get(vg_json_get(row, "news2"), "low")) == 4);
    care_close(care);
}

static void test_what_was_applied_is_known_after_a_crash(void)
{
    struct care_batch *batch;
    uint64_t applied;

    fresh();
    apply("p1", 7, 1000, 41, NULL);
    CHECK(care_batch_begin(care, "alert-0", &batch, &applied, NULL) == VG_OK && applied == 42);
    care_batch_abort(batch);
    CHECK(care_batch_begin(care, "alert-1", &batch, &applied, NULL) == VG_OK && applied == 0);
    care_batch_abort(batch);
    care_close(care);
    open_care();
    CHECK(care_batch_begin(care, "alert-0", &batch, &applied, NULL) == VG_OK && applied == 42);
    care_batch_abort(batch);
    care_close(care);
}

static void test_an_aborted_batch_leaves_nothing(void)
{
    struct care_flag flag = make_flag("p1", "high", 1000, CARE_FLAG_OPENED);
    struct care_batch *batch;
    uint64_t applied;
    int64_t change;

    fresh();
    apply("p1", 7, 1000, 0, NULL);
    CHECK(care_batch_begin(care, "alert-0", &batch, &applied, NULL) == VG_OK);
    CHECK(care_batch_flag(batch, &flag, &change, NULL) == VG_OK);
    care_batch_abort(batch);
    CHECK(vg_json_get(ANSWER(care_worklist(care, &answer, NULL)), "items")->count == 0);
    care_close(care);
}

static int64_t first_item_id(void)
{
    const struct vg_json *items = vg_json_get(ANSWER(care_worklist(care, &answer, NULL)), "items");

    return number(vg_json_get(vg_json_at(items, 0), "id"));
}

static void test_a_flag_makes_an_item_and_cards_once(void)
{
    struct care_target targets[] = {{"teams", "adaptive-envelope"}, {"hook", "json"}};
    struct care_flag flag = make_flag("p1", "high", 1000, CARE_FLAG_OPENED);
    const struct vg_json *row;
    struct care_card card;

    fresh();
    CHECK(care_targets_set(care, targets, 2, NULL) == VG_OK);
    apply("p1", 7, 1000, 0, &flag);
    apply("p1", 7, 1000, 1, &flag); /* as after a crash between the two commits */
    row = ANSWER(care_board_row(care, VG_SLICE("p1"), &answer, NULL));
    CHECK(text_is(vg_json_get(row, "flag"), "severity", "high"));
    CHECK(text_is(vg_json_get(row, "item"), "state", "open"));
    CHECK(vg_json_get(ANSWER(care_worklist(care, &answer, NULL)), "items")->count == 1);
    CHECK(vg_json_get(ANSWER(care_outbox(care, &answer, NULL)), "cards")->count == 2);
    CHECK(care_card_next(care, 5000, &arena, &card, NULL) == VG_OK);
    CHECK(strcmp(card.key, "flag-1:opened:high:hook") == 0 && strcmp(card.target, "hook") == 0);
    CHECK(vg_slice_is(card.initials, "AME") && vg_slice_is(card.change, "opened"));
    CHECK(care_card_sent(care, card.id, 6000, NULL) == VG_OK);
    CHECK(care_card_next(care, 5000, &arena, &card, NULL) == VG_OK);
    CHECK(care_card_failed(care, card.id, 9000, VG_SLICE("refused"), NULL) == VG_OK);
    CHECK(care_card_next(care, 8000, &arena, &card, NULL) == VG_END);
    CHECK(care_card_next(care, 9000, &arena, &card, NULL) == VG_OK && card.attempts == 1);
    CHECK(care_card_failed(care, card.id, 0, VG_SLICE("gone"), NULL) == VG_OK);
    CHECK(care_card_next(care, INT64_MAX, &arena, &card, NULL) == VG_END);
    care_close(care);
}

static void test_acts_are_possible_by_state(void)
{
    static const struct {
        const char *name, *what, *assignee, *text;
        enum vg_status want;
        const char *state;
    } rows[] = {
        {"an open item is not resolved unseen", "resolve", "", "", VG_REJECT, "open"},
        {"a note leaves the state", "note", "", "asked for gases", VG_OK, "open"},
        {"an empty note is refused", "note", "", "", VG_REJECT, "open"},
        {"acknowledged", "acknowledge", "", "", VG_OK, "acknowledged"},
        {"not twice", "acknowledge", "", "", VG_REJECT, "acknowledged"},
        {"assigned to nobody is refused", "assign", "", "", VG_REJECT, "acknowledged"},
        {"assigned", "assign", "bea", "", VG_OK, "assigned"},
        {"escalated", "escalate", "", "no answer", VG_OK, "escalated"},
        {"an escalation is acknowledged again", "acknowledge", "", "", VG_OK, "acknowledged"},
        {"resolved", "resolve", "", "stable", VG_OK, "resolved"},
        {"nothing after that", "escalate", "", "", VG_REJECT, "resolved"},
        {"but a note", "note", "", "written up", VG_OK, "resolved"},
        {"an unknown act", "explode", "", "", VG_REJECT, "resolved"},
    };
    struct care_flag flag = make_flag("p1", "high", 1000, CARE_FLAG_OPENED);
    const struct vg_json *item;
    int64_t id, change;

    fresh();
    apply("p1", 7, 1000, 0, &flag);
    id = first_item_id();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct care_act act = {id,
                               rows[i].what,
                               VG_SLICE("ann"),
                               vg_slice_of(rows[i].assignee),
                               vg_slice_of(rows[i].text),
                               2000 + (int64_t)i,
                               0};

        CHECK_ROW(rows[i].name);
        CHECK(care_act(care, &act, &change, NULL) == rows[i].want);
        item = ANSWER(care_item(care, id, &answer, NULL));
        CHECK(text_is(item, "state", rows[i].state));
    }
    CHECK(text_is(item, "assignee", "bea") && text_is(item, "acknowledgedBy", "ann"));
    CHECK(vg_json_get(item, "history")->count == 7);
    struct care_act nowhere = {999, "note", VG_SLICE("ann"), VG_SLICE(""), VG_SLICE("x"), 1, 0};
    CHECK(care_act(care, &nowhere, &change, NULL) == VG_END);
    care_close(care);
}

static void test_worsening_brings_an_acknowledged_item_back(void)
{
    struct care_flag opened = make_flag("p1", "medium", 1000, CARE_FLAG_OPENED);
    struct care_flag worse = make_flag("p1", "high", 2000, CARE_FLAG_UPDATED);
    struct care_act act = {0, "acknowledge", VG_SLICE("ann"), VG_SLICE(""), VG_SLICE(""), 1500, 0};
    int64_t change;

    fresh();
    apply("p1", 5, 1000, 0, &opened);
    act.item_id = first_item_id();
    CHECK(care_act(care, &act, &change, NULL) == VG_OK);
    apply("p1", 8, 2000, 1, &worse);
    CHECK(text_is(ANSWER(care_item(care, act.item_id, &answer, NULL)), "state", "open"));
    care_close(care);
}

/* ---- what time alone brings ---- */

static unsigned told_count;
static int64_t told_change;

static enum vg_status tell(void *ctx, const struct care_due *due)
{
    (void)ctx;
    CHECK(vg_slice_is(due->patient_id, "p1"));
    told_count++;
    told_change = due->change;
    return VG_OK;
}

/* How many items came back at now_us. */
static unsigned hand_back(int64_t now_us)
{
    struct care_batch *batch = NULL;
    uint64_t applied = 0;

    told_count = 0;
    CHECK(care_batch_begin(care, "alert-0", &batch, &applied, NULL) == VG_OK);
    CHECK(care_batch_hand_back(batch, now_us, 10, tell, NULL, NULL) == VG_OK);
    CHECK(care_batch_commit(batch, applied, NULL) == VG_OK);
    return told_count;
}

static size_t cards_of(const char *change)
{
    struct vg_arena cards;
    struct care_card card;
    size_t count = 0;

    vg_arena_init(&cards, 1u << 20);
    while (care_card_next(care, INT64_MAX, &cards, &card, NULL) == VG_OK) {
        count += vg_slice_is(card.change, change);
        CHECK(care_card_sent(care, card.id, 1, NULL) == VG_OK);
    }
    vg_arena_fini(&cards);
    return count;
}

static void test_a_snooze_ends_with_its_time_or_when_it_gets_worse(void)
{
    struct care_flag opened = make_flag("p1", "medium", 1000, CARE_FLAG_OPENED);
    struct care_flag worse = make_flag("p1", "medium", 2000, CARE_FLAG_UPDATED);
    struct care_act snooze = {0,           "snooze", VG_SLICE("ann"), VG_SLICE(""), VG_SLICE(""),
                              vg_now_us(), 0};
    const struct vg_json *item;
    int64_t change, until_us = snooze.time_us + 30 * VG_MINUTE_US;

    fresh();
    apply("p1", 5, 1000, 0, &opened);
    snooze.item_id = first_item_id();
    CHECK(care_act(care, &snooze, &change, NULL) == VG_REJECT); /* until when? */
    snooze.until_us = snooze.time_us + 9 * VG_HOUR_US;
    CHECK(care_act(care, &snooze, &change, NULL) == VG_REJECT); /* not for a whole shift */
    snooze.until_us = until_us;
    CHECK(care_act(care, &snooze, &change, NULL) == VG_OK);
    item = ANSWER(care_item(care, snooze.item_id, &answer, NULL));
    CHECK(text_is(item, "state", "acknowledged") && vg_json_get_text(item, "snoozedUntil").len);
    CHECK(hand_back(until_us - 1) == 0);
    CHECK(hand_back(until_us) == 1 && told_change > change);
    item = ANSWER(care_item(care, snooze.item_id, &answer, NULL));
    CHECK(text_is(item, "state", "open") &&
          vg_json_is(vg_json_get(item, "snoozedUntil"), VG_JSON_NULL));
    CHECK(hand_back(until_us) == 0);

    CHECK(care_act(care, &snooze, &change, NULL) == VG_OK);
    apply("p1", 6, 2000, 1, &worse); /* the severity is the same, the level is not */
    item = ANSWER(care_item(care, snooze.item_id, &answer, NULL));
    CHECK(text_is(item, "state", "open") &&
          vg_json_is(vg_json_get(item, "snoozedUntil"), VG_JSON_NULL));
    care_close(care);
}

static void test_what_nobody_acknowledges_is_escalated_three_times(void)
{
    struct care_target target = {"teams", "adaptive-bare"};
    struct care_flag flag = make_flag("p1", "high", 1000, CARE_FLAG_OPENED);
    int64_t start_us, wait_us = 30 * VG_MINUTE_US, id;
    const struct vg_json *item;

    fresh();
    CHECK(care_targets_set(care, &target, 1, NULL) == VG_OK);
    apply("p1", 8, 1000, 0, &flag);
    start_us = vg_now_us();
    id = first_item_id();
    CHECK(cards_of("opened") == 1);
    CHECK(hand_back(start_us + wait_us - VG_MINUTE_US) == 0);
    for (int i = 1; i <= 3; i++) {
        CHECK(hand_back(start_us + i * wait_us + i) == 1);
        CHECK(cards_of("unacknowledged") == 1);
        CHECK(hand_back(start_us + i * wait_us + i) == 0);
    }
    CHECK(hand_back(start_us + 9 * wait_us) == 0); /* more cards would only be noise */
    item = ANSWER(care_item(care, id, &answer, NULL));
    CHECK(text_is(item, "state", "escalated") && vg_json_get(item, "history")->count == 3);
    CHECK(text_is(vg_json_at(vg_json_get(item, "history"), 0), "user", "vigil"));
    care_close(care);
}

static void test_an_acknowledged_item_is_not_escalated(void)
{
    struct care_flag flag = make_flag("p1", "high", 1000, CARE_FLAG_OPENED);
    struct care_act act = {0, "acknowledge", VG_SLICE("ann"), VG_SLICE(""), VG_SLICE(""), 1500, 0};
    int64_t change;

    fresh();
    apply("p1", 8, 1000, 0, &flag);
    act.item_id = first_item_id();
    CHECK(care_act(care, &act, &change, NULL) == VG_OK);
    CHECK(hand_back(vg_now_us() + VG_DAY_US) == 0);
    care_close(care);
}

static void test_the_end_of_monitoring_and_the_return(void)
{
    struct care_flag flag = make_flag("p1", "high", 1000, CARE_FLAG_OPENED);
    struct care_batch *batch = NULL;
    uint64_t applied;
    int64_t change, id;
    struct care_score newer = {.patient_id = VG_SLICE("p1"),
                               .record = vg_slice_of(record),
                               .trace = VG_SLICE("0-3"),
                               .window_end_us = 9000,
                               .scored_us = 9000,
                               .heard_us = 4000,
                               .news2_low = 1,
                               .news2_high = 3,
                               .probability = -1};

    fresh();
    apply("p1", 8, 1000, 0, &flag);
    id = first_item_id();
    CHECK(care_end_monitoring(care, VG_SLICE("p1"), VG_SLICE("ann"), VG_SLICE("went home"), 5000,
                              &change, NULL) == VG_OK);
    CHECK(care_end_monitoring(care, VG_SLICE("p1"), VG_SLICE("ann"), VG_SLICE("again"), 5000,
                              &change, NULL) == VG_END);
    CHECK(vg_json_get(ANSWER(care_board(care, &answer, NULL)), "patients")->count == 0);
    CHECK(text_is(ANSWER(care_item(care, id, &answer, NULL)), "state", "resolved"));
    CHECK(
        vg_json_get_text(ANSWER(care_board_row(care, VG_SLICE("p1"), &answer, NULL)), "ended").len >
        0); /* whoever looks at the page is told */
    told_count = 0;
    CHECK(care_batch_begin(care, "alert-0", &batch, &applied, NULL) == VG_OK);
    CHECK(care_batch_silent(batch, INT64_MAX, 10, tell, NULL, NULL) == VG_OK && told_count == 0);
    CHECK(care_batch_ended(batch, 10, tell, NULL, NULL) == VG_OK && told_count == 1);
    /* A value from before the end does not bring the patient back, one from after it does. */
    CHECK(care_batch_score(batch, &newer, &change, NULL) == VG_OK);
    CHECK(care_batch_commit(batch, 2, NULL) == VG_OK);
    CHECK(vg_json_get(ANSWER(care_board(care, &answer, NULL)), "patients")->count == 0);
    newer.heard_us = 6000;
    newer.scored_us = 9001;
    CHECK(care_batch_begin(care, "alert-0", &batch, &applied, NULL) == VG_OK);
    CHECK(care_batch_score(batch, &newer, &change, NULL) == VG_OK);
    CHECK(care_batch_commit(batch, 3, NULL) == VG_OK);
    CHECK(vg_json_get(ANSWER(care_board(care, &answer, NULL)), "patients")->count == 1);
    care_close(care);
}

static void test_the_board_is_ordered_by_acuity(void)
{
    struct care_flag flag = make_flag("p3", "medium", 1000, CARE_FLAG_OPENED);
    const struct vg_json *patients;

    fresh();
    apply("p1", 2, 1000, 0, NULL);
    apply("p2", 9, 1000, 1, NULL);
    apply("p3", 5, 1000, 2, &flag);
    patients = vg_json_get(ANSWER(care_board(care, &answer, NULL)), "patients");
    CHECK(text_is(vg_json_at(patients, 0), "patientId", "p3")); /* a flag before a score */
    CHECK(text_is(vg_json_at(patients, 1), "patientId", "p2"));
    CHECK(text_is(vg_json_at(patients, 2), "patientId", "p1"));
    care_close(care);
}

static void test_lists_have_sbar(void)
{
    const struct vg_json *list, *sbar;
    int64_t id = 0;

    fresh();
    apply("p1", 7, 1000, 0, NULL);
    CHECK(care_list_make(care, VG_SLICE("Night round"), VG_SLICE("ann"), &id, NULL) == VG_OK &&
          id > 0);
    CHECK(care_list_put(care, id, VG_SLICE("p1"), true, NULL) == VG_OK);
    CHECK(care_list_put(care, id, VG_SLICE("p1"), true, NULL) == VG_OK);
    list = ANSWER(care_list(care, id, &answer, NULL));
    CHECK(vg_json_get(list, "patients")->count == 1);
    sbar = vg_json_get(vg_json_at(vg_json_get(list, "patients"), 0), "sbar");
    CHECK(text_is(sbar, "background", "76 years, female, identifier MRN-1."));
    CHECK(text_is(sbar, "assessment", "respiration scores 3. respiration 26 /min."));
    CHECK(vg_json_get_text(sbar, "recommendation").len > 20);
    CHECK(care_list_put(care, id, VG_SLICE("p1"), false, NULL) == VG_OK);
    CHECK(vg_json_get(ANSWER(care_list(care, id, &answer, NULL)), "patients")->count == 0);
    CHECK(number(vg_json_get(
              vg_json_at(vg_json_get(ANSWER(care_lists(care, &answer, NULL)), "lists"), 0),
              "count")) == 0);
    vg_buf_clear(&answer);
    CHECK(care_list(care, 999, &answer, NULL) == VG_END);
    care_close(care);
}

static void test_the_report_counts(void)
{
    struct care_flag flag = make_flag("p1", "high", 1000, CARE_FLAG_OPENED);
    const struct vg_json *report;

    fresh();
    vg_buf_clear(&answer);
    CHECK(care_report(care, &answer, NULL) == VG_END);
    apply("p1", 7, 1000, 0, &flag);
    CHECK(care_report_make(care, VG_DAY_US, VG_DAY_US + 300 * VG_SECOND_US, NULL) == VG_OK);
    report = ANSWER(care_report(care, &answer, NULL));
    CHECK(number(vg_json_get(report, "patients")) == 1);
    CHECK(number(vg_json_get(report, "openFlags")) == 1);
    CHECK(number(vg_json_get(report, "unacknowledged")) == 1);
    CHECK(number(vg_json_get(report, "everySeconds")) == 300);
    CHECK(vg_json_get(report, "overdue")->count == 1);
    CHECK(vg_json_is(vg_json_get(report, "medianAcknowledgeSeconds"), VG_JSON_NULL));
    care_close(care);
}

static void test_people_sessions_and_the_audit_record(void)
{
    struct care_user user = {"ann", "nurse", "Ann Nurse"}, got;
    char hash[128];

    fresh();
    CHECK(care_user_put(care, &user, "hash", NULL) == VG_OK);
    CHECK(care_user_get(care, VG_SLICE("ann"), &got, hash, NULL) == VG_OK);
    CHECK(strcmp(got.role, "nurse") == 0 && strcmp(hash, "hash") == 0);
    CHECK(care_user_get(care, VG_SLICE("bob"), &got, hash, NULL) == VG_END);
    CHECK(care_login_put(care, "session", VG_SLICE("secret"), VG_SLICE("ann"), 1000, NULL) ==
          VG_OK);
    CHECK(care_login_get(care, "session", VG_SLICE("secret"), 999, &got, NULL) == VG_OK);
    CHECK(care_login_get(care, "session", VG_SLICE("secret"), 1000, &got, NULL) == VG_END);
    CHECK(care_login_get(care, "token", VG_SLICE("secret"), 999, &got, NULL) == VG_END);
    CHECK(care_login_get(care, "session", VG_SLICE("other"), 999, &got, NULL) == VG_END);
    /* A renewal moves the end, and never brings back what was dropped. */
    CHECK(care_login_renew(care, VG_SLICE("secret"), 2000, NULL) == VG_OK);
    CHECK(care_login_get(care, "session", VG_SLICE("secret"), 1000, &got, NULL) == VG_OK);
    CHECK(care_login_drop(care, VG_SLICE("secret"), NULL) == VG_OK);
    CHECK(care_login_renew(care, VG_SLICE("secret"), 2000, NULL) == VG_OK);
    CHECK(care_login_get(care, "session", VG_SLICE("secret"), 1000, &got, NULL) == VG_END);
    /* A new password ends the sessions of the old one; tokens stay. */
    CHECK(care_login_put(care, "session", VG_SLICE("a"), VG_SLICE("ann"), 0, NULL) == VG_OK);
    CHECK(care_login_put(care, "token", VG_SLICE("b"), VG_SLICE("ann"), 0, NULL) == VG_OK);
    CHECK(care_user_put(care, &user, "other", NULL) == VG_OK);
    CHECK(care_login_get(care, "session", VG_SLICE("a"), 999, &got, NULL) == VG_END);
    CHECK(care_login_get(care, "token", VG_SLICE("b"), 999, &got, NULL) == VG_OK);
    CHECK(care_login_put(care, "session", VG_SLICE("secret"), VG_SLICE("ann"), 0, NULL) == VG_OK);
    CHECK(care_user_disable(care, VG_SLICE("ann"), NULL) == VG_OK);
    CHECK(care_login_get(care, "session", VG_SLICE("secret"), 999, &got, NULL) == VG_END);
    CHECK(care_user_get(care, VG_SLICE("ann"), &got, hash, NULL) == VG_END);
    CHECK(care_audit(care, 1, VG_SLICE("ann"), "patient.view", VG_SLICE("p1"), NULL) == VG_OK);
    care_close(care);
}

static void test_trace_finds_rows_by_message(void)
{
    struct care_flag flag = make_flag("p1", "high", 1000, CARE_FLAG_OPENED);
    struct vg_slice id = {0};

    fresh();
    apply("p1", 7, 1000, 0, &flag);
    CHECK(ANSWER(care_trace(care, VG_SLICE("0-2"), &answer, NULL))->count == 3); /* 13, 14, 17 */
    CHECK(ANSWER(care_trace(care, VG_SLICE("0-22"), &answer, NULL))->count == 0);
    CHECK(care_report_make(care, vg_now_us(), vg_now_us() + 1, NULL) == VG_OK);
    CHECK(ANSWER(care_trace(care, VG_SLICE("0-1"), &answer, NULL))->count == 4); /* and 16 */
    vg_buf_clear(&answer);
    CHECK(care_trace(care, VG_SLICE("0-1%"), &answer, NULL) == VG_REJECT);
    CHECK(care_flag_trace(care, VG_SLICE("flag-1"), &arena, &id, NULL) == VG_OK);
    CHECK(vg_slice_is(id, "0-2"));
    CHECK(care_flag_trace(care, VG_SLICE("flag-9"), &arena, &id, NULL) == VG_REJECT);
    care_close(care);
}

static void test_alert_states_are_kept(void)
{
    struct care_alert_state state = {2, 100, 200, 3, 7.5, "flag-1", 5}, got;
    struct care_batch *batch;
    uint64_t applied;

    fresh();
    CHECK(care_batch_begin(care, "alert-0", &batch, &applied, NULL) == VG_OK);
    CHECK(care_batch_alert_get(batch, VG_SLICE("p1"), VG_SLICE("news2"), &got, NULL) == VG_OK);
    CHECK(got.phase == 0 && got.flag_id[0] == '\0');
    CHECK(care_batch_alert_put(batch, VG_SLICE("p1"), VG_SLICE("news2"), &state, NULL) == VG_OK);
    CHECK(care_batch_commit(batch, 1, NULL) == VG_OK);
    CHECK(care_batch_begin(care, "alert-0", &batch, &applied, NULL) == VG_OK);
    CHECK(care_batch_alert_get(batch, VG_SLICE("p1"), VG_SLICE("news2"), &got, NULL) == VG_OK);
    CHECK(got.phase == 2 && got.since_us == 100 && got.evaluations == 3 && got.level == 7.5 &&
          got.parts == 5);
    CHECK(strcmp(got.flag_id, "flag-1") == 0);
    care_batch_abort(batch);
    care_close(care);
}

int main(void)
{
    vg_arena_init(&arena, 0);
    vg_buf_init(&answer, 0);
    if (!CHECK(vg_crypto_init(NULL) == VG_OK))
        return vg_test_report();
    RUN(test_a_score_becomes_the_patients_row);
    RUN(test_a_late_score_does_not_replace_the_newer_row);
    RUN(test_of_one_window_the_row_scored_last_stands);
    RUN(test_what_was_applied_is_known_after_a_crash);
    RUN(test_an_aborted_batch_leaves_nothing);
    RUN(test_a_flag_makes_an_item_and_cards_once);
    RUN(test_acts_are_possible_by_state);
    RUN(test_worsening_brings_an_acknowledged_item_back);
    RUN(test_a_snooze_ends_with_its_time_or_when_it_gets_worse);
    RUN(test_what_nobody_acknowledges_is_escalated_three_times);
    RUN(test_an_acknowledged_item_is_not_escalated);
    RUN(test_the_end_of_monitoring_and_the_return);
    RUN(test_the_board_is_ordered_by_acuity);
    RUN(test_lists_have_sbar);
    RUN(test_the_report_counts);
    RUN(test_people_sessions_and_the_audit_record);
    RUN(test_trace_finds_rows_by_message);
    RUN(test_alert_states_are_kept);
    vg_buf_fini(&answer);
    vg_arena_fini(&arena);
    return vg_test_report();
}
