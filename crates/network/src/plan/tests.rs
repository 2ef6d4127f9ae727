use super::*;

fn subnet(text: &str) -> Subnet {
    text.parse().unwrap()
}

fn network(text: &str) -> InUse {
    InUse { subnet: subnet(text), owner: "network \"nat\"".to_owned(), of_host: false }
}

fn route(text: &str) -> InUse {
    InUse { subnet: subnet(text), owner: "route of tun0".to_owned(), of_host: true }
}

fn chosen(taken: &[InUse]) -> String {
    SubnetPlan::chosen(&AddressPool::defaults(), false, taken).unwrap().subnet.to_string()
}

#[test]
fn chosen_subnets_avoid_networks_and_routes_of_the_host() {
    assert_eq!(chosen(&[]), "172.17.0.0/16");
    assert_eq!(chosen(&[network("172.17.0.0/16"), route("172.18.3.0/24")]), "172.19.0.0/16");
    assert_eq!(chosen(&[route("172.16.0.0/12")]), "192.168.0.0/24");
    assert_eq!(chosen(&[route("172.16.0.0/12"), route("192.168.0.0/23"), network("192.168.3.0/24")]), "192.168.2.0/24");
}

#[test]
fn pools_run_out_with_a_message_that_names_them() {
    let taken = [route("172.16.0.0/12"), route("192.168.0.0/16")];
    let error = SubnetPlan::chosen(&AddressPool::defaults(), false, &taken).unwrap_err();
    assert!(error.to_string().contains("all 271 parts of 172.17.0.0/16 in parts of /16 ... 192.168.0.0/16 in parts of /24"), "{error}");
    let mut taken = Vec::new();
    for _ in 0..271 {
        let plan = SubnetPlan::chosen(&AddressPool::defaults(), false, &taken).unwrap();
        taken.push(InUse { subnet: plan.subnet, owner: "n".to_owned(), of_host: false });
    }
    assert!(SubnetPlan::chosen(&AddressPool::defaults(), false, &taken).is_err());
}

#[test]
fn ipv6_networks_get_parts_of_the_machines_own_range() {
    let pool = AddressPool::unique_local("/var/lib/shipway");
    let first = SubnetPlan::chosen(&[pool], true, &[]).unwrap();
    assert!(first.subnet.to_string().starts_with("fd") && first.subnet.prefix() == 64, "{}", first.subnet);
    let second = SubnetPlan::chosen(&[pool], true, &[InUse { subnet: first.subnet, owner: "n".to_owned(), of_host: false }]).unwrap();
    assert!(pool.base.contains_subnet(&second.subnet) && !second.subnet.overlaps(&first.subnet));
    assert_ne!(pool, AddressPool::unique_local("/elsewhere"));
}

#[test]
fn what_people_ask_for_is_checked_and_the_other_party_named() {
    let ask = |subnet_text: &str| PlanRequest { subnet: Some(subnet(subnet_text)), ..PlanRequest::default() };
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let plain = SubnetPlan::checked(&ask("10.5.0.0/24"), &[route("10.0.0.0/8")]).unwrap();
    assert_eq!((plain.gateway, plain.gateway_address().1), (address("10.5.0.1"), 24));

    let message = |request: PlanRequest| SubnetPlan::checked(&request, &[network("172.18.0.0/16")]).unwrap_err().to_string();
    assert!(message(ask("172.18.7.0/24")).ends_with("172.18.7.0/24 overlaps with 172.18.0.0/16 of network \"nat\""));
    assert!(message(ask("10.0.0.0/31")).contains("at least four addresses"));
    assert!(message(PlanRequest { gateway: Some(address("10.1.0.1")), ..ask("10.0.0.0/24") }).contains("gateway 10.1.0.1 does not lie in"));
    assert!(message(PlanRequest { gateway: Some(address("10.0.0.255")), ..ask("10.0.0.0/24") }).contains("belong to nobody"));
    assert!(message(PlanRequest { gateway: Some(address("fd00::1")), ..ask("10.0.0.0/24") }).contains("does not lie"));
    let range = PlanRequest { ip_range: Some(subnet("10.0.1.0/24")), ..ask("10.0.0.0/24") };
    assert!(message(range).contains("no matching subnet for ip-range 10.0.1.0/24"));
    assert!(message(PlanRequest { gateway: Some(address("10.0.0.1")), ..PlanRequest::default() }).contains("gateway 10.0.0.1"));
    let twice = PlanRequest { auxiliary: BTreeMap::from([("router".to_owned(), address("10.0.0.1"))]), ..ask("10.0.0.0/24") };
    assert!(message(twice).contains("belongs to the gateway"));
}
