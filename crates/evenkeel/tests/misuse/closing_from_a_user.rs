//! A user of a value that closes it under everybody else.
use evenkeel::{App, Result};

struct Pool;

impl Pool {
    async fn close(self) -> Result {
        Ok(())
    }
}

fn main() {
    let app = App::new("shop");
    let db = app.resource("db", (), async |()| Ok(Pool), Pool::close);
    let _jobs = app.worker("jobs", &db, async |db, _stop| {
        (*db).close().await?;
        Ok(())
    });
}
