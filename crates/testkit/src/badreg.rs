//! A registry that does what a script says: honest, lying, slow, rude. Plain or with TLS, on any loopback address; it remembers what it was asked.
//!
//! What must stay true: one thread a connection, none outlives the fixture by more than a moment; bytes go out exactly as the script says.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::identity::Identity;

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What the server does with one request.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Before the first byte.
    pub delay: Duration,
    pub delivery: Delivery,
}

/// How an answer goes out. Numbers count bytes of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// All of it.
    Whole,
    /// So many, although the length says more; then the connection is closed.
    Truncated(usize),
    /// So many, then silence.
    Hanging(usize),
    /// So many, then a reset.
    Reset(usize),
    /// So many every so often.
    Dripping(usize, Duration),
    /// The body again and again, in chunks, until the client has had enough or so many bytes have gone.
    Endless(u64),
    /// No head, but these bytes; then the connection is closed.
    Raw(Vec<u8>),
    /// Nothing; the connection is closed.
    HungUp,
}

type Script = dyn Fn(&Asked, usize) -> Reply + Send + Sync;

/// Runs until it is dropped.
pub struct BadRegistry {
    address: SocketAddr,
    secure: bool,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<Script>,
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
    /// Bytes written, heads included.
    sent: AtomicUsize,
    stop: AtomicBool,
}

impl Asked {
    /// The value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The path without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Everything as one text, to search for secrets.
    pub fn whole(&self) -> String {
        format!("{} {}\n{:?}\n{}", self.method, self.target, self.headers, String::from_utf8_lossy(&self.body))
    }
}

impl Reply {
    /// An answer with a body and nothing special about it.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), delay: Duration::ZERO, delivery: Delivery::Whole }
    }

    /// A registry's refusal (OCI distribution-spec 1.1, "Error Codes").
    pub fn refusal(status: u16, code: &str, message: &str) -> Self {
        Self::new(status, format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"{message}\"}}]}}"))
            .with("Content-Type", "application/json")
    }

    /// A redirect.
    pub fn to(location: &str) -> Self {
        Self::new(307, "").with("Location", location)
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    #[must_use]
    pub fn by(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }
}

impl BadRegistry {
    /// A plain server on 127.0.0.1.
    pub fn plain(script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start("127.0.0.1", None, script)
    }

    /// A server with TLS on 127.0.0.1.
    pub fn secure(identity: &Identity, script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start("127.0.0.1", Some(identity), script)
    }

    /// A server on `host`, a loopback address. The script gets each request and its number.
    pub fn start(host: &str, identity: Option<&Identity>, script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let tls = identity.map(|identity| Arc::clone(&identity.config));
        let (accepting, secure) = (Arc::clone(&shared), tls.is_some());
        let accept = move || {
            for stream in listener.incoming() {
                if accepting.stop.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                accepting.connections.fetch_add(1, Ordering::Relaxed);
                let (shared, tls) = (Arc::clone(&accepting), tls.clone());
                let serve = move || {
                    // A client that goes away, or refuses our certificate, is part of many scripts.
                    let _ = serve(stream, tls, &shared);
                };
                std::thread::Builder::new().name("badreg-connection".to_owned()).spawn(serve).expect("a thread");
            }
        };
        std::thread::Builder::new().name("badreg".to_owned()).spawn(accept).expect("a thread");
        Self { address, secure, shared }
    }

    /// `host:port`, as references name it.
    pub fn domain(&self) -> String {
        self.address.to_string()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The address of `path` here.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.secure { "https" } else { "http" }, self.address)
    }

    /// Everything it was asked.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The paths it was asked for, with their methods.
    pub fn lines(&self) -> Vec<String> {
        self.asked().iter().map(|asked| format!("{} {}", asked.method, asked.target)).collect()
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Bytes it has sent.
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Whether `secret` reached it in any request.
    pub fn saw(&self, secret: &str) -> bool {
        self.asked().iter().any(|asked| asked.whole().contains(secret))
    }
}

impl Drop for BadRegistry {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // Wakes the thread that accepts; when nobody answers it has gone already.
        drop(TcpStream::connect(self.address));
    }
}

/// A connection in both directions.
trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

fn serve(stream: TcpStream, tls: Option<Arc<rustls::ServerConfig>>, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // So that threads notice the end of the fixture.
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    let raw = stream.try_clone()?;
    let mut wire: BufReader<Box<dyn Wire>> = BufReader::new(match tls {
        None => Box::new(stream),
        Some(config) => {
            let connection = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
            Box::new(rustls::StreamOwned::new(connection, stream))
        }
    });
    while !shared.stop.load(Ordering::Acquire) {
        let Some(asked) = read_request(&mut wire)? else { return Ok(()) };
        let number = {
            let mut log = shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
            log.push(asked.clone());
            log.len() - 1
        };
        let reply = (shared.script)(&asked, number);
        rest(reply.delay, shared);
        if !answer(wire.get_mut(), &raw, &asked, &reply, shared)? {
            return Ok(());
        }
    }
    Ok(())
}

/// The next request, or none when the client has gone.
fn read_request(wire: &mut BufReader<Box<dyn Wire>>) -> io::Result<Option<Asked>> {
    if wire.fill_buf()?.first() == Some(&0x16) {
        // Somebody tries TLS with a plain server: such servers answer in plain words.
        wire.get_mut().write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nthis is no https server\n")?;
        return Ok(None);
    }
    let mut line = String::new();
    if wire.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let mut asked = Asked { method: words.next().unwrap_or_default(), target: words.next().unwrap_or_default(), ..Asked::default() };
    loop {
        let mut line = String::new();
        if wire.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            asked.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    if let Some(length) = asked.header("content-length").and_then(|text| text.parse::<u64>().ok()) {
        wire.take(length).read_to_end(&mut asked.body)?;
    } else if asked.header("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            wire.read_line(&mut size)?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            wire.take(size).read_to_end(&mut asked.body)?;
            wire.read_line(&mut String::new())?;
            if size == 0 {
                break;
            }
        }
    }
    Ok(Some(asked))
}

/// Sends a reply; false when the connection is over.
fn answer(wire: &mut dyn Write, raw: &TcpStream, asked: &Asked, reply: &Reply, shared: &Shared) -> io::Result<bool> {
    let put = |wire: &mut dyn Write, bytes: &[u8]| {
        wire.write_all(bytes)?;
        wire.flush()?;
        shared.sent.fetch_add(bytes.len(), Ordering::Relaxed);
        io::Result::Ok(())
    };
    match &reply.delivery {
        Delivery::Raw(bytes) => {
            put(wire, bytes)?;
            return Ok(false);
        }
        Delivery::HungUp => return Ok(false),
        _ => {}
    }
    let chunked = matches!(reply.delivery, Delivery::Endless(_));
    put(wire, &head(reply, chunked))?;
    if asked.method == "HEAD" {
        return Ok(true);
    }
    let body = &reply.body[..];
    match reply.delivery {
        Delivery::Truncated(count) | Delivery::Hanging(count) | Delivery::Reset(count) => put(wire, &body[..count.min(body.len())])?,
        Delivery::Dripping(count, every) => {
            for piece in body.chunks(count.max(1)) {
                put(wire, piece)?;
                rest(every, shared);
                if shared.stop.load(Ordering::Acquire) {
                    return Ok(false);
                }
            }
        }
        Delivery::Endless(most) => {
            let mut gone = 0;
            while gone < most && !shared.stop.load(Ordering::Acquire) {
                put(wire, format!("{:x}\r\n", body.len()).as_bytes())?;
                put(wire, body)?;
                put(wire, b"\r\n")?;
                gone += body.len() as u64;
            }
            put(wire, b"0\r\n\r\n")?;
        }
        _ => put(wire, body)?,
    }
    match reply.delivery {
        Delivery::Truncated(_) => Ok(false),
        Delivery::Hanging(_) => {
            rest(Duration::from_secs(60), shared);
            Ok(false)
        }
        Delivery::Reset(_) => {
            // A moment, so that what was sent is not lost with the reset.
            rest(Duration::from_millis(30), shared);
            // SO_LINGER of zero makes close(2) send RST (socket(7)).
            rustix::net::sockopt::set_socket_linger(raw, Some(Duration::ZERO))?;
            Ok(false)
        }
        _ => Ok(true),
    }
}

fn head(reply: &Reply, chunked: bool) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
    for (name, value) in &reply.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let told = |wanted: &str| reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    if chunked {
        text.push_str("Transfer-Encoding: chunked\r\n");
    } else if !told("content-length") && !told("transfer-encoding") {
        text.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Sleeps, unless the fixture ends before.
fn rest(pause: Duration, shared: &Shared) {
    let until = Instant::now() + pause;
    while Instant::now() < until && !shared.stop.load(Ordering::Acquire) {
        std::thread::sleep((until - Instant::now()).min(Duration::from_millis(20)));
    }
}
