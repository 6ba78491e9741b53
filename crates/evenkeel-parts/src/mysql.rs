//! MySQL and MariaDB.

use sqlx::{
    error::DatabaseError,
    mysql::{MySqlConnectOptions, MySqlDatabaseError},
};

use crate::{
    options::Options,
    pool::Pool,
    sql::{Dialect, Judgement},
};

/// How to connect to MySQL or MariaDB, and a pool's sizes. See [`Options`] for the defaults. Tested against MariaDB.
pub type MySql = Options<sqlx::MySql>;

/// What [`Parts::mysql`](crate::Parts::mysql) lends.
pub type MySqlPool = Pool<sqlx::MySql>;

impl MySql {
    /// Connects as a URL says: `mysql://user:password@host:3306/database`. A URL that cannot be one refuses the app
    /// before it starts.
    #[must_use]
    pub fn new(url: impl AsRef<str>) -> Self {
        Self::parsed(url.as_ref())
    }
}

impl Dialect for sqlx::MySql {
    const KIND: &'static str = "mysql";
    const SERVER: &'static str = "MySQL";
    const FORM: &'static str = "write it like `mysql://user:password@host:3306/database`";

    fn place(options: &MySqlConnectOptions) -> String {
        let database = options.get_database().unwrap_or_default();
        match options.get_socket() {
            Some(socket) => format!("{}/{database}", socket.display()),
            None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
        }
    }

    /// `10.11.14-MariaDB-0+deb12u2`, or `8.4.6`.
    async fn version(connection: &mut sqlx::MySqlConnection) -> Result<String, sqlx::Error> {
        let full: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(connection).await?;
        let server = if full.contains("MariaDB") { "MariaDB" } else { "MySQL" };
        Ok(format!("{server} {}", full.split('-').next().unwrap_or_default()))
    }

    fn judge(error: &dyn DatabaseError, options: &MySqlConnectOptions) -> Judgement {
        let number = error.try_downcast_ref::<MySqlDatabaseError>().map_or(0, MySqlDatabaseError::number);
        match number {
            // Too many connections; shutting down.
            1040 | 1053 | 1203 => Judgement::Wait,
            1044 => Judgement::Act("grant this user the database, or name another in the URL".to_owned()),
            1045 | 1698 => Judgement::Act("check user and password of the URL".to_owned()),
            1049 => {
                let database = options.get_database().unwrap_or_default();
                Judgement::Act(format!("create it: CREATE DATABASE {database}"))
            }
            1129 | 1130 => Judgement::Act("the server does not let this host in; check its grants".to_owned()),
            _ => Judgement::Unknown,
        }
    }
}
