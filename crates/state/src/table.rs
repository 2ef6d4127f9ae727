//! Typed tables: which Rust type a key and a value of one SQLite table have, and how they become bytes.
//!
//! On disk each table is `CREATE TABLE "<name>"(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID`, made by the first write to it.
//! Keys are the text people see, so `sqlite3 state.db 'select key, value from images'` can be read without tools; their order is byte order.
//! Values are JSON unless the table brings its own codec.

use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// What can be the key of a table: anything with one text form that parses back to itself. Rows are ordered by that text.
pub trait Key: Sized {
    /// The text of this key as stored.
    fn to_text(&self) -> String;
    /// Reads a stored key; `None` when it is not one of ours.
    fn from_text(text: &str) -> Option<Self>;
}

impl<T: Display + FromStr> Key for T {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// How values of a table become bytes and come back; the error is a reason in words.
#[derive(Debug)]
pub struct Codec<V> {
    /// Value to bytes.
    pub encode: fn(&V) -> Result<Vec<u8>, String>,
    /// Bytes to value. The bytes come from disk and may be anything.
    pub decode: fn(&[u8]) -> Result<V, String>,
}

/// One table: its name in the file and the types of its rows. A constant beside the record type it stores.
#[derive(Debug)]
pub struct Table<K, V> {
    pub(crate) name: &'static str,
    codec: Codec<V>,
    keys: PhantomData<fn() -> K>,
}

impl<K: Key, V: Serialize + DeserializeOwned> Table<K, V> {
    /// A table of JSON values. `name` is lower-case words joined by underscores.
    pub const fn new(name: &'static str) -> Self {
        Self { name, codec: Codec { encode: to_json::<V>, decode: from_json::<V> }, keys: PhantomData }
    }
}

impl<K: Key, V> Table<K, V> {
    /// A table whose values have their own byte form; for tables read as a whole at every start.
    pub const fn with_codec(name: &'static str, codec: Codec<V>) -> Self {
        Self { name, codec, keys: PhantomData }
    }

    /// Name of the table in the file.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn encode(&self, key: &K, value: &V) -> Result<Vec<u8>> {
        (self.codec.encode)(value).map_err(|reason| Error::Unwritable { table: self.name, key: key.to_text(), reason })
    }

    pub(crate) fn decode(&self, key: &str, bytes: &[u8]) -> Result<V> {
        (self.codec.decode)(bytes).map_err(|reason| Error::Unreadable { table: self.name, key: key.to_owned(), reason })
    }

    pub(crate) fn decode_key(&self, key: &str) -> Result<K> {
        K::from_text(key).ok_or_else(|| Error::Unreadable {
            table: self.name,
            key: key.to_owned(),
            reason: "not a key of this table".to_owned(),
        })
    }
}

fn to_json<V: Serialize>(value: &V) -> Result<Vec<u8>, String> {
    serde_json::to_vec(value).map_err(|error| error.to_string())
}

fn from_json<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}
