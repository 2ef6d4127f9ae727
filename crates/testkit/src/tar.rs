//! Writes tar archives without niceties: what is asked for is what stands in the header.

/// An archive in the making (POSIX ustar).
#[derive(Debug, Clone, Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

const BLOCK: usize = 512;

impl Tar {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file with mode 644.
    #[must_use]
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, b'0', 0o644, "", content.as_ref())
    }

    /// Adds a file with mode 755.
    #[must_use]
    pub fn program(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, b'0', 0o755, "", content.as_ref())
    }

    /// Adds a folder.
    #[must_use]
    pub fn folder(self, path: &str, mode: u32) -> Self {
        self.entry(&format!("{path}/"), b'5', mode, "", b"")
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(path, b'2', 0o777, target, b"")
    }

    /// Adds a named pipe.
    #[must_use]
    pub fn pipe(self, path: &str) -> Self {
        self.entry(path, b'6', 0o644, "", b"")
    }

    /// Adds everything of another archive.
    #[must_use]
    pub fn with(mut self, other: &Tar) -> Self {
        self.bytes.extend_from_slice(&other.bytes);
        self
    }

    /// Adds any entry; owner is root, the time is fixed.
    #[must_use]
    pub fn entry(mut self, path: &str, kind: u8, mode: u32, target: &str, content: &[u8]) -> Self {
        let mut header = [0_u8; BLOCK];
        assert!(path.len() < 100 && target.len() < 100, "{path} is too long for a plain header");
        header[..path.len()].copy_from_slice(path.as_bytes());
        let mut number = |at: usize, width: usize, value: u64| {
            let text = format!("{value:0width$o}\0", width = width - 1);
            header[at..at + width].copy_from_slice(text.as_bytes());
        };
        number(100, 8, u64::from(mode));
        number(108, 8, 0);
        number(116, 8, 0);
        number(124, 12, content.len() as u64);
        number(136, 12, 1_600_000_000);
        header[148..156].fill(b' ');
        header[156] = kind;
        header[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        self
    }

    /// The archive with its end mark.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }
}
