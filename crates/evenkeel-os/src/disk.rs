//! Reading and writing at a place in a file, and making a directory's entries durable.
//!
//! Policy: no position is shared between callers, so one handle serves readers and a writer at a time. Nothing is retried:
//! a short read or write is the caller's to go on with, and a failed sync is an answer, not an obstacle.

pub use crate::sys::disk::{create_private_directory, read_at, sync_directory, write_at};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_at_a_place_is_read_from_there_and_its_name_can_be_made_durable() {
        let dir = tempfile::tempdir().unwrap();
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(dir.path().join("f")).unwrap();
        assert_eq!(write_at(&file, b"keel", 3).unwrap(), 4);
        let mut read = [9; 8];
        assert_eq!(read_at(&file, &mut read, 0).unwrap(), 7);
        assert_eq!(&read[..7], b"\0\0\0keel");
        sync_directory(dir.path()).unwrap();
        sync_directory(&dir.path().join("absent")).expect_err("no directory");
        create_private_directory(&dir.path().join("ours")).unwrap();
        assert!(
            create_private_directory(&dir.path().join("ours"))
                .is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists)
        );
    }
}
