//! Commands about containers.

mod api_socket;
pub(crate) mod attach;
mod body;
pub(crate) use body::{extra_hosts, pairs};
pub(crate) mod commit;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod diff;
pub(crate) mod exec;
mod explain;
pub(crate) mod export;
mod flags;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod pause;
pub(crate) mod port;
pub(crate) mod prune;
pub(crate) mod remove;
pub(crate) mod rename;
pub(crate) mod restart;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod top;
pub(crate) mod update;
pub(crate) mod wait;

use crate::cli::client::path_escape;
use crate::cli::exit::{FAILED, Failure, Outcome};
use crate::cli::output;

/// `/containers/NAME` and what follows.
pub(crate) fn path(name: &str, rest: &str) -> String {
    format!("/containers/{}{rest}", path_escape(name))
}

/// Does the same to each name in turn, printing the name after success; reports every failure and ends with 1 when there was one.
pub(crate) async fn each(names: &[String], mut verb: impl AsyncFnMut(&str) -> Outcome) -> Outcome {
    let mut failed = false;
    for name in names {
        match verb(name).await {
            Ok(()) => output::line(name)?,
            Err(failure) if failure.is_unreachable() => return Err(failure),
            Err(failure) => {
                output::failure(&failure);
                failed = true;
            }
        }
    }
    if failed { Err(Failure::ended(FAILED)) } else { Ok(()) }
}
