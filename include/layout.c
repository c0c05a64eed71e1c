/*
 * The offsets and sizes from Fluent Bit's own headers. The compiler of this
 * build asserts them for the target machine. There is nothing to link: if this
 * file compiles, the structs of flb_abi.h have the layout that the hosts expect.
 */
#include "flb_abi.h"

#define AT(type, member, offset) \
    _Static_assert(offsetof(struct type, member) == (offset), #type "." #member)
#define SIZE(type, size) _Static_assert(sizeof(struct type) == (size), #type)

AT(flb_input_plugin_g1, flags, 0);
AT(flb_input_plugin_g1, event_type, 4);
AT(flb_input_plugin_g1, name, 8);
AT(flb_input_plugin_g1, description, 16);
AT(flb_input_plugin_g1, config_map, 24);
AT(flb_input_plugin_g1, cb_init, 32);
AT(flb_input_plugin_g1, cb_pre_run, 40);
AT(flb_input_plugin_g1, cb_collect, 48);
AT(flb_input_plugin_g1, cb_flush_buf, 56);
AT(flb_input_plugin_g1, cb_flush_end, 64);
AT(flb_input_plugin_g1, cb_pause, 72);
AT(flb_input_plugin_g1, cb_resume, 80);
AT(flb_input_plugin_g1, cb_ingest, 88);
AT(flb_input_plugin_g1, cb_exit, 96);
SIZE(flb_input_plugin_g1, 128);

AT(flb_input_plugin_g2, flags, 16);
AT(flb_input_plugin_g2, name, 24);
AT(flb_input_plugin_g2, description, 32);
AT(flb_input_plugin_g2, config_map, 40);
AT(flb_input_plugin_g2, cb_init, 48);
AT(flb_input_plugin_g2, cb_pre_run, 56);
AT(flb_input_plugin_g2, cb_collect, 64);
AT(flb_input_plugin_g2, cb_flush_buf, 72);
AT(flb_input_plugin_g2, cb_flush_end, 80);
AT(flb_input_plugin_g2, cb_pause, 88);
AT(flb_input_plugin_g2, cb_resume, 96);
AT(flb_input_plugin_g2, cb_ingest, 104);
AT(flb_input_plugin_g2, cb_exit, 112);
SIZE(flb_input_plugin_g2, 152);

AT(flb_input_plugin_g3, flags, 16);
AT(flb_input_plugin_g3, name, 24);
AT(flb_input_plugin_g3, description, 32);
AT(flb_input_plugin_g3, config_map, 40);
AT(flb_input_plugin_g3, cb_init, 48);
AT(flb_input_plugin_g3, cb_pre_run, 56);
AT(flb_input_plugin_g3, cb_collect, 64);
AT(flb_input_plugin_g3, cb_notification, 72);
AT(flb_input_plugin_g3, cb_flush_buf, 80);
AT(flb_input_plugin_g3, cb_flush_end, 88);
AT(flb_input_plugin_g3, cb_pause, 96);
AT(flb_input_plugin_g3, cb_resume, 104);
AT(flb_input_plugin_g3, cb_ingest, 112);
AT(flb_input_plugin_g3, cb_exit, 120);
SIZE(flb_input_plugin_g3, 208);

AT(flb_input_plugin_g4, flags, 16);
AT(flb_input_plugin_g4, name, 24);
AT(flb_input_plugin_g4, description, 32);
AT(flb_input_plugin_g4, config_map, 40);
AT(flb_input_plugin_g4, cb_init, 48);
AT(flb_input_plugin_g4, cb_pre_run, 56);
AT(flb_input_plugin_g4, cb_collect, 64);
AT(flb_input_plugin_g4, cb_notification, 72);
AT(flb_input_plugin_g4, cb_flush_buf, 80);
AT(flb_input_plugin_g4, cb_flush_end, 88);
AT(flb_input_plugin_g4, cb_pause, 96);
AT(flb_input_plugin_g4, cb_resume, 104);
AT(flb_input_plugin_g4, cb_pause_checked, 112);
AT(flb_input_plugin_g4, cb_resume_checked, 120);
AT(flb_input_plugin_g4, cb_ingest, 128);
AT(flb_input_plugin_g4, cb_pre_exit, 136);
AT(flb_input_plugin_g4, cb_exit, 144);
SIZE(flb_input_plugin_g4, 232);

AT(flb_config_map_96, name, 8);
AT(flb_config_map_96, def_value, 16);
AT(flb_config_map_96, flags, 24);
AT(flb_config_map_96, set_property, 28);
AT(flb_config_map_96, offset, 32);
AT(flb_config_map_96, desc, 40);
SIZE(flb_config_map_96, 96);
AT(flb_config_map_104, name, 8);
AT(flb_config_map_104, def_value, 16);
AT(flb_config_map_104, flags, 24);
AT(flb_config_map_104, set_property, 28);
AT(flb_config_map_104, offset, 32);
AT(flb_config_map_104, desc, 40);
SIZE(flb_config_map_104, 104);
