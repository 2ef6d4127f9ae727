//! Bytes of every kind: nothing panics, nothing that is no question is answered with more than a code.

use hickory_proto::rr::RecordType;
use proptest::prelude::*;

use super::support::{id, names, network, question, view};
use crate::dns::question::Question;
use crate::dns::respond::{Decision, decide};
use crate::dns::zone::Zones;
use crate::dns::{Outside, answer};

fn answer_all(bytes: &[u8]) {
    let mut zones = Zones::default();
    zones.register(network(1), "nat", id(1), &names(&["web"], "172.18.0.2", Some("fd00::2")));
    let Ok(question) = Question::parse(bytes) else { return };
    let _ = question.is_answered_by(bytes, 7);
    if let Decision::Answer(message) = decide(&zones, &view(&[network(1)], Outside::Nowhere), &question) {
        let room = question.room();
        let encoded = answer::encode(message, room);
        assert!(encoded.len() <= room.max(512 + 255), "{} bytes in {room}", encoded.len());
        assert_eq!(encoded[..2], bytes[..2]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        answer_all(&bytes);
    }

    #[test]
    fn a_header_of_one_question_and_any_bytes(id: u16, tail in proptest::collection::vec(any::<u8>(), 0..300), records in 0u8..3) {
        let mut bytes = id.to_be_bytes().to_vec();
        bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, records]);
        bytes.extend(tail);
        answer_all(&bytes);
    }

    #[test]
    fn a_good_question_with_bytes_changed(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), room: Option<u16>) {
        let mut bytes = question("web.nat", RecordType::A, room);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        answer_all(&bytes);
    }
}

#[test]
fn tables_that_promise_more_than_there_is_cost_nothing() {
    let mut bytes = question("web", RecordType::A, None);
    for at in [4, 6, 8, 10] {
        let mut lying = bytes.clone();
        lying[at] = 0xff;
        assert!(Question::parse(&lying).is_err(), "table at {at}");
    }
    bytes[2] |= 0x80;
    assert!(Question::parse(&bytes).is_err(), "an answer is no question");
}
