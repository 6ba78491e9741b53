//! A task whose result nobody would look at.
use evenkeel::App;

fn main() {
    let app = App::new("shop");
    let _jobs = app.worker("jobs", (), async |(), stop| {
        stop.spawn(async { 7 });
        Ok(())
    });
}
