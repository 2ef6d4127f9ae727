//! What one invocation knows: the global flags, the environment, and, once somebody needs it, the configuration and the way to the daemon.
//!
//! What must stay true: nothing is read before it is needed (`shipway ps` with `DOCKER_HOST` set opens no file), and this is the only place of
//! the command line that looks at environment variables.

use super::client::Client;
use super::config_file::{ConfigFile, ContextStore};
use super::connect::{Host, Target};
use super::exit::{Failure, Outcome};
use std::cell::OnceCell;
use std::path::PathBuf;

/// Flags before the command.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Globals {
    /// `-H`.
    pub(crate) host: Option<String>,
    /// `-c`.
    pub(crate) context: Option<String>,
    /// `--config`.
    pub(crate) config: Option<String>,
    /// `-D`.
    pub(crate) debug: bool,
    /// Any of the TLS flags.
    pub(crate) tls: bool,
}

/// One invocation.
pub(crate) struct Session {
    pub(crate) globals: Globals,
    config: OnceCell<ConfigFile>,
    client: OnceCell<Client>,
}

impl Session {
    /// Begins an invocation.
    pub(crate) fn new(globals: Globals) -> Self {
        Self { globals, config: OnceCell::new(), client: OnceCell::new() }
    }

    /// A non-empty environment variable.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        variable(name)
    }

    /// Folder of the client's configuration.
    pub(crate) fn config_folder(&self) -> PathBuf {
        if let Some(folder) = self.globals.config.clone().or_else(|| variable("DOCKER_CONFIG")) {
            return PathBuf::from(folder);
        }
        PathBuf::from(variable("HOME").unwrap_or_else(|| "/root".to_owned())).join(".docker")
    }

    /// `config.json`; absent means empty.
    ///
    /// # Errors
    /// When the file is there but is no JSON.
    pub(crate) fn config(&self) -> Outcome<&ConfigFile> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = ConfigFile::read(&self.config_folder())?;
        Ok(self.config.get_or_init(|| config))
    }

    /// The contexts stored on this machine.
    pub(crate) fn contexts(&self) -> ContextStore {
        ContextStore::new(&self.config_folder())
    }

    /// Name of the context in use; `default` when hosts are given directly.
    pub(crate) fn context_name(&self) -> Outcome<String> {
        if let Some(name) = &self.globals.context {
            return Ok(name.clone());
        }
        if self.globals.host.is_some() || variable("SHIPWAY_HOST").is_some() || variable("DOCKER_HOST").is_some() {
            return Ok("default".to_owned());
        }
        if let Some(name) = variable("DOCKER_CONTEXT") {
            return Ok(name);
        }
        let current = self.config()?.current_context.clone();
        Ok(if current.is_empty() { "default".to_owned() } else { current })
    }

    /// Where the daemon is, in docker's order: flags, environment, context, our own default.
    pub(crate) fn target(&self) -> Outcome<Target> {
        if self.globals.host.is_some() && self.globals.context.is_some() {
            return Err(Failure::new("conflicting options: cannot specify both --host and --context"));
        }
        if self.globals.tls || variable("DOCKER_TLS_VERIFY").is_some() || variable("DOCKER_TLS").is_some() {
            return Err(Failure::new("TLS connections are not supported yet").hint("use a unix socket or plain tcp on a trusted network"));
        }
        if let Some(host) = &self.globals.host {
            return Ok(Target { host: Host::parse(host)?, may_start_daemon: false });
        }
        if self.globals.context.is_none()
            && let Some(host) = variable("SHIPWAY_HOST").or_else(|| variable("DOCKER_HOST"))
        {
            return Ok(Target { host: Host::parse(&host)?, may_start_daemon: false });
        }
        let name = self.context_name()?;
        if name != "default" {
            let host = self.contexts().host(&name)?;
            return Ok(Target { host: Host::parse(&host)?, may_start_daemon: false });
        }
        Ok(Target { host: default_host(), may_start_daemon: true })
    }

    /// The daemon.
    ///
    /// # Errors
    /// Only when its address cannot be understood; nothing is dialled yet.
    pub(crate) fn client(&self) -> Outcome<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::new(self.target()?, variable("DOCKER_API_VERSION"));
        Ok(self.client.get_or_init(|| client))
    }
}

/// A non-empty environment variable.
#[allow(clippy::disallowed_methods, reason = "this is the command line's only door to its environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// All environment variables that are UTF-8, for `-e NAME*` and build arguments.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Where our daemon listens unless told otherwise.
pub(crate) fn default_host() -> Host {
    Host::Unix(default_socket())
}

/// Our socket: root's, or the user's own.
fn default_socket() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/run/shipway/shipway.sock");
    }
    match variable("XDG_RUNTIME_DIR") {
        Some(folder) => PathBuf::from(folder).join("shipway/shipway.sock"),
        None => PathBuf::from(format!("/run/user/{}/shipway/shipway.sock", rustix::process::geteuid().as_raw())),
    }
}
