//! Pulling from registries that behave, break, and lie.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use shipway_archive::compress::zstd_encoder;
use shipway_model::{DiffId, Digest, ImageId, Platform};
use shipway_registry::{
    Access, Error, HostSettings, Hosts, PullRequest, Puller, Registry, TransferEvent, TransferState, Transport, Wanted,
};
use shipway_store::{FsckOptions, Store, StoreConfig};
use shipway_testkit::{Tar, gzip, noise};

use crate::server::{Reply, Server, Then, header, raw, reply, settings};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// What a registry has, by path below `/v2/app/`; each with its media type.
#[derive(Default, Clone)]
struct Served(HashMap<String, (String, Vec<u8>)>);

impl Served {
    fn blob(&mut self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::sha256_of(&bytes);
        self.0.insert(format!("blobs/{digest}"), ("application/octet-stream".to_owned(), bytes));
        digest
    }

    fn manifest(&mut self, name: &str, media_type: &str, bytes: Vec<u8>) -> Digest {
        let digest = Digest::sha256_of(&bytes);
        for name in [name, &digest.to_string()] {
            self.0.insert(format!("manifests/{name}"), (media_type.to_owned(), bytes.clone()));
        }
        digest
    }

    fn answer(&self, head: &str) -> Reply {
        let path = head.split(' ').nth(1).unwrap().strip_prefix("/v2/app/").unwrap_or_default();
        let Some((media_type, bytes)) = self.0.get(path) else {
            return reply("404 Not Found", "", br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#);
        };
        let mut headers = format!("Content-Type: {media_type}\r\n");
        if path.starts_with("manifests/") {
            headers += &format!("Docker-Content-Digest: {}\r\n", Digest::sha256_of(bytes));
        }
        if head.starts_with("HEAD ") {
            return raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{headers}\r\n", bytes.len()), Then::KeepOpen);
        }
        if let Some(from) = header(head, "range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()) {
            let last = bytes.len() - 1;
            headers += &format!("Content-Range: bytes {from}-{last}/{}\r\n", bytes.len());
            return reply("206 Partial Content", &headers, &bytes[from..]);
        }
        reply("200 OK", &headers, bytes)
    }
}

/// The tar of one file whose content hardly compresses.
fn tar(name: &str, size: usize) -> Vec<u8> {
    Tar::new().file(name, noise(u32::try_from(name.len()).unwrap(), size)).finish()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut out = zstd_encoder(Vec::new(), 3).unwrap();
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn config(tars: &[&[u8]], architecture: &str) -> Vec<u8> {
    let diff_ids: Vec<String> = tars.iter().map(|tar| format!("\"{}\"", Digest::sha256_of(tar))).collect();
    format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    )
    .into_bytes()
}

/// Manifest text of a config and layers, each with type, digest and size.
fn manifest(config: (&Digest, usize), layers: &[(&str, Digest, usize)]) -> Vec<u8> {
    let layers: Vec<String> = layers
        .iter()
        .map(|(media_type, digest, size)| format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#))
        .collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"{}","size":{}}},"layers":[{}]}}"#,
        config.0,
        config.1,
        layers.join(",")
    )
    .into_bytes()
}

/// A registry with the image `app:latest` of two layers, of 300 kB each.
fn two_layers(architecture: &str) -> (Served, Vec<Digest>) {
    let mut served = Served::default();
    let (one, other) = (tar("one", 300_000), tar("other", 300_000));
    let config = config(&[&one, &other], architecture);
    let (packed, squeezed) = (gzip(&one), zstd(&other));
    let layers = [(GZIP, served.blob(packed.clone()), packed.len()), (ZSTD, served.blob(squeezed.clone()), squeezed.len())];
    let text = manifest((&served.blob(config.clone()), config.len()), &layers);
    served.manifest("latest", MANIFEST, text);
    (served, layers.iter().map(|layer| layer.1).collect())
}

struct World {
    folder: tempfile::TempDir,
    store: Store,
    events: Arc<Mutex<Vec<TransferEvent>>>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let store = Store::open(StoreConfig { root: folder.path().to_owned() }).unwrap();
        Self { folder, store, events: Arc::default() }
    }

    async fn pull(&self, server: &Server, platform: Option<&str>) -> Result<ImageId, Error> {
        let hosts = Hosts::new(&HostSettings::default()).unwrap();
        let transport = Transport::new(settings()).unwrap();
        let registry = Registry::new(transport, &hosts, &format!("127.0.0.1:{}", server.port), &Access::anonymous(), false).unwrap();
        let puller = Puller::new(self.store.clone(), 3);
        let platform = platform.map(|text| text.parse::<Platform>().unwrap());
        let request = PullRequest { repository: "app".to_owned(), wanted: Wanted::Tag("latest".to_owned()), platform };
        let chosen = puller.choose(&registry, &request).await?;
        let log = Arc::clone(&self.events);
        let sink: shipway_registry::TransferSink = Arc::new(move |event| log.lock().unwrap().push(event));
        let pulled = puller.fetch(&registry, &request, chosen, &sink).await?;
        let store = self.store.clone();
        let id = self.store.publish(move |txn| {
            let id = store.images().put(txn, pulled.image)?;
            for (diff_id, form) in pulled.forms {
                store.remember_representation(txn, diff_id, form)?;
            }
            Ok(id)
        });
        Ok(id.unwrap())
    }

    fn said(&self, state: &TransferState) -> usize {
        self.events.lock().unwrap().iter().filter(|event| event.state == *state).count()
    }

    fn assert_sound(&self) {
        assert_eq!(self.store.fsck(FsckOptions { strict: true, repair: false }).unwrap().findings, vec![]);
    }

    fn assert_nothing_visible(&self) {
        assert_eq!(self.store.images().list(), vec![]);
        // A layer that was given up is noticed by its unpacker a moment later.
        for patience in (0..100).rev() {
            self.store.publish(|_| Ok(())).unwrap();
            self.store.collect().unwrap();
            if self.store.layers().is_empty() && self.store.blobs().list().is_empty() {
                break;
            }
            assert!(patience > 0, "{:?} {:?}", self.store.layers(), self.store.blobs().list());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        self.assert_sound();
    }
}

fn blob_requests(server: &Server) -> Vec<String> {
    server.requests().into_iter().filter(|head| head.starts_with("GET /v2/app/blobs/")).collect()
}

#[tokio::test]
async fn an_image_comes_whole_and_only_once() {
    let (served, layers) = two_layers("amd64");
    let server = Server::plain(move |head, _| served.answer(head)).await;
    let world = World::new();
    let id = world.pull(&server, None).await.unwrap();
    let image = world.store.images().get(&id).unwrap();
    assert_eq!(image.layers.len(), 2);
    for (layer, stored) in image.layers.iter().zip(&layers) {
        let diff_id = world.store.layer(layer).unwrap().diff_id;
        let forms = world.store.representations(&diff_id);
        assert_eq!((forms.len(), forms[0].digest), (1, *stored));
        assert_eq!(forms[0].origins, [format!("127.0.0.1:{}/app", server.port)]);
        assert!(world.store.blobs().has(stored));
        let mut tar = Vec::new();
        world.store.write_layer(layer, &mut tar).unwrap();
        assert_eq!(DiffId(Digest::sha256_of(&tar)), diff_id);
    }
    world.assert_sound();
    assert_eq!(
        (world.said(&TransferState::Announced), world.said(&TransferState::Downloaded), world.said(&TransferState::Pulled)),
        (2, 2, 2)
    );
    // The config and two layers; the second time the config only.
    assert_eq!(blob_requests(&server).len(), 3);
    assert_eq!(world.pull(&server, None).await.unwrap(), id);
    assert_eq!((blob_requests(&server).len(), world.said(&TransferState::Exists)), (4, 2));
    world.assert_sound();
}

#[tokio::test]
async fn a_transfer_that_breaks_goes_on_where_it_was() {
    let (served, layers) = two_layers("amd64");
    let (wanted, broken) = (format!("GET /v2/app/blobs/{}", layers[0]), Mutex::new(0));
    let server = Server::plain(move |head, _| {
        let whole = served.answer(head);
        let mut broken = broken.lock().unwrap();
        if head.starts_with(&wanted) && *broken < 2 {
            *broken += 1;
            return raw(whole.bytes[..100_000].to_vec(), Then::Close);
        }
        whole
    })
    .await;
    let world = World::new();
    world.pull(&server, None).await.unwrap();
    let from =
        |head: &String| header(head, "range").map_or(0, |range| range["bytes=".len()..].trim_end_matches('-').parse::<u64>().unwrap());
    let begins: Vec<u64> = blob_requests(&server).iter().filter(|head| head.contains(&layers[0].hex())).map(from).collect();
    assert!(begins.len() == 3 && begins[0] == 0 && begins.is_sorted_by(|one, other| one < other), "{begins:?}");
    world.assert_sound();
}

#[tokio::test]
async fn the_next_pull_goes_on_where_the_last_one_gave_up() {
    let (served, layers) = two_layers("amd64");
    let broken = Arc::new(Mutex::new(true));
    let (wanted, is_broken) = (format!("GET /v2/app/blobs/{}", layers[0]), Arc::clone(&broken));
    let server = Server::plain(move |head, _| {
        let whole = served.answer(head);
        let cut = head.starts_with(&wanted) && *is_broken.lock().unwrap();
        if cut { raw(whole.bytes[..whole.bytes.len().min(50_000)].to_vec(), Then::Close) } else { whole }
    })
    .await;
    let world = World::new();
    let error = world.pull(&server, None).await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error:?}");
    world.assert_nothing_visible();
    *broken.lock().unwrap() = false;
    let asked = blob_requests(&server).len();
    world.pull(&server, None).await.unwrap();
    let range = blob_requests(&server)[asked..]
        .iter()
        .find(|head| head.contains(&layers[0].hex()))
        .and_then(|head| header(head, "range").map(str::to_owned));
    let from: u64 = range.unwrap().trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
    assert!(from > 100_000, "{from}");
    world.assert_sound();
}

#[tokio::test]
async fn a_wrong_beginning_is_thrown_away() {
    let (served, layers) = two_layers("amd64");
    let server = Server::plain(move |head, _| served.answer(head)).await;
    let world = World::new();
    std::fs::write(world.folder.path().join("partial").join(layers[0].hex()), vec![7; 1000]).unwrap();
    world.pull(&server, None).await.unwrap();
    assert_eq!(std::fs::read_dir(world.folder.path().join("partial")).unwrap().count(), 0);
    world.assert_sound();
}

#[tokio::test]
async fn of_an_index_the_entry_for_the_platform_is_taken() {
    let (mut served, _) = two_layers("arm64");
    let inner = served.0["manifests/latest"].1.clone();
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{MANIFEST}","digest":"{}","size":{},"platform":{{"os":"linux","architecture":"arm64"}}}}]}}"#,
        Digest::sha256_of(&inner),
        inner.len()
    );
    served.manifest("latest", INDEX, index.into_bytes());
    let server = Server::plain(move |head, _| served.answer(head)).await;
    let world = World::new();
    let id = world.pull(&server, Some("linux/arm64")).await.unwrap();
    assert_eq!(world.store.images().get(&id).unwrap().manifest.clone().unwrap().digest, Digest::sha256_of(&inner));
    let error = world.pull(&server, Some("linux/s390x")).await.unwrap_err();
    assert_eq!(error.to_string(), "no matching manifest for linux/s390x in the manifest list entries");
    world.assert_sound();
}

#[tokio::test]
async fn registries_that_lie_are_found_out() {
    type Lie = fn(&mut Served, &[Digest]);
    let lies: [(&str, Lie); 9] = [
        ("other bytes", |served, layers| {
            let blob = served.0.get_mut(&format!("blobs/{}", layers[0])).unwrap();
            let at = blob.1.len() - 2000;
            blob.1[at] ^= 1;
        }),
        ("fewer bytes", |served, layers| {
            let _ = served.0.get_mut(&format!("blobs/{}", layers[0])).unwrap().1.pop();
        }),
        ("more bytes", |served, layers| served.0.get_mut(&format!("blobs/{}", layers[0])).unwrap().1.push(0)),
        ("another layer", |served, layers| {
            let other = served.0[&format!("blobs/{}", layers[1])].clone();
            served.0.insert(format!("blobs/{}", layers[0]), other);
        }),
        ("no layer", |served, layers| drop(served.0.remove(&format!("blobs/{}", layers[0])))),
        ("a manifest that is an index too", |served, _| {
            let text = String::from_utf8(served.0["manifests/latest"].1.clone()).unwrap();
            served.manifest("latest", MANIFEST, text.replace("\"layers\"", "\"manifests\":[],\"layers\"").into_bytes());
        }),
        ("a manifest sent as something else", |served, _| served.0.get_mut("manifests/latest").unwrap().0 = INDEX.to_owned()),
        ("a layer too many", |served, layers| {
            let text = String::from_utf8(served.0["manifests/latest"].1.clone()).unwrap();
            let more = format!("\"layers\":[{{\"mediaType\":\"{GZIP}\",\"digest\":\"{}\",\"size\":1}},", layers[0]);
            served.manifest("latest", MANIFEST, text.replace("\"layers\":[", &more).into_bytes());
        }),
        ("another config", |served, layers| {
            let (one, other) = (tar("one", 5), tar("other", 5));
            let config = config(&[&one, &other], "amd64");
            let sizes: Vec<usize> = layers.iter().map(|layer| served.0[&format!("blobs/{layer}")].1.len()).collect();
            let text = manifest((&served.blob(config.clone()), config.len()), &[(GZIP, layers[0], sizes[0]), (ZSTD, layers[1], sizes[1])]);
            served.manifest("latest", MANIFEST, text);
        }),
    ];
    for (name, lie) in lies {
        let (mut served, layers) = two_layers("amd64");
        lie(&mut served, &layers);
        let server = Server::plain(move |head, _| served.answer(head)).await;
        let world = World::new();
        let error = world.pull(&server, None).await.expect_err(name);
        assert!(
            matches!(error, Error::Content { .. } | Error::Store(_) | Error::Refused { .. } | Error::Broken { .. }),
            "{name}: {error:?}"
        );
        world.assert_nothing_visible();
        // What was wrong is not kept to be gone on with.
        let kept = world.folder.path().join("partial").join(layers[0].hex());
        assert!(!kept.exists() || name == "another config", "{name}");
    }
}

#[tokio::test]
async fn what_is_no_image_is_not_pulled() {
    let of = |config_type: &str, more: &str| {
        let mut served = Served::default();
        let config = b"{}".to_vec();
        let digest = served.blob(config);
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}",{more}"config":{{"mediaType":"{config_type}","digest":"{digest}","size":2}},"layers":[]}}"#
        );
        served.manifest("latest", OCI_MANIFEST, text.into_bytes());
        served
    };
    for (config_type, more, named) in [
        ("application/vnd.oci.empty.v1+json", r#""artifactType":"application/x","#, "application/x"),
        ("application/vnd.oci.empty.v1+json", "", "application/vnd.oci.empty.v1+json"),
        ("application/vnd.cncf.helm.config.v1+json", "", "application/vnd.cncf.helm.config.v1+json"),
    ] {
        let served = of(config_type, more);
        let server = Server::plain(move |head, _| served.answer(head)).await;
        let world = World::new();
        let error = world.pull(&server, None).await.unwrap_err();
        assert_eq!(error.to_string(), format!("it is no image but an artifact of type \"{named}\""));
        assert_eq!(blob_requests(&server), Vec::<String>::new(), "nothing of it is fetched");
        world.assert_nothing_visible();
    }
}

#[tokio::test]
async fn layers_of_dockers_zstd_type_are_layers() {
    let mut served = Served::default();
    let tar = tar("one", 10_000);
    let (config, packed) = (config(&[&tar], "amd64"), zstd(&tar));
    let layers = [("application/vnd.docker.image.rootfs.diff.tar.zstd", served.blob(packed.clone()), packed.len())];
    let text = manifest((&served.blob(config.clone()), config.len()), &layers);
    served.manifest("latest", MANIFEST, text);
    let server = Server::plain(move |head, _| served.answer(head)).await;
    let world = World::new();
    world.pull(&server, None).await.unwrap();
    world.assert_sound();
}
