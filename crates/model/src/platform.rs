//! Platforms: what a program runs on, as `os/architecture[/variant]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Classified, ErrorKind, ImageConfig};

/// What a program runs on. The names are Go's (`amd64`, `arm64`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
}

/// Why a text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is an invalid component of a platform: write os/architecture[/variant], e.g. linux/amd64")]
pub struct PlatformError {
    pub text: String,
}

impl Classified for PlatformError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

impl Platform {
    /// A platform from its parts, in normal form.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) = normal(&architecture.to_lowercase(), variant.unwrap_or_default());
        let os = match os.to_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        Self { os, architecture, variant, os_version: None, os_features: Vec::new() }
    }

    /// The platform this binary runs on.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// The platform an image was made for. An image that does not say is taken for the host's.
    pub fn of_image(config: &ImageConfig) -> Self {
        let host = Self::host();
        let or_host = |text: &str, host: &str| if text.is_empty() { host.to_owned() } else { text.to_owned() };
        Self::new(&or_host(&config.os, &host.os), &or_host(&config.architecture, &host.architecture), config.variant.as_deref())
    }

    /// True when something made for this platform satisfies `wanted`.
    pub fn matches(&self, wanted: &Self) -> bool {
        self.os == wanted.os && self.architecture == wanted.architecture && (wanted.variant.is_none() || self.variant == wanted.variant)
    }

    /// How well something made for `self` runs on `host`: smaller is better, `None` not at all.
    pub fn rank_on(&self, host: &Self) -> Option<u32> {
        if self.os != host.os || self.architecture != host.architecture {
            return None;
        }
        let level =
            |platform: &Self| platform.variant.as_deref().and_then(|text| text.trim_start_matches('v').parse::<u32>().ok()).unwrap_or(0);
        let (own, most) = (level(self), level(host));
        (own <= most || most == 0).then(|| most.saturating_sub(own))
    }
}

/// The normal names of an architecture and its variant.
fn normal(architecture: &str, variant: &str) -> (String, Option<String>) {
    let variant = variant.to_lowercase();
    let keep = |text: &str| if text.is_empty() { None } else { Some(text.to_owned()) };
    match architecture {
        "x86_64" | "x86-64" | "amd64" => ("amd64".to_owned(), keep(if variant == "v1" { "" } else { &variant })),
        "aarch64" | "arm64" => ("arm64".to_owned(), keep(if variant == "8" || variant == "v8" { "" } else { &variant })),
        "armhf" => ("arm".to_owned(), keep("v7")),
        "armel" => ("arm".to_owned(), keep("v6")),
        "arm" => {
            let level = if variant.is_empty() { "7" } else { variant.trim_start_matches('v') };
            ("arm".to_owned(), Some(format!("v{level}")))
        }
        "i386" | "i686" | "x86" => ("386".to_owned(), keep(&variant)),
        other => (other.to_owned(), keep(&variant)),
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(out, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let wrong = || PlatformError { text: text.chars().take(100).collect() };
        let parts: Vec<&str> = text.split('/').collect();
        let is_word =
            |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
        if parts.len() > 3 || !parts.iter().all(is_word) {
            return Err(wrong());
        }
        Ok(match parts.as_slice() {
            // One word is an operating system or an architecture.
            [os @ ("linux" | "windows" | "darwin" | "freebsd")] => Self::new(os, &Self::host().architecture, None),
            [architecture] => Self::new("linux", architecture, None),
            [os, architecture] => Self::new(os, architecture, None),
            [os, architecture, variant] => Self::new(os, architecture, Some(variant)),
            _ => return Err(wrong()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_have_one_spelling() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("arm64", "linux/arm64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expected, "{text}");
        }
        for bad in ["", "/", "linux/", "a/b/c/d", "linux/am d64", "linux//v1"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn older_variants_run_on_newer_hosts() {
        let host: Platform = "linux/arm/v7".parse().unwrap();
        let rank = |text: &str| text.parse::<Platform>().unwrap().rank_on(&host);
        assert_eq!((rank("linux/arm/v7"), rank("linux/arm/v6"), rank("linux/arm/v8"), rank("linux/amd64")), (Some(0), Some(1), None, None));
    }
}
