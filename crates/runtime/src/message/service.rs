//! The service line: a byte stream over `monitor.sock` (or handed over at launch), framed as
//!
//! ```text
//! u32 little-endian: length of what follows | u8 tag | bytes
//! ```
//!
//! with tags: 0 JSON, 1 input or standard output, 2 end of input or standard error. What must stay true: monitors outlive the daemon, so a message
//! that an older or newer side does not know is answered with an error and never guessed at; `VERSION` grows with every incompatible change.

use serde::{Deserialize, Serialize};

use super::{Ended, Failure, LONGEST, Program, to_json};
use crate::clock::Instant;

/// Version of the service line.
pub(crate) const VERSION: u32 = 1;
/// Longest frame of a service line that a monitor accepts.
pub(crate) const LONGEST_FRAME: usize = LONGEST + 1;

/// First frame of a client on the service line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Who are you.
    State,
    /// Frames from now on, both ways, until either side leaves.
    Attach(AttachWish),
    /// Tell the end when it comes.
    Wait,
    /// Send a signal to the first process or to the exec of this id.
    Signal {
        number: i32,
        exec: Option<String>,
        /// To every process of its session's group.
        #[serde(default)]
        group: bool,
    },
    /// Change the size of a terminal.
    Resize { rows: u16, cols: u16, exec: Option<String> },
    /// Run one more program; its frames follow on this line.
    Execute(Box<ExecuteRequest>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecuteRequest {
    pub(crate) id: String,
    pub(crate) program: Program,
    /// Use the container's seccomp program.
    pub(crate) confined: bool,
    pub(crate) terminal: Option<(u16, u16)>,
    pub(crate) attach: AttachWish,
    /// Kill it (and what is in its group) when its client goes away.
    #[serde(default)]
    pub(crate) tied: bool,
}

/// Answers on the service line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    State(MonitorState),
    Started {
        pid: i32,
    },
    Failed(Failure),
    Ended(Ended),
    Done,
    /// Something was lost for this client: it was too slow for too long.
    Dropped,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MonitorState {
    pub(crate) version: u32,
    pub(crate) id: String,
    pub(crate) monitor: i32,
    pub(crate) pid: i32,
    pub(crate) seat: i32,
    pub(crate) group: String,
    /// Bounding set of the container.
    pub(crate) capabilities: u64,
    pub(crate) started: Instant,
    pub(crate) ended: Option<Ended>,
}

/// What a client attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AttachWish {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// Tags of the service line.
pub(crate) mod tag {
    pub(crate) const JSON: u8 = 0;
    pub(crate) const DATA: u8 = 1;
    pub(crate) const OTHER: u8 = 2;
}

/// One frame.
pub(crate) fn frame(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32 + 1).to_le_bytes());
    out.push(tag);
    out.extend_from_slice(bytes);
}

/// One JSON frame.
pub(crate) fn json_frame(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    frame(tag::JSON, &to_json(value), &mut out);
    out
}

/// Takes the first whole frame off `buffer`: tag and bytes.
///
/// # Errors
/// A length beyond the limit, which ends the conversation.
pub(crate) fn take_frame(buffer: &mut Vec<u8>) -> Result<Option<(u8, Vec<u8>)>, ()> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head) as usize;
    if length == 0 || length > LONGEST_FRAME {
        return Err(());
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    let rest = buffer.split_off(4 + length);
    let whole = std::mem::replace(buffer, rest);
    Ok(Some((whole[4], whole[5..].to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut stream = Vec::new();
        frame(tag::DATA, b"hello", &mut stream);
        frame(tag::OTHER, b"", &mut stream);
        for cut in 0..stream.len() {
            let mut buffer = stream[..cut].to_vec();
            let mut seen = Vec::new();
            while let Ok(Some(one)) = take_frame(&mut buffer) {
                seen.push(one);
            }
            buffer.extend_from_slice(&stream[cut..]);
            while let Ok(Some(one)) = take_frame(&mut buffer) {
                seen.push(one);
            }
            assert_eq!(seen, [(tag::DATA, b"hello".to_vec()), (tag::OTHER, Vec::new())]);
        }
    }

    #[test]
    fn a_giant_frame_ends_the_conversation() {
        assert!(take_frame(&mut vec![0xff, 0xff, 0xff, 0xff, 0]).is_err());
        assert!(take_frame(&mut vec![0, 0, 0, 0, 0]).is_err());
    }
}
