//! `images`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::filters;
use crate::cli::human;
use crate::cli::listing::{Listing, Row, short_id};
use crate::cli::output;
use crate::cli::session::Session;
use serde::Deserialize;

/// Filters the API knows (C-08).
const FILTERS: [&str; 6] = ["before", "dangling", "label", "reference", "since", "until"];

/// List images
#[derive(Debug, clap::Parser)]
pub(crate) struct List {
    /// Show all images (default hides intermediate images)
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    #[arg(hide = true)]
    repository: Option<String>,
}

/// An image as the list endpoint tells it.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Summary {
    pub(crate) id: String,
    pub(crate) repo_tags: Option<Vec<String>>,
    pub(crate) repo_digests: Option<Vec<String>>,
    pub(crate) created: i64,
    pub(crate) size: i64,
    pub(crate) shared_size: i64,
    pub(crate) containers: i64,
}

/// Titles of the fields.
pub(crate) const TITLES: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

impl Verb for List {
    const NAMES: &'static [&'static str] = &["image ls", "image list", "images"];
    const USAGE: &'static str = "[OPTIONS] [REPOSITORY[:TAG]]";
    const WORDS: Words = Words::Between(0, 1);

    async fn run(self, session: &Session) -> Outcome {
        let mut given = self.filter.clone();
        given.extend(self.repository.iter().map(|repository| format!("reference={repository}")));
        let call = Call::get("/images/json").flag("all", self.all).query_if("filters", filters::query(&given)?);
        let found: Vec<Summary> = session.client()?.json(call).await.map_err(|failure| filters::explain(failure, &FILTERS))?;
        let format = if self.format.is_empty() && !self.quiet { session.config()?.images_format.clone() } else { self.format.clone() };
        let digests = self.digests || format.contains(".Digest");
        let named: Vec<Named> = found.iter().flat_map(|image| names(image, digests)).collect();
        if self.quiet && format.is_empty() {
            return named
                .iter()
                .try_for_each(|named| output::line(if self.no_trunc { named.image.id.clone() } else { short_id(&named.image.id) }));
        }
        let rows: Vec<Row> = named.iter().map(|named| row(named, !self.no_trunc)).collect();
        listing(self.digests).print(&format, &rows)
    }
}

fn listing(digests: bool) -> Listing {
    let digest = if digests { "\t{{.Digest}}" } else { "" };
    let table = format!(
        "{{{{.Repository}}}}\t{{{{.Tag}}}}{digest}\t{{{{.ID}}}}\t{{{{if .CreatedSince}}}}{{{{.CreatedSince}}}}{{{{else}}}}N/A{{{{end}}}}\t{{{{.Size}}}}"
    );
    Listing { table, titles: TITLES, kind: "*formatter.imageContext" }
}

/// One name of an image; an image has a row for each.
pub(crate) struct Named<'a> {
    pub(crate) image: &'a Summary,
    repository: String,
    tag: String,
    digest: String,
}

/// The rows of an image: one per tag, and with digests one per tag and digest.
pub(crate) fn names(image: &Summary, with_digests: bool) -> Vec<Named<'_>> {
    const NONE: &str = "<none>";
    let mut tags: Vec<(&str, &str)> =
        image.repo_tags.iter().flatten().filter(|tag| *tag != "<none>:<none>").filter_map(|tag| tag.rsplit_once(':')).collect();
    // M-28: names of one image stand together and in the same order each time, so that a doubled name is seen.
    tags.sort_unstable();
    let digests: Vec<(&str, &str)> = image
        .repo_digests
        .iter()
        .flatten()
        .filter(|digest| *digest != "<none>@<none>")
        .filter_map(|digest| digest.split_once('@'))
        .collect();
    let named = |repository: &str, tag: &str, digest: &str| Named {
        image,
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        digest: digest.to_owned(),
    };
    if tags.is_empty() && digests.is_empty() {
        return vec![named(NONE, NONE, NONE)];
    }
    let mut rows = Vec::new();
    for (repository, tag) in &tags {
        let of_repository: Vec<&str> =
            digests.iter().filter(|(other, _)| with_digests && other == repository).map(|(_, digest)| *digest).collect();
        if of_repository.is_empty() {
            rows.push(named(repository, tag, NONE));
        }
        rows.extend(of_repository.into_iter().map(|digest| named(repository, tag, digest)));
    }
    let mut seen: Vec<&str> = tags.iter().map(|(repository, _)| *repository).collect();
    for (repository, digest) in &digests {
        if tags.iter().any(|(tagged, _)| tagged == repository) || (!with_digests && seen.contains(repository)) {
            continue;
        }
        seen.push(repository);
        rows.push(named(repository, NONE, if with_digests { digest } else { NONE }));
    }
    rows
}

/// One name as a row.
pub(crate) fn row(named: &Named<'_>, truncate: bool) -> Row {
    let image = named.image;
    let size_or_unknown = |bytes: i64| if bytes < 0 { "N/A".to_owned() } else { human::size(bytes) };
    let unique = if image.shared_size < 0 { "N/A".to_owned() } else { human::size(image.size - image.shared_size) };
    Row::new()
        .with("ID", if truncate { short_id(&image.id) } else { image.id.clone() })
        .with("Repository", named.repository.as_str())
        .with("Tag", named.tag.as_str())
        .with("Digest", named.digest.as_str())
        .with("CreatedSince", human::ago(image.created))
        .with("CreatedAt", human::local(image.created))
        .with("Size", human::short_size(image.size))
        .with("Containers", if image.containers < 0 { "N/A".to_owned() } else { image.containers.to_string() })
        .with("VirtualSize", human::size(image.size))
        .with("SharedSize", size_or_unknown(image.shared_size))
        .with("UniqueSize", unique)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(tags: &[&str], digests: &[&str], with_digests: bool) -> Vec<String> {
        let own = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let image = Summary { repo_tags: own(tags), repo_digests: own(digests), ..Summary::default() };
        names(&image, with_digests).iter().map(|named| format!("{} {} {}", named.repository, named.tag, named.digest)).collect()
    }

    #[test]
    fn an_image_has_a_row_for_each_name() {
        assert_eq!(rows(&[], &[], false), ["<none> <none> <none>"]);
        assert_eq!(rows(&["a:1", "host:5000/b:2"], &[], false), ["a 1 <none>", "host:5000/b 2 <none>"]);
        assert_eq!(rows(&["a:1"], &["a@sha256:x"], false), ["a 1 <none>"]);
        assert_eq!(rows(&["a:1"], &["a@sha256:x"], true), ["a 1 sha256:x"]);
        assert_eq!(rows(&[], &["a@sha256:x"], false), ["a <none> <none>"]);
    }
}
