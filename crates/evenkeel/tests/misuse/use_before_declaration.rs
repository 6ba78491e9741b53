//! A component that is needed before it is declared.
use evenkeel::App;

fn main() {
    let app = App::new("shop");
    let _jobs = app.worker("jobs", &db, async |_db, _stop| Ok(()));
    let db = app.resource("db", (), async |()| Ok(1), async |_| Ok(()));
}
