/* card.c -- Adaptive Cards for a Teams Workflows webhook, attachments for Slack and Mattermost,
 * plain JSON for everybody else.
 *
 * Adaptive Card 1.2 holds all that is needed (TextBlock, FactSet, Action.OpenUrl) and is what every
 * Teams client shows. Some flows loop over `attachments`, others post the body itself: hence
 * envelope and bare. A card is far below the 20 KB at which receivers begin to refuse. It carries
 * the bed, the initials, the score and a link, never a name.
 */
#include "alert/card.h"

#include "base/json.h"

static const char *heading(const struct care_card *card)
{
    if (vg_slice_is(card->change, "closed"))
        return "Flag closed";
    if (vg_slice_is(card->change, "worsened"))
        return "Patient is worse";
    if (vg_slice_is(card->change, "unacknowledged"))
        return "Nobody has acknowledged this";
    return vg_slice_is(card->severity, "high") ? "Emergency response needed"
                                               : "Urgent review needed";
}

static void put_link(struct vg_json_writer *w, const struct care_card *card, const char *board_url)
{
    struct vg_buf url;

    vg_buf_init(&url, 4096);
    vg_buf_printf(&url, "%s/patient/%.*s", board_url, VG_FMT(card->patient_id));
    vg_json_put_string(w, vg_buf_slice(&url));
    vg_buf_fini(&url);
}

static void put_fact(struct vg_json_writer *w, const char *title, struct vg_slice value)
{
    vg_json_open_object(w);
    vg_json_member_string(w, "title", vg_slice_of(title));
    vg_json_member_string(w, "value", value.len ? value : VG_SLICE("not known"));
    vg_json_close_object(w);
}

static void put_facts(struct vg_json_writer *w, const struct care_card *card)
{
    char time[VG_TIME_TEXT_SIZE];

    (void)vg_time_format(card->time_us, 0, time);
    vg_json_open_array(w);
    put_fact(w, "Place", card->location);
    put_fact(w, "Patient", card->initials);
    put_fact(w, "Severity", card->severity);
    put_fact(w, "Time (UTC)", vg_slice_of(time));
    vg_json_close_array(w);
}

static void put_text_block(struct vg_json_writer *w, struct vg_slice text, bool is_heading)
{
    vg_json_open_object(w);
    vg_json_member_string(w, "type", VG_SLICE("TextBlock"));
    vg_json_member_string(w, "text", text);
    vg_json_member_bool(w, "wrap", true);
    if (is_heading) {
        vg_json_member_string(w, "weight", VG_SLICE("Bolder"));
        vg_json_member_string(w, "size", VG_SLICE("Medium"));
    }
    vg_json_close_object(w);
}

static void put_adaptive(struct vg_json_writer *w, const struct care_card *card,
                         const char *board_url)
{
    vg_json_open_object(w);
    vg_json_member_string(w, "type", VG_SLICE("AdaptiveCard"));
    vg_json_member_string(w, "$schema",
                          VG_SLICE("http://adaptivecards.io/schemas/adaptive-card.json"));
    vg_json_member_string(w, "version", VG_SLICE("1.2"));
    vg_json_member_string(w, "fallbackText", card->title);
    vg_json_name(w, "body");
    vg_json_open_array(w);
    put_text_block(w, vg_slice_of(heading(card)), true);
    put_text_block(w, card->title, false);
    vg_json_open_object(w);
    vg_json_member_string(w, "type", VG_SLICE("FactSet"));
    vg_json_name(w, "facts");
    put_facts(w, card);
    vg_json_close_object(w);
    vg_json_close_array(w);
    vg_json_name(w, "actions");
    vg_json_open_array(w);
    vg_json_open_object(w);
    vg_json_member_string(w, "type", VG_SLICE("Action.OpenUrl"));
    vg_json_member_string(w, "title", VG_SLICE("Open in Vigil"));
    vg_json_name(w, "url");
    put_link(w, card, board_url);
    vg_json_close_object(w);
    vg_json_close_array(w);
    vg_json_close_object(w);
}

static void put_envelope(struct vg_json_writer *w, const struct care_card *card,
                         const char *board_url)
{
    vg_json_open_object(w);
    vg_json_member_string(w, "type", VG_SLICE("message"));
    vg_json_name(w, "attachments");
    vg_json_open_array(w);
    vg_json_open_object(w);
    vg_json_member_string(w, "contentType", VG_SLICE("application/vnd.microsoft.card.adaptive"));
    vg_json_member_raw(w, "contentUrl", VG_SLICE("null"));
    vg_json_name(w, "content");
    put_adaptive(w, card, board_url);
    vg_json_close_object(w);
    vg_json_close_array(w);
    vg_json_close_object(w);
}

static void put_slack(struct vg_json_writer *w, const struct care_card *card, const char *board_url)
{
    vg_json_open_object(w);
    vg_json_member_string(w, "text", vg_slice_of(heading(card)));
    vg_json_name(w, "attachments");
    vg_json_open_array(w);
    vg_json_open_object(w);
    vg_json_member_string(w, "fallback", card->title);
    vg_json_member_string(w, "color",
                          vg_slice_is(card->severity, "high") ? VG_SLICE("#b3261e")
                                                              : VG_SLICE("#f59f00"));
    vg_json_member_string(w, "title", card->title);
    vg_json_name(w, "title_link");
    put_link(w, card, board_url);
    vg_json_name(w, "fields");
    put_facts(w, card);
    vg_json_close_object(w);
    vg_json_close_array(w);
    vg_json_close_object(w);
}

static void put_plain(struct vg_json_writer *w, const struct care_card *card, const char *board_url)
{
    vg_json_open_object(w);
    vg_json_member_string(w, "key", vg_slice_of(card->key));
    vg_json_member_string(w, "change", card->change);
    vg_json_member_string(w, "severity", card->severity);
    vg_json_member_string(w, "title", card->title);
    vg_json_member_string(w, "flagId", card->flag_id);
    vg_json_member_string(w, "patientId", card->patient_id);
    vg_json_member_string(w, "initials", card->initials);
    vg_json_member_string(w, "location", card->location);
    vg_json_member_time(w, "time", card->time_us);
    vg_json_member_string(w, "trace", card->trace);
    vg_json_name(w, "link");
    put_link(w, card, board_url);
    vg_json_close_object(w);
}

bool card_format(const struct care_card *card, const struct notify_target *target,
                 const char *board_url, struct vg_buf *out)
{
    static const struct {
        const char *format;
        void (*put)(struct vg_json_writer *w, const struct care_card *card, const char *board_url);
    } formats[] = {
        {"adaptive-envelope", put_envelope},
        {"adaptive-bare", put_adaptive},
        {"slack", put_slack},
        {"json", put_plain},
    };
    struct vg_json_writer w;

    vg_json_writer_init(&w, out);
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (strcmp(formats[i].format, target->format) == 0) {
            formats[i].put(&w, card, board_url);
            return true;
        }
    }
    return false;
}
