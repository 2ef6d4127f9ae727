//! A network namespace of one's own: low ports are free in it, and nothing in it is seen from outside.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A named network namespace with its loopback up; dropping it removes the name.
#[derive(Debug)]
pub struct PrivateNetwork {
    name: String,
}

impl PrivateNetwork {
    /// Makes one. `word` tells people whose it is.
    pub fn new(word: &str) -> Self {
        let name = format!("shipway-it-{word}-{}", std::process::id());
        let network = Self { name };
        ip(&["netns", "add", &network.name]);
        ip(&["-netns", &network.name, "link", "set", "lo", "up"]);
        network
    }

    /// The handle by which others enter.
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// `program`, to be run inside. It takes the place of the helper that enters, so its process id is the child's.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// The body that a server inside answers with; an error text when it does not.
    pub fn fetch(&self, url: &str) -> Result<String, String> {
        let output = self.command("curl").args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "10", url]).output();
        let output = output.map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

impl Drop for PrivateNetwork {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip of iproute2");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
