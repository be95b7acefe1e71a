/* subscription_int.h -- Subscriptions and their notifications. Private to src/fhir. */
#ifndef VG_FHIR_SUBSCRIPTION_INT_H
#define VG_FHIR_SUBSCRIPTION_INT_H

#include "fhir/fhir_int.h"

struct fhir_hooks;
struct fhir_config;

/* What has to be told since the last end is told: changes are watched before this returns. */
VG_CHECK enum vg_status fhir_hooks_open(struct fhir_store *store, const struct fhir_config *config,
                                        struct fhir_hooks **ret_hooks, struct vg_err *err);
void fhir_hooks_close(struct fhir_hooks *hooks); /* NULL is fine */

/* A Subscription's channel headers are secrets of the one who made it: their values are not shown.
 * Another type's body, or one without headers, comes back as it is. {NULL, 0}: no room. */
struct vg_slice fhir_mask(struct vg_arena *arena, unsigned type, struct vg_slice body);

struct fhir_access;
/* Before a Subscription is written over REST; any other type passes. */
VG_CHECK enum vg_status fhir_subscription_check(const struct fhir_access *access,
                                                struct vg_arena *arena, const struct fhir_op *op,
                                                struct fhir_issue *issue, struct vg_err *err);

/* ---- notifications (notification.c) ---- */

enum fhir_content { FHIR_CONTENT_EMPTY, FHIR_CONTENT_ID_ONLY, FHIR_CONTENT_FULL };

/* A Subscription as its delivery needs it. Slices live in the arena that it was parsed with. */
struct fhir_hook_terms {
    struct vg_slice id, status, type_name, query; /* criteria "type_name?query" */
    struct vg_slice endpoint, payload, end;
    const struct vg_json *headers; /* an array of "Name: value", or NULL */
    bool is_backport;
    enum fhir_content content;
    int64_t heartbeat_us; /* 0 = none */
    unsigned type;
};

/* VG_REJECT: it cannot be served, err says why (for Subscription.error: no secrets). */
VG_CHECK enum vg_status fhir_hook_terms_of(const struct vg_json *root,
                                           struct fhir_hook_terms *ret_terms, struct vg_err *err);

/* VG_REJECT: it does not lead where the setting allows, err says why. */
VG_CHECK enum vg_status fhir_hook_check_endpoint(const char *hosts, bool allows_local,
                                                 struct vg_slice endpoint, struct vg_err *err);

/* R4 has criteria, the backport wants the name of a topic. */
#define FHIR_HOOK_TOPIC VG_SLICE("urn:vigil:fhir:criteria")

struct fhir_event {
    uint64_t number;
    int64_t at_us;
    const struct fhir_resource *resource; /* NULL: none (handshake, heartbeat) */
    struct vg_slice focus;                /* instead of the resource: "Type/id" */
};

/* The backport's Bundle: kind is handshake, heartbeat, event-notification, query-status or
 * query-event. */
void fhir_notification_write(struct vg_buf *out, struct vg_slice base_url, struct vg_slice id,
                             struct vg_slice topic, const char *status, const char *kind,
                             const char *error, uint64_t event_count, enum fhir_content content,
                             const struct fhir_event *events, size_t count);

#endif
