/* engine.h -- what a stream engine must do, and how records look inside a stream_out. Private.
 *
 * Adding an engine is two steps: a file engine_<name>.c and a line in stream_engines[], where the
 * contract test finds it. stream.c checks arguments before it calls; callbacks are never NULL.
 */
#ifndef VG_STREAM_ENGINE_H
#define VG_STREAM_ENGINE_H

#include "stream/stream.h"

#include <endian.h>

#define STREAM_GROUP_BYTES_MAX 31

struct stream_engine {
    const char *name;
    enum vg_status (*open)(const struct stream_config *config, void **ret_self, struct vg_err *err);
    void (*close)(void *self);
    uint32_t (*partitions)(const void *self);
    size_t (*damage)(void *self, struct vg_buf *out);

    /* Never blocks; done() is called once, in the order of the calls. */
    void (*commit)(void *self, uint32_t partition, struct stream_out *out, stream_done *done,
                   void *ctx);

    enum vg_status (*consumer_open)(void *self, uint32_t partition, enum stream_topic topic,
                                    struct vg_slice group, bool is_live_tail, void **ret_consumer,
                                    struct vg_err *err);
    void (*consumer_close)(void *consumer);
    enum vg_status (*read)(void *consumer, size_t count_max, int64_t timeout_us,
                           struct stream_batch *ret_batch, struct vg_err *err);
    void (*seek)(void *consumer, uint64_t seq);
    uint64_t (*position)(const void *consumer);
    uint64_t (*committed)(void *self, struct vg_slice group, enum stream_topic topic,
                          uint32_t partition);
    uint64_t (*lag)(void *self, struct vg_slice group, enum stream_topic topic, uint32_t partition);
    void (*wake)(void *self);

    enum vg_status (*scan_open)(void *self, uint32_t partition, uint64_t from_seq, void **ret_scan,
                                struct vg_err *err);
    void (*scan_close)(void *scan);
    enum vg_status (*scan_next)(void *scan, struct stream_commit_view *ret_view,
                                struct vg_err *err);
    bool (*scan_record)(void *scan, size_t index, enum stream_topic *ret_topic,
                        struct stream_record *ret_record);
    bool (*scan_offset)(void *scan, size_t index, struct vg_slice *ret_group,
                        enum stream_topic *ret_topic, uint32_t *ret_partition,
                        uint64_t *ret_next_seq);
};

extern const struct stream_engine stream_engine_journal;

/* NULL-terminated; the first one is the default. */
extern const struct stream_engine *const stream_engines[];

/* ---- the encoded forms: little-endian, unaligned ---- */

/* A record: u32 bytes of all of it, u8 topic, u8 zero, u16 key bytes, u32 headers bytes,
 * i64 time_us, key, headers, value (the rest). */
#define RECORD_HEADER_BYTES 20u
/* An offset: u64 next_seq, u32 partition, u16 topic, u8 group bytes, group. */
#define OFFSET_HEADER_BYTES 15u

static inline uint16_t get_u16(const char *from)
{
    uint16_t value;

    memcpy(&value, from, sizeof(value));
    return le16toh(value);
}

static inline uint32_t get_u32(const char *from)
{
    uint32_t value;

    memcpy(&value, from, sizeof(value));
    return le32toh(value);
}

static inline uint64_t get_u64(const char *from)
{
    uint64_t value;

    memcpy(&value, from, sizeof(value));
    return le64toh(value);
}

static inline void put_u16(char *to, uint16_t value)
{
    value = htole16(value);
    memcpy(to, &value, sizeof(value));
}

static inline void put_u32(char *to, uint32_t value)
{
    value = htole32(value);
    memcpy(to, &value, sizeof(value));
}

static inline void put_u64(char *to, uint64_t value)
{
    value = htole64(value);
    memcpy(to, &value, sizeof(value));
}

/* Cut the first record or offset off *rest. False: nothing left, or *rest is not well-formed. The
 * record's seq is not in its bytes and left alone. */
bool record_decode(struct vg_slice *rest, enum stream_topic *ret_topic,
                   struct stream_record *ret_record);
struct offset_view {
    struct vg_slice group;
    enum stream_topic topic;
    uint32_t partition;
    uint64_t next_seq;
};
bool offset_decode(struct vg_slice *rest, struct offset_view *ret_view);

/* What an out holds, per topic. VG_REJECT stream.record_size when a record is larger than
 * record_bytes_max or something did not fit into the out. */
struct out_totals {
    uint32_t counts[STREAM_TOPIC_COUNT];
    uint32_t bytes[STREAM_TOPIC_COUNT];
};
VG_CHECK enum vg_status stream_out_measure(const struct stream_out *out, uint32_t record_bytes_max,
                                           struct out_totals *ret_totals, struct vg_err *err);

#endif
