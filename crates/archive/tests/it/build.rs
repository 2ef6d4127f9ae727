//! Tar bytes by hand, so that wrong ones can be made too; and a folder to unpack into.

use std::path::PathBuf;

use shipway_archive::index::LayerIndex;
use shipway_archive::unpack::{Lower, NoLower, Options, UnpackSummary, unpack_layer, unpack_plain};
use shipway_archive::{Error, Limits};
use shipway_sys::path::Root;

/// A raw header block; fields are public bytes until `seal`.
pub(crate) struct Raw(pub(crate) [u8; 512]);

impl Raw {
    pub(crate) fn new(name: &[u8], typeflag: u8) -> Raw {
        let mut raw = Raw([0; 512]);
        raw.set(0, name);
        raw.set(100, b"0000644\0").set(108, b"0000000\0").set(116, b"0000000\0");
        raw.set(124, b"00000000000\0").set(136, b"00000000000\0");
        raw.0[156] = typeflag;
        raw.set(257, b"ustar\x0000");
        raw
    }

    pub(crate) fn set(&mut self, at: usize, bytes: &[u8]) -> &mut Raw {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn size(&mut self, size: u64) -> &mut Raw {
        self.set(124, format!("{size:011o}\0").as_bytes())
    }

    pub(crate) fn link(&mut self, target: &[u8]) -> &mut Raw {
        self.set(157, target)
    }

    /// The block with its checksum.
    pub(crate) fn seal(&self) -> [u8; 512] {
        let mut block = self.0;
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// An archive being put together.
#[derive(Default, Clone)]
pub(crate) struct Archive(pub(crate) Vec<u8>);

impl Archive {
    pub(crate) fn raw(mut self, block: &Raw) -> Archive {
        self.0.extend(block.seal());
        self
    }

    pub(crate) fn body(mut self, bytes: &[u8]) -> Archive {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn entry(self, typeflag: u8, name: &str, body: &[u8]) -> Archive {
        let mut raw = Raw::new(name.as_bytes(), typeflag);
        raw.size(body.len() as u64);
        self.raw(&raw).body(body)
    }

    pub(crate) fn file(self, name: &str, body: &str) -> Archive {
        self.entry(b'0', name, body.as_bytes())
    }

    pub(crate) fn dir(self, name: &str) -> Archive {
        let mut raw = Raw::new(name.as_bytes(), b'5');
        raw.set(100, b"0000755\0");
        self.raw(&raw)
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Archive {
        self.raw(Raw::new(name.as_bytes(), b'2').link(target.as_bytes()))
    }

    pub(crate) fn hardlink(self, name: &str, target: &str) -> Archive {
        self.raw(Raw::new(name.as_bytes(), b'1').link(target.as_bytes()))
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Archive {
        let mut bytes = Vec::new();
        for (key, value) in records {
            shipway_archive::tar::pax::push_record(&mut bytes, key.as_bytes(), value);
        }
        self.entry(b'x', "PaxHeaders/x", &bytes)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// A layer that was unpacked.
#[derive(Debug)]
pub(crate) struct Unpacked {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) skipped_xattrs: u64,
    pub(crate) index: LayerIndex,
}

/// A folder `root` in memory with a witness beside it that must never change.
pub(crate) struct Ground {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) root: Root,
}

impl Ground {
    pub(crate) fn new() -> Ground {
        let dir = tempfile::tempdir_in("/dev/shm").expect("tempdir");
        std::fs::create_dir(dir.path().join("root")).expect("mkdir");
        std::fs::create_dir(dir.path().join("outside")).expect("mkdir");
        std::fs::write(dir.path().join("outside/witness"), "untouched").expect("write");
        let root = Root::open(dir.path().join("root")).expect("root");
        Ground { dir, root }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("root").join(name)
    }

    pub(crate) fn layer(&self, tar: &[u8]) -> Result<Unpacked, Error> {
        self.layer_over(tar, &NoLower)
    }

    pub(crate) fn layer_over(&self, tar: &[u8], lower: &dyn Lower) -> Result<Unpacked, Error> {
        let result = unpack_layer(tar, &self.root, lower, &Options::default());
        self.check_outside();
        let (summary, index) = result?;
        Ok(Unpacked { entries: summary.entries, bytes: summary.bytes, skipped_xattrs: summary.skipped_xattrs, index })
    }

    pub(crate) fn plain(&self, tar: &[u8]) -> Result<UnpackSummary, Error> {
        let result = unpack_plain(tar, &self.root, &Options::default());
        self.check_outside();
        result
    }

    /// Nothing outside the root may have been made, changed or removed.
    fn check_outside(&self) {
        let names = |path: PathBuf| {
            let mut names: Vec<_> = std::fs::read_dir(path).expect("list").map(|e| e.expect("entry").file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(self.dir.path().to_path_buf()), ["outside", "root"]);
        assert_eq!(names(self.dir.path().join("outside")), ["witness"]);
        assert_eq!(std::fs::read(self.dir.path().join("outside/witness")).expect("read"), b"untouched");
        let found = std::fs::metadata(self.dir.path().join("outside/witness")).expect("stat");
        assert_eq!(std::os::unix::fs::MetadataExt::nlink(&found), 1);
    }

    /// Path, kind letter and, for files and links, content; sorted.
    pub(crate) fn listing(&self) -> Vec<String> {
        let mut lines = Vec::new();
        list(&self.root, "", &mut lines);
        lines
    }
}

fn list(root: &Root, folder: &str, lines: &mut Vec<String>) {
    use shipway_sys::path::FileKind;
    for entry in root.read_dir(folder.as_ref()).expect("list") {
        let path = if folder.is_empty() {
            entry.name.to_string_lossy().into_owned()
        } else {
            format!("{folder}/{}", entry.name.to_string_lossy())
        };
        match entry.kind {
            FileKind::Directory => {
                lines.push(format!("d {path}"));
                list(root, &path, lines);
            }
            FileKind::Regular => {
                let content = root.read_limited(path.as_ref(), 1 << 24).expect("read");
                lines.push(format!("f {path} {}", String::from_utf8_lossy(&content)));
            }
            FileKind::Symlink => lines.push(format!("l {path} {}", root.read_link(path.as_ref()).expect("link").display())),
            FileKind::CharDevice if root.lstat(path.as_ref()).expect("stat").rdev == (0, 0) => lines.push(format!("w {path}")),
            other => lines.push(format!("{other} {path}")),
        }
    }
}

/// All entries with their bodies, read by us.
pub(crate) fn read_all(tar: &[u8]) -> Result<Vec<(shipway_archive::tar::Entry, Vec<u8>)>, Error> {
    let mut reader = shipway_archive::tar::TarReader::new(tar, Limits::default());
    let mut all = Vec::new();
    while let Some(entry) = reader.next()? {
        let mut body = Vec::new();
        let read = std::io::Read::read_to_end(&mut reader, &mut body);
        if let Err(error) = read {
            return Err(Error::Read(error));
        }
        all.push((entry, body));
    }
    Ok(all)
}
