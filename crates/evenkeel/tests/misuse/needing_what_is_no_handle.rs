//! A need that is a value, and a handle that is given away instead of lent.
use evenkeel::App;

fn main() {
    let app = App::new("shop");
    let db = app.resource("db", (), async |()| Ok(1), async |_| Ok(()));
    let _jobs = app.worker("jobs", "db", async |_db, _stop| Ok(()));
    let _api = app.worker("api", db, async |_db, _stop| Ok(()));
}
