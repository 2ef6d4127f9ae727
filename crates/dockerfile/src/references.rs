//! Mistakes in image names that can be seen without asking any registry.

use crate::diagnostic::Diagnostic;
use crate::source::Span;
use shipway_model::{Classified, Reference, ReferenceError};

/// What is wrong with an image name as typed, if anything. The classic builder answers these without naming a line.
pub(crate) fn check_image_name(name: &str, span: Span) -> Option<Diagnostic> {
    if let Some((image, digest)) = digest_after_colon(name) {
        return Some(
            Diagnostic::error("E-REFERENCE-DIGEST", span, format!("a digest is written with @: {image}@{digest}"))
                .because("after \":\" stands a tag; \"@\" pins an image by its digest")
                .hint(format!("write {image}@{digest}"))
                .docker("invalid reference format"),
        );
    }
    let error = match Reference::parse(name) {
        // Sixty-four digits are no name, but the id of an image that may well be here.
        Ok(_) | Err(ReferenceError::IdLike { .. }) => return None,
        Err(error) => error,
    };
    let docker = error.to_string();
    if let ReferenceError::UpperCase { suggestion, .. } = &error {
        return Some(
            Diagnostic::error("E-REFERENCE-CASE", span, format!("image names are lowercase: {name} -> {suggestion}"))
                .because("names of stages may be of any case, names of images may not; no stage of this file has this name")
                .hint(format!("write {suggestion}"))
                .docker(docker),
        );
    }
    let shown: String = name.chars().take(120).collect();
    Some(Diagnostic::error("E-REFERENCE", span, format!("\"{shown}\" is not the name of an image")).hint_if(error.hint()).docker(docker))
}

/// `name:sha256:<hex>`: the image and the digest.
fn digest_after_colon(name: &str) -> Option<(&str, &str)> {
    for algorithm in ["sha256", "sha384", "sha512"] {
        if let Some(position) = name.find(&format!(":{algorithm}:")) {
            let digest = &name[position + 1..];
            let hex = &digest[algorithm.len() + 1..];
            // Also a shortened digest: the mistake is the colon, not the length.
            if hex.len() >= 4 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) && !name[..position].contains('@') {
                return Some((&name[..position], digest));
            }
        }
    }
    None
}
