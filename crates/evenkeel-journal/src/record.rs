//! What a record is as bytes.

use serde::{Serialize, de::DeserializeOwned};

use crate::error::Error;

/// Something that can be appended. Whatever serde can write and read is one, as JSON: `dump` shows it, and later versions
/// of a type may add fields with defaults. Another form is an implementation of this on a type without serde.
pub trait Record: Sized + Send + 'static {
    /// Writes it behind what is in `out`.
    ///
    /// # Errors
    /// [`Error::Codec`]: it cannot be written, and is not appended.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error>;
    /// Reads it back.
    ///
    /// # Errors
    /// [`Error::Codec`]: these bytes are no such record, and the journal is not recovered.
    fn decode(bytes: &[u8]) -> Result<Self, Error>;
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Record for T {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        serde_json::to_writer(out, self).map_err(|error| codec("a record cannot be written as JSON", &error))
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(bytes).map_err(|error| codec("a record cannot be read", &error))
    }
}

/// A record of bytes, as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl Record for Bytes {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.extend_from_slice(&self.0);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Ok(Self(bytes.to_vec()))
    }
}

pub(crate) fn codec(what: &str, error: &serde_json::Error) -> Error {
    Error::Codec { what: what.to_owned(), why: error.to_string() }
}
