/* mllp.c -- HL7 v2 over MLLP: 0x0B message 0x1C 0x0D.
 *
 * WHO SENDS. There is no password in HL7. A sender is a device of the registry: by a certificate of
 * the operator's authority, whose common name is the device id, else by its address. Who is neither
 * is closed before a byte is read. The registry is asked again whenever it changes (auth.c).
 *
 * WHAT IS TAKEN. The header is read here, so that a message that nobody can use later is refused
 * while its sender listens: separators, segment names, character set, type, processing id. What is
 * stored is what stood between the two bytes. Message id: MSH-3, MSH-4 and MSH-10, so that one that
 * comes again counts once (connector/dedupe.h).
 *
 * FOR WHOM. A message names the monitors or beds that its readings come from. Each must be one that
 * its sender speaks for (registry.h): else the whole message is answered AE (CE) and stored with
 * the header `refused`, for the connector to put it to the dead letters.
 *
 * ACKNOWLEDGING. The answer is made beforehand and leaves when the batch is durable (turn.c).
 * Original mode (MSH-15 and MSH-16 empty): AA, or AR. Enhanced: CA or CR as MSH-15 asks for it (AL,
 * ER, SU; NE: none), then AA or AR as MSH-16 does. When the stream fails nobody is answered and the
 * connection closes: the sender tries again, as it would not after AE.
 *
 * FRAMES. What stands between frames is thrown away; CR and LF are expected there, anything else is
 * told once. A frame that begins inside another one means that the other's end was lost: it is
 * thrown away unanswered. The 0x0D at the end may be missing.
 */
#include "hub/hub_int.h"

#include "base/hl7.h"
#include "base/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#define START_BLOCK '\x0b'
#define END_BLOCK '\x1c'
#define SENDERS_MAX 1024
#define ECHO_BYTES_MAX 250 /* of a field of the message that goes back in the acknowledgement */
#define CONTENT_TYPE "application/hl7-v2+er7"

struct sender {
    uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
    unsigned bits;
    char device[REGISTRY_ID_MAX + 1];
};

struct mllp {
    struct sender *senders;
    size_t count;
    X509_STORE *authority; /* NULL: certificates are not asked for */
    atomic_uint_fast64_t answers;
    char instance[17]; /* of this process, for the ids of acknowledgements */
};

struct mllp_ack {
    size_t len;
    char bytes[];
};

void mllp_ack_free(struct mllp_ack *ack)
{
    free(ack);
}

/* ---- who sends ---- */

static bool read_address(struct vg_slice text, uint8_t out[static 16], unsigned *ret_bits)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char cstr[64];

    memcpy(out, mapped, sizeof(mapped));
    if (!vg_slice_to_cstr(text, cstr, sizeof(cstr)))
        return false;
    *ret_bits = 96;
    if (inet_pton(AF_INET, cstr, out + 12) == 1)
        return true;
    *ret_bits = 0;
    return inet_pton(AF_INET6, cstr, out) == 1;
}

/* ADDRESS[/BITS]=DEVICE */
static bool read_sender(struct vg_slice text, struct sender *ret)
{
    struct vg_slice device = text, range = vg_slice_cut(&device, '='), bits = range;
    struct vg_slice address = vg_slice_trim(vg_slice_cut(&bits, '/'));
    uint64_t count = 0;
    unsigned before;

    device = vg_slice_trim(device);
    bits = vg_slice_trim(bits);
    if (!read_address(address, ret->address, &before) || !registry_id_is_valid(device) ||
        (bits.len && (!vg_slice_to_u64(bits, &count) || count > 128 - before)))
        return false;
    ret->bits = bits.len ? before + (unsigned)count : 128;
    return vg_slice_to_cstr(device, ret->device, sizeof(ret->device));
}

static enum vg_status read_senders(struct mllp *mllp, const char *text, struct vg_err *err)
{
    struct vg_slice rest = vg_slice_of(text);

    mllp->senders = calloc(SENDERS_MAX, sizeof(*mllp->senders));
    if (!mllp->senders)
        return vg_fail(err, VG_RETRY, "hub.memory", 0, "no memory");
    while (rest.len) {
        struct vg_slice one = vg_slice_trim(vg_slice_cut(&rest, ','));

        if (one.len == 0)
            continue;
        if (mllp->count == SENDERS_MAX || !read_sender(one, &mllp->senders[mllp->count]))
            return vg_fail(err, VG_REJECT, "hub.config", 0,
                           "hl7.senders, entry %zu: expected ADDRESS=DEVICE or ADDRESS/BITS=DEVICE",
                           mllp->count + 1);
        mllp->count++;
    }
    return VG_OK;
}

static bool is_in(const struct sender *sender, const uint8_t address[static 16])
{
    unsigned bytes = sender->bits / 8, rest = sender->bits % 8;

    return memcmp(sender->address, address, bytes) == 0 &&
           (rest == 0 || (sender->address[bytes] ^ address[bytes]) >> (8 - rest) == 0);
}

/* The narrowest range that the address is in. */
static const struct sender *find_sender(const struct mllp *mllp, const struct sockaddr *address)
{
    const struct sender *best = NULL;
    uint8_t bytes[16] = {[10] = 0xff, [11] = 0xff};

    if (address->sa_family == AF_INET)
        memcpy(bytes + 12, &((const struct sockaddr_in *)address)->sin_addr, 4);
    else if (address->sa_family == AF_INET6)
        memcpy(bytes, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
    else
        return NULL;
    for (size_t i = 0; i < mllp->count; i++)
        if (is_in(&mllp->senders[i], bytes) && (!best || mllp->senders[i].bits > best->bits))
            best = &mllp->senders[i];
    return best;
}

static void set_id(struct conn *conn, const char *id)
{
    (void)vg_slice_to_cstr(vg_slice_of(id), conn->id, sizeof(conn->id));
    conn->id_len = (uint8_t)strlen(conn->id);
}

bool mllp_accept(struct conn *conn, const struct sockaddr *address)
{
    static const unsigned char context[] = "mllp";
    struct mllp *mllp = conn->loop->hub->mllp;
    const struct sender *sender = find_sender(mllp, address);

    if (sender)
        set_id(conn, sender->device);
    if (conn->ssl && mllp->authority) {
        SSL_set_verify(conn->ssl, SSL_VERIFY_PEER | (sender ? 0 : SSL_VERIFY_FAIL_IF_NO_PEER_CERT),
                       NULL);
        if (SSL_set1_verify_cert_store(conn->ssl, mllp->authority) == 1 &&
            SSL_set_session_id_context(conn->ssl, context, sizeof(context) - 1) == 1)
            return true;
        ERR_clear_error();
        return false;
    }
    if (sender)
        return true;
    vg_metric_add(conn->loop->hub->metrics.refused[REFUSED_SENDER], 1);
    vg_log(VG_LOG_WARN, "hub", refusal_of(REFUSED_SENDER)->code,
           "%s: no HL7 sender has this address (hl7.senders)", conn->peer);
    return false;
}

/* The common name of the peer's certificate, which has been verified. False: it shows none. */
static bool take_certificate(struct conn *conn)
{
    X509 *certificate = conn->ssl ? SSL_get0_peer_certificate(conn->ssl) : NULL;
    char name[REGISTRY_ID_MAX + 2];
    int len;

    if (!certificate || SSL_get_verify_result(conn->ssl) != X509_V_OK)
        return false;
    len = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
                                    (int)sizeof(name));
    if (len <= 0 || !registry_id_is_valid((struct vg_slice){name, (size_t)len}))
        name[0] = '\0'; /* a certificate that names no device is not helped by its address */
    set_id(conn, name);
    return true;
}

void mllp_begin(struct conn *conn)
{
    struct hub_loop *loop = conn->loop;
    bool has_certificate = take_certificate(conn);
    const struct registry_device *device =
        conn->id_len ? directory_get(loop->directory, (struct vg_slice){conn->id, conn->id_len})
                     : NULL;

    if (!device || !device->is_enabled) {
        conn_refuse(conn, device ? REFUSED_DISABLED : REFUSED_SENDER,
                    device ? "the device is disabled" : "this HL7 sender is no registered device");
        return;
    }
    conn->state = CONN_ONLINE;
    conn->partition = stream_partition_of(loop->hub->stream, vg_slice_of(conn->id));
    vg_log(VG_LOG_INFO, "hub", "hub.hl7_sender", "%s is %s, by its %s", conn->peer, conn->id,
           has_certificate ? "certificate" : "address");
}

/* ---- acknowledging ---- */

struct verdict {
    bool is_taken;
    bool is_kept;               /* not taken, and stored all the same */
    const char *code, *meaning; /* HL7 table 0357 */
    unsigned field;             /* of MSH; 0 = none in particular */
    unsigned observation;       /* 1 = the first OBX: whose OBX-18; 0 = none */
    const char *text;
};

static struct vg_slice echoed(const struct vg_hl7 *hl7, unsigned field)
{
    struct vg_slice raw = vg_hl7_field(hl7, &hl7->msh, field);

    if (raw.len > ECHO_BYTES_MAX)
        raw.len = ECHO_BYTES_MAX;
    return raw;
}

/* Our own words must not hold their separators. */
static void put_words(struct vg_buf *out, const struct vg_hl7 *hl7, const char *words)
{
    for (; *words; words++) {
        bool is_special = *words == hl7->field || *words == hl7->component ||
                          *words == hl7->repetition || *words == hl7->escape ||
                          *words == hl7->subcomponent;

        vg_buf_put_byte(out, is_special ? ' ' : (uint8_t)*words);
    }
}

static void put_field(struct vg_buf *out, const struct vg_hl7 *hl7, struct vg_slice text)
{
    vg_buf_put_byte(out, (uint8_t)hl7->field);
    vg_buf_put(out, text);
}

/* One framed acknowledgement, with the message's own separators and character set. */
static void put_ack(struct hub *hub, struct vg_buf *out, const struct vg_hl7 *hl7, const char *code,
                    const struct verdict *verdict)
{
    char time[VG_TIME_TEXT_SIZE], stamp[40], id[48];
    uint64_t number = atomic_fetch_add(&hub->mllp->answers, 1) + 1;
    struct vg_slice receiver = echoed(hl7, 5), version = echoed(hl7, 12);
    const char f = hl7->field, c = hl7->component;

    (void)vg_time_format(vg_clock_now_us(&hub->clock), 0, time);
    (void)snprintf(stamp, sizeof(stamp), "%.4s%.2s%.2s%.2s%.2s%.2s+0000", time, time + 5, time + 8,
                   time + 11, time + 14, time + 17);
    (void)snprintf(id, sizeof(id), "V%s%llu", hub->mllp->instance, (unsigned long long)number);
    vg_buf_printf(out, "%cMSH%c", START_BLOCK, f);
    vg_buf_put(out, echoed(hl7, 2));
    put_field(out, hl7, receiver.len ? receiver : VG_SLICE("VIGIL"));
    put_field(out, hl7, echoed(hl7, 6));
    put_field(out, hl7, echoed(hl7, 3));
    put_field(out, hl7, echoed(hl7, 4));
    put_field(out, hl7, vg_slice_of(stamp));
    vg_buf_printf(out, "%c%cACK%cR01%cACK", f, f, c, c);
    put_field(out, hl7, vg_slice_of(id));
    put_field(out, hl7, echoed(hl7, 11).len ? echoed(hl7, 11) : VG_SLICE("P"));
    put_field(out, hl7, version.len ? version : VG_SLICE("2.6"));
    if (echoed(hl7, 18).len) {
        vg_buf_printf(out, "%c%c%c%c%c", f, f, f, f, f);
        put_field(out, hl7, echoed(hl7, 18));
    }
    vg_buf_printf(out, "\rMSA%c%s", f, code);
    put_field(out, hl7, echoed(hl7, 10));
    vg_buf_put_byte(out, '\r');
    if (!verdict->is_taken) {
        vg_buf_printf(out, "ERR%c%c", f, f);
        if (verdict->field)
            vg_buf_printf(out, "MSH%c1%c%u", c, c, verdict->field);
        else if (verdict->observation)
            vg_buf_printf(out, "OBX%c%u%c18", c, verdict->observation, c);
        vg_buf_printf(out, "%c%s%c%s%cHL70357%cE%c%c%c%c", f, verdict->code, c, verdict->meaning, c,
                      f, f, f, f, f);
        put_words(out, hl7, verdict->text);
        vg_buf_put_byte(out, '\r');
    }
    vg_buf_printf(out, "%c\r", END_BLOCK);
}

/* HL7 table 0155. */
static bool is_wanted(struct vg_slice condition, bool is_taken)
{
    if (condition.len == 0 || vg_slice_is(condition, "NE"))
        return false;
    if (vg_slice_is(condition, "ER"))
        return !is_taken;
    return !vg_slice_is(condition, "SU") || is_taken;
}

/* What this message is answered with; NULL: nothing is wanted (or no memory: then the sender sends
 * it again). */
static struct mllp_ack *make_ack(struct hub *hub, const struct vg_hl7 *hl7,
                                 const struct verdict *verdict)
{
    struct vg_slice accept = vg_hl7_field(hl7, &hl7->msh, 15);
    struct vg_slice application = vg_hl7_field(hl7, &hl7->msh, 16);
    bool is_original = accept.len == 0 && application.len == 0;
    const char *codes[2] = {"CA", "AA"};
    struct mllp_ack *ack = NULL;
    struct vg_buf out;

    if (!verdict->is_taken) {
        codes[0] = verdict->is_kept ? "CE" : "CR";
        codes[1] = verdict->is_kept ? "AE" : "AR";
    }
    vg_buf_init(&out, 64u << 10);
    if (is_wanted(accept, verdict->is_taken))
        put_ack(hub, &out, hl7, codes[0], verdict);
    if (is_original || is_wanted(application, verdict->is_taken))
        put_ack(hub, &out, hl7, codes[1], verdict);
    if (out.len && vg_buf_ok(&out))
        ack = malloc(sizeof(*ack) + out.len);
    if (ack) {
        ack->len = out.len;
        memcpy(ack->bytes, out.ptr, out.len);
    }
    vg_buf_fini(&out);
    return ack;
}

/* The batch is durable (or not): from turn.c, which drops the reference. */
void mllp_answer(struct answer *answer, enum vg_status status)
{
    struct conn *conn = answer->conn;

    if (status != VG_OK)
        conn_refuse(conn, REFUSED_UNAVAILABLE, "the message could not be stored");
    else if (conn->state == CONN_ONLINE && answer->ack)
        conn_send(conn, (struct vg_slice){answer->ack->bytes, answer->ack->len});
    turn_dirty(conn->loop, conn); /* it may have waited for room in its window */
    mllp_ack_free(answer->ack);
    answer->ack = NULL;
}

/* ---- messages ---- */

/* Is every observation that has a value of somebody whom the sender speaks for? */
static struct verdict judge_names(const struct conn *conn, const struct vg_hl7 *hl7,
                                  struct vg_err *err)
{
    const struct hub_loop *loop = conn->loop;
    struct verdict verdict = {.is_taken = true};
    struct vg_hl7_cursor cursor = {0};
    struct vg_hl7_segment segment;
    struct vg_slice place = {0};
    unsigned observation = 0;
    struct vg_buf name;

    if (loop->hub->config.hl7_takes_any_name)
        return verdict;
    vg_buf_init(&name, 0);
    while (verdict.is_taken && vg_hl7_next(hl7, &cursor, &segment, NULL) == VG_OK) {
        vg_hl7_follow_place(hl7, &segment, &place);
        if (strcmp(segment.id, "OBX") != 0)
            continue;
        observation++;
        if (vg_hl7_field(hl7, &segment, 5).len == 0)
            continue; /* names a part of the monitor, or nothing */
        vg_buf_clear(&name);
        vg_hl7_put_device(hl7, &segment, place, &name);
        if (vg_buf_ok(&name) &&
            (name.len == 0 || directory_may_speak(loop->directory, vg_slice_of(conn->id),
                                                  vg_buf_slice(&name), false)))
            continue;
        (void)vg_fail(err, VG_REJECT, refusal_of(REFUSED_SPEAKS_FOR)->code, 0,
                      "segment %u (OBX): the sender does not speak for what its OBX-18, its PV1-3 "
                      "or MSH-3 names",
                      segment.number);
        verdict = (struct verdict){.is_kept = true,
                                   .code = "204",
                                   .meaning = "Unknown key identifier",
                                   .observation = observation,
                                   .text = err->text};
    }
    vg_buf_fini(&name);
    return verdict;
}

static struct verdict judge(const struct conn *conn, const struct vg_hl7 *hl7,
                            enum vg_status opened, struct vg_err *err)
{
    const struct hub_config *config = &conn->loop->hub->config;
    static const struct {
        const char *why;
        struct verdict verdict;
    } verdicts[] = {
        {"hl7.charset", {.code = "103", .meaning = "Table value not found", .field = 18}},
        {"hl7.type", {.code = "200", .meaning = "Unsupported message type", .field = 9}},
        {"hl7.processing", {.code = "202", .meaning = "Unsupported processing id", .field = 11}},
        {"hl7.size", {.code = "104", .meaning = "Value too long"}},
    };
    struct verdict verdict = {
        .code = "100", .meaning = "Segment sequence error", .text = err->text};

    if (opened == VG_OK && vg_hl7_check_kind(hl7, config->hl7_processing, err) == VG_OK)
        return judge_names(conn, hl7, err);
    for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++)
        if (strcmp(err->code, verdicts[i].why) == 0) {
            verdict = verdicts[i].verdict;
            verdict.text = err->text;
        }
    return verdict;
}

static struct vg_slice make_headers(struct hub_loop *loop, const struct vg_hl7 *hl7,
                                    const struct verdict *verdict)
{
    struct vg_buf *headers = &loop->headers;
    struct vg_slice mid;

    vg_buf_clear(headers);
    vg_arena_reset(&loop->arena);
    stream_header_put(headers, "via", VG_SLICE("mllp"));
    stream_header_put(headers, "ct", VG_SLICE(CONTENT_TYPE));
    mid = vg_arena_printf(&loop->arena, "%.*s|%.*s|%.*s", VG_FMT(echoed(hl7, 3)),
                          VG_FMT(echoed(hl7, 4)), VG_FMT(echoed(hl7, 10)));
    if (echoed(hl7, 10).len && mid.ptr && vg_slice_is_utf8(mid))
        stream_header_put(headers, "mid", mid);
    if (!verdict->is_taken)
        stream_header_put(headers, "refused", vg_slice_of(verdict->text));
    return vg_buf_slice(headers);
}

/* What is answered when not even the separators can be read. */
static void open_nothing(struct vg_hl7 *hl7)
{
    struct vg_err err;

    if (vg_hl7_open(VG_SLICE("MSH|^~\\&|"), hl7, &err) != VG_OK)
        abort(); /* our own words */
}

/* There is room in the batch. */
static void take_message(struct conn *conn, struct vg_slice message)
{
    struct hub_loop *loop = conn->loop;
    struct vg_hl7 hl7 = {0};
    struct vg_err err = {0};
    enum vg_status opened = vg_hl7_open(message, &hl7, &err);
    struct verdict verdict = judge(conn, &hl7, opened, &err);
    struct answer answer = {.conn = conn};

    if (!hl7.field)
        open_nothing(&hl7);
    answer.ack = make_ack(loop->hub, &hl7, &verdict);
    conn->inflight++;
    conn->refs++;
    if (!verdict.is_taken) {
        enum refused why = verdict.is_kept ? REFUSED_SPEAKS_FOR : REFUSED_HL7;

        vg_metric_add(loop->hub->metrics.refused[why], 1);
        vg_log(VG_LOG_WARN, "hub", refusal_of(why)->code, "%s from %s: %s: %s", conn->id,
               conn->peer, err.code, err.text);
    }
    if (verdict.is_taken || verdict.is_kept) {
        conn->has_published = true;
        vg_metric_add(loop->hub->metrics.messages[3], 1);
        turn_add(loop, vg_slice_of(conn->id), conn->partition, make_headers(loop, &hl7, &verdict),
                 message, answer);
    } else {
        turn_add_refusal(loop, answer);
    }
}

/* Its end has not come and would be too late: the sender is told, if it can be. */
static void refuse_large(struct conn *conn, struct vg_slice begin)
{
    static const struct verdict verdict = {.code = "104",
                                           .meaning = "Value too long",
                                           .text =
                                               "the message is larger than hub.payload_bytes_max"};
    struct mllp_ack *ack;
    struct vg_hl7 hl7 = {0};
    struct vg_err err;

    (void)!vg_hl7_open(begin, &hl7, &err);
    if (!hl7.field)
        open_nothing(&hl7);
    ack = make_ack(conn->loop->hub, &hl7, &verdict);
    if (ack)
        conn_send(conn, (struct vg_slice){ack->bytes, ack->len});
    mllp_ack_free(ack);
    conn_refuse(conn, REFUSED_SIZE, "an HL7 message of more than %u bytes",
                conn->loop->hub->config.payload_bytes_max);
}

static void note_garbage(struct conn *conn, struct vg_slice bytes)
{
    for (size_t i = 0; i < bytes.len && !conn->has_garbage; i++)
        if (bytes.ptr[i] != '\r' && bytes.ptr[i] != '\n') {
            conn->has_garbage = true;
            vg_metric_add(conn->loop->hub->metrics.refused[REFUSED_HL7_FRAME], 1);
            vg_log(VG_LOG_WARN, "hub", refusal_of(REFUSED_HL7_FRAME)->code,
                   "%s from %s: bytes outside of a frame", conn->id, conn->peer);
        }
}

static void note_lost_end(struct conn *conn)
{
    vg_metric_add(conn->loop->hub->metrics.refused[REFUSED_HL7_FRAME], 1);
    vg_log(VG_LOG_WARN, "hub", refusal_of(REFUSED_HL7_FRAME)->code,
           "%s from %s: a frame began inside another one", conn->id, conn->peer);
}

enum mllp_frame mllp_frame_peek(struct vg_slice data, size_t size_max, struct vg_slice *ret_message,
                                size_t *ret_len)
{
    const char *start = memchr(data.ptr, START_BLOCK, data.len), *end, *again;
    size_t len;

    *ret_message = (struct vg_slice){0};
    if (start != data.ptr) {
        *ret_len = start ? (size_t)(start - data.ptr) : data.len;
        return MLLP_BETWEEN;
    }
    end = memchr(data.ptr, END_BLOCK, data.len);
    len = end ? (size_t)(end - data.ptr) : data.len;
    again = len > 1 ? memchr(data.ptr + 1, START_BLOCK, len - 1) : NULL;
    *ret_len = again ? (size_t)(again - data.ptr) : len + 1;
    *ret_message = (struct vg_slice){data.ptr + 1, len - 1};
    if (again)
        return MLLP_LOST_END;
    if (len - 1 > size_max)
        return MLLP_LARGE;
    return end ? MLLP_WHOLE : MLLP_MORE;
}

/* Takes one frame, or what stands before it, from the begin of `data`; 0: it has not come whole, or
 * has to wait. */
static size_t take_one(struct conn *conn, struct vg_slice data)
{
    const struct hub_config *config = &conn->loop->hub->config;
    struct vg_slice message;
    size_t len;

    switch (mllp_frame_peek(data, config->payload_bytes_max, &message, &len)) {
    case MLLP_MORE:
        return 0;
    case MLLP_BETWEEN:
        note_garbage(conn, (struct vg_slice){data.ptr, len});
        return len;
    case MLLP_LOST_END:
        note_lost_end(conn);
        return len;
    case MLLP_LARGE:
        refuse_large(conn, (struct vg_slice){message.ptr, config->payload_bytes_max});
        return data.len;
    case MLLP_WHOLE:
        break;
    }
    if (!turn_has_room(conn->loop) || conn->inflight >= config->inflight_max) {
        conn_stall(conn);
        return 0;
    }
    take_message(conn, message);
    return len;
}

size_t mllp_parse(struct conn *conn, struct vg_slice data)
{
    size_t used = 0, one = 1;

    while (used < data.len && one && conn->state == CONN_ONLINE && !conn->is_stalled) {
        one = take_one(conn, vg_slice_from(data, used));
        used += one;
    }
    if (used == data.len)
        conn->frame_us = 0;
    else if (used || !conn->frame_us)
        conn->frame_us = conn->loop->mono_us;
    return used;
}

/* ---- open and close ---- */

bool mllp_is_served(const struct hub_config *config)
{
    return (config->hl7_senders && *config->hl7_senders) ||
           (config->hl7_client_ca && *config->hl7_client_ca);
}

enum vg_status mllp_open(struct hub *hub, struct vg_err *err)
{
    struct mllp *mllp = calloc(1, sizeof(*mllp));
    const char *authority = hub->config.hl7_client_ca;
    uint8_t random[8];

    if (!mllp)
        return vg_fail(err, VG_RETRY, "hub.memory", 0, "no memory");
    hub->mllp = mllp;
    vg_random(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++)
        (void)snprintf(mllp->instance + 2 * i, 3, "%02x", random[i]);
    if (authority && *authority) {
        mllp->authority = X509_STORE_new();
        if (!mllp->authority || X509_STORE_load_locations(mllp->authority, authority, NULL) != 1) {
            ERR_clear_error();
            return vg_fail(err, VG_REJECT, "hub.config", 0,
                           "hl7.client_ca %.150s: not a PEM file of certificates", authority);
        }
    }
    return read_senders(mllp, hub->config.hl7_senders, err);
}

void mllp_close(struct hub *hub)
{
    if (!hub->mllp)
        return;
    X509_STORE_free(hub->mllp->authority);
    free(hub->mllp->senders);
    free(hub->mllp);
    hub->mllp = NULL;
}
