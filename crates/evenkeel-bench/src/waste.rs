//! The time a clean stop takes beyond what its components need.
//!
//! Each component takes a known time to drain. What it really took is measured inside it, because a timer is late by up
//! to a millisecond, and that is not the engine's doing. The longest way through the graph of such times is what a stop
//! must take; the rest is waste.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use evenkeel::{App, Handle, Stop};
use tokio::runtime;

use crate::measure::WORKERS;

/// What was found with one shape of graph.
pub(crate) struct Waste {
    pub(crate) shape: &'static str,
    /// The longest way through the graph, of the worst round.
    pub(crate) needed: Duration,
    pub(crate) used: Duration,
}

impl Waste {
    pub(crate) fn wasted(&self) -> Duration {
        self.used.saturating_sub(self.needed)
    }
}

/// A graph as a list: what each component needs (earlier ones), and how long it drains.
struct Shape {
    name: &'static str,
    parts: fn() -> Vec<(Option<usize>, u64)>,
}

const SHAPES: [Shape; 3] = [
    Shape { name: "a chain of 5, 20 ms each", parts: || (0_usize..5).map(|n| (n.checked_sub(1), 20)).collect() },
    Shape { name: "a tree of 31, 1 to 10 ms each", parts: tree },
    Shape { name: "a chain of 50, nothing to drain", parts: || (0_usize..50).map(|n| (n.checked_sub(1), 0)).collect() },
];

fn tree() -> Vec<(Option<usize>, u64)> {
    let parent = |n: usize| n.checked_sub(1).map(|n| n / 2);
    (0_usize..31).map(|n| (parent(n), n as u64 * 7 % 10 + 1)).collect()
}

/// The worst of all rounds, for each shape.
pub(crate) fn measure(rounds: u16) -> Vec<Waste> {
    let worst = |shape: &Shape| (0..rounds).map(|_| once(shape)).max_by_key(Waste::wasted);
    SHAPES.iter().filter_map(worst).collect()
}

fn once(shape: &Shape) -> Waste {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let runtime = runtime.expect("a runtime with two threads can be built");
    let parts = (shape.parts)();
    let took = Took::default();
    let used = runtime.block_on(stop_time(declare(&parts, &took)));
    let took = took.0.lock().unwrap_or_else(PoisonError::into_inner);
    Waste { shape: shape.name, needed: longest(&parts, &took), used }
}

/// How long each component really drained.
#[derive(Clone, Default)]
struct Took(Arc<Mutex<Vec<(usize, Duration)>>>);

fn declare(parts: &[(Option<usize>, u64)], took: &Took) -> App {
    let app = App::new("bench");
    let mut handles: Vec<Handle<()>> = Vec::new();
    for (number, &(needs, drain)) in parts.iter().enumerate() {
        let (drain, took, name) = (Duration::from_millis(drain), took.clone(), format!("part-{number}"));
        let handle = match needs {
            None => app.worker(name, (), async move |(), stop| drains(number, drain, &took, stop).await),
            Some(on) => app.worker(name, &handles[on], async move |need, stop| {
                let drained = drains(number, drain, &took, stop).await;
                drop(need);
                drained
            }),
        };
        handles.push(handle);
    }
    app
}

async fn drains(number: usize, time: Duration, took: &Took, stop: Stop) -> evenkeel::Result {
    stop.requested().await;
    let began = Instant::now();
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
    took.0.lock().unwrap_or_else(PoisonError::into_inner).push((number, began.elapsed()));
    Ok(())
}

async fn stop_time(app: App) -> Duration {
    let running = app.start().await.expect("components that only wait start");
    let began = Instant::now();
    let receipt = running.stop("bench").await;
    assert_eq!(receipt.exit_code, 0, "components that only wait stop cleanly");
    began.elapsed()
}

/// The sum along the longest way, with the times that were really taken.
fn longest(parts: &[(Option<usize>, u64)], took: &[(usize, Duration)]) -> Duration {
    let mut below = vec![Duration::ZERO; parts.len()];
    let mut longest = Duration::ZERO;
    // What needs stops before what is needed, so the last declared comes first.
    for (number, (needs, _)) in parts.iter().enumerate().rev() {
        let own = took.iter().find(|(who, _)| *who == number).map_or(Duration::ZERO, |(_, time)| *time);
        let whole = below[number] + own;
        longest = longest.max(whole);
        if let Some(on) = needs {
            below[*on] = below[*on].max(whole);
        }
    }
    longest
}
