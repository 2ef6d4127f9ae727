//! Containers find each other by name: what programs inside hear from 127.0.0.11, across restarts of containers and of the daemon.

use shipway_testkit::{Daemon, Outcome, Setup, eventually};

use crate::BINARY;

fn shipway(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = daemon.shipway(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {}\n{out}\n{err}", output.status);
    out.trim().to_owned()
}

/// Starts a container that sleeps.
fn sleeper(daemon: &Daemon, name: &str, options: &[&str]) -> String {
    shipway(daemon, &[&["run", "--detach", "--name", name], options, &["busybox", "sleep", "1000"]].concat())
}

/// What `nslookup` says inside `container`; its code is 0 when there is such a name.
fn lookup(daemon: &Daemon, container: &str, name: &str) -> Outcome {
    let output = daemon.shipway(&["exec", container, "nslookup", "-type=a", name]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome { code: output.status.code().unwrap_or(-1).into(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// The addresses of a name as `container` hears them.
fn addresses(daemon: &Daemon, container: &str, name: &str) -> Vec<String> {
    let said = lookup(daemon, container, name).stdout;
    // The first address is the server's own.
    said.lines()
        .skip_while(|line| !line.starts_with("Name:"))
        .filter_map(|line| line.strip_prefix("Address: "))
        .map(str::to_owned)
        .collect()
}

fn own_address(daemon: &Daemon, container: &str, network: &str) -> String {
    let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    shipway(daemon, &["inspect", "--format", &format, container])
}

#[test]
fn names_aliases_links_and_ids_are_heard_in_their_networks_only_and_survive_restarts() {
    let mut daemon = Setup::new(BINARY).with_networks().start();
    daemon.import_busybox("busybox");
    shipway(&daemon, &["network", "create", "front"]);
    shipway(&daemon, &["network", "create", "--internal", "back"]);
    let web = sleeper(&daemon, "web", &["--network", "front", "--network-alias", "shop", "--hostname", "counter"]);
    sleeper(&daemon, "two", &["--network", "front", "--network-alias", "shop", "--link", "web:store"]);
    sleeper(&daemon, "db", &["--network", "back"]);

    let own = own_address(&daemon, "web", "front");
    for name in ["web", "WEB", "web.front", &web[..12], "counter"] {
        assert_eq!(addresses(&daemon, "two", name), std::slice::from_ref(&own), "{name}");
    }
    assert_eq!(addresses(&daemon, "two", "store"), std::slice::from_ref(&own), "a link is the container's own word");
    assert!(addresses(&daemon, "web", "store").is_empty());
    assert_eq!(addresses(&daemon, "two", "shop").len(), 2);
    assert!(addresses(&daemon, "two", "db").is_empty(), "another network's names are nobody's business");
    let no = lookup(&daemon, "db", "example.com");
    assert!(no.code != 0 && (no.stdout + &no.stderr).contains("NXDOMAIN"), "nothing is asked outside from an internal network");

    shipway(&daemon, &["network", "connect", "--alias", "store", "back", "web"]);
    assert_eq!(addresses(&daemon, "web", "db"), [own_address(&daemon, "db", "back")]);
    assert_eq!(addresses(&daemon, "db", "store"), [own_address(&daemon, "web", "back")]);
    shipway(&daemon, &["network", "disconnect", "back", "web"]);
    assert!(addresses(&daemon, "web", "db").is_empty());

    daemon.kill_9();
    daemon.restart();
    assert_eq!(addresses(&daemon, "two", "web"), std::slice::from_ref(&own), "after the daemon was killed");
    shipway(&daemon, &["rm", "--force", "web"]);
    eventually("the end of a name", 10, || addresses(&daemon, "two", "web").is_empty().then_some(()));
    assert_eq!(addresses(&daemon, "two", "shop").len(), 1);

    let hosts = shipway(&daemon, &["exec", "two", "cat", "/etc/hosts"]);
    assert!(
        hosts.ends_with(&format!("{}\t{}", own_address(&daemon, "two", "front"), shipway(&daemon, &["exec", "two", "hostname"]))),
        "{hosts}"
    );
    let resolv_conf = shipway(&daemon, &["exec", "two", "cat", "/etc/resolv.conf"]);
    assert!(resolv_conf.starts_with("nameserver 127.0.0.11\n") && resolv_conf.contains("ndots:0"), "{resolv_conf}");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn a_container_s_own_name_server_may_take_port_53_of_all_addresses() {
    let daemon = Setup::new(BINARY).with_networks().start();
    daemon.import_busybox("busybox");
    shipway(&daemon, &["network", "create", "front"]);
    let server = ["run", "--detach", "--name", "dns", "--network", "front", "busybox", "nc", "-l", "-p", "53"];
    shipway(&daemon, &server);
    assert_eq!(addresses(&daemon, "dns", "dns"), [own_address(&daemon, "dns", "front")]);
    assert_eq!(shipway(&daemon, &["inspect", "--format", "{{.State.Running}}", "dns"]), "true");
    daemon.remove_all_containers();
}
