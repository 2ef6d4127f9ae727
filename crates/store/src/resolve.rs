//! From what a person typed to an image: a full id, a name, a name with digest, or the beginning of an id, in this order, as Docker looks them up.

use shipway_model::{Classified, ErrorKind, ImageId, Reference, suggest};

use crate::images::Images;
use crate::memory::Memory;

/// Hex digits of a whole id.
const FULL_ID: usize = 64;
/// How far a suggested name may be from the word typed.
const SUGGESTION_DISTANCE: usize = 3;

/// Why no single image was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Nothing has this name or id.
    #[error("no such image: {name}")]
    NotFound {
        /// What was typed.
        name: String,
        /// Names close to it.
        nearest: Vec<String>,
    },
    /// Several ids start like this.
    #[error("several images have ids starting with \"{0}\"")]
    Ambiguous(String),
}

impl Classified for ResolveError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Ambiguous(_) => ErrorKind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { nearest, .. } if !nearest.is_empty() => Some(format!("did you mean \"{}\"?", nearest.join("\" or \""))),
            Self::NotFound { .. } => None,
            Self::Ambiguous(_) => Some("give more digits of the id".to_owned()),
        }
    }
}

impl Images<'_> {
    /// Finds the image meant by `text`: `busybox`, `busybox:1`, `busybox@sha256:…`, `sha256:…` or the beginning of an id.
    pub fn resolve(&self, text: &str) -> Result<ImageId, ResolveError> {
        let memory = self.store.shared().read();
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.len() == FULL_ID
            && let Ok(id) = format!("sha256:{hex}").parse::<ImageId>()
            && memory.images.contains_key(&id)
        {
            return Ok(id);
        }
        if let Some(id) = by_name(&memory, text) {
            return Ok(id);
        }
        match by_prefix(&memory, hex) {
            Prefix::One(id) => Ok(id),
            Prefix::Several => Err(ResolveError::Ambiguous(text.to_owned())),
            Prefix::None => Err(ResolveError::NotFound { name: text.to_owned(), nearest: nearest(&memory, text) }),
        }
    }

    /// Names close to `name`, the closest first.
    pub fn nearest(&self, name: &str) -> Vec<String> {
        nearest(&self.store.shared().read(), name)
    }
}

fn by_name(memory: &Memory, text: &str) -> Option<ImageId> {
    let reference = Reference::parse(text).ok()?.with_default_tag();
    if let Some(tag) = memory.tags.get(&reference.canonical()) {
        return Some(tag.image);
    }
    // With both a tag and a digest the digest decides, as the tag may have moved since.
    let digest = reference.digest().copied()?;
    let bare = reference.without_tag_and_digest().with_digest(digest);
    memory.tags.get(&bare.canonical()).map(|tag| tag.image)
}

enum Prefix {
    None,
    One(ImageId),
    Several,
}

fn by_prefix(memory: &Memory, prefix: &str) -> Prefix {
    if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
        return Prefix::None;
    }
    let mut found = Prefix::None;
    for id in memory.images.keys() {
        if id.0.hex().starts_with(prefix) {
            match found {
                Prefix::None => found = Prefix::One(*id),
                Prefix::One(_) | Prefix::Several => return Prefix::Several,
            }
        }
    }
    found
}

fn nearest(memory: &Memory, text: &str) -> Vec<String> {
    // A tag nobody typed is not compared, or every short name would be seven letters away from itself.
    let with_tag = text.rsplit('/').next().is_some_and(|last| last.contains(':'));
    let candidates: Vec<String> = memory
        .tags
        .values()
        .filter(|tag| tag.reference.digest().is_none())
        .map(|tag| if with_tag { tag.reference.familiar() } else { tag.reference.familiar_repository() })
        .collect();
    suggest::nearest(text, candidates.iter().map(String::as_str), SUGGESTION_DISTANCE).map(ToOwned::to_owned).into_iter().collect()
}
