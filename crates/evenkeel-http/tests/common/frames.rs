//! An HTTP/2 client made of frames that are written by hand, so that it can do everything that is forbidden.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::PATIENCE;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 0x20;

/// A GET of `/` from `t`, without anything that the two sides would have to remember.
pub(crate) const GET: &[u8] = b"\x82\x86\x84\x01\x01t";
/// A POST of `/` from `t`.
pub(crate) const POST: &[u8] = b"\x83\x86\x84\x01\x01t";

/// A frame that says the truth about its length.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A field as a literal that is not indexed, its name and value as they are.
pub(crate) fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        // A length in a prefix of seven bits.
        match u8::try_from(text.len()) {
            Ok(short @ 0..127) => bytes.push(short),
            _ => {
                bytes.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    bytes.push(u8::try_from(rest % 128).unwrap() | 0x80);
                    rest /= 128;
                }
                bytes.push(u8::try_from(rest).unwrap());
            }
        }
        bytes.extend_from_slice(text);
    }
    bytes
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The code of an RST_STREAM or a GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        self.payload.get(at..).and_then(|rest| rest.first_chunk()).map_or(u32::MAX, |code| u32::from_be_bytes(*code))
    }

    /// The status of an answer, as far as it is in the static table or a plain literal: what the server sends.
    pub(crate) fn status(&self) -> Option<u16> {
        match *self.payload.first()? {
            0x20..=0x3f => Self { payload: self.payload[1..].to_vec(), ..self.clone() }.status(),
            indexed @ 0x88..=0x8e => Some([200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]),
            // A literal whose name is `:status`, with the value as it is or in Huffman's code.
            0x08 | 0x48 => {
                let length = usize::from(*self.payload.get(1)? & 0x7f);
                let value = self.payload.get(2..2 + length)?;
                let plain = self.payload[1] & 0x80 == 0;
                if plain { std::str::from_utf8(value).ok()?.parse().ok() } else { digits(value) }
            }
            _ => None,
        }
    }
}

/// Digits in Huffman's code (RFC 7541, appendix B): five bits for 0 to 2, six for the others.
fn digits(bytes: &[u8]) -> Option<u16> {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0_u16, |sum, bit| sum * 2 + u16::from(*bit));
    let (mut at, mut value) = (0, 0);
    for _ in 0..3 {
        let five = number(bits.get(at..at + 5)?);
        let digit = if five < 3 {
            at += 5;
            five
        } else {
            let six = number(bits.get(at..at + 6)?);
            at += 6;
            six.checked_sub(0x19)? + 3
        };
        value = value * 10 + digit;
    }
    Some(value)
}

/// A connection of frames.
pub(crate) struct Frames {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

impl Frames {
    /// Connects and says nothing.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    /// Connects, and says what a client has to say first. The server's own settings are acknowledged.
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        Self::open_with(addr, &[]).await
    }

    /// The same, on a connection that is there.
    pub(crate) async fn on(stream: TcpStream) -> Self {
        let mut client = Self { stream, unread: Vec::new() };
        let _ = client.stream.set_nodelay(true);
        client.greet(&[]).await;
        client
    }

    /// The same, with these settings.
    pub(crate) async fn open_with(addr: SocketAddr, settings: &[u8]) -> Self {
        let mut client = Self::connect(addr).await;
        client.greet(settings).await;
        client
    }

    async fn greet(&mut self, settings: &[u8]) {
        self.send([PREFACE, &frame(SETTINGS, 0, 0, settings), &frame(SETTINGS, ACK, 0, &[])].concat()).await;
    }

    /// What the server does not want to read any more is no fault of the client.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// A whole GET on this stream.
    pub(crate) async fn get(&mut self, stream: u32) {
        self.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, GET)).await;
    }

    /// The next frame; `None` once the server has closed.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            self.unread.reserve(16 << 10);
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.unread)).await;
            match read.expect("the server says something, or closes") {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Whether the next frame is here already.
    pub(crate) fn has_whole(&self) -> bool {
        let head = self.unread.first_chunk::<9>();
        head.is_some_and(|head| self.unread.len() >= 9 + (usize::from(head[1]) << 8 | usize::from(head[2])))
    }

    fn take(&mut self) -> Option<Frame> {
        let head = self.unread.first_chunk::<9>()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let (kind, flags) = (head[3], head[4]);
        if self.unread.len() < 9 + length {
            return None;
        }
        let payload = self.unread[9..9 + length].to_vec();
        self.unread.drain(..9 + length);
        Some(Frame { kind, flags, stream, payload })
    }

    /// The next frame that is wanted, passing over the others.
    pub(crate) async fn until(&mut self, is_wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if is_wanted(&frame) {
                return Some(frame);
            }
        }
    }
}

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
