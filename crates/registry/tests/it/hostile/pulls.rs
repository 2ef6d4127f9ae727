//! S-503 to S-508 through whole pulls: registries that lie, stall and break off. Whatever they do, nothing becomes visible that is not what was promised.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use shipway_model::{Classified as _, Digest, ErrorKind, ImageId};
use shipway_registry::{Access, Error, PullRequest, Puller, Wanted};
use shipway_store::{FsckOptions, Store, StoreConfig};
use shipway_testkit::{Asked, BadRegistry, Delivery, Reply, Tar, gzip, noise};

use super::{leaked, registry, somebody};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An honest image of one layer, in pieces that a case may spoil before they are put together.
#[derive(Clone)]
struct Image {
    layer: Vec<u8>,
    /// What the manifest says about the layer.
    layer_text: Option<String>,
    config: Vec<u8>,
    config_text: Option<String>,
    /// The manifest itself, when it is not made of the above, and its type.
    manifest: Option<Vec<u8>>,
    media_type: String,
    /// More documents by digest.
    more: Vec<Vec<u8>>,
}

impl Image {
    fn honest() -> Self {
        let tar = Tar::new().file("file", noise(7, 150_000)).finish();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            Digest::sha256_of(&tar)
        );
        Self {
            layer: gzip(&tar),
            layer_text: None,
            config: config.into_bytes(),
            config_text: None,
            manifest: None,
            media_type: MANIFEST.to_owned(),
            more: Vec::new(),
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut image = Self::honest();
        change(&mut image);
        image
    }

    fn manifest(&self) -> Vec<u8> {
        let layer = self.layer_text.clone().unwrap_or_else(|| descriptor(GZIP, &self.layer));
        let config = self.config_text.clone().unwrap_or_else(|| descriptor(CONFIG, &self.config));
        let made = || format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{layer}]}}"#).into_bytes();
        self.manifest.clone().unwrap_or_else(made)
    }

    /// What an honest registry with it answers.
    fn answer(&self, asked: &Asked) -> Reply {
        let documents = [&self.layer, &self.config].into_iter().chain(&self.more);
        let mut blobs: HashMap<String, Vec<u8>> = documents.map(|bytes| (Digest::sha256_of(bytes).to_string(), bytes.clone())).collect();
        let manifest = self.manifest();
        blobs.insert(Digest::sha256_of(&manifest).to_string(), manifest.clone());
        let name = asked.path().rsplit('/').next().unwrap_or_default();
        let bytes = if name == "latest" { Some(manifest) } else { blobs.remove(name) };
        let Some(bytes) = bytes else { return Reply::refusal(404, "MANIFEST_UNKNOWN", "manifest unknown") };
        let digest = Digest::sha256_of(&bytes).to_string();
        let media_type = match asked.path().contains("/manifests/") {
            true if bytes.windows(11).any(|word| word == b"\"manifests\"") => INDEX,
            true => &self.media_type,
            false => "application/octet-stream",
        };
        let from = asked.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let reply = match from {
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Reply::new(206, bytes[from..].to_vec()).with("Content-Range", &range)
            }
            None => Reply::new(200, bytes),
        };
        reply.with("Content-Type", media_type).with("Docker-Content-Digest", &digest)
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    text(media_type, &Digest::sha256_of(bytes).to_string(), &bytes.len().to_string())
}

fn text(media_type: &str, digest: &str, size: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}

async fn pull(store: &Store, server: &BadRegistry) -> Result<ImageId, Error> {
    let registry = registry(server, &Access::with(somebody()));
    let puller = Puller::new(store.clone(), 3);
    let request = PullRequest { repository: "app".to_owned(), wanted: Wanted::Tag("latest".to_owned()), platform: None };
    let chosen = puller.choose(&registry, &request).await?;
    let sink: shipway_registry::TransferSink = Arc::new(|_| {});
    let pulled = puller.fetch(&registry, &request, chosen, &sink).await?;
    let images = store.clone();
    Ok(store.publish(move |txn| images.images().put(txn, pulled.image)).unwrap())
}

type Spoil = Arc<dyn Fn(&Asked, Reply) -> Reply + Send + Sync>;

/// Pulls `image` from a registry whose answers go through `spoil`.
async fn attempt(image: Image, spoil: Spoil) -> (Result<ImageId, Error>, BadRegistry, Store, tempfile::TempDir) {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let store = Store::open(StoreConfig { root: folder.path().to_owned() }).unwrap();
    let server = BadRegistry::plain(move |asked, _| spoil(asked, image.answer(asked)));
    (pull(&store, &server).await, server, store, folder)
}

/// Runs a table, some cases at a time.
async fn refuse(cases: Vec<(&'static str, Image, Spoil, ErrorKind, &'static str)>) {
    use futures_util::StreamExt as _;
    let work = cases.into_iter().map(|(name, image, spoil, kind, words)| async move {
        let (result, server, store, _folder) = attempt(image, spoil).await;
        let Err(error) = result else { return Some(format!("{name}: it was pulled")) };
        let visible = store.images().list().len();
        store.collect().unwrap();
        let left = store.layers().len();
        let findings = store.fsck(FsckOptions { strict: true, repair: false }).unwrap().findings;
        let sound = visible == 0 && left == 0 && findings.is_empty() && !leaked(&[&server]) && server.sent() < 48 << 20;
        let told = error.kind() == kind && error.to_string().contains(words);
        (!sound || !told).then(|| {
            format!("{name}: {visible} images, {left} layers, {findings:?}, {} bytes: {:?} {error}: {error:?}", server.sent(), error.kind())
        })
    });
    let wrong: Vec<String> = futures_util::stream::iter(work).buffer_unordered(4).filter_map(std::future::ready).collect().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn honest() -> Spoil {
    Arc::new(|_, reply| reply)
}

/// Spoils answers whose path has `part` in it.
fn at(part: &str, change: impl Fn(Reply) -> Reply + Send + Sync + 'static) -> Spoil {
    let part = part.to_owned();
    Arc::new(move |asked, reply| if asked.path().contains(&part) && asked.method == "GET" { change(reply) } else { reply })
}

/// Spoils the layer only.
fn layer(change: impl Fn(Reply) -> Reply + Send + Sync + 'static) -> Spoil {
    at(&Digest::sha256_of(&Image::honest().layer).hex(), change)
}

fn config(change: impl Fn(Reply) -> Reply + Send + Sync + 'static) -> Spoil {
    at(&Digest::sha256_of(&Image::honest().config).hex(), change)
}

#[tokio::test]
async fn an_honest_registry_is_pulled_from() {
    let (result, server, store, _folder) = attempt(Image::honest(), honest()).await;
    assert_eq!(store.images().list().len(), 1, "{result:?}");
    assert!(!leaked(&[&server]));
}

#[tokio::test]
async fn manifests_that_are_refused() {
    let body = |bytes: &'static str| Image::with(|image| image.manifest = Some(bytes.as_bytes().to_vec()));
    let mut nested = Image::honest();
    let mut inner = nested.manifest();
    for _ in 0..6 {
        let entry = descriptor(if inner.len() < 600 { INDEX } else { MANIFEST }, &inner);
        nested.more.push(inner);
        inner = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{entry}]}}"#).into_bytes();
    }
    nested.manifest = Some(inner);
    let layer_text = |digest: &str, size: &str| {
        let text = text(GZIP, digest, size);
        Image::with(|image| image.layer_text = Some(text))
    };
    let good = Digest::sha256_of(b"x").to_string();
    refuse(vec![
        ("two things at once", body(r#"{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}"#), honest(), ErrorKind::Corrupt, "at once"),
        ("schema 1", body(r#"{"schemaVersion":1,"fsLayers":[]}"#), honest(), ErrorKind::Corrupt, "schema version 1"),
        ("a page", body("<html>sign in</html>"), honest(), ErrorKind::Corrupt, ""),
        ("nothing", body(""), honest(), ErrorKind::Corrupt, ""),
        ("another type", Image::with(|image| image.media_type = INDEX.to_owned()), honest(), ErrorKind::Corrupt, ""),

        (
            "endless",
            Image::honest(),
            at("/manifests/", |reply| reply.by(Delivery::Endless(1 << 34))),
            ErrorKind::Corrupt,
            "more than 4194304 bytes",
        ),
        (
            "too large",
            Image::honest(),
            at("/manifests/", |_| Reply::new(200, vec![b' '; 5 << 20])),
            ErrorKind::Corrupt,
            "more than 4194304 bytes",
        ),
        ("another digest", Image::honest(), at("/manifests/", |mut reply| {
            reply.headers.retain(|(name, _)| name != "Docker-Content-Digest");
            reply.with("Docker-Content-Digest", &Digest::sha256_of(b"else").to_string())
        }), ErrorKind::Corrupt, ""),
        ("deep", nested, honest(), ErrorKind::Corrupt, "nested too deep"),
        ("digest is a path", layer_text("sha256:../../../etc/passwd", "5"), honest(), ErrorKind::Corrupt, ""),
        ("digest in capitals", layer_text(&good.to_uppercase(), "5"), honest(), ErrorKind::Corrupt, ""),
        ("digest of another kind", layer_text("md5:d41d8cd98f00b204e9800998ecf8427e", "5"), honest(), ErrorKind::Corrupt, ""),
        ("digest is empty", layer_text("", "5"), honest(), ErrorKind::Corrupt, ""),
        ("negative size", layer_text(&good, "-1"), honest(), ErrorKind::Corrupt, ""),
        ("size is a word", layer_text(&good, "\"5\""), honest(), ErrorKind::Corrupt, ""),
        ("not there", Image::honest(), at("/manifests/", |_| Reply::refusal(404, "MANIFEST_UNKNOWN", "manifest unknown")), ErrorKind::NotFound, "manifest unknown"),
        ("denied", Image::honest(), at("/manifests/", |_| Reply::refusal(403, "DENIED", "go away")), ErrorKind::Forbidden, "denied: go away"),
        ("many requests", Image::honest(), at("/manifests/", |_| Reply::refusal(429, "TOOMANYREQUESTS", "slow down").with("Retry-After", "99")), ErrorKind::Unavailable, "slow down"),
        ("no platform", body(r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":2,"platform":{"os":"plan9","architecture":"sparc"}}]}"#), honest(), ErrorKind::NotFound, "no matching manifest"),
    ])
    .await;
}

#[tokio::test]
async fn configs_that_are_refused() {
    let config_of = |bytes: &'static str| Image::with(|image| image.config = bytes.as_bytes().to_vec());
    let size = |size: &str| {
        let text = text(CONFIG, &Digest::sha256_of(&Image::honest().config).to_string(), size);
        Image::with(|image| image.config_text = Some(text))
    };
    refuse(vec![
        ("other bytes", Image::honest(), config(|mut reply| {
            reply.body[5] ^= 1;
            reply
        }), ErrorKind::Corrupt, ""),
        ("fewer bytes", Image::honest(), config(|mut reply| {
            reply.body.truncate(10);
            reply
        }), ErrorKind::Corrupt, ""),
        ("more bytes", Image::honest(), config(|mut reply| {
            reply.body.extend(b"    ");
            reply
        }), ErrorKind::Corrupt, ""),
        ("another size", size("17"), honest(), ErrorKind::Corrupt, ""),
        ("a huge size", size("99999999999"), honest(), ErrorKind::Corrupt, ""),
        ("no document", config_of("<html>"), honest(), ErrorKind::Corrupt, ""),
        ("no layers", config_of(r#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#), honest(), ErrorKind::Corrupt, ""),
        ("another layer", config_of(r#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}"#), honest(), ErrorKind::Corrupt, ""),
        ("broken off", Image::honest(), config(|reply| reply.by(Delivery::Truncated(10))), ErrorKind::Unavailable, "broke"),
    ])
    .await;
}

#[tokio::test]
async fn layers_that_are_refused() {
    let longer = Image::with(|image| {
        let digest = Digest::sha256_of(&image.layer).to_string();
        image.layer_text = Some(text(GZIP, &digest, &(image.layer.len() + 1).to_string()));
    });
    let shorter = Image::with(|image| {
        let digest = Digest::sha256_of(&image.layer).to_string();
        image.layer_text = Some(text(GZIP, &digest, &(image.layer.len() - 1).to_string()));
    });
    refuse(vec![
        (
            "other bytes",
            Image::honest(),
            layer(|mut reply| {
                let middle = reply.body.len() / 2;
                reply.body[middle] ^= 1;
                reply
            }),
            ErrorKind::Corrupt,
            "",
        ),
        (
            "other bytes at the end",
            Image::honest(),
            layer(|mut reply| {
                *reply.body.last_mut().unwrap() ^= 1;
                reply
            }),
            ErrorKind::Corrupt,
            "",
        ),
        (
            "fewer bytes",
            Image::honest(),
            layer(|mut reply| {
                reply.body.pop();
                reply
            }),
            ErrorKind::Corrupt,
            "",
        ),
        (
            "more bytes",
            Image::honest(),
            layer(|mut reply| {
                reply.body.push(0);
                reply
            }),
            ErrorKind::Corrupt,
            "",
        ),
        ("longer than it is said to be", longer, honest(), ErrorKind::Corrupt, ""),
        ("shorter than it is said to be", shorter, honest(), ErrorKind::Corrupt, ""),
        ("broken off every time", Image::honest(), layer(|reply| reply.by(Delivery::Truncated(1000))), ErrorKind::Unavailable, "broke"),
        ("reset every time", Image::honest(), layer(|reply| reply.by(Delivery::Reset(1000))), ErrorKind::Unavailable, "broke"),
        (
            "silent in the middle",
            Image::honest(),
            layer(|reply| reply.by(Delivery::Hanging(1000))),
            ErrorKind::Unavailable,
            "within 700 ms",
        ),
        (
            "a trickle",
            Image::honest(),
            layer(|reply| reply.by(Delivery::Dripping(40, Duration::from_millis(20)))),
            ErrorKind::Unavailable,
            "within 700 ms",
        ),
        ("silent at once", Image::honest(), layer(|reply| reply.after(Duration::from_secs(9))), ErrorKind::Unavailable, "within 700 ms"),
        ("not there", Image::honest(), layer(|_| Reply::refusal(404, "BLOB_UNKNOWN", "blob unknown")), ErrorKind::NotFound, "blob unknown"),
        ("denied", Image::honest(), layer(|_| Reply::refusal(403, "DENIED", "no")), ErrorKind::Forbidden, "denied"),
        ("a page", Image::honest(), layer(|_| Reply::new(200, "<html>sign in</html>")), ErrorKind::Corrupt, ""),
        ("redirected in a circle", Image::honest(), layer(|_| Reply::to("/v2/app/blobs/x").with("X", "y")), ErrorKind::NotFound, ""),
    ])
    .await;
}

#[tokio::test]
async fn a_blob_elsewhere_is_fetched_without_credentials() {
    let image = Image::honest();
    let bytes = image.layer.clone();
    let other = BadRegistry::start("127.0.0.2", None, move |_, _| Reply::new(200, bytes.clone()));
    let location = other.url("/bucket");
    let (result, server, store, _folder) = attempt(
        image,
        Arc::new(move |asked: &Asked, reply: Reply| match asked.header("authorization") {
            None => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=x"),
            Some(_) if asked.path().contains("/blobs/") && reply.body.len() > 1000 => Reply::to(&location),
            Some(_) => reply,
        }),
    )
    .await;
    assert_eq!(store.images().list().len(), 1, "{result:?}");
    assert!(leaked(&[&server]) && !leaked(&[&other]));
    assert!(other.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[tokio::test]
async fn a_registry_that_ignores_ranges_is_pulled_from_all_the_same() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let whole = Image::honest().layer;
    let spoil = layer(move |reply| match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => reply.by(Delivery::Truncated(50_000)),
        _ => Reply::new(200, whole.clone()),
    });
    let (result, _server, store, _folder) = attempt(Image::honest(), spoil).await;
    assert_eq!(store.images().list().len(), 1, "{result:?}");
}

#[tokio::test]
async fn an_endless_layer_ends_where_it_should() {
    let (result, server, store, _folder) = attempt(Image::honest(), layer(|reply| reply.by(Delivery::Endless(1 << 34)))).await;
    assert_eq!(store.images().list().len(), 1, "{result:?}");
    assert!(server.sent() < 48 << 20, "{}", server.sent());
}

/// What a signature is looked for is the digest of what was chosen: a tag that moves right after that changes nothing.
#[tokio::test]
async fn what_was_chosen_is_what_comes() {
    let first = Image::honest();
    let second =
        Image::with(|image| image.config = String::from_utf8(image.config.clone()).unwrap().replace("{}", r#"{"Env":["X=evil"]}"#).into());
    let (chosen_digest, chosen_image) = (Digest::sha256_of(&first.manifest()), Digest::sha256_of(&first.config));
    let asked_before = std::sync::atomic::AtomicBool::new(false);
    let server = BadRegistry::plain(move |asked, _| {
        let by_tag = asked.path().ends_with("/latest");
        let moved = by_tag && asked_before.swap(true, std::sync::atomic::Ordering::Relaxed);
        let reply = if moved { second.answer(asked) } else { first.answer(asked) };
        if reply.status == 404 { second.answer(asked) } else { reply }
    });
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let store = Store::open(StoreConfig { root: folder.path().to_owned() }).unwrap();
    let registry = registry(&server, &Access::anonymous());
    let puller = Puller::new(store.clone(), 3);
    let request = PullRequest { repository: "app".to_owned(), wanted: Wanted::Tag("latest".to_owned()), platform: None };
    let chosen = puller.choose(&registry, &request).await.unwrap();
    assert_eq!(chosen.digests(), [chosen_digest]);
    let sink: shipway_registry::TransferSink = Arc::new(|_| {});
    let pulled = puller.fetch(&registry, &request, chosen, &sink).await.unwrap();
    assert_eq!(pulled.digest, chosen_digest);
    assert_eq!(pulled.image.manifest.as_ref().map(|manifest| manifest.digest), Some(chosen_digest));
    assert_eq!(Digest::sha256_of(&pulled.image.config_bytes), chosen_image);
    assert_eq!(server.asked().iter().filter(|asked| asked.path().ends_with("/latest")).count(), 1);
    assert!(puller.choose(&registry, &request).await.unwrap().digests() != [chosen_digest], "the tag has moved");
}
