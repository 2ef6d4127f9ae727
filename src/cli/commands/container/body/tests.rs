//! What the flags of `run` become on the wire, and what is refused before anything is sent.

use super::*;
use crate::cli::grammar;
use crate::cli::session::Globals;

#[derive(Debug, clap::Parser)]
struct Wrapper {
    #[command(flatten)]
    flags: ContainerFlags,
    words: Vec<String>,
}

fn body(arguments: &[&str]) -> Outcome<Value> {
    use clap::CommandFactory as _;
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let scanned = grammar::scan(&grammar::flags_of(&Wrapper::command()), &arguments, true)?;
    let parsed: Wrapper = crate::cli::catalog::parse(scanned)?;
    let session = Session::new(Globals { config: Some("/nonexistent".to_owned()), ..Globals::default() });
    create_body(&session, &parsed.flags, &parsed.words[0], &parsed.words[1..], false)
}

#[test]
fn flags_reach_the_body() {
    let table: [(&[&str], &str, Value); 21] = [
        (&["busybox"], "/Cmd", Value::Null),
        (&["busybox", "echo", "-n"], "/Cmd", json!(["echo", "-n"])),
        (&["-e", "A=b", "-eC=d", "busybox"], "/Env", json!(["A=b", "C=d"])),
        (&["-it", "busybox"], "/Tty", json!(true)),
        (&["-i", "busybox"], "/AttachStdin", json!(true)),
        (&["--entrypoint", "", "busybox"], "/Entrypoint", json!([""])),
        (&["-p", "8080:80", "busybox"], "/HostConfig/PortBindings", json!({"80/tcp": [{"HostIp": "", "HostPort": "8080"}]})),
        (&["-p", "127.0.0.1:53:53/udp", "busybox"], "/ExposedPorts", json!({"53/udp": {}})),
        (&["-v", "/a:/b:ro", "busybox"], "/HostConfig/Binds", json!(["/a:/b:ro"])),
        (&["-v", "/data", "busybox"], "/Volumes", json!({"/data": {}})),
        (
            &["--mount", "type=bind,src=/a,dst=/b,ro", "busybox"],
            "/HostConfig/Mounts",
            json!([{"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true}]),
        ),
        (&["--tmpfs", "/run:size=64m", "busybox"], "/HostConfig/Tmpfs", json!({"/run": "size=64m"})),
        (&["-m", "64m", "busybox"], "/HostConfig/Memory", json!(67_108_864)),
        (&["--memory-swap", "-1", "busybox"], "/HostConfig/MemorySwap", json!(-1)),
        (&["--cpus", "1.5", "busybox"], "/HostConfig/NanoCpus", json!(1_500_000_000_i64)),
        (&["--ulimit", "nofile=10:20", "busybox"], "/HostConfig/Ulimits", json!([{"Name": "nofile", "Soft": 10, "Hard": 20}])),
        (&["--network", "nat", "busybox"], "/HostConfig/NetworkMode", json!("nat")),
        (&["--network", "host", "busybox"], "/NetworkingConfig/EndpointsConfig", json!({})),
        (
            &["--network", "name=nat,\"driver-opt=a=1,2\",link-local-ip=169.254.1.1,link-local-ip=169.254.1.2", "busybox"],
            "/NetworkingConfig/EndpointsConfig/nat",
            json!({"IPAMConfig": {"LinkLocalIPs": ["169.254.1.1", "169.254.1.2"]}, "DriverOpts": {"a": "1,2"}}),
        ),
        (&["--network", "name=nat,alias=db", "busybox"], "/NetworkingConfig/EndpointsConfig", json!({"nat": {"Aliases": ["db"]}})),
        (&["--restart", "on-failure:3", "busybox"], "/HostConfig/RestartPolicy", json!({"Name": "on-failure", "MaximumRetryCount": 3})),
    ];
    for (arguments, pointer, expected) in table {
        let body = body(arguments).unwrap_or_else(|failure| panic!("{arguments:?}: {failure}"));
        assert_eq!(body.pointer(pointer).unwrap_or(&Value::Null), &expected, "{arguments:?} {pointer}");
    }
}

#[test]
fn mistakes_are_refused_with_advice_and_code_125() {
    let table: [(&[&str], &str); 11] = [
        (&["-p", "800:80:90", "busybox"], "invalid IP address: 800"),
        (&["--network", "nat", "--network", "nat", "busybox"], "network \"nat\" is specified multiple times"),
        (
            &["--network", "nat", "--network", "host", "busybox"],
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
        ),
        (
            &["--network", "name=nat,ip=10.1.1.1", "--ip", "10.1.1.2", "busybox"],
            "conflicting options: cannot specify both --ip and per-network IPv4 address",
        ),
        (&["--memory", "foo", "busybox"], "invalid argument \"foo\" for \"-m, --memory\" flag: invalid size: 'foo'"),
        (&["--rm", "--restart", "always", "busybox"], "conflicting options: cannot specify both --restart and --rm"),
        (
            &["--restart", "alway", "busybox"],
            "invalid restart policy: unknown policy 'alway'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
        ),
        (&["-v", "data:b", "busybox"], "invalid mount path: 'b' mount path must be absolute"),
        (&["--add-host", "x", "busybox"], "invalid argument \"x\" for \"--add-host\" flag: bad format for add-host: \"x\""),
        (&["--pids-limit", "many", "busybox"], "invalid argument \"many\" for \"--pids-limit\" flag: invalid digit found in string"),
        (&["--expose", "80:80", "busybox"], "invalid port format for --expose: 80:80"),
    ];
    for (arguments, message) in table {
        let failure = body(arguments).unwrap_err();
        assert_eq!((failure.to_string().as_str(), failure.code), (message, 125), "{arguments:?}");
    }
    assert_eq!(body(&["--restart", "alway", "x"]).unwrap_err().hints, ["did you mean --restart always?"]);
}
