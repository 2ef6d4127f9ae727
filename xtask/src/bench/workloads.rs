//! What the engines are given to work on: base images, build contexts, and how to tell that a result is right.
//!
//! Everything is made here from a fixed seed; nothing is downloaded. Contexts lie on a file system of their own, the same for every engine.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::invocation::Invocation;
use super::options::Options;
use super::stage::Stage;

/// A static busybox with its links, and nothing else.
pub(super) const BASE: &str = "localhost/bench-base:latest";
/// The same with one file of noise, from which a build step makes a large layer.
pub(super) const NOISY_BASE: &str = "localhost/bench-noisy:latest";
/// The large layer: so many copies of the noise make 1 GiB.
pub(super) const NOISE_COPIES: usize = 64;
pub(super) const NOISE_BYTES: usize = 16 << 20;

const TREE_FOLDERS: usize = 200;
const TREE_FILES_PER_FOLDER: usize = 100;
const STEPS: usize = 50;

/// A folder to build, and a command whose output in the finished image proves the build.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pub(super) context: PathBuf,
    pub(super) proof: Vec<String>,
    pub(super) expected: String,
}

/// All that was made.
pub(super) struct Inputs {
    /// Image name and tar of its root file system.
    pub(super) bases: Vec<(&'static str, PathBuf)>,
    pub(super) multi_stage: Workload,
    pub(super) many_steps: Workload,
    pub(super) tree: Workload,
    /// The file of the tree that the case "one file edited" changes.
    pub(super) edited: PathBuf,
    pub(super) large_layer: Workload,
    /// The noise itself, for the hashing yardsticks.
    pub(super) noise: PathBuf,
    /// A folder on the same kind of file system for yardsticks that write.
    pub(super) scratch: PathBuf,
}

/// Makes everything on a fresh file system.
pub(super) fn make(stage: &mut Stage, options: &Options) -> Result<Inputs, String> {
    let folder = stage.file_system("inputs")?;
    let noise = folder.join("noise");
    write(&noise, &Noise::new(1).bytes(NOISE_BYTES))?;
    let scratch = folder.join("scratch");
    create(&scratch)?;
    let tree = tree(&folder.join("tree"))?;
    Ok(Inputs {
        bases: bases(stage, options, &folder, &noise)?,
        multi_stage: multi_stage(&folder.join("multi-stage"))?,
        many_steps: many_steps(&folder.join("many-steps"))?,
        edited: tree.context.join("folder-100/file-50.txt"),
        tree,
        large_layer: large_layer(&folder.join("large-layer"))?,
        noise,
        scratch,
    })
}

fn bases(stage: &Stage, options: &Options, folder: &Path, noise: &Path) -> Result<Vec<(&'static str, PathBuf)>, String> {
    let root = folder.join("base");
    for name in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
        create(&root.join(name))?;
    }
    copy(&options.busybox, &root.join("bin/busybox"))?;
    let applets = Invocation::new(&options.busybox).arg("--list").output(&stage.log())?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        let link = root.join("bin").join(applet);
        std::os::unix::fs::symlink("busybox", &link).map_err(|error| format!("cannot create {}: {error}", link.display()))?;
    }
    write(&root.join("etc/passwd"), b"root:x:0:0:root:/:/bin/sh\n")?;
    write(&root.join("etc/group"), b"root:x:0:\n")?;
    let chroot = Invocation::new("chroot").path(&root).args(["/bin/busybox", "true"]);
    chroot.timed(&stage.log()).map_err(|error| format!("{} is not a static busybox: {error}", options.busybox.display()))?;
    let (base, noisy) = (folder.join("base.tar"), folder.join("noisy.tar"));
    let pack = |target: &Path| Invocation::new("tar").arg("--create").arg("--file").path(target).arg("--directory").path(&root).arg(".");
    pack(&base).timed(&stage.log())?;
    copy(noise, &root.join("noise"))?;
    pack(&noisy).timed(&stage.log())?;
    Ok(vec![(BASE, base), (NOISY_BASE, noisy)])
}

/// Four stages, two of them independent of each other, five RUN or COPY steps besides the final ones.
fn multi_stage(context: &Path) -> Result<Workload, String> {
    create(&context.join("library"))?;
    let mut noise = Noise::new(2);
    for number in 0..50 {
        write(&context.join(format!("library/part-{number}")), noise.text(1024).as_bytes())?;
    }
    write(&context.join("app.conf"), b"mode = bench\n")?;
    let recipe = format!(
        "FROM {BASE} AS tools\n\
         RUN mkdir /out && for n in $(seq 1 200); do echo tool $n > /out/tool-$n; done\n\
         FROM {BASE} AS library\n\
         COPY library /library\n\
         RUN mkdir /out && cat /library/* > /out/library.txt\n\
         FROM tools AS checked\n\
         RUN test $(ls /out | wc -l) -eq 200 && echo yes > /out/checked\n\
         FROM {BASE}\n\
         WORKDIR /app\n\
         COPY --from=library /out/library.txt ./\n\
         COPY --from=checked /out /app/tools\n\
         COPY app.conf ./\n\
         ENV MODE=bench\n\
         CMD [\"cat\", \"/app/library.txt\"]\n"
    );
    workload(context, &recipe, "ls /app/tools | wc -l; wc -c < /app/library.txt; cat /app/app.conf", "201\n51200\nmode = bench")
}

fn many_steps(context: &Path) -> Result<Workload, String> {
    create(context)?;
    let mut recipe = format!("FROM {BASE}\n");
    for number in 1..=STEPS {
        // Writing to a string does not fail.
        let _ = writeln!(recipe, "RUN echo {number} > /step-{number}");
    }
    workload(context, &recipe, "ls -d /step-* | wc -l; cat /step-50", "50\n50")
}

/// 20,000 files of 1 to 4 KiB, half of each file's characters predictable, in 200 folders.
fn tree(context: &Path) -> Result<Workload, String> {
    let mut noise = Noise::new(3);
    for folder in 0..TREE_FOLDERS {
        let folder = context.join(format!("folder-{folder}"));
        create(&folder)?;
        for file in 0..TREE_FILES_PER_FOLDER {
            let length = 1024 + (noise.next() % 3073) as usize;
            write(&folder.join(format!("file-{file}.txt")), noise.text(length).as_bytes())?;
        }
    }
    // The Dockerfile is part of the context, hence one more.
    workload(context, &format!("FROM {BASE}\nCOPY . /src\nRUN true\n"), "find /src -type f | wc -l", "20001")
}

/// One RUN that writes 1 GiB which no window of a compressor can shrink.
fn large_layer(context: &Path) -> Result<Workload, String> {
    create(context)?;
    let recipe = format!("FROM {NOISY_BASE}\nRUN for n in $(seq 1 {NOISE_COPIES}); do cat /noise; done > /large\n");
    workload(context, &recipe, "stat -c %s /large; tail -c 16777216 /large | cmp - /noise && echo same", "1073741824\nsame")
}

fn workload(context: &Path, recipe: &str, proof: &str, expected: &str) -> Result<Workload, String> {
    write(&context.join("Dockerfile"), recipe.as_bytes())?;
    let proof = ["sh", "-c", proof].map(ToOwned::to_owned).to_vec();
    Ok(Workload { context: context.to_owned(), proof, expected: expected.to_owned() })
}

/// Bytes that look random and are the same in every run (xorshift64*).
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8
    }

    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        // The topmost of the eight bytes is always zero, see the shift above.
        let mut bytes: Vec<u8> =
            std::iter::from_fn(|| Some(self.next().to_le_bytes())).take(length / 7 + 1).flat_map(|word| word.into_iter().take(7)).collect();
        bytes.truncate(length);
        bytes
    }

    fn text(&mut self, length: usize) -> String {
        let mut text = String::with_capacity(length + 32);
        while text.len() < length {
            let _ = writeln!(text, "let value = {:014x};", self.next());
        }
        text.truncate(length);
        text
    }
}

pub(super) fn create(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

pub(super) fn copy(from: &Path, to: &Path) -> Result<(), String> {
    std::fs::copy(from, to).map(drop).map_err(|error| format!("cannot copy {} to {}: {error}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_repeatable_and_does_not_repeat_itself() {
        let bytes = Noise::new(1).bytes(4096);
        assert_eq!(bytes, Noise::new(1).bytes(4096));
        assert_ne!(bytes, Noise::new(2).bytes(4096));
        let mut counts = [0_u32; 256];
        bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        assert!(counts.iter().all(|count| (1..=48).contains(count)), "{counts:?}");
    }

    #[test]
    fn text_has_the_length_that_was_asked_for() {
        assert_eq!(Noise::new(3).text(1025).len(), 1025);
    }
}
