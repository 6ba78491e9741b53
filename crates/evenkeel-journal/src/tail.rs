//! Following a journal: what is there, then what comes.
//!
//! Policy: records are read from the log's own files, on a thread of the subscription's that lives while it reads; so a
//! slow subscriber holds no memory of the writer's, and the runtime is not blocked. Only what is durable is seen.

use std::{collections::VecDeque, sync::PoisonError};

use tokio::sync::watch;

use crate::{
    disk::read_up_to,
    error::Error,
    format::{Kind, RECORD_HEADER, Record as Frame, SEGMENT_HEADER, frame_len, segment_name, u32_at},
    intake::Tail,
    journal::{Journal, Seq, beside, decoded},
    log::{Segment, Segments, salt},
    options::Options,
    record::Record,
};

/// At most this much is read ahead of a subscriber.
const CHUNK: usize = 256 << 10;

/// Where the next record is.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    next: Seq,
    segment: u64,
    offset: u64,
}

/// The records of a journal from one on, in order. It does not keep the journal open.
pub struct Subscription<E> {
    segments: Segments,
    options: Options,
    tail: watch::Receiver<Tail>,
    cursor: Cursor,
    ready: VecDeque<(Seq, Vec<u8>)>,
    ended: bool,
    kind: std::marker::PhantomData<fn() -> E>,
}

impl<E: Record> Subscription<E> {
    pub(crate) fn new(journal: &Journal<E>, next: Seq) -> Self {
        let shared = &journal.shared;
        Self {
            segments: shared.segments.clone(),
            options: shared.options.clone(),
            tail: shared.intake.tail(),
            cursor: Cursor { next, segment: 0, offset: 0 },
            ready: VecDeque::new(),
            ended: false,
            kind: std::marker::PhantomData,
        }
    }

    /// The next record, when it is durable. `None`: the journal was closed, and all was seen. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Trimmed`]: the subscriber was overtaken by a checkpoint, or began before one. [`Error::Poisoned`]: no more
    /// will come. [`Error::Codec`]: this record cannot be read; the next call goes on behind it. After another error the
    /// next call gives `None`.
    pub async fn next(&mut self) -> Option<Result<(Seq, E), Error>> {
        while self.ready.is_empty() {
            if self.ended {
                return None;
            }
            if let Err(error) = self.fill().await {
                self.ended = true;
                return if matches!(error, Error::Closed) { None } else { Some(Err(error)) };
            }
        }
        let (seq, body) = self.ready.pop_front()?;
        Some(decoded(seq, &body).map(|record| (seq, record)))
    }

    async fn fill(&mut self) -> Result<(), Error> {
        let next = self.cursor.next;
        let tail = self.tail.wait_for(|tail| tail.durable >= next || tail.end.is_some()).await;
        let tail = tail.map_err(|_| Error::Closed)?.clone();
        if tail.durable < next {
            return Err(tail.end.unwrap_or(Error::Closed));
        }
        let (segments, options, mut cursor) = (self.segments.clone(), self.options.clone(), self.cursor);
        let read =
            beside(move || read(&segments, &options, &mut cursor, tail.durable).map(|records| (records, cursor)));
        let (records, cursor) = read.await?;
        self.ready = records;
        self.cursor = cursor;
        Ok(())
    }
}

/// Reads some records up to `durable`, one at least.
fn read(
    segments: &Segments,
    options: &Options,
    cursor: &mut Cursor,
    durable: Seq,
) -> Result<VecDeque<(Seq, Vec<u8>)>, Error> {
    let mut records = VecDeque::new();
    while records.is_empty() {
        let segment = locate(segments, cursor)?;
        if let Err(error) = read_chunk(&segment, options, cursor, durable, &mut records) {
            locate(segments, cursor)?; // a trimmed segment's file may be another's by now
            return Err(error);
        }
    }
    Ok(records)
}

/// The segment of the next record.
fn locate(segments: &Segments, cursor: &mut Cursor) -> Result<Segment, Error> {
    let segments = segments.lock().unwrap_or_else(PoisonError::into_inner);
    let holds = |segment: &&Segment| {
        if cursor.segment > 0 {
            segment.header.number == cursor.segment
        } else {
            segment.header.first_seq <= cursor.next
        }
    };
    let Some(segment) = segments.iter().rev().find(holds) else {
        return Err(Error::Trimmed { first: segments.first().map_or(cursor.next, |segment| segment.header.first_seq) });
    };
    if cursor.segment == 0 {
        cursor.segment = segment.header.number;
        cursor.offset = SEGMENT_HEADER as u64;
    }
    Ok(segment.clone())
}

fn read_chunk(
    segment: &Segment,
    options: &Options,
    cursor: &mut Cursor,
    durable: Seq,
    records: &mut VecDeque<(Seq, Vec<u8>)>,
) -> Result<(), Error> {
    let name = segment_name(segment.header.number);
    let read = |len| read_up_to(&*segment.file, len, cursor.offset);
    let failed = |error| Error::io(format!("read {name}"), error);
    let mut bytes = read(CHUNK).map_err(failed)?;
    let needed = bytes.get(..RECORD_HEADER).map_or(0, |header| frame_len(u32_at(header, 0) as usize));
    if needed > bytes.len() && needed <= frame_len(options.max_record) {
        bytes = read(needed).map_err(failed)?;
    }
    let salt = salt(&segment.header, options.sabotage);
    let mut at = 0;
    while let Some(frame) = Frame::decode(&bytes[at..], salt) {
        if frame.header.kind == Kind::Seal {
            // The next one may not be there yet; then there is nothing durable to wait for.
            *cursor = Cursor { segment: segment.header.number + 1, offset: SEGMENT_HEADER as u64, ..*cursor };
            return Ok(());
        }
        if frame.header.seq > durable {
            break;
        }
        if frame.header.seq >= cursor.next {
            records.push_back((frame.header.seq, frame.body.to_vec()));
            cursor.next = frame.header.seq + 1;
        }
        at += frame_len(frame.body.len());
    }
    if at == 0 {
        return Err(Error::rot(&name, cursor.offset, "a record that was durable does not verify"));
    }
    cursor.offset += at as u64;
    Ok(())
}
