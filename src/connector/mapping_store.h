/* mapping_store.h -- which pair of mappings is in force, and all that ever were.
 *
 * A pair's version is the hash of its two texts. What is kept in a folder is never changed: the
 * texts of each version, and one file with who put which in force when, whose last entry is the
 * active one. Any thread may call anything here.
 */
#ifndef VG_CONNECTOR_MAPPING_STORE_H
#define VG_CONNECTOR_MAPPING_STORE_H

#include "base/arena.h"
#include "base/json.h"

#define MAPPING_BYTES_MAX (16u << 20) /* of one file */
#define MAPPING_VERSION_SIZE 17       /* 16 hex digits and NUL */

struct mapping_store;

struct mapping_store_config {
    const char *dir;         /* where versions are kept, made when missing; NULL = nowhere */
    const char *device_path; /* the operator's files: CollectionContent, */
    const char *fhir_path;   /* CollectionFhir */
    const char *compat;      /* NULL or "default", or "medtech" (docs/mapping.md) */
};

/* The operator's files are put in force when they are not as they were when last looked at (by
 * open or by a reload), else the version that was active last. Files that are wrong or missing
 * leave the active one in force and are told by mapping_store_trouble(). VG_REJECT
 * connector.mapping: nothing can be put in force; the text names file, line and column. VG_REJECT
 * connector.config. VG_RETRY: the folder cannot be written. */
VG_CHECK enum vg_status mapping_store_open(const struct mapping_store_config *config,
                                           struct mapping_store **ret_store, struct vg_err *err);
void mapping_store_close(
    struct mapping_store *store); /* every pair has been dropped; NULL is fine */

/* A loaded pair. Read-only, and there until it is dropped by whoever took it. */
struct mapping_pair {
    const struct device_mapping *device;
    const struct fhir_mapping *fhir;
    char version[MAPPING_VERSION_SIZE];
    struct vg_arena arena; /* private, as all that follows */
    struct mapping_store *store;
    size_t holders;
};

/* The active one; never NULL. */
const struct mapping_pair *mapping_store_take(struct mapping_store *store);
void mapping_pair_drop(const struct mapping_pair *pair); /* NULL is fine */

/* Beside the versions stands, for each partition, with which one its newest batch was begun. After
 * a crash that batch comes again, and the FHIR service may hold a part of what it became: another
 * version would leave that beside its own. Durable when begin() says VG_OK; VG_RETRY: not written.
 * take_begun(): VG_END: none was begun (or no folder); VG_REJECT connector.mapping_damage. */
VG_CHECK enum vg_status mapping_store_begin(struct mapping_store *store, uint32_t partition,
                                            const struct mapping_pair *pair, struct vg_err *err);
VG_CHECK enum vg_status mapping_store_take_begun(struct mapping_store *store, uint32_t partition,
                                                 const struct mapping_pair **ret_pair,
                                                 struct vg_err *err);

/* Who puts something in force, and how: "start", "reload", "workbench", "rollback". */
struct mapping_act {
    struct vg_slice who;
    const char *how;
    struct vg_slice base; /* the version that must be active, or empty: whatever is */
    bool is_of_files;     /* the texts are those of the operator's files */
};

/* Loads the pair, keeps it, makes it the active one: what is told VG_OK survives a power cut, and a
 * crash leaves the old or the new one active. VG_REJECT connector.mapping: a text is wrong;
 * connector.mapping_base: another version than act->base is active. VG_RETRY: not written, the old
 * one stays. ret_old may be NULL; it is equal to ret_new when that was active already. */
VG_CHECK enum vg_status mapping_store_activate(struct mapping_store *store, struct vg_slice device,
                                               struct vg_slice fhir, const struct mapping_act *act,
                                               char ret_new[static MAPPING_VERSION_SIZE],
                                               char *ret_old, struct vg_err *err);

/* The texts of the operator's files, and of a version ("" = the active one), in `arena`. VG_REJECT
 * connector.mapping: no such file; VG_END: no such version; VG_REJECT connector.mapping_damage: its
 * texts are not what they were. */
VG_CHECK enum vg_status mapping_store_files(struct mapping_store *store, struct vg_arena *arena,
                                            struct vg_slice *ret_device, struct vg_slice *ret_fhir,
                                            struct vg_err *err);
VG_CHECK enum vg_status mapping_store_texts(struct mapping_store *store, struct vg_slice version,
                                            struct vg_arena *arena, struct vg_slice *ret_device,
                                            struct vg_slice *ret_fhir, struct vg_err *err);

bool mapping_store_is_medtech(const struct mapping_store *store);
const char *mapping_store_path(const struct mapping_store *store, bool is_fhir); /* of a file */
void mapping_version_of(struct vg_slice device, struct vg_slice fhir, bool is_medtech,
                        char out[static MAPPING_VERSION_SIZE]);

/* The object of GET /api/mappings (docs/api.md). */
void mapping_store_write(struct mapping_store *store, struct vg_buf *out);
/* Its member `history` alone, of a folder; for tools beside a running process. VG_END: there is
 * none. */
VG_CHECK enum vg_status mapping_store_history(const char *dir, struct vg_buf *out,
                                              struct vg_err *err);

/* "" = well, else why the operator's files are not what is in force. */
void mapping_store_trouble(struct mapping_store *store, char out[static 256]);

#endif
