//! What the PAX records of one entry change about it.
//!
//! What must stay true: a value that is not of its kind (number, time, text without NUL) fails the archive; unknown keys are ignored, as POSIX says.

use std::collections::BTreeMap;

use shipway_sys::path::Time;

use super::{Segment, pax, sparse};

/// What the PAX records of one entry say.
#[derive(Default)]
pub(super) struct Overrides {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) uname: Option<Vec<u8>>,
    pub(super) gname: Option<Vec<u8>>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) sparse: PaxSparse,
}

#[derive(Default)]
pub(super) struct PaxSparse {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    pub(super) map: Option<Vec<Segment>>,
}

/// Reads the records of one entry; of two records with one key the later counts, an empty value takes the key back (POSIX).
pub(super) fn overrides(bytes: &[u8]) -> Result<Overrides, String> {
    let mut found = Overrides::default();
    let mut pairs: Vec<&[u8]> = Vec::new();
    for (key, value) in pax::records(bytes)? {
        let text = || -> Result<Option<Vec<u8>>, String> {
            if value.contains(&0) {
                return Err(format!("a NUL in the PAX record \"{}\"", crate::error::show(key)));
            }
            Ok((!value.is_empty()).then(|| value.to_vec()))
        };
        let number = || -> Result<Option<u64>, String> {
            let bad = || format!("the PAX record \"{}\" is not a number", crate::error::show(key));
            if value.is_empty() { Ok(None) } else { pax::decimal(value).map(Some).ok_or_else(bad) }
        };
        match key {
            b"path" => found.path = text()?,
            b"linkpath" => found.link = text()?,
            b"uname" => found.uname = text()?,
            b"gname" => found.gname = text()?,
            b"size" => found.size = number()?,
            b"uid" => found.uid = number()?,
            b"gid" => found.gid = number()?,
            b"mtime" if value.is_empty() => found.mtime = None,
            b"mtime" => found.mtime = Some(pax::time(value).ok_or("the PAX record \"mtime\" is not a time")?),
            b"GNU.sparse.major" => found.sparse.major = number()?,
            b"GNU.sparse.minor" => found.sparse.minor = number()?,
            b"GNU.sparse.name" => found.sparse.name = text()?,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => found.sparse.real_size = number()?,
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                if (key == b"GNU.sparse.offset") != pairs.len().is_multiple_of(2) {
                    return Err("the sparse map is malformed".to_owned());
                }
                pairs.push(value);
            }
            b"GNU.sparse.map" => {
                found.sparse.map = Some(sparse::read_numbers(value.split(|byte| *byte == b',').filter(|v| !v.is_empty()))?)
            }
            _ => {
                if let Some(name) = key.strip_prefix(pax::XATTR) {
                    if name.is_empty() {
                        return Err("an extended attribute without a name".to_owned());
                    }
                    found.xattrs.insert(name.to_vec(), value.to_vec());
                }
            }
        }
    }
    if !pairs.is_empty() {
        found.sparse.map = Some(sparse::read_numbers(pairs.into_iter())?);
    }
    Ok(found)
}
