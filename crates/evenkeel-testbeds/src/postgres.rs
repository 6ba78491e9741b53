//! PostgreSQL.

use std::{path::PathBuf, process::Command};

use crate::{
    DATABASE, PASSWORD, USER,
    find::{free_port, missing, program},
    process::Server,
};

/// A PostgreSQL server: TCP on the loopback interface, passwords (SCRAM) asked for, one database.
pub struct Postgres {
    server: Server,
    bin: PathBuf,
    port: u16,
}

impl Postgres {
    /// Starts one, or says aloud that it is not installed.
    #[must_use]
    pub fn start() -> Option<Self> {
        let mut postgres = Self::prepare()?;
        postgres.start_again();
        Some(postgres)
    }

    /// One that is set up and has a port, and does not run yet.
    #[must_use]
    pub fn prepare() -> Option<Self> {
        // `initdb` and its server have to be of one version, so both come from where `initdb` is.
        let initdb = program("initdb", &["/usr/lib/postgresql/*/bin"]);
        let bin = initdb.as_ref().and_then(|initdb| initdb.parent()).filter(|bin| bin.join("postgres").is_file());
        let (Some(initdb), Some(bin)) = (&initdb, bin) else {
            missing("PostgreSQL", "postgresql");
            return None;
        };
        let server = Server::new("postgres");
        let password = server.write("password", PASSWORD);
        let mut set_up = server.command(initdb);
        set_up.arg("--pgdata").arg(server.path("data")).arg("--pwfile").arg(password);
        set_up.args(["--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync"]);
        server.run(&mut set_up);
        Some(Self { bin: bin.to_owned(), port: free_port(), server })
    }

    /// Starts it: for the first time, or after [`kill`](Self::kill), in the same directory and on the same port.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_again(&mut self) {
        let mut command = self.server.command(&self.bin.join("postgres"));
        command.arg("-D").arg(self.server.path("data"));
        command.arg("-k").arg(self.server.path("run")).args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        // A test's data need not survive the machine.
        command.args(["-c", "fsync=off", "-c", "max_connections=40"]);
        let (bin, port) = (self.bin.clone(), self.port.to_string());
        self.server.start(&mut command, || succeeds(ready(&bin, &port)));
        self.make_database();
    }

    fn make_database(&self) {
        let mut make = self.server.command(&self.bin.join("psql"));
        make.env("PGPASSWORD", PASSWORD).args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER]);
        let script = format!(
            "SELECT 'CREATE DATABASE {DATABASE}' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{DATABASE}') \\gexec\n"
        );
        let script = self.server.write("make.sql", &script);
        make.args(["-d", "postgres", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]).arg(script);
        self.server.run(&mut make);
    }

    /// How to connect, with the password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// The port it listens at.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// As `kill -9`, with all its processes.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Stops its processes where they are: connections stay, and nothing is answered.
    pub fn freeze(&self) {
        self.server.freeze();
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.server.thaw();
    }
}

fn ready(bin: &std::path::Path, port: &str) -> Command {
    let mut ready = Command::new(bin.join("pg_isready"));
    ready.args(["-q", "-h", "127.0.0.1", "-p", port, "-t", "5"]);
    ready
}

fn succeeds(mut command: Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}
