/* hub_int.h -- what the hub's files share. Private to src/hub.
 *
 * One struct hub_loop per thread: sockets, batches, cache. A loop touches only its own; what loops
 * share is the session table, the trouble text (both under hub->lock) and the directory, which is
 * unchangeable and handed over by reference.
 *
 *     conn.c     sockets: accept, TLS, bytes in and out, deadlines
 *     mqtt_*.c   one packet each: decode and what to do about it
 *     session.c  who is connected under which id; what a session remembers
 *     auth.c     the thread that knows SQLite and Argon2id; each loop's cache of proven passwords
 *     https.c    POST /devices/{id}/messages/events
 *     mllp.c     HL7 v2 frames: who sends them, what is taken, how it is acknowledged
 *     message.c  topic and property bag to key and headers
 *     turn.c     collect, make durable, answer
 */
#ifndef VG_HUB_HUB_INT_H
#define VG_HUB_HUB_INT_H

#include "hub/hub.h"

#include "base/http_server.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/map.h"
#include "base/metrics.h"
#include "hub/mqtt_packet.h"
#include "hub/registry.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#define HUB_SCRATCH_BYTES (256u << 10)    /* one read of a socket, shared by a loop's connections */
#define HUB_STALLED_READ_BYTES 4096u      /* a read while publishers are paused */
#define HUB_CONNECT_BYTES_MAX (64u << 10) /* of the first packet */
#define HUB_OVERHEAD_BYTES_MAX (66u << 10) /* of a packet beside its payload */
#define HUB_PASSWORD_MAX 256
#define HUB_BATCHES 3 /* two being made durable, one being filled */
#define HUB_BATCH_MESSAGES_MAX 16384
#define HUB_BATCH_BYTES_MAX (4u << 20)
#define HUB_TOPIC_MAX (REGISTRY_ID_MAX + 32)

enum hub_listener { LISTEN_MQTTS, LISTEN_MQTT, LISTEN_MLLPS, LISTEN_MLLP, HUB_LISTENERS };

/* ---- why something was refused ---- */

struct refusal {
    const char *code;   /* log code and metric label */
    uint8_t reason;     /* MQTT 5 */
    uint8_t connack311; /* return code of a 3.1.1 CONNACK; 0 = just close */
};

enum refused {
    REFUSED_MALFORMED,
    REFUSED_PROTOCOL,
    REFUSED_VERSION,
    REFUSED_CLIENT_ID,
    REFUSED_PASSWORD,
    REFUSED_DISABLED,
    REFUSED_AUTH_METHOD,
    REFUSED_BUSY,
    REFUSED_UNAVAILABLE,
    REFUSED_CONNECT_TIMEOUT,
    REFUSED_KEEP_ALIVE,
    REFUSED_TAKEN_OVER,
    REFUSED_TOPIC,
    REFUSED_TOPIC_FORM,
    REFUSED_SIZE,
    REFUSED_QOS,
    REFUSED_RETAIN,
    REFUSED_ALIAS,
    REFUSED_INFLIGHT,
    REFUSED_QUOTA,
    REFUSED_SUBSCRIPTION_ID,
    REFUSED_SHUTTING_DOWN,
    REFUSED_SENDER,
    REFUSED_HL7,
    REFUSED_HL7_FRAME,
    REFUSED_SPEAKS_FOR,
    REFUSED_IDLE,
    REFUSED_COUNT,
};

/* ---- a connection ---- */

enum conn_state {
    CONN_NEW,  /* waits for CONNECT */
    CONN_AUTH, /* the password is being checked; nothing is read */
    CONN_ONLINE,
    CONN_DRAINING, /* refused: what we said goes out, what comes in is thrown away */
    CONN_DEAD,     /* the socket is closed; somebody still holds a reference */
};

struct will {
    struct vg_buf headers;
    char device[REGISTRY_ID_MAX + 1];
    uint32_t delay_s;
    struct vg_buf payload;
};

struct conn {
    LIST_ENTRY(conn) all;
    LIST_ENTRY(conn) stalled;
    LIST_ENTRY(conn) dirty;
    struct hub_loop *loop;
    struct event readable, writable;
    SSL *ssl; /* NULL = plain */
    int fd;
    uint32_t refs; /* 1 for being open, 1 for each unanswered message and password check */
    enum conn_state state;
    bool is_stalled, is_dirty, is_reading, is_writing;
    bool is_mllp, has_garbage; /* garbage between frames was told */
    bool has_published;        /* since last_seen was written */
    uint8_t version;           /* 0 until CONNECT was read */
    bool is_clean, is_session_kept;
    uint16_t keep_alive_s;
    uint32_t inflight;
    uint32_t session_expiry_s;
    uint32_t packet_bytes_max; /* what the client takes; 0 = anything */
    uint32_t partition;
    uint64_t serial;     /* of the hub; grows */
    int64_t deadline_us; /* monotonic: CONNECT or the end of draining is due */
    int64_t last_us;     /* monotonic: last bytes from the client */
    int64_t frame_us;    /* monotonic: when a frame began that has not ended; 0 = none */
    struct vg_buf in;  /* begin of a packet that has not come whole; all that a stalled one sent */
    struct vg_buf out; /* what the socket has not taken */
    struct will *will;
    bool is_gateway;
    uint8_t prefix_len, id_len;
    char peer[48];
    char id[REGISTRY_ID_MAX + 1];
    char prefix[HUB_TOPIC_MAX]; /* devices/{id}/messages/events/ */
};

LIST_HEAD(conn_list, conn);

/* ---- a batch: what one commit per partition makes durable ---- */

struct mllp_ack; /* ready bytes */

struct answer {
    struct conn *conn;               /* holds a reference; or */
    struct vg_http_request *request; /* gets 204 */
    struct mllp_ack *ack;            /* of an MLLP connection; NULL: it wants none */
    uint16_t packet_id;              /* 0: QoS 0, no answer */
    uint8_t reason; /* MQTT 5: refused, nothing was stored; the answer keeps its place in the row */
    bool is_brought; /* by a gateway: step 2 */
};

struct flight {
    struct batch *batch;
    struct stream_out out;
    uint32_t partition;
    bool is_flying;
    enum vg_status status;
    struct vg_err err;
};

enum batch_state { BATCH_FREE, BATCH_FLYING, BATCH_LANDED, BATCH_WAITING };

struct batch {
    struct hub_loop *loop;
    enum batch_state state;
    struct flight *flights; /* one per partition */
    atomic_uint flying;     /* commits that have not come back */
    struct answer *answers;
    uint32_t count;
    size_t bytes;
    int64_t first_us; /* wall time of its first message */
};

/* ---- a loop ---- */

enum pause_reason {
    PAUSE_FULL = 1,    /* the stream takes nothing now */
    PAUSE_LAG = 2,     /* the connector is too far behind */
    PAUSE_CALLER = 4,  /* hub_pause() */
    PAUSE_CLOSING = 8, /* hub_close() */
    PAUSE_FATAL = 16,  /* the stream is dead */
};

struct hub_loop {
    struct hub *hub;
    struct vg_loop *loop;
    uint32_t index;
    struct evconnlistener *listeners[HUB_LISTENERS];
    struct conn_list conns, stalled, dirty;
    uint32_t conn_count;
    unsigned pauses; /* bits of enum pause_reason */
    struct directory *directory;
    struct vg_map cache; /* device id -> struct proof */
    struct event *turn_end;
    struct batch batches[HUB_BATCHES];
    uint32_t filling, oldest; /* indexes into batches */
    char *scratch;
    struct vg_buf headers;
    struct vg_arena arena;   /* decoded names of one message */
    int64_t now_us, mono_us; /* read once per event */
    bool is_closing;
    bool is_idle; /* for hub_close(); under hub->lock, as is: */
    char trouble[256];
    char name[16];
    struct vg_metric *connections;
};

struct proof {
    char hash[VG_PASSWORD_HASH_SIZE];
    uint8_t digest[32];
};

struct session {
    uint64_t serial; /* of the connection that holds it; 0 = none */
    uint32_t loop;
    bool is_kept, is_subscribed;
    int64_t expires_us; /* monotonic; INT64_MAX = never */
    int64_t will_us;    /* monotonic: when its will is due */
    struct will *will;
};

struct auth;

struct hub_metrics {
    struct vg_metric *messages[4]; /* mqtt, mqtt5, https, mllp */
    struct vg_metric *bytes, *commits, *seconds;
    struct vg_metric *refused[REFUSED_COUNT];
};

struct hub {
    struct hub_config config;
    struct vg_clock clock;
    struct stream *stream;
    struct hub_loop *loops;
    struct auth *auth;
    struct vg_http_server *https; /* on loop 0 */
    bool is_running;
    uint16_t ports[HUB_LISTENERS];
    struct mllp *mllp; /* NULL: there is none */
    struct hub_metrics metrics;
    uint8_t digest_key[32];
    atomic_uint_fast64_t serial;
    atomic_bool is_paused_by_caller;
    struct vg_buf via[2]; /* ready headers of a message without properties: mqtt, mqtt5 */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t landed;
    uint32_t flying; /* commits in the stream's hands */
    struct vg_map sessions;
};

/* conn.c */
enum vg_status conn_listen(struct hub_loop *loop, enum hub_listener which, struct vg_err *err);
void conn_send(struct conn *conn, struct vg_slice bytes); /* queued; goes out at the turn's end */
void conn_flush(struct conn *conn);
VG_PRINTF(3, 4)
void conn_refuse(struct conn *conn, enum refused why, const char *fmt, ...);
void conn_refuse_reason(struct conn *conn, uint8_t reason, const char *why);
void conn_close(struct conn *conn, bool is_clean); /* now; is_clean: no will */
void conn_unref(struct conn *conn);
void conn_stall(struct conn *conn);
void conn_try_resume(struct conn *conn);
void conn_sweep(struct hub_loop *loop);
const struct refusal *refusal_of(enum refused why);

/* mqtt_*.c: true = go on with the next packet; false = keep this one and stop (stalled, closed) */
enum handled { HANDLED, STALLED, ENDED };
enum handled mqtt_connect_handle(struct conn *conn, struct vg_slice body);
void mqtt_connect_finish(struct conn *conn, bool is_proven);
void mqtt_connack_refuse(struct conn *conn, enum refused why, struct vg_slice text);
enum handled mqtt_publish_handle(struct conn *conn, uint8_t flags, struct vg_slice body);
enum handled mqtt_subscribe_handle(struct conn *conn, enum mqtt_type type, struct vg_slice body);
enum handled mqtt_ping_handle(struct conn *conn, struct vg_slice body);
enum handled mqtt_disconnect_handle(struct conn *conn, struct vg_slice body);
void mqtt_disconnect_send(struct conn *conn, uint8_t reason, struct vg_slice text);

/* message.c */
bool message_parse_bag(struct vg_buf *headers, struct vg_slice bag, bool is_from_gateway,
                       struct vg_arena *arena);
bool message_put_property(struct vg_buf *headers, struct vg_slice name, struct vg_slice value,
                          bool is_from_gateway);
/* Who may write what: the device of a topic devices/{id}/messages/events[/bag]. */
bool message_topic(struct vg_slice topic, struct vg_slice *ret_device, struct vg_slice *ret_bag);
bool message_is_allowed(const struct directory *directory, struct vg_slice who, bool is_gateway,
                        struct vg_slice device);

/* session.c */
void session_attach(struct conn *conn, bool *ret_is_present);
void session_detach(struct conn *conn, bool is_clean); /* gives the will away too */
bool session_subscribe(struct conn *conn, bool is_subscribed);
void session_sweep(struct hub *hub, struct hub_loop *loop);
void will_free(struct will *will);
void session_free(void *session);

/* auth.c */
struct auth_job {
    struct hub_loop *loop;
    void (*done)(struct auth_job *job); /* in the loop's thread; frees with auth_job_free() */
    void *ctx;
    bool is_proven;
    bool is_dropped; /* not checked: the hub is closing */
    char id[REGISTRY_ID_MAX + 1];
    char hash[VG_PASSWORD_HASH_SIZE];
    char password[HUB_PASSWORD_MAX];
    size_t password_len;
};
enum auth_answer { AUTH_YES, AUTH_NO, AUTH_LATER, AUTH_BUSY };
enum vg_status auth_open(struct hub *hub, struct vg_err *err);
void auth_stop(struct hub *hub);
void auth_close(struct hub *hub);
/* AUTH_LATER: done() will be called. Nothing is kept of `password`. */
enum auth_answer auth_check(struct hub_loop *loop, struct vg_slice id, struct vg_slice password,
                            void (*done)(struct auth_job *job), void *ctx);
void auth_job_free(struct auth_job *job);
void auth_seen(struct hub_loop *loop); /* hands over who published, to be written down */

/* https.c */
enum vg_status https_open(struct hub *hub, struct vg_err *err);

/* mllp.c */
enum vg_status mllp_open(struct hub *hub, struct vg_err *err);
void mllp_close(struct hub *hub);
bool mllp_is_served(const struct hub_config *config);
/* A new connection, its SSL set. False: nobody that is known; it is to be closed. */
bool mllp_accept(struct conn *conn, const struct sockaddr *address);
void mllp_begin(struct conn *conn); /* TLS is through, or there is none */
size_t mllp_parse(struct conn *conn, struct vg_slice data);
/* What `data` (not empty) begins with, and how many bytes of it that is; the message lies between
 * its two marks. MORE and LARGE: the end has not come; LARGE: nor may it. */
enum mllp_frame { MLLP_MORE, MLLP_BETWEEN, MLLP_LOST_END, MLLP_LARGE, MLLP_WHOLE };
enum mllp_frame mllp_frame_peek(struct vg_slice data, size_t size_max, struct vg_slice *ret_message,
                                size_t *ret_len);
void mllp_answer(struct answer *answer, enum vg_status status);
void mllp_ack_free(struct mllp_ack *ack);

/* turn.c */
enum vg_status turn_open(struct hub_loop *loop, struct vg_err *err);
void turn_drop_requests(struct hub_loop *loop); /* before their server closes */
void turn_close(struct hub_loop *loop);
bool turn_has_room(struct hub_loop *loop);          /* for what can wait in its socket */
bool turn_has_reserve(const struct hub_loop *loop); /* for what cannot */
void turn_add(struct hub_loop *loop, struct vg_slice device, uint32_t partition,
              struct vg_slice headers, struct vg_slice payload, struct answer answer);
/* A refusal of one message, answered in its turn like the others. */
void turn_add_refusal(struct hub_loop *loop, struct answer answer);
void turn_retry(struct hub_loop *loop); /* every 500 ms */
void turn_pause(struct hub_loop *loop, enum pause_reason reason, bool is_paused);
bool turn_is_idle(const struct hub_loop *loop);
void turn_dirty(struct hub_loop *loop, struct conn *conn);
void turn_wills(struct hub_loop *loop, struct will *will);
void turn_begin(struct hub_loop *loop); /* reads the clocks, arms the turn's end */

/* hub.c */
void hub_set_trouble(struct hub *hub, struct hub_loop *loop, const char *text); /* "" = gone */

#endif
