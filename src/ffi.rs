//! Generated bindings of `include/flb_abi.h`: types and constants only, no functions to link.

#![allow(non_camel_case_types, dead_code)]

include!(concat!(env!("OUT_DIR"), "/flb_abi.rs"));
