//! The same seed gives the same run: every decision, everything components saw, every time, the receipt.

use evenkeel_sim::{Scenario, Stopping, run};

#[test]
fn a_run_repeats_itself_exactly() {
    for seed in 1..=150 {
        let scenario = Scenario::generate(seed);
        assert_eq!(scenario, Scenario::generate(seed));
        for stopping in [Stopping::Never, Stopping::AtStep(3), Stopping::AtStep(17)] {
            let (first, again) = (run(&scenario, stopping, None), run(&scenario, stopping, None));
            assert!(first == again, "seed {seed}, {stopping:?}:\n{first}\n--- and then ---\n{again}");
        }
    }
}

#[test]
fn another_thread_makes_no_difference() {
    let scenario = Scenario::generate(7);
    let here = run(&scenario, Stopping::AtStep(5), None);
    let there = std::thread::spawn({
        let scenario = scenario.clone();
        move || run(&scenario, Stopping::AtStep(5), None)
    });
    assert!(here == there.join().unwrap());
}

#[test]
fn seeds_differ() {
    assert_ne!(Scenario::generate(1), Scenario::generate(2));
}
