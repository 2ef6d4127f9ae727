//! The json-file log: one JSON object per line of output, rotated by size.
//!
//! ```text
//! {"log":"hello\n","stream":"stdout","time":"2026-11-21T10:00:00.123456789Z"}
//! ```
//!
//! Lines longer than 16 KiB become several objects, all but the last without `\n`; `attrs` stands before `time` where there are any. What must stay
//! true: a full or failing disk loses log lines and nothing else; bytes that are no UTF-8 become U+FFFD, as in Docker; files are packed by a child,
//! so that output is never kept waiting, and a child that cannot keep up is given up rather than the bound on the disk.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;
use shipway_sys::process::{self, Cloned, SingleThreaded};

use crate::clock::Instant;
use crate::message::{LogPart, to_json};

/// Docker's bound on one object's text.
const LONGEST_LINE: usize = 16 << 10;

/// An open log.
pub(super) struct Log {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    max_size: u64,
    max_files: u32,
    compress: bool,
    /// `"attrs":{...},` or nothing.
    attributes: Vec<u8>,
    /// The file just rotated away waits to be packed.
    unpacked: bool,
    /// Who packs it.
    packer: Option<Pid>,
    /// The unfinished line of standard output and error.
    pending: [Vec<u8>; 2],
    out: Vec<u8>,
}

impl Log {
    /// Opens or continues the log.
    pub(super) fn open(part: &LogPart) -> std::io::Result<Self> {
        let path = PathBuf::from(&part.path);
        let file = append(&path)?;
        let size = file.metadata()?.len();
        let pending = [Vec::new(), Vec::new()];
        let attributes = match part.attributes.is_empty() {
            true => Vec::new(),
            false => [b"\"attrs\":", to_json(&part.attributes).as_slice(), b","].concat(),
        };
        Ok(Self {
            path,
            file: Some(file),
            size,
            max_size: part.max_size,
            max_files: part.max_files.max(1),
            compress: part.compress && part.max_files > 1,
            attributes,
            unpacked: false,
            packer: None,
            pending,
            out: Vec::new(),
        })
    }

    /// Takes a piece of output (`stream` 0 is standard output, 1 standard error) and writes what lines it completes, in one write.
    pub(super) fn take(&mut self, stream: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = LONGEST_LINE - self.pending[stream].len();
            let window = &bytes[..bytes.len().min(room)];
            let (taken, complete) = match window.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (window.len(), window.len() == room),
            };
            self.pending[stream].extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if complete {
                // Each its own moment: readers tell lines apart by it.
                self.finish_line(stream, Instant::now());
            }
        }
        self.write_out();
    }

    /// Writes unfinished lines as they are.
    pub(super) fn flush(&mut self) {
        let now = Instant::now();
        for stream in 0..2 {
            if !self.pending[stream].is_empty() {
                self.finish_line(stream, now);
            }
        }
        self.write_out();
    }

    fn finish_line(&mut self, stream: usize, now: Instant) {
        let line = std::mem::take(&mut self.pending[stream]);
        self.out.extend_from_slice(b"{\"log\":\"");
        escape(&line, &mut self.out);
        self.out.extend_from_slice(if stream == 0 { b"\",\"stream\":\"stdout\"," } else { b"\",\"stream\":\"stderr\"," });
        self.out.extend_from_slice(&self.attributes);
        self.out.extend_from_slice(b"\"time\":\"");
        now.write_rfc3339(&mut self.out);
        self.out.extend_from_slice(b"\"}\n");
        // The buffer is kept for the next line.
        self.pending[stream] = line;
        self.pending[stream].clear();
        if self.max_size != 0 && self.size + self.out.len() as u64 >= self.max_size {
            self.write_out();
            // A file that is being packed keeps its name until that is done, within reason.
            if self.size >= self.max_size && (self.packer.is_none() || self.size >= self.max_size.saturating_mul(2)) {
                self.rotate();
            }
        }
    }

    fn write_out(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let written = match &mut self.file {
            Some(file) => file.write_all(&self.out).is_ok(),
            None => false,
        };
        if written {
            self.size += self.out.len() as u64;
        }
        self.out.clear();
    }

    /// `path.3` <- `path.2` <- `path.1` <- `path`, packed or not, then a fresh one.
    fn rotate(&mut self) {
        if let Some(packer) = self.packer.take() {
            // It is buried with the other orphans.
            let _ = process::send_signal(packer, super::libc_kill());
            let _ = std::fs::remove_file(self.numbered(1, ".gz.new"));
        }
        if self.max_files > 1 {
            let last = self.max_files - 1;
            for ending in ["", ".gz"] {
                let _ = std::fs::remove_file(self.numbered(last, ending));
                for number in (1..last).rev() {
                    // A generation that does not exist yet has nothing to move.
                    let _ = std::fs::rename(self.numbered(number, ending), self.numbered(number + 1, ending));
                }
            }
            let _ = std::fs::rename(&self.path, self.numbered(1, ""));
            self.unpacked = self.compress;
        } else {
            let _ = std::fs::remove_file(&self.path);
        }
        self.file = append(&self.path).ok();
        self.size = 0;
    }

    fn numbered(&self, number: u32, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}{ending}"));
        PathBuf::from(name)
    }

    /// Has a child pack the file that was rotated away, if there is one.
    pub(super) fn pack(&mut self, one_thread: SingleThreaded) {
        if !std::mem::take(&mut self.unpacked) || self.packer.is_some() {
            return;
        }
        match process::clone_process(one_thread, 0, None) {
            Ok(Cloned::Parent(pid)) => self.packer = Some(pid),
            Ok(Cloned::Child) => {
                let _ = process::die_with_parent();
                // Clients must see their lines end with the monitor, not with us.
                let _ = process::close_all_but(one_thread, &[]);
                let _ = rustix::process::nice(19);
                let packed = pack_file(&self.numbered(1, ""), &self.numbered(1, ".gz.new"), &self.numbered(1, ".gz"));
                process::leave_now(i32::from(packed.is_err()))
            }
            // Left unpacked: it costs room, nothing else.
            Err(_) => {}
        }
    }

    /// A child has ended; true when it was ours.
    pub(super) fn bury(&mut self, pid: Pid) -> bool {
        let ours = self.packer == Some(pid);
        if ours {
            self.packer = None;
        }
        ours
    }
}

/// `source` packed as `target`, which is whole or absent.
fn pack_file(source: &Path, draft: &Path, target: &Path) -> std::io::Result<()> {
    let mut packer = flate2::write::GzEncoder::new(
        File::options().create(true).truncate(true).write(true).mode(0o640).open(draft)?,
        flate2::Compression::fast(),
    );
    std::io::copy(&mut File::open(source)?, &mut packer)?;
    packer.finish()?;
    std::fs::rename(draft, target)?;
    std::fs::remove_file(source)
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// JSON string content with Go's extra care for `<`, `>`, `&` and the two line separators.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                    out.extend_from_slice(format!("\\u{:04x}", u32::from(letter)).as_bytes());
                }
                _ => {
                    let mut buffer = [0; 4];
                    out.extend_from_slice(letter.encode_utf8(&mut buffer).as_bytes());
                }
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_in(folder: &Path, max_size: u64, max_files: u32) -> Log {
        let path = folder.join("log").to_string_lossy().into_owned();
        Log::open(&LogPart { path, max_size, max_files, compress: false, attributes: Default::default() }).expect("open")
    }

    fn texts(path: &Path) -> Vec<(String, String)> {
        let whole = std::fs::read_to_string(path).unwrap_or_default();
        let values = whole.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        values.map(|v| (v["stream"].as_str().expect("stream").to_owned(), v["log"].as_str().expect("log").to_owned())).collect()
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let folder = tempfile::tempdir().expect("tempdir");
        let mut log = log_in(folder.path(), 0, 1);
        for piece in ["he", "llo\nwor", "ld\n<tag>\u{1}\"q\""] {
            log.take(0, piece.as_bytes());
        }
        log.take(1, b"\xff\n");
        log.flush();
        let expected = [("stdout", "hello\n"), ("stdout", "world\n"), ("stderr", "\u{fffd}\n"), ("stdout", "<tag>\u{1}\"q\"")];
        assert_eq!(texts(&folder.path().join("log")), expected.map(|(stream, text)| (stream.to_owned(), text.to_owned())));
        assert!(std::fs::read_to_string(folder.path().join("log")).expect("read").contains("\\u003ctag\\u003e\\u0001"));
    }

    #[test]
    fn a_long_line_is_cut_at_sixteen_kibibytes() {
        let folder = tempfile::tempdir().expect("tempdir");
        let mut log = log_in(folder.path(), 0, 1);
        log.take(0, &vec![b'x'; LONGEST_LINE + 5]);
        log.take(0, b"\n");
        let lengths: Vec<usize> = texts(&folder.path().join("log")).iter().map(|(_, text)| text.len()).collect();
        assert_eq!(lengths, [LONGEST_LINE, 6]);
    }

    #[test]
    fn attributes_stand_in_every_line() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("log");
        let attributes = [("tag".to_owned(), "a\"b".to_owned())].into();
        let part = LogPart { path: path.to_string_lossy().into_owned(), max_size: 0, max_files: 1, compress: false, attributes };
        Log::open(&part).expect("open").take(1, b"x\n");
        let line: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
        assert_eq!((&line["attrs"]["tag"], &line["log"], &line["stream"]), (&"a\"b".into(), &"x\n".into(), &"stderr".into()));
    }

    #[test]
    fn packed_files_move_on_with_the_others() {
        let folder = tempfile::tempdir().expect("tempdir");
        let mut log = log_in(folder.path(), 200, 4);
        log.compress = true;
        for number in 0..40 {
            log.take(0, format!("line {number}\n").as_bytes());
            if std::mem::take(&mut log.unpacked) {
                let at = |ending: &str| log.numbered(1, ending);
                pack_file(&at(""), &at(".gz.new"), &at(".gz")).expect("pack");
            }
        }
        let mut names: Vec<String> = std::fs::read_dir(folder.path())
            .expect("list")
            .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["log", "log.1.gz", "log.2.gz", "log.3.gz"]);
        let mut text = String::new();
        let packed = File::open(folder.path().join("log.1.gz")).expect("open");
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed), &mut text).expect("unpack");
        assert!(text.lines().count() >= 2 && text.ends_with("}\n"), "{text}");
    }

    #[test]
    fn rotation_keeps_so_many_files() {
        let folder = tempfile::tempdir().expect("tempdir");
        let mut log = log_in(folder.path(), 200, 3);
        for number in 0..30 {
            log.take(0, format!("line {number}\n").as_bytes());
        }
        let mut names: Vec<String> = std::fs::read_dir(folder.path())
            .expect("list")
            .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["log", "log.1", "log.2"]);
        let newest = texts(&folder.path().join("log.1"));
        assert!(!newest.is_empty());
    }
}
