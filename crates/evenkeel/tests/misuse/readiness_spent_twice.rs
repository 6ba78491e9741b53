//! A worker that says twice that it is ready.
use evenkeel::App;

fn main() {
    let app = App::new("shop");
    let _feed = app.late_worker("feed", (), async |(), ready, stop| {
        ready.with(1);
        stop.requested().await;
        ready.with(2);
        Ok(())
    });
}
