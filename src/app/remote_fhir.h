/* remote_fhir.h -- a FHIR server somewhere else (fhir.url), as the settings describe it. */
#ifndef VG_APP_REMOTE_FHIR_H
#define VG_APP_REMOTE_FHIR_H

#include "app/settings.h"
#include "fhir/fhir.h"
#include "stream/stream.h"

/* What the server refuses after it was away becomes a dead letter in `stream`; that it is away, or
 * there again, is logged once. *ret borrows from the settings and points to the stream. */
void remote_fhir_config(const struct settings *settings, struct stream *stream,
                        struct fhir_remote_config *ret_config);

#endif
