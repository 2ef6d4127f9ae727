//! How a registry comes to believe us: what it asks for, who may be asked for a token, the tokens we have.
//!
//! What must stay true: every text here is a stranger's; nothing of it reaches a log or an error without its secrets taken out and its length bounded.
//!
//! # Source
//! The distribution project's specifications of token and OAuth2 authentication; RFC 6749, sections 4.3 and 6.

mod cache;
mod challenge;
mod exchange;
mod realm;

pub use cache::TokenCache;
pub(super) use cache::{Account, bearer};
pub(super) use exchange::{Exchange, Wish};

use http::HeaderMap;

use crate::Error;
use challenge::{Challenge, challenges};

/// What to do about a refusal.
pub(super) enum Way {
    /// The server names no way in.
    None,
    /// User and password.
    Basic,
    /// A token.
    Token(Wish),
}

/// The way to take among those a server offers: a token first, since it is worth less to a thief.
///
/// # Errors
/// `Unsupported` when there are ways, and none that we can go.
pub(super) fn choose(headers: &HeaderMap) -> Result<Way, Error> {
    let mut way = Way::None;
    let mut foreign = None;
    for challenge in challenges(headers) {
        match challenge {
            Challenge::Bearer { realm, service, scope, .. } => {
                return Ok(Way::Token(Wish {
                    realm,
                    service,
                    scopes: scope.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect(),
                    offline: false,
                }));
            }
            Challenge::Basic => way = Way::Basic,
            Challenge::Other { scheme } => foreign = Some(scheme),
        }
    }
    match (way, foreign) {
        (Way::None, Some(scheme)) => {
            Err(Error::Unsupported { what: format!("the authentication \"{scheme}\" that the registry asks for") })
        }
        (way, _) => Ok(way),
    }
}
