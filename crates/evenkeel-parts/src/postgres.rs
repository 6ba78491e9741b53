//! PostgreSQL.

use sqlx::{error::DatabaseError, postgres::PgConnectOptions};

use crate::{
    options::Options,
    pool::Pool,
    sql::{Dialect, Judgement},
};

/// How to connect to PostgreSQL, and a pool's sizes. See [`Options`] for the defaults.
pub type Postgres = Options<sqlx::Postgres>;

/// What [`Parts::postgres`](crate::Parts::postgres) lends.
pub type PostgresPool = Pool<sqlx::Postgres>;

impl Postgres {
    /// Connects as a URL says: `postgres://user:password@host:5432/database`; what it leaves out is taken from libpq's
    /// environment variables (`PGHOST`, `PGPASSWORD`, ...). A URL that cannot be one refuses the app before it starts.
    #[must_use]
    pub fn new(url: impl AsRef<str>) -> Self {
        Self::parsed(url.as_ref())
    }
}

impl Dialect for sqlx::Postgres {
    const KIND: &'static str = "postgres";
    const SERVER: &'static str = "PostgreSQL";
    const FORM: &'static str = "write it like `postgres://user:password@host:5432/database`";

    fn place(options: &PgConnectOptions) -> String {
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        match options.get_socket() {
            Some(directory) => format!("{}/.s.PGSQL.{}/{database}", directory.display(), options.get_port()),
            None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
        }
    }

    async fn version(connection: &mut sqlx::PgConnection) -> Result<String, sqlx::Error> {
        let full: String = sqlx::query_scalar("SHOW server_version").fetch_one(connection).await?;
        Ok(format!("PostgreSQL {}", full.split(' ').next().unwrap_or_default()))
    }

    fn judge(error: &dyn DatabaseError, options: &PgConnectOptions) -> Judgement {
        let code = error.code().unwrap_or_default();
        match code.as_ref() {
            // Starting up or shutting down; too many connections; connection exceptions.
            "57P01" | "57P02" | "57P03" | "53300" => Judgement::Wait,
            code if code.starts_with("08") => Judgement::Wait,
            "28P01" => Judgement::Act("check user and password of the URL".to_owned()),
            "28000" => Judgement::Act("check that the role exists and that pg_hba.conf lets it in".to_owned()),
            "3D000" => {
                let database = options.get_database().unwrap_or_else(|| options.get_username());
                Judgement::Act(format!("create it: createdb {database}"))
            }
            _ => Judgement::Unknown,
        }
    }
}
