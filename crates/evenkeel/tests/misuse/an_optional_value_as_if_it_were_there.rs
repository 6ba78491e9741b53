//! The value of an optional component, used without asking whether it is there.
use evenkeel::{App, Result};

struct Cache;

impl Cache {
    async fn lookup(&self, _key: &str) -> Result<u32> {
        Ok(1)
    }
}

fn main() {
    let app = App::new("shop");
    let cache = app.resource("cache", (), async |()| Ok(Cache), async |_| Ok(())).optional();
    let _api = app.worker("api", &cache, async |cache, _stop| {
        cache.lookup("key").await?;
        Ok(())
    });
}
