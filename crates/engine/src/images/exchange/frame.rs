//! The frames of the line between two engines that exchange images, and the bounds of each.
//!
//! ```text
//!  both sides first   "shipway-images/1\n"
//!  then frames        byte 0   1 2 3 4              5 ...
//!                     kind     length, big endian   that many bytes
//! ```
//! The whole conversation is drawn in `docs/formats/image-line.md`. What must stay true: a length is compared with the bound of its kind before anything
//! is reserved for it; what the other side says reaches a person without control characters.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shipway_archive::{Limits, compress};
use shipway_model::{Classified, ErrorKind};

/// What both sides say first. A later version says another number.
pub(super) const HELLO: &[u8; 17] = b"shipway-images/1\n";
/// Bytes of a layer in one frame, at most.
pub(super) const PIECE: usize = 1 << 20;
/// zstd's level between machines: the network is to be the slow part, not we.
const LEVEL: i32 = 1;
/// Length of a frame's head.
const HEAD: usize = 5;
/// Letters of the other side's words that are shown.
const SHOWN: usize = 1000;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What the sender has: JSON.
    Offer = 1,
    /// The exact bytes of an image's config.
    Config = 2,
    /// Which layers the receiver lacks: JSON.
    Want = 3,
    /// A layer begins: JSON.
    Layer = 4,
    /// Bytes of its tar.
    Data = 5,
    /// The same, compressed by themselves: their number (four bytes, big endian), then one zstd frame.
    Packed = 6,
    /// The layer ends.
    End = 7,
    /// The images are durable and have their names: empty.
    Stored = 8,
    /// One side gives up: JSON.
    Refusal = 9,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        use Kind::{Config, Data, End, Layer, Offer, Packed, Refusal, Stored, Want};
        [Offer, Config, Want, Layer, Data, Packed, End, Stored, Refusal].into_iter().find(|kind| *kind as u8 == byte)
    }

    /// The longest body of such a frame.
    fn bound(self) -> usize {
        match self {
            Self::Offer | Self::Want => 4 << 20,
            // As `model::config` has it.
            Self::Config => 8 << 20,
            Self::Layer => 1 << 10,
            Self::Data => PIECE,
            Self::Packed => PIECE + 4,
            Self::End | Self::Stored => 0,
            Self::Refusal => 64 << 10,
        }
    }
}

/// A frame that came.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) body: Vec<u8>,
}

/// Why one side gives up, in words for the other.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
}

/// Why an exchange ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    /// Nothing more comes, or goes.
    #[error("the line to the other side broke: {0}")]
    Broken(#[source] io::Error),
    /// Somebody else answers.
    #[error("what answers on the other side is not shipway: it says \"{beginning}\"")]
    Stranger { beginning: String },
    /// A frame that must not come, or not now.
    #[error("the other side broke the rules of the line: {what}")]
    Violation { what: String },
    /// The other side gave up.
    #[error("the other side refused: {message}")]
    Refused { message: String, hint: Option<String> },
    #[error(transparent)]
    Store(#[from] shipway_store::Error),
}

impl LineError {
    pub(super) fn violation(what: impl Into<String>) -> Self {
        Self::Violation { what: what.into() }
    }
}

impl Classified for LineError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Broken(_) => ErrorKind::Unavailable,
            Self::Stranger { .. } | Self::Violation { .. } | Self::Refused { .. } => ErrorKind::Invalid,
            Self::Store(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Broken(_) => Some("send the same images again: what came is kept for an hour and not sent twice".to_owned()),
            Self::Stranger { .. } => Some("the other side must start `shipway image receive` and print nothing before it".to_owned()),
            Self::Violation { .. } => None,
            Self::Refused { hint, .. } => hint.clone(),
            Self::Store(error) => error.hint(),
        }
    }
}

/// The writing end.
pub(super) struct FrameWriter<W> {
    out: W,
    written: u64,
}

impl<W: Write> FrameWriter<W> {
    /// Begins with the greeting.
    pub(super) fn greet(mut out: W) -> Result<Self, LineError> {
        out.write_all(HELLO).and_then(|()| out.flush()).map_err(LineError::Broken)?;
        Ok(Self { out, written: HELLO.len() as u64 })
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn frame(&mut self, kind: Kind, body: &[u8]) -> Result<(), LineError> {
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= kind.bound());
        let length = length.ok_or_else(|| LineError::violation(format!("a frame of {} bytes was to be sent", body.len())))?;
        let mut head = [kind as u8; HEAD];
        head[1..].copy_from_slice(&length.to_be_bytes());
        self.out.write_all(&head).and_then(|()| self.out.write_all(body)).map_err(LineError::Broken)?;
        self.written += (HEAD + body.len()) as u64;
        Ok(())
    }

    pub(super) fn json<T: Serialize>(&mut self, kind: Kind, value: &T) -> Result<(), LineError> {
        let body = serde_json::to_vec(value).map_err(|error| LineError::violation(error.to_string()))?;
        self.frame(kind, &body)
    }

    /// Sends bytes of a layer, compressed where that makes them fewer.
    pub(super) fn piece(&mut self, bytes: &[u8]) -> Result<(), LineError> {
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let packed = (|| {
            let mut encoder = compress::zstd_encoder(count.to_be_bytes().to_vec(), LEVEL)?;
            encoder.write_all(bytes).and_then(|()| encoder.finish()).map_err(shipway_archive::Error::Write)
        })();
        match packed {
            Ok(packed) if packed.len() < bytes.len() => self.frame(Kind::Packed, &packed),
            Ok(_) => self.frame(Kind::Data, bytes),
            Err(error) => Err(LineError::Store(error.into())),
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), LineError> {
        self.out.flush().map_err(LineError::Broken)
    }

    /// Tells the other side why nothing more comes; true when it could be told.
    pub(super) fn refuse(&mut self, error: &(impl Classified + ?Sized)) -> bool {
        let message = error.to_string().chars().take(SHOWN).collect();
        let refusal = Refusal { message, hint: error.hint() };
        self.json(Kind::Refusal, &refusal).and_then(|()| self.flush()).is_ok()
    }
}

/// The reading end.
pub(super) struct FrameReader<R> {
    input: R,
}

impl<R: Read> FrameReader<R> {
    /// Reads the greeting.
    pub(super) fn greeted(mut input: R) -> Result<Self, LineError> {
        let mut beginning = Vec::new();
        (&mut input).take(HELLO.len() as u64).read_to_end(&mut beginning).map_err(LineError::Broken)?;
        if beginning.is_empty() {
            return Err(LineError::Broken(io::Error::new(io::ErrorKind::UnexpectedEof, "nothing came")));
        }
        if beginning != HELLO {
            return Err(LineError::Stranger { beginning: printable(&String::from_utf8_lossy(&beginning)) });
        }
        Ok(Self { input })
    }

    /// The next frame.
    ///
    /// # Errors
    /// `Refused` when it says that the other side gave up.
    pub(super) fn next(&mut self) -> Result<Frame, LineError> {
        let mut head = [0; HEAD];
        self.input.read_exact(&mut head).map_err(LineError::Broken)?;
        let [kind, a, b, c, d] = head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let kind = Kind::of(kind).ok_or_else(|| LineError::violation(format!("a frame is of the unknown kind {kind}")))?;
        if length > kind.bound() {
            return Err(LineError::violation(format!("a frame of kind {kind:?} claims {length} bytes; {} are the most", kind.bound())));
        }
        let mut body = vec![0; length];
        self.input.read_exact(&mut body).map_err(LineError::Broken)?;
        if kind == Kind::Refusal {
            let refusal: Refusal = parse(&body)?;
            return Err(LineError::Refused { message: printable(&refusal.message), hint: refusal.hint.as_deref().map(printable) });
        }
        Ok(Frame { kind, body })
    }

    /// The next frame, which must be of this kind.
    pub(super) fn expect(&mut self, kind: Kind) -> Result<Vec<u8>, LineError> {
        let frame = self.next()?;
        if frame.kind == kind { Ok(frame.body) } else { Err(LineError::violation(format!("{:?} came instead of {kind:?}", frame.kind))) }
    }
}

/// A body in JSON.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, LineError> {
    serde_json::from_slice(body).map_err(|error| LineError::violation(format!("a frame cannot be understood: {error}")))
}

/// The bytes of a packed frame.
pub(super) fn unpack(body: &[u8]) -> Result<Vec<u8>, LineError> {
    let wrong = |what: &str| LineError::violation(format!("a packed frame {what}"));
    let (count, packed) = body.split_first_chunk::<4>().ok_or_else(|| wrong("is too short"))?;
    let count = u32::from_be_bytes(*count) as usize;
    if count > PIECE {
        return Err(wrong("claims too many bytes"));
    }
    if compress::detect(packed) != compress::Format::Zstd {
        return Err(wrong("is not zstd"));
    }
    let mut bytes = Vec::with_capacity(count + 1);
    let decoder = compress::decoder(packed, &Limits::default()).map_err(|_| wrong("cannot be read"))?.1;
    decoder.take(count as u64 + 1).read_to_end(&mut bytes).map_err(|_| wrong("cannot be read"))?;
    if bytes.len() == count { Ok(bytes) } else { Err(wrong("has another number of bytes than it says")) }
}

/// The other side's words for a terminal of ours.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(SHOWN).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Frame, LineError> {
        FrameReader { input: bytes }.next()
    }

    #[test]
    fn frames_come_back_as_they_went() {
        let mut writer = FrameWriter::greet(Vec::new()).unwrap();
        writer.frame(Kind::End, b"").unwrap();
        writer.piece(&vec![7; PIECE]).unwrap();
        writer.piece(b"short").unwrap();
        assert!(writer.written() < 200, "{}", writer.written());
        let mut reader = FrameReader::greeted(&writer.out[..]).unwrap();
        assert_eq!(reader.next().unwrap().kind, Kind::End);
        let packed = reader.expect(Kind::Packed).unwrap();
        assert_eq!(unpack(&packed).unwrap(), vec![7; PIECE]);
        assert_eq!(reader.expect(Kind::Data).unwrap(), b"short");
        assert!(matches!(reader.next(), Err(LineError::Broken(_))));
    }

    #[test]
    fn lengths_and_kinds_are_checked_before_anything_is_reserved() {
        for (bytes, words) in [
            (&[5, 0xff, 0xff, 0xff, 0xff][..], "claims 4294967295 bytes"),
            (&[5, 0, 0x10, 0, 1], "claims 1048577 bytes"),
            (&[7, 0, 0, 0, 1, 0], "claims 1 bytes"),
            (&[0, 0, 0, 0, 0], "unknown kind 0"),
            (&[10, 0, 0, 0, 0], "unknown kind 10"),
            (&[5, 0, 0, 0, 9, 1], "broke"),
            (&[9, 0, 0, 0, 1, b'{'], "cannot be understood"),
        ] {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.contains(words), "{bytes:?}: {error}");
        }
    }

    #[test]
    fn a_packed_frame_gives_what_it_says_and_no_more() {
        let zstd = |bytes: &[u8]| {
            let mut encoder = compress::zstd_encoder(Vec::new(), 3).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let framed = |count: u32, packed: &[u8]| [&count.to_be_bytes()[..], packed].concat();
        assert_eq!(unpack(&framed(3, &zstd(b"abc"))).unwrap(), b"abc");
        for wrong in [
            framed(2, &zstd(b"abc")),
            framed(4, &zstd(b"abc")),
            framed(u32::MAX, &zstd(b"abc")),
            framed(3, b"abc"),
            framed(3, &zstd(b"abc")[..9]),
            framed(PIECE as u32, &zstd(&vec![0; PIECE * 64])),
            vec![0, 0],
        ] {
            assert!(unpack(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn words_of_the_other_side_cannot_move_the_cursor() {
        let refusal = serde_json::to_vec(&Refusal { message: "no\u{1b}[2J\n!".to_owned(), hint: None }).unwrap();
        let mut bytes = vec![9, 0, 0, 0, u8::try_from(refusal.len()).unwrap()];
        bytes.extend(refusal);
        assert_eq!(read(&bytes).unwrap_err().to_string(), "the other side refused: no [2J !");
        let stranger = FrameReader::greeted(&b"bash: shipway: not found"[..]).err().unwrap().to_string();
        assert!(stranger.contains("it says \"bash: shipway: no\""), "{stranger}");
    }
}
