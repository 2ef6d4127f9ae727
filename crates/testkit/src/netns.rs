//! A network namespace of a test's own: a machine's network without the machine.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Command, Output, Stdio};

use crate::eventually;

/// A network namespace that lives as long as this value or a process in it. Its loopback is up.
#[derive(Debug)]
pub struct Netns {
    handle: File,
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

impl Netns {
    /// A fresh one.
    pub fn new() -> Self {
        // A process holds it until it is opened here.
        let mut holder = Command::new("unshare").args(["--net", "sleep", "60"]).stdin(Stdio::null()).spawn().expect("unshare");
        let path = format!("/proc/{}/ns/net", holder.id());
        let own = std::fs::read_link("/proc/self/ns/net").expect("ns");
        let handle = eventually("a network namespace", 10, || {
            let other = std::fs::read_link(&path).is_ok_and(|other| other != own);
            other.then(|| File::open(&path).ok()).flatten()
        });
        holder.kill().expect("kill");
        holder.wait().expect("wait");
        let netns = Self { handle };
        netns.run("ip link set lo up");
        netns
    }

    /// A path that leads to it as long as this value lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd())
    }

    /// A command that will run `program` inside. Its process is the program's own.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg("--").arg(program);
        command
    }

    /// Runs a line of shell inside.
    pub fn try_run(&self, script: &str) -> Output {
        let mut command = self.command("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null()).output().expect("nsenter")
    }

    /// Runs a line of shell inside that must succeed; its output.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        let output = self.try_run(script);
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The body that a server inside answers with; an error text when it does not.
    pub fn fetch(&self, url: &str) -> Result<String, String> {
        let output = self.command("curl").args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "10", url]).output();
        let output = output.map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}
