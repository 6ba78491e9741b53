//! Many small questions, answered together: one piece of work on the database for all that wait.

use evenkeel::{Result, Stop};
use tokio::sync::{mpsc, oneshot};

use super::{Failed, Refused, Store, Tx};

/// Questions that come from many tasks.
pub(crate) struct Batches<Q, A> {
    waiting: mpsc::Sender<(Q, oneshot::Sender<A>)>,
}

impl<Q, A> Clone for Batches<Q, A> {
    fn clone(&self) -> Self {
        Self { waiting: self.waiting.clone() }
    }
}

/// The other end: where they are answered.
pub(crate) struct Served<Q, A> {
    questions: mpsc::Receiver<(Q, oneshot::Sender<A>)>,
}

impl<Q: Send + 'static, A: Send + 'static> Batches<Q, A> {
    /// As many may wait.
    pub(crate) fn new(waiting: usize) -> (Self, Served<Q, A>) {
        let (waiting, questions) = mpsc::channel(waiting);
        (Self { waiting }, Served { questions })
    }

    /// Asks, for a request: it is sent away when too many wait. When this returns `Ok`, what was answered is on disk.
    ///
    /// Dropping the future does not undo what was asked.
    pub(crate) async fn ask_now(&self, question: Q) -> Result<A, Refused> {
        let (reply, answer) = oneshot::channel();
        self.waiting.try_send((question, reply)).map_err(|full| match full {
            mpsc::error::TrySendError::Full(_) => Refused::Busy,
            mpsc::error::TrySendError::Closed(_) => Refused::NotKept,
        })?;
        answer.await.map_err(|_| Refused::NotKept)
    }

    /// Asks, and waits for its turn.
    pub(crate) async fn ask(&self, question: Q) -> Result<A, Refused> {
        let (reply, answer) = oneshot::channel();
        self.waiting.send((question, reply)).await.map_err(|_| Refused::NotKept)?;
        answer.await.map_err(|_| Refused::NotKept)
    }
}

impl<Q: Send + 'static, A: Send + 'static> Served<Q, A> {
    /// Answers until it is told to stop, and then what waits already. `work` gives one answer to each question, in
    /// order; `done` is called after each commit.
    pub(crate) async fn serve<W>(mut self, store: &Store, batch: usize, stop: &Stop, work: W, done: impl Fn()) -> Result
    where
        W: Fn(&mut dyn Tx, Vec<Q>) -> Result<Vec<A>, Failed> + Clone + Send + 'static,
    {
        loop {
            let mut taken = Vec::with_capacity(batch);
            if stop.or(self.questions.recv_many(&mut taken, batch)).await.is_none() {
                while let Ok(next) = self.questions.try_recv() {
                    taken.push(next);
                }
            }
            if taken.is_empty() {
                return Ok(());
            }
            let (questions, replies): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
            let work = work.clone();
            // If this fails, the replies are dropped, which says so.
            if let Ok(answers) = store.change(move |tx| work(tx, questions)).await {
                done();
                for (reply, answer) in replies.into_iter().zip(answers) {
                    // Whoever went away in the meantime needs no answer.
                    let _ = reply.send(answer);
                    drop(stop.work()); // counted as drained, during a stop
                }
            }
        }
    }
}
