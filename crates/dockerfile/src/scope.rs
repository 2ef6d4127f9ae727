//! Which variables an instruction sees: `ARG` before and inside stages, build arguments, `ENV`, what a stage inherits.
//!
//! The rules. Global arguments are seen by `FROM` only; a stage gets one by declaring it. A build argument wins over any
//! default. `ENV` wins over `ARG` of the same name, whatever their order. A stage built on another inherits its
//! environment and its arguments. Proxy arguments reach `RUN` undeclared, and then neither history nor cache keys.

use crate::ast::{Argument, Dockerfile, InstructionKind, Word};
use crate::expand::{ExpandError, Expanded, expand};
use crate::nearest::nearest;
use std::collections::{BTreeMap, HashMap};

/// Arguments that may be given without being declared.
pub const PROXY_ARGUMENTS: [&str; 10] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"];

/// Arguments the builder sets by itself; stages see them once declared.
pub const PLATFORM_ARGUMENTS: [&str; 9] =
    ["TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT", "TARGETSTAGE", "BUILDPLATFORM", "BUILDOS", "BUILDARCH", "BUILDVARIANT"];

/// Arguments that steer the builder and so always count as consumed.
pub const BUILDER_ARGUMENTS: [&str; 11] = [
    "BUILDKIT_BUILD_NAME",
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_SYNTAX",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_SBOM_SCAN_CONTEXT",
    "BUILDKIT_SBOM_SCAN_STAGE",
    "SOURCE_DATE_EPOCH",
];

/// Operating system, architecture and variant as the platform arguments spell them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlatformNames {
    pub os: String,
    pub architecture: String,
    /// Empty when there is none.
    pub variant: String,
}

impl PlatformNames {
    pub fn new(os: impl Into<String>, architecture: impl Into<String>, variant: impl Into<String>) -> Self {
        Self { os: os.into(), architecture: architecture.into(), variant: variant.into() }
    }

    fn set(&self, prefix: &str, into: &mut HashMap<String, String>) {
        let variant = if self.variant.is_empty() { String::new() } else { format!("/{}", self.variant) };
        into.insert(format!("{prefix}PLATFORM"), format!("{}/{}{variant}", self.os, self.architecture));
        into.insert(format!("{prefix}OS"), self.os.clone());
        into.insert(format!("{prefix}ARCH"), self.architecture.clone());
        into.insert(format!("{prefix}VARIANT"), self.variant.clone());
    }
}

/// What holds before the first `FROM`, and what every stage may draw from.
#[derive(Debug, Clone, Default)]
pub struct GlobalScope {
    build_args: BTreeMap<String, String>,
    predefined: HashMap<String, String>,
    declared: HashMap<String, Option<String>>,
    order: Vec<String>,
}

impl GlobalScope {
    /// A scope with the arguments given on the command line and the platforms of the build.
    pub fn new(build_args: BTreeMap<String, String>, build: &PlatformNames, target: &PlatformNames, target_stage: &str) -> Self {
        let mut predefined = HashMap::new();
        build.set("BUILD", &mut predefined);
        target.set("TARGET", &mut predefined);
        predefined.insert("TARGETSTAGE".to_owned(), if target_stage.is_empty() { "default".to_owned() } else { target_stage.to_owned() });
        Self { build_args, predefined, declared: HashMap::new(), order: Vec::new() }
    }

    /// The scope of a file read without any build: defaults only, errors in them ignored.
    pub(crate) fn defaults(dockerfile: &Dockerfile) -> Self {
        let host = PlatformNames::new("linux", "amd64", "");
        let mut scope = Self::new(BTreeMap::new(), &host, &host, "");
        let _ = scope.declare_all(dockerfile);
        scope
    }

    /// Declares all global arguments of a file.
    ///
    /// # Errors
    /// The first default that cannot be expanded; the ones before it are declared.
    pub fn declare_all(&mut self, dockerfile: &Dockerfile) -> Result<(), ExpandError> {
        for instruction in &dockerfile.global_args {
            if let InstructionKind::Arg(arguments) = &instruction.kind {
                for argument in arguments {
                    self.declare(argument, dockerfile.directives.escape)?;
                }
            }
        }
        Ok(())
    }

    /// Declares one `ARG` before the first `FROM`.
    ///
    /// # Errors
    /// A default that cannot be expanded.
    pub fn declare(&mut self, argument: &Argument, escape: char) -> Result<(), ExpandError> {
        let name = self.expand(&argument.name, escape)?.text;
        let value = match (self.build_args.get(&name), &argument.default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(self.expand(default, escape)?.text),
            (None, None) => self.predefined.get(&name).cloned(),
        };
        if !self.declared.contains_key(&name) {
            self.order.push(name.clone());
        }
        self.declared.insert(name, value);
        Ok(())
    }

    /// The value `FROM` sees.
    pub fn lookup(&self, name: &str) -> Option<String> {
        match self.declared.get(name) {
            Some(value) => value.clone(),
            None if PLATFORM_ARGUMENTS.contains(&name) => self.build_args.get(name).or_else(|| self.predefined.get(name)).cloned(),
            None => None,
        }
    }

    /// Whether `FROM` may name the variable without a warning.
    pub fn is_declared(&self, name: &str) -> bool {
        self.declared.contains_key(name) || self.predefined.contains_key(name)
    }

    /// Names declared so far, in order.
    pub fn names(&self) -> &[String] {
        &self.order
    }

    /// Expands a word of `FROM` or of a global default.
    ///
    /// # Errors
    /// As [`expand`].
    pub fn expand(&self, word: &Word, escape: char) -> Result<Expanded, ExpandError> {
        expand(word, &|name| self.lookup(name), escape)
    }

    fn build_arg(&self, name: &str) -> Option<&String> {
        self.build_args.get(name)
    }
}

/// Where a variable of a `RUN` comes from, and so where it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariableOrigin {
    /// Part of the image.
    Environment,
    /// Only during the build; part of history and cache keys.
    Argument,
    /// Only during the build, and of no other consequence.
    Proxy,
}

/// A variable of a `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunVariable {
    pub name: String,
    pub value: String,
    pub origin: VariableOrigin,
}

/// What holds at one place of a stage; instructions change it from top to bottom.
#[derive(Debug, Clone, Default)]
pub struct StageScope {
    environment: Vec<(String, String)>,
    arguments: Vec<(String, Option<String>)>,
    environment_places: HashMap<String, usize>,
    argument_places: HashMap<String, usize>,
}

impl StageScope {
    /// Begins a stage on an image with this environment (`NAME=VALUE` texts; later ones win).
    pub fn from_image(environment: &[String]) -> Self {
        let mut scope = Self::default();
        for entry in environment {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            scope.set_env(name, value);
        }
        scope
    }

    /// Begins a stage on another stage's end: its environment and its arguments are inherited.
    pub fn from_stage(parent: &Self) -> Self {
        parent.clone()
    }

    /// Declares one `ARG` of the stage.
    ///
    /// # Errors
    /// A name or default that cannot be expanded.
    pub fn declare_arg(&mut self, global: &GlobalScope, argument: &Argument, escape: char) -> Result<(), ExpandError> {
        let name = self.expand(&argument.name, escape)?.text;
        let value = match (global.build_arg(&name), &argument.default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(self.expand(default, escape)?.text),
            (None, None) => match global.declared.get(&name) {
                Some(value) => value.clone(),
                None => global.predefined.get(&name).cloned().or_else(|| self.argument(&name)),
            },
        };
        put(&mut self.arguments, &mut self.argument_places, &name, value);
        Ok(())
    }

    /// Sets a variable of the image, as `ENV` does.
    pub fn set_env(&mut self, name: &str, value: &str) {
        put(&mut self.environment, &mut self.environment_places, name, value.to_owned());
    }

    /// Applies one `ENV` instruction; all its values see what held before it. Answers the expanded pairs.
    ///
    /// # Errors
    /// A name or value that cannot be expanded; nothing is set then.
    pub fn apply_env(&mut self, pairs: &[(Word, Word)], escape: char) -> Result<Vec<(String, String)>, ExpandError> {
        let expand_pair = |(name, value): &(Word, Word)| Ok((self.expand(name, escape)?.text, self.expand(value, escape)?.text));
        let expanded = pairs.iter().map(expand_pair).collect::<Result<Vec<_>, _>>()?;
        for (name, value) in &expanded {
            self.set_env(name, value);
        }
        Ok(expanded)
    }

    /// The value an instruction sees.
    pub fn lookup(&self, name: &str) -> Option<String> {
        match self.environment_places.get(name) {
            Some(place) => Some(self.environment[*place].1.clone()),
            None => self.argument(name),
        }
    }

    fn argument(&self, name: &str) -> Option<String> {
        self.argument_places.get(name).and_then(|place| self.arguments[*place].1.clone())
    }

    /// Whether an instruction may name the variable without a warning: it is set, or declared without a value.
    pub fn is_declared(&self, name: &str) -> bool {
        self.environment_places.contains_key(name) || self.argument_places.contains_key(name)
    }

    /// Names an instruction may use, arguments last.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let environment = self.environment.iter().map(|(name, _)| name.as_str());
        environment.chain(self.arguments.iter().map(|(name, _)| name.as_str()))
    }

    /// The variables of the image, in the order they were first set.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// Expands a word of an instruction.
    ///
    /// # Errors
    /// As [`expand`].
    pub fn expand(&self, word: &Word, escape: char) -> Result<Expanded, ExpandError> {
        expand(word, &|name| self.lookup(name), escape)
    }

    /// What a `RUN` gets: the image's environment, then the arguments it does not hide in the order of their declaration, then the
    /// proxies given but not declared.
    pub fn run_environment(&self, global: &GlobalScope) -> Vec<RunVariable> {
        let variable = |name: &str, value: &str, origin| RunVariable { name: name.to_owned(), value: value.to_owned(), origin };
        let environment = self.environment.iter().map(|(name, value)| variable(name, value, VariableOrigin::Environment));
        let visible = |name: &str| !self.environment_places.contains_key(name);
        let arguments = self.arguments.iter().filter(|(name, _)| visible(name));
        let arguments = arguments.filter_map(|(name, value)| Some(variable(name, value.as_ref()?, VariableOrigin::Argument)));
        let proxies = PROXY_ARGUMENTS.into_iter().filter(|name| !self.is_declared(name));
        let proxies = proxies.filter_map(|name| Some(variable(name, global.build_arg(name)?, VariableOrigin::Proxy)));
        environment.chain(arguments).chain(proxies).collect()
    }
}

fn put<T>(list: &mut Vec<(String, T)>, places: &mut HashMap<String, usize>, name: &str, value: T) {
    match places.get(name) {
        Some(place) => list[*place].1 = value,
        None => {
            places.insert(name.to_owned(), list.len());
            list.push((name.to_owned(), value));
        }
    }
}

/// A build argument no `ARG` asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconsumed {
    pub name: String,
    /// The nearest declared name and the line of its `ARG`.
    pub suggestion: Option<(String, u32)>,
}

impl Unconsumed {
    /// Advice for people: `did you mean FOO (ARG on line 2)?`
    pub fn hint(&self) -> Option<String> {
        self.suggestion.as_ref().map(|(name, line)| format!("did you mean {name} (ARG on line {line})?"))
    }
}

/// The given build arguments that no `ARG` of the file names and the builder does not know by itself.
pub fn unconsumed_build_args<'a>(dockerfile: &Dockerfile, given: impl IntoIterator<Item = &'a str>) -> Vec<Unconsumed> {
    let mut declared: BTreeMap<&str, u32> = BTreeMap::new();
    let instructions = dockerfile.global_args.iter().chain(dockerfile.stages.iter().flat_map(|stage| &stage.instructions));
    for instruction in instructions {
        if let InstructionKind::Arg(arguments) = &instruction.kind {
            for argument in arguments {
                declared.entry(argument.name.text.as_str()).or_insert(argument.name.span.start.line);
            }
        }
    }
    let is_known = |name: &str| {
        declared.contains_key(name)
            || PROXY_ARGUMENTS.contains(&name)
            || PLATFORM_ARGUMENTS.contains(&name)
            || BUILDER_ARGUMENTS.contains(&name)
    };
    let unknown = given.into_iter().filter(|name| !is_known(name));
    let explain = |name: &str| {
        let near = nearest(name, declared.keys().copied());
        Unconsumed { name: name.to_owned(), suggestion: near.map(|near| (near.to_owned(), declared[near])) }
    };
    unknown.map(explain).collect()
}
