//! The json-file log: one JSON object per line of output, rotated by size.
//!
//! ```text
//! {"log":"hello\n","stream":"stdout","time":"2026-11-21T10:00:00.123456789Z"}
//! ```
//!
//! Lines longer than 16 KiB become several objects, all but the last without `\n`. What must stay true: a full or failing disk loses log lines and
//! nothing else; bytes that are no UTF-8 become U+FFFD, as in Docker.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::clock::Instant;
use crate::message::LogPart;

/// Docker's bound on one object's text.
const LONGEST_LINE: usize = 16 << 10;

/// An open log.
pub(super) struct Log {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    max_size: u64,
    max_files: u32,
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
        Ok(Self { path, file: Some(file), size, max_size: part.max_size, max_files: part.max_files.max(1), pending, out: Vec::new() })
    }

    /// Takes a piece of output (`stream` 0 is standard output, 1 standard error) and writes what lines it completes, in one write.
    pub(super) fn take(&mut self, stream: usize, mut bytes: &[u8]) {
        let now = Instant::now();
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
                self.finish_line(stream, now);
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
        self.out.extend_from_slice(if stream == 0 {
            b"\",\"stream\":\"stdout\",\"time\":\""
        } else {
            b"\",\"stream\":\"stderr\",\"time\":\""
        });
        now.write_rfc3339(&mut self.out);
        self.out.extend_from_slice(b"\"}\n");
        // The buffer is kept for the next line.
        self.pending[stream] = line;
        self.pending[stream].clear();
        if self.max_size != 0 && self.size + self.out.len() as u64 >= self.max_size {
            self.write_out();
            if self.size >= self.max_size {
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

    /// `path.3` <- `path.2` <- `path.1` <- `path`, then a fresh one.
    fn rotate(&mut self) {
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if self.max_files > 1 {
            for number in (1..self.max_files - 1).rev() {
                // A generation that does not exist yet has nothing to move.
                let _ = std::fs::rename(numbered(number), numbered(number + 1));
            }
            let _ = std::fs::rename(&self.path, numbered(1));
        } else {
            let _ = std::fs::remove_file(&self.path);
        }
        self.file = append(&self.path).ok();
        self.size = 0;
    }
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
        Log::open(&LogPart { path, max_size, max_files }).expect("open")
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
