use super::*;

fn printed(text: &str) -> Result<Vec<String>, String> {
    parse_publish(text).map(|bindings| bindings.iter().map(ToString::to_string).collect()).map_err(|error| error.to_string())
}

#[test]
fn publishing() {
    for (text, expected) in [
        ("80", vec!["80/tcp"]),
        ("8080:80", vec!["8080:80/tcp"]),
        ("8080:80/UDP", vec!["8080:80/udp"]),
        (":80", vec!["80/tcp"]),
        ("0:80", vec!["80/tcp"]),
        ("127.0.0.1:8080:80", vec!["127.0.0.1:8080:80/tcp"]),
        ("127.0.0.1::80", vec!["127.0.0.1::80/tcp"]),
        ("[::1]:8080:80", vec!["[::1]:8080:80/tcp"]),
        ("::1:8080:80", vec!["[::1]:8080:80/tcp"]),
        ("80-82", vec!["80/tcp", "81/tcp", "82/tcp"]),
        ("8080-8081:80-81/sctp", vec!["8080:80/sctp", "8081:81/sctp"]),
        ("8000-8010:80", vec!["8000-8010:80/tcp"]),
    ] {
        assert_eq!(printed(text), Ok(expected.into_iter().map(str::to_owned).collect()), "{text}");
    }
    assert_eq!(parse_publish("1-65535").unwrap().len(), 65_535);
}

#[test]
fn publishing_wrongly() {
    for (text, message) in [
        ("", "no port specified: <empty>"),
        ("8080:", "no port specified: 8080:<empty>"),
        ("800:80:90", "invalid IP address: 800"),
        ("localhost:80:90", "invalid IP address: localhost"),
        ("[::1:80:90", "invalid IP address: [::1"),
        ("80/tpc", "invalid proto: tpc"),
        ("0", "invalid containerPort: 0"),
        ("a:b", "invalid containerPort: b"),
        ("65536", "invalid containerPort: 65536"),
        ("+80", "invalid containerPort: +80"),
        ("90-80", "invalid containerPort: 90-80"),
        ("x:80", "invalid hostPort: x"),
        ("8080-8082:80-81", "invalid ranges specified for container and host Ports: 80-81 and 8080-8082"),
    ] {
        assert_eq!(printed(text), Err(message.to_owned()), "{text}");
    }
}

#[test]
fn the_wrong_part_is_underlined() {
    let hint = |text: &str| parse_publish(text).unwrap_err().hint().unwrap();
    assert!(hint("800:80:90").ends_with("\n  800:80:90\n  ^^^"), "{}", hint("800:80:90"));
    assert!(hint("1.2.3.4:x:80").ends_with("\n  1.2.3.4:x:80\n          ^"), "{}", hint("1.2.3.4:x:80"));
    assert!(hint("80:8o/tcp").ends_with("\n  80:8o/tcp\n     ^^"), "{}", hint("80:8o/tcp"));
    assert_eq!(hint("80/tpc"), "did you mean \"tcp\"?");
}

#[test]
fn ports() {
    for (text, expected) in [
        ("80", Ok(Port::tcp(80))),
        ("53/udp", Ok(Port::udp(53))),
        ("80/", Ok(Port::tcp(80))),
        ("80-81", Err("invalid containerPort: 80-81")),
        ("80-80", Err("invalid containerPort: 80-80")),
        ("/tcp", Err("no port specified: /tcp<empty>")),
    ] {
        assert_eq!(text.parse::<Port>().map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{text}");
    }
    assert_eq!(Port::parse_range("80-81/udp"), Ok(vec![Port::udp(80), Port::udp(81)]));
    assert!(Port::parse_range("").is_err());
}

#[test]
fn json() {
    let binding = parse_publish("127.0.0.1:8080:80").unwrap().remove(0);
    let text = serde_json::to_string(&binding).unwrap();
    assert_eq!(text, r#"{"host_ip":"127.0.0.1","host_port":8080,"container":"80/tcp"}"#);
    assert_eq!(serde_json::from_str::<PortBinding>(&text).unwrap(), binding);
}
