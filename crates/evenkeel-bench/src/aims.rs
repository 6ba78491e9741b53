//! What is promised of the engine, and whether it holds.

use crate::{
    aim::{Aim, Bar},
    measure::Found,
    waste::Waste,
};

/// A quarter more than the floor at most; five times better than the peer at least.
pub(crate) fn tasks(found: &Found) -> Vec<Aim> {
    let [_, floor, peer] = &found.rows[..] else { return Vec::new() };
    vec![
        Aim::new("tasks: start, to the floor", floor.start_ratio, Bar::AtMost(1.25), "x"),
        Aim::new("tasks: stop, to the floor", floor.stop_ratio, Bar::AtMost(1.25), "x"),
        Aim::new("tasks: bytes, to the floor", floor.bytes_ratio, Bar::AtMost(1.25), "x"),
        Aim::new("tasks: stop, faster than the peer", 1.0 / peer.stop_ratio, Bar::AtLeast(5.0), "x"),
        Aim::new("tasks: bytes, smaller than the peer", 1.0 / peer.bytes_ratio, Bar::AtLeast(5.0), "x"),
    ]
}

/// Absolute: a graph of a thousand is brought up and down while nobody notices.
pub(crate) fn components(found: &Found) -> Vec<Aim> {
    let [own, ..] = &found.rows[..] else { return Vec::new() };
    vec![
        Aim::new("components: start of all", own.start * 1e3, Bar::AtMost(10.0), " ms"),
        Aim::new("components: stop of all", own.stop * 1e3, Bar::AtMost(10.0), " ms"),
        Aim::new("components: bytes of each", own.bytes, Bar::AtMost(2048.0), " B"),
    ]
}

/// The worst round of the worst shape.
pub(crate) fn waste(found: &[Waste]) -> Aim {
    let worst = found.iter().map(Waste::wasted).max().unwrap_or_default();
    Aim::new("clean stop: time wasted, at worst", worst.as_secs_f64() * 1e3, Bar::AtMost(5.0), " ms")
}
