//! What the person at the terminal has to show to registries: kept in Docker's `config.json` or by credential helpers, sent to the daemon in headers.
//!
//! What must stay true: a secret is `Secret` from where it is read to where it is sent; nothing here prints one; helpers get a registry's name on their
//! standard input and nothing on their command line.
//!
//! ```text
//! config.json   "auths": {"HOST": {"auth": base64("user:password"), "identitytoken": ".."}}   "credsStore": "NAME"   "credHelpers": {"HOST": "NAME"}
//! header        X-Registry-Auth: base64url({"username","password","identitytoken","registrytoken","serveraddress"})
//! ```

mod file;
mod helper;
mod server;

pub(crate) use server::Server;

use super::exit::{Failure, Outcome};
use super::output;
use super::session::Session;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use file::File;
use helper::Helper;
use serde_json::{Map, Value, json};
use shipway_model::Secret;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The header in which a build tells all of it.
pub(crate) const BUILD_HEADER: &str = "x-registry-config";

/// What somebody has to show to one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: Secret,
    /// A token in place of the password; empty when there is none.
    pub(crate) identity_token: Secret,
    /// A finished token for the registry; empty when there is none.
    pub(crate) registry_token: Secret,
}

impl Login {
    /// A user and a password.
    pub(crate) fn new(username: impl Into<String>, password: Secret) -> Self {
        Self { username: username.into(), password, identity_token: Secret::new(""), registry_token: Secret::new("") }
    }

    fn is_empty(&self) -> bool {
        self.username.is_empty()
            && [&self.password, &self.identity_token, &self.registry_token].iter().all(|secret| secret.expose().is_empty())
    }

    /// The API's form.
    pub(crate) fn document(&self, server: &Server) -> Value {
        let mut keys = Map::new();
        let secrets = [
            ("password", self.password.expose()),
            ("identitytoken", self.identity_token.expose()),
            ("registrytoken", self.registry_token.expose()),
        ];
        keys.insert("username".to_owned(), Value::from(self.username.as_str()));
        for (name, secret) in secrets {
            if name == "password" || !secret.is_empty() {
                keys.insert(name.to_owned(), Value::from(secret));
            }
        }
        keys.insert("serveraddress".to_owned(), Value::from(server.key()));
        Value::Object(keys)
    }
}

/// Where credentials are kept.
pub(crate) struct Keeper {
    file: File,
}

/// Where a secret ended up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// With a helper.
    Helper,
    /// In the file, for everybody to read who may read the file.
    Plain(PathBuf),
}

impl Keeper {
    /// The keeper of this invocation.
    pub(crate) fn open(session: &Session) -> Outcome<Self> {
        Ok(Self { file: File::read(&session.config_folder())? })
    }

    /// What there is for `server`. None when nobody logged in there.
    pub(crate) async fn find(&self, server: &Server) -> Outcome<Option<Login>> {
        if let Some(helper) = self.helper(server) {
            for name in server.names() {
                if let Some(login) = helper.get(&name).await? {
                    return Ok(Some(login).filter(|login| !login.is_empty()));
                }
            }
            return Ok(None);
        }
        Ok(self.file.find(server).filter(|login| !login.is_empty()))
    }

    /// Keeps `login` for `server`.
    pub(crate) async fn keep(&mut self, server: &Server, login: &Login) -> Outcome<Kept> {
        match self.helper(server) {
            Some(helper) => {
                helper.store(&server.key(), login).await?;
                self.file.note(server)?;
                Ok(Kept::Helper)
            }
            None => Ok(Kept::Plain(self.file.keep(server, login)?)),
        }
    }

    /// Forgets `server`. False when there was nothing.
    pub(crate) async fn forget(&mut self, server: &Server) -> Outcome<bool> {
        let mut found = false;
        if let Some(helper) = self.helper(server) {
            for name in server.names() {
                if helper.get(&name).await?.is_some() {
                    helper.erase(&name).await?;
                    found = true;
                }
            }
        }
        Ok(self.file.forget(server)? || found)
    }

    /// Everything there is, by registry. What one helper cannot say is noted and does not hide the others: most builds need none of it.
    pub(crate) async fn all(&self) -> BTreeMap<String, Login> {
        let mut all = self.file.all();
        let mut asked: Vec<(String, Helper)> = Vec::new();
        if let Some(store) = self.file.store() {
            match Helper::new(store).list().await {
                Ok(servers) => asked.extend(servers.into_iter().map(|server| (server, Helper::new(store)))),
                Err(failure) => complain(&failure),
            }
        }
        asked.extend(self.file.helpers().map(|(server, name)| (server.to_owned(), Helper::new(name))));
        for (server, helper) in asked {
            match helper.get(&server).await {
                Ok(login) => drop(login.and_then(|login| all.insert(server, login))),
                Err(failure) => complain(&failure),
            }
        }
        all.retain(|_, login| !login.is_empty());
        all
    }

    fn helper(&self, server: &Server) -> Option<Helper> {
        let names = server.names();
        let own = self.file.helpers().find(|(listed, _)| names.iter().any(|name| name == listed)).map(|(_, helper)| helper);
        own.or_else(|| self.file.store()).map(Helper::new)
    }
}

/// `X-Registry-Auth` for a registry of references, such as `docker.io`; always a header, since old daemons insist on one. A helper that does not work keeps
/// nobody from what is there for everybody.
pub(crate) async fn header_for(session: &Session, domain: &str) -> Outcome<String> {
    let server = Server::of_domain(domain);
    let login = Keeper::open(session)?.find(&server).await.unwrap_or_else(|failure| {
        complain(&failure);
        None
    });
    Ok(encode(&login.map_or_else(|| json!({}), |login| login.document(&server))))
}

/// `X-Registry-Config`, what builds send: everything there is. None when there is nothing.
pub(crate) async fn header_for_all(session: &Session) -> Outcome<Option<String>> {
    let all = Keeper::open(session)?.all().await;
    let document: Map<String, Value> = all.iter().map(|(name, login)| (name.clone(), login.document(&Server::parse(name)))).collect();
    Ok((!document.is_empty()).then(|| encode(&Value::Object(document))))
}

/// A `config.json` with everything there is and nothing else, for somebody who is to act in the caller's name. None when there is nothing.
pub(crate) async fn settings_for_another(session: &Session) -> Outcome<Option<Secret>> {
    let all = Keeper::open(session)?.all().await;
    let auths: Map<String, Value> = all.into_iter().map(|(name, login)| (name, Value::Object(file::entry(&login)))).collect();
    Ok((!auths.is_empty()).then(|| Secret::new(json!({"auths": auths}).to_string())))
}

fn complain(failure: &Failure) {
    output::note(format!("WARNING: going on without the credentials of a helper: {failure}"));
}

fn encode(document: &Value) -> String {
    URL_SAFE.encode(document.to_string())
}

/// Words about a file or helper that does not do what it should.
fn trouble(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("{what}: {error}"))
}
