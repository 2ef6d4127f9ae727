//! Mirrors and the TLS of single hosts: who is asked in which order, with which certificate, and what a mirror learns.

use http::HeaderMap;
use shipway_model::{Classified as _, ErrorKind};
use shipway_registry::{Access, Error, HostSettings, Hosts, NameFiles, Registry, Scope, Transport, TransportConfig};
use shipway_testkit::{BadRegistry, Delivery, Identity, Reply, Special};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

use super::{BASIC, leaked, settings, somebody};

const DIGEST: &str = "a/b/manifests/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A registry `reg.test` and its administrator's folders.
struct Place {
    folder: TempDir,
    port: u16,
}

impl Place {
    fn of(port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hosts"), "127.0.0.1 reg.test mirror.test\n").unwrap();
        Self { folder, port }
    }

    fn domain(&self) -> String {
        format!("reg.test:{}", self.port)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(self.domain()).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn registry(&self, access: &Access, for_push: bool, settings_of_hosts: HostSettings) -> Result<Registry, Error> {
        let folders = vec![self.folder.path().to_owned()];
        let hosts = Hosts::new(&HostSettings { hosts_folders: folders.clone(), certs_folders: folders, ..settings_of_hosts })?;
        let names = NameFiles { hosts: self.folder.path().join("hosts"), resolv_conf: Path::new("/nonexistent").to_owned() };
        let config = TransportConfig { names, trust: Some(Arc::new(hosts.clone())), ..settings() };
        Registry::new(Transport::new(config)?, &hosts, &self.domain(), access, for_push)
    }

    async fn get(&self, path: &str) -> Result<String, Error> {
        ask(&self.registry(&Access::with(somebody()), false, HostSettings::default())?, path).await
    }
}

async fn ask(registry: &Registry, path: &str) -> Result<String, Error> {
    let mut response = registry.get(path, &Scope::pull("a/b"), &HeaderMap::new()).await?;
    let piece = response.body.next().await.transpose()?.unwrap_or_default();
    Ok(format!("{} {}", response.status.as_u16(), String::from_utf8_lossy(&piece)))
}

fn says(word: &'static str) -> BadRegistry {
    BadRegistry::plain(move |_, _| Reply::new(200, word))
}

#[tokio::test]
async fn mirrors_are_asked_in_their_order_and_fall_through() {
    let identity = Identity::new("reg.test", Special::Nothing);
    let server = BadRegistry::secure(&identity, |asked, _| match asked.header("authorization") {
        Some(value) if value == format!("Basic {BASIC}") => Reply::new(200, "registry"),
        _ => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=x"),
    });
    // Each kind of trouble a mirror can have.
    for trouble in [
        Reply::new(404, ""),
        Reply::new(401, "").with("WWW-Authenticate", "Basic realm=x"),
        Reply::new(403, ""),
        Reply::new(500, ""),
        Reply::new(429, "").with("Retry-After", "3600"),
        Reply::new(200, "").by(Delivery::HungUp),
        Reply::new(200, "").by(Delivery::Raw(b"nonsense\r\n\r\n".to_vec())),
        Reply::new(200, "").after(std::time::Duration::from_secs(2)),
    ] {
        let shown = format!("{} {:?}", trouble.status, trouble.delivery);
        let (first, second) = (BadRegistry::plain(move |_, _| trouble.clone()), says("mirror"));
        let place = Place::of(server.port());
        place.write("ca.crt", &identity.authority_pem);
        let text = format!(
            "[host.\"{}\"]\n[host.\"{}\".header]\nX-Key = \"K\"\n[host.\"{}\"]\ncapabilities = [\"pull\"]\n",
            first.url("/one"),
            first.url("/one"),
            second.url("/two/v2")
        );
        place.write("hosts.toml", &text);
        // What is named by digest may come from any mirror; a tag only from those that may resolve.
        assert_eq!(place.get(DIGEST).await.unwrap(), "200 mirror", "{shown}");
        assert_eq!(place.get("a/b/manifests/latest").await.unwrap(), "200 registry", "{shown}");
        let asked = first.asked();
        assert_eq!(asked[0].target, format!("/one/v2/{DIGEST}?ns=reg.test%3A{}", server.port()), "{shown}");
        assert_eq!(asked[0].header("x-key"), Some("K"));
        assert!(second.lines()[0].starts_with("GET /two/v2/a/b/"), "{:?}", second.lines());
        assert!(!leaked(&[&first, &second]), "{shown}");
        assert!(server.asked().iter().all(|asked| asked.header("x-key").is_none()));
    }
}

#[tokio::test]
async fn a_mirror_that_cannot_be_reached_is_tried_once_an_operation() {
    let mirror = BadRegistry::plain(|_, _| Reply::new(200, "").by(Delivery::HungUp));
    let identity = Identity::new("reg.test", Special::Nothing);
    let server = BadRegistry::secure(&identity, |_, _| Reply::new(200, "registry"));
    let place = Place::of(server.port());
    place.write("ca.crt", &identity.authority_pem);
    place.write("hosts.toml", &format!("[host.\"{}\"]\n", mirror.url("")));
    let registry = place.registry(&Access::anonymous(), false, HostSettings::default()).unwrap();
    for _ in 0..5 {
        assert_eq!(ask(&registry, DIGEST).await.unwrap(), "200 registry");
    }
    assert_eq!(mirror.lines().len(), 1);
}

#[tokio::test]
async fn the_administrators_headers_stay_with_their_host() {
    let other = BadRegistry::start("127.0.0.2", None, |_, _| Reply::new(200, "blob"));
    let location = other.url("/blob");
    let mirror = BadRegistry::plain(move |_, _| Reply::to(&location));
    let place = Place::of(1);
    place.write("hosts.toml", &format!("[host.\"{}\"]\n[host.\"{}\".header]\nX-Key = \"K3Y\"\n", mirror.url(""), mirror.url("")));
    assert_eq!(place.get(DIGEST).await.unwrap(), "200 blob");
    assert!(mirror.saw("K3Y") && !other.saw("K3Y"));
}

#[tokio::test]
async fn nothing_is_pushed_to_a_mirror_unless_it_says_so() {
    let place = Place::of(5000);
    let shown = |text: &str| {
        place.write("hosts.toml", text);
        let hosts = Hosts::new(&HostSettings { hosts_folders: vec![place.folder.path().to_owned()], ..HostSettings::default() }).unwrap();
        let endpoints = hosts.endpoints(&place.domain(), true).unwrap();
        endpoints.iter().map(|endpoint| endpoint.base.exposed().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(shown("[host.\"https://m\"]\n"), ["https://reg.test:5000/"]);
    assert_eq!(shown("[host.\"https://m\"]\ncapabilities = [\"pull\", \"push\"]\n"), ["https://m/", "https://reg.test:5000/"]);
    assert_eq!(shown("server = \"https://other.test\"\n"), ["https://other.test/"]);
}

#[tokio::test]
async fn mirrors_of_the_hub_come_from_the_flag() {
    let mirror = says("mirror");
    let hosts = Hosts::new(&HostSettings { registry_mirrors: vec![mirror.url("/hub")], ..HostSettings::default() }).unwrap();
    let registry = Registry::new(Transport::new(settings()).unwrap(), &hosts, "docker.io", &Access::with(somebody()), false).unwrap();
    assert_eq!(ask(&registry, "library/a/manifests/latest").await.unwrap(), "200 mirror");
    assert_eq!(mirror.lines(), ["GET /hub/v2/library/a/manifests/latest"]);
    assert!(!leaked(&[&mirror]));
}

/// Each line: what is special about the server, what the folder has, and what comes of it.
#[tokio::test]
async fn certificates_of_single_hosts() {
    let stranger = Identity::new("reg.test", Special::Nothing);
    for (name, special, own_authority, client, expected) in [
        ("reg.test", Special::Nothing, true, false, Ok(())),
        ("reg.test", Special::Nothing, false, false, Err("the certificate of \"reg.test\" is refused")),
        ("other.test", Special::Nothing, true, false, Err("the certificate of \"reg.test\" is refused")),
        ("reg.test", Special::Expired, true, false, Err("the certificate of \"reg.test\" is refused")),
        ("reg.test", Special::AsksClients, true, true, Ok(())),
        ("reg.test", Special::AsksClients, true, false, Err("reg.test")),
    ] {
        let identity = Identity::new(name, special);
        let server = BadRegistry::secure(&identity, |_, _| Reply::new(200, "registry"));
        let place = Place::of(server.port());
        place.write("ca.crt", if own_authority { &identity.authority_pem } else { &stranger.authority_pem });
        if client {
            place.write("me.cert", &identity.client_pem.0);
            place.write("me.key", &identity.client_pem.1);
        }
        match (place.get(DIGEST).await, expected) {
            (Ok(answer), Ok(())) => assert_eq!(answer, "200 registry"),
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{name} {special:?}: {error}"),
            (result, _) => panic!("{name} {special:?}: {result:?}"),
        }
        assert!(expected.is_ok() || server.asked().is_empty(), "{name} {special:?}");
    }
}

#[tokio::test]
async fn an_unchecked_host_is_the_listed_one_only() {
    let identity = Identity::new("nobody.test", Special::Expired);
    let server = BadRegistry::secure(&identity, |_, _| Reply::new(200, "registry"));
    let place = Place::of(server.port());
    let listed = |entry: &str| HostSettings { insecure_registries: vec![entry.to_owned()], ..HostSettings::default() };
    for (entry, expected) in
        [(place.domain(), true), ("reg.test".to_owned(), true), ("mirror.test".to_owned(), false), ("10.0.0.0/8".to_owned(), false)]
    {
        let registry = place.registry(&Access::with(somebody()), false, listed(&entry)).unwrap();
        assert_eq!(ask(&registry, DIGEST).await.is_ok(), expected, "{entry}");
    }
    assert!(place.registry(&Access::anonymous(), false, listed("https://reg.test/")).is_err());
}

#[tokio::test]
async fn a_secure_registry_is_never_asked_in_plain_http() {
    let server = says("plain");
    let place = Place::of(server.port());
    let error = place.get(DIGEST).await.unwrap_err();
    assert!(matches!(error, Error::PlainHttp { .. }), "{error:?}");
    assert_eq!((error.kind(), server.asked().len()), (ErrorKind::Unavailable, 0));
    let insecure = HostSettings { insecure_registries: vec![place.domain()], ..HostSettings::default() };
    assert_eq!(ask(&place.registry(&Access::anonymous(), false, insecure).unwrap(), DIGEST).await.unwrap(), "200 plain");
}

#[tokio::test]
async fn folders_that_cannot_be_used_are_told() {
    let identity = Identity::new("reg.test", Special::Nothing);
    let server = BadRegistry::secure(&identity, |_, _| Reply::new(200, "registry"));
    for (name, text, words) in [
        ("ca.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "an extra certificate"),
        ("me.cert", "x", "its key is missing"),
        ("hosts.toml", "[host.\n", "hosts.toml\": line"),
        ("hosts.toml", "[host.\"https://a\"]\nca = \"gone.crt\"\n", "gone.crt"),
    ] {
        let place = Place::of(server.port());
        place.write(name, text);
        let error = place.get(DIGEST).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}: {error:?}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
    assert_eq!(server.asked().len(), 0);
}
