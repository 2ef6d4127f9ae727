//! The file of a recipe: its pieces one after the other, written and read as a stream.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use shipway_archive::Limits;
use shipway_archive::compress::{self, Format, ZstdEncoder};

use crate::error::Doing as _;
use crate::{Error, Result};

const MAGIC: &[u8; 9] = b"SWRECIPE\x01";
const RAW: u8 = 0;
const FILE: u8 = 1;
/// Headers are mostly zeros and repetitions; a higher level gains nothing.
const LEVEL: i32 = 3;
/// The encoder looks back 2^17 bytes, some 200 headers, which are much alike. A larger window gains a tenth and costs megabytes.
const WINDOW_LOG: u32 = 17;
/// Many pieces are some bytes long: encoder and decoder are asked for larger ones.
const BUFFER: usize = 64 << 10;
/// Bytes of a path that is read. A tar names nothing with more than 4096, and what symlinks make of that still has to be opened.
pub(super) const PATH_LIMIT: usize = 64 << 10;

/// What follows in the tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// So many bytes, which follow in the recipe.
    Raw(u64),
    /// The content of a file of the layer.
    File {
        /// Clean and relative.
        path: Vec<u8>,
        size: u64,
    },
}

/// A recipe being written.
pub(super) struct PieceWriter {
    out: BufWriter<ZstdEncoder<Counted>>,
}

/// A recipe being read.
pub(super) struct PieceReader {
    plain: BufReader<Box<dyn Read + Send>>,
}

struct Counted {
    file: File,
    written: u64,
}

impl Piece {
    /// Bytes of the tar that it stands for.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Raw(length) => *length,
            Self::File { size, .. } => *size,
        }
    }
}

impl PieceWriter {
    /// Starts the recipe `path`, which is not there yet.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let doing = || format!("write recipe {path:?}");
        let mut file = Counted { file: File::create_new(path).doing(doing)?, written: 0 };
        file.write_all(MAGIC).doing(doing)?;
        let mut encoder = compress::zstd_encoder(file, LEVEL)?;
        encoder.window_log(WINDOW_LOG).doing(doing)?;
        Ok(Self { out: BufWriter::with_capacity(BUFFER, encoder) })
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.start_raw(bytes.len() as u64)?;
        self.out.write_all(bytes)
    }

    pub(super) fn file(&mut self, path: &[u8], size: u64) -> std::io::Result<()> {
        self.out.write_all(&[FILE])?;
        self.out.write_all(&(path.len() as u64).to_le_bytes())?;
        self.out.write_all(path)?;
        self.out.write_all(&size.to_le_bytes())
    }

    /// As [`PieceWriter::raw`], but the bytes are those that `from` gives next.
    pub(super) fn raw_from(&mut self, length: u64, from: &mut PieceReader) -> Result<()> {
        self.start_raw(length).doing(|| "write recipe".to_owned())?;
        from.copy_raw(length, &mut self.out)
    }

    fn start_raw(&mut self, length: u64) -> std::io::Result<()> {
        self.out.write_all(&[RAW])?;
        self.out.write_all(&length.to_le_bytes())
    }

    /// Bytes that have reached the file; some are still on their way.
    pub(super) fn written(&self) -> u64 {
        self.out.get_ref().get_ref().written
    }

    /// Ends the recipe; its size.
    pub(super) fn finish(self) -> std::io::Result<u64> {
        Ok(self.out.into_inner().map_err(std::io::IntoInnerError::into_error)?.finish()?.written)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl PieceReader {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).doing(|| format!("read {path:?}"))?;
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic).map_err(breaks_off)?;
        // We compressed it, and zeros shrink to nothing: what bounds the reading is the size of the tar.
        let limits = Limits { total_bytes: u64::MAX, ratio: u64::MAX, ..Limits::default() };
        match compress::decoder(file, &limits)? {
            (Format::Zstd, plain) if magic == *MAGIC => Ok(Self { plain: BufReader::with_capacity(BUFFER, plain) }),
            _ => Err(damaged()),
        }
    }

    /// The next piece, or none at the end. After a `Raw` its bytes are to be taken with [`PieceReader::copy_raw`].
    ///
    /// # Errors
    /// `Corrupt` when it breaks off, and for pieces that nobody writes: of no bytes, so that every piece brings the tar nearer to its end, or with a
    /// path that nothing has.
    pub(super) fn next(&mut self) -> Result<Option<Piece>> {
        let mut tag = [0];
        if self.plain.read(&mut tag).doing(|| "read recipe".to_owned())? == 0 {
            return Ok(None);
        }
        let number = self.number()?;
        let piece = match tag[0] {
            RAW => Piece::Raw(number),
            FILE if number <= PATH_LIMIT as u64 => {
                let mut path = vec![0; number as usize];
                self.plain.read_exact(&mut path).map_err(breaks_off)?;
                Piece::File { path, size: self.number()? }
            }
            _ => return Err(damaged()),
        };
        if piece.length() == 0 { Err(damaged()) } else { Ok(Some(piece)) }
    }

    /// Copies the bytes of a raw piece.
    pub(super) fn copy_raw(&mut self, length: u64, out: &mut dyn Write) -> Result<()> {
        let copied = std::io::copy(&mut (&mut self.plain).take(length), out).doing(|| "copy the bytes between files".to_owned())?;
        if copied == length { Ok(()) } else { Err(damaged()) }
    }

    fn number(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.plain.read_exact(&mut bytes).map_err(breaks_off)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

pub(super) fn damaged() -> Error {
    Error::corrupt("recipe of a layer", "it breaks off or is not one")
}

fn breaks_off(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => damaged(),
        _ => Error::io("read recipe", &error),
    }
}
