//! A job that lends a value: nobody could hold it, because who needs a job starts when it is over.
use evenkeel::App;

fn main() {
    let app = App::new("shop");
    let _db = app.resource("db", (), async |()| Ok(1), async |_| Ok(())).finite();
}
