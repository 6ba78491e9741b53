use evenkeel::{App, Result};
use std::time::Duration;

#[tokio::test]
async fn hello() {
    let app = App::new("hello").budget(Duration::from_secs(3));
    let db = app.resource("db", (), async |()| Ok(7u32), async |_| Ok(()));
    let jobs = app.worker("jobs", &db, async |db, stop| {
        assert_eq!(*db, 7);
        stop.requested().await;
        Ok(())
    });
    let _api = app
        .worker("api", (&db, &jobs), async |(_db, _), stop| {
            stop.requested().await;
            Ok(())
        })
        .intake();
    let running = app.start().await.unwrap();
    assert_eq!(*running.get(&db).unwrap(), 7);
    let receipt = running.stop("test").await;
    println!("{}", evenkeel_events::table(&receipt, 80));
    println!("{}", receipt.to_json());
    assert_eq!(receipt.exit_code, 0);
    let _: Result = Ok(());
}
