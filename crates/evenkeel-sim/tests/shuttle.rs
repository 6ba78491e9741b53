//! Models of what threads share, through their interleavings.
//!
//! Slots and the gate stand on tokio's `Notify`, orders and scopes on the waker of the one life that waits for them:
//! neither can be scheduled by shuttle. So their protocols are written down here a second time, step for step, over
//! shuttle's locks and atomics, with a [`Notify`] that promises what tokio's promises (`notify_waiters` wakes everybody
//! whose wait was *created* before) and a [`Bell`] that promises what a waker does. Each model says which function it follows; whoever changes that function changes the model. Where a
//! wrong order of two steps was once a bug, the wrong order is here as well and must be found.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use shuttle::{
    check_pct, check_random,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
    thread,
};

const SCHEDULES: usize = 1_000;
const DEPTH: usize = 3;

fn explore(test: impl Fn() + Send + Sync + Clone + 'static) {
    check_random(test.clone(), SCHEDULES);
    check_pct(test, SCHEDULES, DEPTH);
}

/// Whether some schedule ends in a panic: a failed assertion, or everybody waiting for ever.
fn some_schedule_fails(test: impl Fn() + Send + Sync + Clone + 'static) -> bool {
    catch_unwind(AssertUnwindSafe(|| explore(test))).is_err()
}

fn with<T: Send + Sync + 'static, R: Send + 'static>(
    shared: &Arc<T>,
    act: impl FnOnce(&Arc<T>) -> R + Send + 'static,
) -> thread::JoinHandle<R> {
    let shared = shared.clone();
    thread::spawn(move || act(&shared))
}

/// What tokio's `Notify` promises to any number of waiters.
#[derive(Default)]
struct Notify {
    state: Mutex<Notified>,
    changed: Condvar,
}

#[derive(Default)]
struct Notified {
    turn: u64,
}

impl Notify {
    fn notify_waiters(&self) {
        self.state.lock().unwrap().turn += 1;
        self.changed.notify_all();
    }

    /// Creates a wait, which hears of everything from here on.
    fn notified(&self) -> u64 {
        self.state.lock().unwrap().turn
    }

    fn wait(&self, created: u64) {
        let mut state = self.state.lock().unwrap();
        while state.turn == created {
            state = self.changed.wait(state).unwrap();
        }
    }
}

/// `scope::Scope::until` and `ring`: whoever rings wakes the one who has registered, if there is one.
#[derive(Default)]
struct Bell {
    registered: Mutex<Option<Arc<Woken>>>,
}

#[derive(Default)]
struct Woken {
    yes: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        if let Some(waiter) = self.registered.lock().unwrap().take() {
            *waiter.yes.lock().unwrap() = true;
            waiter.changed.notify_all();
        }
    }

    fn until(&self, look: impl Fn() -> bool) {
        loop {
            let woken = self.register();
            if look() {
                return;
            }
            woken.wait();
        }
    }

    /// The wrong order of the two: what changes in between is not heard.
    fn until_looking_first(&self, look: impl Fn() -> bool) {
        while !look() {
            self.register().wait();
        }
    }

    fn register(&self) -> Arc<Woken> {
        let woken = Arc::new(Woken::default());
        *self.registered.lock().unwrap() = Some(woken.clone());
        woken
    }
}

impl Woken {
    fn wait(&self) {
        let mut yes = self.yes.lock().unwrap();
        while !*yes {
            yes = self.changed.wait(yes).unwrap();
        }
    }
}

/// `part::Orders` and `Incarnation`: the driver tells, the life waits and spends.
#[derive(Default)]
struct Orders {
    told: AtomicU8,
    bell: Bell,
}

impl Orders {
    const STOP: u8 = 1;
    const RELEASE: u8 = 2;
    const CUT_DRAIN: u8 = 8;
    const CUT_CLOSE: u8 = 16;

    fn tell(&self, order: u8) {
        self.told.fetch_or(order, Ordering::AcqRel);
        self.bell.ring();
    }

    fn told(&self, any: u8) -> bool {
        self.told.load(Ordering::Acquire) & any != 0
    }

    fn wait(&self, any: u8) {
        self.bell.until(|| self.told(any));
    }

    fn spend(&self, cut: u8) {
        self.told.fetch_and(!cut, Ordering::AcqRel);
    }
}

#[test]
fn no_order_is_lost_between_the_look_and_the_wait() {
    explore(|| {
        let orders = Arc::new(Orders::default());
        let life = with(&orders, |orders| {
            orders.wait(Orders::STOP);
            orders.wait(Orders::RELEASE);
        });
        orders.tell(Orders::STOP);
        orders.tell(Orders::RELEASE);
        life.join().unwrap();
    });
}

#[test]
fn who_looks_before_registering_may_sleep_for_ever() {
    let wait = || {
        let orders = Arc::new(Orders::default());
        let life = with(&orders, |orders| orders.bell.until_looking_first(|| orders.told(Orders::STOP)));
        orders.tell(Orders::STOP);
        life.join().unwrap();
    };
    assert!(some_schedule_fails(wait));
}

#[test]
fn spending_a_cut_takes_no_other_order_along() {
    explore(|| {
        let orders = Arc::new(Orders::default());
        let life = with(&orders, |orders| {
            orders.wait(Orders::CUT_DRAIN);
            orders.spend(Orders::CUT_DRAIN);
            orders.wait(Orders::RELEASE);
        });
        orders.tell(Orders::STOP);
        orders.tell(Orders::CUT_DRAIN);
        orders.tell(Orders::RELEASE);
        life.join().unwrap();
        assert!(orders.told(Orders::STOP) && !orders.told(Orders::CUT_DRAIN));
    });
}

/// The drain ends as its cut is told. With one cut for all stages, it would hit the close that comes next.
fn late_cut(cut_of_the_close: u8) {
    let orders = Arc::new(Orders::default());
    let life = with(&orders, move |orders| {
        // The drain has ended by itself; nobody spends the cut that is on its way.
        orders.wait(Orders::RELEASE);
        assert!(!orders.told(cut_of_the_close), "the close is cut before it began");
    });
    orders.tell(Orders::CUT_DRAIN);
    orders.tell(Orders::RELEASE);
    life.join().unwrap();
}

#[test]
fn a_cut_of_the_drain_never_hits_the_close() {
    explore(|| late_cut(Orders::CUT_CLOSE));
    assert!(some_schedule_fails(|| late_cut(Orders::CUT_DRAIN)));
}

/// `lease::Slot`: users take leases and give them back, the owner closes the slot, waits and takes the value.
struct Slot {
    state: Mutex<SlotState>,
    out: AtomicUsize,
    returned: Notify,
}

struct SlotState {
    value: Option<Arc<()>>,
    open: bool,
}

/// The value goes back before the slot hears of it.
struct Lease {
    value: Option<Arc<()>>,
    slot: Arc<Slot>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.value.take());
        if self.slot.out.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.slot.returned.notify_waiters();
        }
    }
}

impl Slot {
    fn new() -> Arc<Self> {
        let state = SlotState { value: Some(Arc::new(())), open: true };
        Arc::new(Self { state: Mutex::new(state), out: AtomicUsize::new(0), returned: Notify::default() })
    }

    fn lease(self: &Arc<Self>) -> Option<Lease> {
        let state = self.state.lock().unwrap();
        if !state.open {
            return None;
        }
        let value = state.value.clone()?;
        self.out.fetch_add(1, Ordering::AcqRel);
        Some(Lease { value: Some(value), slot: self.clone() })
    }

    /// The bug that was: asked under one lock, taken under another, counted under none.
    fn lease_counted_late(self: &Arc<Self>) -> Option<Lease> {
        if !self.state.lock().unwrap().open {
            return None;
        }
        let value = self.state.lock().unwrap().value.clone()?;
        self.out.fetch_add(1, Ordering::AcqRel);
        Some(Lease { value: Some(value), slot: self.clone() })
    }

    fn close(&self) {
        self.state.lock().unwrap().open = false;
    }

    fn all_back(&self) {
        loop {
            let returned = self.returned.notified();
            if self.out.load(Ordering::Acquire) == 0 {
                return;
            }
            self.returned.wait(returned);
        }
    }

    /// Closes by value: nobody else may hold it.
    fn take(&self) {
        self.close();
        self.all_back();
        let value = self.state.lock().unwrap().value.take().unwrap();
        assert_eq!(Arc::strong_count(&value), 1, "the value is still held although no lease is out");
    }
}

fn lease_against_close(lease: fn(&Arc<Slot>) -> Option<Lease>) {
    let slot = Slot::new();
    let held = slot.lease().unwrap();
    let early = with(&slot, move |_| drop(held));
    let late = with(&slot, move |slot| drop(lease(slot)));
    slot.take();
    assert!(slot.lease().is_none());
    early.join().unwrap();
    late.join().unwrap();
}

#[test]
fn a_value_is_taken_when_the_last_lease_is_back_and_never_before() {
    explore(|| lease_against_close(Slot::lease));
    assert!(some_schedule_fails(|| lease_against_close(Slot::lease_counted_late)));
}

/// `part::Part::lend` and `stop_lending`: a value that becomes ready while its component is told to stop.
#[derive(Default)]
struct Part {
    current: Mutex<(Option<Arc<AtomicBool>>, bool)>,
}

impl Part {
    fn lend(&self, open: &Arc<AtomicBool>) {
        let mut current = self.current.lock().unwrap();
        current.0 = Some(open.clone());
        if current.1 {
            open.store(false, Ordering::Release);
        }
    }

    /// The bug that was: only the slot that is there already was closed.
    fn lend_whatever_was_said(&self, open: &Arc<AtomicBool>) {
        self.current.lock().unwrap().0 = Some(open.clone());
    }

    fn stop_lending(&self) {
        let mut current = self.current.lock().unwrap();
        current.1 = true;
        let slot = current.0.clone();
        drop(current);
        if let Some(slot) = slot {
            slot.store(false, Ordering::Release);
        }
    }
}

fn lend_against_stop(lend: fn(&Part, &Arc<AtomicBool>)) {
    let part = Arc::new(Part::default());
    let slot = Arc::new(AtomicBool::new(true));
    let life = with(&part, {
        let slot = slot.clone();
        move |part| lend(part, &slot)
    });
    part.stop_lending();
    life.join().unwrap();
    assert!(!slot.load(Ordering::Acquire), "a component that is told to stop goes on lending");
}

#[test]
fn what_is_told_to_stop_lends_nothing_even_if_it_becomes_ready_just_then() {
    explore(|| lend_against_stop(Part::lend));
    assert!(some_schedule_fails(|| lend_against_stop(Part::lend_whatever_was_said)));
}

/// `scope::Scope`: tasks are spawned, end, and are aborted, each on a thread of its own.
#[derive(Default)]
struct Scope {
    tasks: Mutex<Tasks>,
    bell: Bell,
}

#[derive(Default)]
struct Tasks {
    /// By key; the handle that aborts it, once it is known.
    running: BTreeMap<usize, Option<Arc<Abort>>>,
    next: usize,
    closed: bool,
}

/// A task's abort handle; the task looks at it, or waits for it.
#[derive(Default)]
struct Abort {
    told: Mutex<bool>,
    changed: Condvar,
}

impl Abort {
    fn abort(&self) {
        *self.told.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn aborted(&self) {
        let mut told = self.told.lock().unwrap();
        while !*told {
            told = self.changed.wait(told).unwrap();
        }
    }
}

impl Scope {
    /// `deaf`: the task ends only when it is aborted.
    fn spawn(self: &Arc<Self>, deaf: bool, checks_again: bool) -> bool {
        let key = {
            let mut tasks = self.tasks.lock().unwrap();
            if tasks.closed {
                return false;
            }
            tasks.next += 1;
            let key = tasks.next;
            tasks.running.insert(key, None);
            key
        };
        let abort = Arc::new(Abort::default());
        let (scope, handle) = (self.clone(), abort.clone());
        thread::spawn(move || {
            if deaf {
                handle.aborted();
            }
            scope.ended(key);
        });
        let mut tasks = self.tasks.lock().unwrap();
        let closed = tasks.closed && checks_again;
        match tasks.running.get_mut(&key) {
            Some(task) if !closed => *task = Some(abort),
            Some(_) => {
                drop(tasks);
                abort.abort();
            }
            None => {}
        }
        true
    }

    fn ended(&self, key: usize) {
        let mut tasks = self.tasks.lock().unwrap();
        tasks.running.remove(&key);
        let news = tasks.running.is_empty();
        drop(tasks);
        if news {
            self.bell.ring();
        }
    }

    fn abort(&self) {
        let handles: Vec<Arc<Abort>> = {
            let mut tasks = self.tasks.lock().unwrap();
            tasks.closed = true;
            tasks.running.values().flatten().cloned().collect()
        };
        for handle in handles {
            handle.abort();
        }
    }

    fn joined(&self) {
        self.bell.until(|| self.tasks.lock().unwrap().running.is_empty());
    }
}

#[test]
fn the_end_of_the_last_task_is_heard() {
    explore(|| {
        let scope = Arc::new(Scope::default());
        assert!(scope.spawn(false, true));
        assert!(scope.spawn(false, true));
        scope.joined();
    });
}

fn spawn_against_abort(checks_again: bool) {
    let scope = Arc::new(Scope::default());
    let spawner = with(&scope, move |scope| scope.spawn(true, checks_again));
    scope.abort();
    scope.joined();
    spawner.join().unwrap();
    scope.joined();
    assert!(!scope.spawn(true, checks_again), "a closed scope takes no task");
}

/// A task that is spawned while the scope is aborted is aborted as well, or never began.
#[test]
fn no_task_slips_through_an_abort() {
    explore(|| spawn_against_abort(true));
    assert!(some_schedule_fails(|| spawn_against_abort(false)));
}

/// `stop::Gate`: intakes wait for it to open and to shut.
#[derive(Default)]
struct Gate {
    open: AtomicBool,
    changed: Notify,
}

impl Gate {
    fn set(&self, open: bool) {
        self.open.store(open, Ordering::Release);
        self.changed.notify_waiters();
    }

    fn until(&self, open: bool) {
        loop {
            let changed = self.changed.notified();
            if self.open.load(Ordering::Acquire) == open {
                return;
            }
            self.changed.wait(changed);
        }
    }

    /// What would be wrong: to look first and to begin to wait afterwards.
    fn until_too_late(&self, open: bool) {
        while self.open.load(Ordering::Acquire) != open {
            self.changed.wait(self.changed.notified());
        }
    }
}

fn gate_against_intakes(until: fn(&Gate, bool)) {
    let gate = Arc::new(Gate::default());
    let intakes: Vec<_> = (0..2).map(|_| with(&gate, move |gate| until(gate, true))).collect();
    gate.set(true);
    for intake in intakes {
        intake.join().unwrap();
    }
    gate.set(false);
    until(&gate, false);
}

#[test]
fn every_intake_hears_the_gate() {
    explore(|| gate_against_intakes(Gate::until));
    assert!(some_schedule_fails(|| gate_against_intakes(Gate::until_too_late)));
}
