//! Tokens that are still good, by registry, account and scope; and which registries want user and password with every request.
//!
//! What must stay true: a token is found only for the origin and the account it was made for; the cache is bounded; it forgets with the process.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use shipway_model::{Digest, Secret};
use tokio::time::Instant;

use crate::Origin;

/// Tokens kept: more than one busy host pulls repositories in the life of a token.
const KEPT: usize = 2000;
/// Origins noted for wanting user and password.
const NOTED: usize = 1000;
/// A token shown this soon before its end may be refused on arrival.
const MARGIN: Duration = Duration::from_secs(5);

/// Tokens shared by the operations of one daemon. Clones share them.
#[derive(Clone, Default)]
pub struct TokenCache(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    tokens: HashMap<(Origin, Account), Vec<Token>>,
    count: usize,
    basic: HashSet<Origin>,
}

/// Whose token it is; nobody's in particular when none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::client) struct Account(pub(in crate::client) Option<Digest>);

struct Token {
    scopes: Vec<String>,
    header: HeaderValue,
    obtained: Instant,
    good_until: Instant,
}

/// The value of `Authorization` for a token. None when the token has bytes that no header may have.
pub(in crate::client) fn bearer(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl TokenCache {
    /// A token for all of `scopes` that is still good.
    pub(in crate::client) fn token(&self, origin: &Origin, account: Account, scopes: &[String]) -> Option<HeaderValue> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let tokens = held.tokens.get(&(origin.clone(), account))?;
        let fits = |token: &&Token| now < token.good_until && scopes.iter().all(|scope| token.scopes.contains(scope));
        // The newest first: an older one may have been made before a right was given.
        tokens.iter().rev().find(fits).map(|token| token.header.clone())
    }

    pub(super) fn keep(&self, origin: &Origin, account: Account, scopes: Vec<String>, header: HeaderValue, life: Duration) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if held.count >= KEPT {
            held.shrink(now);
        }
        let token = Token { scopes, header, obtained: now, good_until: now + life.saturating_sub(MARGIN).max(life / 2) };
        let tokens = held.tokens.entry((origin.clone(), account)).or_default();
        let before = tokens.len();
        tokens.retain(|other| other.scopes != token.scopes && now < other.good_until);
        let gone = before - tokens.len();
        tokens.push(token);
        held.count = held.count + 1 - gone;
    }

    /// Forgets the token in `header`; answers how old it was and what it was for.
    pub(super) fn forget(&self, origin: &Origin, account: &Account, header: &HeaderValue) -> Option<(Duration, Vec<String>)> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = held.tokens.get_mut(&(origin.clone(), account.clone()))?;
        let at = tokens.iter().position(|token| token.header == *header)?;
        let token = tokens.remove(at);
        held.count -= 1;
        Some((token.obtained.elapsed(), token.scopes))
    }

    pub(in crate::client) fn wants_basic(&self, origin: &Origin) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).basic.contains(origin)
    }

    pub(in crate::client) fn note_basic(&self, origin: &Origin) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.basic.len() >= NOTED {
            held.basic.clear();
        }
        held.basic.insert(origin.clone());
    }
}

impl Held {
    /// Makes room: what is over, else everything; tokens are cheap to get again.
    fn shrink(&mut self, now: Instant) {
        for tokens in self.tokens.values_mut() {
            tokens.retain(|token| now < token.good_until);
        }
        self.tokens.retain(|_, tokens| !tokens.is_empty());
        self.count = self.tokens.values().map(Vec::len).sum();
        if self.count >= KEPT {
            self.tokens.clear();
            self.count = 0;
        }
    }
}

impl std::fmt::Debug for TokenCache {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("TokenCache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Url;

    fn keep(cache: &TokenCache, scopes: &[&str], token: &str, life: u64) {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        cache.keep(&origin("https://a"), Account(None), scopes, bearer(&Secret::new(token)).unwrap(), Duration::from_secs(life));
    }

    fn origin(text: &str) -> Origin {
        Url::parse(text).unwrap().origin()
    }

    fn find(cache: &TokenCache, scopes: &[&str]) -> Option<String> {
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        cache.token(&origin("https://a"), Account(None), &scopes).map(|header| header.to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn a_token_serves_its_scopes_and_fewer_until_it_ends() {
        let cache = TokenCache::default();
        keep(&cache, &["a", "b"], "both", 60);
        assert_eq!((find(&cache, &["a"]).as_deref(), find(&cache, &["b", "a"]).as_deref()), (Some("Bearer both"), Some("Bearer both")));
        assert_eq!(find(&cache, &["a", "c"]), None);
        keep(&cache, &["a", "b"], "both", 0);
        assert_eq!(find(&cache, &["a"]), None);
    }

    #[tokio::test]
    async fn a_token_is_nobody_elses() {
        let cache = TokenCache::default();
        keep(&cache, &[], "mine", 60);
        let somebody = Account(Some(Digest::sha256_of(b"x")));
        assert!(cache.token(&origin("https://a"), somebody, &[]).is_none());
        for other in ["http://a", "https://a:444", "https://b"] {
            assert!(cache.token(&origin(other), Account(None), &[]).is_none(), "{other}");
        }
    }

    #[tokio::test]
    async fn the_cache_is_bounded() {
        let cache = TokenCache::default();
        for number in 0..(KEPT * 2) {
            keep(&cache, &[&number.to_string()], "x", 60);
        }
        assert!(cache.0.lock().unwrap().count <= KEPT);
        assert!(find(&cache, &[&(KEPT * 2 - 1).to_string()]).is_some());
    }
}
