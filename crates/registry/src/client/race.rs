//! Connecting to a host that has several addresses: in order, the next one as soon as the one before fails or lets us wait.
//!
//! # Source
//! RFC 8305, section 5, whose delay of 250 ms is used.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::error::Stage;
use crate::{Error, Origin};

/// How long one address may take before the next is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to the first of `addresses` that answers within `limit`, counted for all together.
pub(super) async fn connect(addresses: &[IpAddr], origin: &Origin, limit: Duration) -> Result<TcpStream, Error> {
    let deadline = Instant::now() + limit;
    let mut waiting = addresses.iter();
    let mut running = FuturesUnordered::new();
    let mut failure = None;
    loop {
        let mut more = false;
        if let Some(address) = waiting.next() {
            running.push(attempt(*address, origin));
            more = waiting.len() > 0;
        }
        let until = if more { deadline.min(Instant::now() + HEAD_START) } else { deadline };
        match timeout_at(until, running.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => drop(failure.get_or_insert(error)),
            // None runs and none waits: the first failure is the one about the address preferred.
            Ok(None) => return Err(failure.unwrap_or_else(|| Error::NoSuchHost { host: origin.host.to_string() })),
            Err(_) if Instant::now() >= deadline => {
                return Err(Error::TimedOut { stage: Stage::Connection, host: origin.authority(), limit });
            }
            Err(_) => {}
        }
    }
}

async fn attempt(address: IpAddr, origin: &Origin) -> Result<TcpStream, Error> {
    TcpStream::connect(SocketAddr::new(address, origin.port)).await.map_err(|source| Error::Connect {
        authority: origin.authority(),
        address: Some(address),
        source,
    })
}
