//! Where one HTTP/1 request ends and the next begins, told strictly.
//!
//! Policy: request smuggling lives from two parties that see a different end of the same message. So every byte of an
//! HTTP/1 connection passes this module before hyper sees it, and whatever could be read in two ways is refused: both
//! `Content-Length` and `Transfer-Encoding`, two lengths (even equal ones), a coding other than `chunked`, line ends
//! without CR, CR without LF, folded lines, space before a colon, chunk sizes with anything but hexadecimal digits. What
//! passes is read in one way only. This module has no I/O: bytes go in, faults come out.
//!
//! It knows where messages begin and end at every moment, so the drain asks it whether a request has been read half.

/// How far a message has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Between two messages.
    Boundary,
    /// In the first line, or in a field.
    Head,
    /// In a body of known length: how many bytes are left.
    Body(u64),
    /// In the line that tells the size of a chunk.
    Size,
    /// In a chunk: how many bytes are left.
    Chunk(u64),
    /// In the line end after a chunk: how many bytes are left.
    ChunkEnd(u8),
    /// In the fields after the last chunk.
    Trailers,
    /// The connection is no longer HTTP/1.
    Tunnel,
}

/// What is wrong with a request, so that it is not safe to find its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A line that does not end in CR LF, or a CR inside a line.
    LineEnd,
    /// A field that begins with white space: a folded line.
    Fold,
    /// A field without a colon, or with white space in its name.
    FieldName,
    /// `Content-Length` is not a number, or is there twice.
    Length,
    /// A transfer coding that is not `chunked` alone.
    Coding,
    /// Both a length and a transfer coding.
    LengthAndCoding,
    /// A chunk whose size or end is not what it must be.
    Chunk,
    /// More bytes of head than the limit.
    TooLong,
    /// More fields than the limit.
    TooManyFields,
    /// Not exactly one `Host`, or one that could be read as something else.
    Host,
    /// A target with a fragment, which some cut off and others do not.
    Target,
}

/// Bytes with a fault among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// How many of the bytes may be read: those of the messages before, or of the faulty one up to the fault in its body.
    pub(crate) good: usize,
    /// Whether the fault is in a head, so that there is no request.
    pub(crate) in_head: bool,
    pub(crate) fault: Fault,
}

impl Fault {
    /// The status that answers it, and its words.
    pub(crate) const fn status(self) -> &'static str {
        match self {
            Self::Coding => "501 Not Implemented",
            Self::TooLong | Self::TooManyFields => "431 Request Header Fields Too Large",
            _ => "400 Bad Request",
        }
    }
}

/// Follows the bytes that a client sends.
#[derive(Debug)]
pub(crate) struct Framing {
    at: At,
    /// What has arrived of the current line. Holds at most a head's limit, and is empty at rest.
    line: Vec<u8>,
    head: Head,
    head_bytes: usize,
    head_fields: usize,
}

/// What the fields of the current head say about its body.
#[derive(Debug, Default)]
struct Head {
    bytes: usize,
    lines: usize,
    hosts: usize,
    needs_host: bool,
    length: Option<u64>,
    chunked: bool,
}

/// The longest line that tells a chunk's size. Extensions are refused, so 16 digits and the line end.
const MAX_SIZE_LINE: usize = 18;

impl Framing {
    pub(crate) const fn new(head_bytes: usize, head_fields: usize) -> Self {
        let head = Head { bytes: 0, lines: 0, hosts: 0, needs_host: false, length: None, chunked: false };
        Self { at: At::Boundary, line: Vec::new(), head, head_bytes, head_fields }
    }

    /// Whether the bytes so far end with a message.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.at == At::Boundary
    }

    /// Whether the bytes so far do not end within a head.
    pub(crate) fn is_past_head(&self) -> bool {
        self.at != At::Head
    }

    /// From here on nothing is looked at any more: the connection speaks another protocol.
    pub(crate) fn tunnel(&mut self) {
        self.at = At::Tunnel;
    }

    /// Takes the next bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let (mut rest, mut good) = (bytes, 0);
        while !rest.is_empty() {
            let before = rest.len();
            let taken = self.step(rest).map_err(|fault| {
                let in_head = self.at == At::Head;
                Broken { good: if in_head { good } else { bytes.len() - before }, in_head, fault }
            })?;
            rest = &rest[taken..];
            debug_assert!(rest.len() < before, "every step takes something");
            if self.at == At::Boundary {
                good = bytes.len() - rest.len();
            }
        }
        Ok(())
    }

    fn step(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        match self.at {
            At::Tunnel => Ok(bytes.len()),
            At::Boundary => self.begin(bytes),
            At::Head => self.lines(bytes),
            At::Size => self.line(bytes, At::Size),
            At::Trailers => self.line(bytes, At::Trailers),
            At::Body(left) => Ok(self.skip(bytes, left, At::Body, At::Boundary)),
            At::Chunk(left) => Ok(self.skip(bytes, left, At::Chunk, At::ChunkEnd(2))),
            At::ChunkEnd(left) => self.chunk_end(bytes[0], left),
        }
    }

    /// Empty lines before a request are tolerated (RFC 9112, 2.2), as hyper does.
    fn begin(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if blank > 0 {
            return Ok(blank);
        }
        self.head = Head::default();
        self.at = At::Head;
        self.lines(bytes)
    }

    /// Takes the lines of a head: all that are here, since most heads come whole.
    fn lines(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut taken = 0;
        while taken < bytes.len() && self.at == At::Head {
            taken += self.line(&bytes[taken..], At::Head)?;
        }
        Ok(taken)
    }

    fn skip(&mut self, bytes: &[u8], left: u64, more: fn(u64) -> At, done: At) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - taken as u64;
        self.at = if left == 0 { done } else { more(left) };
        taken
    }

    fn chunk_end(&mut self, byte: u8, left: u8) -> Result<usize, Fault> {
        let wanted = if left == 2 { b'\r' } else { b'\n' };
        if byte != wanted {
            return Err(Fault::Chunk);
        }
        self.at = if left == 2 { At::ChunkEnd(1) } else { At::Size };
        Ok(1)
    }

    /// Takes bytes up to the end of the line; a whole line is judged.
    #[inline]
    fn line(&mut self, bytes: &[u8], at: At) -> Result<usize, Fault> {
        // Most lines arrive whole; only the others are put together.
        if !self.line.is_empty() {
            return self.rest_of_line(bytes, at);
        }
        let Some(end) = line_end(bytes).filter(|end| end + 1 < bytes.len() || bytes[*end] == b'\n') else {
            self.check_room(bytes.len(), at)?;
            self.line.extend_from_slice(bytes);
            self.head.bytes += bytes.len();
            return Ok(bytes.len());
        };
        let taken = end + 2;
        self.check_room(taken, at)?;
        if !bytes[end..].starts_with(b"\r\n") {
            return Err(Fault::LineEnd);
        }
        self.head.bytes += taken;
        self.judge(&bytes[..end], at)?;
        Ok(taken)
    }

    #[cold]
    fn rest_of_line(&mut self, bytes: &[u8], at: At) -> Result<usize, Fault> {
        let end = memchr::memchr(b'\n', bytes).map(|end| end + 1);
        let taken = end.unwrap_or(bytes.len());
        self.check_room(taken, at)?;
        self.line.extend_from_slice(&bytes[..taken]);
        self.head.bytes += taken;
        if end.is_none() {
            return Ok(taken);
        }
        let line = std::mem::take(&mut self.line);
        let text = line.strip_suffix(b"\r\n").ok_or(Fault::LineEnd)?;
        if memchr::memchr(b'\r', text).is_some() {
            return Err(Fault::LineEnd);
        }
        self.judge(text, at)?;
        Ok(taken)
    }

    #[inline]
    fn check_room(&self, more: usize, at: At) -> Result<(), Fault> {
        match at {
            At::Size if self.line.len() + more > MAX_SIZE_LINE => Err(Fault::Chunk),
            At::Size => Ok(()),
            _ if self.head.bytes + more > self.head_bytes => Err(Fault::TooLong),
            _ => Ok(()),
        }
    }

    #[inline]
    fn judge(&mut self, text: &[u8], at: At) -> Result<(), Fault> {
        match at {
            At::Size => self.size(text),
            At::Trailers if text.is_empty() => {
                self.at = At::Boundary;
                Ok(())
            }
            At::Trailers => self.trailer(text),
            _ if self.head.lines == 0 => {
                self.head.lines = 1;
                self.head.needs_host = text.ends_with(b" HTTP/1.1");
                if memchr::memchr(b'#', text).is_some() { Err(Fault::Target) } else { Ok(()) }
            }
            _ if text.is_empty() => self.end_of_head(),
            _ => self.field(text),
        }
    }

    #[inline]
    fn field(&mut self, text: &[u8]) -> Result<(), Fault> {
        self.head.lines += 1;
        if self.head.lines > self.head_fields + 1 {
            return Err(Fault::TooManyFields);
        }
        let (name, value) = split(text)?;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.head.hosts += 1;
                if is_host(value.trim_ascii()) { Ok(()) } else { Err(Fault::Host) }
            }
            // No other field says where the message ends.
            14 | 17 => self.framing_field(name, value),
            _ => Ok(()),
        }
    }

    fn framing_field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = number(value.trim_ascii(), 10).ok_or(Fault::Length)?;
            if self.head.length.replace(length).is_some() {
                return Err(Fault::Length);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.head.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::Coding);
            }
            self.head.chunked = true;
        } else {
            return Ok(());
        }
        if self.head.chunked && self.head.length.is_some() {
            return Err(Fault::LengthAndCoding);
        }
        Ok(())
    }

    /// A field after the body says nothing about its end, but it must not look as if it did.
    fn trailer(&mut self, text: &[u8]) -> Result<(), Fault> {
        self.head.lines += 1;
        if self.head.lines > self.head_fields + 1 {
            return Err(Fault::TooManyFields);
        }
        let (name, _) = split(text)?;
        let framing = [&b"content-length"[..], b"transfer-encoding", b"host"];
        if framing.iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
            return Err(Fault::FieldName);
        }
        Ok(())
    }

    fn end_of_head(&mut self) -> Result<(), Fault> {
        // RFC 9112, 3.2: which of two would be meant is anybody's guess.
        if self.head.hosts > 1 || (self.head.needs_host && self.head.hosts == 0) {
            return Err(Fault::Host);
        }
        self.at = match self.head.length {
            _ if self.head.chunked => At::Size,
            None | Some(0) => At::Boundary,
            Some(length) => At::Body(length),
        };
        Ok(())
    }

    fn size(&mut self, text: &[u8]) -> Result<(), Fault> {
        self.at = match number(text, 16).ok_or(Fault::Chunk)? {
            0 => {
                self.head = Head::default();
                At::Trailers
            }
            size => At::Chunk(size),
        };
        Ok(())
    }
}

/// The first CR or LF. Lines are short: eight bytes at a time, without a call, is faster than the widest vectors.
fn line_end(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let mut at = 0;
    while let Some(eight) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        let found = zero_in(word ^ (ONES * 0x0d)) | zero_in(word ^ (ONES * 0x0a));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes[at..].iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    rest.map(|rest| at + rest)
}

/// Name and value of a field.
#[inline]
fn split(text: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let mut end = 0;
    while end < text.len() && IN_NAME[usize::from(text[end])] {
        end += 1;
    }
    match text.get(end) {
        Some(b':') if end > 0 => Ok((&text[..end], &text[end + 1..])),
        Some(b' ' | b'\t') if end == 0 => Err(Fault::Fold),
        _ => Err(Fault::FieldName),
    }
}

/// A name or an address, with or without a port (RFC 9110, 7.2), and nothing that looks like a list, a user or a path.
fn is_host(value: &[u8]) -> bool {
    let other = |byte: u8| matches!(byte, b':' | b'[' | b']' | b'%' | b'(' | b')' | b';' | b'=');
    value.iter().all(|byte| (IN_NAME[usize::from(*byte)] && !matches!(byte, b'#' | b'^' | b'`' | b'|')) || other(*byte))
}

/// What the name of a field is made of (RFC 9110, 5.6.2).
const IN_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        // As wide as the index, and the table is as long.
        #[allow(clippy::cast_possible_truncation)]
        let it = byte as u8;
        table[byte] = it.is_ascii_alphanumeric()
            || matches!(it, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

/// Digits only: neither sign, nor space, nor a list.
fn number(text: &[u8], radix: u32) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || !text.iter().all(|byte| char::from(*byte).is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(text).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing() -> Framing {
        Framing::new(1_000, 10)
    }

    fn fault(bytes: &[u8]) -> Option<Fault> {
        framing().feed(bytes).err().map(|broken| broken.fault)
    }

    #[test]
    fn a_whole_request_ends_at_a_boundary_however_it_is_cut() {
        let requests: [&[u8]; 4] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n",
        ];
        for request in requests {
            for cut in 1..request.len() {
                let mut framing = framing();
                framing.feed(&request[..cut]).unwrap();
                assert!(!framing.is_at_boundary(), "{cut}");
                framing.feed(&request[cut..]).unwrap();
                assert!(framing.is_at_boundary(), "{cut}");
            }
        }
    }

    #[test]
    fn pipelined_requests_are_told_apart_and_a_fault_leaves_the_good_ones() {
        let good = b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.0\r\n\r\n";
        let mut both = good.to_vec();
        both.extend_from_slice(b"GET / HTTP/1.1\n\n");
        let broken = Broken { good: good.len(), in_head: true, fault: Fault::LineEnd };
        assert_eq!(framing().feed(&both), Err(broken));
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_a_fault() {
        let head = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n").into_bytes();
        let chunks =
            |body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}").into_bytes();
        let table = [
            (head("Content-Length: 1\r\nTransfer-Encoding: chunked"), Fault::LengthAndCoding),
            (head("Transfer-Encoding: chunked\r\nContent-Length: 1"), Fault::LengthAndCoding),
            (head("Content-Length: 1\r\nContent-Length: 1"), Fault::Length),
            (head("Content-Length: 1, 1"), Fault::Length),
            (head("Content-Length: +1"), Fault::Length),
            (head("Content-Length: 99999999999999999999"), Fault::Length),
            (head("Transfer-Encoding: gzip, chunked"), Fault::Coding),
            (head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Fault::Coding),
            (head("Transfer-Encoding: xchunked"), Fault::Coding),
            (head("Transfer-Encoding : chunked"), Fault::FieldName),
            (head("A: b\r\n c"), Fault::Fold),
            (head("A: b\rc"), Fault::LineEnd),
            (head("A: b\nC: d"), Fault::LineEnd),
            (head("A"), Fault::FieldName),
            (head("Host: b"), Fault::Host),
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Fault::Host),
            (chunks("5;a=b\r\nhello\r\n"), Fault::Chunk),
            (chunks("0x5\r\nhello\r\n"), Fault::Chunk),
            (chunks("5\r\nhello00"), Fault::Chunk),
            (chunks("-1\r\n"), Fault::Chunk),
            (chunks("5\nhello\r\n"), Fault::LineEnd),
            (chunks("0\r\nContent-Length: 3\r\n\r\n"), Fault::FieldName),
            (head(&"A: b\r\n".repeat(11)), Fault::TooManyFields),
            (head(&"A".repeat(1_000)), Fault::TooLong),
        ];
        for (bytes, expected) in table {
            assert_eq!(fault(&bytes), Some(expected), "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
