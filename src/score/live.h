/* live.h -- the models that score at run time: folders of files, read once, changed in place.
 *
 * A model is a folder: card.json, model.json, and live.json, which says how it is used here. The
 * last is never written by training: a model that was trained again is used as before.
 */
#ifndef VG_SCORE_LIVE_H
#define VG_SCORE_LIVE_H

#include "base/metrics.h"
#include "score/model.h"
#include "score/served.h"

#define LIVE_MODELS_MAX 16
#define LIVE_UNITS_MAX 64

enum live_mode {
    LIVE_ABSENT, /* does not run */
    LIVE_SILENT, /* recorded, shown to nobody */
    LIVE_SHOW,
    LIVE_FLAG
};

/* What the three files looked like: enough to see that one was replaced. */
struct live_print {
    struct {
        int64_t bytes, changed_ns;
        uint64_t node;
    } files[3];
};

struct live_model {
    char dir[1024];
    struct vg_arena arena; /* live.json */
    struct model *model;   /* NULL: it cannot be used, trouble says why */
    struct served *remote; /* NULL: scored here */
    enum live_mode mode, elsewhere;
    struct vg_slice units[LIVE_UNITS_MAX]; /* where `mode` holds; none: everywhere */
    size_t unit_count;
    double medium, high; /* the card's, or live.json's */
    char digest[17];     /* of card.json and model.json */
    struct live_print print;
    struct vg_metric *said[4]; /* scores by band: low, medium, high; without an answer */
    char trouble[256];         /* why the newest files are not in use; "" = they are */

    /* Room for the batch at hand; the owner locks. */
    float *rows;           /* LIVE_ROWS_MAX rows of the model's features */
    double *probabilities; /* NaN: none */
    float *contributions;  /* a row and one more */
};
#define LIVE_ROWS_MAX 256 /* predicted in one call */

struct live {
    struct live_model *items[LIVE_MODELS_MAX]; /* by folder's name */
    size_t count;
};

/* The models' folders in `path`, or `path` itself. VG_FATAL score.model. */
struct live_folders {
    char paths[LIVE_MODELS_MAX][1024]; /* by name */
    size_t count;
    bool is_one; /* the path itself is a model's folder */
};
VG_CHECK enum vg_status live_folders(const char *path, struct live_folders *ret,
                                     struct vg_err *err);

/* Reads `path`: a model's folder, or a folder of them. What did not change since `former` (may be
 * NULL) is shared with it; a folder that cannot be used keeps what was read before, with `trouble`
 * set in *ret_live. history_max_us: a model that looks back further is refused; 0 = none is.
 * VG_FATAL score.model: `path` itself cannot be read, or is one model's folder and bad. */
VG_CHECK enum vg_status live_read(const char *path, const struct live *former,
                                  int64_t history_max_us, struct live **ret_live,
                                  struct vg_err *err);
/* Frees it but for what `kept` (may be NULL) shares. NULL is fine. */
void live_free(struct live *live, const struct live *kept);

/* Whether a folder came, went or changed. Costs a few stat() calls. `seen` gets a number that
 * changes with what is on the disk: a change is complete when two looks in a row see the same. */
bool live_has_changed(const char *path, const struct live *live, uint64_t *seen);

/* The first trouble among them, with the folder's name; false: none. */
bool live_trouble(const struct live *live, char out[static 256]);

/* How the model is used in a ward. */
enum live_mode live_mode_in(const struct live_model *model, struct vg_slice unit);
const char *live_mode_name(enum live_mode mode);
const char *live_band(const struct live_model *model, double probability);
void live_count(struct live_model *model, double probability); /* NaN: no answer */

#endif
