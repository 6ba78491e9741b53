//! The trait form of a component.
//!
//! [`App::resource`](crate::App::resource) and [`App::worker`](crate::App::worker) are closures over this shape. Implement
//! [`Component`] where one thing both lends a value and runs, or where it deserves a type with fields and tests of its own.

use std::future::Future;

use crate::{Lease, Result, Stop};

/// A component with a type of its own. `Given` is what its needs hand over (see [`Needs`](crate::Needs)).
///
/// The engine calls the methods of one start in this order: `open`, then `run`, then `close`. It calls them on a shared
/// reference, and again from the top if the component is restarted.
pub trait Component<Given = ()>: Send + Sync + 'static {
    /// What it lends to those who need it.
    type Value: Send + Sync + 'static;

    /// Opens what it lends. It is ready when this returns.
    ///
    /// Dropped half-way when the service stops during start or the start takes too long: what was acquired so far must
    /// be released by its own drop.
    fn open(&self, given: Given, stop: &Stop) -> impl Future<Output = Result<Self::Value>> + Send;

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
}
