/* data.h -- recorded patients as rows: features by the live code, labels, rule scores. */
#ifndef VG_SCORE_DATA_H
#define VG_SCORE_DATA_H

#include "score/feature.h"
#include "score/source.h"

struct data_patient {
    char id[WINDOW_ID_SIZE];
    char hospital; /* 0 = not known */
    double age_years, sex;
    size_t first, count; /* rows */
};

/* Scores by rule, on the same rows. */
enum data_rule { DATA_NEWS2, DATA_MEWS, DATA_QSOFA, DATA_SIRS, DATA_RULES };
extern const char *const data_rule_names[DATA_RULES];

struct data {
    const struct source_format *format;
    size_t width;  /* features in a row */
    float *rows;   /* count * width; NULL when on_block took them */
    float *labels; /* 0, 1 */
    float *rules[DATA_RULES];
    int32_t *hours; /* as the source counts them */
    size_t count, capacity;
    struct data_patient *patients;
    size_t patient_count, patient_capacity;
    bool has_labels;
};

struct data_config {
    struct source_config source;
    const struct feature_set *features;
    bool is_training; /* keep the rows, only those that training takes */
    /* Not training: takes each block of rows; may be NULL. */
    enum vg_status (*on_block)(void *ctx, const float *rows, size_t first, size_t count,
                               struct vg_err *err);
    void *ctx;
    void (*progress)(void *ctx, double done); /* now and then; may be NULL */
    void *progress_ctx;
};

/* *ret_data is filled also on failure; data_fini() in any case. */
VG_CHECK enum vg_status data_read(const struct data_config *config, struct data *ret_data,
                                  struct vg_err *err);
void data_fini(struct data *data);

#endif
