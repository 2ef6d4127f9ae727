//! Numbers about the registry, in Prometheus' text form.
//!
//! What must stay true: labels come from closed lists, never from a request, so that no client can make the lists grow.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use http::{Method, StatusCode};

/// What is counted.
#[derive(Default)]
pub(super) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, &'static str, u16), u64>>,
    /// Bytes of blobs promised in answers.
    pub(super) sent: AtomicU64,
    /// Bytes of uploads taken in.
    pub(super) received: AtomicU64,
    /// Bytes of blobs that nobody had to send because the engine has them.
    pub(super) adopted: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) collections: AtomicU64,
    pub(super) collected_bytes: AtomicU64,
}

impl Metrics {
    pub(super) fn count(&self, kind: &'static str, method: &Method, status: StatusCode) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((kind, word(method), status.as_u16())).or_default() += 1;
    }

    /// The text; `uploads` and `stored` are counted elsewhere.
    pub(super) fn render(&self, uploads: usize, stored: u64) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# HELP shipway_registry_{name} {help}\n# TYPE shipway_registry_{name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "shipway_registry_{name}{labels} {value}");
            }
        };
        let requests: Vec<(String, u64)> = {
            let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
            let label = |(kind, method, status): &(&str, &str, u16)| format!("{{kind=\"{kind}\",method=\"{method}\",status=\"{status}\"}}");
            requests.iter().map(|(key, count)| (label(key), *count)).collect()
        };
        let one = |value: u64| [(String::new(), value)];
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        family("requests_total", "counter", "Requests answered.", &requests);
        family("sent_bytes_total", "counter", "Bytes of blobs in answers.", &one(load(&self.sent)));
        family("received_bytes_total", "counter", "Bytes of uploads taken in.", &one(load(&self.received)));
        family("adopted_bytes_total", "counter", "Bytes of blobs that the engine had and nobody sent.", &one(load(&self.adopted)));
        family("connections", "gauge", "Open connections.", &one(load(&self.connections)));
        family("uploads", "gauge", "Uploads in progress.", &one(uploads as u64));
        family("stored_bytes", "gauge", "Bytes of all blobs, each counted once.", &one(stored));
        family("collections_total", "counter", "Collections of what nobody needs.", &one(load(&self.collections)));
        family("collected_bytes_total", "counter", "Bytes given back to the disk.", &one(load(&self.collected_bytes)));
        text
    }
}

fn word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}
