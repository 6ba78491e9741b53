//! The scenarios: what is done, and what has to come out.

use std::time::Duration;

/// The stop budget of every fixture.
pub const BUDGET: Duration = Duration::from_secs(3);
/// What the operating system may take on top: to schedule us, and to clear a process away.
pub const GRACE: Duration = Duration::from_millis(50);

/// One row.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name: unique, and what a person asks for.
    pub name: &'static str,
    /// The fixture's scenario.
    pub fixture: &'static str,
    /// The fixture's `--threads`.
    pub threads: &'static str,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// How soon the process has to be gone.
    pub bar: Bar,
    /// How it ends.
    pub end: End,
    /// All that the receipt names, in its order.
    pub culprits: Vec<&'static str>,
    /// Components that end in this order, as the receipt tells.
    pub order: Vec<Vec<&'static str>>,
    /// What the receipt says somewhere.
    pub says: Vec<&'static str>,
    /// Where its log goes.
    pub terminal: Terminal,
    /// Where its receipts go.
    pub disk: Disk,
    /// Whether a receipt is owed.
    pub receipt: bool,
    /// It takes all the machine's time, so that nothing can be measured beside it.
    pub greedy: bool,
    /// It needs the fixture whose panics abort.
    pub aborts: bool,
}

/// What is done to a fixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait until the log says this.
    Mark(&'static str),
    /// Wait until the control socket answers that the service runs.
    Running,
    /// Wait until the control socket answers that the service is in this state.
    State(&'static str),
    /// Wait until the control socket answers that this component is over.
    Over(&'static str),
    /// A client that asks this and stays.
    Ask(Ask),
    /// `SIGTERM`.
    Term,
    /// `SIGINT`.
    Int,
    /// The `stop` command in a process of its own; it has to end with this code.
    StopCommand(u8),
    /// Let this much time pass, where the moment itself is what is tried.
    Moment(Duration),
    /// Put a file where the state directory was.
    RuinStateDir,
    /// The time counts from here; without this, from the first signal or `stop`.
    Clock,
}

/// What a client does to the fixture's HTTP server. It keeps its connection and reads nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Nothing at all.
    Nothing,
    /// Half the head of a request.
    HalfHead,
    /// A GET of this path.
    Get(&'static str),
    /// A GET that is answered with this status.
    Answered(&'static str, u16),
    /// A POST to this path, of which half the body comes.
    HalfBody(&'static str),
    /// A GET of this path that wants another protocol.
    Upgrade(&'static str),
}

/// How soon a process has to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// [`GRACE`] after the budget, counted from the first order to stop.
    Budget,
    /// [`GRACE`] after the second signal.
    SecondSignal,
}

impl Bar {
    /// The time itself.
    #[must_use]
    pub fn limit(self) -> Duration {
        match self {
            Self::Budget => BUDGET + GRACE,
            Self::SecondSignal => GRACE,
        }
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this code.
    Code(i32),
    /// By this signal, which nobody handled.
    Signal(i32),
}

/// What standard error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// A pipe that is read.
    Read,
    /// A pipe that is full, and that nobody reads.
    Full,
    /// A pipe whose reader has gone away.
    Gone,
    /// Closed, like standard output.
    Closed,
}

/// What the places for receipts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Directories with room.
    Good,
    /// The state directory is on a file system that is mounted read-only.
    ReadOnly,
    /// The state directory is on a file system without room.
    Full,
    /// There is a file where the state directory should be.
    NotADirectory,
    /// `--receipt` names a device that is always full.
    FullDevice,
    /// `--receipt` names a pipe that nobody opens to read.
    DeafPipe,
}

impl Scenario {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            fixture: name,
            threads: "cores",
            steps: vec![Step::Running, Step::Term],
            bar: Bar::Budget,
            end: End::Code(0),
            culprits: Vec::new(),
            order: vec![vec!["api", "jobs", "db"]],
            says: Vec::new(),
            terminal: Terminal::Read,
            disk: Disk::Good,
            receipt: true,
            greedy: false,
            aborts: false,
        }
    }

    /// A row with a name of its own for a fixture that has a row already.
    fn of(fixture: &'static str, name: &'static str) -> Self {
        Self { fixture, ..Self::new(name) }
    }

    fn threads(self, threads: &'static str) -> Self {
        Self { threads, ..self }
    }

    fn steps(self, steps: impl Into<Vec<Step>>) -> Self {
        Self { steps: steps.into(), ..self }
    }

    /// It ends with this code, and these are to blame.
    fn ends(self, code: i32, culprits: &[&'static str]) -> Self {
        Self { end: End::Code(code), culprits: culprits.to_vec(), ..self }
    }

    fn after_second_signal(self) -> Self {
        Self { bar: Bar::SecondSignal, order: Vec::new(), ..self }
    }

    /// Nothing can be said about the order of the peers, but this.
    fn only_order(self, order: &[&'static str]) -> Self {
        let order = if order.is_empty() { Vec::new() } else { vec![order.to_vec()] };
        Self { order, ..self }
    }

    /// These end in this order as well.
    fn order(mut self, order: &[&'static str]) -> Self {
        self.order.push(order.to_vec());
        self
    }

    fn says(mut self, text: &'static str) -> Self {
        self.says.push(text);
        self
    }

    fn terminal(self, terminal: Terminal) -> Self {
        Self { terminal, ..self }
    }

    fn disk(self, disk: Disk) -> Self {
        Self { disk, ..self }
    }

    fn greedy(self) -> Self {
        Self { greedy: true, ..self }
    }

    fn aborts(self) -> Self {
        Self { aborts: true, ..self }
    }

    fn without_receipt(self) -> Self {
        Self { receipt: false, ..self }
    }
}

/// All of them.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    [
        clean(),
        start(),
        hang(),
        block(),
        panics(),
        aborts(),
        early(),
        signals(),
        leaks(),
        inside(),
        coordinators(),
        terminals(),
        disks(),
        http(),
        http_beside(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const STOPPED: i32 = 12;
const TERM: i32 = 128 + 15;
const INT: i32 = 128 + 2;

fn clean() -> Vec<Scenario> {
    vec![
        Scenario::new("clean"),
        Scenario::of("clean", "clean-on-one-thread").threads("current"),
        Scenario::of("clean", "clean-by-command").steps([Step::Running, Step::StopCommand(0)]),
        Scenario::of("floods-the-log", "floods-the-log")
            .steps([Step::Mark("flooding"), Step::Running, Step::Term])
            .greedy(),
    ]
}

/// Starts that fail, hang or are given up. Those without a signal count from the failure.
fn start() -> Vec<Scenario> {
    let signalled = [Step::Mark("opening"), Step::Term];
    let failing = [Step::Mark("opening"), Step::Clock];
    vec![
        Scenario::of("start-hangs", "signal-during-start").steps(signalled).only_order(&["bad", "db"]),
        Scenario::of("start-blocks", "signal-during-blocked-start")
            .steps(signalled)
            .ends(STOPPED, &["bad"])
            .only_order(&["bad", "db"])
            .says("holding the runtime thread"),
        Scenario::of("start-blocks", "signal-during-blocked-start-on-one-thread")
            .threads("current")
            .steps(signalled)
            .ends(STOPPED, &["bad"])
            .only_order(&[])
            .says("held up by `bad`"),
        Scenario::of("start-blocks", "two-signals-during-blocked-start-on-one-thread")
            .threads("current")
            .steps([Step::Mark("opening"), Step::Term, Step::Mark("stopping"), Step::Int])
            .ends(INT, &["bad"])
            .after_second_signal(),
        Scenario::new("start-fails").steps(failing).ends(10, &["bad"]).only_order(&["bad", "db"]),
        Scenario::of("panics-in-open", "panic-in-open")
            .steps(failing)
            .ends(10, &["bad"])
            .only_order(&["bad", "db"])
            .says("the open panics"),
        Scenario::new("start-times-out")
            .steps(failing)
            .ends(10, &["bad"])
            .only_order(&["bad", "db"])
            .says("not ready within"),
        Scenario::of("start-blocks-past-its-time", "start-times-out-blocked")
            .steps(failing)
            .ends(10, &["bad"])
            .only_order(&["bad", "db"]),
        Scenario::new("start-fails-rollback-hangs")
            .steps(failing)
            .ends(10, &["deaf", "bad"])
            .only_order(&["bad", "deaf", "db"]),
    ]
}

/// Stops that hang.
fn hang() -> Vec<Scenario> {
    vec![
        Scenario::of("stop-hangs", "hang-in-stop").ends(STOPPED, &["bad"]).order(&["bad", "db"]),
        Scenario::of("stop-hangs", "hang-in-stop-on-one-thread")
            .threads("current")
            .ends(STOPPED, &["bad"])
            .order(&["bad", "db"]),
        Scenario::of("close-hangs", "hang-in-close").ends(STOPPED, &["bad"]).order(&["bad", "db"]),
        Scenario::of("everything-hangs", "hang-everywhere")
            .ends(STOPPED, &["low", "middle", "bad"])
            .order(&["bad", "middle", "low", "db"]),
    ]
}

/// Code that holds a thread.
fn block() -> Vec<Scenario> {
    let blocked = [Step::Mark("blocking"), Step::Running, Step::Term];
    let bad = |scenario: Scenario| scenario.steps(blocked).ends(STOPPED, &["bad"]).order(&["bad", "db"]);
    // Who holds every thread holds up the peers as well, and is the only culprit all the same.
    let held_up = |scenario: Scenario| {
        scenario.steps(blocked).ends(STOPPED, &["bad"]).only_order(&[]).says("held up by `bad`").greedy()
    };
    vec![
        bad(Scenario::of("spins", "busy-loop")).says("holding the runtime thread").greedy(),
        held_up(Scenario::of("spins", "busy-loop-on-the-only-worker")).threads("1").says("holding the runtime thread"),
        held_up(Scenario::of("spins", "busy-loop-on-one-thread")).threads("current").says("holding the runtime thread"),
        held_up(Scenario::of("spins-everywhere", "busy-loop-on-all-workers")).says("holding the runtime thread"),
        bad(Scenario::of("task-spins", "busy-loop-in-a-task")).greedy(),
        bad(Scenario::of("sleeps", "blocking-code-on-a-worker")).says("holding the runtime thread"),
        bad(Scenario::of("blocking-work-awaited", "blocking-code-20s")).says("1 lease of `bad`"),
        bad(Scenario::of("blocking-work-awaited", "blocking-code-20s-on-one-thread")).threads("current"),
        Scenario::of("blocking-work-unowned", "blocking-code-of-nobody").steps(blocked),
        Scenario::of("drop-blocks", "drop-blocks").ends(STOPPED, &["bad"]).order(&["bad", "db"]),
        Scenario::of("value-drop-blocks", "drop-of-a-value-blocks").ends(STOPPED, &["bad"]).order(&["bad", "db"]),
        Scenario::of("close-blocks", "close-blocks").ends(STOPPED, &["bad"]).order(&["bad", "db"]),
        held_up(Scenario::of("spins", "stop-command-during-a-busy-loop")).threads("1").steps([
            Step::Mark("blocking"),
            Step::Running,
            Step::StopCommand(12),
        ]),
    ]
}

/// Panics that unwind. Those before a stop count from the panic.
fn panics() -> Vec<Scenario> {
    let panicking = [Step::Mark("panicking"), Step::Clock];
    vec![
        Scenario::of("panics-in-run", "panic-in-run")
            .steps(panicking)
            .ends(11, &["bad"])
            .order(&["bad", "db"])
            .says("the run panics"),
        Scenario::of("panics-in-task", "panic-in-task")
            .steps(panicking)
            .ends(11, &["bad"])
            .order(&["bad", "db"])
            .says("the task panics"),
        Scenario::of("panics-in-stop", "panic-in-stop")
            .ends(STOPPED, &["bad"])
            .order(&["bad", "db"])
            .says("the stop panics"),
        Scenario::of("panics-in-close", "panic-in-close")
            .ends(STOPPED, &["bad"])
            .order(&["bad", "db"])
            .says("the close panics"),
        Scenario::of("panics-in-drop", "panic-in-drop")
            .ends(STOPPED, &["bad"])
            .order(&["bad", "db"])
            .says("the drop panics"),
        Scenario::of("panics-in-drop-of-what-is-cut", "panic-in-drop-of-what-is-cut")
            .ends(STOPPED, &["bad"])
            .order(&["bad", "db"])
            .says("the drop panics"),
        Scenario::of("panics-in-drop-of-value", "panic-in-drop-of-a-value")
            .ends(STOPPED, &["bad"])
            .order(&["bad", "db"])
            .says("the drop panics"),
        Scenario::of("panics-in-error", "panic-in-an-error")
            .steps([Step::Mark("failing"), Step::Clock])
            .ends(11, &["bad"])
            .order(&["bad", "db"])
            .says("the error panics"),
    ]
}

/// The same where a panic aborts: nothing stops in order, but the receipt is written.
fn aborts() -> Vec<Scenario> {
    let abort = |scenario: Scenario| Scenario {
        end: End::Signal(6),
        culprits: vec!["bad"],
        ..scenario.aborts().only_order(&[])
    };
    vec![
        abort(Scenario::of("panics-in-run", "abort-in-run"))
            .steps([Step::Mark("panicking"), Step::Clock])
            .says("the run panics"),
        abort(Scenario::of("panics-in-stop", "abort-in-stop")).says("the stop panics"),
        abort(Scenario::of("panics-in-open", "abort-in-open"))
            .steps([Step::Mark("opening"), Step::Clock])
            .says("the open panics"),
        abort(Scenario::of("panics-in-run", "abort-with-a-deaf-pipe"))
            .steps([Step::Mark("panicking"), Step::Clock])
            .disk(Disk::DeafPipe),
        abort(Scenario::of("panics-in-run", "abort-with-stderr-full"))
            .steps([Step::Running, Step::Clock])
            .terminal(Terminal::Full),
    ]
}

/// Ends that nobody asked for.
fn early() -> Vec<Scenario> {
    vec![
        Scenario::of("ends-early", "early-ok")
            .steps([Step::Mark("ending"), Step::Clock])
            .ends(11, &["bad"])
            .order(&["bad", "db"])
            .says("returned `Ok`"),
        Scenario::of("fails", "early-error")
            .steps([Step::Mark("failing"), Step::Clock])
            .ends(11, &["bad"])
            .order(&["bad", "db"])
            .says("the queue is gone"),
    ]
}

/// More than one signal.
fn signals() -> Vec<Scenario> {
    // What has not had its turn when the second signal comes is no culprit; the peers have had theirs.
    let stuck = [Step::Mark("mark: stopping"), Step::Mark("jobs       released")];
    let twice = |first, second| [&[Step::Running, first][..], &stuck, &[second]].concat();
    // Signals of one kind are one while nobody has looked: each waits until the one before it was seen.
    let thrice = |first, second, third| [&twice(first, second)[..], &[Step::Mark("forced:"), third]].concat();
    let blocked = |rest: &[Step]| [&[Step::Mark("blocking"), Step::Running][..], rest].concat();
    let forced = ["bad"];
    vec![
        Scenario::of("stop-hangs", "two-signals")
            .steps(twice(Step::Term, Step::Term))
            .ends(TERM, &forced)
            .after_second_signal(),
        Scenario::of("stop-hangs", "two-signals-int")
            .steps(twice(Step::Int, Step::Int))
            .ends(INT, &forced)
            .after_second_signal(),
        Scenario::of("stop-hangs", "int-then-term")
            .steps(twice(Step::Int, Step::Term))
            .ends(TERM, &forced)
            .after_second_signal(),
        Scenario::of("stop-hangs", "term-then-int")
            .steps(twice(Step::Term, Step::Int))
            .ends(INT, &forced)
            .after_second_signal(),
        Scenario::of("stop-hangs", "stop-command-then-signals")
            .steps([Step::Running, Step::StopCommand(12), stuck[0], stuck[1], Step::Term, Step::Int])
            .ends(INT, &forced)
            .after_second_signal(),
        Scenario::of("stop-hangs", "three-signals")
            .steps(thrice(Step::Term, Step::Term, Step::Term))
            .ends(TERM, &[])
            .after_second_signal()
            .without_receipt(),
        Scenario::of("spins", "two-signals-during-a-busy-loop")
            .threads("1")
            .steps(blocked(&[Step::Int, Step::Mark("stopping: SIGINT"), Step::Int]))
            .ends(INT, &["bad"])
            .after_second_signal()
            .says("holding the runtime thread")
            .greedy(),
        Scenario::of("spins-everywhere", "three-signals-during-a-busy-loop")
            .steps(blocked(&[Step::Int, Step::Mark("stopping: SIGINT"), Step::Int, Step::Mark("forced:"), Step::Int]))
            .ends(INT, &[])
            .after_second_signal()
            .without_receipt()
            .greedy(),
        Scenario::of("blocking-work-awaited", "two-signals-during-blocking-code")
            .steps(blocked(&[Step::Int, stuck[1], Step::Int]))
            .ends(INT, &forced)
            .after_second_signal(),
        Scenario::of("coordinator-blocks", "two-signals-while-the-coordinator-blocks")
            .steps([Step::Running, Step::Term, Step::Mark("coordinating"), Step::Term])
            .ends(TERM, &["stop coordinator"])
            .after_second_signal(),
    ]
}

/// What is left behind, and what must not be.
fn leaks() -> Vec<Scenario> {
    vec![
        Scenario::new("leaks-a-lease").ends(STOPPED, &["bad"]).says("1 lease of `bad` taken at"),
        Scenario::new("leaks-a-lease-to-an-unowned-task").ends(STOPPED, &["bad"]).says("lease of `bad` taken at"),
        Scenario::of("leaks-a-task", "leaks-a-task")
            .steps([Step::Mark("waiting"), Step::Running, Step::Term])
            .ends(STOPPED, &["bad"])
            .order(&["bad", "db"])
            .says("leak.rs:"),
        Scenario::new("leaks-an-unowned-task"),
        Scenario::of("queue", "queue-loses-nothing").steps([Step::Mark("busy"), Step::Running, Step::Term]),
        Scenario::of("queue-careless", "queue-that-would-lose")
            .steps([Step::Mark("busy"), Step::Running, Step::Term])
            .ends(STOPPED, &["queue"])
            .says("items lost"),
    ]
}

/// Stops that come from inside.
fn inside() -> Vec<Scenario> {
    vec![
        Scenario::new("stops-the-service")
            .steps([Step::Mark("asking"), Step::Clock])
            .only_order(&["bad", "db"])
            .says("the shop is still closed"),
        Scenario::new("signals-itself").steps([Step::Mark("asking"), Step::Clock]),
        Scenario::new("asks-for-a-stop-and-waits-for-it")
            .steps([Step::Mark("asking"), Step::Clock])
            .ends(STOPPED, &["bad"])
            .order(&["bad", "db"]),
    ]
}

fn coordinators() -> Vec<Scenario> {
    vec![
        Scenario::new("coordinator-blocks").ends(STOPPED, &["stop coordinator"]).only_order(&[]),
        Scenario::new("coordinator-panics").ends(STOPPED, &["stop coordinator"]).says("the coordinator panics"),
        Scenario::new("coordinator-names-nobody").says("named nobody"),
        Scenario::new("coordinator-names-all-at-once").only_order(&["api", "db"]),
    ]
}

/// Standard error that nobody reads. It is named, and changes neither code nor time.
fn terminals() -> Vec<Scenario> {
    let blame = ["standard error"];
    vec![
        Scenario::of("clean", "stderr-full").terminal(Terminal::Full).ends(0, &blame).says("log lines were lost"),
        Scenario::of("floods-the-log", "stderr-full-and-flooded").terminal(Terminal::Full).ends(0, &blame).greedy(),
        Scenario::of("everything-hangs", "stderr-full-and-hang-everywhere")
            .terminal(Terminal::Full)
            .ends(STOPPED, &["low", "middle", "bad", "standard error"])
            .order(&["bad", "middle", "low", "db"]),
        Scenario::of("stop-hangs", "stderr-full-and-two-signals")
            .terminal(Terminal::Full)
            .steps([Step::Running, Step::Term, Step::Over("jobs"), Step::Term])
            .ends(TERM, &["bad", "standard error"])
            .after_second_signal(),
        Scenario::of("start-fails-rollback-hangs", "stderr-full-and-start-fails")
            .terminal(Terminal::Full)
            .steps([Step::State("stopping"), Step::Clock])
            .ends(10, &["deaf", "bad", "standard error"])
            .only_order(&["bad", "deaf", "db"]),
        Scenario::of("clean", "stderr-without-a-reader").terminal(Terminal::Gone).ends(0, &blame),
        Scenario::of("clean", "stdout-and-stderr-closed").terminal(Terminal::Closed),
        Scenario::of("stop-hangs", "stdout-and-stderr-closed-hang")
            .terminal(Terminal::Closed)
            .ends(STOPPED, &["bad"])
            .order(&["bad", "db"]),
    ]
}

/// Receipts that cannot be written. Who hinders them is named in the receipt that can be.
fn disks() -> Vec<Scenario> {
    let blame = ["state directory"];
    vec![
        Scenario::of("clean", "state-dir-read-only").disk(Disk::ReadOnly).ends(0, &blame),
        Scenario::of("clean", "state-dir-not-a-directory").disk(Disk::NotADirectory).ends(0, &blame),
        Scenario::of("clean", "state-dir-full").disk(Disk::Full).ends(0, &blame),
        Scenario::of("stop-hangs", "state-dir-full-and-hang")
            .disk(Disk::Full)
            .ends(STOPPED, &["bad", "state directory"])
            .order(&["bad", "db"]),
        Scenario::of("stop-hangs", "state-dir-full-and-two-signals")
            .disk(Disk::Full)
            .steps([Step::Running, Step::Term, Step::Over("jobs"), Step::Term])
            .ends(TERM, &["bad", "state directory"])
            .after_second_signal(),
        Scenario::of("clean", "state-dir-ruined-while-running")
            .steps([Step::Running, Step::RuinStateDir, Step::Term])
            .ends(0, &blame),
        Scenario::of("clean", "receipt-on-a-full-device").disk(Disk::FullDevice).ends(0, &["receipt file"]),
        Scenario::of("clean", "receipt-into-a-deaf-pipe").disk(Disk::DeafPipe).ends(0, &["receipt file"]),
    ]
}

/// Requests in flight, and connections that are no request yet. What is stuck is named with its route and what it did.
fn http() -> Vec<Scenario> {
    let row = |name, asks: &[Ask], mark: &'static str| {
        let asks = asks.iter().map(|ask| Step::Ask(*ask));
        let steps: Vec<Step> = [Step::Running].into_iter().chain(asks).chain([Step::Mark(mark), Step::Term]).collect();
        Scenario::of("http", name).steps(steps).ends(STOPPED, &["web"]).order(&["web", "db"])
    };
    let blocked = |name| row(name, &[Ask::Get("/blocks")], "mark: blocking").says("holding the runtime thread");
    let every = [
        Ask::Get("/hangs"),
        Ask::HalfBody("/uploads"),
        Ask::Get("/events"),
        Ask::Get("/endless"),
        Ask::HalfHead,
        Ask::Nothing,
        Ask::Upgrade("/upgrades"),
    ];
    vec![
        row("http-handler-hangs", &[Ask::Get("/hangs")], "mark: handling").says("handler at work").says("/hangs"),
        row("http-handler-hangs-on-one-thread", &[Ask::Get("/hangs")], "mark: handling")
            .threads("current")
            .says("handler at work"),
        row("http-slow-body", &[Ask::HalfBody("/uploads")], "mark: uploading").says("slow body").says("/uploads"),
        row("http-unread-answer", &[Ask::Get("/endless")], "mark: streaming").says("unread answer").says("/endless"),
        row("http-event-stream", &[Ask::Get("/events")], "mark: streaming").says("streaming").says("/events"),
        row("http-upgraded", &[Ask::Upgrade("/upgrades")], "mark: upgraded").says("upgraded").says("/upgrades"),
        row("http-every-way-at-once", &every, "mark: upgraded")
            .says("handler at work")
            .says("slow body")
            .says("streaming")
            .says("unread answer")
            .says("partial head")
            .says("upgraded"),
        // Nothing is lost with these.
        row("http-half-a-head", &[Ask::HalfHead, Ask::Answered("/", 200)], "running").ends(0, &[]).says("partial head"),
        row("http-silent", &[Ask::Nothing, Ask::Answered("/", 200)], "running").ends(0, &[]),
        row("http-handler-panics", &[Ask::Answered("/panics", 500), Ask::Answered("/", 200)], "mark: panicking")
            .ends(0, &[]),
        row("http-handler-ends-when-told", &[Ask::Get("/told")], "mark: handling").ends(0, &[]),
        blocked("http-handler-blocks"),
        blocked("http-handler-blocks-the-only-worker").threads("1").only_order(&[]),
        row("http-two-signals", &[Ask::Get("/hangs")], "mark: handling")
            .steps([
                Step::Running,
                Step::Ask(Ask::Get("/hangs")),
                Step::Mark("mark: handling"),
                Step::Term,
                Step::Mark("jobs       released"),
                Step::Term,
            ])
            .ends(TERM, &["web"])
            .after_second_signal(),
    ]
}

/// Requests in flight while something else misbehaves.
fn http_beside() -> Vec<Scenario> {
    let asks = |ask: Ask, mark: &'static str, rest: &[Step]| {
        [&[Step::Running, Step::Ask(ask), Step::Mark(mark)][..], rest].concat()
    };
    let told = |rest: &[Step]| asks(Ask::Get("/told"), "mark: handling", rest);
    let hangs = |rest: &[Step]| asks(Ask::Get("/hangs"), "mark: handling", rest);
    let panics = [Step::Mark("mark: panicking"), Step::Clock];
    vec![
        Scenario::new("http-beside-a-hang").steps(told(&[Step::Term])).ends(STOPPED, &["bad"]).order(&["web", "db"]),
        Scenario::of("http-beside-a-hang", "http-hangs-beside-a-hang")
            .steps(hangs(&[Step::Term]))
            .ends(STOPPED, &["web", "bad"])
            .order(&["bad", "db"])
            .order(&["web", "db"])
            .says("handler at work"),
        Scenario::new("http-beside-a-block")
            .steps(told(&[Step::Term]))
            .ends(STOPPED, &["bad"])
            .order(&["web", "db"])
            .says("holding the runtime thread"),
        Scenario::new("http-beside-a-panic").steps(told(&panics)).ends(11, &["bad"]).order(&["web", "db"]),
        Scenario::of("http-beside-a-panic", "http-hangs-beside-a-panic")
            .steps(hangs(&panics))
            .ends(11, &["web", "bad"])
            .order(&["web", "db"])
            .says("handler at work"),
        Scenario::new("http-on-a-close-that-hangs")
            .steps(told(&[Step::Term]))
            .ends(STOPPED, &["bad"])
            .order(&["web", "bad", "db"]),
    ]
}
