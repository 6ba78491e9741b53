//! The trait form of a component.
//!
//! [`App::resource`](crate::App::resource) and [`App::worker`](crate::App::worker) are closures over this shape. Implement
//! [`Component`] where one thing both lends a value and runs, or where it deserves a type with fields and tests of its own.

use std::{future::Future, time::Duration};

use crate::{Lease, Result, Stop};

/// A component with a type of its own. `Given` is what its needs hand over (see [`Needs`](crate::Needs)).
///
/// The engine calls the methods of one start in this order: `open`, then `run`, then `close`. It calls them on a shared
/// reference, and again from the top if the component is restarted.
pub trait Component<Given = ()>: Send + Sync + 'static {
    /// What it lends to those who need it.
    type Value: Send + Sync + 'static;

    /// The word for what it is, in `status` and logs.
    const KIND: &'static str = "component";

    /// Whether it only lends, as [`App::resource`](crate::App::resource) does: `run` is then not called, and it keeps no
    /// service going whose jobs are done.
    const LENDS_ONLY: bool = false;

    /// Opens what it lends. It is ready when this returns.
    ///
    /// Dropped half-way when the service stops during start or the start takes too long: what was acquired so far must
    /// be released by its own drop. [`Stop::doing`] says what a long opening waits for.
    fn open(&self, given: Given, stop: &Stop) -> impl Future<Output = Result<Self::Value>> + Send;

    /// What is worth knowing of it once it is ready, such as a URL: shown in the log, in `status` and by the startup
    /// probe. No secrets: everybody may read it.
    fn note(&self, value: &Self::Value) -> Option<String> {
        let _ = value;
        None
    }

    /// Runs until told to stop; returning earlier is a failure. By default it only waits.
    ///
    /// Dropped at the component's limit. `close` is called all the same.
    fn run(&self, value: Lease<Self::Value>, stop: Stop) -> impl Future<Output = Result> + Send {
        async move {
            drop(value);
            stop.requested().await;
            Ok(())
        }
    }

    /// Closes the value, after everybody who held it has given it back. By default it drops it.
    ///
    /// Dropped at the component's limit.
    fn close(&self, value: Self::Value) -> impl Future<Output = Result> + Send {
        async move {
            drop(value);
            Ok(())
        }
    }

    /// Like [`close`](Self::close), which it calls by default, for a component that can end in order before it is cut
    /// off: `allowed` is what is left of the time for its release. This one is called.
    fn close_within(&self, value: Self::Value, allowed: Duration) -> impl Future<Output = Result> + Send {
        let _ = allowed;
        self.close(value)
    }
}
