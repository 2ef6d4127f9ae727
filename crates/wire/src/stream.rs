//! The frames that carry standard output and standard error over one connection when there is no terminal.
//!
//! ```text
//!  byte 0     1 2 3    4 5 6 7               8 ...
//!  stream     0 0 0    length, big endian    that many bytes
//! ```
//! Stream 0 is standard input (never sent by us), 1 standard output, 2 standard error, 3 an error of the engine itself.
//! Source: Docker Engine API, "Attach to a container", section "Stream format".

/// Length of the header before each frame.
pub const HEADER_LENGTH: usize = 8;

/// Frames longer than this are not believed: no server writes them, and a reader would have to buffer them.
pub const LONGEST_FRAME: u32 = 64 << 20;

/// Which stream a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Input = 0,
    Output = 1,
    Error = 2,
    /// The engine tells that the stream itself failed.
    System = 3,
}

/// The header of a frame of `length` bytes on `channel`.
pub fn header(channel: Channel, length: u32) -> [u8; HEADER_LENGTH] {
    let [a, b, c, d] = length.to_be_bytes();
    [channel as u8, 0, 0, 0, a, b, c, d]
}

/// A whole frame around `bytes`.
pub fn frame(channel: Channel, bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_LENGTH + bytes.len());
    for part in bytes.chunks(LONGEST_FRAME as usize) {
        frame.extend_from_slice(&header(channel, u32::try_from(part.len()).unwrap_or(LONGEST_FRAME)));
        frame.extend_from_slice(part);
    }
    frame
}

/// The bytes are not frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameError {
    /// The first byte of a header names no stream. Usually the container has a terminal and the stream is raw.
    UnknownChannel(u8),
    /// A header claims more than [`LONGEST_FRAME`].
    TooLong(u32),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownChannel(byte) => write!(out, "unrecognized stream: {byte}"),
            Self::TooLong(length) => write!(out, "a frame claims {length} bytes"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Takes a byte stream apart into frames, whatever the pieces it arrives in. Bytes of a frame are handed on as they come, not gathered.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    header: [u8; HEADER_LENGTH],
    header_filled: usize,
    current: Option<Channel>,
    left: usize,
}

impl FrameDecoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Feeds `bytes` and calls `sink` for every piece of content found in them.
    ///
    /// # Errors
    /// When the stream is not made of frames; what follows cannot be understood any more.
    pub fn feed(&mut self, mut bytes: &[u8], mut sink: impl FnMut(Channel, &[u8])) -> Result<(), FrameError> {
        while !bytes.is_empty() {
            match self.current {
                Some(channel) => {
                    let (piece, rest) = bytes.split_at(bytes.len().min(self.left));
                    sink(channel, piece);
                    self.left -= piece.len();
                    bytes = rest;
                    if self.left == 0 {
                        self.current = None;
                    }
                }
                None => bytes = self.feed_header(bytes)?,
            }
        }
        Ok(())
    }

    /// True when the stream could end here: no frame is half read.
    pub fn is_at_boundary(&self) -> bool {
        self.current.is_none() && self.header_filled == 0
    }

    fn feed_header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], FrameError> {
        let (piece, rest) = bytes.split_at(bytes.len().min(HEADER_LENGTH - self.header_filled));
        self.header[self.header_filled..self.header_filled + piece.len()].copy_from_slice(piece);
        self.header_filled += piece.len();
        if self.header_filled < HEADER_LENGTH {
            return Ok(rest);
        }
        self.header_filled = 0;
        let [channel, _, _, _, a, b, c, d] = self.header;
        let length = u32::from_be_bytes([a, b, c, d]);
        let channel = match channel {
            0 => Channel::Input,
            1 => Channel::Output,
            2 => Channel::Error,
            3 => Channel::System,
            other => return Err(FrameError::UnknownChannel(other)),
        };
        if length > LONGEST_FRAME {
            return Err(FrameError::TooLong(length));
        }
        if length > 0 {
            self.current = Some(channel);
            self.left = length as usize;
        }
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<Vec<(Channel, Vec<u8>)>, FrameError> {
        let mut decoder = FrameDecoder::new();
        let mut found: Vec<(Channel, Vec<u8>)> = Vec::new();
        for piece in pieces {
            decoder.feed(piece, |channel, bytes| match found.last_mut() {
                Some((last, text)) if *last == channel => text.extend_from_slice(bytes),
                _ => found.push((channel, bytes.to_vec())),
            })?;
        }
        assert!(decoder.is_at_boundary());
        Ok(found)
    }

    #[test]
    fn frames_survive_every_way_of_cutting_them() {
        let mut stream = frame(Channel::Output, b"hello\n");
        stream.extend(frame(Channel::Error, b"oh\n"));
        stream.extend(header(Channel::Output, 0));
        stream.extend(frame(Channel::Output, b"bye"));
        let expected =
            Ok(vec![(Channel::Output, b"hello\n".to_vec()), (Channel::Error, b"oh\n".to_vec()), (Channel::Output, b"bye".to_vec())]);
        for cut in 0..stream.len() {
            let (left, right) = stream.split_at(cut);
            assert_eq!(decode(&[left, right]), expected, "cut at {cut}");
        }
        assert_eq!(decode(&stream.iter().map(std::slice::from_ref).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn the_drawn_layout_is_what_is_written() {
        assert_eq!(frame(Channel::Error, b"ab"), [2, 0, 0, 0, 0, 0, 0, 2, b'a', b'b']);
        assert_eq!(frame(Channel::Output, b""), [0_u8; 0]);
    }

    #[test]
    fn a_raw_terminal_stream_is_told_apart() {
        assert_eq!(decode(&[b"root@web:/# "]), Err(FrameError::UnknownChannel(b'r')));
        assert_eq!(decode(&[&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]]), Err(FrameError::TooLong(u32::MAX)));
    }

    #[test]
    fn half_a_frame_is_noticed() {
        let mut decoder = FrameDecoder::new();
        decoder.feed(&[1, 0, 0, 0, 0, 0, 0, 5, b'a'], |_, _| {}).unwrap();
        assert!(!decoder.is_at_boundary());
    }
}
