//! A browser without a screen, driven over WebDriver: what a person would see.
//!
//! # Source
//! W3C WebDriver; chromedriver's `goog:chromeOptions`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::{Netns, eventually};

const DRIVER: &str = "/usr/bin/chromedriver";
const CHROMIUM: &str = "/usr/bin/chromium";
/// Nobody else listens in a private network.
const PORT: u16 = 9515;

/// A Chromium inside a private network.
#[derive(Debug)]
pub struct Browser<'a> {
    network: &'a Netns,
    driver: Child,
    session: String,
    _home: tempfile::TempDir,
}

impl<'a> Browser<'a> {
    /// Starts one; `None` where Debian's packages chromium and chromium-driver are not installed.
    pub fn start(network: &'a Netns) -> Option<Self> {
        if !Path::new(DRIVER).exists() || !Path::new(CHROMIUM).exists() {
            return None;
        }
        let home = tempfile::tempdir().expect("tempdir");
        let driver = network
            .command(DRIVER)
            .arg(format!("--port={PORT}"))
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", home.path())
            .env("TMPDIR", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver");
        let mut browser = Self { network, driver, session: String::new(), _home: home };
        eventually("chromedriver", 60, || browser.try_call("GET", "/status", &Value::Null).ok());
        let options = json!({ "binary": CHROMIUM, "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--no-proxy-server", "--window-size=900,700",
            format!("--user-data-dir={}", browser._home.path().join("profile").display()),
        ]});
        let made = browser.call("POST", "/session", &json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } }));
        browser.session = made["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {made}")).to_owned();
        Some(browser)
    }

    /// Opens a page and waits until it has loaded.
    pub fn open(&self, url: &str) {
        self.in_session("POST", "url", &json!({ "url": url }));
    }

    /// What an expression of JavaScript has as its value.
    pub fn evaluate(&self, expression: &str) -> Value {
        self.in_session("POST", "execute/sync", &json!({ "script": format!("return {expression};"), "args": [] }))
    }

    /// A picture of the page, a PNG in base64.
    pub fn screenshot(&self) -> String {
        self.in_session("GET", "screenshot", &Value::Null).as_str().unwrap_or_default().to_owned()
    }

    fn in_session(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}/{path}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_call(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn try_call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let mut command = self.network.command("curl");
        command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "--request", method]);
        if !body.is_null() {
            command.args(["--header", "Content-Type: application/json", "--data-binary", "@-"]);
        }
        command.arg(format!("http://127.0.0.1:{PORT}{path}"));
        let answer: Value = serde_json::from_str(&exchange(command, &body.to_string())?).map_err(|error| error.to_string())?;
        match answer["value"]["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", answer["value"]["message"])),
            None => Ok(answer["value"].clone()),
        }
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.try_call("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Runs `command` with `input` and answers what it says.
fn exchange(mut command: Command, input: &str) -> Result<String, String> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that reads nothing has closed it already.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Where artefacts of a test are kept for people to look at: below `target/`.
pub fn artefact(name: &str) -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from).join("artefacts");
    std::fs::create_dir_all(&folder).expect("target/artefacts");
    folder.join(name)
}
