//! The bounds on archives of strangers, in one place. Each has a test at the bound and one beyond.

/// What an archive may cost us. `Limits::default()` is what layers and contexts get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one PAX header or one GNU long name. Real headers carry a few attributes; this is the size where Go and GNU tar stop as well.
    pub extension_bytes: u64,
    /// Bytes of a name or link text: what the kernel takes in one call (`PATH_MAX`).
    pub name_bytes: u64,
    /// Entries of one archive. The largest public layers have about half a million.
    pub entries: u64,
    /// Data segments of one sparse file.
    pub sparse_segments: u64,
    /// Logical bytes of all files together, holes included.
    pub total_bytes: u64,
    /// Most uncompressed bytes for one compressed byte, looked at only after `ratio_after`.
    pub ratio: u64,
    /// Uncompressed bytes up to which any ratio is fine: long runs of zeros are usual in small amounts.
    pub ratio_after: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            extension_bytes: 1 << 20,
            name_bytes: 4096,
            entries: 5_000_000,
            sparse_segments: 1 << 20,
            total_bytes: 1 << 40,
            ratio: 1000,
            ratio_after: 64 << 20,
        }
    }
}
