/* mqtt_ping.c -- PINGREQ: still here. */
#include "hub/hub_int.h"

enum handled mqtt_ping_handle(struct conn *conn, struct vg_slice body)
{
    if (body.len) {
        conn_refuse(conn, REFUSED_MALFORMED, "PINGREQ with a body");
        return ENDED;
    }
    conn_send(conn, (struct vg_slice){"\xD0\x00", 2});
    return HANDLED;
}
