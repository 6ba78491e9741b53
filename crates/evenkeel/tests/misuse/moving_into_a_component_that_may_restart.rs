//! Something that is not `Clone`, moved into a closure that is called for each start.
use evenkeel::App;

struct Socket;

fn main() {
    let app = App::new("shop");
    let socket = Socket;
    let _jobs = app.worker("jobs", (), async move |(), _stop| {
        drop(socket);
        Ok(())
    });
}
