/* served.h -- a model that another process scores: MLflow or KServe V2 over HTTP.
 *
 * The features are ours, in the card's order; what comes back is a probability for each row.
 */
#ifndef VG_SCORE_SERVED_H
#define VG_SCORE_SERVED_H

#include "base/json.h"
#include "score/feature.h"

enum served_kind { SERVED_MLFLOW, SERVED_KSERVE };

struct served_config {
    enum served_kind kind;
    const char *url;        /* http:// or https://, without the path of the protocol */
    const char *name;       /* KServe: the model's */
    const char *output;     /* KServe: the output's name; NULL = the first */
    const char *ca_path;    /* NULL = the system's */
    int64_t deadline_us;    /* for a batch */
    unsigned failures_max;  /* in a row, then nobody asks */
    int64_t rest_us;        /* for so long; then one batch tries */
    const char *token_path; /* a file with a bearer token; NULL = none */
};

struct served;

VG_CHECK enum vg_status served_open(const struct served_config *config, struct served **ret_served,
                                    struct vg_err *err);
void served_close(struct served *served); /* NULL is fine */

/* One request for all rows. VG_RETRY score.remote: no answer in time, or a bad one. VG_END: not
 * asked, it rests after failures. ret_probabilities is not to be used then. One thread at a time.
 */
VG_CHECK enum vg_status served_predict(struct served *served, const struct feature_set *set,
                                       const float *rows, size_t count, double *ret_probabilities,
                                       struct vg_err *err);

#endif
