/* A native input of the 5.1 layout for the tests of the embedded host. It appends
 * {"from":"timer","n":N} from a timer and {"from":"event"} once from a pipe. Like a real
 * plugin it looks the host's functions up by name and finds none of them at link time. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int (*collect_cb)(void *ins, void *config, void *ctx);
typedef int (*id_fn)(int id, void *ins);
struct row {
    int type; const char *name, *def; int flags, set; size_t offset; const char *desc;
    void *tail[7];
};
struct object {
    int type; void *proxy; int flags; const char *name, *description; const struct row *map;
    collect_cb init, pre_run, collect, notification; void *flush_buf, *flush_end;
    void (*pause)(void *, void *), (*resume)(void *, void *);
    void *pause_checked, *resume_checked, *ingest, *pre_exit;
    int (*exit)(void *, void *); char rest[512];
};
static struct { void *ins; int timer, event, pipe[2], stubborn; unsigned char n; } self;
#define HOST(type, name) ((type) dlsym(RTLD_DEFAULT, name))

static void say(const char *text) {
    HOST(void (*)(int, const char *, int, const char *, ...), "flb_log_print")
        (3, NULL, 0, "%s", text);
}
static int append(const char *map, size_t size) {
    char event[64] = "\x92\xd7\x00\x65\x00\x00\x01\x00\x00\x00\x02"; /* time 0x65000001 s 2 ns */
    memcpy(event + 11, map, size);
    return HOST(int (*)(void *, char *, size_t, void *, size_t), "flb_input_log_append")
        (self.ins, NULL, 0, event, 11 + size);
}
static int on_timer(void *ins, void *config, void *ctx) {
    char map[] = "\x82\xa4" "from" "\xa5" "timer" "\xa1" "n" "\0";
    map[sizeof map - 2] = self.n++ & 0x7f;
    if (append(map, sizeof map - 1) != 0) say("probe: append refused");
    return 0;
}
static int on_event(void *ins, void *config, void *ctx) {
    char byte;
    if (read(self.pipe[0], &byte, 1) != 1) return -1;
    return append("\x82\xa4" "from" "\xa5" "event" "\xa1" "f" "\xcb\x3f\xd3\x33\x33\x33\x33\x33\x34", 23);
}
static int init(void *ins, void *config, void *data) {
    const char *mode = HOST(const char *(*)(const char *, void *), "flb_input_get_property")("mode", ins);
    char line[128];
    snprintf(line, sizeof line, "probe: mode=%s", mode ? mode : "(null)");
    say(line);
    if (mode && strcmp(mode, "fail") == 0) return -1;
    self.stubborn = mode && strcmp(mode, "stubborn") == 0;
    self.ins = ins;
    if (pipe(self.pipe) != 0 || write(self.pipe[1], "x", 1) != 1) return -1;
    HOST(void (*)(void *, void *), "flb_input_set_context")(ins, &self);
    self.timer = HOST(int (*)(void *, collect_cb, long, long, void *), "flb_input_set_collector_time")
        (ins, on_timer, 0, 20000000, config);
    self.event = HOST(int (*)(void *, collect_cb, int, void *), "flb_input_set_collector_event")
        (ins, on_event, self.pipe[0], config);
    return 0;
}
static void pause_both(void *ctx, void *config) {
    say("probe: pause");
    if (self.stubborn) return;
    HOST(id_fn, "flb_input_collector_pause")(self.timer, self.ins);
    HOST(id_fn, "flb_input_collector_pause")(self.event, self.ins);
}
static void resume_both(void *ctx, void *config) {
    say("probe: resume");
    HOST(id_fn, "flb_input_collector_resume")(self.timer, self.ins);
    HOST(id_fn, "flb_input_collector_resume")(self.event, self.ins);
}
static int leave(void *ctx, void *config) { say("probe: exit"); return 0; }

static const struct row rows[] = {
    {0, "mode", "plain", 0, 0, 0, "fail: refuse to start; stubborn: go on when paused"},
    {2, "size", NULL, 0, 0, 0, "unused"},
    {0},
};
struct object in_probe_plugin = {
    .name = "probe", .description = "Appends fixed records", .map = rows, .init = init,
    .pause = pause_both, .resume = resume_both, .exit = leave,
};
