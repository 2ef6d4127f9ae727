//! Build checks: what is legal but probably not meant. Names and texts of the common checks are BuildKit's, so that
//! `# check=skip=` lines and tools that read the texts keep working; our own checks carry their reason and a fix.
//!
//! A check that needs more than the text (environment of the base image, `.dockerignore`) lives in [`context`].

mod casing;
mod commands;
pub mod context;
mod habits;
mod stages;
mod variables;

use crate::ast::Dockerfile;
use crate::diagnostic::{Diagnostic, Severity, Sink};
use crate::directives::CheckDirective;

/// A check somebody may skip or ask for.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub description: &'static str,
    /// Speaks only when asked for with `# check=experimental=`.
    pub experimental: bool,
}

macro_rules! checks {
    ($($constant:ident $name:literal $experimental:literal $description:literal)*) => {
        $(pub(crate) static $constant: Check = Check { name: $name, description: $description, experimental: $experimental };)*

        /// Every check, in the order of the documentation.
        pub static CHECKS: &[&Check] = &[$(&$constant),*];
    };
}

checks! {
    STAGE_NAME_CASING "StageNameCasing" false "Stage names should be lowercase"
    FROM_AS_CASING "FromAsCasing" false "The 'as' keyword should match the case of the 'from' keyword"
    NO_EMPTY_CONTINUATION "NoEmptyContinuation" false "Blank lines inside a continued instruction will become errors"
    CONSISTENT_INSTRUCTION_CASING "ConsistentInstructionCasing" false "All instructions of a file should use the same case"
    DUPLICATE_STAGE_NAME "DuplicateStageName" false "Stage names should be unique"
    RESERVED_STAGE_NAME "ReservedStageName" false "Reserved words should not be used as stage names"
    JSON_ARGS_RECOMMENDED "JSONArgsRecommended" false "CMD and ENTRYPOINT should use the JSON form, so that signals reach the program"
    MAINTAINER_DEPRECATED "MaintainerDeprecated" false "MAINTAINER is deprecated; use a label"
    UNDEFINED_ARG_IN_FROM "UndefinedArgInFrom" false "FROM should use declared arguments"
    WORKDIR_RELATIVE_PATH "WorkdirRelativePath" false "A relative WORKDIR without an absolute one before it depends on the base image"
    UNDEFINED_VAR "UndefinedVar" false "Variables should be defined before their use"
    MULTIPLE_INSTRUCTIONS_DISALLOWED "MultipleInstructionsDisallowed" false "Instructions of which only the last counts should stand once per stage"
    LEGACY_KEY_VALUE_FORMAT "LegacyKeyValueFormat" false "Names and values should be joined by an equals sign"
    INVALID_BASE_IMAGE_PLATFORM "InvalidBaseImagePlatform" false "The platform of a base image should be the one that was asked for"
    REDUNDANT_TARGET_PLATFORM "RedundantTargetPlatform" false "The target platform is the default of FROM"
    SECRETS_USED_IN_ARG_OR_ENV "SecretsUsedInArgOrEnv" false "Secrets should not be given in ARG or ENV"
    INVALID_DEFAULT_ARG_IN_FROM "InvalidDefaultArgInFrom" false "Defaults of arguments should give FROM a valid image name"
    FROM_PLATFORM_FLAG_CONST_DISALLOWED "FromPlatformFlagConstDisallowed" false "FROM --platform should not be a constant"
    COPY_IGNORED_FILE "CopyIgnoredFile" true "Files excluded by .dockerignore cannot be copied"
    INVALID_DEFINITION_DESCRIPTION "InvalidDefinitionDescription" true "A comment above a stage or argument should describe it"
    EXPOSE_PROTO_CASING "ExposeProtoCasing" false "Protocols in EXPOSE should be lowercase"
    EXPOSE_INVALID_FORMAT "ExposeInvalidFormat" false "EXPOSE takes no address and no host port"
    SHELL_SYNTAX "ShellSyntax" false "Commands for the shell should be ones the shell can read"
    EXEC_FORM_INVALID "ExecFormInvalid" false "Arguments that look like JSON should be valid JSON"
    UNUSED_STAGE "UnusedStage" true "Stages should be used"
    CACHE_UNFRIENDLY_ORDER "CacheUnfriendlyOrder" true "Dependencies should be installed before the sources are copied"
    APT_WITHOUT_UPDATE "AptWithoutUpdate" true "Package lists should be updated in the instruction that installs"
    UNPINNED_BASE "UnpinnedBase" true "Base images should have a tag or digest"
    ROOT_USER "RootUser" true "The final image should not run as root"
}

/// Collects what checks find, minus what was switched off.
pub(crate) struct Findings {
    rules: CheckDirective,
    found: Vec<Diagnostic>,
    dropped: usize,
}

/// Findings kept of one file.
const FINDING_LIMIT: usize = 500;

impl Findings {
    pub(crate) fn new(rules: &CheckDirective) -> Self {
        Self { rules: rules.clone(), found: Vec::new(), dropped: 0 }
    }

    pub(crate) fn is_enabled(&self, check: &Check) -> bool {
        let lists = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("all") || name.eq_ignore_ascii_case(check.name));
        !lists(&self.rules.skip) && (!check.experimental || lists(&self.rules.experimental))
    }

    pub(crate) fn add(&mut self, check: &Check, diagnostic: impl FnOnce() -> Diagnostic) {
        if !self.is_enabled(check) {
            return;
        }
        if self.found.len() >= FINDING_LIMIT {
            self.dropped += 1;
            return;
        }
        let mut diagnostic = diagnostic();
        diagnostic.code = check.name;
        if self.rules.error {
            diagnostic.severity = Severity::Error;
        }
        self.found.push(diagnostic);
    }

    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.found
    }

    pub(crate) fn into_sink(self, sink: &mut Sink) {
        for diagnostic in self.found {
            sink.push(diagnostic);
        }
        sink.note_dropped(self.dropped);
    }
}

/// Runs every check that needs only the file.
pub(crate) fn run(dockerfile: &Dockerfile, findings: &mut Findings) {
    casing::check(dockerfile, findings);
    stages::check(dockerfile, findings);
    commands::check(dockerfile, findings);
    variables::check_from(dockerfile, findings);
    habits::check(dockerfile, findings);
}

/// Which earlier stage each stage builds on, as far as the text tells. Linear.
pub(crate) fn parents(dockerfile: &Dockerfile) -> Vec<Option<usize>> {
    let scope = crate::scope::GlobalScope::defaults(dockerfile);
    let mut named = std::collections::HashMap::new();
    let mut parents = Vec::with_capacity(dockerfile.stages.len());
    for stage in &dockerfile.stages {
        let image = scope.expand(&stage.from.image, dockerfile.directives.escape).map(|expanded| expanded.text).unwrap_or_default();
        let index = image.parse::<usize>().ok().filter(|index| *index < stage.index);
        parents.push(named.get(&image.to_lowercase()).copied().or(index));
        if let Some(name) = stage.name() {
            named.insert(name.to_owned(), stage.index);
        }
    }
    parents
}
