//! `RUN --mount=type=...,key=value`: the five kinds of mounts and every key they take.
//!
//! Values may hold variables, so a mount is checked twice: when the file is parsed, as far as its text allows, and
//! when the step is lowered, by [`Mount::resolve`].

use crate::ast::Word;
use crate::expand::{ExpandError, expand};
use crate::nearest::nearest;
use shipway_model::{ByteSize, Classified, ErrorKind};

/// What is mounted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MountKind {
    /// A folder or file of the context, a stage or an image.
    #[default]
    Bind,
    /// A folder that outlives the build and is not part of the cache key.
    Cache,
    Tmpfs,
    /// A secret, as a file or in a variable.
    Secret,
    /// An agent socket.
    Ssh,
}

impl MountKind {
    const ALL: [(&'static str, Self); 5] =
        [("bind", Self::Bind), ("cache", Self::Cache), ("tmpfs", Self::Tmpfs), ("secret", Self::Secret), ("ssh", Self::Ssh)];

    /// The name after `type=`.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("bind", |(name, _)| name)
    }
}

/// How two builds use one cache at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Both write.
    #[default]
    Shared,
    /// Each gets its own.
    Private,
    /// The second waits.
    Locked,
}

const SHARINGS: [(&str, Sharing); 3] = [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];

/// A mount of a `RUN`. Before [`Mount::resolve`], texts may hold variables and fields whose value holds one are absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub kind: MountKind,
    pub source: Option<String>,
    /// Where the mount appears; absent only where a default exists (secrets, agents).
    pub target: Option<String>,
    /// Stage, image or named context.
    pub from: Option<String>,
    pub id: Option<String>,
    /// Variable that receives a secret.
    pub env: Option<String>,
    pub read_only: bool,
    pub sharing: Sharing,
    pub required: bool,
    /// Permission bits; [`Mount::mode_or_default`] knows what applies when absent.
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Size of a tmpfs in bytes.
    pub size: Option<u64>,
    /// The flag's value as typed.
    pub flag: Word,
}

/// Why a mount is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    #[error("a quote in the mount is not closed")]
    OpenQuote,
    #[error("a mount has no key \"{key}\"")]
    UnknownKey { key: String },
    #[error("\"{name}\" is not a type of mount")]
    UnknownKind { name: String },
    #[error("\"{field}\" needs a value")]
    MissingValue { field: String },
    #[error("\"{key}\" is not a key of a {} mount", kind.name())]
    KeyOfOtherKind { key: String, kind: MountKind },
    #[error("\"{value}\" is no value for \"{key}\"")]
    BadValue { key: String, value: String },
    #[error("a {} mount needs a target", kind.name())]
    NoTarget { kind: MountKind },
    #[error("a secret mount needs an id or a target")]
    NamelessSecret,
    #[error("a secret mount takes id or source, not both")]
    SourceAndId,
    #[error("a mount cannot cover \"/\"")]
    TargetIsRoot,
    #[error(transparent)]
    Expansion(#[from] ExpandError),
}

impl Classified for MountError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Expansion(error) => error.kind(),
            _ => ErrorKind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        MountError::hint(self)
    }
}

const KEYS: [&str; 20] = [
    "type",
    "target",
    "source",
    "from",
    "id",
    "sharing",
    "required",
    "mode",
    "uid",
    "gid",
    "size",
    "env",
    "readonly",
    "readwrite",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "expand",
];

impl MountError {
    /// The nearest right thing.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { key } => nearest(key, KEYS).map(|key| format!("did you mean {key}?")),
            Self::UnknownKind { name } => {
                let names = MountKind::ALL.map(|(name, _)| name);
                Some(
                    nearest(name, names).map_or_else(|| format!("use one of {}", names.join(", ")), |name| format!("did you mean {name}?")),
                )
            }
            Self::BadValue { key, value } if key == "sharing" => {
                let names = SHARINGS.map(|(name, _)| name);
                Some(
                    nearest(value, names)
                        .map_or_else(|| format!("use one of {}", names.join(", ")), |name| format!("did you mean {name}?")),
                )
            }
            Self::BadValue { key, .. } if key == "mode" => Some("write it octal, as in mode=0400".to_owned()),
            Self::MissingValue { field } => Some(format!("write {field}=VALUE")),
            Self::NoTarget { .. } => Some("add target=/path".to_owned()),
            Self::NamelessSecret => Some("add id=NAME; it appears as /run/secrets/NAME".to_owned()),
            Self::Expansion(error) => error.fault.hint(),
            _ => None,
        }
    }
}

impl Mount {
    /// Reads a mount; values that hold variables are not checked yet.
    pub(crate) fn parse(flag: Word) -> Result<Self, MountError> {
        build(flag, None)
    }

    /// Expands the variables of the mount and checks everything.
    ///
    /// # Errors
    /// As for the text without variables.
    pub fn resolve(&self, env: &dyn Fn(&str) -> Option<String>, escape: char) -> Result<Self, MountError> {
        build(self.flag.clone(), Some(&|value: &str| Ok(expand(&Word { text: value.to_owned(), span: self.flag.span }, env, escape)?.text)))
    }

    /// The permission bits that apply: 0755 for caches, 0400 for secrets, 0600 for agents.
    pub fn mode_or_default(&self) -> u32 {
        self.mode.unwrap_or(match self.kind {
            MountKind::Secret => 0o400,
            MountKind::Ssh => 0o600,
            _ => 0o755,
        })
    }

    /// The name under which the client knows a secret or an agent, or under which a cache is kept.
    pub fn effective_id(&self) -> String {
        let base = |path: &String| path.trim_end_matches('/').rsplit('/').next().unwrap_or("").to_owned();
        let given = self.id.clone().filter(|id| !id.is_empty());
        match self.kind {
            MountKind::Ssh => given.unwrap_or_else(|| "default".to_owned()),
            MountKind::Secret => given.or_else(|| self.source.clone()).or_else(|| self.target.as_ref().map(base)).unwrap_or_default(),
            _ => given.or_else(|| self.target.clone()).unwrap_or_default(),
        }
    }

    /// Where a secret's file appears: the target, or `/run/secrets/` and its id; none when it goes to a variable only.
    pub fn secret_target(&self) -> Option<String> {
        let id = self.effective_id();
        let default = || format!("/run/secrets/{}", id.rsplit('/').next().unwrap_or(""));
        self.target.clone().or_else(|| self.env.is_none().then(default))
    }
}

type Expander<'a> = &'a dyn Fn(&str) -> Result<String, MountError>;

fn build(flag: Word, expander: Option<Expander<'_>>) -> Result<Mount, MountError> {
    let fields = split_fields(&flag.text)?;
    let mut mount = Mount {
        kind: MountKind::Bind,
        source: None,
        target: None,
        from: None,
        id: None,
        env: None,
        read_only: false,
        sharing: Sharing::Shared,
        required: false,
        mode: None,
        uid: None,
        gid: None,
        size: None,
        flag,
    };
    let mut pairs = Vec::with_capacity(fields.len());
    // A kind, or any value, that holds a variable cannot be judged before the variable is known.
    let mut kind_is_known = true;
    for field in &fields {
        let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        let key = key.trim().to_ascii_lowercase();
        if !KEYS.contains(&key.as_str()) {
            return Err(MountError::UnknownKey { key });
        }
        let value = match (value, expander) {
            (Some(value), Some(expander)) => Some(expander(value)?),
            (value, _) => value.map(str::to_owned),
        };
        if key == "type" {
            let name = value.clone().ok_or_else(|| MountError::MissingValue { field: key.clone() })?;
            match MountKind::ALL.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)) {
                Some((_, kind)) => mount.kind = *kind,
                None if expander.is_none() && name.contains('$') => kind_is_known = false,
                None => return Err(MountError::UnknownKind { name }),
            }
        }
        pairs.push((key, value));
    }
    let mut read_only = None;
    let mut shared_given = false;
    for (key, value) in pairs {
        let is_deferred = expander.is_none() && value.as_deref().is_some_and(|value| value.contains('$'));
        set_field(&mut mount, &key, value, is_deferred, kind_is_known, &mut read_only, &mut shared_given)?;
    }
    mount.read_only = read_only.unwrap_or(!matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs));
    if kind_is_known {
        validate(&mount, shared_given)?;
    }
    Ok(mount)
}

fn set_field(
    mount: &mut Mount,
    key: &str,
    value: Option<String>,
    is_deferred: bool,
    kind_is_known: bool,
    read_only: &mut Option<bool>,
    shared_given: &mut bool,
) -> Result<(), MountError> {
    use MountKind::{Cache, Secret, Ssh, Tmpfs};
    let allowed: &[MountKind] = match key {
        "size" => &[Tmpfs],
        "env" => &[Secret],
        "required" => &[Secret, Ssh],
        "mode" | "uid" | "gid" => &[Secret, Ssh, Cache],
        "sharing" => &[Cache],
        "from" => &[MountKind::Bind, Cache],
        _ => &[],
    };
    if kind_is_known && !allowed.is_empty() && !allowed.contains(&mount.kind) {
        return Err(MountError::KeyOfOtherKind { key: key.to_owned(), kind: mount.kind });
    }
    let is_switch = matches!(key, "ro" | "readonly" | "rw" | "readwrite" | "required" | "expand");
    let Some(value) = value else {
        if !is_switch {
            return Err(MountError::MissingValue { field: key.to_owned() });
        }
        match key {
            "ro" | "readonly" => *read_only = Some(true),
            "rw" | "readwrite" => *read_only = Some(false),
            "required" => mount.required = true,
            _ => {}
        }
        return Ok(());
    };
    match key {
        "source" | "src" => mount.source = Some(value),
        "target" | "dst" | "destination" => mount.target = Some(value),
        "from" => mount.from = Some(value),
        "id" => mount.id = Some(value),
        "env" => mount.env = Some(value),
        "type" => {}
        _ if is_deferred => {}
        _ => {
            let bad = || MountError::BadValue { key: key.to_owned(), value: value.clone() };
            match key {
                "ro" | "readonly" => *read_only = Some(parse_switch(&value).ok_or_else(bad)?),
                "rw" | "readwrite" => *read_only = Some(!parse_switch(&value).ok_or_else(bad)?),
                "required" => mount.required = parse_switch(&value).ok_or_else(bad)?,
                "size" => mount.size = Some(value.parse::<ByteSize>().map_err(|_| bad())?.0),
                "mode" => mount.mode = Some(u32::from_str_radix(&value, 8).map_err(|_| bad())?),
                "uid" => mount.uid = Some(value.parse().map_err(|_| bad())?),
                "gid" => mount.gid = Some(value.parse().map_err(|_| bad())?),
                "sharing" => {
                    *shared_given = true;
                    let found = SHARINGS.iter().find(|(name, _)| value.eq_ignore_ascii_case(name));
                    mount.sharing = found.ok_or_else(bad)?.1;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn validate(mount: &Mount, shared_given: bool) -> Result<(), MountError> {
    let has = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let kind = mount.kind;
    match kind {
        MountKind::Secret if !has(&mount.source) && !has(&mount.target) && !has(&mount.id) => return Err(MountError::NamelessSecret),
        MountKind::Secret if has(&mount.source) && has(&mount.id) => return Err(MountError::SourceAndId),
        MountKind::Bind | MountKind::Cache | MountKind::Tmpfs if !has(&mount.target) => return Err(MountError::NoTarget { kind }),
        _ if shared_given && kind != MountKind::Cache => return Err(MountError::KeyOfOtherKind { key: "sharing".to_owned(), kind }),
        _ => {}
    }
    if mount.target.as_deref().is_some_and(|target| !target.is_empty() && target.chars().all(|letter| letter == '/')) {
        return Err(MountError::TargetIsRoot);
    }
    Ok(())
}

/// Splits at commas; a field in double quotes may hold commas, a doubled quote in it is one.
fn split_fields(text: &str) -> Result<Vec<String>, MountError> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            _ => field.push(letter),
        }
    }
    if quoted {
        return Err(MountError::OpenQuote);
    }
    fields.push(field);
    Ok(fields)
}

/// The spellings Go's ParseBool takes.
fn parse_switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
