//! `cp`: files out of and into containers, as tars over the archive endpoints.
//!
//! The path rules are docker's: a source folder ending in `/.` copies its contents; a target that is a folder receives the source below its own
//! name; anything else is the new name. What must stay true: nothing is written outside of the target that was named.

use super::path;
mod local;

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::{Call, Client};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::upload;
use base64::Engine as _;
use serde_json::Value;
use std::path::Path;

/// Copy files/folders between a container and the local filesystem
#[derive(Debug, clap::Parser)]
pub(crate) struct Copy {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Suppress progress output during copy
    #[arg(short, long)]
    quiet: bool,
    #[arg(hide = true)]
    source: String,
    #[arg(hide = true)]
    target: String,
}

impl Verb for Copy {
    const NAMES: &'static [&'static str] = &["container cp", "cp"];
    const USAGE: &'static str = "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n        shipway cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH";
    const WORDS: Words = Words::Exactly(2);

    async fn run(self, session: &Session) -> Outcome {
        match (split(&self.source), split(&self.target)) {
            (Some((container, from)), None) => self.out_of(session, container, from).await,
            (None, Some((container, to))) => self.put_into(session, container, to).await,
            (Some(_), Some(_)) => Err(Failure::new("copying between containers is not supported")),
            (None, None) => {
                Err(Failure::new("must specify at least one container source").hint("a path in a container is written CONTAINER:PATH"))
            }
        }
    }
}

/// `CONTAINER:PATH`; a text that begins with `/` or `.` is a path here, whatever colons it has.
fn split(text: &str) -> Option<(&str, &str)> {
    if text.starts_with('/') || text.starts_with('.') || text == "-" {
        return None;
    }
    text.split_once(':')
}

impl Copy {
    async fn out_of(&self, session: &Session, container: &str, from: &str) -> Outcome {
        let client = session.client()?;
        let asked = if self.follow_link { stat(client, container, from).await? } else { None };
        // What a link leads to is copied under the name of the link.
        let (from, renamed) = match asked.as_ref().and_then(link_target) {
            Some(target) => (target, asked.as_ref().map(name_of)),
            None => (from.to_owned(), None),
        };
        let answer = client.send(Call::get(path(container, "/archive")).query("path", &from)).await?;
        if self.target == "-" {
            return upload::save(answer, None).await;
        }
        let stat = answer.headers().get("x-docker-container-path-stat").and_then(|value| value.to_str().ok()).and_then(decode_stat);
        let is_folder = stat.as_ref().is_some_and(is_folder);
        let name = renamed.or_else(|| stat.as_ref().map(name_of)).unwrap_or_default();
        let target = Path::new(&self.target);
        let place = local::Place::choose(target, &name, is_folder, from.ends_with("/.") || from == ".")?;
        let written = local::unpack(answer, place, self.archive).await?;
        self.said(written, &self.target)
    }

    async fn put_into(&self, session: &Session, container: &str, to: &str) -> Outcome {
        let client = session.client()?;
        let source = if self.source == "-" { None } else { Some(local::Source::open(&self.source, self.follow_link)?) };
        let mut to = to.to_owned();
        let mut target = stat(client, container, &to).await?;
        // A link is written through, also when nothing is there yet.
        if let Some(behind) = target.as_ref().and_then(link_target) {
            to = behind;
            target = stat(client, container, &to).await?;
        }
        let target_is_folder = target.as_ref().is_some_and(is_folder);
        let (folder, chunks) = match source {
            None if !target_is_folder => return Err(Failure::new(format!("destination \"{}\" must be a directory", self.target))),
            None => (to, upload::standard_input()),
            Some(source) => {
                if target.is_some() && !target_is_folder && source.is_folder() {
                    return Err(Failure::new("cannot copy directory"));
                }
                let (folder, name) = source.destination(&to, target_is_folder)?;
                (folder, source.tar(name))
            }
        };
        let call = Call::put(path(container, "/archive"))
            .query("path", folder)
            .query("noOverwriteDirNonDir", "true")
            .flag("copyUIDGID", self.archive);
        client.done(call.stream("application/x-tar", chunks)).await?;
        self.said(0, &self.target)
    }

    fn said(&self, bytes: u64, target: &str) -> Outcome {
        if self.quiet || !output::error_is_terminal() {
            return Ok(());
        }
        let size =
            if bytes == 0 { String::new() } else { format!("{} ", crate::cli::human::size(i64::try_from(bytes).unwrap_or(i64::MAX))) };
        output::note(format!("Successfully copied {size}to {target}"));
        Ok(())
    }
}

/// What stands at a path of a container; none when nothing does.
async fn stat(client: &Client, container: &str, at: &str) -> Outcome<Option<Value>> {
    match client.send(Call::head(path(container, "/archive")).query("path", at)).await {
        Ok(answer) => Ok(answer.headers().get("x-docker-container-path-stat").and_then(|value| value.to_str().ok()).and_then(decode_stat)),
        Err(failure) if failure.is_not_found() => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn has_mode(stat: &Value, bit: u32) -> bool {
    stat.get("mode").and_then(Value::as_u64).is_some_and(|mode| mode & (1 << bit) != 0)
}

fn is_folder(stat: &Value) -> bool {
    has_mode(stat, 31)
}

fn link_target(stat: &Value) -> Option<String> {
    has_mode(stat, 27).then(|| stat.get("linkTarget").and_then(Value::as_str).unwrap_or_default().to_owned())
}

fn name_of(stat: &Value) -> String {
    stat.get("name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn decode_stat(text: &str) -> Option<Value> {
    serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_paths_are_told_from_local_ones() {
        let table = [("web:/etc/hosts", Some(("web", "/etc/hosts"))), ("/a:b", None), ("./a:b", None), ("-", None), ("file", None)];
        for (text, expected) in table {
            assert_eq!(split(text), expected, "{text}");
        }
    }
}
