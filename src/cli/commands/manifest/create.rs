//! `manifest create` and `manifest annotate`.

use super::store::{self, Entry, List};
use super::{fetch, named};
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::{Call, path_escape};
use crate::cli::credentials;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::session::Session;
use shipway_model::{Platform, Reference};
use shipway_wire::images::DistributionInspect;

/// Create a local manifest list for annotating and pushing to a registry
#[derive(Debug, clap::Parser)]
pub(crate) struct Create {
    /// Amend an existing manifest list
    #[arg(short, long)]
    amend: bool,
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    #[arg(hide = true)]
    names: Vec<String>,
}

/// Add additional information to a local image manifest
#[derive(Debug, clap::Parser)]
pub(crate) struct Annotate {
    /// Set architecture
    #[arg(long, value_name = "string")]
    arch: Option<String>,
    /// Set operating system
    #[arg(long, value_name = "string")]
    os: Option<String>,
    /// Set operating system feature
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    os_features: Vec<String>,
    /// Set operating system version
    #[arg(long, value_name = "string")]
    os_version: Option<String>,
    /// Set architecture variant
    #[arg(long, value_name = "string")]
    variant: Option<String>,
    #[arg(hide = true)]
    list: String,
    #[arg(hide = true)]
    manifest: String,
}

impl Verb for Create {
    const NAMES: &'static [&'static str] = &["manifest create"];
    const USAGE: &'static str = "MANIFEST_LIST MANIFEST [MANIFEST...]";
    const WORDS: Words = Words::AtLeast(2);

    async fn run(self, session: &Session) -> Outcome {
        let Some((name, manifests)) = self.names.split_first() else { return Err(Failure::usage("a manifest list needs a name")) };
        let name = named(name)?.with_default_tag();
        let known = store::read(session, &name)?;
        if known.is_some() && !self.amend {
            return Err(Failure::new("refusing to amend an existing manifest list with no --amend flag"));
        }
        let mut list = known.unwrap_or_else(|| List { list: name.canonical(), entries: Vec::new() });
        for manifest in manifests {
            let reference = named(manifest)?.with_default_tag();
            let entry = entry(session, &reference).await?;
            list.entries.retain(|other| other.reference != entry.reference);
            list.entries.push(entry);
        }
        store::write(session, &name, &list)?;
        output::line(format!("Created manifest list {}", name.canonical()))
    }
}

/// What a registry says about one manifest and its platform.
pub(super) async fn entry(session: &Session, reference: &Reference) -> Outcome<Entry> {
    let (mut descriptor, _) = fetch(session, reference).await?;
    if descriptor.media_type.is_index() {
        return Err(Failure::new(format!("{} is a manifest list", reference.familiar()))
            .hint("name the manifests in it by their digests: shipway manifest inspect LIST"));
    }
    let digest = descriptor.digest;
    let pinned = reference.clone().without_tag_and_digest().with_digest(digest);
    let header = credentials::header_for(session, reference.domain()).await?;
    let call = Call::get(format!("/distribution/{}/json", path_escape(&pinned.canonical()))).header("x-registry-auth", header);
    let about: DistributionInspect = session.client()?.json(call).await?;
    descriptor.platform = about.platforms.into_iter().next().map(|platform| {
        let variant = platform.variant.filter(|variant| !variant.is_empty());
        Platform::new(&platform.os, &platform.architecture, variant.as_deref())
    });
    Ok(Entry { reference: pinned.canonical(), shown: reference.canonical(), descriptor })
}

impl Verb for Annotate {
    const NAMES: &'static [&'static str] = &["manifest annotate"];
    const USAGE: &'static str = "[OPTIONS] MANIFEST_LIST MANIFEST";
    const WORDS: Words = Words::Exactly(2);

    async fn run(self, session: &Session) -> Outcome {
        let name = named(&self.list)?;
        let Some(mut list) = store::read(session, &name)? else {
            let reason = format!("manifest for image {} does not exist in {}", self.manifest, self.list);
            return Err(Failure::new(reason).hint("put the list together first: shipway manifest create"));
        };
        let manifest = named(&self.manifest)?;
        let missing = || Failure::new(format!("manifest for image {} does not exist in {}", self.manifest, self.list));
        let at = list.position(&manifest).ok_or_else(missing)?;
        let descriptor = &mut list.entries[at].descriptor;
        let mut platform = descriptor.platform.clone().unwrap_or_else(Platform::host);
        if let Some(os) = self.os {
            platform.os = os;
        }
        if let Some(architecture) = self.arch {
            platform.architecture = architecture;
        }
        if let Some(variant) = self.variant {
            platform.variant = Some(variant).filter(|variant| !variant.is_empty());
        }
        if let Some(version) = self.os_version {
            platform.os_version = Some(version).filter(|version| !version.is_empty());
        }
        if !self.os_features.is_empty() {
            platform.os_features = self.os_features;
        }
        check_platform(&platform)?;
        descriptor.platform = Some(platform);
        store::write(session, &name, &list)
    }
}

/// Systems and the processors they run on, as far as docker takes them into a list.
const PLATFORMS: [(&str, &[&str]); 11] = [
    ("linux", &["amd64", "arm64", "386", "arm", "loong64", "mips64", "mips64le", "ppc64le", "riscv64", "s390x"]),
    ("windows", &["amd64", "arm64", "386", "arm"]),
    ("darwin", &["amd64", "arm64", "386", "arm"]),
    ("freebsd", &["amd64", "arm64", "386", "arm"]),
    ("netbsd", &["amd64", "arm64", "386", "arm"]),
    ("openbsd", &["amd64", "arm64", "386", "arm"]),
    ("dragonfly", &["amd64"]),
    ("solaris", &["amd64"]),
    ("plan9", &["amd64", "386"]),
    ("wasip1", &["wasm"]),
    ("js", &["wasm"]),
];

/// A mistyped one would hide the image from everybody it is for.
fn check_platform(platform: &Platform) -> Outcome {
    let (os, architecture) = (platform.os.as_str(), platform.architecture.as_str());
    let known = PLATFORMS.iter().find(|(known, _)| *known == os).map_or(&[][..], |(_, architectures)| architectures);
    if known.contains(&architecture) {
        return Ok(());
    }
    let failure = Failure::new(format!("manifest entry for image has unsupported os/arch combination: {os}/{architecture}"));
    let (word, near) = if known.is_empty() {
        ("systems", PLATFORMS.iter().map(|(os, _)| *os).collect::<Vec<_>>())
    } else {
        ("architectures", known.to_vec())
    };
    let asked = if known.is_empty() { os } else { architecture };
    Err(match crate::cli::nearest::near(asked, near.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure.hint(format!("{word} are {}", near.join(", "))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_nobody_has_are_told_from_those_of_docker() {
        let check = |text: &str| {
            let (os, architecture) = text.split_once('/').unwrap();
            check_platform(&Platform { os: os.to_owned(), architecture: architecture.to_owned(), ..Platform::host() })
        };
        for good in ["linux/amd64", "linux/arm64", "linux/riscv64", "windows/amd64", "wasip1/wasm"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for (wrong, hint) in
            [("linux/amd46", "did you mean amd64?"), ("linx/amd64", "did you mean linux?"), ("solaris/arm", "architectures are amd64")]
        {
            let failure = check(wrong).unwrap_err();
            let words = format!("manifest entry for image has unsupported os/arch combination: {wrong}");
            assert_eq!((failure.to_string(), failure.hints.clone()), (words, vec![hint.to_owned()]));
        }
    }
}
