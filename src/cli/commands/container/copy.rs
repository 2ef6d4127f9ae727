//! `cp`: files out of and into containers, as tars over the archive endpoints.
//!
//! The path rules are docker's: a source folder ending in `/.` copies its contents; a target that is a folder receives the source below its own
//! name; anything else is the new name. What must stay true: nothing is written outside of the target that was named.

use super::path;
mod local;

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
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
    const USAGE: &'static str = "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-";
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
        let answer = client.send(Call::get(path(container, "/archive")).query("path", from)).await?;
        if self.target == "-" {
            return upload::save(answer, None).await;
        }
        let stat = answer.headers().get("x-docker-container-path-stat").and_then(|value| value.to_str().ok()).and_then(decode_stat);
        let is_folder = stat.as_ref().and_then(|stat| stat.get("mode")).and_then(Value::as_u64).is_some_and(|mode| mode & (1 << 31) != 0);
        let name = stat.as_ref().and_then(|stat| stat.get("name")).and_then(Value::as_str).unwrap_or_default().to_owned();
        let target = Path::new(&self.target);
        let place = local::Place::choose(target, &name, is_folder, from.ends_with("/.") || from == ".")?;
        let written = local::unpack(answer, place, self.archive).await?;
        self.said(written, &self.target)
    }

    async fn put_into(&self, session: &Session, container: &str, to: &str) -> Outcome {
        let client = session.client()?;
        let head = client.send(Call::head(path(container, "/archive")).query("path", to)).await;
        let target = match head {
            Ok(answer) => answer.headers().get("x-docker-container-path-stat").and_then(|value| value.to_str().ok()).and_then(decode_stat),
            Err(failure) if failure.is_not_found() => None,
            Err(failure) => return Err(failure),
        };
        let target_is_folder =
            target.as_ref().and_then(|stat| stat.get("mode")).and_then(Value::as_u64).is_some_and(|mode| mode & (1 << 31) != 0);
        let (folder, chunks) = if self.source == "-" {
            (to.to_owned(), upload::standard_input())
        } else {
            let source = local::Source::open(&self.source, self.follow_link)?;
            let (folder, name) = source.destination(to, target_is_folder)?;
            (folder, source.tar(name, self.archive))
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
