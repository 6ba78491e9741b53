//! Running cargo, and reading what its tests say while they say it.

use std::{
    env,
    io::{BufRead, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitCode, ExitStatus, Stdio},
};

use crate::tally::Tally;

/// The root of the work tree.
pub(crate) fn root() -> PathBuf {
    // The manifest as the running cargo sees it; the tree may have moved since this program was built.
    let here = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().unwrap_or_else(|| Path::new(".")).to_owned()
}

/// The cargo that started us.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Whether CI runs this; it may then install what it lacks.
pub(crate) fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty())
}

/// Whether `cargo NAME` can be run here.
pub(crate) fn has(name: &str) -> bool {
    let asked = command().args([name, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// Whether the workspace has a package of this name.
pub(crate) fn has_package(name: &str) -> bool {
    ["crates", "examples", "."].iter().any(|folder| root().join(folder).join(name).join("Cargo.toml").exists())
}

/// Whether a package has an integration test of this name.
pub(crate) fn has_test(package: &str, test: &str) -> bool {
    ["crates", "examples"].iter().any(|folder| {
        let tests = root().join(folder).join(package).join("tests");
        tests.join(format!("{test}.rs")).exists() || tests.join(test).join("main.rs").exists()
    })
}

/// Runs cargo as it is; whether it succeeded.
pub(crate) fn run(arguments: &[&str]) -> bool {
    said(arguments);
    command().args(arguments).status().is_ok_and(|status| status.success())
}

/// Runs a command, hands its output on line by line, and counts the tests it reports.
pub(crate) fn tested(mut command: Command) -> Outcome {
    let mut outcome = Outcome::default();
    let Some((mut child, lines)) = piped(&mut command) else { return outcome };
    for line in lines.map_while(Result::ok) {
        println!("{line}");
        outcome.tally.read(&line);
        if let Some(figure) = line.strip_prefix("figure: ") {
            outcome.figure = Some(figure.to_owned());
        }
    }
    outcome.succeeded = child.wait().is_ok_and(|status: ExitStatus| status.success());
    outcome
}

/// What a command's output told.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) succeeded: bool,
    pub(crate) tally: Tally,
    /// What it measured, from its last line `figure: ...`.
    pub(crate) figure: Option<String>,
}

fn piped(command: &mut Command) -> Option<(Child, Lines<BufReader<ChildStdout>>)> {
    match command.stdout(Stdio::piped()).spawn() {
        Ok(mut child) => {
            let output = child.stdout.take()?;
            Some((child, BufReader::new(output).lines()))
        }
        Err(error) => {
            eprintln!("error: {} cannot be run: {error}", command.get_program().display());
            None
        }
    }
}

/// Cargo with these arguments, said aloud.
pub(crate) fn with(arguments: &[&str]) -> Command {
    said(arguments);
    let mut command = command();
    command.args(arguments);
    command
}

fn said(arguments: &[&str]) {
    println!("$ cargo {}", arguments.join(" "));
}

pub(crate) fn exit_code(succeeded: bool) -> ExitCode {
    if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
