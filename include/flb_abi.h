/*
 * The part of Fluent Bit's input plugin ABI on which this project relies. It
 * is written here anew and not copied from a header of the host: the plugin is
 * built without such a header, and detects at load time which host it is in.
 *
 * The layout of the registration object changed three times between 1.8 and
 * 5.1. Each layout ("generation") is one struct below. Every struct is padded
 * to more than the largest size that a host is known to copy.
 * src/host/registration.rs fills one of them, and layout.c has the offsets.
 */
#ifndef KUBELETSTATS_FLB_ABI_H
#define KUBELETSTATS_FLB_ABI_H

#include <stddef.h>
#include <stdint.h>

/* The host owns these. The plugin never reads them, because their layout depends on version and build flags. */
struct cmt;
struct flb_input_instance;
struct flb_config;

/* Callbacks, the same in all generations. */
typedef int flb_cb_start(struct flb_input_instance *ins, struct flb_config *config, void *data);
typedef void flb_cb_state(void *context, struct flb_config *config);
typedef int flb_cb_exit(void *context, struct flb_config *config);
/* Slots that this plugin leaves empty. */
typedef void flb_cb_unused(void);

/* 1.8.0 to 1.9.x */
struct flb_input_plugin_g1 {
    int flags;
    int event_type;
    const char *name;
    const char *description;
    const void *config_map;
    flb_cb_start *cb_init;
    flb_cb_start *cb_pre_run;
    flb_cb_start *cb_collect;
    flb_cb_unused *cb_flush_buf;
    flb_cb_unused *cb_flush_end;
    flb_cb_state *cb_pause;
    flb_cb_state *cb_resume;
    flb_cb_unused *cb_ingest;
    flb_cb_exit *cb_exit;
    unsigned char host_area[24];
};

/* 2.0.0 to 3.1.x */
struct flb_input_plugin_g2 {
    int type;
    void *proxy;
    int flags;
    const char *name;
    const char *description;
    const void *config_map;
    flb_cb_start *cb_init;
    flb_cb_start *cb_pre_run;
    flb_cb_start *cb_collect;
    flb_cb_unused *cb_flush_buf;
    flb_cb_unused *cb_flush_end;
    flb_cb_state *cb_pause;
    flb_cb_state *cb_resume;
    flb_cb_unused *cb_ingest;
    flb_cb_exit *cb_exit;
    unsigned char host_area[32];
};

/* 3.2.0 to 5.0.x: a notification callback after cb_collect */
struct flb_input_plugin_g3 {
    int type;
    void *proxy;
    int flags;
    const char *name;
    const char *description;
    const void *config_map;
    flb_cb_start *cb_init;
    flb_cb_start *cb_pre_run;
    flb_cb_start *cb_collect;
    flb_cb_unused *cb_notification;
    flb_cb_unused *cb_flush_buf;
    flb_cb_unused *cb_flush_end;
    flb_cb_state *cb_pause;
    flb_cb_state *cb_resume;
    flb_cb_unused *cb_ingest;
    flb_cb_exit *cb_exit;
    unsigned char host_area[80];
};

/* 5.1.0 and later: checked forms of pause and resume, and a call before exit */
struct flb_input_plugin_g4 {
    int type;
    void *proxy;
    int flags;
    const char *name;
    const char *description;
    const void *config_map;
    flb_cb_start *cb_init;
    flb_cb_start *cb_pre_run;
    flb_cb_start *cb_collect;
    flb_cb_unused *cb_notification;
    flb_cb_unused *cb_flush_buf;
    flb_cb_unused *cb_flush_end;
    flb_cb_state *cb_pause;
    flb_cb_state *cb_resume;
    flb_cb_unused *cb_pause_checked;
    flb_cb_unused *cb_resume_checked;
    flb_cb_unused *cb_ingest;
    flb_cb_unused *cb_pre_exit;
    flb_cb_exit *cb_exit;
    unsigned char host_area[80];
};

/*
 * One row of the option table. The host reads the named members and stores its
 * own data in the rest, whose size grew from 48 to 56 bytes with 5.0.3. The
 * table ends with a row whose name is NULL.
 */
struct flb_config_map_96 {
    int type;
    const char *name;
    const char *def_value;
    int flags;
    int set_property;
    uintptr_t offset;
    const char *desc;
    unsigned char host_area[48];
};

struct flb_config_map_104 {
    int type;
    const char *name;
    const char *def_value;
    int flags;
    int set_property;
    uintptr_t offset;
    const char *desc;
    unsigned char host_area[56];
};

enum flb_config_map_type {
    FLB_CONFIG_MAP_STR = 0,
    FLB_CONFIG_MAP_BOOL = 3,
    FLB_CONFIG_MAP_TIME = 6
};

enum flb_input_event_type {
    FLB_INPUT_METRICS = 1
};

enum flb_log_level {
    FLB_LOG_ERROR = 1,
    FLB_LOG_WARN = 2,
    FLB_LOG_INFO = 3,
    FLB_LOG_DEBUG = 4
};

/*
 * Functions of the host. Each is declared as a type with the name of the function.
 * They are looked up at load time, because a host that lacks an undefined symbol could
 * not load the object. src/host/symbols.rs states which hosts must have which function.
 */
typedef const char *flb_input_get_property(const char *key, struct flb_input_instance *ins);
typedef void flb_input_set_context(struct flb_input_instance *ins, void *context);
/* Both return the collector's id, or -1. */
typedef int flb_input_set_collector_time(struct flb_input_instance *ins, flb_cb_start *collect,
                                            long seconds, long nanoseconds,
                                            struct flb_config *config);
typedef int flb_input_set_collector_event(struct flb_input_instance *ins, flb_cb_start *collect,
                                             int fd, struct flb_config *config);
typedef int flb_input_collector_pause(int id, struct flb_input_instance *ins);
typedef int flb_input_collector_resume(int id, struct flb_input_instance *ins);
typedef const char *flb_input_name(struct flb_input_instance *ins);
/* 2.0.0 and later. A tag of NULL, 0 means the instance's own tag. */
typedef int flb_input_log_append(struct flb_input_instance *ins, const char *tag,
                                    size_t tag_len, const void *buf, size_t size);
/* The same with the number of events, which the host would otherwise count by decoding them. */
typedef int flb_input_log_append_records(struct flb_input_instance *ins, size_t records,
                                            const char *tag, size_t tag_len, const void *buf,
                                            size_t size);
/* 1.x only. In later hosts, the function of this name has other arguments. */
typedef int flb_input_chunk_append_raw(struct flb_input_instance *ins, const char *tag,
                                          size_t tag_len, const void *buf, size_t size);
/* The function of the same name from 2.0.0 on. The type is FLB_INPUT_METRICS. It runs no processor. */
typedef int flb_input_chunk_append_raw_2(struct flb_input_instance *ins, int event_type,
                                            size_t records, const char *tag, size_t tag_len,
                                            const void *buf, size_t size);
/* 2.0.0 and later. The first function reads one context at the offset and advances it. 0 is success. */
typedef int cmt_decode_msgpack_create(struct cmt **context, char *buf, size_t size,
                                         size_t *offset);
typedef void cmt_decode_msgpack_destroy(struct cmt *context);
/* Copies the context. From 2.2 on, it runs the input's processors. */
typedef int flb_input_metrics_append(struct flb_input_instance *ins, const char *tag,
                                        size_t tag_len, struct cmt *context);
typedef void flb_log_print(int level, const char *file, int line, const char *format, ...);
/* Optional in the host. Returns whether this instance logs at that level. */
typedef int flb_input_log_check(struct flb_input_instance *ins, int level);
typedef void *flb_worker_get(void);
typedef int flb_worker_log_level(void *worker);

#endif
