//! `evenkeel-journal`: looks at a journal that no program has open, and cuts it off where it is damaged.
//!
//! Exit codes: 0 all is whole, or was repaired; 1 damage, or another error; 2 wrong use.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use evenkeel_journal::{
    Error,
    disk::OsDisk,
    tools::{Repair, dump, repair, verify},
};

/// Look at a journal that no program has open, and cut it off where it is damaged.
#[derive(Parser)]
#[command(name = "evenkeel-journal", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read everything and recompute every checksum; say where the first damage is.
    Verify {
        /// The journal's directory.
        directory: PathBuf,
    },
    /// Write every record on a line: its sequence, its segment, its content.
    Dump {
        /// The journal's directory.
        directory: PathBuf,
    },
    /// Cut the log off at its first damage. What is cut off is kept as `damaged-*`.
    Repair {
        /// The journal's directory.
        directory: PathBuf,
        /// Change nothing; say what would be done.
        #[arg(long)]
        dry_run: bool,
    },
}

fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    let done = match Arguments::parse().command {
        Command::Verify { directory } => opened(directory).and_then(|disk| say_verified(&mut out, &disk)),
        Command::Dump { directory } => opened(directory).and_then(|disk| say_records(&mut out, &disk)),
        Command::Repair { directory, dry_run } => {
            opened(directory).and_then(|disk| say_repaired(&mut out, &disk, dry_run))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let reason = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            let _ = writeln!(io::stderr(), "error: {error}{reason}\nhint: {}", error.hint()); // nowhere else to say it
            ExitCode::FAILURE
        }
    }
}

/// Creates nothing: a name that is mistyped is an error.
fn opened(directory: PathBuf) -> Result<OsDisk, Error> {
    let seen = std::fs::metadata(directory.join("manifest"));
    let doing = || format!("find a journal in {}", directory.display());
    seen.map_err(|source| Error::Io { doing: doing(), source: source.into() })?;
    OsDisk::new(directory)
}

fn said(written: io::Result<()>) -> Result<(), Error> {
    written.map_err(|source| Error::Io { doing: "write to standard output".to_owned(), source: source.into() })
}

fn say_verified(out: &mut impl Write, disk: &OsDisk) -> Result<(), Error> {
    let found = verify(disk)?;
    let ended = if found.clean { "closed in order" } else { "not closed in order" };
    said(writeln!(out, "whole: {} records in {} segments, {ended}", found.records, found.segments))?;
    said(writeln!(out, "checkpoint as of record {}, last record {}", found.checkpoint, found.last_seq))?;
    if let Some((file, offset)) = found.torn {
        said(writeln!(out, "{file} is torn at byte {offset}: the next start cuts it off there, and loses nothing"))?;
    }
    Ok(())
}

fn say_records(out: &mut impl Write, disk: &OsDisk) -> Result<(), Error> {
    dump(disk, |record| {
        let body = String::from_utf8_lossy(record.body);
        said(writeln!(out, "{}\t{}\t{}", record.seq, record.segment, body.escape_debug()))
    })
}

fn say_repaired(out: &mut impl Write, disk: &OsDisk, dry_run: bool) -> Result<(), Error> {
    let steps = repair(disk, dry_run)?;
    let would = if dry_run { "would " } else { "" };
    if steps.is_empty() {
        return said(writeln!(out, "nothing to repair"));
    }
    for step in steps {
        said(match step {
            Repair::Cut { file, offset, last_seq } => {
                writeln!(out, "{would}cut {file} to {offset} bytes; record {last_seq} is the last in it")
            }
            Repair::SetAside { file } => writeln!(out, "{would}set {file} aside as damaged-{file}"),
        })?;
    }
    Ok(())
}
