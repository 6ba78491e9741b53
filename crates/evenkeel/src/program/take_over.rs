//! A restart, from the side of the process that comes. The conversation is written down in [`restart`](super::restart).
//!
//! Policy: it does nothing that others could notice before the old process has told it to: no lock, no control socket, no
//! admin listener. If the old process is gone without a word, there is nobody else: this one takes the place at once, and
//! serves as soon as it can.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use evenkeel_events::Event;
use evenkeel_os::{
    handover::{Heard, Line},
    threads::spawn_named,
};
use evenkeel_plan::cause::Cause;
use tokio::{runtime::Handle, sync::mpsc::UnboundedSender};

use super::{
    front::Front,
    restart::{PROOF, Restart},
    seat::Seat,
};
use crate::{driver::Message, lease::lock};

/// How long what is left of a process that has closed its line may take to be gone.
const GONE: Duration = Duration::from_secs(5);

/// Where the driver says how far the start is. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct ToPredecessor {
    line: Arc<Mutex<Option<Line>>>,
}

impl ToPredecessor {
    pub(super) fn over(line: Option<&Line>) -> std::io::Result<Self> {
        let line = line.map(Line::try_clone).transpose()?;
        Ok(Self { line: Arc::new(Mutex::new(line)) })
    }

    /// The service runs.
    pub(super) fn running(&self) {
        self.say("running");
    }

    /// The service has ended before it had the place.
    pub(super) fn ended(&self, cause: &str) {
        self.say(&format!("failed it ended: {cause}"));
    }

    fn say(&self, word: &str) {
        if let Some(line) = &*lock(&self.line) {
            // A process that is gone needs no word; that it is gone is heard on the other thread.
            let _ = line.say(word);
        }
    }

    /// It has the place: nothing that happens now is the other's business.
    fn over_with(&self) {
        drop(lock(&self.line).take());
    }
}

/// What taking over needs.
pub(super) struct TakeOver {
    pub(super) line: Line,
    pub(super) to_predecessor: ToPredecessor,
    pub(super) seat: Arc<Seat>,
    pub(super) restart: Arc<Restart>,
    pub(super) front: Front,
    pub(super) user: Handle,
    pub(super) outbox: UnboundedSender<Message>,
}

impl TakeOver {
    /// Listens to the old process, on a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn begin(self) -> std::io::Result<()> {
        self.restart.predecessor(true);
        spawn_named("evenkeel-take-over", move || self.run()).map(drop)
    }

    fn run(mut self) {
        loop {
            match self.line.hear(None) {
                Ok(Heard::Said(said)) if said == "prove" => self.prove(),
                Ok(Heard::Said(said)) if said == "yours" => self.say("mine"),
                Ok(Heard::Said(said)) if said == "free" => break,
                Ok(Heard::Said(said)) => return self.leave(&said),
                Ok(Heard::Nothing) => {}
                Ok(Heard::Gone) => {
                    self.warn("the process before this one is gone without a word; this one takes its place");
                    // Its locks go last. If it is still there, it is a moment later that somebody else has them.
                    let _ = self.line.maker_gone(GONE);
                    break;
                }
                Err(error) => return self.leave(&format!("leave the line to it failed: {error}")),
            }
        }
        self.to_predecessor.over_with();
        self.seat.take_over(&self.restart);
        // It keeps the line until it has ended.
        while matches!(self.line.hear(None), Ok(Heard::Said(_) | Heard::Nothing)) {}
        self.restart.predecessor(false);
    }

    fn prove(&self) {
        match self.user.block_on(self.front.prove(PROOF)) {
            Ok(()) => self.say("proved"),
            Err(why) => self.say(&format!("failed {why}")),
        }
    }

    fn say(&self, word: &str) {
        let _ = self.line.say(word); // if nobody hears it, the next thing heard is that nobody is there
    }

    fn leave(&self, said: &str) {
        let why = said.strip_prefix("leave ").unwrap_or(said);
        let by = format!("the process before, which keeps its place ({why})");
        let _ = self.outbox.send(Message::Stop(Cause::Request { by }));
    }

    fn warn(&self, text: &str) {
        Event::Warning { text, hint: None }.log();
    }
}
