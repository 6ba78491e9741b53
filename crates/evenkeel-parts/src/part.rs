//! The component behind a pool.

use std::{future::Future, marker::PhantomData, time::Duration};

use evenkeel::{Component, Result, Stop};

use crate::{
    open::{Trouble, until_there, within},
    options::{ConnectionOptions, Options, Sizes, connect, disconnect},
    pool::Pool,
    sql::{Sql, trouble},
};

/// Opens a pool with options that may depend on what it was given.
pub(crate) struct PoolPart<DB, O> {
    pub(crate) name: String,
    pub(crate) options: O,
    pub(crate) _database: PhantomData<fn() -> DB>,
}

impl<DB, G, O, F> Component<G> for PoolPart<DB, O>
where
    DB: Sql,
    G: Send + 'static,
    O: Fn(G) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Options<DB>>> + Send + 'static,
{
    type Value = Pool<DB>;

    const KIND: &'static str = DB::KIND;
    const LENDS_ONLY: bool = true;

    async fn open(&self, given: G, stop: &Stop) -> Result<Pool<DB>> {
        let options = (self.options)(given).await?;
        if let Some(problem) = options.problem() {
            return evenkeel::Explain::hint(Err(problem.text), problem.hint);
        }
        let server = options.server();
        let Options { connect, sizes } = options;
        let connect = connect?;
        let attempt = || open_once::<DB>(&connect, sizes);
        let (pool, version) = until_there(&self.name, &server, stop, attempt).await?;
        Ok(Pool::new(pool, connect, sizes, server, version))
    }

    fn note(&self, pool: &Pool<DB>) -> Option<String> {
        Some(pool.note())
    }

    async fn close_within(&self, pool: Pool<DB>, allowed: Duration) -> Result {
        pool.close(allowed).await
    }
}

/// One connection first, because a pool keeps the reason to itself why it has none; then the pool, with those that it
/// keeps.
async fn open_once<DB: Sql>(
    options: &ConnectionOptions<DB>,
    sizes: Sizes,
) -> Result<(sqlx::Pool<DB>, String), Trouble> {
    let judged = |error| trouble::<DB>(error, options);
    let asked = within(sizes.acquire_timeout, async {
        let mut first = connect::<DB>(options).await.map_err(judged)?;
        let version = DB::version(&mut first).await.map_err(judged)?;
        // What it had to say has been said; a goodbye that fails loses nothing.
        let _ = disconnect::<DB>(first).await;
        Ok(version)
    });
    let version = asked.await?;
    let pool = sizes.pool::<DB>().connect_with(options.clone()).await.map_err(judged)?;
    Ok((pool, version))
}
