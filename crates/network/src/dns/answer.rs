//! Answers of our own making.
//!
//! What must stay true: an answer repeats the number and the question; one by UDP fits what the asker has room for, else it says that it was cut.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{RData, Record, RecordType};

use super::question::{Question, dns_name};
use super::zone::Addresses;

/// Seconds an answer may be kept. Short: containers come and go, and asking again costs a table lookup.
const TIME_TO_LIVE: u32 = 5;
/// Room we offer to askers that speak EDNS; they never need it.
const OUR_ROOM: u16 = 1232;

/// The addresses of a name that exists, those of the asked family; none is an answer too.
pub(super) fn addresses(question: &Question, found: &Addresses) -> Message {
    let kind = question.query.query_type();
    let wants = |family| kind == family || kind == RecordType::ANY;
    let mut message = answer(question, ResponseCode::NoError);
    let mut add = |data| {
        message.add_answer(Record::from_rdata(question.query.name().clone(), TIME_TO_LIVE, data));
    };
    if wants(RecordType::A) {
        found.v4.iter().for_each(|address| add(RData::A(A(*address))));
    }
    if wants(RecordType::AAAA) {
        found.v6.iter().for_each(|address| add(RData::AAAA(AAAA(*address))));
    }
    message
}

/// The name of an address.
pub(super) fn owner(question: &Question, name: &str) -> Message {
    let mut message = answer(question, ResponseCode::NoError);
    if let Some(name) = dns_name(name) {
        message.add_answer(Record::from_rdata(question.query.name().clone(), TIME_TO_LIVE, RData::PTR(PTR(name))));
    }
    message
}

/// Only a code.
pub(super) fn code(question: &Question, code: ResponseCode) -> Message {
    answer(question, code)
}

fn answer(question: &Question, code: ResponseCode) -> Message {
    let asked = &question.message.metadata;
    let mut message = Message::new(asked.id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_desired = asked.recursion_desired;
    message.metadata.checking_disabled = asked.checking_disabled;
    message.metadata.recursion_available = true;
    message.metadata.authoritative = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
    message.metadata.response_code = code;
    message.add_query(question.query.clone());
    if question.message.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(OUR_ROOM);
        message.set_edns(edns);
    }
    message
}

/// The bytes of `message`, at most `room` of them: records that do not fit are left out and the answer says so.
pub(super) fn encode(mut message: Message, room: usize) -> Vec<u8> {
    loop {
        let Ok(bytes) = message.to_vec() else { return Vec::new() };
        if bytes.len() <= room || message.answers.is_empty() {
            return bytes;
        }
        let excess = (bytes.len() - room).div_ceil(MOST_OF_A_RECORD).clamp(1, message.answers.len());
        message.answers.truncate(message.answers.len() - excess);
        message.metadata.truncation = true;
    }
}

/// An IPv6 address with its compressed name: leaving out one record frees at most this much.
const MOST_OF_A_RECORD: usize = 28;
