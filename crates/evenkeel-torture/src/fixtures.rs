//! Where the fixtures are.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::table::Scenario;

const FIXTURE: &str = "torture-fixture";
/// The profile of the root Cargo.toml whose panics abort.
const ABORT_PROFILE: &str = "torture-abort";

/// The fixture, and its twin whose panics abort.
#[derive(Debug)]
pub struct Fixtures {
    usual: PathBuf,
    aborting: Result<PathBuf, String>,
}

impl Fixtures {
    /// Builds the twin of this fixture, if it is not there yet.
    #[must_use]
    pub fn beside(usual: PathBuf) -> Self {
        let aborting = build(&usual, ABORT_PROFILE);
        Self { usual, aborting }
    }

    /// Builds both in the target directory of this program, with the profile that it was built with itself.
    ///
    /// # Errors
    /// Why that cannot be done.
    pub fn of_program(program: &Path) -> Result<Self, String> {
        let usual = program.with_file_name(FIXTURE).with_extension(env::consts::EXE_EXTENSION);
        let profile = match profile_of(&usual)? {
            "debug" => "dev",
            other => other,
        };
        build(&usual, profile)?;
        Ok(Self::beside(usual))
    }

    /// The one for this scenario.
    ///
    /// # Errors
    /// Why it could not be built.
    pub fn of(&self, scenario: &Scenario) -> Result<&Path, &str> {
        if !scenario.aborts {
            return Ok(&self.usual);
        }
        self.aborting.as_deref().map_err(String::as_str)
    }
}

/// Programs are in a directory named after their profile.
fn profile_of(program: &Path) -> Result<&str, String> {
    let dir = program.parent().and_then(Path::file_name).and_then(OsStr::to_str);
    dir.ok_or_else(|| format!("{} is not in a target directory", program.display()))
}

/// Profiles stand beside each other in one target directory.
fn build(usual: &Path, profile: &str) -> Result<PathBuf, String> {
    let target = usual.parent().and_then(Path::parent).ok_or("the fixture is not in a target directory")?;
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--profile", profile, "--bin", FIXTURE])
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !built.status.success() {
        let why = String::from_utf8_lossy(&built.stderr);
        return Err(format!("the fixture cannot be built with profile {profile}: {}", why.trim()));
    }
    let name = usual.file_name().ok_or("the fixture has no name")?;
    Ok(target.join(if profile == "dev" { "debug" } else { profile }).join(name))
}
