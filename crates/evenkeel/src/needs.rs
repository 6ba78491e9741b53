//! What a component needs, and how it is handed over.
//!
//! Needing is the only way to get another component's value, and it is what draws the edge: start order, stop order and
//! restarts follow from who holds what, and nobody declares an order. A handle exists only after its component was
//! declared, so a cycle cannot be written.

use std::{marker::PhantomData, panic::Location, sync::Arc};

use evenkeel_plan::spec::{Edge, Id, Need};

use crate::{
    handle::{Handle, OptionalHandle, Soft, StartOnly},
    lease::{Holder, Lease, Watch},
    part::Part,
};

/// What a component needs: `()`, a reference to a handle, or a tuple of these (up to twelve).
///
/// | needed | given | edge |
/// |---|---|---|
/// | `&Handle<T>` | [`Lease<T>`](Lease) | hard: starts after, stops before, restarts with |
/// | `&OptionalHandle<T>`, `handle.soft()` | [`Watch<T>`](Watch) | soft: does not wait, stops before |
/// | `handle.start_only()` | `()` | start-only: only starts after |
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be needed",
    label = "not a reference to a handle",
    note = "need `()`, `&handle`, or a tuple of these: `(&db, &jobs)`"
)]
pub trait Needs: sealed::Sealed {
    /// What the component's closure is given.
    type Given: Send + 'static;

    /// The same needs without the handles, for the engine to keep.
    #[doc(hidden)]
    type Form: Form<Given = Self::Given>;

    /// Draws the edges.
    #[doc(hidden)]
    fn draw(&self, into: &mut Edges);
}

/// How needs are met when a component starts.
#[doc(hidden)]
pub trait Form: 'static {
    type Given: Send + 'static;

    /// Hands the values over; `None` if a needed component has ended in the meantime.
    fn give(lender: &mut Lender<'_>) -> Option<Self::Given>;
}

/// Edges in the order in which their values are handed over.
#[doc(hidden)]
#[derive(Default)]
pub struct Edges {
    pub(crate) needs: Vec<Need>,
    /// The app that each handle came from.
    pub(crate) apps: Vec<usize>,
}

impl Edges {
    fn push(&mut self, app: usize, on: Id, edge: Edge) {
        self.needs.push(Need { on, edge });
        self.apps.push(app);
    }
}

/// Walks through a component's needs and hands out leases to it.
#[doc(hidden)]
pub struct Lender<'a> {
    pub(crate) parts: std::slice::Iter<'a, Arc<Part>>,
    pub(crate) holder: &'a Arc<Holder>,
    pub(crate) site: &'static Location<'static>,
}

mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for () {}
impl Needs for () {
    type Given = ();
    type Form = ();
    fn draw(&self, _: &mut Edges) {}
}
impl Form for () {
    type Given = ();
    fn give(_: &mut Lender<'_>) -> Option<()> {
        Some(())
    }
}

/// A value that is held.
#[doc(hidden)]
pub struct Held<T>(PhantomData<fn() -> T>);
impl<T: Send + Sync + 'static> Form for Held<T> {
    type Given = Lease<T>;
    fn give(lender: &mut Lender<'_>) -> Option<Lease<T>> {
        lender.parts.next()?.slot()?.lease(lender.holder, lender.site)
    }
}

/// A value that is looked at.
#[doc(hidden)]
pub struct Watched<T>(PhantomData<fn() -> T>);
impl<T: Send + Sync + 'static> Form for Watched<T> {
    type Given = Watch<T>;
    fn give(lender: &mut Lender<'_>) -> Option<Watch<T>> {
        Some(Watch::new(lender.parts.next()?.clone(), lender.holder.clone()))
    }
}

/// No value.
#[doc(hidden)]
pub struct Waited;
impl Form for Waited {
    type Given = ();
    fn give(lender: &mut Lender<'_>) -> Option<()> {
        lender.parts.next().map(|_| ())
    }
}

impl<T, M> sealed::Sealed for &Handle<T, M> {}
impl<T: Send + Sync + 'static, M> Needs for &Handle<T, M> {
    type Given = Lease<T>;
    type Form = Held<T>;
    fn draw(&self, into: &mut Edges) {
        into.push(self.app(), self.id(), Edge::Hard);
    }
}

impl<T> sealed::Sealed for &OptionalHandle<T> {}
impl<T: Send + Sync + 'static> Needs for &OptionalHandle<T> {
    type Given = Watch<T>;
    type Form = Watched<T>;
    fn draw(&self, into: &mut Edges) {
        into.push(self.app(), self.id(), Edge::Soft);
    }
}

impl<T> sealed::Sealed for Soft<'_, T> {}
impl<T: Send + Sync + 'static> Needs for Soft<'_, T> {
    type Given = Watch<T>;
    type Form = Watched<T>;
    fn draw(&self, into: &mut Edges) {
        into.push(self.app, self.id, Edge::Soft);
    }
}

impl sealed::Sealed for StartOnly<'_> {}
impl Needs for StartOnly<'_> {
    type Given = ();
    type Form = Waited;
    fn draw(&self, into: &mut Edges) {
        into.push(self.app, self.id, Edge::StartOnly);
    }
}

macro_rules! tuples {
    ($(($($name:ident),+))+) => {$(
        impl<$($name: Needs),+> sealed::Sealed for ($($name,)+) {}
        impl<$($name: Needs),+> Needs for ($($name,)+) {
            type Given = ($($name::Given,)+);
            type Form = ($($name::Form,)+);
            #[allow(non_snake_case)]
            fn draw(&self, into: &mut Edges) {
                let ($($name,)+) = self;
                $($name.draw(into);)+
            }
        }
        impl<$($name: Form),+> Form for ($($name,)+) {
            type Given = ($($name::Given,)+);
            fn give(lender: &mut Lender<'_>) -> Option<Self::Given> {
                Some(($($name::give(lender)?,)+))
            }
        }
    )+};
}
tuples! {
    (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F) (A, B, C, D, E, F, G)
    (A, B, C, D, E, F, G, H) (A, B, C, D, E, F, G, H, I) (A, B, C, D, E, F, G, H, I, J)
    (A, B, C, D, E, F, G, H, I, J, K) (A, B, C, D, E, F, G, H, I, J, K, L)
}
