//! A loop on a database that ends through cancellation: what it has in hand is committed, then the pool closes.
//!
//! `cargo run --example sweeper`, and Ctrl-C. It keeps its database in the present directory.

use std::time::Duration;

use evenkeel::{App, Exit};
use evenkeel_parts::{Parts, Sqlite};

fn main() -> Exit {
    let app = App::new("sweeper");

    let db = app.sqlite("db", (), Sqlite::file("sweeper.db"));

    let schema = app
        .worker("schema", &db, async |db, _stop| {
            let table = "CREATE TABLE IF NOT EXISTS carts (id INTEGER PRIMARY KEY, expires INTEGER)";
            sqlx::query(table).execute(&mut *db.acquire().await?).await?;
            Ok(())
        })
        .finite();

    let _shoppers = app.worker("shoppers", (&db, schema.start_only()), async |(db, ()), stop| {
        while stop.or(tokio::time::sleep(Duration::from_millis(10))).await.is_some() {
            let cart = sqlx::query("INSERT INTO carts (expires) VALUES (unixepoch() + 1)");
            cart.execute(&mut *db.acquire().await?).await?;
        }
        Ok(())
    });

    let _sweeper = app.worker("sweeper", (&db, schema.start_only()), async |(db, ()), stop| {
        // The stop interrupts the waiting, not the transaction.
        while stop.or(tokio::time::sleep(Duration::from_millis(500))).await.is_some() {
            let mut sweep = db.begin_with("BEGIN IMMEDIATE").await?;
            let swept = sqlx::query("DELETE FROM carts WHERE expires < unixepoch()").execute(&mut *sweep).await?;
            sweep.commit().await?;
            tracing::info!("swept {} carts", swept.rows_affected());
        }
        Ok(())
    });

    app.run()
}
