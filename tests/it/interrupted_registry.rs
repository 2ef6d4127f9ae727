//! `kill -9` and power cuts of `shipway registry serve`: what it acknowledged is there, what it did not is there whole or not at all, and an upload that
//! broke off is gone on with or unknown.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use shipway_testkit::{Disk, OwnRegistry, eventually, noise, sha256};

use crate::BINARY;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Collects all the time, whatever is not needed.
const EAGER: [&str; 4] = ["--gc-interval", "1s", "--gc-grace", "0s"];

/// An answer, as far as these tests look.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(found, _)| found.eq_ignore_ascii_case(name)))
            .map(|(_, value)| value)
    }
}

/// One request on a connection of its own; `body` may be less than `length` says, then the connection stays open for nothing more.
fn begin(host: &str, line: &str, headers: &[(&str, &str)], length: usize, body: &[u8]) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(host)?;
    let mut head = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n");
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(body)?;
    Ok(stream)
}

fn try_ask(host: &str, line: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<Answer> {
    let mut stream = begin(host, line, headers, body.len(), body)?;
    let mut whole = Vec::new();
    stream.read_to_end(&mut whole)?;
    let end = whole.windows(4).position(|word| word == b"\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(&whole[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
    Ok(Answer { status, head, body: whole[end + 4..].to_vec() })
}

#[track_caller]
fn ask(registry: &OwnRegistry, line: &str, headers: &[(&str, &str)], body: &[u8], status: u16) -> Answer {
    let answer = try_ask(registry.host(), line, headers, body).unwrap();
    assert_eq!(answer.status, status, "{line}: {}\n{}", answer.head, String::from_utf8_lossy(&answer.body));
    answer
}

/// Where a fresh upload is.
fn upload(registry: &OwnRegistry) -> String {
    ask(registry, "POST /v2/app/blobs/uploads/", &[], b"", 202).header("location").unwrap().to_owned()
}

fn put_blob(registry: &OwnRegistry, bytes: &[u8]) -> String {
    let digest = sha256(bytes);
    ask(registry, &format!("POST /v2/app/blobs/uploads/?digest={digest}"), &[], bytes, 201);
    digest
}

fn manifest_of(digest: &str, size: usize) -> Vec<u8> {
    let config = format!(r#"{{"mediaType":"x/y","digest":"{digest}","size":{size}}}"#);
    format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[]}}"#).into_bytes()
}

/// Of an upload that broke off: how many bytes it has, if it is still known.
fn received(registry: &OwnRegistry, location: &str) -> Option<usize> {
    let answer = try_ask(registry.host(), &format!("GET {location}"), &[], b"").unwrap();
    if answer.status == 404 {
        assert!(String::from_utf8_lossy(&answer.body).contains("BLOB_UPLOAD_UNKNOWN"), "{answer:?}");
        return None;
    }
    assert_eq!(answer.status, 204, "{answer:?}");
    let last: usize = answer.header("range").unwrap().strip_prefix("0-").unwrap().parse().unwrap();
    Some(if last == 0 { 0 } else { last + 1 })
}

/// The image that was acknowledged, after collections that would take what they may.
fn assert_whole(registry: &OwnRegistry, tag: &str, blob: &[u8]) {
    let digest = sha256(blob);
    let manifest = ask(registry, &format!("GET /v2/app/manifests/{tag}"), &[], b"", 200);
    assert_eq!(manifest.body, manifest_of(&digest, blob.len()));
    assert_eq!(ask(registry, &format!("GET /v2/app/blobs/{digest}"), &[], b"", 200).body, blob);
}

#[test]
fn an_upload_that_a_kill_interrupts_is_gone_on_with() {
    let mut registry = OwnRegistry::start(BINARY, &[]);
    let blob = noise(1, 3 << 20);
    let digest = sha256(&blob);
    let location = upload(&registry);
    // One chunk that is acknowledged, and half of another.
    ask(&registry, &format!("PATCH {location}"), &[("Content-Range", "0-999999")], &blob[..1_000_000], 202);
    let broken = begin(registry.host(), &format!("PATCH {location}"), &[], 2_000_000, &blob[1_000_000..2_500_000]).unwrap();
    let file = registry.storage().join("uploads").join(location.rsplit('/').next().unwrap());
    eventually("bytes of the second chunk", 20, || file.metadata().is_ok_and(|found| found.len() > 1_000_000).then_some(()));
    registry.kill_9();
    drop(broken);
    registry.restart();
    let at = received(&registry, &location).expect("the machine did not go down: the upload is known");
    assert!((1_000_000..=2_500_000).contains(&at), "{at}");
    ask(&registry, &format!("GET /v2/app/blobs/{digest}"), &[], b"", 404);
    ask(&registry, &format!("PATCH {location}"), &[("Content-Range", "0-9")], &blob[..10], 416);
    ask(&registry, &format!("PUT {location}?digest={digest}"), &[], &blob[at..], 201);
    assert_eq!(ask(&registry, &format!("GET /v2/app/blobs/{digest}"), &[], b"", 200).body, blob);
    assert_eq!(received(&registry, &location), None, "an upload ends once");
    let left: Vec<_> = std::fs::read_dir(registry.storage().join("uploads")).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn killed_at_any_point_of_a_write_nothing_acknowledged_is_lost_and_nothing_half_is_served() {
    for point in ["durable.before-write", "durable.before-sync", "durable.before-rename", "durable.before-folder-sync"] {
        for pass in 1..20 {
            let mut registry = OwnRegistry::start(BINARY, &[]);
            let (former, blob) = (noise(7, 50_000), noise(8, 70_000));
            let known = put_blob(&registry, &former);
            let before = manifest_of(&known, former.len());
            ask(&registry, "PUT /v2/app/manifests/former", &[("Content-Type", MANIFEST)], &before, 201);
            ask(&registry, "PUT /v2/app/manifests/moving", &[("Content-Type", MANIFEST)], &before, 201);
            registry.restart_with_fault(point, pass);
            let digest = sha256(&blob);
            let after = manifest_of(&digest, blob.len());
            let headers = [("Content-Type", MANIFEST)];
            let blob_there = try_ask(registry.host(), &format!("POST /v2/app/blobs/uploads/?digest={digest}"), &[], &blob)
                .map(|answer| answer.status)
                .ok();
            let moved = try_ask(registry.host(), "PUT /v2/app/manifests/moving", &headers, &after).map(|answer| answer.status).ok();
            if (blob_there, moved) == (Some(201), Some(201)) {
                assert!(pass > 1, "nothing passes {point}");
                break;
            }
            registry.wait_for_death(20);
            registry.restart();
            let context = format!("{point}:{pass}, {blob_there:?}, {moved:?}");
            assert_whole(&registry, "former", &former);
            let now = try_ask(registry.host(), &format!("GET /v2/app/blobs/{digest}"), &[], b"").unwrap();
            assert!(now.status == 200 && now.body == blob || now.status == 404 && blob_there.is_none(), "{context}: {}", now.status);
            let moving = ask(&registry, "GET /v2/app/manifests/moving", &[], b"", 200);
            assert!(moving.body == before || moving.body == after, "{context}");
            // Again, and it is as if nothing had been.
            put_blob(&registry, &blob);
            ask(&registry, "PUT /v2/app/manifests/moving", &headers, &after, 201);
            assert_whole(&registry, "moving", &blob);
            assert!(pass < 19, "{point} is passed without end");
        }
    }
}

#[test]
fn after_a_power_cut_everything_acknowledged_is_there_and_unfinished_uploads_are_unknown() {
    let disk = Disk::new(128);
    let mut registry = OwnRegistry::start_in(BINARY, &disk.path().join("registry"), &[]);
    for round in 0..3_u32 {
        let blob = noise(round, 400_000);
        let digest = put_blob(&registry, &blob);
        ask(&registry, &format!("PUT /v2/app/manifests/tag{round}"), &[("Content-Type", MANIFEST)], &manifest_of(&digest, blob.len()), 201);
        let location = upload(&registry);
        ask(&registry, &format!("PATCH {location}"), &[], &blob[..100_000], 202);
        disk.cut_power();
        registry.kill_9();
        disk.power_up();
        registry.restart();
        for tag in 0..=round {
            assert_whole(&registry, &format!("tag{tag}"), &noise(tag, 400_000));
        }
        // The bytes may not have reached the disk. Whatever is said of the upload, a blob comes out of it only by its digest.
        if received(&registry, &location).is_some() {
            let other = sha256(&blob[..100_000]);
            let ended = try_ask(registry.host(), &format!("PUT {location}?digest={other}"), &[], b"").unwrap();
            assert!([201, 400, 404].contains(&ended.status), "{ended:?}");
            if ended.status == 201 {
                assert_eq!(ask(&registry, &format!("GET /v2/app/blobs/{other}"), &[], b"", 200).body, &blob[..100_000]);
            }
        }
    }
    drop(registry);
}

#[test]
fn a_registry_that_is_killed_while_it_collects_keeps_what_is_needed() {
    let mut registry = OwnRegistry::start(BINARY, &EAGER);
    let blob = noise(5, 100_000);
    let digest = put_blob(&registry, &blob);
    let manifest = manifest_of(&digest, blob.len());
    let headers = [("Content-Type", MANIFEST)];
    // A collection may take the blob before the manifest comes, and says so.
    while try_ask(registry.host(), "PUT /v2/app/manifests/1", &headers, &manifest).unwrap().status != 201 {
        put_blob(&registry, &blob);
    }
    for round in 0..4_u32 {
        let loose: Vec<String> = (0..20).map(|number| put_blob(&registry, &noise(100 * round + number + 9, 2_000))).collect();
        std::thread::sleep(std::time::Duration::from_millis(u64::from(900 + 40 * round)));
        registry.kill_9();
        registry.restart();
        assert_whole(&registry, "1", &blob);
        eventually("collecting what nobody needs", 20, || {
            let gone = |digest: &String| try_ask(registry.host(), &format!("GET /v2/app/blobs/{digest}"), &[], b"").unwrap().status == 404;
            loose.iter().all(gone).then_some(())
        });
    }
    assert_whole(&registry, "1", &blob);
    let files = std::fs::read_dir(registry.storage().join("blobs/sha256"))
        .unwrap()
        .flatten()
        .flat_map(|bucket| std::fs::read_dir(bucket.path()).unwrap());
    assert_eq!(files.count(), 1);
}
