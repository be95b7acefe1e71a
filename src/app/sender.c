/* sender.c -- the options that vigil simulate and vigil replay share; waiting for answers. */
#include "app/sender.h"

#include "base/clock.h"

#include <stdio.h>

#define SAY_EVERY_US (5 * VG_SECOND_US)

enum vg_status sender_number(struct app_options *options, const char *name, double min, double max,
                             double usual, double *ret, struct vg_err *err)
{
    const char *text = app_take_option(options, name);

    *ret = usual;
    if (text && (!vg_slice_to_double(vg_slice_of(text), ret) || *ret < min || *ret > max))
        return vg_fail(err, VG_REJECT, "sender.option", 0,
                       "%s takes a number from %g to %g, not '%s'", name, min, max, text);
    return VG_OK;
}

enum vg_status sender_config(struct app_options *options, struct mqtt_clients_config *ret_config,
                             struct vg_err *err)
{
    const char *host = app_take_option(options, "--host");
    bool is_plain = app_take_switch(options, "--plain");
    double port = 0;
    enum vg_status st = sender_number(options, "--port", 1, 65535,
                                      (double)options->settings.hub_mqtts_port, &port, err);

    if (st != VG_OK)
        return st;
    *ret_config = (struct mqtt_clients_config){
        .host = host ? host : "localhost",
        .port = (uint16_t)port,
        .ca_path = app_take_option(options, "--ca"),
    };
    if (is_plain == (ret_config->ca_path != NULL))
        return vg_fail(err, VG_REJECT, "sender.option", 0, "give either --ca FILE or --plain");
    return VG_OK;
}

enum vg_status sender_no_more(const struct app_options *options, struct vg_err *err)
{
    if (options->rest_count)
        return vg_fail(err, VG_REJECT, "sender.option", 0, "unknown option '%s'; see --help",
                       options->rest[0]);
    return VG_OK;
}

bool sender_drain(struct mqtt_clients *clients, const char *name, int64_t timeout_us)
{
    int64_t progress_us = vg_mono_us(), said_us = progress_us;
    struct mqtt_counts before = mqtt_clients_counts(clients);

    for (;;) {
        struct mqtt_counts now = mqtt_clients_counts(clients);
        int64_t now_us = vg_mono_us();

        if (now.acked + now.refused == now.queued)
            return true;
        if (now.acked + now.refused != before.acked + before.refused) {
            before = now;
            progress_us = now_us;
        }
        if (now_us - progress_us > timeout_us || app_wait_for_signal(0))
            return false;
        if (now_us - said_us > SAY_EVERY_US) {
            said_us = now_us;
            (void)fprintf(stderr, "vigil %s: %llu of %llu acknowledged; waiting%s%s\n", name,
                          (unsigned long long)now.acked, (unsigned long long)now.queued,
                          *mqtt_clients_trouble(clients) ? ": " : "",
                          mqtt_clients_trouble(clients));
        }
        mqtt_clients_turn(clients, 100);
    }
}
