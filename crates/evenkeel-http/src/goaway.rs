//! The time between the two GOAWAYs of an HTTP/2 drain.
//!
//! Policy: the first GOAWAY only asks the client to leave; the second names the last request that will be answered
//! (RFC 9113, 6.8). h2 sends the second as soon as the client has answered a PING, but a client that has answered may still
//! have requests on their way out: measured, nearly every busy connection lost one. So the client's answer to that one
//! PING is kept back here, frame by frame, until the linger is over, and then handed on. Everything else passes untouched.
//! A client whose first frame is not its settings does not speak HTTP/2 (RFC 9113, 3.4); h2 would not mind.

use tokio::io::ReadBuf;

/// The length of a frame's head, and of a whole PING.
const HEAD: usize = 9;
const PING: usize = HEAD + 8;
const PING_KIND: u8 = 6;
const SETTINGS_KIND: u8 = 4;
const ACK: u8 = 1;

/// What the client sends before its first frame.
const PREFACE: usize = 24;

/// The PING by which h2 learns that its first GOAWAY has arrived; held by the test below.
const SHUTDOWN: [u8; 8] = [0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54];

/// Follows the frames that a client sends, and keeps back one of them.
#[derive(Debug)]
pub(crate) struct GoAway {
    /// What is left of the frame that passes.
    left: usize,
    /// The beginning of a frame that cannot be told yet.
    stash: Vec<u8>,
    /// What may pass and was not among the bytes that came last. Goes first.
    out: Vec<u8>,
    is_kept: bool,
    /// Whether the first frame was seen, and was what it must be.
    first: Option<bool>,
}

impl GoAway {
    /// As many as are wanted at one time at most.
    pub(crate) const MOST_WANTED: usize = HEAD;

    pub(crate) const fn new() -> Self {
        Self { left: PREFACE, stash: Vec::new(), out: Vec::new(), is_kept: false, first: None }
    }

    /// Whether this is no HTTP/2.
    pub(crate) fn is_wrong(&self) -> bool {
        self.first == Some(false)
    }

    /// How many bytes more it takes to tell the frame that has begun; 0 if none waits to be told. They go to
    /// [`tell`](Self::tell), and not to [`pass`](Self::pass).
    pub(crate) fn wants(&self) -> usize {
        match self.stash.len() {
            0 => 0,
            some if some < HEAD => HEAD - some,
            some => PING - some,
        }
    }

    /// Takes bytes of a frame that cannot be told without them: as many as are wanted, at most.
    pub(crate) fn tell(&mut self, bytes: &[u8]) {
        self.stash.extend_from_slice(bytes);
        let stash = std::mem::take(&mut self.stash);
        let told = self.head(&stash);
        self.stash = stash;
        match told {
            Frame::Unknown => {}
            Frame::Kept => {
                self.is_kept = true;
                self.stash.clear();
            }
            Frame::Passes(length) => {
                self.left = length - self.stash.len();
                self.out.append(&mut self.stash);
            }
        }
    }

    /// What goes first, as much as there is room for. Gives back how much that is.
    pub(crate) fn put(&mut self, room: &mut ReadBuf<'_>) -> usize {
        let count = self.out.len().min(room.remaining());
        room.put_slice(&self.out[..count]);
        self.out.drain(..count);
        count
    }

    /// Moves what passes to the front of `bytes`, and gives back how much that is.
    pub(crate) fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let (mut from, mut to) = (0, 0);
        while from < bytes.len() {
            if self.left == 0 {
                match self.head(&bytes[from..]) {
                    Frame::Unknown => {
                        self.stash.extend_from_slice(&bytes[from..]);
                        break;
                    }
                    Frame::Kept => {
                        self.is_kept = true;
                        from += PING;
                        continue;
                    }
                    Frame::Passes(length) => self.left = length,
                }
            }
            let count = self.left.min(bytes.len() - from);
            if from != to {
                bytes.copy_within(from..from + count, to);
            }
            (from, to, self.left) = (from + count, to + count, self.left - count);
        }
        to
    }

    fn head(&mut self, bytes: &[u8]) -> Frame {
        let Some(head) = bytes.first_chunk::<HEAD>() else { return Frame::Unknown };
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        self.first.get_or_insert(head[3] == SETTINGS_KIND && head[4] & ACK == 0);
        if head[3] != PING_KIND || head[4] & ACK == 0 || length != SHUTDOWN.len() {
            return Frame::Passes(HEAD + length);
        }
        match bytes.get(HEAD..PING) {
            None => Frame::Unknown,
            Some(payload) if payload == SHUTDOWN => Frame::Kept,
            Some(_) => Frame::Passes(PING),
        }
    }

    /// Lets the frame go that was kept back, if there is one and this is a place between two frames.
    pub(crate) fn hand_on(&mut self) {
        if self.left > 0 || !std::mem::take(&mut self.is_kept) {
            return;
        }
        let mut frame = [0; PING];
        (frame[2], frame[3], frame[4]) = (8, PING_KIND, ACK);
        frame[HEAD..].copy_from_slice(&SHUTDOWN);
        self.out.extend_from_slice(&frame);
    }
}

enum Frame {
    /// Not enough of it is here.
    Unknown,
    Kept,
    /// So many bytes pass.
    Passes(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        frame
    }

    /// As the stream does it: into a buffer that has this much room each time.
    fn through(goaway: &mut GoAway, mut bytes: &[u8], room: usize) -> Vec<u8> {
        let mut passed = Vec::new();
        let mut buf = vec![0; room];
        loop {
            let mut buf = ReadBuf::new(&mut buf);
            if goaway.put(&mut buf) == 0 {
                if bytes.is_empty() {
                    return passed;
                }
                let wanted = match goaway.wants() {
                    0 => room,
                    wanted => wanted,
                };
                let (now, rest) = bytes.split_at(wanted.min(bytes.len()));
                bytes = rest;
                if goaway.wants() > 0 {
                    goaway.tell(now);
                } else {
                    buf.put_slice(now);
                    let count = goaway.pass(buf.filled_mut());
                    buf.set_filled(count);
                }
            }
            passed.extend_from_slice(buf.filled());
        }
    }

    #[test]
    fn one_ping_is_kept_back_and_handed_on_however_the_bytes_are_cut() {
        let preface = vec![b'P'; PREFACE];
        let around = [frame(4, 0, &[]), frame(6, 1, &[1; 8]), frame(6, 0, &SHUTDOWN), frame(0, 0, b"PING")];
        let kept = frame(6, 1, &SHUTDOWN);
        let all = [&preface, &around[0], &around[1], &kept, &around[2], &around[3]].map(Vec::as_slice).concat();
        let rest = [&preface, &around[0], &around[1], &around[2], &around[3]].map(Vec::as_slice).concat();
        for room in 1..=all.len() {
            let mut goaway = GoAway::new();
            assert_eq!(through(&mut goaway, &all, room), rest, "{room} bytes at a time");
            goaway.hand_on();
            assert_eq!(through(&mut goaway, &[], room), kept, "{room} bytes at a time");
            goaway.hand_on();
            assert_eq!(through(&mut goaway, &[], room), [0_u8; 0]);
        }
    }

    #[test]
    fn nothing_is_handed_on_within_a_frame() {
        let mut goaway = GoAway::new();
        goaway.pass(&mut [0; PREFACE]);
        goaway.pass(&mut frame(6, 1, &SHUTDOWN));
        let mut data = frame(0, 0, b"data");
        goaway.pass(&mut data[..10]);
        goaway.hand_on();
        assert!(goaway.out.is_empty());
        goaway.pass(&mut data[10..]);
        goaway.hand_on();
        assert_eq!(goaway.out.len(), PING);
    }
}
