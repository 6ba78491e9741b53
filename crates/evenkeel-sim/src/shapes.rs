//! Needs of a number and kind that is known only at run time, through the typed needs of the public API.
//!
//! A tuple of needs has one type for each shape. The functions here add one kind of need after the other, so that every
//! shape that a scenario can ask for is compiled once; lists are filled up to a size that exists by needing somebody
//! twice, which changes nothing. What was handed over is then poured into one [`Given`].

use evenkeel::{Handle, Lease, Needs, OptionalHandle, StartOnly, Watch};

use crate::perform::Value;

/// What a component was handed, all shapes alike.
#[derive(Default)]
pub(crate) struct Given {
    pub(crate) values: Vec<Lease<Value>>,
    pub(crate) units: Vec<Lease<()>>,
    pub(crate) watches: Vec<Watch<Value>>,
}

/// What can be poured into a [`Given`].
pub(crate) trait Pour {
    fn pour(self, into: &mut Given);

    fn given(self) -> Given
    where
        Self: Sized,
    {
        let mut given = Given::default();
        self.pour(&mut given);
        given
    }
}

impl Pour for () {
    fn pour(self, _: &mut Given) {}
}

impl Pour for Lease<Value> {
    fn pour(self, into: &mut Given) {
        into.values.push(self);
    }
}

impl Pour for Lease<()> {
    fn pour(self, into: &mut Given) {
        into.units.push(self);
    }
}

impl Pour for Watch<Value> {
    fn pour(self, into: &mut Given) {
        into.watches.push(self);
    }
}

impl<A: Pour, B: Pour> Pour for (A, B) {
    fn pour(self, into: &mut Given) {
        self.0.pour(into);
        self.1.pour(into);
    }
}

impl<A: Pour, B: Pour, C: Pour, D: Pour> Pour for (A, B, C, D) {
    fn pour(self, into: &mut Given) {
        self.0.pour(into);
        self.1.pour(into);
        self.2.pour(into);
        self.3.pour(into);
    }
}

/// A handle of a declared component.
pub(crate) enum Declared {
    Value(Handle<Value>),
    Unit(Handle<()>),
    OptionalValue(OptionalHandle<Value>),
    OptionalUnit,
}

/// Handles that a component needs, sorted by shape.
#[derive(Default)]
pub(crate) struct Wanted<'a> {
    /// At most four.
    pub(crate) values: Vec<&'a Handle<Value>>,
    pub(crate) unit: Option<&'a Handle<()>>,
    pub(crate) soft: Option<&'a Handle<Value>>,
    pub(crate) optional: Option<&'a OptionalHandle<Value>>,
    /// At most two.
    pub(crate) after: Vec<&'a Declared>,
}

/// Declares a component, whatever the shape of its needs.
pub(crate) trait Declare {
    fn declare<N: Needs<Given: Pour>>(self, needs: N) -> Declared;
}

pub(crate) fn declare(wanted: &Wanted<'_>, with: impl Declare) -> Declared {
    match wanted.values[..] {
        [] => add_unit((), wanted, with),
        [a] => add_unit(a, wanted, with),
        [a, b] => add_unit((a, b), wanted, with),
        [a, b, c] => add_unit((a, b, c, c), wanted, with),
        [a, b, c, d, ..] => add_unit((a, b, c, d), wanted, with),
    }
}

fn add_unit<N: Needs<Given: Pour>>(needs: N, wanted: &Wanted<'_>, with: impl Declare) -> Declared {
    match wanted.unit {
        None => add_soft(needs, wanted, with),
        Some(unit) => add_soft((needs, unit), wanted, with),
    }
}

fn add_soft<N: Needs<Given: Pour>>(needs: N, wanted: &Wanted<'_>, with: impl Declare) -> Declared {
    match (wanted.soft, wanted.optional) {
        (None, None) => add_after(needs, wanted, with),
        (Some(soft), None) => add_after((needs, soft.soft()), wanted, with),
        (None, Some(optional)) => add_after((needs, optional), wanted, with),
        (Some(soft), Some(optional)) => add_after((needs, (soft.soft(), optional)), wanted, with),
    }
}

fn add_after<N: Needs<Given: Pour>>(needs: N, wanted: &Wanted<'_>, with: impl Declare) -> Declared {
    match wanted.after[..] {
        [] => with.declare(needs),
        [a] => with.declare((needs, only(a))),
        [a, b, ..] => with.declare((needs, (only(a), only(b)))),
    }
}

fn only(declared: &Declared) -> StartOnly<'_> {
    match declared {
        Declared::Value(handle) => handle.start_only(),
        Declared::Unit(handle) => handle.start_only(),
        Declared::OptionalValue(_) | Declared::OptionalUnit => {
            unreachable!("the API offers no start after an optional component, and no scenario asks for it")
        }
    }
}
