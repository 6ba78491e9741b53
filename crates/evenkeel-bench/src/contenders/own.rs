//! With Evenkeel: components that need each other, and tasks in a component's scope.

use evenkeel::{App, Handle, Stop};

use crate::measure::{Clock, Latch, Measured};

/// Half of them resources, half workers; each needs up to three of those before it.
pub(crate) async fn components(count: usize) -> Measured {
    let clock = Clock::begin();
    let app = App::new("bench");
    let mut dice = Dice(0x5eed);
    let mut handles: Vec<Handle<()>> = Vec::with_capacity(count);
    for number in 0..count {
        let handle = declare(&app, number, &handles, &mut dice);
        handles.push(handle);
    }
    let running = app.start().await.expect("components that do nothing start");
    let up = clock.up();
    let receipt = running.stop("bench").await;
    assert_eq!(receipt.exit_code, 0, "components that do nothing stop cleanly");
    up.gone()
}

fn declare(app: &App, number: usize, before: &[Handle<()>], dice: &mut Dice) -> Handle<()> {
    let mut any = || &before[dice.below(before.len())];
    match number.min(3) {
        0 => one(app, number, ()),
        1 => one(app, number, any()),
        2 => one(app, number, (any(), any())),
        _ => match number % 4 {
            0 => one(app, number, ()),
            1 => one(app, number, any()),
            2 => one(app, number, (any(), any())),
            _ => one(app, number, (any(), any(), any())),
        },
    }
}

fn one<N: evenkeel::Needs>(app: &App, number: usize, needs: N) -> Handle<()> {
    let name = format!("part-{number}");
    if number.is_multiple_of(2) {
        return app.resource(name, needs, async |_| Ok(()), async |()| Ok(()));
    }
    app.worker(name, needs, async |given, stop: Stop| {
        stop.requested().await;
        drop(given);
        Ok(())
    })
}

/// All in one component's scope.
pub(crate) async fn tasks(count: usize) -> Measured {
    let clock = Clock::begin();
    let latch = Latch::of(count);
    let app = App::new("bench");
    let _crowd = app.worker("crowd", (), {
        let latch = latch.clone();
        async move |(), stop: Stop| crowd(count, &latch, stop).await
    });
    let running = app.start().await.expect("a component that only spawns starts");
    latch.opened().await;
    let up = clock.up();
    let receipt = running.stop("bench").await;
    assert_eq!(receipt.exit_code, 0, "tasks that wait for the stop end cleanly");
    up.gone()
}

async fn crowd(count: usize, latch: &Latch, stop: Stop) -> evenkeel::Result {
    for _ in 0..count {
        let (task_stop, latch) = (stop.clone(), latch.clone());
        stop.spawn(async move {
            latch.hit();
            task_stop.requested().await;
        });
    }
    stop.requested().await;
    Ok(())
}

/// The same graph in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits fit") % limit
    }
}
