//! What a log line looks like, for people and for machines.
//!
//! The layer made here writes the engine's events and the program's own `tracing` events in one form, into a [`Sink`].
//! It promises that one event is one record: control characters, line separators and reading-direction marks in any
//! message, field or span are escaped, so no value can forge a line (or a field) of its own. For people:
//!
//! ```text
//! 12:03:04.123  INFO api         ready in 3.2 ms  http://127.0.0.1:8080
//! 12:03:09.640 ERROR db          could not start: connection refused (os error 111)
//!                      hint: is the server running on localhost:5432?
//! ```
//!
//! Times are UTC. The column after the level is the field `component` of the event or of its innermost span that has
//! one, else the target. The engine's own sentences say their fields in words already, so people do not see them twice.
//! For machines: one JSON object per line with `ts` (RFC 3339), `level`, `target`, `message`, then the fields, then
//! `spans`, outermost first. A field whose name is taken gets a `_` behind it.

use std::{
    fmt::{self, Write as _},
    time::SystemTime,
};

use serde_json::Value;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    layer::{Context, SubscriberExt as _},
    registry::{LookupSpan, Scope},
};

use crate::{Sink, log::TARGET, sink::notice_sentence, text};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people: one glance per line, hints on a line of their own.
    #[default]
    Human,
    /// For machines: one JSON object per line.
    Json,
    /// For people who read the journal: as [`Human`](Self::Human), without the time, which journald keeps, and with the
    /// level as the priority that journald reads at the beginning of each line (`sd-daemon(3)`).
    Journal,
}

/// How the log is written.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// How a line looks.
    pub format: Format,
    /// What is written: a level, or directives of [`EnvFilter`] such as `info,evenkeel=debug`.
    pub level: String,
    /// Whether to colour; JSON is never coloured.
    pub color: bool,
    /// Where the time of a line comes from; tests and simulations put their own in.
    pub clock: fn() -> SystemTime,
}

impl Default for LogOptions {
    /// Human, `info`, without colour, the system's clock.
    fn default() -> Self {
        Self { format: Format::Human, level: "info".to_owned(), color: false, clock: SystemTime::now }
    }
}

/// The level asked for makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLevel {
    /// What was asked for.
    pub level: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for BadLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a log level: {}", text::plain(&self.level), self.why)
    }
}

impl std::error::Error for BadLevel {}

/// The log as a layer that filters for itself, to be put beside other layers (metrics, a trace exporter).
///
/// # Errors
/// [`BadLevel`] when `options.level` cannot be read, or is a single word that is no level.
pub fn layer<S>(options: &LogOptions, sink: Sink) -> Result<impl Layer<S> + Send + Sync + use<S>, BadLevel>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let filter = filter(&options.level)?;
    let look = Look { format: options.format, color: options.color, clock: options.clock };
    sink.word_notices(move |count, reason| look.notice(count, reason));
    Ok(LogLayer { look, sink }.with_filter(filter))
}

/// The log as a whole subscriber, ready for `tracing::subscriber::set_global_default`.
///
/// # Errors
/// As [`layer`].
pub fn subscriber(
    options: &LogOptions,
    sink: Sink,
) -> Result<impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync + use<>, BadLevel> {
    Ok(tracing_subscriber::registry().with(layer(options, sink)?))
}

/// `EnvFilter` takes a lone word as a target, so that a misspelt `inof` would silence the log. It is refused here.
fn filter(level: &str) -> Result<EnvFilter, BadLevel> {
    let bad = |why: String| BadLevel { level: level.to_owned(), why };
    let known = ["off", "error", "warn", "info", "debug", "trace"];
    for word in level.split(',').map(str::trim).filter(|word| !word.contains(['=', '['])) {
        if !known.iter().any(|name| word.eq_ignore_ascii_case(name)) {
            return Err(bad(format!("expected one of {}, or `target=level`", known.join(", "))));
        }
    }
    EnvFilter::builder().parse(level).map_err(|error| bad(error.to_string()))
}

/// What is decided once about the look of lines.
#[derive(Clone, Copy)]
struct Look {
    format: Format,
    color: bool,
    clock: fn() -> SystemTime,
}

struct LogLayer {
    look: Look,
    sink: Sink,
}

impl<S> Layer<S> for LogLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let spans = context.event_scope(event).into_iter().flat_map(Scope::from_root);
        let line = Line {
            time: Stamp::of((self.look.clock)()),
            metadata: Place::of(event.metadata()),
            fields,
            spans: spans
                .map(|span| (span.name(), span.extensions().get::<Fields>().cloned().unwrap_or_default()))
                .collect(),
        };
        self.sink.write_line(self.look.line(&line));
    }
}

/// Everything one line is made of.
struct Line {
    time: Stamp,
    metadata: Place,
    fields: Fields,
    spans: Vec<(&'static str, Fields)>,
}

/// Where a line comes from.
struct Place {
    level: Level,
    target: String,
}

impl Place {
    fn of(metadata: &Metadata<'_>) -> Self {
        Self { level: *metadata.level(), target: metadata.target().to_owned() }
    }
}

/// A moment, as `2026-08-01T12:03:04.123Z`.
struct Stamp(String);

impl Stamp {
    /// A clock outside of what a calendar can say shows as its beginning.
    fn of(time: SystemTime) -> Self {
        let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Self(format!("{time:.3}"))
    }

    /// `12:03:04.123`
    fn of_day(&self) -> &str {
        let (_, time) = self.0.split_once('T').unwrap_or_default();
        time.trim_end_matches('Z')
    }
}

/// The recorded fields, in order; a field recorded again (a span's) replaces its value.
#[derive(Clone, Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match self.0.iter_mut().find(|(name, _)| *name == field.name()) {
            Some(slot) => slot.1 = value,
            None => self.0.push((field.name(), value)),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| bare(value))
    }

    /// All but those that have a place of their own.
    fn others<'a>(&'a self, placed: &'a [&str]) -> impl Iterator<Item = (&'static str, &'a Value)> {
        self.0.iter().filter(move |(name, _)| !placed.contains(name)).map(|(name, value)| (*name, value))
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN; its name says more than `null`.
        let number = serde_json::Number::from_f64(value);
        self.put(field, number.map_or_else(|| Value::from(value.to_string()), Value::Number));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    /// The whole chain: the outer error says what failed here, the others say why.
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut chain = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            let _ = write!(chain, ": {error}");
            source = error.source();
        }
        self.put(field, Value::from(chain));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::from(format!("{value:?}")));
    }
}

impl Look {
    fn line(&self, line: &Line) -> String {
        match self.format {
            Format::Human => self.human(line),
            Format::Json => json(line),
            Format::Journal => self.journal(line),
        }
    }

    /// The line that tells of missing lines.
    fn notice(&self, count: u64, reason: &str) -> Vec<u8> {
        let fields = vec![
            ("message", Value::from(notice_sentence(count, reason))),
            ("event", Value::from("log_lines_dropped")),
            ("component", Value::from("log")),
            ("lines", Value::from(count)),
        ];
        let line = Line {
            time: Stamp::of((self.clock)()),
            metadata: Place { level: Level::WARN, target: TARGET.to_owned() },
            fields: Fields(fields),
            spans: Vec::new(),
        };
        self.line(&line).into_bytes()
    }

    fn human(&self, line: &Line) -> String {
        let level = line.metadata.level;
        let column = line.column();
        let mut out = format!(
            "{} {} {} {}",
            self.paint(DIM, line.time.of_day()),
            self.paint(color_of(level), &format!("{level:>5}")),
            self.paint(BOLD, &text::pad(&text::plain(&column), COLUMN)),
            self.said(line, &column).join("  "),
        );
        if let Some(hint) = line.fields.text("hint") {
            let (indent, label) = (" ".repeat(HINT_INDENT), self.paint(CYAN, "hint:"));
            let _ = write!(out, "\n{indent}{label} {}", text::plain(&hint));
        }
        out.push('\n');
        out
    }

    fn journal(&self, line: &Line) -> String {
        let priority = priority(line.metadata.level);
        let column = line.column();
        let name = text::pad(&text::plain(&column), COLUMN);
        let mut out = format!("<{priority}>{name} {}", self.said(line, &column).join("  "));
        if let Some(hint) = line.fields.text("hint") {
            let indent = " ".repeat(COLUMN + 1);
            let _ = write!(out, "\n<{priority}>{indent}hint: {}", text::plain(&hint));
        }
        out.push('\n');
        out
    }

    /// What stands behind the column: the message, the fields that it does not say, the spans.
    fn said(&self, line: &Line, column: &str) -> Vec<String> {
        let mut said = vec![text::plain(&line.message())];
        if line.metadata.target != TARGET {
            let fields = line.fields.others(&["message", "hint", "component"]);
            said.extend(fields.map(|(name, value)| {
                let label = self.paint(DIM, &format!("{name}="));
                label + &quoted(value)
            }));
        }
        if !line.spans.is_empty() {
            said.push(self.paint(DIM, &line.span_list(column)));
        }
        said.retain(|part| !part.is_empty());
        said
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.color { format!("\u{1b}[{color}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

impl Line {
    fn message(&self) -> String {
        self.fields.text("message").unwrap_or_default()
    }

    /// The component, or the target of a line that belongs to none.
    fn column(&self) -> String {
        let spans = self.spans.iter().rev().map(|(_, fields)| fields);
        std::iter::once(&self.fields)
            .chain(spans)
            .find_map(|fields| fields.text("component"))
            .unwrap_or_else(|| self.metadata.target.clone())
    }

    /// `request{id=7}:query`, outermost first; without the component that has a column of its own.
    fn span_list(&self, column: &str) -> String {
        let mut names = Vec::new();
        for (name, fields) in &self.spans {
            let inner: Vec<String> = fields
                .others(&[])
                .filter(|(name, value)| *name != "component" || bare(value) != column)
                .map(|(name, value)| format!("{name}={}", quoted(value)))
                .collect();
            names.push(if inner.is_empty() { (*name).to_owned() } else { format!("{name}{{{}}}", inner.join(" ")) });
        }
        names.join(":")
    }
}

/// Columns of the component; a longer name pushes the message on.
const COLUMN: usize = 10;
/// Hints stand under the component's name, two columns in.
const HINT_INDENT: usize = 21;
const DIM: &str = "2";
const BOLD: &str = "1";
const CYAN: &str = "36";

/// As `syslog(3)` numbers them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

fn color_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "1;31",
        Level::WARN => "33",
        Level::INFO => "32",
        Level::DEBUG => "34",
        Level::TRACE => DIM,
    }
}

/// A value without quotes.
fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value as one word: in quotes when it could be read as more than one.
fn quoted(value: &Value) -> String {
    let text = text::plain(&bare(value));
    let is_word = !text.is_empty() && !text.contains([' ', '=', '"', '{', '}']);
    if is_word || is_quoted(&text) { text } else { format!("\"{}\"", text.replace('"', "\\\"")) }
}

/// Whether it already is one quoted word, as `Debug` of a string is.
fn is_quoted(text: &str) -> bool {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| !inner.replace("\\\\", "").replace("\\\"", "").contains(['"', '\\']))
}

/// One object, keys in the order in which they are looked for.
fn json(line: &Line) -> String {
    let mut object = Object::new(&["spans"]);
    object.put("ts", &Value::from(line.time.0.as_str()));
    object.put("level", &Value::from(line.metadata.level.as_str()));
    object.put("target", &Value::from(line.metadata.target.as_str()));
    object.put("message", &Value::from(line.message()));
    for (name, value) in line.fields.others(&["message"]) {
        object.put(name, value);
    }
    if !line.spans.is_empty() {
        let spans: Vec<String> = line.spans.iter().map(|(name, fields)| span_json(name, fields)).collect();
        object.write("spans", &format!("[{}]", spans.join(",")));
    }
    object.end() + "\n"
}

fn span_json(name: &str, fields: &Fields) -> String {
    let mut object = Object::new(&[]);
    object.put("name", &Value::from(name));
    for (name, value) in fields.others(&[]) {
        object.put(name, value);
    }
    object.end()
}

/// A JSON object in the order it is written; no key twice, and no field under a key that means something else.
struct Object {
    text: String,
    taken: Vec<String>,
}

impl Object {
    fn new(reserved: &[&str]) -> Self {
        Self { text: String::from("{"), taken: reserved.iter().map(|&key| key.to_owned()).collect() }
    }

    /// Writes the value under `key`, or under the key with `_` behind it when that is taken.
    fn put(&mut self, key: &str, value: &Value) {
        let mut key = key.to_owned();
        while self.taken.contains(&key) {
            key.push('_');
        }
        self.write(&key, &escaped(value));
        self.taken.push(key);
    }

    fn write(&mut self, key: &str, json: &str) {
        let comma = if self.text.len() > 1 { "," } else { "" };
        let _ = write!(self.text, "{comma}{}:{json}", escaped(&Value::from(key)));
    }

    fn end(self) -> String {
        self.text + "}"
    }
}

/// The value in JSON, with everything escaped that a terminal or a line-based reader could trip over.
fn escaped(value: &Value) -> String {
    let mut safe = String::new();
    for c in value.to_string().chars() {
        if text::is_treacherous(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}
