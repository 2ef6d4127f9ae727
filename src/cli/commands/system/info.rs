//! `info`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::human;
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::template::{Template, json_text};
use serde_json::{Value, json};

/// Display system-wide information
#[derive(Debug, clap::Parser)]
pub(crate) struct Info {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "string", default_value = "")]
    format: String,
}

impl Verb for Info {
    const NAMES: &'static [&'static str] = &["system info", "info"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        let context = session.context_name()?;
        let client = json!({"Debug": session.globals.debug, "Version": env!("CARGO_PKG_VERSION"), "Context": context, "Plugins": [], "Warnings": null});
        let (mut server, failure) = match session.client()?.json::<Value>(Call::get("/info")).await {
            Ok(server) => (server, None),
            Err(failure) => (json!({}), Some(failure)),
        };
        if self.format.is_empty() {
            let mut page = format!(
                "Client:\n Version:    {}\n Context:    {context}\n Debug Mode: {}\n\nServer:\n",
                env!("CARGO_PKG_VERSION"),
                session.globals.debug
            );
            if failure.is_none() {
                page.push_str(&page_of(&server));
                page.push('\n');
            }
            output::text(&page)?;
            for warning in server.get("Warnings").and_then(Value::as_array).into_iter().flatten() {
                output::note(warning.as_str().unwrap_or_default());
            }
        } else {
            if let Some(fields) = server.as_object_mut() {
                fields.insert("ClientInfo".to_owned(), client);
            }
            match self.format.as_str() {
                "json" => output::line(json_text(&server, false))?,
                format => output::line(Template::parse(format)?.render_object(&server)?)?,
            }
        }
        failure.map_or(Ok(()), |failure: Failure| Err(failure))
    }
}

/// Docker's page, one line per thing the daemon told.
fn page_of(server: &Value) -> String {
    let mut page = Page { server, text: String::new() };
    page.number(" Containers", "Containers");
    page.number("  Running", "ContainersRunning");
    page.number("  Paused", "ContainersPaused");
    page.number("  Stopped", "ContainersStopped");
    page.number(" Images", "Images");
    page.line(" Server Version", "ServerVersion");
    page.line(" Storage Driver", "Driver");
    for pair in page.list("DriverStatus") {
        let text = |at: usize| pair.get(at).and_then(Value::as_str).unwrap_or_default();
        page.text.push_str(&format!("  {}: {}\n", text(0), text(1)));
    }
    page.line(" Logging Driver", "LoggingDriver");
    page.line(" Cgroup Driver", "CgroupDriver");
    page.line(" Cgroup Version", "CgroupVersion");
    page.plugins();
    if let Some(state) = server.pointer("/Swarm/LocalNodeState").and_then(Value::as_str) {
        page.text.push_str(&format!(" Swarm: {state}\n"));
    }
    if let Some(runtimes) = server.get("Runtimes").and_then(Value::as_object).filter(|runtimes| !runtimes.is_empty()) {
        let mut names: Vec<&str> = runtimes.keys().map(String::as_str).collect();
        names.sort_unstable();
        page.text.push_str(&format!(" Runtimes: {}\n", names.join(" ")));
    }
    page.line(" Default Runtime", "DefaultRuntime");
    page.line(" Init Binary", "InitBinary");
    for (title, pointer) in [("containerd", "/ContainerdCommit/ID"), ("runc", "/RuncCommit/ID"), ("init", "/InitCommit/ID")] {
        if let Some(version) = server.pointer(pointer).and_then(Value::as_str) {
            page.text.push_str(&format!(" {title} version: {version}\n"));
        }
    }
    page.security();
    page.line(" Kernel Version", "KernelVersion");
    page.line(" Operating System", "OperatingSystem");
    page.line(" OSType", "OSType");
    page.line(" Architecture", "Architecture");
    page.number(" CPUs", "NCPU");
    if let Some(bytes) = server.get("MemTotal").and_then(Value::as_i64) {
        page.text.push_str(&format!(" Total Memory: {}\n", human::binary_size(bytes)));
    }
    page.line(" Name", "Name");
    page.line(" ID", "ID");
    page.line(" Docker Root Dir", "DockerRootDir");
    page.truth(" Debug Mode", "Debug");
    page.proxies();
    page.truth(" Experimental", "ExperimentalBuild");
    if let Some(registries) =
        server.pointer("/RegistryConfig/InsecureRegistryCIDRs").and_then(Value::as_array).filter(|all| !all.is_empty())
    {
        page.text.push_str(" Insecure Registries:\n");
        for registry in registries {
            page.text.push_str(&format!("  {}\n", registry.as_str().unwrap_or_default()));
        }
    }
    page.truth(" Live Restore Enabled", "LiveRestoreEnabled");
    page.text
}

struct Page<'a> {
    server: &'a Value,
    text: String,
}

impl Page<'_> {
    fn line(&mut self, title: &str, key: &str) {
        if let Some(value) = self.server.get(key).and_then(Value::as_str).filter(|value| !value.is_empty()) {
            self.text.push_str(&format!("{title}: {value}\n"));
        }
    }

    fn number(&mut self, title: &str, key: &str) {
        let value = self.server.get(key).and_then(Value::as_i64).unwrap_or_default();
        self.text.push_str(&format!("{title}: {value}\n"));
    }

    fn truth(&mut self, title: &str, key: &str) {
        if let Some(value) = self.server.get(key).and_then(Value::as_bool) {
            self.text.push_str(&format!("{title}: {value}\n"));
        }
    }

    fn list(&self, key: &str) -> Vec<Value> {
        self.server.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
    }

    fn plugins(&mut self) {
        self.text.push_str(" Plugins:\n");
        for kind in ["Volume", "Network", "Authorization", "Log"] {
            let names: Vec<String> = self
                .server
                .pointer(&format!("/Plugins/{kind}"))
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect();
            if !names.is_empty() {
                self.text.push_str(&format!("  {kind}: {}\n", names.join(" ")));
            }
        }
    }

    /// `name=seccomp,profile=default` becomes a name with its details below it.
    fn security(&mut self) {
        let options = self.list("SecurityOptions");
        if options.is_empty() {
            return;
        }
        self.text.push_str(" Security Options:\n");
        for option in options {
            let text = option.as_str().unwrap_or_default();
            for (at, part) in text.split(',').enumerate() {
                let (key, value) = part.split_once('=').unwrap_or(("name", part));
                if at == 0 || key == "name" {
                    self.text.push_str(&format!("  {value}\n"));
                } else {
                    let mut title = key.to_owned();
                    if let Some(first) = title.get_mut(..1) {
                        first.make_ascii_uppercase();
                    }
                    self.text.push_str(&format!("   {title}: {value}\n"));
                }
            }
        }
    }

    fn proxies(&mut self) {
        self.line(" HTTP Proxy", "HttpProxy");
        self.line(" HTTPS Proxy", "HttpsProxy");
        self.line(" No Proxy", "NoProxy");
        if let Some(labels) = self.server.get("Labels").and_then(Value::as_array).filter(|labels| !labels.is_empty()) {
            self.text.push_str(" Labels:\n");
            for label in labels {
                self.text.push_str(&format!("  {}\n", label.as_str().unwrap_or_default()));
            }
        }
    }
}
