/* sender.h -- what vigil simulate and vigil replay have in common on the command line. */
#ifndef VG_APP_SENDER_H
#define VG_APP_SENDER_H

#include "app/app.h"
#include "app/mqtt_clients.h"

#define SENDER_USAGE                                                                               \
    "  --host HOST  --port PORT   the hub (localhost, hub.mqtts_port)\n"                           \
    "  --ca FILE                  PEM of the authority that signed its certificate\n"              \
    "  --plain                    without TLS, instead of --ca\n"

/* Takes --host, --port, --ca and --plain out of the options. VG_REJECT sender.option: says what is
 * missing or wrong. */
VG_CHECK enum vg_status sender_config(struct app_options *options,
                                      struct mqtt_clients_config *ret_config, struct vg_err *err);

/* The number after --name, within min..max; `usual` where it was not given. */
VG_CHECK enum vg_status sender_number(struct app_options *options, const char *name, double min,
                                      double max, double usual, double *ret, struct vg_err *err);

/* Nothing may be left. */
VG_CHECK enum vg_status sender_no_more(const struct app_options *options, struct vg_err *err);

/* Waits until everything has been answered; false: a signal came, or nothing for timeout_us. Says
 * on standard error every 5 s what it waits for. */
bool sender_drain(struct mqtt_clients *clients, const char *name, int64_t timeout_us);

#endif
