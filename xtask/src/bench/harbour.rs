//! The registry that every engine ships with, and the goods that lie there: Debian's docker-registry over one folder, on the loopback of every network
//! that an engine lives in.
//!
//! What must stay true: the goods are made and pushed by no engine here (tar, gzip -6 and plain HTTP), so that nobody pulls what suits it best; one
//! folder serves all; what is pulled is in the page cache for everybody.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::engines::Roster;
use super::invocation::Invocation;
use super::options::Options;
use super::registries::digest;
use super::stage::Stage;
use super::workloads::{Noise, copy, create, write};

const PROGRAM: &str = "/usr/bin/docker-registry";
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const MIB: usize = 1 << 20;

/// Layers of the large image, and the bytes of files in each.
const LAYERS: usize = 20;
const LAYER: usize = 25 * MIB;
/// Files of the other image, in so many folders.
const SMALL_FILES: usize = 50_000;
const SMALL_FOLDERS: usize = 250;
/// Bytes of files in the layer that is pushed.
const FIRST: usize = 500 * MIB;

/// An image that lies in the registry.
#[derive(Debug)]
pub(super) struct Goods {
    /// `repository:tag`.
    pub(super) name: &'static str,
    /// Files below `/cargo`.
    pub(super) files: usize,
    /// The tars of its layers, uncompressed; each has its stored form beside it.
    pub(super) tars: Vec<PathBuf>,
}

/// The registry and what is in it.
pub(super) struct Harbour {
    port: u16,
    pub(super) large: Goods,
    pub(super) small_files: Goods,
    /// Root file system of the image that is pushed for the first time; its marker changes before each round.
    first: PathBuf,
    pub(super) first_tar: PathBuf,
}

impl Harbour {
    pub(super) fn set_up(stage: &mut Stage, options: &Options, roster: &Roster) -> Result<Self, String> {
        println!("goods for the registry are being made");
        let goods = stage.file_system("goods")?;
        let storage = stage.file_system("harbour")?;
        let port = free_port()?;
        serve(stage, roster, &storage, port)?;
        let mut pool = Pool::new();
        let large = large(stage, options, &goods.join("large"), &mut pool)?;
        let small_files = small_files(stage, options, &goods.join("small"), &mut pool)?;
        let first = goods.join("first");
        busybox(options, &first)?;
        pool.fill(&first.join("cargo"), FIRST)?;
        let harbour = Self { port, large, small_files, first, first_tar: goods.join("first.tar") };
        for goods in [&harbour.large, &harbour.small_files] {
            harbour.stow(stage, goods)?;
        }
        stage.settle(&goods)?;
        stage.settle(&storage)?;
        Ok(harbour)
    }

    /// Host and port, the same for everybody.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Makes the tar of the first push anew, other than any before.
    pub(super) fn remark(&self, stage: &Stage, marker: &str) -> Result<(), String> {
        write(&self.first.join("marker"), marker.as_bytes())?;
        pack(stage, &self.first, &self.first_tar)?;
        stage.settle(&self.first_tar)
    }

    /// Bytes of the stored layers behind a name.
    pub(super) fn stored(&self, stage: &Stage, repository: &str, tag: &str) -> Result<u64, String> {
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.address());
        let oci = "application/vnd.oci.image.manifest.v1+json";
        let text = curl(&["--header", &format!("Accept: {MANIFEST}, {oci}"), &url]).output(&stage.log())?;
        let manifest: Value = serde_json::from_str(&text).map_err(|error| format!("{url}: {error}"))?;
        let layers = manifest["layers"].as_array().ok_or_else(|| format!("{url} has no layers"))?;
        Ok(layers.iter().filter_map(|layer| layer["size"].as_u64()).sum())
    }

    /// Compresses the layers and pushes everything by hand.
    fn stow(&self, stage: &Stage, goods: &Goods) -> Result<(), String> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).to_string();
        let tars: Vec<String> = goods.tars.iter().map(|tar| tar.display().to_string()).collect();
        let script = "threads=$1; shift; printf '%s\\n' \"$@\" | xargs -P $threads -n 1 gzip -6 --keep --no-name";
        Invocation::new("sh").args(["-c", script, "sh", &threads]).args(&tars).timed(&stage.log())?;
        let (repository, tag) = goods.name.split_once(':').ok_or("a name without a tag")?;
        let (mut diff_ids, mut layers) = (Vec::new(), Vec::new());
        for tar in &goods.tars {
            diff_ids.push(digest(&read(tar)?));
            let stored = stored_form(tar);
            let (digest, size) = self.put(stage, repository, &stored)?;
            layers.push(json!({"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": digest, "size": size}));
        }
        let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": {"Cmd": ["/bin/busybox", "true"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": diff_ids.iter().map(|_| json!({"created": "2026-01-01T00:00:00Z"})).collect::<Vec<_>>(),
        });
        let file = goods.tars[0].with_extension("json");
        write(&file, config.to_string().as_bytes())?;
        let (digest, size) = self.put(stage, repository, &file)?;
        let config = json!({"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest, "size": size});
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        write(&file, manifest.to_string().as_bytes())?;
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.address());
        let call = curl(&["--header", &format!("Content-Type: {MANIFEST}"), "--upload-file"]).path(&file).arg(url);
        call.timed(&stage.log()).map(drop)
    }

    /// Uploads one blob; its digest and size.
    fn put(&self, stage: &Stage, repository: &str, file: &Path) -> Result<(String, usize), String> {
        let bytes = read(file)?;
        let digest = digest(&bytes);
        let url = format!("http://{}/v2/{repository}/blobs/uploads/", self.address());
        let location =
            curl(&["--request", "POST", "--output", "/dev/null", "--write-out", "%header{location}", &url]).output(&stage.log())?;
        let call = curl(&["--header", "Content-Type: application/octet-stream", "--upload-file"]).path(file);
        call.arg(format!("{location}&digest={digest}")).timed(&stage.log())?;
        Ok((digest, bytes.len()))
    }
}

/// One server in the network of the host, and one in each network that a daemon has of its own.
fn serve(stage: &mut Stage, roster: &Roster, storage: &Path, port: u16) -> Result<(), String> {
    if !Path::new(PROGRAM).is_file() {
        return Err(format!("{PROGRAM} is not installed; leave the cases that begin with \"ship\" away"));
    }
    let config = stage.folder.join("docker-registry.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
        storage.display()
    );
    write(&config, text.as_bytes())?;
    let program = Invocation::new(PROGRAM).arg("serve").path(&config);
    stage.start_daemon("docker-registry", &program)?;
    let daemons: BTreeSet<u32> = roster.present.iter().filter_map(|engine| engine.daemon()).collect();
    for daemon in daemons {
        let network = format!("--net=/proc/{daemon}/ns/net");
        stage.start_daemon(&format!("docker-registry-{daemon}"), &program.after("nsenter", &[&network]))?;
    }
    for _ in 0..200 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("docker-registry does not answer; it said: {}", stage.last_words("docker-registry")))
}

fn large(stage: &Stage, options: &Options, folder: &Path, pool: &mut Pool) -> Result<Goods, String> {
    let mut goods = Goods { name: "cargo/large:1", files: 0, tars: Vec::new() };
    for number in 0..LAYERS {
        let root = folder.join(format!("layer-{number}"));
        if number == 0 {
            busybox(options, &root)?;
        }
        goods.files += pool.fill(&root.join(format!("cargo/{number}")), LAYER)?;
        let tar = folder.join(format!("layer-{number}.tar"));
        pack(stage, &root, &tar)?;
        goods.tars.push(tar);
    }
    Ok(goods)
}

fn small_files(stage: &Stage, options: &Options, folder: &Path, pool: &mut Pool) -> Result<Goods, String> {
    let base = folder.join("base");
    busybox(options, &base)?;
    let root = folder.join("files");
    for number in 0..SMALL_FOLDERS {
        let folder = root.join(format!("cargo/folder-{number}"));
        create(&folder)?;
        for file in 0..SMALL_FILES / SMALL_FOLDERS {
            let length = 200 + pool.below(1800);
            write(&folder.join(format!("file-{file}.txt")), pool.words(length))?;
        }
    }
    let tars = [("base.tar", &base), ("files.tar", &root)].map(|(name, root)| (folder.join(name), root));
    for (tar, root) in &tars {
        pack(stage, root, tar)?;
    }
    Ok(Goods { name: "cargo/small-files:1", files: SMALL_FILES, tars: tars.into_iter().map(|(tar, _)| tar).collect() })
}

/// Where the stored form of a layer lies.
pub(super) fn stored_form(tar: &Path) -> PathBuf {
    tar.with_extension("tar.gz")
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn busybox(options: &Options, root: &Path) -> Result<(), String> {
    create(&root.join("bin"))?;
    copy(&options.busybox, &root.join("bin/busybox"))
}

fn pack(stage: &Stage, root: &Path, tar: &Path) -> Result<(), String> {
    let call =
        Invocation::new("tar").args(["--create", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--file"]);
    call.path(tar).arg("--directory").path(root).arg(".").timed(&stage.log()).map(drop)
}

fn curl(arguments: &[&str]) -> Invocation {
    Invocation::new("curl").args(["--silent", "--show-error", "--fail", "--noproxy", "*"]).args(arguments)
}

fn free_port() -> Result<u16, String> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    address.map(|address| address.port()).map_err(|error| format!("cannot find a port: {error}"))
}

/// Where file contents are cut from: words as in text and programs, and noise as in what is compressed already, one file in eight.
struct Pool {
    words: Vec<u8>,
    noise: Vec<u8>,
    random: Noise,
}

impl Pool {
    fn new() -> Self {
        let mut random = Noise::new(4);
        let vocabulary: Vec<Vec<u8>> = (0..4096)
            .map(|_| {
                let length = 2 + (random.next() % 9) as usize;
                (0..length).map(|_| b'a' + (random.next() % 26) as u8).chain([b' ']).collect()
            })
            .collect();
        let mut words = Vec::with_capacity(16 * MIB);
        while words.len() < 16 * MIB {
            // The product of two even numbers is small more often than not: some words are common, most are rare.
            let word = (random.next() % 4096 * (random.next() % 4096) / 4096) as usize;
            words.extend_from_slice(&vocabulary[word]);
        }
        let noise = Noise::new(5).bytes(4 * MIB);
        Self { words, noise, random }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random.next() as usize % limit
    }

    fn words(&mut self, length: usize) -> &[u8] {
        let at = self.below(self.words.len() - length);
        &self.words[at..at + length]
    }

    /// Fills a folder with files of 16 to 80 KiB, `total` bytes together; how many there are.
    fn fill(&mut self, folder: &Path, total: usize) -> Result<usize, String> {
        let (mut left, mut files) = (total, 0);
        while left > 0 {
            if files % 100 == 0 {
                create(&folder.join((files / 100).to_string()))?;
            }
            let length = (16 * 1024 + self.below(64 * 1024)).min(left);
            let path = folder.join(format!("{}/{files}", files / 100));
            if files % 8 == 7 {
                let at = self.below(self.noise.len() - length);
                write(&path, &self.noise[at..at + length])?;
            } else {
                write(&path, self.words(length))?;
            }
            left -= length;
            files += 1;
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_filled_with_exactly_so_many_bytes() {
        let folder = std::env::temp_dir().join(format!("xtask-harbour-{}", std::process::id()));
        let files = Pool::new().fill(&folder, 3 * MIB).unwrap();
        let sizes: Vec<u64> =
            (0..files).map(|file| std::fs::metadata(folder.join(format!("{}/{file}", file / 100))).unwrap().len()).collect();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(sizes.iter().sum::<u64>(), 3 * MIB as u64);
    }

    #[test]
    fn the_stored_form_lies_beside_the_tar() {
        assert_eq!(stored_form(Path::new("/goods/layer-1.tar")), Path::new("/goods/layer-1.tar.gz"));
    }
}
