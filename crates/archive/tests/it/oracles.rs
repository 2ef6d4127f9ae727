//! Other programs read what we write, and we read what they write.

use crate::build::read_all;
use shipway_archive::tar::{Entry, EntryKind, TarWriter};
use shipway_sys::path::Time;
use std::io::Write;
use std::process::{Command, Stdio};

/// One of every kind, with every reason for a PAX header.
fn entries() -> Vec<(Entry, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |path: &str, kind, change: &dyn Fn(&mut Entry), body: &str| {
        let mut entry = Entry::new(path, kind);
        change(&mut entry);
        entry.size = body.len() as u64;
        all.push((entry, body.as_bytes().to_vec()));
    };
    add("dir/", EntryKind::Directory, &|e| e.mode = 0o2755, "");
    add("dir/file", EntryKind::Regular, &|e| (e.uid, e.gid, e.mode) = (1000, 50, 0o4755), "hello");
    add("dir/hard", EntryKind::Hardlink, &|e| e.link = b"dir/file".to_vec(), "");
    add("dir/sym", EntryKind::Symlink, &|e| e.link = b"../somewhere".to_vec(), "");
    add("dev", EntryKind::CharDevice, &|e| e.device = (5, 1), "");
    add("disk", EntryKind::BlockDevice, &|e| e.device = (259, 7), "");
    add("pipe", EntryKind::Fifo, &|_| {}, "");
    add(&format!("{}/{}", "p".repeat(100), "n".repeat(90)), EntryKind::Regular, &|_| {}, "prefix");
    add(&"n".repeat(101), EntryKind::Regular, &|_| {}, "long");
    add(&format!("{}/", "d".repeat(150)), EntryKind::Directory, &|_| {}, "");
    add("longlink", EntryKind::Symlink, &|e| e.link = vec![b't'; 300], "");
    add("bigids", EntryKind::Regular, &|e| (e.uid, e.gid) = (3_000_000, 4_000_000_000), "x");
    add("before", EntryKind::Regular, &|e| e.mtime = Time { seconds: -7, nanoseconds: 0 }, "x");
    add("far", EntryKind::Regular, &|e| e.mtime = Time { seconds: 1 << 34, nanoseconds: 0 }, "x");
    add("fine", EntryKind::Regular, &|e| e.mtime = Time { seconds: 5, nanoseconds: 250_000_000 }, "x");
    add("fine-before", EntryKind::Regular, &|e| e.mtime = Time { seconds: -6, nanoseconds: 250_000_000 }, "x");
    add("xattr", EntryKind::Regular, &|e| drop(e.xattrs.insert(b"user.k".to_vec(), b"v\0=\n".to_vec())), "x");
    add("name-\u{e9}", EntryKind::Regular, &|_| {}, "utf8");
    all
}

fn written() -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (entry, body) in entries() {
        writer.start(&entry).expect("start");
        writer.write_all(&body).expect("body");
    }
    let (bytes, size) = writer.finish().expect("finish");
    assert_eq!(bytes.len() as u64, size);
    bytes
}

#[test]
fn what_is_written_is_read_back_whole() {
    assert_eq!(read_all(&written()).expect("read"), entries());
}

#[test]
fn the_tar_crate_reads_the_same() {
    let bytes = written();
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut seen = 0;
    for (theirs, (ours, body)) in archive.entries().expect("entries").zip(entries()) {
        let mut theirs = theirs.expect("entry");
        assert_eq!(theirs.path_bytes().as_ref(), ours.path);
        assert_eq!(theirs.link_name_bytes().unwrap_or_default().as_ref(), ours.link);
        assert_eq!(theirs.header().mode().expect("mode"), ours.mode);
        if ours.path != b"bigids" {
            assert_eq!((theirs.header().uid().expect("uid"), theirs.header().gid().expect("gid")), (ours.uid.into(), ours.gid.into()));
        }
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut theirs, &mut content).expect("body");
        assert_eq!(content, body);
        seen += 1;
    }
    assert_eq!(seen, entries().len());
}

/// Runs python over `input` and gives its lines.
fn python(script: &str, input: &[u8]) -> Vec<String> {
    let mut child = Command::new("python3").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    child.stdin.take().expect("stdin").write_all(input).expect("write");
    let output = child.wait_with_output().expect("wait");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("utf8").lines().map(str::to_owned).collect()
}

#[test]
fn python_reads_the_same() {
    let script = "import tarfile,sys,io\n\
        for m in tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read())):\n\
        \x20   print(m.name, m.type.decode(), oct(m.mode), m.uid, m.gid, m.size, m.mtime, m.linkname, m.devmajor if m.isdev() and not m.isfifo() else 0)";
    let expected: Vec<String> = entries()
        .iter()
        .map(|(e, _)| {
            let kind = match e.kind {
                EntryKind::Regular => 0,
                EntryKind::Hardlink => 1,
                EntryKind::Symlink => 2,
                EntryKind::CharDevice => 3,
                EntryKind::BlockDevice => 4,
                EntryKind::Directory => 5,
                EntryKind::Fifo => 6,
            };
            let name = String::from_utf8_lossy(&e.path).trim_end_matches('/').to_owned();
            let time = e.mtime.seconds as f64 + f64::from(e.mtime.nanoseconds) / 1e9;
            // Python gives an integer unless a PAX header says otherwise.
            let pax_time = e.mtime.seconds < 0 || e.mtime.nanoseconds != 0 || e.mtime.seconds >= 1 << 33;
            let time = if pax_time { format!("{time:?}") } else { e.mtime.seconds.to_string() };
            format!(
                "{name} {kind} 0o{:o} {} {} {} {time} {} {}",
                e.mode,
                e.uid,
                e.gid,
                e.size,
                String::from_utf8_lossy(&e.link),
                e.device.0
            )
        })
        .collect();
    assert_eq!(python(script, &written()), expected);
}

#[test]
fn gnu_tar_reads_it_without_complaint() {
    let mut child =
        Command::new("tar").args(["-tf", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("tar");
    child.stdin.take().expect("stdin").write_all(&written()).expect("write");
    let output = child.wait_with_output().expect("wait");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), entries().len());
}

#[test]
fn archives_of_gnu_tar_in_every_format_are_read() {
    let dir = tempfile::tempdir_in("/dev/shm").expect("tempdir");
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(tree.join("sub")).expect("mkdir");
    std::fs::write(tree.join("sub/file"), "content").expect("write");
    std::fs::hard_link(tree.join("sub/file"), tree.join("sub/hard")).expect("link");
    std::os::unix::fs::symlink("file", tree.join("sub/sym")).expect("symlink");
    let sparse = std::fs::File::create(tree.join("sparse")).expect("create");
    for at in [0u64, 1 << 20, 5 << 20] {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", at).expect("write");
    }
    sparse.set_len(6 << 20).expect("len");
    let long = "n".repeat(180);
    for (format, sparse, names) in
        [("v7", false, false), ("oldgnu", true, true), ("gnu", true, true), ("ustar", false, false), ("pax", true, true)]
    {
        let _ = std::fs::remove_file(tree.join(&long));
        if names {
            std::fs::write(tree.join(&long), "long").expect("write");
        }
        let mut arguments =
            vec![format!("--format={format}"), "-C".into(), tree.display().to_string(), "-cf".into(), "-".into(), ".".into()];
        if sparse {
            arguments.insert(0, "--sparse".into());
        }
        let output = Command::new("tar").args(&arguments).output().expect("tar");
        assert!(output.status.success());
        let ground = crate::build::Ground::new();
        ground.layer(&output.stdout).expect(format);
        let compared = Command::new("diff").args(["-r", "--no-dereference"]).arg(&tree).arg(ground.path("")).output().expect("diff");
        assert!(compared.status.success(), "{format}: {}", String::from_utf8_lossy(&compared.stdout));
    }
    for version in ["0.0", "0.1", "1.0"] {
        let output = Command::new("tar")
            .args([
                "--sparse",
                "--format=pax",
                &format!("--sparse-version={version}"),
                "-C",
                &tree.display().to_string(),
                "-cf",
                "-",
                "sparse",
            ])
            .output()
            .expect("tar");
        let all = read_all(&output.stdout).expect(version);
        assert_eq!(all[0].0.path, b"sparse", "{version}");
        assert!(all[0].1 == std::fs::read(tree.join("sparse")).expect("read"), "{version}");
    }
}
