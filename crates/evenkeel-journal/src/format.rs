//! Format version 1, byte by byte. All numbers are little-endian.
//!
//! Policy: pure. A length is believed only after bounds were checked, and nothing else before its checksum was. The
//! checksum of a record is salted with the journal's id and the segment's number, so bytes that another journal, or an
//! earlier life of a recycled file, left behind never verify.
//!
//! | file | content |
//! |---|---|
//! | `manifest` | two slots of 512 bytes, 4096 apart; the valid one with the higher generation counts |
//! | `segment-NNNNNNNNNNNNNNNN` | a header of 512 bytes, then records, then (when full or closed) a seal |
//! | `snapshot-NNNNNNNNNNNNNNNN` | a header of 64 bytes, then the state as of the record in its name |
//! | `spare-NNNNNNNNNNNNNNNN` | space that was written once, for a segment to come |
//! | `ballast` | space for a checkpoint on a full disk |
//! | `*.tmp` | not finished; removed at the next start |
//!
//! A record: length of the body u32, CRC32C u32 (over salt, header and body), sequence u64, the sequence up to which all
//! was durable when it was written u64, epoch u32, kind u8, three zeros; the body; zeros up to a multiple of 8.

use sha2::{Digest, Sha256};

use crate::error::Error;

/// The version that this code writes, and the highest that it reads.
pub const VERSION: u32 = 1;

/// Bytes of a segment's header, and of a manifest's slot: one sector, which disks write whole or not at all.
pub(crate) const SECTOR: usize = 512;
pub(crate) const SEGMENT_HEADER: usize = SECTOR;
pub(crate) const RECORD_HEADER: usize = 32;
/// A seal as a whole record.
pub(crate) const SEAL: usize = RECORD_HEADER + SEAL_BODY;
const SEAL_BODY: usize = 48;
pub(crate) const SLOT_DISTANCE: u64 = 4096;
pub(crate) const SNAPSHOT_HEADER: usize = 64;

pub(crate) const MANIFEST: &str = "manifest";
pub(crate) const MANIFEST_TMP: &str = "manifest.tmp";
pub(crate) const SNAPSHOT_TMP: &str = "snapshot.tmp";
pub(crate) const BALLAST: &str = "ballast";

const SEGMENT_MAGIC: &[u8; 8] = b"EVKLSEGM";
const MANIFEST_MAGIC: &[u8; 8] = b"EVKLMANI";
const SNAPSHOT_MAGIC: &[u8; 8] = b"EVKLSNAP";

/// SHA-256 over a whole segment but for its seal; the next segment's header holds it.
pub(crate) type Chain = [u8; 32];

/// The file of a segment.
pub(crate) fn segment_name(number: u64) -> String {
    format!("segment-{number:016x}")
}

/// The file of the snapshot as of `seq`.
pub(crate) fn snapshot_name(seq: u64) -> String {
    format!("snapshot-{seq:016x}")
}

/// The file of a spare.
pub(crate) fn spare_name(number: u64) -> String {
    format!("spare-{number:016x}")
}

/// The number in a name of that kind.
pub(crate) fn number_in(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    if digits.len() == 16 { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// What stands at the beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) journal: u64,
    pub(crate) number: u64,
    pub(crate) epoch: u32,
    pub(crate) first_seq: u64,
    /// Of the segment before it.
    pub(crate) chain: Chain,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        let mut at = Fields { bytes: &mut bytes, at: 0 };
        at.put(SEGMENT_MAGIC);
        at.put(&VERSION.to_le_bytes());
        at.put(&self.epoch.to_le_bytes());
        at.put(&self.journal.to_le_bytes());
        at.put(&self.number.to_le_bytes());
        at.put(&self.first_seq.to_le_bytes());
        at.put(&self.chain);
        seal_sector(&mut bytes);
        bytes
    }

    /// # Errors
    /// [`Error::Newer`] and [`Error::Rot`], for `file`.
    pub(crate) fn decode(bytes: &[u8], file: &str) -> Result<Self, Error> {
        let bytes = checked_sector(bytes, SEGMENT_MAGIC, file)?;
        Ok(Self {
            epoch: u32_at(bytes, 12),
            journal: u64_at(bytes, 16),
            number: u64_at(bytes, 24),
            first_seq: u64_at(bytes, 32),
            chain: bytes[40..72].try_into().expect("32 bytes"),
        })
    }

    /// What the checksums of this segment's records begin with.
    pub(crate) fn salt(&self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.journal.to_le_bytes()), &self.number.to_le_bytes())
    }
}

/// What a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A user's record.
    Data,
    /// The end of a segment: nothing follows in this file.
    Seal,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Seal => 2,
        }
    }
}

/// The header of a record without its length and checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) kind: Kind,
    pub(crate) epoch: u32,
    pub(crate) seq: u64,
    /// All up to this sequence was durable before this record was written.
    pub(crate) durable: u64,
}

impl RecordHeader {
    /// Fills in the first bytes of `frame`, whose body is there already and is `len` bytes long.
    pub(crate) fn finish(&self, salt: u32, len: u32, frame: &mut [u8]) {
        let body_end = RECORD_HEADER + len as usize;
        frame[0..4].copy_from_slice(&len.to_le_bytes());
        frame[8..16].copy_from_slice(&self.seq.to_le_bytes());
        frame[16..24].copy_from_slice(&self.durable.to_le_bytes());
        frame[24..28].copy_from_slice(&self.epoch.to_le_bytes());
        frame[28..32].copy_from_slice(&[self.kind.code(), 0, 0, 0]);
        let sum = checksum(salt, &frame[..body_end]);
        frame[4..8].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A record as read, its body still where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) header: RecordHeader,
    pub(crate) body: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads the record at the beginning of `bytes`. `None`: there is none that verifies.
    pub(crate) fn decode(bytes: &'a [u8], salt: u32) -> Option<Self> {
        let header = bytes.get(..RECORD_HEADER)?;
        let kind = match header[28..32] {
            [1, 0, 0, 0] => Kind::Data,
            [2, 0, 0, 0] => Kind::Seal,
            _ => return None,
        };
        let end = RECORD_HEADER.checked_add(u32_at(header, 0) as usize)?;
        // Without its padding it is torn: the next record would have no place.
        let frame = bytes.get(..end.checked_next_multiple_of(8)?)?.get(..end)?;
        if checksum(salt, frame) != u32_at(frame, 4) {
            return None;
        }
        let header = RecordHeader { kind, epoch: u32_at(frame, 24), seq: u64_at(frame, 8), durable: u64_at(frame, 16) };
        Some(Self { header, body: &frame[RECORD_HEADER..] })
    }
}

/// Bytes of a record with a body of this length, up to where the next begins.
pub(crate) fn frame_len(body: usize) -> usize {
    (RECORD_HEADER + body).next_multiple_of(8)
}

fn checksum(salt: u32, frame: &[u8]) -> u32 {
    let sum = crc32c::crc32c_append(salt, &frame[..4]);
    crc32c::crc32c_append(sum, &frame[8..])
}

/// The end of a segment, and what proves its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) records: u64,
    pub(crate) last_seq: u64,
    pub(crate) chain: Chain,
}

impl Seal {
    pub(crate) fn encode(&self, salt: u32, epoch: u32) -> [u8; SEAL] {
        let mut frame = [0; SEAL];
        frame[32..40].copy_from_slice(&self.records.to_le_bytes());
        frame[40..48].copy_from_slice(&self.last_seq.to_le_bytes());
        frame[48..80].copy_from_slice(&self.chain);
        let header = RecordHeader { kind: Kind::Seal, epoch, seq: self.last_seq, durable: self.last_seq };
        let len = u32::try_from(SEAL_BODY).expect("48");
        header.finish(salt, len, &mut frame);
        frame
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let body: &[u8; SEAL_BODY] = body.try_into().ok()?;
        let chain = body[16..].try_into().ok()?;
        Some(Self { records: u64_at(body, 0), last_seq: u64_at(body, 8), chain })
    }
}

/// What is in force: the last checkpoint and where the log after it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Manifest {
    pub(crate) journal: u64,
    pub(crate) generation: u64,
    pub(crate) epoch: u32,
    /// Whether the journal was closed in order; `last_seq` is then the last record.
    pub(crate) clean: bool,
    pub(crate) last_seq: u64,
    /// The snapshot holds all up to here; 0 without one.
    pub(crate) checkpoint: u64,
    pub(crate) snapshot_len: u64,
    pub(crate) snapshot_crc: u32,
    /// Whether there is a snapshot.
    pub(crate) has_snapshot: bool,
    pub(crate) first_segment: u64,
    /// What that segment's header must hold.
    pub(crate) chain: Chain,
}

impl Manifest {
    pub(crate) fn encode(&self) -> [u8; SECTOR] {
        let mut bytes = [0; SECTOR];
        let mut at = Fields { bytes: &mut bytes, at: 0 };
        at.put(MANIFEST_MAGIC);
        at.put(&VERSION.to_le_bytes());
        at.put(&self.epoch.to_le_bytes());
        at.put(&self.journal.to_le_bytes());
        at.put(&self.generation.to_le_bytes());
        at.put(&self.last_seq.to_le_bytes());
        at.put(&self.checkpoint.to_le_bytes());
        at.put(&self.snapshot_len.to_le_bytes());
        at.put(&self.snapshot_crc.to_le_bytes());
        at.put(&[u8::from(self.clean), u8::from(self.has_snapshot), 0, 0]);
        at.put(&self.first_segment.to_le_bytes());
        at.put(&self.chain);
        seal_sector(&mut bytes);
        bytes
    }

    /// # Errors
    /// [`Error::Newer`] and [`Error::Rot`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let bytes = checked_sector(bytes, MANIFEST_MAGIC, MANIFEST)?;
        Ok(Self {
            epoch: u32_at(bytes, 12),
            journal: u64_at(bytes, 16),
            generation: u64_at(bytes, 24),
            last_seq: u64_at(bytes, 32),
            checkpoint: u64_at(bytes, 40),
            snapshot_len: u64_at(bytes, 48),
            snapshot_crc: u32_at(bytes, 56),
            clean: bytes[60] != 0,
            has_snapshot: bytes[61] != 0,
            first_segment: u64_at(bytes, 64),
            chain: bytes[72..104].try_into().expect("32 bytes"),
        })
    }
}

/// What stands before a snapshot's content.
pub(crate) fn snapshot_header(journal: u64, seq: u64, len: u64, crc: u32) -> [u8; SNAPSHOT_HEADER] {
    let mut bytes = [0; SNAPSHOT_HEADER];
    let mut at = Fields { bytes: &mut bytes, at: 0 };
    at.put(SNAPSHOT_MAGIC);
    at.put(&VERSION.to_le_bytes());
    at.put(&crc.to_le_bytes());
    at.put(&journal.to_le_bytes());
    at.put(&seq.to_le_bytes());
    at.put(&len.to_le_bytes());
    bytes
}

/// The content of a snapshot's file, if it is the one that the manifest speaks of.
///
/// # Errors
/// [`Error::Newer`] and [`Error::Rot`].
pub(crate) fn snapshot_body<'a>(bytes: &'a [u8], manifest: &Manifest, file: &str) -> Result<&'a [u8], Error> {
    let rot = |why: &str| Error::rot(file, 0, why);
    if bytes.len() < SNAPSHOT_HEADER || &bytes[..8] != SNAPSHOT_MAGIC {
        return Err(rot("this is no snapshot"));
    }
    check_version(bytes, file)?;
    let (header, body) = bytes.split_at(SNAPSHOT_HEADER);
    let wanted = snapshot_header(manifest.journal, manifest.checkpoint, manifest.snapshot_len, manifest.snapshot_crc);
    if header != wanted || body.len() as u64 != manifest.snapshot_len {
        return Err(rot("it is not the snapshot that the manifest speaks of"));
    }
    if crc32c::crc32c(body) != manifest.snapshot_crc {
        return Err(rot("its content does not match its checksum"));
    }
    Ok(body)
}

/// Goes on with a segment's digest.
pub(crate) fn finish(hasher: &Sha256) -> Chain {
    hasher.clone().finalize().into()
}

struct Fields<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Fields<'_> {
    fn put(&mut self, field: &[u8]) {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
    }
}

fn seal_sector(bytes: &mut [u8; SECTOR]) {
    let sum = crc32c::crc32c(&bytes[..SECTOR - 4]);
    bytes[SECTOR - 4..].copy_from_slice(&sum.to_le_bytes());
}

fn checked_sector<'a>(bytes: &'a [u8], magic: &[u8; 8], file: &str) -> Result<&'a [u8], Error> {
    let bytes = bytes.get(..SECTOR).ok_or_else(|| Error::rot(file, 0, "it is shorter than its header"))?;
    if &bytes[..8] != magic {
        return Err(Error::rot(file, 0, "it does not begin as such a file does"));
    }
    // Before the checksum: a later version may put that elsewhere.
    check_version(bytes, file)?;
    if crc32c::crc32c(&bytes[..SECTOR - 4]) != u32_at(bytes, SECTOR - 4) {
        return Err(Error::rot(file, 0, "its header does not match its checksum"));
    }
    Ok(bytes)
}

fn check_version(bytes: &[u8], file: &str) -> Result<(), Error> {
    match u32_at(bytes, 8) {
        0 => Err(Error::rot(file, 8, "there is no version 0")),
        found if found > VERSION => Err(Error::Newer { file: file.to_owned(), found, known: VERSION }),
        _ => Ok(()),
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_not_believed_before_its_bounds_are_checked() {
        let mut frame = vec![0; frame_len(3)];
        let header = RecordHeader { kind: Kind::Data, epoch: 7, seq: 9, durable: 8 };
        frame[32..35].copy_from_slice(b"abc");
        header.finish(5, 3, &mut frame);
        assert_eq!(Record::decode(&frame, 5), Some(Record { header, body: b"abc" }));
        assert_eq!(Record::decode(&frame, 6), None, "another segment's salt");
        frame[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Record::decode(&frame, 5), None);
    }

    #[test]
    fn each_bit_of_a_record_counts() {
        let mut frame = vec![0; frame_len(5)];
        frame[32..37].copy_from_slice(b"bytes");
        RecordHeader { kind: Kind::Data, epoch: 1, seq: 1, durable: 0 }.finish(1, 5, &mut frame);
        for bit in 0..37 * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&flipped, 1), None, "bit {bit}");
        }
    }
}
