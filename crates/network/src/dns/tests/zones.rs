//! What a container hears about its own networks.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};

use super::support::{Heard, addresses, id, names, network, question, view};
use crate::dns::zone::Zones;
use crate::dns::{Link, Outside};

/// Two networks: `nat` with web (both families) and db (IPv4), `back` with another db.
fn zones() -> Zones {
    let mut zones = Zones::default();
    zones.register(network(1), "nat", id(1), &names(&["web", "010101010101", "shop"], "172.18.0.2", Some("fd00::2")));
    zones.register(network(1), "nat", id(2), &names(&["db_1", "db"], "172.18.0.3", None));
    zones.register(network(2), "back", id(3), &names(&["db", "only-back"], "172.19.0.3", None));
    zones
}

#[tokio::test]
async fn names_aliases_and_short_ids_answer_in_any_case() {
    let heard = Heard::new(zones(), view(&[network(1)], Outside::Nowhere), &[]);
    for name in ["web", "WEB", "shop", "010101010101", "web.nat", "Shop.NAT"] {
        let answer = heard.ask(name, RecordType::A).await;
        assert_eq!(addresses(&answer), ["172.18.0.2".parse::<std::net::IpAddr>().unwrap()], "{name}");
        assert_eq!(answer.metadata.id, 0x4242);
        assert_eq!(answer.answers[0].name.to_string(), format!("{name}."), "the asker's spelling comes back");
        assert!(answer.metadata.recursion_available && answer.metadata.recursion_desired);
    }
    assert_eq!(addresses(&heard.ask("web", RecordType::AAAA).await), ["fd00::2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(addresses(&heard.ask("db_1", RecordType::A).await).len(), 1);
    assert_eq!(addresses(&heard.ask("web", RecordType::ANY).await).len(), 2);
}

#[tokio::test]
async fn a_name_without_such_a_record_exists_and_an_unknown_one_does_not() {
    let heard = Heard::new(zones(), view(&[network(1)], Outside::Nowhere), &[]);
    for kind in [RecordType::AAAA, RecordType::MX, RecordType::HTTPS, RecordType::SRV, RecordType::TXT] {
        let answer = heard.ask("db", kind).await;
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 0), "{kind}");
    }
    for name in ["nobody", "only-back", "db.back", "web.nat.nat", "example.com"] {
        let answer = heard.ask(name, RecordType::A).await;
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NXDomain, 0), "{name}");
    }
}

#[tokio::test]
async fn addresses_have_names_in_the_networks_of_the_asker() {
    let heard = Heard::new(zones(), view(&[network(1)], Outside::Nowhere), &[]);
    let owner = |message: hickory_proto::op::Message| match &message.answers[..] {
        [record] => match &record.data {
            RData::PTR(name) => name.0.to_string(),
            other => panic!("{other:?}"),
        },
        _ => message.metadata.response_code.to_string(),
    };
    assert_eq!(owner(heard.ask("2.0.18.172.in-addr.arpa", RecordType::PTR).await), "web.nat.");
    let six = format!("2.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
    assert_eq!(owner(heard.ask(&six, RecordType::PTR).await), "web.nat.");
    assert_eq!(heard.ask("3.0.19.172.in-addr.arpa", RecordType::PTR).await.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(heard.ask("18.172.in-addr.arpa", RecordType::PTR).await.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn the_first_network_that_knows_a_name_answers_and_a_view_changes_while_heard() {
    let heard = Heard::new(zones(), view(&[network(2), network(1)], Outside::Nowhere), &[]);
    let four = |text: &str| vec![text.parse::<std::net::IpAddr>().unwrap()];
    assert_eq!(addresses(&heard.ask("db", RecordType::A).await), four("172.19.0.3"));
    assert_eq!(addresses(&heard.ask("db.nat", RecordType::A).await), four("172.18.0.3"));
    assert_eq!(addresses(&heard.ask("web", RecordType::A).await), four("172.18.0.2"));
    let mut changed = view(&[network(1)], Outside::Nowhere);
    changed.links.push(Link { alias: "Store".into(), network: network(1), target: "web".into() });
    heard.listener.change_view(changed);
    assert_eq!(addresses(&heard.ask("db", RecordType::A).await), four("172.18.0.3"));
    assert_eq!(addresses(&heard.ask("store", RecordType::A).await), four("172.18.0.2"));
    assert_eq!(addresses(&heard.ask("store.nat", RecordType::A).await), four("172.18.0.2"));
    heard.zones.write().unwrap().register(network(1), "nat", id(1), &names(&["web"], "172.18.0.77", None));
    assert_eq!(addresses(&heard.ask("store", RecordType::A).await), four("172.18.0.77"), "a link follows its target");
}

#[tokio::test]
async fn an_answer_that_does_not_fit_says_so_and_comes_whole_by_tcp_and_edns() {
    let mut zones = Zones::default();
    for number in 1..=100 {
        zones.register(network(1), "nat", id(number), &names(&["api"], &format!("172.18.0.{number}"), None));
    }
    let heard = Heard::new(zones, view(&[network(1)], Outside::Nowhere), &[]);
    let bytes = heard.raw(&question("api", RecordType::A, None)).await.unwrap();
    let cut = hickory_proto::op::Message::from_vec(&bytes).unwrap();
    assert!(bytes.len() <= 512 && bytes.len() > 400, "{}", bytes.len());
    assert!(cut.metadata.truncation && cut.answers.len() > 20);
    let whole = heard.ask_by_tcp(&question("api", RecordType::A, None)).await;
    assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 100));
    let roomy = heard.ask_bytes(&question("api", RecordType::A, Some(4096))).await;
    assert_eq!((roomy.metadata.truncation, roomy.answers.len()), (false, 100));
    assert!(roomy.edns.is_some(), "who speaks EDNS is answered in it");
    let firsts: std::collections::HashSet<_> = [cut, whole, roomy].iter().map(|message| addresses(message)[0]).collect();
    assert_eq!(firsts.len(), 3, "shared names take turns");
}
