//! Identities of our own making: random, printed in one way, addressed by prefix.

use std::fmt;
use std::str::FromStr;

use crate::digest::{from_hex, to_hex};
use crate::serialize_as_text;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid id \"{text}\": {expected}")]
pub struct IdError {
    pub text: String,
    pub expected: &'static str,
}

/// Declares an id of `$size` bytes that prints as lower-case hexadecimal digits.
macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $size:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $size]);

        impl $name {
            /// An id from random bytes that the caller got from the kernel.
            pub fn from_random(random: [u8; 32]) -> Self {
                let mut bytes = [0; $size];
                bytes.copy_from_slice(&random[..$size]);
                Self(bytes)
            }

            /// The first twelve digits, as people are shown.
            pub fn short(&self) -> String {
                to_hex(&self.0[..6])
            }

            /// The bytes.
            pub fn bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&to_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let wrong = || IdError { text: text.chars().take(80).collect(), expected: $expected };
                if text.len() != $size * 2 {
                    return Err(wrong());
                }
                let bytes = from_hex(text).ok_or_else(wrong)?;
                bytes.try_into().map(Self).map_err(|_| wrong())
            }
        }

        serialize_as_text!($name, $expected);
    };
}

hex_id! {
    /// A container.
    ContainerId, 32, "64 hexadecimal digits"
}
hex_id! {
    /// A process started in a running container.
    ExecId, 32, "64 hexadecimal digits"
}
hex_id! {
    /// A network.
    NetworkId, 32, "64 hexadecimal digits"
}
hex_id! {
    /// A container's foot in a network; new at every attachment.
    EndpointId, 32, "64 hexadecimal digits"
}
hex_id! {
    /// A build.
    BuildId, 16, "32 hexadecimal digits"
}
hex_id! {
    /// A stored layer. Short, because overlay mounts name many of them.
    LayerId, 10, "20 hexadecimal digits"
}
hex_id! {
    /// A lease.
    LeaseId, 10, "20 hexadecimal digits"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_and_parses_the_same() {
        let id = ContainerId::from_random([0xab; 32]);
        assert_eq!(id.to_string(), "ab".repeat(32));
        assert_eq!(id.to_string().parse::<ContainerId>().unwrap(), id);
        assert_eq!(id.short(), "abababababab");
        for bad in ["", "ab", &"AB".repeat(32), &"zz".repeat(32), "../../../etc"] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad}");
        }
    }
}
