//! Questions: the bytes that containers send, taken apart.
//!
//! What must stay true: no byte sequence does more than cost its own length; the tables of a message are counted before any is parsed.

use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// Bytes of a message's header.
pub(super) const HEADER: usize = 12;
/// Longest question taken, far above what a name of 255 bytes with EDNS options needs.
pub(super) const LONGEST: usize = 4096;
/// Without EDNS no answer by UDP is larger.
const PLAIN_UDP: u16 = 512;

/// A question that may be answered.
#[derive(Debug)]
pub(super) struct Question {
    /// As it came: this is what goes to other servers, with a new number.
    pub(super) bytes: Vec<u8>,
    pub(super) message: Message,
    pub(super) query: Query,
}

/// Why bytes are no question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not even a header, or an answer: saying anything would start a quarrel of two servers.
    Silence,
    /// A header, and then something to be refused with this code.
    Code { id: u16, op_code: OpCode, code: ResponseCode },
}

impl Question {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() < HEADER || bytes.len() > LONGEST || bytes[2] & 0x80 != 0 {
            return Err(Refusal::Silence);
        }
        let id = u16::from_be_bytes([bytes[0], bytes[1]]);
        let op_code = OpCode::from_u8(bytes[2] >> 3 & 0x0f);
        let refuse = |code| Refusal::Code { id, op_code, code };
        if op_code != OpCode::Query {
            return Err(refuse(ResponseCode::NotImp));
        }
        let count = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        // One entry, no records, at most EDNS and a signature.
        if count(4) != 1 || count(6) != 0 || count(8) != 0 || count(10) > 2 {
            return Err(refuse(ResponseCode::FormErr));
        }
        let message = Message::from_vec(bytes).map_err(|_| refuse(ResponseCode::FormErr))?;
        let query = only_entry(bytes).ok_or_else(|| refuse(ResponseCode::FormErr))?;
        Ok(Self { bytes: bytes.to_vec(), message, query })
    }

    /// The name in lower case without the last dot; `None` for names that no container can have.
    pub(super) fn name(&self) -> Option<String> {
        let mut text = String::with_capacity(64);
        for label in self.query.name().iter() {
            if !label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
                return None;
            }
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
        }
        (!text.is_empty()).then_some(text)
    }

    /// The address whose name is asked for, of a complete `in-addr.arpa` or `ip6.arpa` name.
    pub(super) fn reverse_address(&self) -> Option<IpAddr> {
        if self.query.query_type() != RecordType::PTR {
            return None;
        }
        let network = self.query.name().parse_arpa_name().ok()?;
        (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
    }

    /// Most bytes of an answer by UDP.
    pub(super) fn room(&self) -> usize {
        usize::from(self.message.edns.as_ref().map_or(PLAIN_UDP, |edns| edns.max_payload()).max(PLAIN_UDP))
    }

    /// Whether `answer` is one to this question, sent on under the number `id`.
    pub(super) fn is_answered_by(&self, answer: &[u8], id: u16) -> bool {
        answer.len() >= HEADER
            && answer[..2] == id.to_be_bytes()
            && answer[2] & 0x80 != 0
            && answer[2] >> 3 & 0x0f == 0
            && answer[4..6] == [0, 1]
            && only_entry(answer).is_some_and(|query| query == self.query)
    }
}

/// The first entry of the question table.
fn only_entry(bytes: &[u8]) -> Option<Query> {
    let mut decoder = BinDecoder::new(bytes);
    decoder.read_slice(HEADER).ok()?;
    Query::read(&mut decoder).ok()
}

/// A short answer that repeats only the number of a question that could not be read.
pub(super) fn refusal(id: u16, op_code: OpCode, code: ResponseCode) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Response, op_code);
    message.metadata.response_code = code;
    message.to_vec().unwrap_or_default()
}

/// `name` as a DNS name; `None` when one of its labels is too long.
pub(super) fn dns_name(name: &str) -> Option<Name> {
    Name::from_labels(name.split('.').map(str::as_bytes)).ok()
}
