//! Accounts: a file as `htpasswd -B` writes it, read again when it changes.
//!
//! What must stay true: only bcrypt is taken, because the other forms of that file fall to anyone who sees it; a wrong name costs as much time as a wrong
//! password; no more checks than two run at once, so that guessing cannot take the machine; a password that was right is remembered only as a keyed hash.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;
use shipway_model::Secret;
use tokio::sync::Semaphore;

use super::AccessError;
use crate::codes::Refusal;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Passwords remembered as right; a client sends its own with every request.
const REMEMBERED: usize = 1024;
/// Checked against when there is no such user. Of "", with the usual cost; nobody gets in by it.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuGyxFwXBB9e8OYrQ4JpxaCDWEx4HRSQO";
/// The realm that clients show to people.
const REALM: &str = "Shipway registry";

/// The accounts of a file.
pub struct Accounts {
    path: PathBuf,
    state: Mutex<State>,
    checks: Semaphore,
    key: ring::hmac::Key,
}

struct State {
    hashes: Arc<HashMap<String, String>>,
    changed: Option<SystemTime>,
    looked: Instant,
    /// Keyed hash of user and password, and the line of the file it was right for.
    right: HashMap<Vec<u8>, String>,
}

impl Accounts {
    /// Reads the accounts of `path`.
    ///
    /// # Errors
    /// `File`, or `Line` for what is no account with a bcrypt hash.
    pub fn read(path: &Path) -> Result<Self, AccessError> {
        let (hashes, changed) = load(path)?;
        let random = ring::rand::SystemRandom::new();
        let key = ring::hmac::Key::generate(ring::hmac::HMAC_SHA256, &random)
            .map_err(|_| AccessError::File { path: path.display().to_string(), source: std::io::Error::other("no randomness") })?;
        let state = State { hashes: Arc::new(hashes), changed, looked: Instant::now(), right: HashMap::new() };
        Ok(Self { path: path.to_owned(), state: Mutex::new(state), checks: Semaphore::new(2), key })
    }

    /// What a stranger hears.
    pub(super) fn challenge(&self) -> Refusal {
        super::challenge("authentication required", &format!("Basic realm=\"{REALM}\""))
    }

    /// True when an `Authorization` holds an account and its password.
    pub(super) async fn know(&self, given: Option<&HeaderValue>) -> bool {
        match given.and_then(super::credentials) {
            Some((user, password)) => self.verify(&user, &password).await,
            None => false,
        }
    }

    /// True when `password` is that of `user`.
    async fn verify(&self, user: &str, password: &Secret) -> bool {
        let known = self.hashes().get(user).cloned();
        let mark = ring::hmac::sign(&self.key, format!("{user}\0{}", password.expose()).as_bytes()).as_ref().to_vec();
        if known.is_some() && self.lock().right.get(&mark) == known.as_ref() {
            return true;
        }
        let Ok(_turn) = self.checks.acquire().await else { return false };
        let (secret, hash) = (password.clone(), known.clone().unwrap_or_else(|| NOBODY.to_owned()));
        let checked = tokio::task::spawn_blocking(move || bcrypt::verify(secret.expose(), &hash).unwrap_or(false));
        let fits = checked.await.unwrap_or(false);
        let Some(hash) = known.filter(|_| fits) else {
            tracing::info!("a login was refused");
            return false;
        };
        let mut state = self.lock();
        if state.right.len() >= REMEMBERED {
            state.right.clear();
        }
        state.right.insert(mark, hash);
        true
    }

    /// The accounts as the file has them now; those of before when it cannot be read.
    fn hashes(&self) -> Arc<HashMap<String, String>> {
        let mut state = self.lock();
        if state.looked.elapsed() >= LOOK {
            state.looked = Instant::now();
            let changed = fs::metadata(&self.path).and_then(|metadata| metadata.modified()).ok();
            if changed != state.changed {
                match load(&self.path) {
                    Ok((hashes, changed)) => {
                        tracing::info!(accounts = hashes.len(), "read the accounts again");
                        (state.hashes, state.changed) = (Arc::new(hashes), changed);
                    }
                    Err(error) => tracing::error!(%error, "the accounts stay as they were"),
                }
            }
        }
        Arc::clone(&state.hashes)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(path: &Path) -> Result<(HashMap<String, String>, Option<SystemTime>), AccessError> {
    let shown = path.display().to_string();
    let file = |source| AccessError::File { path: shown.clone(), source };
    // The time first: a change while we read is then seen the next time.
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified()).map_err(file)?;
    let text = fs::read_to_string(path).map_err(file)?;
    Ok((parse(&shown, &text)?, Some(changed)))
}

fn parse(path: &str, text: &str) -> Result<HashMap<String, String>, AccessError> {
    let mut hashes = HashMap::new();
    for (number, line) in text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let wrong = |reason: String| AccessError::Line { path: path.to_owned(), line: number + 1, reason };
        let (user, hash) = line.split_once(':').ok_or_else(|| wrong("no colon between name and hash".to_owned()))?;
        if user.is_empty() {
            return Err(wrong("no name before the colon".to_owned()));
        }
        if let Some(form) = refused_form(hash) {
            return Err(wrong(format!("the password of \"{user}\" is {form}; only bcrypt is taken: htpasswd -B")));
        }
        hashes.insert(user.to_owned(), hash.to_owned());
    }
    Ok(hashes)
}

/// What a hash is when it is not bcrypt's `$2b$10$` and 53 letters.
fn refused_form(hash: &str) -> Option<&'static str> {
    let is_bcrypt = ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix));
    match hash {
        _ if is_bcrypt && hash.len() == 60 => None,
        _ if is_bcrypt => Some("a damaged bcrypt hash"),
        _ if hash.starts_with("{SHA}") => Some("an unsalted SHA-1 hash"),
        _ if hash.starts_with("$apr1$") || hash.starts_with("$1$") => Some("an MD5 hash"),
        _ if hash.starts_with("$5$") || hash.starts_with("$6$") => Some("a SHA-crypt hash"),
        _ => Some("plain text or an old crypt hash"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bcrypt_is_taken() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        assert_eq!(parse("f", &format!("# people\n\nann:{hash}\n")).unwrap()["ann"], hash);
        for (line, word) in [
            ("bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "SHA-1"),
            ("bob:$apr1$x$y", "MD5"),
            ("bob:$6$x$y", "SHA-crypt"),
            ("bob:secret", "plain text"),
            ("bob:$2b$10$short", "damaged"),
            ("bob", "no colon"),
            (":x", "no name"),
        ] {
            let error = parse("f", line).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("line 1"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_hash_of_nobody_costs_what_others_cost() {
        assert_eq!(refused_form(NOBODY), None);
        assert!(!bcrypt::verify("x", NOBODY).unwrap());
    }

    #[tokio::test]
    async fn a_changed_password_counts_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("htpasswd");
        fs::write(&path, format!("ann:{}\n", bcrypt::hash("one", 4).unwrap())).unwrap();
        let accounts = Accounts::read(&path).unwrap();
        let secret = |text: &str| Secret::new(text);
        for _ in 0..2 {
            assert!(accounts.verify("ann", &secret("one")).await);
            assert!(!accounts.verify("ann", &secret("two")).await);
            assert!(!accounts.verify("bob", &secret("one")).await);
        }
        fs::write(&path, format!("ann:{}\n", bcrypt::hash("two", 4).unwrap())).unwrap();
        accounts.lock().looked = Instant::now() - LOOK;
        accounts.lock().changed = None;
        assert!(!accounts.verify("ann", &secret("one")).await);
        assert!(accounts.verify("ann", &secret("two")).await);
    }
}
