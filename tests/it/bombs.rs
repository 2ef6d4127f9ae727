//! S-503, S-509 at the whole daemon: whatever a registry sends, memory stays within 64 MiB of what the idle daemon has.
//!
//! The kernel keeps the peak (`VmHWM`, proc_pid_status(5)); it is set back before each case (`clear_refs`, proc_pid_clear_refs(5)).

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use shipway_testkit::{Asked, BadRegistry, Daemon, Delivery, Reply, SampleImage, Setup, Tar, busybox_tar, noise, sha256};

use crate::BINARY;

/// What a pull may add to the idle daemon, in KiB.
const MOST: u64 = 64 << 10;
const MIB: usize = 1 << 20;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Entries of the archive that has little but entries. Held in memory they would take twice what is allowed; `SHIPWAY_BOMB_ENTRIES` asks for more, up
/// to the five million that an archive may have.
const ENTRIES: u32 = 250_000;

/// A line of the daemon's status, in KiB.
fn status(daemon: &Daemon, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The peak from now on.
fn forget_peak(daemon: &Daemon) {
    std::fs::write(format!("/proc/{}/clear_refs", daemon.pid()), "5").unwrap();
}

/// Pulls from a registry with this script; whether it worked, and what was said.
fn pull(daemon: &Daemon, registry: &BadRegistry) -> (bool, String) {
    let answer = daemon.call("POST", &format!("/images/create?fromImage={}/bomb&tag=1", registry.domain()), &Value::Null);
    let text = answer.text();
    (answer.is_fine() && !text.contains("\"error\""), text)
}

/// A registry whose only layer is `stored`, as something of the given type that unpacks to who knows what.
fn with_layer(media_type: &str, stored: Vec<u8>) -> impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static {
    let honest = SampleImage::of(&[Tar::new().file("a", "b").finish()]);
    let layer = sha256(&stored);
    let config = honest.bytes(&honest.config).to_vec();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"{media_type}","digest":"{layer}","size":{}}}]}}"#,
        honest.config,
        config.len(),
        stored.len()
    );
    move |asked, _| match asked.path() {
        path if path.contains("/manifests/") => Reply::new(200, manifest.clone()).with("Content-Type", MANIFEST),
        path if path.ends_with(&layer) => Reply::new(200, stored.clone()),
        path if path.ends_with(&honest.config) => Reply::new(200, config.clone()),
        _ => Reply::new(200, "{}"),
    }
}

/// The head of a tar entry for a file of `size` bytes.
fn head(size: u64) -> Vec<u8> {
    let mut head = Tar::new().file("zeros", "").finish()[..512].to_vec();
    head[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    head[148..156].fill(b' ');
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    head
}

/// A file of zeros in a tar, and nothing else, through `out`.
fn zeros(out: &mut impl std::io::Write, size: usize) {
    out.write_all(&head(size as u64)).unwrap();
    let piece = vec![0; MIB];
    (0..size / MIB).for_each(|_| out.write_all(&piece).unwrap());
}

fn gzip_bomb() -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    zeros(&mut out, 1 << 30);
    out.finish().unwrap()
}

fn zstd_bomb() -> Vec<u8> {
    let mut out = shipway_archive::compress::zstd_encoder(Vec::new(), 3).unwrap();
    zeros(&mut out, 1 << 30);
    out.finish().unwrap()
}

#[allow(clippy::disallowed_methods)] // A test reads its own setting.
fn entries() -> u32 {
    std::env::var("SHIPWAY_BOMB_ENTRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(ENTRIES)
}

/// So many entries with names of their own, in no order: empty files, files of a byte, further names of those. Every hundredth is a folder, for the
/// entries after it.
fn many_entries() -> Vec<u8> {
    let count = entries();
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    let (mut folder, mut last) = (String::new(), String::new());
    for number in 0..count {
        let mixed = number.wrapping_mul(0x9e37_79b1);
        let name = format!("{folder}/an-entry-with-a-name-of-some-length-{mixed:08x}");
        let entry = match number % 100 {
            0 => {
                folder = format!("folder-{mixed:08x}");
                Tar::new().folder(&folder, 0o755)
            }
            number if number % 5 == 1 => {
                last.clone_from(&name);
                Tar::new().file(&name, "x")
            }
            number if number % 5 == 2 => Tar::new().entry(&name, b'1', 0o644, &last, b""),
            _ => Tar::new().file(&name, ""),
        };
        let bytes = entry.finish();
        // Without the end of an archive, which is two blocks or more.
        let length = if number % 100 != 0 && number % 5 == 1 { 1024 } else { 512 };
        out.write_all(&bytes[..length]).unwrap();
    }
    // Its end is not one: nothing of it may stay.
    out.write_all(&[b'x'; 512]).unwrap();
    out.finish().unwrap()
}

/// A quarter of a gigabyte behind the end of an archive, which compresses well but not suspiciously well.
fn long_tail() -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(&Tar::new().file("a", "b").finish()).unwrap();
    let piece = noise(1, 2048).repeat(MIB / 2048);
    (0..256).for_each(|_| out.write_all(&piece).unwrap());
    out.finish().unwrap()
}

/// An extended header that says it is a name of a gigabyte.
fn huge_header() -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    let mut long = head(1 << 30);
    long[156] = b'L';
    long[148..156].fill(b' ');
    let sum: u32 = long.iter().map(|byte| u32::from(*byte)).sum();
    long[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.write_all(&long).unwrap();
    let piece = vec![b'a'; MIB];
    (0..1024).for_each(|_| out.write_all(&piece).unwrap());
    out.finish().unwrap()
}

/// An index of four MiB, all of it entries for other machines.
fn huge_index() -> Vec<u8> {
    let entry =
        format!(r#"{{"mediaType":"{MANIFEST}","digest":"{}","size":2,"platform":{{"os":"plan9","architecture":"sparc"}}}}"#, sha256(b"{}"));
    let count = (4 * MIB - 200) / (entry.len() + 1);
    format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#, vec![entry; count].join(",")).into_bytes()
}

fn endless(piece: usize) -> Reply {
    Reply::new(200, vec![b'{'; piece]).with("Content-Type", MANIFEST).by(Delivery::Endless(1 << 34))
}

#[test]
fn no_bomb_takes_more_than_its_share_of_memory() {
    let daemon = Setup::new(BINARY).start();
    // Once through everything, so that what a daemon has from its first pull on is not counted.
    let sample = SampleImage::of(&[busybox_tar().finish()]);
    let honest = BadRegistry::plain(move |asked, _| sample.answer(asked));
    assert!(pull(&daemon, &honest).0);
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let zstd = "application/vnd.oci.image.layer.v1.tar+zstd";
    let index = huge_index();
    let long_head = [b"HTTP/1.1 200 OK\r\nX-Long: ".to_vec(), vec![b'a'; 64 * MIB]].concat();
    let many_heads = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"X-Many: of these\r\n".repeat(2 * MIB)].concat();
    let bombs: Vec<(&str, BadRegistry)> = vec![
        ("an archive of entries", BadRegistry::plain(with_layer(gzip, many_entries()))),
        ("a gigabyte of zeros by gzip", BadRegistry::plain(with_layer(gzip, gzip_bomb()))),
        ("a gigabyte of zeros by zstd", BadRegistry::plain(with_layer(zstd, zstd_bomb()))),
        ("much behind the end of an archive", BadRegistry::plain(with_layer(gzip, long_tail()))),
        ("a name of a gigabyte", BadRegistry::plain(with_layer(gzip, huge_header()))),
        ("an endless manifest", BadRegistry::plain(|_, _| endless(MIB))),
        ("an endless layer", {
            let script = with_layer(gzip, shipway_testkit::gzip(&Tar::new().file("a", "b").finish()));
            BadRegistry::plain(move |asked, number| {
                let reply = script(asked, number);
                if asked.path().contains("/blobs/") { endless(MIB) } else { reply }
            })
        }),
        ("an index of four MiB", BadRegistry::plain(move |_, _| Reply::new(200, index.clone()).with("Content-Type", INDEX))),
        ("a line of a head without end", BadRegistry::plain(move |_, _| Reply::new(200, "").by(Delivery::Raw(long_head.clone())))),
        ("lines of a head without end", BadRegistry::plain(move |_, _| Reply::new(200, "").by(Delivery::Raw(many_heads.clone())))),
        ("an endless refusal", BadRegistry::plain(|_, _| Reply { status: 403, ..endless(MIB) })),
        (
            "an endless token",
            BadRegistry::plain(|asked, _| match asked.path() {
                "/token" => endless(MIB),
                _ => {
                    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"x\"", asked.header("host").unwrap_or_default());
                    Reply::refusal(401, "UNAUTHORIZED", "who").with("WWW-Authenticate", &challenge)
                }
            }),
        ),
    ];
    let mut wrong = Vec::new();
    let idle = status(&daemon, "VmRSS");
    for (what, registry) in &bombs {
        forget_peak(&daemon);
        let (pulled, words) = pull(&daemon, registry);
        let peak = status(&daemon, "VmHWM").saturating_sub(idle);
        eprintln!("{what}: {peak} KiB over {idle}");
        if pulled || peak > MOST {
            wrong.push(format!("{what}: {peak} KiB over {idle}; pulled: {pulled}: {words}"));
        }
        assert!(registry.sent() < 200 * MIB, "{what}: {} bytes were taken", registry.sent());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(daemon.get("/images/json").as_array().map(Vec::len), Some(1), "only the honest one");
    daemon.assert_sound();
    let left = daemon.get("/system/df");
    assert!(left["LayersSize"].as_u64().unwrap() < 8 << 20, "{}", left["LayersSize"]);
    daemon.post("/images/prune", &json!(null)).fine();
    daemon.assert_nothing_left();
}
