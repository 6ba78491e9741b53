//! MariaDB.

use std::{
    io::Read,
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use crate::{
    DATABASE, PASSWORD, USER,
    find::{free_port, missing, program},
    process::Server,
};

/// A MariaDB server: TCP on the loopback interface, one user with a password, one database.
pub struct MariaDb {
    server: Server,
    mariadbd: PathBuf,
    port: u16,
}

impl MariaDb {
    /// Starts one, or says aloud that it is not installed.
    #[must_use]
    pub fn start() -> Option<Self> {
        let mut mariadb = Self::prepare()?;
        mariadb.start_again();
        Some(mariadb)
    }

    /// One that is set up and has a port, and does not run yet.
    #[must_use]
    pub fn prepare() -> Option<Self> {
        let mariadbd = program("mariadbd", &["/usr/sbin", "/usr/libexec"]);
        let (Some(mariadbd), Some(install)) = (mariadbd, program("mariadb-install-db", &[])) else {
            missing("MariaDB", "mariadb-server");
            return None;
        };
        let server = Server::new("mariadb");
        let mut set_up = server.command(&install);
        set_up.arg("--no-defaults").arg(format!("--datadir={}", server.text("data")));
        set_up.args(["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]);
        server.run(&mut set_up);
        Some(Self { server, mariadbd, port: free_port() })
    }

    /// Starts it: for the first time, or after [`kill`](Self::kill), in the same directory and on the same port.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_again(&mut self) {
        let script = format!(
            "CREATE DATABASE IF NOT EXISTS {DATABASE};\n\
             CREATE USER IF NOT EXISTS {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON {DATABASE}.* TO {USER}@'127.0.0.1';\n\
             GRANT PROCESS ON *.* TO {USER}@'127.0.0.1';\n"
        );
        let script = self.server.write("make.sql", &script);
        let mut command: Command = self.server.command(&self.mariadbd);
        command.arg("--no-defaults").arg(format!("--datadir={}", self.server.text("data")));
        command.arg(format!("--socket={}", self.server.text("run/socket")));
        command.arg(format!("--pid-file={}", self.server.text("run/pid")));
        command.arg(format!("--init-file={}", script.display()));
        command.args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0"]);
        command.arg(format!("--port={}", self.port));
        let port = self.port;
        self.server.start(&mut command, || greets(port));
    }

    /// How to connect, with the password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// The port it listens at.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Stops it where it is: connections stay, and nothing is answered.
    pub fn freeze(&self) {
        self.server.freeze();
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.server.thaw();
    }
}

/// The server speaks first; before its set-up script is done, it does not listen.
fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    stream.read(&mut [0; 64]).is_ok_and(|read| read > 0)
}
