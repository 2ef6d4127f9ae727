//! `cargo xtask bench registry`: our registry beside Debian's `docker-registry`, in turns, under parallel pulls.
//!
//! What must stay true: both serve the same blob from the same kind of file system over plain HTTP on loopback; every byte of every answer is counted;
//! a round of one is followed by a round of the other, so that the machine's moods hit both. The clients count bytes and
//! let the kernel throw them away (`MSG_TRUNC`, tcp(7)): on one machine they would otherwise take from the server the time they are to measure.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;

use super::workloads::Noise;

const USAGE: &str = "usage: cargo xtask bench registry [--clients N] [--blob-mib N] [--rounds N] [--folder FOLDER] [--shipway BINARY]
  our registry beside docker-registry (apt-get install docker-registry): parallel pulls of one blob, wall time, processor time, memory";
/// Bytes a client takes at once, and of the answer's beginning.
const READ: usize = MIB;
const HEAD: usize = 4096;
const MIB: usize = 1 << 20;
/// Clock ticks a second in /proc/PID/stat; 100 on every Linux of ours.
const TICKS: f64 = 100.0;

struct Options {
    clients: usize,
    blob: usize,
    rounds: usize,
    folder: PathBuf,
    shipway: PathBuf,
}

/// A registry under test.
struct Server {
    name: &'static str,
    child: Child,
    port: u16,
    rounds: Vec<Round>,
}

struct Round {
    wall: Duration,
    /// Seconds of processor time the server used.
    processor: f64,
}

/// Runs the comparison and prints its table.
pub(super) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    let Some(options) = Options::parse(root, arguments)? else {
        println!("{USAGE}");
        return Ok(());
    };
    let folder = options.folder.join(format!("shipway-bench-registry-{}", std::process::id()));
    let outcome = compare(&options, &folder);
    if let Err(error) = fs::remove_dir_all(&folder) {
        eprintln!("cannot remove {}: {error}", folder.display());
    }
    println!("{}", outcome?);
    Ok(())
}

fn compare(options: &Options, folder: &Path) -> Result<String, String> {
    let mut servers = vec![ours(options, folder)?, theirs(folder)?];
    let blob: Vec<u8> = Noise::new(1).bytes(options.blob * MIB);
    let digest = digest(&blob);
    for server in &servers {
        server.push(&blob, &digest)?;
        server.pull_all(1, &digest, blob.len())?;
    }
    for _ in 0..options.rounds {
        for server in &mut servers {
            let before = server.processor()?;
            let wall = server.pull_all(options.clients, &digest, blob.len())?;
            let processor = server.processor()? - before;
            server.rounds.push(Round { wall, processor });
        }
    }
    let mut text = format!(
        "{} clients pull a blob of {} MiB at once; medians of {} rounds\n\n| server | MB/s | s of processor per GB | peak memory, MiB |\n|---|---|---|---|\n",
        options.clients, options.blob, options.rounds
    );
    for server in &servers {
        let bytes = (options.clients * blob.len()) as f64;
        let wall = median(server.rounds.iter().map(|round| round.wall.as_secs_f64()));
        let processor = median(server.rounds.iter().map(|round| round.processor));
        text.push_str(&format!(
            "| {} | {:.0} | {:.2} | {:.0} |\n",
            server.name,
            bytes / wall / 1e6,
            processor / (bytes / 1e9),
            server.peak_memory()? as f64 / 1024.0
        ));
    }
    Ok(text)
}

impl Options {
    fn parse(root: &Path, arguments: &[String]) -> Result<Option<Self>, String> {
        let shipway = root.join("target").join(format!("{}-unknown-linux-gnu", std::env::consts::ARCH)).join("release/shipway");
        let mut options = Self { clients: 64, blob: 64, rounds: 5, folder: PathBuf::from("/dev/shm"), shipway };
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            if name == "--help" {
                return Ok(None);
            }
            let value = rest.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
            let number = || value.parse::<usize>().ok().filter(|number| *number > 0).ok_or_else(|| format!("{value} is no number"));
            match name.as_str() {
                "--clients" => options.clients = number()?,
                "--blob-mib" => options.blob = number()?,
                "--rounds" => options.rounds = number()?,
                "--folder" => options.folder = PathBuf::from(value),
                "--shipway" => options.shipway = PathBuf::from(value),
                _ => return Err(format!("unknown option {name}\n{USAGE}")),
            }
        }
        Ok(Some(options))
    }
}

fn ours(options: &Options, folder: &Path) -> Result<Server, String> {
    let mut command = Command::new(&options.shipway);
    command.args(["registry", "serve", "--addr", "127.0.0.1:0", "--log-level", "warn", "--storage"]).arg(folder.join("shipway"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}; cargo build --release", options.shipway.display()))?;
    let out = child.stdout.take().ok_or("no output")?;
    let line = BufReader::new(out).lines().map_while(Result::ok).find(|line| line.starts_with("registry at "));
    let port = line.as_deref().and_then(|line| line.split([':', ',']).nth(2)?.parse().ok()).ok_or("our registry does not say its port")?;
    Ok(Server { name: "shipway registry serve", child, port, rounds: Vec::new() })
}

fn theirs(folder: &Path) -> Result<Server, String> {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).map_err(|error| error.to_string())?.port();
    let config = folder.join("docker-registry.yml");
    let root = folder.join("docker-registry");
    let text = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
        root.display()
    );
    fs::write(&config, text).map_err(|error| format!("cannot write {}: {error}", config.display()))?;
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().map_err(|error| format!("cannot start docker-registry: {error}; apt-get install docker-registry"))?;
    let server = Server { name: "docker-registry", child, port, rounds: Vec::new() };
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > until {
            return Err("docker-registry does not answer".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(server)
}

impl Server {
    fn connect(&self) -> Result<TcpStream, String> {
        TcpStream::connect(("127.0.0.1", self.port)).map_err(|error| format!("{}: {error}", self.name))
    }

    fn push(&self, blob: &[u8], digest: &str) -> Result<(), String> {
        let host = format!("127.0.0.1:{}", self.port);
        let post = format!("POST /v2/bench/blobs/uploads/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let head = self.exchange(post.as_bytes(), &[])?;
        let location = header(&head, "location").ok_or("no location")?;
        let path = location.strip_prefix(&format!("http://{host}")).unwrap_or(&location).to_owned();
        let sign = if path.contains('?') { '&' } else { '?' };
        let put = format!(
            "PUT {path}{sign}digest={digest} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            blob.len()
        );
        let head = self.exchange(put.as_bytes(), blob)?;
        if head.starts_with("HTTP/1.1 201") { Ok(()) } else { Err(format!("{}: the push failed: {head}", self.name)) }
    }

    fn exchange(&self, head: &[u8], body: &[u8]) -> Result<String, String> {
        let mut stream = self.connect()?;
        let failed = |error: std::io::Error| format!("{}: {error}", self.name);
        stream.write_all(head).and_then(|()| stream.write_all(body)).map_err(failed)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(failed)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// `clients` pulls at once; the time until the last is done.
    fn pull_all(&self, clients: usize, digest: &str, size: usize) -> Result<Duration, String> {
        let started = Instant::now();
        std::thread::scope(|scope| {
            let pulls: Vec<_> = (0..clients).map(|_| scope.spawn(|| self.pull(digest, size))).collect();
            pulls.into_iter().try_for_each(|pull| pull.join().unwrap_or_else(|_| Err("a client panicked".to_owned())))
        })?;
        Ok(started.elapsed())
    }

    fn pull(&self, digest: &str, size: usize) -> Result<(), String> {
        let mut stream = self.connect()?;
        let failed = |error: std::io::Error| format!("{}: {error}", self.name);
        let request = format!("GET /v2/bench/blobs/{digest} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", self.port);
        stream.write_all(request.as_bytes()).map_err(failed)?;
        let mut buffer = vec![0; READ];
        let (mut head, mut body) = (Vec::new(), None);
        while body.is_none() {
            let count = stream.read(&mut buffer[..HEAD]).map_err(failed)?;
            if count == 0 {
                break;
            }
            head.extend_from_slice(&buffer[..count]);
            body = head.windows(4).position(|four| four == b"\r\n\r\n").map(|end| head.len() - end - 4);
        }
        if let Some(received) = &mut body {
            loop {
                let (_, count) = rustix::net::recv(&stream, &mut buffer[..], RecvFlags::TRUNC | RecvFlags::WAITALL)
                    .map_err(|errno| failed(errno.into()))?;
                if count == 0 {
                    break;
                }
                *received += count;
            }
        }
        if head.starts_with(b"HTTP/1.1 200") && body == Some(size) {
            Ok(())
        } else {
            Err(format!("{}: {body:?} of {size} bytes came", self.name))
        }
    }

    /// Seconds of processor time so far.
    fn processor(&self) -> Result<f64, String> {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
        Ok((ticks(11) + ticks(12)) / TICKS)
    }

    /// The most memory it had resident, KiB.
    fn peak_memory(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse().ok()).ok_or_else(|| format!("{path} has no VmHWM"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ours to end; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

pub(super) fn digest(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
