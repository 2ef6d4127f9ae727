//! Signals by name and number, as Linux on x86-64 and arm64 has them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::kind::{Classified, ErrorKind};
use crate::suggest;

/// A signal a process can be sent, 1 to 64. In text "SIGTERM".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(i32);

/// A text or number that is no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid signal: {text}")]
pub struct SignalError {
    /// What was read.
    pub text: String,
}

impl Classified for SignalError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn hint(&self) -> Option<String> {
        let upper = self.text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        suggest::nearest(name, NAMES.iter().map(|(name, _)| *name), 2).map(|known| format!("did you mean \"SIG{known}\"?"))
    }
}

/// The first name of a number is the one printed.
const NAMES: [(&str, i32); 36] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("IOT", 6),
    ("CLD", 17),
    ("POLL", 29),
    ("RTMIN", RTMIN),
    ("RTMAX", RTMAX),
];

/// The first real-time signal a program may use: the C library keeps 32 and 33 for threads.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

impl Signal {
    pub const HUP: Self = Self(1);
    pub const INT: Self = Self(2);
    pub const QUIT: Self = Self(3);
    pub const KILL: Self = Self(9);
    pub const USR1: Self = Self(10);
    pub const TERM: Self = Self(15);
    pub const CONT: Self = Self(18);
    pub const STOP: Self = Self(19);
    pub const WINCH: Self = Self(28);

    /// The signal with that number, if there is one (1 to 64).
    pub fn from_number(number: i32) -> Option<Self> {
        (1..=RTMAX).contains(&number).then_some(Self(number))
    }

    /// The number kill(2) takes.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// "SIGTERM", "SIGRTMIN+3"; the number for the two the C library keeps for itself.
    pub fn name(self) -> String {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => format!("SIG{name}"),
            // Docker names the lower half from the start and the upper half from the end.
            None if (RTMIN..=RTMIN + 15).contains(&self.0) => format!("SIGRTMIN+{}", self.0 - RTMIN),
            None if self.0 > RTMIN => format!("SIGRTMAX-{}", RTMAX - self.0),
            None => self.0.to_string(),
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.name())
    }
}

impl FromStr for Signal {
    type Err = SignalError;

    /// "SIGTERM", "term", "15", "RTMIN+3", "SIGRTMAX-1".
    fn from_str(text: &str) -> Result<Self, SignalError> {
        let invalid = || SignalError { text: text.chars().take(32).collect() };
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().and_then(Self::from_number).ok_or_else(invalid);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(Self(*number));
        }
        let offset = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i32>().ok()).flatten();
        let number = if let Some(above) = name.strip_prefix("RTMIN+") {
            offset(above).and_then(|above| RTMIN.checked_add(above))
        } else {
            name.strip_prefix("RTMAX-").and_then(offset).and_then(|below| RTMAX.checked_sub(below))
        };
        number.filter(|number| (RTMIN..=RTMAX).contains(number)).map(Self).ok_or_else(invalid)
    }
}

impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

impl<'de> Deserialize<'de> for Signal {
    /// From a name or a number: records of either form exist in the world.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrNumber;
        impl serde::de::Visitor<'_> for NameOrNumber {
            type Value = Signal;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a signal's name or number")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Signal, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Signal, E> {
                let signal = i32::try_from(number).ok().and_then(Signal::from_number);
                signal.ok_or_else(|| E::custom(SignalError { text: number.to_string() }))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Signal, E> {
                u64::try_from(number)
                    .map_err(|_| E::custom(SignalError { text: number.to_string() }))
                    .and_then(|number| self.visit_u64(number))
            }
        }
        deserializer.deserialize_any(NameOrNumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers() {
        for (text, number, name) in [
            ("SIGTERM", 15, "SIGTERM"),
            ("term", 15, "SIGTERM"),
            ("15", 15, "SIGTERM"),
            ("SigKill", 9, "SIGKILL"),
            ("IOT", 6, "SIGABRT"),
            ("RTMIN", 34, "SIGRTMIN"),
            ("RTMIN+3", 37, "SIGRTMIN+3"),
            ("sigrtmax-1", 63, "SIGRTMAX-1"),
            ("64", 64, "SIGRTMAX"),
            ("32", 32, "32"),
        ] {
            let signal: Signal = text.parse().unwrap();
            assert_eq!((signal.number(), signal.name().as_str()), (number, name), "{text}");
            assert_eq!(signal.name().parse(), Ok(signal));
        }
    }

    #[test]
    fn what_is_no_signal() {
        for text in ["", "0", "65", "-1", "SIG", "FOO", "RTMIN+31", "RTMIN-1", "RTMAX-31", "RTMIN+", "99999999999999999999", "RTMIN++3"] {
            assert_eq!(text.parse::<Signal>(), Err(SignalError { text: text.to_owned() }), "{text}");
        }
        assert_eq!("SIGTREM".parse::<Signal>().unwrap_err().hint().as_deref(), Some("did you mean \"SIGTERM\"?"));
    }

    #[test]
    fn json_is_a_name_and_reads_numbers() {
        assert_eq!(serde_json::to_string(&Signal::TERM).unwrap(), "\"SIGTERM\"");
        assert_eq!(serde_json::from_str::<Signal>("9").unwrap(), Signal::KILL);
        assert!(serde_json::from_str::<Signal>("-9").is_err());
    }
}
