//! Where the fixtures are.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::table::Scenario;

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
        let aborting = build_aborting(&usual);
        Self { usual, aborting }
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

/// Profiles stand beside each other in one target directory.
fn build_aborting(usual: &Path) -> Result<PathBuf, String> {
    let target = usual.parent().and_then(Path::parent).ok_or("the fixture is not in a target directory")?;
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--offline", "--quiet", "--profile", ABORT_PROFILE, "--bin", "torture-fixture"])
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !built.status.success() {
        let why = String::from_utf8_lossy(&built.stderr);
        return Err(format!("no fixture whose panics abort: {}", why.trim()));
    }
    let name = usual.file_name().ok_or("the fixture has no name")?;
    Ok(target.join(ABORT_PROFILE).join(name))
}
