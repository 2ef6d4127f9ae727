//! COPY and ADD: sources, destination, owner and mode as they will be used.

use shipway_dockerfile::{Add, Copy, Source, Span, Word, expand_heredoc, without_secrets};

use super::history::HistoryEntry;
use super::run::{join, working_dir};
use super::stages::{Here, Numbering, StageState};
use super::{Lowerer, error, unsupported};
use crate::graph::{CopyOp, CopySource, Op, VertexIndex};
use crate::ops::chmod;

/// What COPY and ADD have in common.
struct Common<'a> {
    name: &'static str,
    sources: &'a [Source],
    destination: &'a Word,
    chown: Option<&'a Word>,
    chmod: Option<&'a Word>,
    link: bool,
    parents: bool,
    exclude: &'a [Word],
    unpack: Option<bool>,
    checksum: Option<&'a Word>,
}

/// Where the paths of an instruction are.
enum Origin {
    Context,
    Tree(Option<VertexIndex>),
}

impl Lowerer<'_> {
    pub(super) fn copy(&mut self, here: &Here<'_>, copy: &Copy, state: &mut StageState, numbering: &mut Numbering) {
        let origin = match &copy.from {
            None => Origin::Context,
            Some(from) => {
                let Some(name) = self.expand(here, state, from) else { return };
                let Some(tree) = self.tree_of(here.stage, &name, here.at(from.span)) else { return };
                Origin::Tree(tree)
            }
        };
        let common = Common {
            name: "COPY",
            sources: &copy.sources,
            destination: &copy.destination,
            chown: copy.chown.as_ref(),
            chmod: copy.chmod.as_ref(),
            link: copy.link,
            parents: copy.parents,
            exclude: &copy.exclude,
            unpack: None,
            checksum: None,
        };
        self.put_files(here, &common, &origin, state, numbering);
    }

    pub(super) fn add_files(&mut self, here: &Here<'_>, add: &Add, state: &mut StageState, numbering: &mut Numbering) {
        let common = Common {
            name: "ADD",
            sources: &add.sources,
            destination: &add.destination,
            chown: add.chown.as_ref(),
            chmod: add.chmod.as_ref(),
            link: add.link,
            parents: false,
            exclude: &add.exclude,
            unpack: add.unpack,
            checksum: add.checksum.as_ref(),
        };
        self.put_files(here, &common, &Origin::Context, state, numbering);
    }

    fn put_files(&mut self, here: &Here<'_>, common: &Common<'_>, origin: &Origin, state: &mut StageState, numbering: &mut Numbering) {
        let Some((op, words)) = self.copy_op(here, common, origin, state) else { return };
        if op.uses_context() {
            if !self.recipe.has_context {
                self.no_context(here, common, &op);
                return;
            }
            self.context(here.span());
        }
        let display = here.display();
        let name = numbering.name(&display);
        let vertex = self.add(Op::Copy(op), state.tree, name, here.span(), display, here.ignore_cache);
        state.tree = Some(vertex);
        state.history.push(HistoryEntry::layer(format!("{words} # buildkit"), vertex));
    }

    fn copy_op(&mut self, here: &Here<'_>, common: &Common<'_>, origin: &Origin, state: &StageState) -> Option<(CopyOp, String)> {
        let is_add = common.name == "ADD";
        let mut sources = Vec::new();
        let mut written = Vec::new();
        let mut complete = true;
        for source in common.sources {
            match self.source(here, source, origin, is_add, state) {
                Some((source, text)) => {
                    sources.push(source);
                    written.push(text);
                }
                None => complete = false,
            }
        }
        let destination = self.expand(here, state, common.destination)?;
        let owner = self.expand_if(here, common.chown, state)?;
        let mode = match self.expand_if(here, common.chmod, state)? {
            Some(text) => match chmod::parse(&text) {
                Ok(mode) => Some((mode, text)),
                Err(message) => {
                    let span = common.chmod.map_or(here.instruction.span, |word| word.span);
                    self.diagnostics.push(error("E-CHMOD", here.at(span), message));
                    return None;
                }
            },
            None => None,
        };
        let exclude = self.expand_all(here, state, common.exclude)?;
        let checksum = self.checksum(here, common, &sources, state)?;
        if sources.len() > 1 && !destination.ends_with('/') && !is_dot(&destination) {
            let message = format!("{} has {} sources, so its destination must be a folder", common.name, sources.len());
            let mut diagnostic = error("E-COPY-DESTINATION", here.at(common.destination.span), message);
            diagnostic.hint = Some(format!("end it with a slash: {destination}/"));
            diagnostic.docker_text = Some(format!(
                "When using {} with more than one source file, the destination must be a directory and end with a /",
                common.name
            ));
            self.diagnostics.push(diagnostic);
            return None;
        }
        if !complete {
            return None;
        }
        let flags = [("chown", owner.as_deref()), ("chmod", mode.as_ref().map(|(_, text)| text.as_str()))];
        let flags: String = flags.iter().filter_map(|(flag, value)| value.map(|value| format!(" --{flag}={value}"))).collect();
        let words = format!("{}{flags} {} {destination}", common.name, written.join(" "));
        let op = CopyOp {
            add: is_add,
            sources,
            destination: absolute(&working_dir(state), &destination),
            owner,
            mode: mode.map(|(mode, _)| mode),
            parents: common.parents,
            exclude,
            link: common.link,
            unpack: common.unpack,
            checksum,
            platform: self.recipe.platform.clone(),
        };
        Some((op, words))
    }

    fn expand_if(&mut self, here: &Here<'_>, word: Option<&Word>, state: &StageState) -> Option<Option<String>> {
        match word {
            Some(word) => self.expand(here, state, word).map(Some),
            None => Some(None),
        }
    }

    /// A source and how the history writes it.
    fn source(
        &mut self,
        here: &Here<'_>,
        source: &Source,
        origin: &Origin,
        is_add: bool,
        state: &StageState,
    ) -> Option<(CopySource, String)> {
        match source {
            Source::Heredoc(index) => {
                let heredoc = here.instruction.heredocs.get(*index)?;
                let body = heredoc.body().into_owned();
                let content = if heredoc.expand {
                    match expand_heredoc(&body, heredoc.span, &|name| state.scope.lookup(name)) {
                        Ok(expanded) => expanded.text,
                        Err(failure) => {
                            self.diagnostics.push(error("E-EXPANSION", here.at(failure.span), failure.to_string()));
                            return None;
                        }
                    }
                } else {
                    body
                };
                Some((CopySource::Inline { name: heredoc.name.clone(), content }, format!("<<{}", heredoc.name)))
            }
            Source::Path(word) => {
                let text = self.expand(here, state, word)?;
                if !is_add && is_url(&text) {
                    let shown = without_secrets(&text);
                    let mut diagnostic = error("E-COPY-URL", here.at(word.span), format!("COPY does not download \"{shown}\""));
                    diagnostic.hint = Some(format!("use ADD: ADD {shown} ..."));
                    diagnostic.docker_text = Some("source can't be a URL for COPY".to_owned());
                    self.diagnostics.push(diagnostic);
                    return None;
                }
                let source = match origin {
                    Origin::Tree(vertex) => CopySource::Tree { vertex: *vertex, pattern: text.clone() },
                    Origin::Context if is_add && is_git(&text) => {
                        self.diagnostics.push(unsupported(here.at(word.span), "ADD of a git repository"));
                        return None;
                    }
                    Origin::Context if is_add && is_url(&text) => CopySource::Url { url: text.clone() },
                    Origin::Context => CopySource::Context { pattern: text.clone() },
                };
                let shown = if matches!(source, CopySource::Url { .. }) { without_secrets(&text) } else { text };
                Some((source, shown))
            }
        }
    }

    fn checksum(&mut self, here: &Here<'_>, common: &Common<'_>, sources: &[CopySource], state: &StageState) -> Option<Option<String>> {
        let Some(word) = common.checksum else { return Some(None) };
        let text = self.expand(here, state, word)?;
        let span = here.at(word.span);
        let all_fetched = !sources.is_empty() && sources.iter().all(|source| matches!(source, CopySource::Url { .. }));
        let problem = if !all_fetched {
            Some("checksum is only for sources that are downloaded".to_owned())
        } else {
            text.parse::<shipway_model::Digest>().err().map(|failure| format!("\"{text}\" is not a checksum: {failure}"))
        };
        match problem {
            None => Some(Some(text)),
            Some(message) => {
                let mut diagnostic = error("E-CHECKSUM", span, message);
                diagnostic.hint = Some("write --checksum=sha256:<64 hex digits>".to_owned());
                self.diagnostics.push(diagnostic);
                None
            }
        }
    }

    /// M-27: there is no context to copy from.
    fn no_context(&mut self, here: &Here<'_>, common: &Common<'_>, op: &CopyOp) {
        let first = op.sources.iter().find_map(|source| match source {
            CopySource::Context { pattern } => Some(pattern.as_str()),
            _ => None,
        });
        let span = first_path_span(here, common);
        self.diagnostics.push(crate::checks::no_context(first.unwrap_or_default(), span, op.add));
    }
}

fn first_path_span(here: &Here<'_>, common: &Common<'_>) -> Span {
    let word = common.sources.iter().find_map(|source| match source {
        Source::Path(word) => Some(word.span),
        Source::Heredoc(_) => None,
    });
    here.at(word.unwrap_or(here.instruction.span))
}

/// The destination as seen from the working folder; a trailing slash stays, and `.` means "into the folder".
fn absolute(working_dir: &str, destination: &str) -> String {
    let is_folder = destination.ends_with('/') || is_dot(destination);
    let path = join(working_dir, destination);
    if is_folder && path != "/" { format!("{path}/") } else { path }
}

fn is_dot(destination: &str) -> bool {
    matches!(destination, "." | "..") || destination.ends_with("/.") || destination.ends_with("/..")
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn is_git(text: &str) -> bool {
    let before_fragment = text.split(['#', '?']).next().unwrap_or(text);
    let over_http = is_url(text) && before_fragment.ends_with(".git");
    over_http || ["git://", "git@", "ssh://"].iter().any(|prefix| text.starts_with(prefix))
}
