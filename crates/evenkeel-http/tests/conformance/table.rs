//! The cases, by section of RFC 9113.

use crate::common::frames::{
    ACK, CANCEL, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR,
    GET, GOAWAY, HEADERS, NO_ERROR, PADDED, PING, POST, PREFACE, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM,
    SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, WITH_PRIORITY, field, frame,
};

/// What is sent, and what has to come of it.
pub(crate) struct Case {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    pub(crate) begins: Begins,
    pub(crate) bytes: Vec<u8>,
    pub(crate) expect: Expect,
}

/// What is sent before it.
#[derive(Clone, Copy)]
pub(crate) enum Begins {
    /// The preface, and settings.
    Preface,
    Nothing,
}

#[derive(Clone, Copy)]
pub(crate) enum Expect {
    /// Stream 1 is answered with 200, and the connection goes on.
    Served,
    /// The connection goes on.
    Ignored,
    /// The standard calls it an error; the connection may go on, or close, and nobody is worse off.
    Harmless,
    /// The stream ends with one of these codes, and the connection goes on; or it ends with one of these.
    Stream(&'static [u32]),
    /// The request is refused as malformed (8.1.1): by an error of the stream or connection, or by an answer that says so.
    Malformed,
    /// The connection ends, with one of these codes if it says why.
    Connection(&'static [u32]),
}

use Expect::{Connection, Harmless, Ignored, Malformed, Served, Stream};

const BOTH: u8 = END_STREAM | END_HEADERS;

pub(crate) fn cases() -> Vec<Case> {
    [
        preface(),
        format(),
        sizes(),
        compression(),
        blocks(),
        states(),
        numbers(),
        data_and_headers(),
        control(),
        settings(),
        windows(),
        continuation(),
        messages(),
        fields(),
        pseudo_fields(),
        authorities(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn case(section: &'static str, name: &'static str, bytes: impl Into<Vec<u8>>, expect: Expect) -> Case {
    Case { section, name, begins: Begins::Preface, bytes: bytes.into(), expect }
}

fn bare(section: &'static str, name: &'static str, bytes: impl Into<Vec<u8>>, expect: Expect) -> Case {
    Case { begins: Begins::Nothing, ..case(section, name, bytes, expect) }
}

fn all(frames: &[&[u8]]) -> Vec<u8> {
    frames.concat()
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, BOTH, stream, GET)
}

/// A request whose handler never answers, so that its stream stays half-closed.
fn waits(stream: u32) -> Vec<u8> {
    frame(HEADERS, BOTH, stream, &[b"\x82\x86\x01\x01t", &b"\x04\x05/wait"[..]].concat())
}

/// A POST whose body is still to come.
fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, POST)
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// A GET with these fields behind the usual ones.
fn with(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut head = GET.to_vec();
    fields.iter().for_each(|(name, value)| head.extend(field(name.as_bytes(), value.as_bytes())));
    frame(HEADERS, BOTH, 1, &head)
}

/// A request of these fields alone.
fn only(fields: &[(&str, &str)]) -> Vec<u8> {
    let head: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes())).collect();
    frame(HEADERS, BOTH, 1, &head)
}

/// A block of these bytes behind the usual fields.
fn block(bytes: &[u8]) -> Vec<u8> {
    frame(HEADERS, BOTH, 1, &[GET, bytes].concat())
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

fn update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

fn preface() -> Vec<Case> {
    let settings = frame(SETTINGS, 0, 0, &[]);
    vec![
        bare("3.4", "preface and empty settings", all(&[PREFACE, &settings, &get(1)]), Served),
        bare("3.4", "a request before the settings", all(&[PREFACE, &get(1)]), Connection(&[PROTOCOL_ERROR])),
        bare(
            "3.4",
            "a PING before the settings",
            all(&[PREFACE, &frame(PING, 0, 0, &[0; 8])]),
            Connection(&[PROTOCOL_ERROR]),
        ),
        bare(
            "3.4",
            "an acknowledgement before the settings",
            all(&[PREFACE, &frame(SETTINGS, ACK, 0, &[])]),
            Connection(&[PROTOCOL_ERROR]),
        ),
        bare("3.4", "the preface twice", all(&[PREFACE, PREFACE]), Connection(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR])),
    ]
}

fn format() -> Vec<Case> {
    let mut reserved = get(1);
    reserved[5] |= 0x80;
    let mut reserved_ping = frame(PING, 0, 0, &[0; 8]);
    reserved_ping[5] |= 0x80;
    vec![
        case("4.1", "an unknown frame for the connection", frame(0x16, 0, 0, &[0; 8]), Ignored),
        case("4.1", "an unknown frame for a stream that is idle", frame(0x16, 0, 99, b"whatever"), Ignored),
        case(
            "4.1",
            "an unknown frame on an open stream",
            all(&[&post(1), &frame(0xf0, 0xff, 1, b"x"), &frame(DATA, END_STREAM, 1, b"x")]),
            Served,
        ),
        case("4.1", "unknown flags", frame(PING, 0xfe, 0, &[0; 8]), Ignored),
        case("4.1", "the reserved bit of a request", reserved, Served),
        case("4.1", "the reserved bit of a PING", reserved_ping, Ignored),
        case("5.5", "an unknown setting", frame(SETTINGS, 0, 0, &setting(0xff, 1)), Ignored),
        case("5.5", "an empty unknown frame", frame(0xee, 0, 0, &[]), Ignored),
        case("5.3.2", "a PRIORITY for a stream that is idle", frame(PRIORITY, 0, 7, &[0, 0, 0, 0, 10]), Ignored),
        case(
            "5.3.2",
            "a PRIORITY for a stream that is closed",
            all(&[&get(1), &frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 10])]),
            Served,
        ),
    ]
}

fn sizes() -> Vec<Case> {
    // The parser calls it PROTOCOL_ERROR where the frame is within the limit.
    const SIZE: Expect = Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]);
    let big = vec![0; 16_385];
    let data = |bytes: usize| all(&[&post(1), &frame(DATA, END_STREAM, 1, &vec![b'x'; bytes])]);
    vec![
        case("4.2", "a DATA frame of the greatest size", data(16_384), Served),
        case("4.2", "a DATA frame that is larger", data(16_385), Stream(&[FRAME_SIZE_ERROR])),
        case("4.2", "HEADERS that are larger", frame(HEADERS, BOTH, 1, &big), SIZE),
        case("4.2", "SETTINGS that are larger", frame(SETTINGS, 0, 0, &vec![0; 16_386]), SIZE),
        case("4.2", "an unknown frame that is larger", frame(0x16, 0, 0, &big), SIZE),
        case("4.2", "a length of all ones", b"\xff\xff\xff\x00\x00\x00\x00\x00\x01".to_vec(), SIZE),
        case(
            "6.3",
            "a PRIORITY that is too short",
            frame(PRIORITY, 0, 1, &[0; 4]),
            Stream(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        ),
        case("6.4", "an RST_STREAM that is too short", all(&[&waits(1), &frame(RST_STREAM, 0, 1, &[0; 3])]), SIZE),
        case("6.4", "an RST_STREAM that is too long", all(&[&waits(1), &frame(RST_STREAM, 0, 1, &[0; 5])]), SIZE),
        case("6.5", "SETTINGS of half a setting", frame(SETTINGS, 0, 0, &[0; 5]), SIZE),
        case("6.5", "an acknowledgement with settings", frame(SETTINGS, ACK, 0, &setting(1, 1)), SIZE),
        case("6.7", "a PING that is too short", frame(PING, 0, 0, &[0; 7]), SIZE),
        case("6.7", "a PING that is too long", frame(PING, 0, 0, &[0; 9]), SIZE),
        case("6.8", "a GOAWAY that is too short", frame(GOAWAY, 0, 0, &[0; 7]), SIZE),
        case("6.9", "a WINDOW_UPDATE that is too short", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), SIZE),
        case("6.9", "a WINDOW_UPDATE that is too long", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1, 0]), SIZE),
    ]
}

/// RFC 7541 inside of RFC 9113, 4.3.
fn compression() -> Vec<Case> {
    // The parser calls it PROTOCOL_ERROR.
    const BAD: Expect = Connection(&[COMPRESSION_ERROR, PROTOCOL_ERROR]);
    vec![
        case("4.3", "the index 0", block(b"\x80"), BAD),
        case("4.3", "an index beyond both tables", block(b"\xff\x64"), BAD),
        case("4.3", "an index without end", block(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), BAD),
        case("4.3", "a literal that is cut off", block(b"\x00\x05abc"), BAD),
        case("4.3", "a name without a value", block(b"\x00\x01a"), BAD),
        case("4.3", "a literal with a name beyond both tables", block(b"\x7f\x64\x01a"), BAD),
        case("4.3", "Huffman padding that is too long", block(b"\x00\x01a\x82\x1f\xff"), BAD),
        case("4.3", "Huffman padding of zeros", block(b"\x00\x01a\x81\x18"), BAD),
        case("4.3", "Huffman's end of string", block(b"\x00\x01a\x84\xff\xff\xff\xff"), BAD),
        case(
            "4.3",
            "a table that is larger than allowed",
            frame(HEADERS, BOTH, 1, &[b"\x3f\xe2\x1f", GET].concat()),
            BAD,
        ),
        case("4.3", "a table size behind the first field", block(b"\x20"), BAD),
        case("4.3", "a smaller table", frame(HEADERS, BOTH, 1, &[b"\x20", GET].concat()), Served),
        case("4.3", "two table sizes", frame(HEADERS, BOTH, 1, &[b"\x20\x3f\xe1\x1f", GET].concat()), Served),
        case("4.3", "a field that is indexed for ever", block(b"\x10\x01a\x01b"), Served),
        case("4.3", "a field that enters the table, and is used", block(b"\x40\x01a\x01b\xbe"), Served),
        case("4.3", "an empty value", block(b"\x00\x01a\x00"), Served),
    ]
}

/// A block of fields is one piece.
fn blocks() -> Vec<Case> {
    const BAD: Expect = Connection(&[PROTOCOL_ERROR]);
    let open = frame(HEADERS, END_STREAM, 1, GET);
    let then = |next: Vec<u8>| all(&[&open, &next]);
    vec![
        case("4.3", "a PING within a block", then(frame(PING, 0, 0, &[0; 8])), BAD),
        case("4.3", "a request within a block", then(get(3)), BAD),
        case("4.3", "DATA within a block", then(frame(DATA, END_STREAM, 1, b"x")), BAD),
        case(
            "4.3",
            "a CONTINUATION of another stream within a block",
            then(frame(CONTINUATION, END_HEADERS, 3, &[])),
            BAD,
        ),
        case("4.3", "an RST_STREAM within a block", then(reset(1)), BAD),
        case("4.3", "a PRIORITY within a block", then(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])), BAD),
        case("4.3", "SETTINGS within a block", then(frame(SETTINGS, 0, 0, &[])), BAD),
        case("5.5", "an unknown frame within a block", then(frame(0x16, 0, 1, &[])), BAD),
    ]
}

fn states() -> Vec<Case> {
    const BAD: Expect = Connection(&[PROTOCOL_ERROR]);
    // The parser calls it PROTOCOL_ERROR.
    const CLOSED: Expect = Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]);
    let trailers = frame(HEADERS, BOTH, 1, &field(b"x", b"y"));
    vec![
        case("5.1", "DATA on an idle stream", frame(DATA, END_STREAM, 1, b"x"), BAD),
        case("5.1", "RST_STREAM on an idle stream", reset(1), BAD),
        case("5.1", "WINDOW_UPDATE on an idle stream", update(1, 1), BAD),
        case("5.1", "CONTINUATION on an idle stream", frame(CONTINUATION, END_HEADERS, 1, GET), BAD),
        case("5.1", "DATA on a stream that was half-closed", all(&[&waits(1), &frame(DATA, 0, 1, b"x")]), CLOSED),
        case("5.1", "HEADERS on a stream that was half-closed", all(&[&waits(1), &trailers]), CLOSED),
        case(
            "5.1",
            "CONTINUATION on a stream that was half-closed",
            all(&[&waits(1), &frame(CONTINUATION, END_HEADERS, 1, &[])]),
            BAD,
        ),
        case("5.1", "WINDOW_UPDATE on a stream that was half-closed", all(&[&waits(1), &update(1, 1)]), Ignored),
        case(
            "5.1",
            "PRIORITY on a stream that was half-closed",
            all(&[&waits(1), &frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])]),
            Ignored,
        ),
        case("5.1", "RST_STREAM on a stream that was half-closed", all(&[&waits(1), &reset(1)]), Ignored),
        case("5.1", "RST_STREAM twice", all(&[&waits(1), &reset(1), &reset(1)]), Ignored),
        case("5.1", "WINDOW_UPDATE after RST_STREAM", all(&[&waits(1), &reset(1), &update(1, 1)]), Ignored),
        case(
            "5.1",
            "CONTINUATION after RST_STREAM",
            all(&[&waits(1), &reset(1), &frame(CONTINUATION, END_HEADERS, 1, &[])]),
            BAD,
        ),
        case("5.1", "DATA after RST_STREAM", all(&[&post(1), &reset(1), &frame(DATA, END_STREAM, 1, b"x")]), Harmless),
        case(
            "5.1",
            "HEADERS after RST_STREAM",
            all(&[&waits(1), &reset(1), &get(1)]),
            Connection(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
    ]
}

fn numbers() -> Vec<Case> {
    const BAD: Expect = Connection(&[PROTOCOL_ERROR]);
    vec![
        case("5.1.1", "a request on an even stream", get(2), BAD),
        case("5.1.1", "a request on stream 0", get(0), BAD),
        case(
            "5.1.1",
            "a request on a stream below the last",
            all(&[&waits(5), &waits(3)]),
            Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        case("5.1.1", "streams that are left out", frame(HEADERS, BOTH, 501, GET), Served),
        case(
            "5.4.2",
            "an RST_STREAM with an unknown code",
            all(&[&waits(1), &frame(RST_STREAM, 0, 1, &[0xff; 4])]),
            Ignored,
        ),
        case(
            "5.3.1",
            "a request that depends on another",
            frame(HEADERS, BOTH | WITH_PRIORITY, 3, &[&[0, 0, 0, 1, 9][..], GET].concat()),
            Served,
        ),
    ]
}

fn data_and_headers() -> Vec<Case> {
    const BAD: Expect = Connection(&[PROTOCOL_ERROR]);
    let padded = |pad: u8, rest: usize| [vec![pad], GET.to_vec(), vec![0; rest]].concat();
    vec![
        case("6.1", "DATA on stream 0", frame(DATA, 0, 0, b"x"), BAD),
        case("6.1", "padded DATA", all(&[&post(1), &frame(DATA, END_STREAM | PADDED, 1, b"\x03abc\0\0\0")]), Served),
        case(
            "6.1",
            "DATA that is padding alone",
            all(&[&post(1), &frame(DATA, END_STREAM | PADDED, 1, b"\x02\0\0")]),
            Served,
        ),
        case(
            "6.1",
            "DATA with more padding than bytes",
            all(&[&post(1), &frame(DATA, END_STREAM | PADDED, 1, b"\x05abc")]),
            BAD,
        ),
        case(
            "6.1",
            "padded DATA without a length of the padding",
            all(&[&post(1), &frame(DATA, END_STREAM | PADDED, 1, b"")]),
            Connection(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
        ),
        case(
            "6.1",
            "empty DATA frames",
            all(&[&post(1), &frame(DATA, 0, 1, b""), &frame(DATA, 0, 1, b""), &frame(DATA, END_STREAM, 1, b"")]),
            Served,
        ),
        case("6.2", "padded HEADERS", frame(HEADERS, BOTH | PADDED, 1, &padded(4, 4)), Served),
        case("6.2", "HEADERS with more padding than bytes", frame(HEADERS, BOTH | PADDED, 1, &padded(200, 4)), BAD),
        case(
            "6.2",
            "HEADERS with a priority",
            frame(HEADERS, BOTH | WITH_PRIORITY, 1, &[&[0, 0, 0, 0, 15][..], GET].concat()),
            Served,
        ),
        case(
            "6.2",
            "HEADERS with half a priority",
            frame(HEADERS, BOTH | WITH_PRIORITY, 1, &[0, 0]),
            Connection(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
        ),
        case("6.2", "empty HEADERS", frame(HEADERS, BOTH, 1, &[]), Malformed),
        case(
            "6.6",
            "a PUSH_PROMISE of a client",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], GET].concat()),
            BAD,
        ),
    ]
}

fn control() -> Vec<Case> {
    const BAD: Expect = Connection(&[PROTOCOL_ERROR]);
    let goaway = |code: u32| frame(GOAWAY, 0, 0, &[&[0; 4][..], &code.to_be_bytes(), b"bye"].concat());
    vec![
        case("6.3", "a PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 1]), BAD),
        case("6.4", "an RST_STREAM on stream 0", reset(0), BAD),
        case("6.7", "a PING on a stream", frame(PING, 0, 1, &[0; 8]), BAD),
        case("6.7", "an answer to no PING", frame(PING, ACK, 0, b"unasked!"), Ignored),
        case("6.8", "a GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), BAD),
        case("6.8", "a request before a GOAWAY", all(&[&get(1), &frame(PING, 0, 0, &[1; 8])]), Served),
        case("6.8", "a GOAWAY with an error", goaway(PROTOCOL_ERROR), Connection(&[NO_ERROR, PROTOCOL_ERROR])),
        case("6.8", "a GOAWAY with an unknown error", goaway(0xdead), Connection(&[NO_ERROR, PROTOCOL_ERROR, 0xdead])),
    ]
}

fn settings() -> Vec<Case> {
    const BAD: Expect = Connection(&[PROTOCOL_ERROR]);
    let set = |id, value| frame(SETTINGS, 0, 0, &setting(id, value));
    vec![
        case("6.5", "SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), BAD),
        case(
            "6.5",
            "the same setting twice",
            frame(SETTINGS, 0, 0, &[setting(4, 1), setting(4, 70_000)].concat()),
            Ignored,
        ),
        case("6.5", "an acknowledgement of nothing", frame(SETTINGS, ACK, 0, &[]), Connection(&[PROTOCOL_ERROR])),
        case("6.5.2", "a push that is neither on nor off", set(2, 2), BAD),
        case("6.5.2", "a push that is off", set(2, 0), Ignored),
        case(
            "6.5.2",
            "a window over the limit",
            set(4, 0x8000_0000),
            Connection(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR]),
        ),
        case("6.5.2", "the greatest window", set(4, 0x7fff_ffff), Ignored),
        case("6.5.2", "a frame size below the least", set(5, 16_383), BAD),
        case("6.5.2", "a frame size over the limit", set(5, 0x0100_0000), BAD),
        case("6.5.2", "the greatest frame size", set(5, 0x00ff_ffff), Ignored),
        case("6.5.2", "no table at all", set(1, 0), Ignored),
        case("6.5.2", "the greatest table", set(1, u32::MAX), Ignored),
        case("6.5.2", "no pushed streams at all", set(3, 0), Ignored),
        case("6.5.2", "a limit of fields", set(6, 16_384), Ignored),
    ]
}

fn windows() -> Vec<Case> {
    vec![
        case("6.9", "an increment of 0 for the connection", update(0, 0), Connection(&[PROTOCOL_ERROR])),
        case("6.9", "an increment of 0 for a stream", all(&[&waits(1), &update(1, 0)]), Stream(&[PROTOCOL_ERROR])),
        case("6.9", "the reserved bit of an increment", update(0, 0x8000_0001), Ignored),
        case(
            "6.9.1",
            "a window of the connection that overflows",
            all(&[&update(0, 0x7fff_ffff), &update(0, 0x7fff_ffff)]),
            Connection(&[FLOW_CONTROL_ERROR]),
        ),
        case(
            "6.9.1",
            "a window of a stream that overflows",
            all(&[&waits(1), &update(1, 0x7fff_ffff), &update(1, 1)]),
            Stream(&[FLOW_CONTROL_ERROR]),
        ),
        case(
            "6.9.2",
            "settings by which a window overflows",
            all(&[&waits(1), &update(1, 0x7000_0000), &frame(SETTINGS, 0, 0, &setting(4, 0x7fff_ffff))]),
            Connection(&[FLOW_CONTROL_ERROR]),
        ),
    ]
}

fn continuation() -> Vec<Case> {
    const BAD: Expect = Connection(&[PROTOCOL_ERROR]);
    let (first, rest) = GET.split_at(3);
    let pieces: Vec<u8> = GET.chunks(2).flat_map(|bytes| frame(CONTINUATION, 0, 1, bytes)).collect();
    vec![
        case(
            "6.10",
            "a block in two frames",
            all(&[&frame(HEADERS, END_STREAM, 1, first), &frame(CONTINUATION, END_HEADERS, 1, rest)]),
            Served,
        ),
        case(
            "6.10",
            "a block in many frames",
            all(&[&frame(HEADERS, END_STREAM, 1, &[]), &pieces, &frame(CONTINUATION, END_HEADERS, 1, &[])]),
            Served,
        ),
        case(
            "6.10",
            "a CONTINUATION on stream 0",
            all(&[&frame(HEADERS, END_STREAM, 1, first), &frame(CONTINUATION, END_HEADERS, 0, rest)]),
            BAD,
        ),
        case(
            "6.10",
            "a CONTINUATION after the end of a block",
            all(&[&post(1), &frame(CONTINUATION, END_HEADERS, 1, &field(b"a", b"b"))]),
            BAD,
        ),
        case(
            "6.10",
            "a CONTINUATION after DATA",
            all(&[&post(1), &frame(DATA, 0, 1, b"x"), &frame(CONTINUATION, END_HEADERS, 1, &[])]),
            BAD,
        ),
        case("6.10", "a CONTINUATION as first frame", frame(CONTINUATION, END_HEADERS, 1, GET), BAD),
    ]
}

fn messages() -> Vec<Case> {
    let with_length =
        |length: &str| frame(HEADERS, END_HEADERS, 1, &[POST, &field(b"content-length", length.as_bytes())].concat());
    let body = |length: &str, bytes: &[u8]| all(&[&with_length(length), &frame(DATA, END_STREAM, 1, bytes)]);
    let trailers = |bytes: &[u8], flags| all(&[&post(1), &frame(DATA, 0, 1, b"x"), &frame(HEADERS, flags, 1, bytes)]);
    vec![
        case("8.1", "trailers", trailers(&field(b"x-sum", b"1"), BOTH), Served),
        case("8.1", "trailers that do not end the stream", trailers(&field(b"x-sum", b"1"), END_HEADERS), Malformed),
        case("8.1", "trailers with a pseudo-field", trailers(&field(b":path", b"/"), BOTH), Harmless),
        case("8.1", "trailers with an upper-case name", trailers(&field(b"X-Sum", b"1"), BOTH), Malformed),
        case("8.1.1", "a body as long as it says", body("3", b"abc"), Served),
        case("8.1.1", "a body that is shorter than it says", body("5", b"abc"), Malformed),
        case("8.1.1", "a body that is longer than it says", body("2", b"abc"), Malformed),
        case("8.1.1", "a length and no body", with(&[("content-length", "3")]), Malformed),
        case("8.1.1", "a length that is no number", body("abc", b"abc"), Malformed),
        case("8.1.1", "a signed length", body("+3", b"abc"), Malformed),
        case(
            "8.1.1",
            "two lengths",
            all(&[
                &frame(
                    HEADERS,
                    END_HEADERS,
                    1,
                    &[POST, &field(b"content-length", b"3"), &field(b"content-length", b"4")].concat(),
                ),
                &frame(DATA, END_STREAM, 1, b"abc"),
            ]),
            Malformed,
        ),
    ]
}

fn fields() -> Vec<Case> {
    vec![
        case("8.2", "cookies in several fields", with(&[("cookie", "a=b"), ("cookie", "c=d")]), Served),
        case("8.2.1", "an upper-case name", with(&[("X-Name", "a")]), Malformed),
        case("8.2.1", "a name with a space", with(&[("x name", "a")]), Malformed),
        case("8.2.1", "a name with a colon", with(&[("x:name", "a")]), Malformed),
        case("8.2.1", "a name with a control character", with(&[("x\u{1}", "a")]), Malformed),
        case("8.2.1", "a name with a line end", with(&[("x\r\ny", "a")]), Malformed),
        case("8.2.1", "an empty name", with(&[("", "a")]), Malformed),
        case("8.2.1", "a value with a line end", with(&[("x", "a\r\nhost: evil")]), Malformed),
        case("8.2.1", "a value with LF", with(&[("x", "a\nb")]), Malformed),
        case("8.2.1", "a value with NUL", with(&[("x", "a\0b")]), Malformed),
        case("8.2.2", "connection", with(&[("connection", "keep-alive")]), Malformed),
        case("8.2.2", "keep-alive", with(&[("keep-alive", "timeout=5")]), Malformed),
        case("8.2.2", "proxy-connection", with(&[("proxy-connection", "keep-alive")]), Malformed),
        case("8.2.2", "transfer-encoding", with(&[("transfer-encoding", "chunked")]), Malformed),
        case("8.2.2", "upgrade", with(&[("upgrade", "websocket")]), Malformed),
        case("8.2.2", "te that is not trailers", with(&[("te", "gzip")]), Malformed),
        case("8.2.2", "te that is trailers", with(&[("te", "trailers")]), Served),
        case("8.2.2", "expect", with(&[("expect", "100-continue")]), Served),
    ]
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/");
const AUTHORITY: (&str, &str) = (":authority", "t");

fn pseudo_fields() -> Vec<Case> {
    vec![
        case("8.3", "pseudo-fields as literals", only(&[METHOD, SCHEME, PATH, AUTHORITY]), Served),
        case("8.3", "pseudo-fields in another order", only(&[PATH, AUTHORITY, SCHEME, METHOD]), Served),
        case("8.3", "an unknown pseudo-field", with(&[(":unknown", "a")]), Malformed),
        case("8.3", "a pseudo-field of answers", with(&[(":status", "200")]), Malformed),
        case("8.3", "a pseudo-field behind a field", only(&[METHOD, SCHEME, ("x", "y"), PATH, AUTHORITY]), Malformed),
        case("8.3.1", "no method", only(&[SCHEME, PATH, AUTHORITY]), Malformed),
        case("8.3.1", "no scheme", only(&[METHOD, PATH, AUTHORITY]), Malformed),
        case("8.3.1", "no path", only(&[METHOD, SCHEME, AUTHORITY]), Malformed),
        case("8.3.1", "an empty path", only(&[METHOD, SCHEME, (":path", ""), AUTHORITY]), Malformed),
        case("8.3.1", "two methods", only(&[METHOD, METHOD, SCHEME, PATH, AUTHORITY]), Malformed),
        case("8.3.1", "two schemes", only(&[METHOD, SCHEME, SCHEME, PATH, AUTHORITY]), Malformed),
        case("8.3.1", "two paths", only(&[METHOD, SCHEME, PATH, (":path", "/b"), AUTHORITY]), Malformed),
        case("8.3.1", "two authorities", only(&[METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY]), Malformed),
        case("8.3.1", "a method that is none", only(&[(":method", "G T"), SCHEME, PATH, AUTHORITY]), Malformed),
        case("8.3.1", "a scheme that is none", only(&[METHOD, (":scheme", "h ttp"), PATH, AUTHORITY]), Malformed),
        case("8.3.1", "a path without a slash", only(&[METHOD, SCHEME, (":path", "orders"), AUTHORITY]), Malformed),
        case("8.3.1", "a path with a space", only(&[METHOD, SCHEME, (":path", "/a b"), AUTHORITY]), Malformed),
        case(
            "8.3.1",
            "OPTIONS of everything",
            only(&[(":method", "OPTIONS"), SCHEME, (":path", "*"), AUTHORITY]),
            Served,
        ),
        case("8.3.1", "a GET of everything", only(&[METHOD, SCHEME, (":path", "*"), AUTHORITY]), Malformed),
    ]
}

fn authorities() -> Vec<Case> {
    vec![
        case("8.3.1", "no authority but a host", only(&[METHOD, SCHEME, PATH, ("host", "t")]), Served),
        case("8.3.1", "an authority and the same host", with(&[("host", "t")]), Served),
        case("8.3.1", "an authority and another host", with(&[("host", "evil")]), Malformed),
        case("8.3.1", "an authority with a user", only(&[METHOD, SCHEME, PATH, (":authority", "me@t")]), Malformed),
        case("8.3.1", "an authority that is none", only(&[METHOD, SCHEME, PATH, (":authority", "a b")]), Malformed),
        case("8.3.1", "two hosts", only(&[METHOD, SCHEME, PATH, ("host", "a"), ("host", "b")]), Malformed),
        case("8.5", "CONNECT", only(&[(":method", "CONNECT"), (":authority", "t:1")]), Malformed),
        case("8.5", "CONNECT without an authority", only(&[(":method", "CONNECT")]), Malformed),
        case(
            "8.5",
            "CONNECT with a path",
            only(&[(":method", "CONNECT"), SCHEME, PATH, (":authority", "t:1")]),
            Malformed,
        ),
    ]
}
