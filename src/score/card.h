/* card.h -- what a training run found out, and the card made of it. */
#ifndef VG_SCORE_CARD_H
#define VG_SCORE_CARD_H

#include "base/buf.h"
#include "score/judge.h"
#include "score/recipe.h"

enum part { PART_TRAIN, PART_CHOOSE, PART_JUDGE, PART_COUNT };

#define SUBGROUPS_MAX 16

struct card_subgroup {
    const char *name;
    struct figures model, news2;
};

/* One of the parts of a cross-validation: judged by a model of the others. */
struct card_fold {
    uint32_t rounds; /* after which its AUROC was largest */
    struct figures figures;
};
#define CARD_FOLDS_MAX 20

/* The judged model without some of its features. */
enum { ABLATION_TIME_SINCE, ABLATION_PATTERN, CARD_ABLATIONS };
struct card_ablation {
    bool is_done;
    size_t left_out;
    struct figures figures;
};

struct card {
    const struct recipe *recipe;
    const struct source_format *format;
    const struct feature_set *features;
    const struct fit_parameter *parameters; /* as used */
    size_t parameter_count;
    uint64_t seed;
    uint32_t threads, trees, all_trees; /* of the judged model; of the one that ships */
    size_t patients[PART_COUNT], positive_patients[PART_COUNT], rows[PART_COUNT],
        positive_rows[PART_COUNT];

    double slope, intercept;                                 /* calibration */
    double operating, medium, high;                          /* thresholds, probabilities */
    struct figures at_operating, at_medium, at_high, choose; /* at_*: on the test patients */
    struct figures rules[DATA_RULES], news2_at_5, news2_at_7;
    struct curves curves;
    struct card_subgroup subgroups[SUBGROUPS_MAX];
    size_t subgroup_count;
    uint32_t folds, rounds; /* of the cross-validation; 0 = none; the mean of the folds' */
    struct card_fold fold[CARD_FOLDS_MAX];
    struct card_ablation ablations[CARD_ABLATIONS];
    bool has_transfer;
    struct figures transfer[2]; /* A to B, B to A */
    double rising_most;         /* of the lint */
    const char *rising_feature;
};

/* Both append; VG_RETRY train.memory. */
VG_CHECK enum vg_status card_json(const struct card *card, struct vg_buf *out, struct vg_err *err);
VG_CHECK enum vg_status card_html(const struct card *card, struct vg_buf *out, struct vg_err *err);

/* The 31 source attributes of predictive decision support, one after the other. */
struct card_attribute {
    const char *group, *name;
    char text[1200];
};
#define CARD_ATTRIBUTES 31
void card_attributes(const struct card *card, struct card_attribute *ret);

#define BURDEN_MEDIUM 10.0 /* alerts for each 100 patient-days that the bands are made for; */
#define BURDEN_HIGH 3.0    /* NEWS2 on wards: 1.9 to 5.5 */

#endif
