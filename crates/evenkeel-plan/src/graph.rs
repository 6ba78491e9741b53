//! Who needs whom: checked once, then only read.
//!
//! [`Graph::new`] is the only way in, so whoever holds a [`Graph`] holds one that can be started and stopped: names are
//! unique, every target exists, nothing needs itself along any chain of edges, and no component relies on something
//! that can go away under it. The library's typed handles cannot express most of what is refused here; specs that come
//! from a file can.
//!
//! Three edges, two orders. Hard and start-only edges order the start; hard and soft edges order the stop. All three
//! together must be free of cycles, so that one [`topological`](Graph::topological) order serves both and one drawing
//! shows everything. Registrars come after all essential components in the start and hold nothing up in the stop:
//! nobody may hold on to one.

use std::{collections::VecDeque, fmt, sync::Arc};

use crate::spec::{Edge, Id, Need, Role, Spec, Weight};

/// More components than this in one app are refused; tasks inside a component are not counted.
pub const MAX_COMPONENTS: usize = 10_000;
/// Longest name of a component, in bytes.
pub const MAX_NAME: usize = 64;
/// A longer cycle is printed with its middle left out.
const CYCLE_SHOWN: usize = 12;

/// The components of an app and what each needs: checked, ordered, never changed afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    specs: Vec<Arc<Spec>>,
    /// Sorted by name, for [`Graph::find`].
    by_name: Vec<Id>,
    dependents: Reverse,
    topological: Vec<Id>,
    /// Place of each component in `topological`.
    position: Vec<u32>,
}

impl Graph {
    /// Checks the specs and orders them. A need that another need of the same component already covers is dropped.
    ///
    /// # Errors
    /// The first thing that is wrong, see [`GraphError`].
    pub fn new(mut specs: Vec<Spec>) -> Result<Self, GraphError> {
        if specs.len() > MAX_COMPONENTS {
            return Err(GraphError::TooMany { count: specs.len() });
        }
        for spec in &specs {
            check_alone(spec)?;
        }
        let by_name = sort_names(&specs)?;
        for spec in &specs {
            check_needs(spec, &specs)?;
        }
        drop_covered(&mut specs);
        let Some(topological) = order(&specs) else {
            return Err(GraphError::Cycle {
                path: shortest_cycle(&specs).into_iter().map(|id| Site::of(&specs[id.index()])).collect(),
            });
        };
        check_once(&specs, &topological)?;
        let mut position = vec![0; specs.len()];
        for (place, id) in (0..).zip(&topological) {
            position[id.index()] = place;
        }
        let dependents = Reverse::of(&specs);
        Ok(Self { by_name, dependents, topological, position, specs: specs.into_iter().map(Arc::new).collect() })
    }

    /// How many components there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.specs.len()
    }

    /// Whether there is no component at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// Every component in the order of declaration.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = Id> + use<> {
        ids(self.specs.len())
    }

    /// Every spec in the order of declaration: `specs()[id.index()]`.
    #[must_use]
    pub fn specs(&self) -> &[Arc<Spec>] {
        &self.specs
    }

    /// What was declared of one component.
    #[must_use]
    pub fn spec(&self, id: Id) -> &Spec {
        &self.specs[id.index()]
    }

    /// The component of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Id> {
        let place = self.by_name.binary_search_by(|id| self.spec(*id).name.as_str().cmp(name)).ok()?;
        Some(self.by_name[place])
    }

    /// What a component needs. At most one entry for each target, but for a soft and a start-only one side by side.
    #[must_use]
    pub fn needs(&self, id: Id) -> &[Need] {
        &self.spec(id).needs
    }

    /// Who needs a component: the same edges seen from the other end, `on` being the dependent.
    #[must_use]
    pub fn dependents(&self, id: Id) -> &[Need] {
        self.dependents.of_target(id)
    }

    /// Everybody who has to restart with `id` (L15): its hard dependents, theirs, and so on, without `id` itself. In
    /// reverse start order: each comes before whatever it needs.
    #[must_use]
    pub fn hard_dependents_closure(&self, id: Id) -> Vec<Id> {
        let mut found = vec![id];
        let mut seen = vec![false; self.len()];
        seen[id.index()] = true;
        let mut next = 0;
        while let Some(&at) = found.get(next) {
            next += 1;
            for dependent in self.dependents(at).iter().filter(|need| need.edge == Edge::Hard) {
                if !std::mem::replace(&mut seen[dependent.on.index()], true) {
                    found.push(dependent.on);
                }
            }
        }
        found.swap_remove(0);
        found.sort_unstable_by_key(|id| std::cmp::Reverse(self.position[id.index()]));
        found
    }

    /// All components, each after everything it needs by any edge, registrars last; otherwise as declared.
    #[must_use]
    pub fn topological(&self) -> &[Id] {
        &self.topological
    }

    /// Who can start at the same time: each component one wave after the last that it waits for.
    #[must_use]
    pub fn start_waves(&self) -> Vec<Vec<Id>> {
        let mut wave = vec![0; self.len()];
        let mut registrars_from = 0;
        // Registrars come last in the topological order, so every essential component has its wave by then.
        for &id in &self.topological {
            let spec = self.spec(id);
            let own = waves_after(&wave, &spec.needs, Edge::orders_start);
            wave[id.index()] = match (spec.role, spec.weight) {
                (Role::Registrar, _) => own.max(registrars_from),
                (_, Weight::Optional) => own,
                (_, Weight::Essential) => {
                    registrars_from = registrars_from.max(own + 1);
                    own
                }
            };
        }
        by_wave(&wave)
    }

    /// Who can be released at the same time: each component one wave after the last that holds on to it.
    #[must_use]
    pub fn stop_waves(&self) -> Vec<Vec<Id>> {
        let mut wave = vec![0; self.len()];
        for &id in self.topological.iter().rev() {
            wave[id.index()] = waves_after(&wave, self.dependents(id), Edge::orders_stop);
        }
        by_wave(&wave)
    }
}

impl Edge {
    /// Whether the dependent starts after its target.
    #[must_use]
    pub fn orders_start(self) -> bool {
        self != Self::Soft
    }

    /// Whether the dependent is stopped before its target.
    #[must_use]
    pub fn orders_stop(self) -> bool {
        self != Self::StartOnly
    }
}

/// A component in an error message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// Where it was declared, as `file:line`; empty when that is not known.
    pub declared_at: String,
}

impl Site {
    fn of(spec: &Spec) -> Self {
        Self { name: spec.name.clone(), declared_at: spec.declared_at.clone() }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Escaped: a refused name may hold anything.
        write!(f, "`{}`", self.name.escape_debug())?;
        if self.declared_at.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.declared_at)
    }
}

/// Why a list of specs is not a graph. One sentence; [`hint`](GraphError::hint) says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphError {
    /// There are more than [`MAX_COMPONENTS`].
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A name is empty, too long, or holds a character that has no place in a file name, metric or unit.
    Name {
        /// Whose it is.
        component: Site,
    },
    /// Two components have the same name.
    Duplicate {
        /// Declared first.
        first: Site,
        /// Declared again.
        again: Site,
    },
    /// A need points at no component.
    Missing {
        /// Who needs it.
        component: Site,
        /// What it points at.
        target: Id,
        /// How many components there are.
        count: usize,
    },
    /// A component needs itself.
    SelfNeed {
        /// The one.
        component: Site,
    },
    /// Components need each other in a ring.
    Cycle {
        /// The shortest such ring, each needing the next and the last the first.
        path: Vec<Site>,
    },
    /// A component wants to hold the value of one that may not be there.
    HardOnOptional {
        /// Who wants it.
        component: Site,
        /// The optional one.
        target: Site,
    },
    /// A component needs a registrar, which starts after everything and goes first.
    OnRegistrar {
        /// Who needs it.
        component: Site,
        /// The registrar.
        target: Site,
    },
    /// A component that can be started only once would have to restart.
    Once {
        /// The one.
        component: Site,
        /// Whose restart would take it along; the component itself if it has a policy of its own.
        restarts: Site,
    },
    /// A limit makes no sense.
    Limit {
        /// Whose it is.
        component: Site,
        /// Which limit, and what is wrong with it.
        reason: String,
    },
}

impl GraphError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::TooMany { .. } => {
                "make the parts that are alike tasks of one component: a component may have any number of tasks".into()
            }
            Self::Name { .. } => format!("use 1 to {MAX_NAME} of the characters a-z A-Z 0-9 _ . -"),
            Self::Duplicate { again, .. } => format!("give {again} a name of its own"),
            Self::Missing { .. } => "declare the component that is needed, in the same app".into(),
            Self::SelfNeed { component } => format!("take `{}` out of its own needs", component.name),
            Self::Cycle { .. } => {
                "take out one of these needs: move what both use into a component that both need".into()
            }
            Self::HardOnOptional { target, .. } => {
                format!("need it softly or only for the start, or make `{}` essential", target.name)
            }
            Self::OnRegistrar { target, .. } => {
                format!("take `{}` out of its needs: only another registrar may wait for its start", target.name)
            }
            Self::Once { component, restarts } if component == restarts => {
                "take away its restart policy, or let it be started more than once".into()
            }
            Self::Once { component, restarts } => format!(
                "take the restart policy of `{}` away, let `{}` be started more than once, or need it softly",
                restarts.name, component.name
            ),
            Self::Limit { .. } => "choose a limit above zero, or leave it out to get the default".into(),
        }
    }
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { count } => write!(f, "{count} components are more than the {MAX_COMPONENTS} of one app"),
            Self::Name { component } => write!(f, "{component} is not a name for a component"),
            Self::Duplicate { first, again } => write!(f, "{again} has the name of {first}"),
            Self::Missing { component, target, count } => {
                write!(f, "{component} needs component number {} of {count}", target.0)
            }
            Self::SelfNeed { component } => write!(f, "{component} needs itself"),
            Self::Cycle { path } => write_cycle(f, path),
            Self::HardOnOptional { component, target } => {
                write!(f, "{component} holds on to {target}, which is optional and may not be there")
            }
            Self::OnRegistrar { component, target } => {
                write!(f, "{component} needs {target}, a registrar, which starts last and goes first")
            }
            Self::Once { component, restarts } if component == restarts => {
                write!(f, "{component} can be started only once, but has a restart policy")
            }
            Self::Once { component, restarts } => {
                write!(f, "{component} can be started only once, but would restart with {restarts}, which it needs")
            }
            Self::Limit { component, reason } => write!(f, "{component}: {reason}"),
        }
    }
}

impl std::error::Error for GraphError {}

/// `a needs b, which needs c, which needs a`.
fn write_cycle(f: &mut fmt::Formatter<'_>, path: &[Site]) -> fmt::Result {
    let (head, tail) =
        if path.len() > CYCLE_SHOWN { (&path[..CYCLE_SHOWN - 1], &path[path.len() - 1..]) } else { (path, &path[..0]) };
    for (place, site) in head.iter().enumerate() {
        let joint = if place == 1 { " needs " } else { ", which needs " };
        write!(f, "{}{site}", if place == 0 { "" } else { joint })?;
    }
    let left_out = path.len() - head.len() - tail.len();
    if let [last] = tail {
        write!(f, ", and {left_out} components later {last}")?;
    }
    let first = path.first().map_or("", |site| &site.name);
    write!(f, ", which needs `{first}` again: a cycle has no place to start")
}

/// The edges seen from their targets: one list of all, and where each target's part of it ends.
#[derive(Clone, Debug, PartialEq)]
struct Reverse {
    edges: Vec<Need>,
    ends: Vec<usize>,
}

impl Reverse {
    fn of(specs: &[Spec]) -> Self {
        // Counting sort: `ends` first holds where each part begins, and has moved to where it ends when it is filled.
        let mut ends = vec![0; specs.len()];
        for need in specs.iter().flat_map(|spec| &spec.needs) {
            ends[need.on.index()] += 1;
        }
        let mut begin = 0;
        for end in &mut ends {
            begin += std::mem::replace(end, begin);
        }
        let nothing = Need { on: Id(0), edge: Edge::Hard };
        let mut edges = vec![nothing; begin];
        for (id, spec) in ids(specs.len()).zip(specs) {
            for need in &spec.needs {
                let place = &mut ends[need.on.index()];
                edges[*place] = Need { on: id, edge: need.edge };
                *place += 1;
            }
        }
        Self { edges, ends }
    }

    fn of_target(&self, id: Id) -> &[Need] {
        let begin = id.index().checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.edges[begin..self.ends[id.index()]]
    }
}

fn ids(count: usize) -> impl DoubleEndedIterator<Item = Id> + use<> {
    (0..u32::try_from(count).expect("Graph::new bounds the number of components")).map(Id)
}

/// The wave after the last of `others` that count.
fn waves_after(wave: &[usize], others: &[Need], counts: impl Fn(Edge) -> bool) -> usize {
    let others = others.iter().filter(|need| counts(need.edge));
    others.map(|need| wave[need.on.index()] + 1).max().unwrap_or(0)
}

fn by_wave(wave: &[usize]) -> Vec<Vec<Id>> {
    let mut waves = vec![Vec::new(); wave.iter().max().map_or(0, |last| last + 1)];
    for (id, &wave) in ids(wave.len()).zip(wave) {
        waves[wave].push(id);
    }
    waves
}

/// What one spec can be refused for without looking at any other.
fn check_alone(spec: &Spec) -> Result<(), GraphError> {
    let component = || Site::of(spec);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if spec.name.is_empty() || spec.name.len() > MAX_NAME || !spec.name.bytes().all(plain) {
        return Err(GraphError::Name { component: component() });
    }
    let refused = |reason| GraphError::Limit { component: component(), reason };
    if spec.start_within.is_zero() {
        return Err(refused("the limit of its start is zero".into()));
    }
    let release = spec.stop_within.check();
    release.map_err(|reason| refused(format!("the limit of its release {reason}")))?;
    let restart = spec.restart.map_or(Ok(()), |restart| restart.check());
    restart.map_err(|reason| refused(format!("its restart policy {reason}")))
}

fn sort_names(specs: &[Spec]) -> Result<Vec<Id>, GraphError> {
    let name = |id: &Id| specs[id.index()].name.as_str();
    let mut sorted: Vec<Id> = ids(specs.len()).collect();
    // Stable: of two with one name the first declared comes first.
    sorted.sort_by(|a, b| name(a).cmp(name(b)));
    match sorted.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
        None => Ok(sorted),
        Some(pair) => Err(GraphError::Duplicate {
            first: Site::of(&specs[pair[0].index()]),
            again: Site::of(&specs[pair[1].index()]),
        }),
    }
}

/// What the two ends of an edge can be refused for.
fn check_needs(spec: &Spec, specs: &[Spec]) -> Result<(), GraphError> {
    let component = || Site::of(spec);
    for need in &spec.needs {
        let Some(target) = specs.get(need.on.index()) else {
            return Err(GraphError::Missing { component: component(), target: need.on, count: specs.len() });
        };
        if std::ptr::eq(target, spec) {
            return Err(GraphError::SelfNeed { component: component() });
        }
        let waits_as_registrar = spec.role == Role::Registrar && need.edge == Edge::StartOnly;
        if target.role == Role::Registrar && !waits_as_registrar {
            return Err(GraphError::OnRegistrar { component: component(), target: Site::of(target) });
        }
        if target.weight == Weight::Optional && need.edge == Edge::Hard {
            return Err(GraphError::HardOnOptional { component: component(), target: Site::of(target) });
        }
    }
    Ok(())
}

/// A component that can be started only once must not be taken along by a restart.
fn check_once(specs: &[Spec], topological: &[Id]) -> Result<(), GraphError> {
    // For each component the nearest that restarts: itself, or one that it holds on to along some chain.
    let mut restarts: Vec<Option<Id>> = vec![None; specs.len()];
    for &id in topological {
        let spec = &specs[id.index()];
        let hard = spec.needs.iter().filter(|need| need.edge == Edge::Hard);
        let below = hard.filter_map(|need| restarts[need.on.index()]).next();
        let nearest = if spec.restart.is_some() { Some(id) } else { below };
        if let (true, Some(other)) = (spec.once, nearest) {
            return Err(GraphError::Once { component: Site::of(spec), restarts: Site::of(&specs[other.index()]) });
        }
        restarts[id.index()] = nearest;
    }
    Ok(())
}

/// Leaves one need for each target, so that nobody counts a dependent twice: a hard one covers all others; a soft and a
/// start-only one stand side by side, since each orders what the other does not.
fn drop_covered(specs: &mut [Spec]) {
    // One bit for each kind of edge that the component at hand keeps to a target, and one for a hard one that is there
    // at all; all zero between components.
    let mut seen = vec![0_u8; specs.len()];
    let hard_is_there = 1 << 7;
    for spec in specs {
        let targets: Vec<Id> = spec.needs.iter().map(|need| need.on).collect();
        for need in spec.needs.iter().filter(|need| need.edge == Edge::Hard) {
            seen[need.on.index()] = hard_is_there;
        }
        spec.needs.retain(|need| {
            let seen = &mut seen[need.on.index()];
            let bit = 1 << need.edge as u8;
            let covered = *seen & bit != 0 || (need.edge != Edge::Hard && *seen & hard_is_there != 0);
            *seen |= bit;
            !covered
        });
        for target in targets {
            seen[target.index()] = 0;
        }
    }
}

/// Each component after all it needs, registrars last, otherwise as declared; `None` if there is a cycle.
fn order(specs: &[Spec]) -> Option<Vec<Id>> {
    let mut walk = Walk { specs, mark: vec![Mark::New; specs.len()], order: Vec::with_capacity(specs.len()) };
    // Nobody else needs a registrar, so walking from all others first leaves the registrars for the end.
    let (registrars, others): (Vec<Id>, Vec<Id>) =
        ids(specs.len()).partition(|id| specs[id.index()].role == Role::Registrar);
    for root in others.into_iter().chain(registrars) {
        walk.from(root)?;
    }
    Some(walk.order)
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    Open,
    Done,
}

/// A depth-first walk along the needs, with its own stack: a chain may be as long as there are components.
struct Walk<'a> {
    specs: &'a [Spec],
    mark: Vec<Mark>,
    order: Vec<Id>,
}

impl Walk<'_> {
    /// Appends everything that `root` needs, then `root`. `None` if that leads back to a component on the way.
    fn from(&mut self, root: Id) -> Option<()> {
        let mut stack = Vec::new();
        self.enter(root, &mut stack)?;
        while let Some((id, next)) = stack.last_mut() {
            let id = *id;
            if let Some(need) = self.specs[id.index()].needs.get(*next) {
                *next += 1;
                self.enter(need.on, &mut stack)?;
            } else {
                self.mark[id.index()] = Mark::Done;
                self.order.push(id);
                stack.pop();
            }
        }
        Some(())
    }

    fn enter(&mut self, id: Id, stack: &mut Vec<(Id, usize)>) -> Option<()> {
        match self.mark[id.index()] {
            Mark::Open => return None,
            Mark::Done => {}
            Mark::New => {
                self.mark[id.index()] = Mark::Open;
                stack.push((id, 0));
            }
        }
        Some(())
    }
}

/// The shortest ring of needs; of several the one through the first declared. Empty if there is none.
///
/// A breadth-first search from every component: quadratic, but only on the way to a refusal.
fn shortest_cycle(specs: &[Spec]) -> Vec<Id> {
    let mut best: Vec<Id> = Vec::new();
    let mut came_from = vec![None; specs.len()];
    for start in ids(specs.len()) {
        came_from.fill(None);
        let bound = if best.is_empty() { usize::MAX } else { best.len() - 1 };
        if let Some(path) = ring(specs, start, bound, &mut came_from) {
            best = path;
        }
    }
    best
}

/// The shortest way from `start` along needs back to `start`, of at most `bound` components.
fn ring(specs: &[Spec], start: Id, bound: usize, came_from: &mut [Option<Id>]) -> Option<Vec<Id>> {
    let mut queue = VecDeque::from([(start, 1)]);
    while let Some((at, length)) = queue.pop_front() {
        if length > bound {
            return None;
        }
        for need in &specs[at.index()].needs {
            if need.on == start {
                let back = std::iter::successors(Some(at), |id| came_from[id.index()]);
                let mut path: Vec<Id> = back.collect();
                path.reverse();
                return Some(path);
            }
            if came_from[need.on.index()].is_none() {
                came_from[need.on.index()] = Some(at);
                queue.push_back((need.on, length + 1));
            }
        }
    }
    None
}
