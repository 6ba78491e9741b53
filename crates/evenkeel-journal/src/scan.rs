//! Reading one segment, and telling how it ends.
//!
//! Policy: pure. The first record that does not verify ends a segment. What that means is told by what stands behind it:
//! each record says up to where all was durable when it was written. If one behind the end says so of the record that is
//! missing, that record was durable once and is damaged now; if none does, it never was, and what is there is a torn tail.

use crate::{
    error::Error,
    format::{Kind, RECORD_HEADER, Record, SEAL, SEGMENT_HEADER, Seal, SegmentHeader, frame_len, segment_name, u32_at},
    log::salt,
    sabotage::Sabotage,
};

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With its seal.
    Sealed(Seal),
    /// After its last record there are zeros, or nothing.
    Open,
    /// After its last record there is something that was never durable.
    Torn,
}

/// One segment as it was read.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) header: SegmentHeader,
    pub(crate) records: u64,
    pub(crate) last_seq: u64,
    /// Behind the last record; the seal is not counted.
    pub(crate) end: usize,
    /// Where the last batch begins: of all before, another batch's sync has told that it is durable.
    pub(crate) last_batch: usize,
    pub(crate) ending: Ending,
}

/// Reads a segment and hands each record to `visit`, in order. Damage is an error.
pub(crate) fn scan(
    number: u64,
    bytes: &[u8],
    bug: Option<Sabotage>,
    visit: impl FnMut(u64, &[u8]) -> Result<(), Error>,
) -> Result<Scan, Error> {
    let (scan, damage) = walk(number, bytes, bug, visit)?;
    damage.map_or(Ok(scan), Err)
}

/// Reads a segment up to its end or its first damage, which is the second answer. That of its header is an error.
pub(crate) fn walk(
    number: u64,
    bytes: &[u8],
    bug: Option<Sabotage>,
    mut visit: impl FnMut(u64, &[u8]) -> Result<(), Error>,
) -> Result<(Scan, Option<Error>), Error> {
    let name = segment_name(number);
    let header = SegmentHeader::decode(bytes, &name)?;
    if header.number != number {
        return Err(Error::rot(&name, 24, "its header has another segment's number"));
    }
    let salt = salt(&header, bug);
    let end = SEGMENT_HEADER;
    let mut scan =
        Scan { header, records: 0, last_seq: header.first_seq - 1, end, last_batch: end, ending: Ending::Open };
    let mut batch = None;
    while let Some(record) = next_record(&bytes[scan.end..], salt, bug) {
        let wanted = scan.last_seq + 1;
        match record.header.kind {
            Kind::Data if fits(&record, &header, wanted, bug) => {
                if batch != Some(record.header.durable) {
                    batch = Some(record.header.durable);
                    scan.last_batch = scan.end;
                }
                visit(wanted, record.body)?;
                scan.last_seq = wanted;
                scan.records += 1;
                scan.end += frame_len(record.body.len());
            }
            Kind::Seal if record.header.epoch == header.epoch && record.header.seq == scan.last_seq => {
                match checked_seal(&name, &scan, record.body) {
                    Ok(seal) => scan.ending = Ending::Sealed(seal),
                    Err(damage) => return Ok((scan, Some(damage))),
                }
                return Ok((scan, None));
            }
            _ => break,
        }
    }
    let rest = &bytes[scan.end.min(bytes.len())..];
    if was_durable(rest, salt, &scan) && bug != Some(Sabotage::CutRot) {
        let damage = Error::rot(&name, scan.end as u64, "a record that was durable does not verify");
        return Ok((scan, Some(damage)));
    }
    if rest.iter().any(|byte| *byte != 0) {
        scan.ending = Ending::Torn;
    }
    Ok((scan, None))
}

fn next_record(bytes: &[u8], salt: u32, bug: Option<Sabotage>) -> Option<Record<'_>> {
    let record = Record::decode(bytes, salt);
    if record.is_some() || bug != Some(Sabotage::IgnoreSums) {
        return record;
    }
    let len = u32_at(bytes.get(..RECORD_HEADER)?, 0) as usize;
    let mut frame = bytes.get(..RECORD_HEADER + len)?.to_vec();
    let seq = crate::format::u64_at(&frame, 8);
    let durable = crate::format::u64_at(&frame, 16);
    let epoch = u32_at(&frame, 24);
    let header = crate::format::RecordHeader { kind: Kind::Data, epoch, seq, durable };
    header.finish(salt, u32_at(&frame, 0), &mut frame);
    Some(Record { header, body: &bytes[RECORD_HEADER..RECORD_HEADER + len] })
}

fn fits(record: &Record<'_>, header: &SegmentHeader, wanted: u64, bug: Option<Sabotage>) -> bool {
    let is = record.header;
    bug == Some(Sabotage::TrustStale) || is.epoch == header.epoch && is.seq == wanted && is.durable < is.seq
}

fn checked_seal(name: &str, scan: &Scan, body: &[u8]) -> Result<Seal, Error> {
    let seal = Seal::decode(body).ok_or_else(|| Error::rot(name, scan.end as u64, "its seal cannot be read"))?;
    if seal.records != scan.records || seal.last_seq != scan.last_seq {
        return Err(Error::rot(name, scan.end as u64, "its seal speaks of other records"));
    }
    Ok(seal)
}

/// Whether something in `rest` says that the record after the last one was durable.
fn was_durable(rest: &[u8], salt: u32, scan: &Scan) -> bool {
    let places = (0..rest.len().saturating_sub(RECORD_HEADER - 1)).step_by(8);
    places.map(|at| &rest[at..]).any(|bytes| {
        // Cheap questions first: there may be megabytes.
        u32_at(bytes, 24) == scan.header.epoch
            && Record::decode(bytes, salt)
                .is_some_and(|record| record.header.seq > scan.last_seq && record.header.durable > scan.last_seq)
    })
}

/// Where the seal of a sealed segment ends.
pub(crate) fn seal_end(scan: &Scan) -> usize {
    match scan.ending {
        Ending::Sealed(_) => scan.end + SEAL,
        Ending::Open | Ending::Torn => scan.end,
    }
}
