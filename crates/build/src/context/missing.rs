//! What to say about a path that the build context does not have (M-13): outside, left out by a line of the ignore file, another case, nearly the same name,
//! the same name elsewhere, or simply not there.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use shipway_model::ErrorKind;

use super::ContextFiles;
use crate::ops::OpFinding;
use crate::ops::missing::{nearest_path, same_name};
use crate::ops::select::{self, SourceTree as _};

/// How many entries of neighbouring folders are looked at.
const NEIGHBOURS: usize = 200;

/// How many names of the context are listed.
const LISTED: usize = 5;

impl ContextFiles {
    /// The finding for a pattern that brings nothing.
    pub(crate) fn missing(&self, pattern: &str) -> OpFinding {
        let wanted = shipway_sys::path::clean_inside(Path::new(pattern));
        let bytes = wanted.as_os_str().as_bytes();
        let shown = wanted.display().to_string();
        let context = self.called();
        let docker =
            format!("COPY failed: file not found in build context or excluded by .dockerignore: stat {shown}: file does not exist");
        let finding = |message: String| OpFinding::new("E-COPY-NOTFOUND", ErrorKind::NotFound, message).docker(&docker);
        if select::leads_outside(pattern) {
            return OpFinding::new("E-COPY-OUTSIDE", ErrorKind::Invalid, format!("\"{pattern}\" lies outside of the build context"))
                .because(format!("a build reads nothing but {context}"))
                .hint("pass a folder further up as context, and name the Dockerfile with -f")
                .docker(format!("COPY failed: forbidden path outside the build context: {pattern} ()"));
        }
        let verdict = self.scan.verdict(bytes);
        // What a client leaves out it does not send, so a sent context cannot tell whether the file exists.
        let was_sent = self.index_file.is_none();
        if verdict.excluded && (was_sent || self.scan.root().lstat(&wanted).is_ok()) {
            let line = verdict.line.map(|line| format!("line {line} of ")).unwrap_or_default();
            return finding(format!("\"{shown}\" is left out of the build context by {line}the ignore file"))
                .because(if was_sent {
                    "the client does not send what the ignore file excludes".to_owned()
                } else {
                    format!("{context} has it, but the ignore file excludes it")
                })
                .hint(format!("add a line \"!{shown}\" to the ignore file, or change that line"));
        }
        let finding = finding(format!("\"{shown}\" is not in the build context")).because(self.inventory());
        if let Some(near) = nearest_path(self, bytes) {
            let near = String::from_utf8_lossy(&near).into_owned();
            return if near.to_lowercase() == shown.to_lowercase() {
                finding.because(format!("names are case sensitive: the context has \"{near}\"")).hint(format!("write {near}"))
            } else {
                finding.hint(format!("did you mean {near}?"))
            };
        }
        if let Some(elsewhere) = same_name(self, bytes) {
            return finding.hint(format!("the context has it at {}: copy it from there", String::from_utf8_lossy(&elsewhere)));
        }
        if self.is_only_a_dockerfile() {
            return finding
                .because("the context has nothing but the Dockerfile, as when a Dockerfile comes on standard input")
                .hint("add the context directory: docker build -f - . < Dockerfile");
        }
        match self.beside(&wanted) {
            Some(beside) => finding.hint(format!("it exists at {beside}: run the build there, or pass that folder as context")),
            None => finding,
        }
    }

    /// What the context has, in a few words.
    fn inventory(&self) -> String {
        let names: Vec<String> =
            self.names(b"").unwrap_or_default().iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let context = self.called();
        if names.is_empty() {
            return format!("{context} is empty");
        }
        let listed = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
        let more = if names.len() > LISTED { format!(" and {} more", names.len() - LISTED) } else { String::new() };
        format!("{context} has {listed}{more}")
    }

    /// `the context /home/me/app`; a context that was sent lies in a folder of ours, which means nothing to anybody.
    fn called(&self) -> String {
        match self.index_file {
            Some(_) => format!("the context {}", self.host_path().display()),
            None => "the context".to_owned(),
        }
    }

    /// M-27: docker's client sends a Dockerfile that it got on standard input as a context of its own.
    fn is_only_a_dockerfile(&self) -> bool {
        self.index_file.is_none() && self.names(b"").is_ok_and(|names| names == [b"Dockerfile"])
    }

    /// The same path in a folder beside the context, or in the folder above: as the user would write it.
    fn beside(&self, wanted: &Path) -> Option<String> {
        self.index_file.as_ref()?;
        let above = self.host_path().parent()?;
        let exists = |folder: &Path| rustix::fs::statat(rustix::fs::CWD, folder.join(wanted), rustix::fs::AtFlags::empty()).is_ok();
        if exists(above) {
            return Some(Path::new("..").join(wanted).display().to_string());
        }
        let entries = shipway_sys::path::Root::open(above).and_then(|root| root.read_dir(Path::new("."))).ok()?;
        let sibling = entries
            .iter()
            .take(NEIGHBOURS)
            .map(|entry| above.join(&entry.name))
            .find(|folder| folder != self.host_path() && exists(folder))?;
        Some(Path::new("..").join(sibling.file_name()?).join(wanted).display().to_string())
    }
}
