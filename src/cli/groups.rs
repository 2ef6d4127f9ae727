//! The groups of commands, and the pages `shipway --help` and `shipway image --help` print.

use super::catalog::{Entry, listing};
use super::exit::Outcome;
use super::output;

/// A group.
pub(crate) struct Group {
    /// Its name.
    pub(crate) name: &'static str,
    /// One line about it.
    pub(crate) about: &'static str,
}

/// All groups, in the order of the help page.
pub(crate) const GROUPS: [Group; 9] = [
    Group { name: "builder", about: "Manage builds and their cache" },
    Group { name: "container", about: "Manage containers" },
    Group { name: "context", about: "Manage contexts" },
    Group { name: "image", about: "Manage images" },
    Group { name: "manifest", about: "Manage manifest lists, one name for several platforms" },
    Group { name: "network", about: "Manage networks" },
    Group { name: "registry", about: "Serve a registry" },
    Group { name: "system", about: "Manage the engine" },
    Group { name: "volume", about: "Manage volumes" },
];

/// Commands people use daily, listed first.
const COMMON: [&str; 12] = ["run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version", "info"];

const GLOBAL_OPTIONS: &str = "      --config string      Location of client config files (default \"~/.docker\")
  -c, --context string     Name of the context to use to connect to the daemon
                           (overrides DOCKER_HOST and the default context)
  -D, --debug              Enable debug mode
  -H, --host list          Daemon socket to connect to
  -l, --log-level string   Set the logging level
  -v, --version            Print version information and quit";

/// The page of the whole program.
pub(crate) fn overview(table: &[Entry]) -> Outcome {
    let all = listing(table, None);
    let about = |name: &str| all.iter().find(|(known, _)| known == name).map(|(_, about)| about.clone()).unwrap_or_default();
    let mut page = String::from("Usage:  shipway [OPTIONS] COMMAND\n\nBuilds, ships and runs containers\n\nCommon Commands:\n");
    for name in COMMON {
        page.push_str(&format!("  {name:<11} {}\n", about(name)));
    }
    page.push_str("\nManagement Commands:\n");
    for group in &GROUPS {
        page.push_str(&format!("  {:<11} {}\n", group.name, group.about));
    }
    page.push_str("\nCommands:\n");
    page.push_str("  daemon      Run the engine itself\n");
    for (name, about) in all.iter().filter(|(name, _)| !COMMON.contains(&name.as_str())) {
        page.push_str(&format!("  {name:<11} {about}\n"));
    }
    page.push_str(&format!("\nGlobal Options:\n{GLOBAL_OPTIONS}\n\nRun 'shipway COMMAND --help' for more information on a command.\n"));
    output::text(&page)
}

/// The page of one group.
pub(crate) fn page(table: &[Entry], name: &str) -> Outcome {
    let about = GROUPS.iter().find(|group| group.name == name).map(|group| group.about).unwrap_or_default();
    let mut page = format!("Usage:  shipway {name} COMMAND\n\n{about}\n\nCommands:\n");
    for (command, about) in listing(table, Some(name)) {
        page.push_str(&format!("  {command:<11} {about}\n"));
    }
    page.push_str(&format!("\nRun 'shipway {name} COMMAND --help' for more information on a command.\n"));
    output::text(&page)
}
