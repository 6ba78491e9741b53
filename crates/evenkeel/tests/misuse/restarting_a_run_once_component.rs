//! A restart policy for a component that can be started only once.
use evenkeel::{App, Restart};

fn main() {
    let app = App::new("shop");
    let moved_in = String::new();
    let jobs = app.once().worker("jobs", (), move |(), _stop| async move {
        drop(moved_in);
        Ok(())
    });
    let _jobs = jobs.restart(Restart::new());
}
