//! The command line that every program gets, and how a program adds its own to it.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource, value_parser};
use evenkeel_events::Format;

use super::{Exit, client, doctor, install, print, service};
use crate::App;

/// The id of `doctor --json`, apart from any that a program has given to an argument of its own.
const AS_JSON: &str = "doctor-json";

/// A program's command line: the commands of every service, and the program's own arguments and commands.
///
/// ```no_run
/// use clap::{Arg, Command};
/// use evenkeel::{App, CommandLine, Exit};
///
/// fn main() -> Exit {
///     let own = Command::new("orders").about("Takes orders").arg(Arg::new("listen").long("listen"));
///     let line = match CommandLine::of(own).parse() {
///         Ok(line) => line,
///         Err(exit) => return exit, // `--help`, or a mistake that has been explained
///     };
///     let listen: Option<&String> = line.matches().get_one("listen");
///     let app = App::new("orders");
///     // ... declare components with what was given ...
/// #   let _ = listen;
///     app.run_line(line)
/// }
/// ```
pub struct CommandLine {
    whole: Command,
    own: Vec<String>,
    own_args: Vec<clap::Id>,
    matches: Option<ArgMatches>,
    name: String,
}

/// What `run` was given.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) budget: Option<Duration>,
    pub(super) propagation_delay: Option<Duration>,
    pub(super) receipt: Option<PathBuf>,
    pub(super) log_format: Option<Format>,
    pub(super) log_level: Option<String>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) runtime_dir: Option<PathBuf>,
    #[cfg(feature = "http")]
    pub(super) admin: Option<AdminAt>,
}

/// An address, or nowhere.
#[cfg(feature = "http")]
type AdminAt = Option<std::net::SocketAddr>;

impl CommandLine {
    /// The command line of a program that has these arguments and commands of its own. Its own arguments may stand
    /// alone, or after `run`, `doctor`, `install` or `diff`.
    ///
    /// # Panics
    /// In debug builds, when an argument or command of its own has the name of one that every program gets.
    #[must_use]
    pub fn of(own: Command) -> Self {
        let name = own.get_name().to_owned();
        let own_commands = own.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        let own_args = own.get_arguments().map(|arg| arg.get_id().clone()).collect();
        let run_args: Vec<Arg> = own.get_arguments().cloned().chain(run_options()).collect();
        let whole = own
            .args(run_options())
            .subcommand_precedence_over_arg(true)
            .args_conflicts_with_subcommands(true)
            .disable_help_subcommand(true)
            .max_term_width(100)
            .subcommand(run_command(&name).args(run_args.clone()))
            .subcommand(doctor_command(&name, run_args.clone()))
            .subcommands(install_commands(&name, &run_args))
            .subcommands(commands(&name));
        Self { whole, own: own_commands, own_args, matches: None, name }
    }

    /// Reads the process's arguments.
    ///
    /// # Errors
    /// The exit of a program that was asked for help, or that could not make sense of its arguments; what there is to
    /// say has been said.
    pub fn parse(self) -> Result<Self, Exit> {
        self.parse_from(std::env::args_os())
    }

    /// Reads these arguments; the first is the program's name.
    ///
    /// # Errors
    /// See [`parse`](Self::parse).
    pub fn parse_from<I, T>(mut self, arguments: I) -> Result<Self, Exit>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        match self.whole.try_get_matches_from_mut(arguments) {
            Ok(matches) => {
                self.matches = Some(matches);
                Ok(self)
            }
            Err(error) => {
                // Nobody may be reading; the exit code says the rest.
                let _ = error.print();
                Err(Exit::new(u8::try_from(error.exit_code()).unwrap_or(1)))
            }
        }
    }

    /// The program's own arguments, wherever they stood.
    ///
    /// # Panics
    /// Before [`parse`](Self::parse).
    #[must_use]
    pub fn matches(&self) -> &ArgMatches {
        let matches = self.matches.as_ref().expect("the command line has been parsed");
        match matches.subcommand() {
            Some(("run" | "doctor" | "install" | "diff", below)) => below,
            _ => matches,
        }
    }

    /// The program's own command that was given, with its arguments; the program carries it out itself.
    ///
    /// # Panics
    /// Before [`parse`](Self::parse).
    #[must_use]
    pub fn own_command(&self) -> Option<(&str, &ArgMatches)> {
        let given = self.matches.as_ref().expect("the command line has been parsed").subcommand();
        given.filter(|(name, _)| self.own.iter().any(|own| own == name))
    }

    pub(super) fn carry_out(mut self, mut app: App) -> Exit {
        if self.matches.is_none() {
            self = match self.parse() {
                Ok(parsed) => parsed,
                Err(exit) => return exit,
            };
        }
        let matches = self.matches.take().expect("parsed above");
        let name = app.name.clone();
        match matches.subcommand() {
            Some(("status", at)) => client::status(&name, &place(at), at.get_flag("json")),
            Some(("stop", at)) => client::stop(&name, &place(at), at.get_flag("no-wait")),
            Some(("restart", at)) => client::restart(&name, &place(at), &how(at)),
            Some(("pause", at)) => client::pause(&name, &place(at), true),
            Some(("continue", at)) => client::pause(&name, &place(at), false),
            Some(("doctor", at)) => doctor::doctor(app, &options(at), as_json(at)),
            Some(("install", at)) => install::install(app, &options(at), &self.wish(at)),
            Some(("diff", at)) => install::diff(app, &options(at), &self.wish(at)),
            Some(("uninstall", at)) => install::uninstall(&name, unit_dir(at).as_deref()),
            Some(("graph", at)) => {
                options(at).apply(&mut app);
                client::graph(app, at.get_one::<String>("format").map_or("text", String::as_str))
            }
            Some(("receipt", at)) => client::receipt(&name, &place(at), &shape(at)),
            Some(("completions", at)) => self.completions(at),
            Some(("run", at)) => service::run(app, &options(at)),
            _ => service::run(app, &options(&matches)),
        }
    }

    /// What `install` was told; the arguments of `run` as they were written, so that the service is run by the same.
    fn wish(&self, at: &ArgMatches) -> install::Wish {
        let flag = |name: &str| at.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or(false);
        let run = self.whole.find_subcommand("run").into_iter().flat_map(Command::get_arguments);
        install::Wish {
            arguments: run.flat_map(|arg| as_written(arg, at)).collect(),
            user: at.try_get_one::<String>(UNIT_USER).ok().flatten().cloned(),
            units: unit_dir(at),
            print: flag("print-unit"),
            enable: !flag("no-enable"),
        }
    }

    fn completions(&mut self, at: &ArgMatches) -> Exit {
        let Some(shell) = at.get_one::<clap_complete::Shell>("shell").copied() else { return Exit::new(2) };
        let mut script = Vec::new();
        let name = self.name.clone();
        clap_complete::generate(shell, &mut self.whole, name, &mut script);
        print(&String::from_utf8_lossy(&script));
        Exit::new(0)
    }

    /// Names of the program's own arguments, for tests of the definition.
    #[doc(hidden)]
    #[must_use]
    pub fn own_arguments(&self) -> Vec<String> {
        self.own_args.iter().map(ToString::to_string).collect()
    }
}

impl Options {
    pub(super) fn apply(&self, app: &mut App) {
        if let Some(budget) = self.budget {
            app.settings.budget = budget;
        }
        if let Some(delay) = self.propagation_delay {
            app.settings.propagation_delay = delay;
        }
        #[cfg(feature = "http")]
        if let Some(admin) = self.admin {
            app.settings.admin = admin;
        }
    }
}

/// Where a running instance is looked for, and where receipts are.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) runtime_dir: Option<PathBuf>,
    pub(super) state_dir: Option<PathBuf>,
}

/// How `restart` goes about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub(super) stop_first: bool,
    pub(super) within: Duration,
    pub(super) wait: bool,
}

fn how(at: &ArgMatches) -> How {
    let within = at.get_one::<Duration>("within").copied().unwrap_or(WITHIN);
    How { stop_first: at.get_flag("stop-first"), within, wait: !at.get_flag("no-wait") }
}

/// How long a new process has to take over, by default.
const WITHIN: Duration = Duration::from_secs(60);

/// How `receipt` shows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    pub(super) json: bool,
    pub(super) svg: bool,
    pub(super) all: bool,
}

fn place(at: &ArgMatches) -> Place {
    let path = |name: &str| at.try_get_one::<PathBuf>(name).ok().flatten().cloned();
    Place { runtime_dir: path("runtime-dir"), state_dir: path("state-dir") }
}

/// Whether `doctor` reports as JSON.
fn as_json(at: &ArgMatches) -> bool {
    at.try_get_one(AS_JSON).ok().flatten().copied().unwrap_or(false)
}

fn shape(at: &ArgMatches) -> Shape {
    Shape { json: at.get_flag("json"), svg: at.get_flag("svg"), all: at.get_flag("all") }
}

fn options(at: &ArgMatches) -> Options {
    fn get<T: Clone + Send + Sync + 'static>(at: &ArgMatches, name: &str) -> Option<T> {
        at.try_get_one::<T>(name).ok().flatten().cloned()
    }
    Options {
        budget: get(at, "budget"),
        propagation_delay: get(at, "propagation-delay"),
        receipt: get(at, "receipt"),
        log_format: get::<String>(at, "log-format").map(|format| match format.as_str() {
            "json" => Format::Json,
            "journal" => Format::Journal,
            _ => Format::Human,
        }),
        log_level: get(at, "log-level"),
        state_dir: get(at, "state-dir"),
        runtime_dir: get(at, "runtime-dir"),
        #[cfg(feature = "http")]
        admin: get(at, "admin"),
    }
}

/// `3s`, `1m 30s`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let explain = || "write it like `30s` or `500ms`".to_owned();
    let span: jiff::SignedDuration = text.parse().map_err(|_| explain())?;
    Duration::try_from(span).map_err(|_| explain())
}

fn option(name: &'static str, value: &'static str, env: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value)
        .env(env)
        .hide_env_values(true)
        .help(help)
        .help_heading("Service options")
}

fn run_options() -> Vec<Arg> {
    vec![
        option("budget", "TIME", "EVENKEEL_BUDGET", "Time for a whole stop [default: the program's, else 30s]")
            .value_parser(duration),
        option(
            "propagation-delay",
            "TIME",
            "EVENKEEL_PROPAGATION_DELAY",
            "Keep serving this long after readiness is off, so that load balancers notice",
        )
        .value_parser(duration),
        option("receipt", "FILE", "EVENKEEL_RECEIPT", "Write the stop receipt here as well, as JSON")
            .value_parser(value_parser!(PathBuf)),
        option(
            "log-format",
            "FORMAT",
            "EVENKEEL_LOG_FORMAT",
            "How log lines look [default: journal if journald reads them, else human]",
        )
        .value_parser(["human", "json", "journal"]),
        option(
            "log-level",
            "LEVEL",
            "EVENKEEL_LOG_LEVEL",
            "error, warn, info, debug, trace, or a filter like `info,shop::db=debug`",
        ),
        state_dir(),
        runtime_dir(),
        #[cfg(feature = "http")]
        option(
            "admin",
            "ADDR",
            "EVENKEEL_ADMIN",
            "Where probes and status are answered over HTTP, or `off` [default: the program's, else 127.0.0.1:0]",
        )
        .value_parser(super::admin_addr),
    ]
}

fn state_dir() -> Arg {
    option(
        "state-dir",
        "DIR",
        "EVENKEEL_STATE_DIR",
        "Where receipts are kept [default: the platform's state directory]",
    )
    .value_parser(value_parser!(PathBuf))
}

fn runtime_dir() -> Arg {
    option(
        "runtime-dir",
        "DIR",
        "EVENKEEL_RUNTIME_DIR",
        "Where the control socket is [default: the platform's runtime directory]",
    )
    .value_parser(value_parser!(PathBuf))
}

fn run_command(name: &str) -> Command {
    Command::new("run")
        .about("Run the service until it is told to stop (the default)")
        .after_help(format!("Example:\n  {name} run --budget 20s --log-format json"))
}

/// It takes what `run` takes, so that it checks what would run. A program that has a `--json` of its own keeps it, and has
/// no report as JSON.
fn doctor_command(name: &str, run_args: Vec<Arg>) -> Command {
    let taken = run_args.iter().any(|arg| arg.get_long() == Some("json"));
    let json = Arg::new(AS_JSON).long("json").action(ArgAction::SetTrue).help("As JSON");
    Command::new("doctor")
        .about("Check what a start would need: configuration, directories, addresses, user, limits; starts nothing")
        .args((!taken).then_some(json))
        .args(run_args)
        .after_help(format!("Example:\n  {name} doctor --budget 20s"))
}

/// The id of `install --service-user`, apart from any that a program has given to an argument of its own.
const UNIT_USER: &str = "unit-user";

/// An argument and its values, if it stood on the command line.
fn as_written(arg: &Arg, at: &ArgMatches) -> Vec<OsString> {
    let id = arg.get_id().as_str();
    if at.try_contains_id(id).is_err() || at.value_source(id) != Some(ValueSource::CommandLine) {
        return Vec::new();
    }
    let name = arg.get_long().map(|long| format!("--{long}")).or_else(|| Some(format!("-{}", arg.get_short()?)));
    let takes_value = arg.get_action().takes_values();
    let values: Vec<OsString> =
        at.get_raw(id).filter(|_| takes_value).into_iter().flatten().map(OsString::from).collect();
    match name {
        None => values,
        Some(name) if values.is_empty() => vec![name.into()],
        Some(name) => values.into_iter().flat_map(|value| [name.clone().into(), value]).collect(),
    }
}

fn unit_dir(at: &ArgMatches) -> Option<PathBuf> {
    at.try_get_one::<PathBuf>("unit-dir").ok().flatten().cloned()
}

/// `install` and `diff` take what `run` takes, because that is what they install.
fn install_commands(name: &str, run_args: &[Arg]) -> [Command; 3] {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let dir = || {
        let arg = Arg::new("unit-dir").long("unit-dir").value_name("DIR").value_parser(value_parser!(PathBuf));
        arg.help("Where units are [default: /etc/systemd/system]").help_heading("Installation options")
    };
    let user = || {
        let arg = Arg::new(UNIT_USER).long("service-user").value_name("USER").help_heading("Installation options");
        arg.help("Run it as this user [default: one that systemd makes up, DynamicUser]")
    };
    let print = flag("print-unit", "Print the unit, and install nothing").help_heading("Installation options");
    let enable = flag("no-enable", "Do not start it with the machine").help_heading("Installation options");
    [
        Command::new("install")
            .about("Install it as a systemd service, with the arguments that are given here; starts nothing")
            .args([user(), dir(), print, enable])
            .args(run_args.iter().cloned())
            .after_help(format!("Example:\n  {name} install --budget 20s\n  systemctl start {name}")),
        Command::new("uninstall")
            .about("Stop the service and remove its unit; its state stays")
            .arg(dir())
            .after_help(format!("Example:\n  {name} uninstall")),
        Command::new("diff")
            .about("Show how the installed service differs from the one that would be installed (exit 1)")
            .args([user(), dir()])
            .args(run_args.iter().cloned())
            .after_help(format!("Example:\n  {name} diff --budget 20s")),
    ]
}

fn restart_command(name: &str) -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    Command::new("restart")
        .about("Start the program anew behind the same listening sockets; no request is lost")
        .long_about(
            "Start the program anew behind the same listening sockets; no request is lost.\n\n\
             A new process starts beside the running one, and takes over when it has proved through those sockets that \
             it serves. Whatever goes wrong before, the running process serves on. With `--stop-first` the running \
             process stops first and becomes the program anew, with the same process id: for programs of which there \
             cannot be two, and where the process id has to stay.",
        )
        .arg(flag("stop-first", "Stop first, then start in the same process; clients wait meanwhile"))
        .arg(flag("no-wait", "Return as soon as the new process serves, or the stop has begun"))
        .arg(
            Arg::new("within")
                .long("within")
                .value_name("TIME")
                .default_value("60s")
                .value_parser(duration)
                .help("How long the new process may take to be ready"),
        )
        .arg(runtime_dir())
        .after_help(format!("Example:\n  {name} restart --within 20s"))
}

fn commands(name: &str) -> Vec<Command> {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    vec![
        Command::new("status")
            .about("Show what the running service is doing")
            .arg(flag("json", "As JSON"))
            .arg(runtime_dir())
            .after_help(format!("Example:\n  {name} status --json")),
        Command::new("stop")
            .about("Stop the running service gracefully, and show the receipt")
            .arg(flag("no-wait", "Return as soon as the stop has begun"))
            .arg(runtime_dir())
            .after_help(format!("Example:\n  {name} stop")),
        restart_command(name),
        Command::new("pause")
            .about("Let no new work in; connections and everything else stay")
            .arg(runtime_dir())
            .after_help(format!("Example:\n  {name} pause")),
        Command::new("continue")
            .about("Let work in again after a pause")
            .arg(runtime_dir())
            .after_help(format!("Example:\n  {name} continue")),
        Command::new("graph")
            .about("Show start order, stop order, budgets and the worst-case stop time; starts nothing")
            .arg(
                Arg::new("format")
                    .long("format")
                    .value_parser(["text", "dot", "svg"])
                    .default_value("text")
                    .help("How to draw it"),
            )
            .args(run_options().into_iter().take(2))
            .after_help(format!("Example:\n  {name} graph --format svg > graph.svg")),
        Command::new("receipt")
            .about("Show the receipt of the last stop: what stopped, how long it took, what was lost")
            .arg(flag("json", "As JSON"))
            .arg(flag("svg", "As a picture").conflicts_with("json"))
            .arg(flag("all", "List all receipts that are kept").conflicts_with_all(["json", "svg"]))
            .arg(state_dir())
            .after_help(format!("Example:\n  {name} receipt --svg > stop.svg")),
        Command::new("completions")
            .about("Print a completion script for a shell")
            .arg(Arg::new("shell").required(true).value_parser(value_parser!(clap_complete::Shell)))
            .after_help(format!("Example:\n  {name} completions bash > /etc/bash_completion.d/{name}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r2_5a_doctor_takes_the_arguments_of_a_program_even_a_json_of_its_own() {
        let own = || Command::new("orders").arg(Arg::new("listen").long("listen"));
        let line = CommandLine::of(own()).parse_from(["orders", "doctor", "--listen", "here", "--json"]).ok().unwrap();
        assert_eq!(line.matches().get_one::<String>("listen").map(String::as_str), Some("here"));
        assert!(as_json(line.matches()));

        let with_json = own().arg(Arg::new("json").long("json").action(ArgAction::SetTrue));
        let line = CommandLine::of(with_json).parse_from(["orders", "doctor", "--json"]).ok().unwrap();
        assert!(line.matches().get_flag("json") && !as_json(line.matches()));
    }
}
