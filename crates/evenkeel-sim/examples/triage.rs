//! triage (not kept)
#![allow(clippy::print_stdout, missing_docs)]
use std::collections::BTreeMap;
use evenkeel_sim::{Scenario, shrink::shrink, sweep::*};
fn main() {
    let arg = |n: usize, d: u64| std::env::args().nth(n).map_or(d, |s| s.parse().unwrap());
    let (from, count) = (arg(1, 1), arg(2, 300));
    let mut kinds: BTreeMap<String, (usize, Option<Box<Failure>>)> = BTreeMap::new();
    let mut swept = Swept::default();
    let t = std::time::Instant::now();
    std::panic::set_hook(Box::new(|_| {}));
    for seed in from..from + count {
        let scenario = Scenario::generate(seed);
        if let Err(f) = all_steps(&scenario, Hunt::default(), &mut swept) {
            let text: String = f.violation.text.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
            let e = kinds.entry(format!("{:?} {text}", f.violation.invariant)).or_default();
            e.0 += 1;
            if e.1.as_ref().is_none_or(|o| o.scenario.components.len() > f.scenario.components.len()) { e.1 = Some(f); }
        }
    }
    println!("{swept} {:?}", t.elapsed());
    for (k, (n, f)) in kinds {
        println!("=================== {n} x {k}");
        if arg(3, 1) == 1 { println!("{}", shrink(f.unwrap(), None)); }
    }
}
