//! `history`.

use super::{path, platform_document};
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::human;
use crate::cli::listing::{Listing, Row, ellipsis, short_id};
use crate::cli::output;
use crate::cli::session::Session;
use serde::Deserialize;

/// Show the history of an image
#[derive(Debug, clap::Parser)]
pub(crate) struct History {
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Print sizes and dates in human readable format (default true)
    #[arg(short = 'H', long)]
    human: bool,
    #[arg(long, hide = true)]
    no_human: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Show history for the given platform
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    #[arg(hide = true)]
    image: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Step {
    id: String,
    created: i64,
    created_by: String,
    size: i64,
    comment: String,
}

const TITLES: &[(&str, &str)] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

impl Verb for History {
    const NAMES: &'static [&'static str] = &["image history", "history"];
    const USAGE: &'static str = "[OPTIONS] IMAGE";
    const WORDS: Words = Words::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let call = Call::get(path(&self.image, "/history")).query_if("platform", platform_document(self.platform.as_deref())?);
        let steps: Vec<Step> = session.client()?.json(call).await?;
        if self.quiet && self.format.is_empty() {
            return steps.iter().try_for_each(|step| output::line(if self.no_trunc { step.id.clone() } else { short_id(&step.id) }));
        }
        let rows: Vec<Row> = steps.iter().map(|step| self.row(step)).collect();
        let created = if self.no_human { "{{.CreatedAt}}" } else { "{{.CreatedSince}}" };
        let table = format!("{{{{.ID}}}}\t{created}\t{{{{.CreatedBy}}}}\t{{{{.Size}}}}\t{{{{.Comment}}}}");
        Listing { table, titles: TITLES, kind: "*image.historyContext" }.print(&self.format, &rows)
    }
}

impl History {
    fn row(&self, step: &Step) -> Row {
        let by = step.created_by.replace('\t', " ");
        let at = if step.created > 0 { human::local_seconds(step.created) } else { String::new() };
        Row::new()
            .with("ID", if self.no_trunc { step.id.clone() } else { short_id(&step.id) })
            .with("CreatedSince", if self.no_human { at.clone() } else { human::ago(step.created) })
            .with("CreatedAt", at)
            .with("CreatedBy", if self.no_trunc { by } else { ellipsis(&by, 45) })
            .with("Size", if self.no_human { step.size.to_string() } else { human::short_size(step.size) })
            .with("Comment", step.comment.as_str())
    }
}
