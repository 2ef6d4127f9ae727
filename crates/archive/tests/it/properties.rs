//! Random archives: whatever we accept, python accepts with the same names and sizes; and nothing panics.

use crate::build::read_all;
use proptest::prelude::*;
use shipway_archive::tar::pax;
use shipway_archive::tar::{Entry, EntryKind, TarWriter};
use std::io::Write;

fn any_entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let name = prop::collection::vec(prop_oneof![Just(b'/'), b'a'..=b'z', 0x80u8..=0xff], 1..300);
    let kind = prop_oneof![Just(EntryKind::Regular), Just(EntryKind::Directory), Just(EntryKind::Symlink), Just(EntryKind::Fifo)];
    let numbers = (0u32..0o10000, any::<u32>(), any::<u32>(), -(1i64 << 40)..(1i64 << 40), 0u32..1_000_000_000);
    let xattrs = prop::collection::btree_map(prop::collection::vec(b'a'..=b'z', 1..20), prop::collection::vec(any::<u8>(), 0..50), 0..3);
    (name, kind, numbers, xattrs, prop::collection::vec(any::<u8>(), 0..2000)).prop_map(|(name, kind, numbers, xattrs, body)| {
        let mut entry = Entry::new(name, kind);
        (entry.mode, entry.uid, entry.gid) = (numbers.0, numbers.1, numbers.2);
        entry.mtime = shipway_sys::path::Time { seconds: numbers.3, nanoseconds: numbers.4 };
        entry.xattrs = xattrs;
        let body = if kind == EntryKind::Regular { body } else { Vec::new() };
        if kind == EntryKind::Symlink {
            entry.link = vec![b't'; 1 + entry.mode as usize % 300];
        }
        entry.size = body.len() as u64;
        (entry, body)
    })
}

fn write(all: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (entry, body) in all {
        writer.start(entry).expect("start");
        writer.write_all(body).expect("body");
    }
    writer.finish().expect("finish").0
}

proptest! {
    #[test]
    fn what_is_written_is_read(all in prop::collection::vec(any_entry(), 0..6)) {
        prop_assert_eq!(read_all(&write(&all)).expect("read"), all);
    }

    #[test]
    fn damaged_archives_never_panic(all in prop::collection::vec(any_entry(), 1..4), at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = write(&all);
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = read_all(&bytes);
        let _ = read_all(&bytes[..at]);
    }

    #[test]
    fn headers_with_a_right_checksum_never_panic(field in any::<prop::sample::Index>(), noise in prop::collection::vec(any::<u8>(), 1..60)) {
        let mut raw = crate::build::Raw::new(b"name", b'0');
        let at = field.index(512 - noise.len());
        raw.set(at, &noise);
        let mut bytes = raw.seal().to_vec();
        bytes.extend([b'x'; 2048]);
        let _ = read_all(&bytes);
    }

    #[test]
    fn pax_records_read_back_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(records) = pax::records(&bytes) {
            let mut again = Vec::new();
            records.iter().for_each(|(key, value)| pax::push_record(&mut again, key, value));
            prop_assert_eq!(pax::records(&again).expect("ours"), records);
        }
    }

    #[test]
    fn patterns_never_panic_and_literals_match_themselves(pattern in prop::collection::vec(prop_oneof![Just(b'*'), Just(b'?'), Just(b'['), Just(b']'), Just(b'\\'), Just(b'-'), Just(b'/'), any::<u8>()], 0..30), name in prop::collection::vec(any::<u8>(), 0..30)) {
        if let Ok(read) = shipway_archive::glob::Pattern::parse_spanning(&pattern) {
            let matched = read.matches(&name);
            if read.is_literal() && !pattern.contains(&b'\\') {
                prop_assert_eq!(matched, pattern == name);
            }
        }
    }
}

/// Ten thousand damaged archives; python stands for the other readers.
#[test]
fn what_we_accept_python_reads_alike() {
    use std::process::{Command, Stdio};
    let base = {
        let mut file = Entry::new("some/file", EntryKind::Regular);
        file.size = 700;
        let mut long = Entry::new("l".repeat(150), EntryKind::Regular);
        long.size = 5;
        let link = Entry { link: b"target".to_vec(), ..Entry::new("link", EntryKind::Symlink) };
        let dir = Entry::new("dir/", EntryKind::Directory);
        write(&[(file, vec![b'x'; 700]), (long, b"hello".to_vec()), (link, Vec::new()), (dir, Vec::new())])
    };
    let (mut seed, mut accepted, mut input, mut cases) = (99u64, Vec::new(), Vec::new(), 0u32);
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for _ in 0..10_000 {
        let mut bytes = base.clone();
        // Change a byte of some header or extended record and put the checksum right again.
        let block = random(bytes.len() / 512);
        let at = block * 512 + random(512);
        bytes[at] = [b'0', b'1', b'7', 0, b' ', b'x', b'5', 0x80, 0xff, b'\n'][random(10)];
        let header = &mut bytes[block * 512..block * 512 + 512];
        if header[257..262] == *b"ustar" {
            let sealed = crate::build::Raw(header.try_into().expect("block")).seal();
            header.copy_from_slice(&sealed);
        }
        if let Ok(all) = read_all(&bytes) {
            let lines =
                all.iter().map(|(e, b)| (String::from_utf8_lossy(&e.path).trim_end_matches('/').to_owned(), b.len())).collect::<Vec<_>>();
            accepted.push(lines);
            input.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            input.extend_from_slice(&bytes);
            cases += 1;
        }
    }
    assert!(cases > 1000);
    let script = "import tarfile,sys,io,struct,json\n\
        d=sys.stdin.buffer.read();p=0\n\
        while p<len(d):\n\
        \x20   n=struct.unpack_from('<I',d,p)[0];b=d[p+4:p+4+n];p+=4+n\n\
        \x20   try:\n\
        \x20       t=tarfile.open(fileobj=io.BytesIO(b),errors='replace')\n\
        \x20       out=[[m.name.rstrip('/'),len(t.extractfile(m).read()) if m.isreg() and not m.issym() else 0] for m in t]\n\
        \x20   except Exception as e: out=None\n\
        \x20   print(json.dumps(out,ensure_ascii=False))";
    let mut child = Command::new("python3")
        .env("PYTHONIOENCODING", "utf8")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut stdin = child.stdin.take().expect("stdin");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(&input));
        child.wait_with_output().expect("python3")
    });
    let theirs = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut compared = 0;
    for (theirs, ours) in theirs.lines().zip(&accepted) {
        if theirs == "null" {
            continue;
        }
        let ours = ours.iter().map(|(name, size)| format!("[{}, {size}]", quote(name))).collect::<Vec<_>>().join(", ");
        // Python takes a header it does not like for the end of the archive; as far as it reads, it must read the same.
        let theirs = theirs.strip_suffix(']').expect("a list");
        let ours = format!("[{ours}");
        assert!(ours == theirs || ours.starts_with(theirs) && ours[theirs.len()..].starts_with(", "), "{ours}\n{theirs}");
        compared += 1;
    }
    assert!(compared > 1000, "{compared}");
}

fn quote(name: &str) -> String {
    let mut text = String::from("\"");
    for one in name.chars() {
        match one {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            one if u32::from(one) < 0x20 => text.push_str(&format!("\\u{:04x}", u32::from(one))),
            one => text.push(one),
        }
    }
    text.push('"');
    text
}
