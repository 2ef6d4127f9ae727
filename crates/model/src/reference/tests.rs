use super::*;

const HEX: &str = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";

#[track_caller]
fn check(text: &str, canonical: &str, familiar: &str) {
    let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    assert_eq!((reference.canonical().as_str(), reference.familiar().as_str()), (canonical, familiar), "{text}");
    assert_eq!(Reference::parse(&reference.canonical()).unwrap(), reference, "{text} survives its canonical form");
}

#[test]
fn familiar_names_mean_the_default_registry() {
    check("busybox", "docker.io/library/busybox", "busybox");
    check("busybox:1", "docker.io/library/busybox:1", "busybox:1");
    check("diamol/base", "docker.io/diamol/base", "diamol/base");
    check("docker.io/busybox", "docker.io/library/busybox", "busybox");
    check("index.docker.io/busybox", "docker.io/library/busybox", "busybox");
    check("localhost:5000/a", "localhost:5000/a", "localhost:5000/a");
    check("localhost/a:b", "localhost/a:b", "localhost/a:b");
    check("ghcr.io/a/b-c__d/e.f:v1.2-3", "ghcr.io/a/b-c__d/e.f:v1.2-3", "ghcr.io/a/b-c__d/e.f:v1.2-3");
    check("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a");
    check(&format!("a@sha256:{HEX}"), &format!("docker.io/library/a@sha256:{HEX}"), &format!("a@sha256:{HEX}"));
    check(&format!("a:t@sha256:{HEX}"), &format!("docker.io/library/a:t@sha256:{HEX}"), &format!("a:t@sha256:{HEX}"));
}

#[test]
fn wrong_names_are_refused_in_docker_s_words_with_the_right_form_beside_them() {
    let long = "a".repeat(300);
    for (text, message, hint) in [
        ("", "invalid reference format", "cannot be empty"),
        ("DIAMOL/BASE", "invalid reference format: repository name (DIAMOL/BASE) must be lowercase", "diamol/base"),
        ("Foo", "invalid reference format: repository name (library/Foo) must be lowercase", "foo"),
        ("-web-ping", "invalid reference format", "web-ping"),
        (&format!("centos:sha256:{HEX}"), "invalid reference format", "centos@sha256:"),
        ("a:-b", "invalid reference format", "cannot be a tag"),
        ("a@sha256:12", "invalid reference format", "is no digest"),
        ("a b", "invalid reference format", "position 2"),
        ("r:5000/a..b:v", "invalid reference format", "character '.' cannot stand at position 10 of"),
        ("r:5000/a.b/-c", "invalid reference format", "character '-' cannot stand at position 12 of"),
        ("a//b", "invalid reference format", "character '/' cannot stand at position 3 of"),
        ("a___b", "invalid reference format", "character '_' cannot stand at position 3 of"),
        ("ab-", "invalid reference format", "character '-' cannot stand at position 3 of"),
        ("a.é", "invalid reference format", "character 'é' cannot stand at position 3 of"),
        ("host_name:5000/a", "invalid reference format", "\"host_name:5000\" cannot be a registry"),
        ("https://r.test:5000/a", "invalid reference format", "an image name has no \"https://\": r.test:5000/a"),
        ("a/", "invalid reference format", ""),
        (&long, "repository name must not be more than 255 characters", ""),
        (HEX, &format!("invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings"), ""),
    ] {
        let error = Reference::parse(text).expect_err(text);
        assert_eq!(error.to_string(), message, "{text}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{text}: {:?}", error.hint());
    }
}

#[test]
fn a_default_tag_is_added_only_where_nothing_is_said() {
    assert_eq!(Reference::parse("a").unwrap().with_default_tag().familiar(), "a:latest");
    assert_eq!(Reference::parse("a:b").unwrap().with_default_tag().familiar(), "a:b");
    let pinned = Reference::parse(&format!("a@sha256:{HEX}")).unwrap();
    assert_eq!(pinned.clone().with_default_tag(), pinned);
}

#[test]
fn any_bytes_are_answered_without_a_panic() {
    for text in ["@", ":", "/", "a:", "a@", ":::", "@@", "é", "a\u{0}b", "[", "[]/a", "a/[::1]"] {
        let _ = Reference::parse(text);
    }
}
