//! Bugs that tests plant, to see that they are found.

/// A bug to plant; each has its test in `tests/crash.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, unreachable_pub, reason = "planted by tests alone, with the feature `sabotage`")]
pub enum Sabotage {
    /// Records are acknowledged when they are written, before they are synced.
    AckBeforeSync,
    /// A new segment's name is not made durable.
    ForgetNames,
    /// Segments are trimmed before the checkpoint is published.
    TrimFirst,
    /// A snapshot is published before it is durable.
    PublishEarly,
    /// A failed sync is tried again.
    RetrySync,
    /// What a recycled file held before is taken for records.
    TrustStale,
    /// Damage before records that were durable is cut off like a torn tail.
    CutRot,
    /// A torn tail is gone over, but neither cut nor made durable.
    LeaveTail,
    /// What a snapshot holds already is replayed onto it.
    ReplayAll,
    /// Records are not held against their checksums.
    IgnoreSums,
}
