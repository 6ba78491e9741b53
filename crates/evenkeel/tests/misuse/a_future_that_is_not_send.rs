//! A worker whose future cannot move between threads.
use std::rc::Rc;

use evenkeel::App;

fn main() {
    let app = App::new("shop");
    let _jobs = app.worker("jobs", (), async |(), stop| {
        let local = Rc::new(1);
        stop.requested().await;
        drop(local);
        Ok(())
    });
}
