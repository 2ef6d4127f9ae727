use std::collections::BTreeMap;

use super::*;
use crate::plan::PlanRequest;

fn space(subnet: &str, range: Option<&str>) -> AddressSpace {
    let request = PlanRequest {
        subnet: Some(subnet.parse().unwrap()),
        ip_range: range.map(|range| range.parse().unwrap()),
        ..PlanRequest::default()
    };
    AddressSpace::new(&SubnetPlan::checked(&request, &[]).unwrap())
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_lowest_free_address_is_handed_out_and_comes_back() {
    let mut space = space("172.18.0.0/16", None);
    let got: Vec<String> = (0..3).map(|n| space.claim_any(&format!("c{n}")).unwrap().to_string()).collect();
    assert_eq!(got, ["172.18.0.2", "172.18.0.3", "172.18.0.4"]);
    space.release(address("172.18.0.3"), "somebody else");
    assert_eq!(space.claim_any("c4").unwrap(), address("172.18.0.5"));
    space.release(address("172.18.0.3"), "c1");
    assert_eq!(space.claim_any("c5").unwrap(), address("172.18.0.3"));
    assert_eq!(space.claim_any("c6").unwrap(), address("172.18.0.6"));
}

#[test]
fn a_chosen_address_names_its_owner_when_taken() {
    let mut space = space("172.18.0.0/24", None);
    space.claim(address("172.18.0.9"), "container \"web\"").unwrap();
    space.claim(address("172.18.0.9"), "container \"web\"").unwrap();
    let error = space.claim(address("172.18.0.9"), "container \"db\"").unwrap_err();
    assert_eq!(error.to_string(), "Address already in use: 172.18.0.9 belongs to container \"web\"");
    assert!(space.claim(address("172.18.0.1"), "x").unwrap_err().to_string().contains("the gateway"));
    for outside in ["172.18.1.9", "172.18.0.0", "172.18.0.255", "fd00::1"] {
        assert!(matches!(space.claim(address(outside), "x"), Err(Error::AddressOutside { .. })), "{outside}");
    }
    space.release(address("172.18.0.1"), "x");
    assert_eq!(space.owner(address("172.18.0.1")), Some("the gateway"));
}

#[test]
fn a_range_runs_out_and_says_so() {
    let mut space = space("10.0.0.0/24", Some("10.0.0.4/30"));
    let all: Vec<IpAddr> = (0..4).map(|_| space.claim_any("x").unwrap()).collect();
    assert_eq!((all[0], all[3]), (address("10.0.0.4"), address("10.0.0.7")));
    let error = space.claim_any("x").unwrap_err();
    assert_eq!(error.to_string(), "no available addresses on this network's address pools: all 4 addresses of 10.0.0.4/30 are taken");
    space.release(address("10.0.0.6"), "x");
    assert_eq!(space.claim_any("y").unwrap(), address("10.0.0.6"));
}

#[test]
fn auxiliary_addresses_are_never_handed_out() {
    let request = PlanRequest {
        subnet: Some("10.0.0.0/29".parse().unwrap()),
        auxiliary: BTreeMap::from([("router".to_owned(), address("10.0.0.2"))]),
        ..PlanRequest::default()
    };
    let mut space = AddressSpace::new(&SubnetPlan::checked(&request, &[]).unwrap());
    assert_eq!(space.claim_any("c").unwrap(), address("10.0.0.3"));
}

#[test]
fn ipv6_hands_out_all_but_the_subnets_own_address() {
    let mut space = space("fd00::/126", None);
    assert_eq!(space.claim_any("c").unwrap(), address("fd00::2"));
    assert_eq!(space.claim_any("c").unwrap(), address("fd00::3"));
    assert!(space.claim_any("c").is_err());
}

#[test]
fn sixty_five_thousand_addresses_are_quick() {
    let mut space = space("10.0.0.0/16", None);
    for _ in 0..65533 {
        space.claim_any("c").unwrap();
    }
    assert!(space.claim_any("c").is_err());
}
