/* registry.h -- which devices there are, and what they must say to get in.
 *
 * A SQLite database, DATA/registry.db, that `vigil device` changes while the hub runs. The hub
 * never asks SQLite in its loop: it holds a directory, an unchangeable copy in memory, and takes a
 * new one when registry_version() has moved.
 */
#ifndef VG_HUB_REGISTRY_H
#define VG_HUB_REGISTRY_H

#include "base/crypto.h"

#define REGISTRY_ID_MAX 128

struct registry;

struct registry_device {
    char id[REGISTRY_ID_MAX + 1];
    char hash[VG_PASSWORD_HASH_SIZE]; /* Argon2id, PHC form */
    bool is_enabled;
    bool is_gateway;
    char through[REGISTRY_ID_MAX + 1]; /* the gateway that may bring its messages; "" = none */
    const char *speaks_for;      /* whom else its messages may name; NULL = nothing was said */
    int64_t created_us, seen_us; /* seen_us 0 = never; about a minute coarse */
};

/* 1 to 128 of A-Z a-z 0-9 - . _ : @ = $ ! * ' ( ) , so that no id can be a topic filter, a path or
 * a query. */
bool registry_id_is_valid(struct vg_slice id);

/* Opens (and makes) DIR/registry.db. One thread at a time. As vg_db_open(). */
VG_CHECK enum vg_status registry_open(const char *dir, struct registry **ret_registry,
                                      struct vg_err *err);
void registry_close(struct registry *registry); /* NULL is fine */

/* Adds a device (enabled; created now). Takes 20 to 100 ms for the hash. VG_REJECT registry.id,
 * registry.exists, registry.gateway (`through` is not a gateway). */
VG_CHECK enum vg_status registry_add(struct registry *registry, const char *id, bool is_gateway,
                                     const char *through /* NULL or "" = none */,
                                     struct vg_slice password, struct vg_err *err);
/* VG_END: no such device. */
VG_CHECK enum vg_status registry_set_enabled(struct registry *registry, const char *id,
                                             bool is_enabled, struct vg_err *err);
/* `names`: patterns with commas between them, in which * stands for any text ("ICU^*, PUMP-7"); ""
 * = nobody else; NULL = nothing is said. VG_REJECT registry.names. */
VG_CHECK enum vg_status registry_set_speaks_for(struct registry *registry, const char *id,
                                                const char *names, struct vg_err *err);
VG_CHECK enum vg_status registry_set_password(struct registry *registry, const char *id,
                                              struct vg_slice password, struct vg_err *err);
VG_CHECK enum vg_status registry_set_seen(struct registry *registry, const char *id,
                                          int64_t seen_us, struct vg_err *err);
/* Begin and end of one transaction around many calls. */
VG_CHECK enum vg_status registry_begin(struct registry *registry, struct vg_err *err);
VG_CHECK enum vg_status registry_commit(struct registry *registry, struct vg_err *err);

/* Moves when another connection has changed the registry. */
VG_CHECK enum vg_status registry_version(struct registry *registry, int64_t *ret_version,
                                         struct vg_err *err);

/* All devices as they stand, by id. Counted references; reading needs no lock; any thread. */
struct directory;
VG_CHECK enum vg_status registry_directory(struct registry *registry,
                                           struct directory **ret_directory, struct vg_err *err);
struct directory *directory_ref(struct directory *directory);
void directory_unref(struct directory *directory); /* NULL is fine */
const struct registry_device *directory_get(const struct directory *directory, struct vg_slice id);
/* May a message of `sender` say that it comes from `device`? From itself, always; from another by
 * its speaks_for. Where nothing was said, or who sends is not known: only with is_free. */
bool directory_may_speak(const struct directory *directory, struct vg_slice sender,
                         struct vg_slice device, bool is_free);
size_t directory_count(const struct directory *directory);
const struct registry_device *directory_at(const struct directory *directory, size_t index);

#endif
