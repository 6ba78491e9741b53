//! Scenarios of a life, run through `App::start`. The name of a test is what it claims; ids of requirements (`r3_2a`)
//! and of pitfalls (`l1`) end it.

#[path = "../common/mod.rs"]
mod common;

mod hello;
mod leases;
mod lends_only;
mod optional;
mod panics;
mod refused;
mod restart;
mod running;
mod start;
mod stop;
mod work;
