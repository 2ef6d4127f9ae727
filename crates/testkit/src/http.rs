//! HTTP/1.1 over a unix socket, just enough for the Docker API: one request a connection, bodies by length or in chunks, upgraded streams.
//!
//! Blocking and without a library on purpose: a fault of the server's HTTP library would be hidden by using the same one here.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// Longest silence of the other side that is waited for.
const PATIENCE: Duration = Duration::from_secs(100);

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names are in small letters.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// True for 2xx, for 101 (the connection is the program's now) and for 304, which says that the wish had come true before.
    pub fn is_fine(&self) -> bool {
        (200..300).contains(&self.status) || matches!(self.status, 101 | 304)
    }

    /// Itself, when it is fine.
    #[track_caller]
    pub fn fine(self) -> Self {
        assert!(self.is_fine(), "{} {}", self.status, self.text());
        self
    }
}

/// An answer whose body is still coming.
#[derive(Debug)]
pub struct Streaming {
    /// The status code.
    pub status: u16,
    /// Names are in small letters.
    pub headers: Vec<(String, String)>,
    line: BufReader<UnixStream>,
    rest: Rest,
}

/// How the end of a body is known.
#[derive(Debug)]
enum Rest {
    Length(u64),
    /// Bytes left of the present chunk; `None` after the last.
    Chunk(Option<u64>),
    /// Until the other side closes; also an upgraded connection.
    Close,
}

impl Streaming {
    /// Sends bytes on an upgraded connection.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.line.get_mut().write_all(bytes)
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&mut self) -> Result<()> {
        self.line.get_mut().shutdown(std::net::Shutdown::Write)
    }

    fn next_chunk(&mut self) -> Result<u64> {
        let mut text = String::new();
        self.line.read_line(&mut text)?;
        if text.trim().is_empty() {
            // The end of the chunk before.
            text.clear();
            self.line.read_line(&mut text)?;
        }
        let digits = text.trim().split(';').next().unwrap_or_default();
        u64::from_str_radix(digits, 16).map_err(|_| Error::new(ErrorKind::UnexpectedEof, format!("a chunk begins with {text:?}")))
    }
}

impl Read for Streaming {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if let Rest::Chunk(Some(0)) = self.rest {
            let size = self.next_chunk()?;
            self.rest = Rest::Chunk((size > 0).then_some(size));
        }
        let most = match self.rest {
            Rest::Length(left) | Rest::Chunk(Some(left)) => left,
            Rest::Chunk(None) => 0,
            Rest::Close => u64::MAX,
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.line.read(&mut buffer[..most])?;
        if let Rest::Length(left) | Rest::Chunk(Some(left)) = &mut self.rest {
            if count == 0 {
                return Err(Error::new(ErrorKind::UnexpectedEof, "the body ends early"));
            }
            *left -= count as u64;
        }
        Ok(count)
    }
}

/// Sends a request and reads the whole answer.
///
/// # Errors
/// Whatever the socket says; `UnexpectedEof` when the server dies while answering.
pub fn call(socket: &Path, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Answer> {
    let mut streaming = open(socket, method, path, kind, body)?;
    let mut bytes = Vec::new();
    streaming.read_to_end(&mut bytes)?;
    Ok(Answer { status: streaming.status, headers: streaming.headers, body: bytes })
}

/// Sends a request and reads the head of the answer.
///
/// # Errors
/// As of [`call`].
pub fn open(socket: &Path, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Streaming> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let upgrade = if path.contains("/attach?") || path.ends_with("/start") && path.contains("/exec/") {
        "Connection: Upgrade\r\nUpgrade: tcp\r\n"
    } else {
        ""
    };
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: shipway\r\n{upgrade}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    // A server that refuses early may close before it has read everything; its answer is still there to be read.
    let _ = stream.write_all(body);
    let mut line = BufReader::new(stream);
    let status = read_line(&mut line)?
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| Error::new(ErrorKind::UnexpectedEof, "no answer"))?;
    let mut headers = Vec::new();
    loop {
        let text = read_line(&mut line)?;
        let Some((name, value)) = text.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let rest = match (header("transfer-encoding"), header("content-length")) {
        (Some(_), _) => Rest::Chunk(Some(0)),
        (None, Some(length)) => Rest::Length(length.parse().map_err(|_| Error::new(ErrorKind::InvalidData, "a length that is no number"))?),
        (None, None) if matches!(status, 204 | 304) || method == "HEAD" => Rest::Length(0),
        (None, None) => Rest::Close,
    };
    Ok(Streaming { status, headers, line, rest })
}

fn read_line(line: &mut BufReader<UnixStream>) -> Result<String> {
    let mut text = String::new();
    line.read_line(&mut text)?;
    Ok(text.trim_end().to_owned())
}
