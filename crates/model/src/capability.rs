//! Capabilities by name, and Docker's arithmetic of `--cap-add` and `--cap-drop`.
//!
//! What must stay true: bit n of a set is capability number n of capabilities(7), and no other bit is ever set.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::kind::{Classified, ErrorKind};
use crate::serialize_as_text;
use crate::suggest;

/// Declares the closed list once: the variants, their numbers (by position) and their names.
macro_rules! capabilities {
    ($($variant:ident $name:literal,)*) => {
        /// A piece of root's power, in the order of the kernel's numbers. In text "CAP_CHOWN".
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Capability { $($variant,)* }

        impl Capability {
            /// Every capability, in the order of their numbers.
            pub const EVERY: [Self; LENGTH] = [$(Self::$variant,)*];

            /// The name without "CAP_".
            fn short_name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

/// How many there are (Linux 5.9 and later).
const LENGTH: usize = 41;

capabilities! {
    Chown "CHOWN",
    DacOverride "DAC_OVERRIDE",
    DacReadSearch "DAC_READ_SEARCH",
    Fowner "FOWNER",
    Fsetid "FSETID",
    Kill "KILL",
    Setgid "SETGID",
    Setuid "SETUID",
    Setpcap "SETPCAP",
    LinuxImmutable "LINUX_IMMUTABLE",
    NetBindService "NET_BIND_SERVICE",
    NetBroadcast "NET_BROADCAST",
    NetAdmin "NET_ADMIN",
    NetRaw "NET_RAW",
    IpcLock "IPC_LOCK",
    IpcOwner "IPC_OWNER",
    SysModule "SYS_MODULE",
    SysRawio "SYS_RAWIO",
    SysChroot "SYS_CHROOT",
    SysPtrace "SYS_PTRACE",
    SysPacct "SYS_PACCT",
    SysAdmin "SYS_ADMIN",
    SysBoot "SYS_BOOT",
    SysNice "SYS_NICE",
    SysResource "SYS_RESOURCE",
    SysTime "SYS_TIME",
    SysTtyConfig "SYS_TTY_CONFIG",
    Mknod "MKNOD",
    Lease "LEASE",
    AuditWrite "AUDIT_WRITE",
    AuditControl "AUDIT_CONTROL",
    Setfcap "SETFCAP",
    MacOverride "MAC_OVERRIDE",
    MacAdmin "MAC_ADMIN",
    Syslog "SYSLOG",
    WakeAlarm "WAKE_ALARM",
    BlockSuspend "BLOCK_SUSPEND",
    AuditRead "AUDIT_READ",
    Perfmon "PERFMON",
    Bpf "BPF",
    CheckpointRestore "CHECKPOINT_RESTORE",
}

/// What an ordinary container's root may do: Docker's fourteen.
const DEFAULT: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// A name that is no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability: {name:?}")]
pub struct CapabilityError {
    /// The name in its full form.
    pub name: String,
}

impl Classified for CapabilityError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn hint(&self) -> Option<String> {
        let word = self.name.strip_prefix("CAP_").unwrap_or(&self.name);
        suggest::nearest(word, Capability::EVERY.map(Capability::short_name), 3).map(|known| format!("did you mean \"{known}\"?"))
    }
}

impl Capability {
    /// Every capability, also those this kernel may not know.
    pub const fn all() -> CapabilitySet {
        CapabilitySet((1 << LENGTH) - 1)
    }

    /// The number in capabilities(7).
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// "CAP_CHOWN".
    pub fn name(self) -> String {
        format!("CAP_{}", self.short_name())
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CAP_{}", self.short_name())
    }
}

impl FromStr for Capability {
    type Err = CapabilityError;

    /// "CAP_CHOWN", "chown".
    fn from_str(text: &str) -> Result<Self, CapabilityError> {
        let upper = text.to_ascii_uppercase();
        let word = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let known = Self::EVERY.into_iter().find(|capability| capability.short_name() == word);
        known.ok_or_else(|| CapabilityError { name: format!("CAP_{}", word.chars().take(64).collect::<String>()) })
    }
}

serialize_as_text!(Capability, "a capability like CAP_CHOWN");

/// A set of capabilities. In JSON the list of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Capability>", into = "Vec<Capability>")]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// Nothing.
    pub const EMPTY: Self = Self(0);

    /// What an ordinary container's root may do: Docker's fourteen, mask a80425fb.
    pub fn default_set() -> Self {
        DEFAULT.into_iter().collect()
    }

    /// The set as bits; unknown bits are left out.
    pub const fn from_mask(mask: u64) -> Self {
        Self(mask & Capability::all().0)
    }

    /// The default set after `--cap-add` and `--cap-drop`, by Docker's rules: adding ALL starts from everything and takes the drops away;
    /// dropping ALL leaves just the additions; otherwise what is dropped and added is in.
    ///
    /// # Errors
    /// At a name that is no capability.
    pub fn from_docker(add: &[String], drop: &[String]) -> Result<Self, CapabilityError> {
        let (every_added, added) = read(add)?;
        let (every_dropped, dropped) = read(drop)?;
        Ok(match (every_added, every_dropped) {
            // Adding ALL wins over dropping ALL, as in Docker.
            (true, _) => Capability::all().without(dropped),
            (false, true) => added,
            (false, false) => Self::default_set().without(dropped).with(added),
        })
    }

    /// Bit n is capability number n.
    pub const fn mask(self) -> u64 {
        self.0
    }

    /// Whether it holds `capability`.
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 >> capability as u32 & 1 == 1
    }

    /// Whether it holds nothing.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both sets together.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without what is in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What is in it, in the order of the numbers.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::EVERY.into_iter().filter(move |capability| self.contains(*capability))
    }

    /// The full names, in the order of the numbers.
    pub fn names(self) -> Vec<String> {
        self.iter().map(Capability::name).collect()
    }
}

/// Whether ALL was among the names, and the others.
fn read(names: &[String]) -> Result<(bool, CapabilitySet), CapabilityError> {
    let is_all = |name: &str| name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL");
    let named = names.iter().filter(|name| !is_all(name)).map(|name| name.parse()).collect::<Result<CapabilitySet, _>>()?;
    Ok((names.iter().any(|name| is_all(name)), named))
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<T: IntoIterator<Item = Capability>>(capabilities: T) -> Self {
        Self(capabilities.into_iter().fold(0, |mask, capability| mask | 1 << capability.number()))
    }
}

impl From<Vec<Capability>> for CapabilitySet {
    fn from(capabilities: Vec<Capability>) -> Self {
        capabilities.into_iter().collect()
    }
}

impl From<CapabilitySet> for Vec<Capability> {
    fn from(set: CapabilitySet) -> Self {
        set.iter().collect()
    }
}

#[cfg(test)]
mod tests;
