//! ADD: archives and downloads.

use std::os::unix::fs::MetadataExt;

use crate::support::Bench;

fn archive(entries: &[(&str, tar::EntryType, &str, u32)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, text, mode) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_uid(12);
        header.set_gid(34);
        header.set_mtime(1_234_567);
        let is_link = matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link);
        header.set_size(if is_link { 0 } else { text.len() as u64 });
        // The builder refuses `..`, so names are written by hand.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        if is_link {
            header.set_link_name_literal(text).unwrap();
        }
        header.set_cksum();
        builder.append(&header, if is_link { &b""[..] } else { text.as_bytes() }).unwrap();
    }
    builder.into_inner().unwrap()
}

const FILE: tar::EntryType = tar::EntryType::Regular;
const DIR: tar::EntryType = tar::EntryType::Directory;

#[tokio::test]
async fn archives_are_unpacked_by_content_and_other_files_copied() {
    let bench = Bench::new();
    let bytes = archive(&[
        ("d/", DIR, "", 0o750),
        ("d/f", FILE, "text", 0o640),
        ("d/l", tar::EntryType::Symlink, "f", 0o777),
        ("d/h", tar::EntryType::Link, "d/f", 0o640),
    ]);
    std::fs::write(bench.context().join("plain.bin"), &bytes).unwrap();
    std::fs::write(bench.context().join("not.tar"), "just text").unwrap();
    let expected = ["x 755 0:0 /", "x/d 750 12:34 /", "x/d/f 640 12:34 = text", "x/d/h 640 12:34 = text", "x/d/l 777 12:34 -> f"];
    let outcome = bench.build("FROM diamol/base\nADD plain.bin /x\n").await;
    assert_eq!(bench.listing(&outcome.layers), expected);
    let file = bench.host_path(&outcome.layers, "x/d/f").metadata().unwrap();
    assert_eq!((file.mtime(), file.nlink()), (1_234_567, 2));
    let outcome = bench.build("FROM diamol/base\nADD not.tar /x/\n").await;
    assert_eq!(bench.listing(&outcome.layers), ["x 755 0:0 /", "x/not.tar 644 0:0 = just text"]);
    let outcome = bench.build("FROM diamol/base\nADD --unpack=false plain.bin /x/\n").await;
    assert_eq!(bench.listing(&outcome.layers).len(), 2);
    let outcome = bench.build("FROM diamol/base\nADD --chown=7:8 plain.bin /x/\n").await;
    assert!(bench.listing(&outcome.layers).contains(&"x/d/f 640 7:8 = text".to_owned()));
}

#[tokio::test]
async fn an_archive_cannot_leave_its_destination() {
    let bench = Bench::new();
    let bytes = archive(&[
        ("../../escaped", FILE, "one", 0o644),
        ("/absolute", FILE, "two", 0o644),
        ("out", tar::EntryType::Symlink, "/", 0o777),
        ("out/through", FILE, "three", 0o644),
    ]);
    std::fs::write(bench.context().join("evil.tar"), &bytes).unwrap();
    let outcome = bench.build("FROM diamol/base\nADD evil.tar /x/\n").await;
    // The symlink leads to the root of the image, as it would for a process in it, and never to that of the machine.
    assert_eq!(
        bench.listing(&outcome.layers),
        ["through 644 12:34 = three", "x 755 0:0 /", "x/absolute 644 12:34 = two", "x/escaped 644 12:34 = one", "x/out 777 12:34 -> /"]
    );
    assert!(!std::path::Path::new("/through").exists());
}

#[tokio::test]
async fn a_hard_link_to_nothing_is_told_by_its_names_not_by_our_folders() {
    let bench = Bench::new();
    let bytes = archive(&[("d/h", tar::EntryType::Link, "d/nosuch", 0o644)]);
    std::fs::write(bench.context().join("odd.tar"), &bytes).unwrap();
    let error = bench.error("FROM diamol/base\nADD odd.tar /x/\n").await;
    assert!(error.contains("\"d/h\" is a hard link to \"d/nosuch\", which does not come before it"), "{error}");
    assert!(!error.contains("upper"), "{error}");
}

#[tokio::test]
async fn an_archive_follows_symlinked_folders_of_the_image() {
    let bench = Bench::new();
    bench.image("merged", &[("usr/lib/a", "a")]);
    let outcome = bench.build("FROM merged\nRUN mkdir /x\n").await;
    let layers = outcome.layers.clone();
    let top = bench.host_path(&layers, "x");
    drop(top);
    let link = archive(&[("lib", tar::EntryType::Symlink, "usr/lib", 0o777)]);
    let more = archive(&[("lib/b", FILE, "b", 0o644)]);
    std::fs::write(bench.context().join("1.tar"), link).unwrap();
    std::fs::write(bench.context().join("2.tar"), more).unwrap();
    let outcome = bench.build("FROM merged\nADD 1.tar /\nADD 2.tar /\n").await;
    assert_eq!(
        bench.listing(&outcome.layers),
        ["lib 777 12:34 -> usr/lib", "usr 755 0:0 /", "usr/lib 755 0:0 /", "usr/lib/a 644 0:0 = a", "usr/lib/b 644 12:34 = b"]
    );
}

#[tokio::test]
async fn downloads_are_private_dated_and_checked() {
    let bench = Bench::new();
    let outcome = bench.build("FROM diamol/base\nADD http://files/hello /d/\n").await;
    assert_eq!(bench.listing(&outcome.layers), ["d 755 0:0 /", "d/hello 600 0:0 = hello"]);
    assert_eq!(bench.host_path(&outcome.layers, "d/hello").metadata().unwrap().mtime(), 1_234_567_890);
    let good = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    bench.build(&format!("FROM diamol/base\nADD --checksum={good} http://files/hello /x\n")).await;
    let bad = good.replace("2cf", "2ca");
    let error = bench.error(&format!("FROM diamol/base\nADD --checksum={bad} http://files/hello /x\n")).await;
    assert!(error.contains("has the digest sha256:2cf"), "{error}");
    let error = bench.error("FROM diamol/base\nADD http://elsewhere/x /x\n").await;
    assert!(error.contains("cannot download"), "{error}");
}

#[tokio::test]
async fn only_add_downloads() {
    let error = Bench::new().error("FROM scratch\nCOPY http://files/hello /x\n").await;
    assert!(error.contains("COPY does not download \"http://files/hello\"") && error.contains("use ADD"), "{error}");
}

#[tokio::test]
async fn a_download_whose_bytes_are_the_same_is_known_and_leaves_no_file() {
    let bench = Bench::new();
    let dockerfile = "FROM diamol/base\nADD http://files/hello /x\nRUN say after\n";
    let first = bench.build(dockerfile).await;
    let second = bench.build(dockerfile).await;
    assert_eq!((first.image, second.cached_steps, bench.runs()), (second.image, 3, 1));
    assert_eq!(std::fs::read_dir(bench.folder.path().join("store/tmp")).unwrap().count(), 0);
}

/// S-406: what was written for the server is told to nobody else.
#[tokio::test]
async fn the_secrets_of_an_address_are_nowhere_but_in_the_request() {
    let bench = Bench::new();
    let outcome = bench.build("FROM diamol/base\nADD http://user:T0KEN@files/hello /d/\n").await;
    assert_eq!(bench.listing(&outcome.layers).last().map(|line| line.contains("hello")), Some(true));
    let wrong = format!("FROM diamol/base\nADD --checksum=sha256:{} http://user:T0KEN@files/hello /x\n", "0".repeat(64));
    let Err(error) = bench.try_build(&wrong).await else { panic!("the build succeeded") };
    let told = [
        String::from_utf8(outcome.config_bytes).unwrap(),
        format!("{:?}", bench.events.lock().unwrap()),
        format!("{:?}", bench.store.cache().list().unwrap()),
        error.to_string(),
        error.render(),
    ];
    for text in told {
        assert!(text.contains("files/hello"), "it is spoken of: {text}");
        assert!(!text.contains("T0KEN"), "{text}");
    }
}
