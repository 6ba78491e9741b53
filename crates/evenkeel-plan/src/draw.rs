//! The plan for people: as text for a terminal, as Graphviz, and as SVG.
//!
//! Pure string building, the same for the same graph and plan. An arrow always points from a component to what it
//! needs; hard edges are solid, soft ones dashed, start-only ones dotted, and the longest chain of releases stands out.

use std::{collections::HashSet, fmt::Write as _};

use crate::{
    budget::{Plan, PlanRow},
    graph::Graph,
    limit::seconds,
    spec::{Activity, Edge, Id, Role, Spec, Weight},
};

/// Narrower than this nothing can be laid out.
pub const MIN_WIDTH: usize = 60;

/// Start order, stop order, who has how much time, and the sum: for a terminal of `width` columns.
#[must_use]
pub fn text(graph: &Graph, plan: &Plan, width: usize) -> String {
    let width = width.max(MIN_WIDTH);
    let mut out = String::new();
    waves(&mut out, "start order", graph, &graph.start_waves(), width);
    waves(&mut out, "stop order", graph, &graph.stop_waves(), width);
    table(&mut out, graph, plan, width);
    out.push_str("longest chain of releases (*)\n");
    for line in plan.arithmetic() {
        wrap(&mut out, "    ", words(&line).into_iter(), width);
    }
    let _ = writeln!(
        out,
        "worst case\n    {} of {} from the order to stop to the end",
        seconds(plan.worst_case),
        seconds(plan.budget.total)
    );
    out
}

/// A directed graph for Graphviz: `dot -Tsvg`.
#[must_use]
pub fn dot(graph: &Graph, plan: &Plan) -> String {
    let links = critical_links(plan);
    let mut out = String::from(
        "digraph evenkeel {\n  rankdir=RL;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n",
    );
    for row in &plan.rows {
        let name = &row.name;
        let bold = if plan.critical_path.contains(&row.id) { ", penwidth=2.5" } else { "" };
        let part = part(graph.spec(row.id));
        let part = if part.is_empty() { part } else { format!("\\n{part}") };
        let _ = writeln!(out, "  \"{name}\" [label=\"{name}{part}\\n{}\"{bold}];", time(row));
    }
    for id in graph.ids() {
        for need in graph.needs(id) {
            let style = match need.edge {
                Edge::Hard => "solid",
                Edge::Soft => "dashed",
                Edge::StartOnly => "dotted",
            };
            let bold = if need.edge.orders_stop() && links.contains(&(id, need.on)) { ", penwidth=2.5" } else { "" };
            let (from, to) = (&graph.spec(id).name, &graph.spec(need.on).name);
            let _ = writeln!(out, "  \"{from}\" -> \"{to}\" [style={style}{bold}];");
        }
    }
    out.push_str("}\n");
    out
}

/// A drawing that needs nothing else: start waves from left to right, readable on white.
#[must_use]
pub fn svg(graph: &Graph, plan: &Plan) -> String {
    let layout = Layout::new(graph);
    let (width, height) = layout.size();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n{SVG_HEAD}"
    );
    let links = critical_links(plan);
    for edge in &layout.edges {
        let critical = edge.edge.orders_stop() && links.contains(&(edge.from, edge.to));
        svg_edge(&mut out, &layout, edge, critical);
    }
    for row in &plan.rows {
        svg_box(&mut out, &layout, row, &part(graph.spec(row.id)), plan.critical_path.contains(&row.id));
    }
    svg_legend(&mut out, plan, height);
    out.push_str("</svg>\n");
    out
}

/// What sets a component apart from a plain one, in a few words.
fn part(spec: &Spec) -> String {
    let role = match spec.role {
        Role::Inner => "",
        Role::Intake => "intake",
        Role::Registrar => "registrar",
    };
    let weight = if spec.weight == Weight::Optional { "optional" } else { "" };
    let activity = if spec.activity == Activity::Finite { "job" } else { "" };
    let words = [weight, role, activity].into_iter().filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// `5.0 s`, or `500 ms of 5.0 s`.
fn time(row: &PlanRow) -> String {
    if row.allowed < row.limit {
        format!("{} of {}", seconds(row.allowed), seconds(row.limit))
    } else {
        seconds(row.limit)
    }
}

fn critical_links(plan: &Plan) -> HashSet<(Id, Id)> {
    plan.critical_path.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

// Text.

fn waves(out: &mut String, title: &str, graph: &Graph, waves: &[Vec<Id>], width: usize) {
    let _ = writeln!(out, "{title}");
    for (number, wave) in (1..).zip(waves) {
        let last = wave.len() - 1;
        let name = |(place, id): (usize, &Id)| {
            let comma = if place < last { "," } else { "" };
            format!("{}{comma}", shorten(&graph.spec(*id).name, width - 8))
        };
        let names = wave.iter().enumerate().map(name);
        wrap(out, &format!("{number:>4}  "), names, width);
    }
}

/// Who has how much time, first to stop first.
fn table(out: &mut String, graph: &Graph, plan: &Plan, width: usize) {
    let mut lines = vec![["component", "part", "limit", "gets", "from", "latest"].map(String::from)];
    let stop_order: Vec<Id> = graph.stop_waves().into_iter().flatten().collect();
    for &id in &stop_order {
        let row = &plan.rows[id.index()];
        let times = [row.limit, row.allowed, row.earliest, row.latest].map(seconds);
        let [limit, gets, from, latest] = times;
        lines.push([row.name.clone(), part(graph.spec(id)), limit, gets, from, latest]);
    }
    let mut widths = [0; 6];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.len().max(*width);
        }
    }
    // Numbers keep their width; a long name gives way. Four for the margin with its mark, two between columns.
    let others: usize = widths[1..].iter().map(|width| width + 2).sum();
    let name_width = widths[0].min(width.saturating_sub(others + 4).max(8));
    let marks = std::iter::once(false).chain(stop_order.iter().map(|id| plan.critical_path.contains(id)));
    out.push_str("time to stop\n");
    for ([name, part, numbers @ ..], critical) in lines.iter().zip(marks) {
        let mark = if critical { '*' } else { ' ' };
        let name = shorten(name, name_width);
        let _ = write!(out, "  {mark} {name:name_width$}  {part:0$}", widths[1]);
        for (number, width) in numbers.iter().zip(&widths[2..]) {
            let _ = write!(out, "  {number:>width$}");
        }
        out.push('\n');
    }
}

/// The words of a line; a number and its unit are one.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let is_unit = matches!(word.trim_end_matches([':', ')']), "s" | "ms");
        match words.last_mut().filter(|_| is_unit) {
            Some(number) => *number = format!("{number} {word}"),
            None => words.push(word.into()),
        }
    }
    words
}

/// Writes words with blanks between them, breaking before `width`; a word that is longer stands alone. The first line
/// begins with `first`, every other one with as many blanks.
fn wrap<W: AsRef<str>>(out: &mut String, first: &str, words: impl Iterator<Item = W>, width: usize) {
    let mut line = String::from(first);
    let mut fresh = true;
    for word in words {
        let word = word.as_ref();
        if !fresh && line.len() + 1 + word.len() > width {
            let _ = writeln!(out, "{line}");
            line = " ".repeat(first.len());
            fresh = true;
        }
        if !fresh {
            line.push(' ');
        }
        line.push_str(word);
        fresh = false;
    }
    let _ = writeln!(out, "{line}");
}

/// The name, or its beginning if it does not fit. Names are ASCII.
fn shorten(name: &str, width: usize) -> String {
    if name.len() <= width {
        return name.into();
    }
    format!("{}~", &name[..width - 1])
}

// SVG.

const BOX_WIDTH: usize = 168;
const BOX_HEIGHT: usize = 44;
const COLUMN: usize = BOX_WIDTH + 96;
const LINE: usize = BOX_HEIGHT + 22;
const MARGIN: usize = 24;
const LEGEND: usize = 56;
const LEGEND_WIDTH: usize = 620;
/// Characters of a name that fit into a box.
const NAME_SHOWN: usize = 22;
/// More places than this in a drawing, and long edges run straight instead of around the boxes between.
const PLACES: usize = 20_000;

const SVG_HEAD: &str = r##"<style>
  text { font: 13px system-ui, sans-serif; fill: #1b1f24; text-anchor: middle }
  .small { font-size: 11px; fill: #57606a }
  .left { text-anchor: start }
  rect { fill: #ffffff; stroke: #57606a; rx: 6 }
  path { fill: none; stroke: #57606a }
  .soft { stroke-dasharray: 7 4 }
  .start-only { stroke-dasharray: 1 4; stroke-linecap: round }
  .critical { stroke: #b35900; stroke-width: 2.5 }
</style>
<defs>
  <marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse"
    orient="auto"><path d="M0,0 L8,4 L0,8 z" style="fill: #57606a; stroke: none"/></marker>
</defs>
<rect width="100%" height="100%" style="stroke: none; rx: 0"/>
"##;

/// Where everything is in the drawing: a column for each start wave, and in it places for boxes and for the edges that
/// only pass by.
struct Layout {
    places: Vec<Place>,
    edges: Vec<Drawn>,
    columns: usize,
    /// Places in the fullest column.
    lines: usize,
}

/// The place of a box (the first ones, by [`Id::index`]) or of an edge that passes a column.
struct Place {
    column: usize,
    /// The centre, in pixels from the top.
    y: usize,
    /// Places that edges lead to from here.
    neighbours: Vec<usize>,
}

/// An edge as it is drawn.
struct Drawn {
    from: Id,
    to: Id,
    edge: Edge,
    /// The places between the two ends, in that direction.
    via: Vec<usize>,
}

impl Layout {
    fn new(graph: &Graph) -> Self {
        let waves = graph.start_waves();
        let mut layout = Self { places: Vec::new(), edges: Vec::new(), columns: waves.len(), lines: 0 };
        let mut column = vec![0; graph.len()];
        for (wave, ids) in waves.iter().enumerate() {
            for id in ids {
                column[id.index()] = wave;
            }
        }
        for column in column {
            layout.add_place(column);
        }
        for from in graph.ids() {
            for need in graph.needs(from) {
                layout.add_edge(from, need.on, need.edge);
            }
        }
        layout.arrange();
        layout
    }

    fn add_place(&mut self, column: usize) -> usize {
        self.places.push(Place { column, y: 0, neighbours: Vec::new() });
        self.places.len() - 1
    }

    /// Adds an edge, with a place in each column that it passes.
    fn add_edge(&mut self, from: Id, to: Id, edge: Edge) {
        let (begin, end) = (self.places[from.index()].column, self.places[to.index()].column);
        let passed = begin.min(end) + 1..begin.max(end);
        let mut columns: Vec<usize> = if self.places.len() < PLACES { passed.collect() } else { Vec::new() };
        if begin > end {
            columns.reverse();
        }
        let via: Vec<usize> = columns.into_iter().map(|column| self.add_place(column)).collect();
        let mut before = from.index();
        for &next in via.iter().chain([&to.index()]) {
            self.places[before].neighbours.push(next);
            self.places[next].neighbours.push(before);
            before = next;
        }
        self.edges.push(Drawn { from, to, edge, via });
    }

    /// Puts each place near the middle of those it is linked to: a few sweeps to and fro leave few crossings.
    fn arrange(&mut self) {
        let mut columns = vec![Vec::new(); self.columns];
        for (place, at) in self.places.iter().enumerate() {
            columns[at.column].push(place);
        }
        self.lines = columns.iter().map(Vec::len).max().unwrap_or(0);
        for column in &columns {
            self.stack(column);
        }
        for sweep in 0..6 {
            for step in 0..columns.len() {
                let column = if sweep % 2 == 0 { step } else { columns.len() - 1 - step };
                columns[column].sort_by_cached_key(|&place| self.middle_of_neighbours(place));
                self.stack(&columns[column]);
            }
        }
    }

    /// Places one column's entries below each other, the whole of it centred.
    fn stack(&mut self, column: &[usize]) {
        let top = MARGIN + (self.lines - column.len()) * LINE / 2;
        for (line, &place) in column.iter().enumerate() {
            self.places[place].y = top + line * LINE + LINE / 2;
        }
    }

    /// The mean height of the places next to this one; its own if it stands alone.
    fn middle_of_neighbours(&self, place: usize) -> usize {
        let place = &self.places[place];
        let sum: usize = place.neighbours.iter().map(|&other| self.places[other].y).sum();
        sum.checked_div(place.neighbours.len()).unwrap_or(place.y)
    }

    /// Width and height of the drawing, in pixels.
    fn size(&self) -> (usize, usize) {
        let columns = self.columns.max(1) * COLUMN - (COLUMN - BOX_WIDTH);
        let width = (2 * MARGIN + columns).max(LEGEND_WIDTH);
        (width, 2 * MARGIN + self.lines * LINE + LEGEND)
    }
}

/// The left side of a column.
fn left_of(column: usize) -> usize {
    MARGIN + column * COLUMN
}

fn svg_edge(out: &mut String, layout: &Layout, edge: &Drawn, critical: bool) {
    let (from, to) = (&layout.places[edge.from.index()], &layout.places[edge.to.index()]);
    // Each kind has its own height at a box, so that two edges between the same boxes stay apart.
    let (class, shift) = match edge.edge {
        Edge::Hard => ("", 0),
        Edge::Soft => ("soft", 8),
        Edge::StartOnly => ("start-only", 16),
    };
    let height = |place: &Place| place.y + shift - 8;
    let class = [class, if critical { "critical" } else { "" }].join(" ");
    // To the left an edge leaves a column on its left side and enters the next on its right side.
    let to_left = to.column < from.column;
    let side = |column: usize, leaving: bool| left_of(column) + if leaving == to_left { 0 } else { BOX_WIDTH };
    let mut x = side(from.column, true);
    let mut y = height(from);
    let mut path = format!("M{x},{y}");
    if to.column == from.column {
        let bulge = x + 40;
        let _ = write!(path, " C{bulge},{y} {bulge},{0} {x},{0}", height(to));
    } else {
        for place in edge.via.iter().map(|&place| &layout.places[place]).chain([to]) {
            let (next_x, next_y) = (side(place.column, false), height(place));
            let middle = x.midpoint(next_x);
            let _ = write!(path, " C{middle},{y} {middle},{next_y} {next_x},{next_y}");
            (x, y) = (side(place.column, true), next_y);
            if !std::ptr::eq(place, to) {
                let _ = write!(path, " H{x}");
            }
        }
    }
    let _ = writeln!(out, "<path class=\"{}\" d=\"{path}\" marker-end=\"url(#tip)\"/>", class.trim());
}

fn svg_box(out: &mut String, layout: &Layout, row: &PlanRow, part: &str, critical: bool) {
    let place = &layout.places[row.id.index()];
    let (left, top) = (left_of(place.column), place.y - BOX_HEIGHT / 2);
    let middle = left + BOX_WIDTH / 2;
    let class = if critical { " class=\"critical\"" } else { "" };
    let part = if part.is_empty() { String::new() } else { format!("{part}, ") };
    let _ = writeln!(
        out,
        "<g><title>{name}</title>\
         <rect x=\"{left}\" y=\"{top}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\"{class}/>\n\
         <text x=\"{middle}\" y=\"{name_y}\">{shown}</text>\
         <text class=\"small\" x=\"{middle}\" y=\"{time_y}\">{part}{time}</text></g>",
        name = escape(&row.name),
        shown = escape(&shorten(&row.name, NAME_SHOWN)),
        time = time(row),
        name_y = top + 19,
        time_y = top + 35,
    );
}

fn svg_legend(out: &mut String, plan: &Plan, height: usize) {
    let samples =
        [("", "holds its value"), ("soft", "uses it while it is there"), ("start-only", "waits for its start")];
    let y = height - LEGEND + 14;
    for ((class, meaning), left) in samples.into_iter().zip((MARGIN..).step_by(190)) {
        let _ = writeln!(
            out,
            "<path class=\"{class}\" d=\"M{left},{y} h32\" marker-end=\"url(#tip)\"/>\
             <text class=\"small left\" x=\"{}\" y=\"{}\">{meaning}</text>",
            left + 40,
            y + 4
        );
    }
    let _ = writeln!(
        out,
        "<text class=\"small left\" x=\"{MARGIN}\" y=\"{}\">stops within {} of {}</text>",
        y + 26,
        seconds(plan.worst_case),
        seconds(plan.budget.total)
    );
}

/// Text that may stand in an element or an attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}
