//! COPY to the letter: one table of what lands where, with which owner and mode.

use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};

use crate::support::{Bench, age, chmod};

/// Builds `FROM diamol/base` plus `instructions` and compares everything that is not of the base.
async fn check(bench: &Bench, instructions: &str, expected: &[&str]) {
    let outcome = bench.build(&format!("FROM diamol/base\n{instructions}\n")).await;
    assert_eq!(bench.listing(&outcome.layers), expected, "{instructions}");
}

fn some_files() -> Bench {
    let bench = Bench::new();
    bench.file("a.txt", "a");
    bench.file("b.txt", "b");
    bench.file("dir/one", "1");
    bench.file("dir/.hidden", "h");
    bench.file("dir/sub/two", "2");
    chmod(&bench.context().join("dir/one"), 0o755);
    bench
}

#[tokio::test]
async fn files_and_folders_land_where_docker_puts_them() {
    let bench = some_files();
    check(&bench, "COPY a.txt /x", &["x 644 0:0 = a"]).await;
    check(&bench, "COPY a.txt /x/", &["x 755 0:0 /", "x/a.txt 644 0:0 = a"]).await;
    check(&bench, "COPY a.txt /p/q/x", &["p 755 0:0 /", "p/q 755 0:0 /", "p/q/x 644 0:0 = a"]).await;
    check(&bench, "COPY *.txt /x/", &["x 755 0:0 /", "x/a.txt 644 0:0 = a", "x/b.txt 644 0:0 = b"]).await;
    check(&bench, "COPY a.txt b.txt /x/", &["x 755 0:0 /", "x/a.txt 644 0:0 = a", "x/b.txt 644 0:0 = b"]).await;
    let dir = ["x 755 0:0 /", "x/.hidden 644 0:0 = h", "x/one 755 0:0 = 1", "x/sub 755 0:0 /", "x/sub/two 644 0:0 = 2"];
    check(&bench, "COPY dir /x", &dir).await;
    check(&bench, "COPY dir/ /x/", &dir).await;
    check(&bench, "COPY d*r /x/", &dir).await;
    check(&bench, "COPY [\"dir\", \"/x\"]", &dir).await;
    check(&bench, "WORKDIR /w\nCOPY a.txt .", &["w 755 0:0 /", "w/a.txt 644 0:0 = a"]).await;
    check(&bench, "WORKDIR /w\nCOPY a.txt ./b", &["w 755 0:0 /", "w/b 644 0:0 = a"]).await;
    check(&bench, "WORKDIR /w\nCOPY a.txt ../c", &["c 644 0:0 = a", "w 755 0:0 /"]).await;
    check(&bench, "COPY a.txt /x\nCOPY b.txt /x", &["x 644 0:0 = b"]).await;
    check(&bench, "COPY no*match /x/", &[]).await;
}

#[tokio::test]
async fn owners_and_modes_are_those_asked_for() {
    let bench = some_files();
    check(&bench, "COPY --chown=node a.txt /n/x", &["n 755 1000:1001 /", "n/x 644 1000:1001 = a"]).await;
    check(&bench, "COPY --chown=7 a.txt /x", &["x 644 7:7 = a"]).await;
    check(&bench, "COPY --chown=node:5 --chmod=0751 a.txt /x", &["x 751 1000:5 = a"]).await;
    let sub = ["x 755 0:0 /", "x/.hidden 640 0:0 = h", "x/one 750 0:0 = 1", "x/sub 750 0:0 /", "x/sub/two 640 0:0 = 2"];
    check(&bench, "COPY --chmod=u=rwX,g=rX,o= dir /x", &sub).await;
    check(
        &bench,
        "USER node\nWORKDIR /home/node/app",
        &["home 755 1000:1001 /", "home/node 755 1000:1001 /", "home/node/app 755 1000:1001 /"],
    )
    .await;
}

#[tokio::test]
async fn symlinks_are_followed_at_the_top_and_kept_inside() {
    let bench = some_files();
    symlink("a.txt", bench.context().join("link")).unwrap();
    symlink("../a.txt", bench.context().join("dir/inner")).unwrap();
    symlink("/etc/passwd", bench.context().join("evil")).unwrap();
    check(&bench, "COPY link /x", &["x 644 0:0 = a"]).await;
    check(&bench, "COPY --exclude=one --exclude=sub --exclude=.hidden dir /x/", &["x 755 0:0 /", "x/inner 777 0:0 -> ../a.txt"]).await;
    let error = bench.error("FROM diamol/base\nCOPY evil /x\n").await;
    assert!(error.contains("is not in the build context"), "{error}");
}

#[tokio::test]
async fn symlinks_of_the_image_are_followed_inside_the_image() {
    let bench = some_files();
    bench.image("linked", &[("usr/lib/x", "x"), ("usr/bin/y", "y")]);
    let image = bench.images.images.lock().unwrap()["docker.io/library/linked:latest"].clone();
    let upper = bench.store.prepare(&image.layers, Default::default()).unwrap();
    symlink("usr/lib", upper.upper.join("lib")).unwrap();
    symlink("/../../usr/bin", upper.upper.join("out")).unwrap();
    let layer = upper
        .commit(shipway_store::CommitOptions {
            created: shipway_model::Timestamp::from_unix(5, 0),
            origin: shipway_store::LayerOrigin::Imported,
            newest: None,
        })
        .unwrap();
    let mut both = image;
    both.layers.push(layer.id);
    both.config.rootfs.diff_ids.push(layer.diff_id);
    bench.images.images.lock().unwrap().insert("docker.io/library/linked:latest".into(), both);
    let outcome = bench.build("FROM linked\nCOPY a.txt /lib/\nCOPY b.txt /out/b\n").await;
    let listing = bench.listing(&outcome.layers);
    for line in ["lib 777 0:0 -> usr/lib", "usr/lib/a.txt 644 0:0 = a", "usr/lib/x 644 0:0 = x", "usr/bin/b 644 0:0 = b"] {
        assert!(listing.iter().any(|found| found == line), "{line} in {listing:#?}");
    }
}

#[tokio::test]
async fn what_exists_keeps_its_looks_and_clashes_are_errors() {
    let bench = some_files();
    let outcome = bench.build("FROM diamol/base\nRUN mkdir /x/sub; write /x/keep k; write /file f\n").await;
    let x = bench.host_path(&outcome.layers, "x");
    chmod(&x, 0o755);
    bench.adopt("made", &outcome);
    let outcome = bench.build("FROM made\nCOPY dir /x\n").await;
    let listing = bench.listing(&outcome.layers);
    assert!(listing.contains(&"x/keep 644 0:0 = k".to_owned()) && listing.contains(&"x/sub/two 644 0:0 = 2".to_owned()), "{listing:#?}");
    let error = bench.error("FROM made\nCOPY dir /file\n").await;
    assert!(error.contains("is not a folder"), "{error}");
    bench.file("tree/x", "a file");
    let error = bench.error("FROM made\nCOPY tree /\n").await;
    assert!(error.contains("\"/x\" is a folder in the image"), "{error}");
    let outcome = bench.build("FROM made\nCOPY --link tree /\n").await;
    assert!(bench.listing(&outcome.layers).contains(&"x 644 0:0 = a file".to_owned()));
}

#[tokio::test]
async fn parents_and_pivots_keep_folders() {
    let bench = some_files();
    check(
        &bench,
        "COPY --parents dir/sub/two a.txt /x/",
        &["x 755 0:0 /", "x/a.txt 644 0:0 = a", "x/dir 755 0:0 /", "x/dir/sub 755 0:0 /", "x/dir/sub/two 644 0:0 = 2"],
    )
    .await;
    check(&bench, "COPY --parents ./dir/./sub/two /x/", &["x 755 0:0 /", "x/sub 755 0:0 /", "x/sub/two 644 0:0 = 2"]).await;
    check(&bench, "COPY --parents dir/*/two /x/", &["x 755 0:0 /", "x/dir 755 0:0 /", "x/dir/sub 755 0:0 /", "x/dir/sub/two 644 0:0 = 2"])
        .await;
}

#[tokio::test]
async fn here_documents_become_files() {
    let bench = Bench::new();
    check(&bench, "ENV N=world\nCOPY <<EOF /hello\nhello $N\nEOF", &["hello 644 0:0 = hello world\\n"]).await;
    check(&bench, "COPY --chmod=600 <<\"a\" <<b /d/\n$N\na\nx\nb", &["d 755 0:0 /", "d/a 600 0:0 = $N\\n", "d/b 600 0:0 = x\\n"]).await;
}

#[tokio::test]
async fn copies_between_stages_keep_owner_and_time_and_cost_no_bytes() {
    let bench = some_files();
    age(&bench.context().join("a.txt"), 1_111_111_111);
    let outcome =
        bench.build("FROM diamol/base AS one\nCOPY --chown=5:6 a.txt /from/a\nFROM diamol/base\nCOPY --from=one /from/a /to/a\n").await;
    let target = bench.host_path(&outcome.layers, "to/a").metadata().unwrap();
    assert_eq!((target.uid(), target.gid(), target.mtime(), target.nlink()), (5, 6, 1_111_111_111, 2));
    let outcome = bench.build("FROM diamol/base AS one\nCOPY a.txt /from/a\nFROM diamol/base\nCOPY --from=0 --chmod=700 /from /to\n").await;
    let target = bench.host_path(&outcome.layers, "to/a").metadata().unwrap();
    assert_eq!((target.mode() & 0o7777, target.mtime(), target.nlink()), (0o700, 1_111_111_111, 1));
}

#[tokio::test]
async fn times_come_from_the_source_and_existing_folders_keep_theirs() {
    let bench = some_files();
    let first = bench.build("FROM diamol/base\nCOPY dir /x\n").await;
    age(&bench.host_path(&first.layers, "x"), 77);
    bench.adopt("made", &first);
    let second = bench.build("FROM made\nCOPY a.txt /x/\n").await;
    assert_eq!(bench.host_path(&second.layers, "x").metadata().unwrap().mtime(), 77, "only the file is a change");
    assert_eq!(bench.host_path(&second.layers, "x/a.txt").metadata().unwrap().mtime(), 1_700_000_000);
}

#[tokio::test]
async fn devices_and_pipes_are_made_never_opened() {
    let bench = some_files();
    let context = bench.context();
    let make = |name: &str, kind, device| {
        rustix::fs::mknodat(rustix::fs::CWD, context.join("dir").join(name), kind, 0o600.into(), device).unwrap()
    };
    make("pipe", rustix::fs::FileType::Fifo, 0);
    make("zero", rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 5));
    let begun = std::time::Instant::now();
    let outcome = bench.build("FROM diamol/base AS one\nCOPY dir /x\nFROM diamol/base\nCOPY --from=one /x /y\nCOPY dir/pipe /p\n").await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    assert!(bench.host_path(&outcome.layers, "y/pipe").symlink_metadata().unwrap().file_type().is_fifo());
    assert!(bench.host_path(&outcome.layers, "p").symlink_metadata().unwrap().file_type().is_fifo());
    let zero = bench.host_path(&outcome.layers, "y/zero").symlink_metadata().unwrap();
    assert!(zero.file_type().is_char_device() && zero.rdev() == rustix::fs::makedev(1, 5));
}

#[tokio::test]
async fn hard_links_stay_links() {
    let bench = Bench::new();
    bench.file("d/one", "x");
    std::fs::hard_link(bench.context().join("d/one"), bench.context().join("d/two")).unwrap();
    let outcome = bench.build("FROM diamol/base\nCOPY d /d\n").await;
    let inode = |path: &str| bench.host_path(&outcome.layers, path).metadata().unwrap().ino();
    assert_eq!(inode("d/one"), inode("d/two"));
    let context = bench.context().join("d/one").metadata().unwrap().ino();
    assert_ne!(inode("d/one"), context, "a layer never shares an inode with the user's folder");
}

/// A program that writes into one of them in place must not change the other.
#[tokio::test]
async fn files_asked_for_one_by_one_are_not_tied_together() {
    let bench = Bench::new();
    bench.file("d/one", "x");
    symlink("one", bench.context().join("d/link")).unwrap();
    std::fs::hard_link(bench.context().join("d/one"), bench.context().join("two")).unwrap();
    for copy in ["COPY d/one two /x/", "COPY --from=from /one /link /x/"] {
        let outcome = bench.build(&format!("FROM scratch AS from\nCOPY d /\nFROM scratch\n{copy}\n")).await;
        let listing = bench.listing(&outcome.layers);
        assert_eq!(listing.len(), 3, "{listing:?}");
        let files = std::fs::read_dir(bench.host_path(&outcome.layers, "x")).unwrap();
        let inodes: std::collections::BTreeSet<u64> = files.map(|file| file.unwrap().metadata().unwrap().ino()).collect();
        assert_eq!(inodes.len(), 2, "{copy}");
    }
}

#[tokio::test]
async fn a_whole_tree_is_copied_as_it_is_seen_not_as_it_is_stored() {
    let bench = some_files();
    let stage = "FROM scratch AS one\nCOPY dir /d\nCOPY a.txt /d/one\nRUN write /d/sub/three 3\n";
    let outcome = bench.build(&format!("{stage}FROM scratch\nCOPY --from=one / /\n")).await;
    let expected = [
        "d 755 0:0 /",
        "d/.hidden 644 0:0 = h",
        "d/one 644 0:0 = a",
        "d/sub 755 0:0 /",
        "d/sub/three 644 0:0 = 3",
        "d/sub/two 644 0:0 = 2",
    ];
    assert_eq!((bench.listing(&outcome.layers), outcome.layers.len()), (expected.map(str::to_owned).to_vec(), 1));
    let outcome = bench.build(&format!("{stage}FROM scratch\nCOPY --from=one --chown=9 /d/s* /x/\n")).await;
    assert_eq!(bench.listing(&outcome.layers), ["x 755 9:9 /", "x/three 644 9:9 = 3", "x/two 644 9:9 = 2"]);
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_copied_is_an_error_not_a_result() {
    let bench = Bench::new();
    bench.file("a", "before");
    // The run between learning and copying is long enough for an editor to save.
    let path = bench.context().join("a");
    let editor = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        std::fs::write(path, "after, and longer").unwrap();
    });
    let dockerfile = "FROM diamol/base\nRUN sleep 400\nCOPY a /a\n";
    let error = bench.error(dockerfile).await;
    editor.await.unwrap();
    assert!(error.contains("changed while it was read"), "{error}");
    let outcome = bench.build(dockerfile).await;
    assert_eq!(bench.listing(&outcome.layers), ["a 644 0:0 = after, and longer"]);
}
