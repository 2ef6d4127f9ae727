//! The names under which credentials of one registry are kept.
//!
//! What must stay true: however a person or an older tool wrote a registry's name (`https://host/v1/`, `host`), it is one registry; Docker Hub goes by the
//! key that docker gives it.

/// Docker Hub's key.
const HUB: &str = "https://index.docker.io/v1/";

/// A registry by its plain name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    host: String,
}

impl Server {
    /// What a person typed after `login`, or a key of the file.
    pub(crate) fn parse(text: &str) -> Self {
        let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let host = bare.split('/').next().unwrap_or_default().to_ascii_lowercase();
        Self::of_domain(&host)
    }

    /// The registry of references such as `docker.io/library/busybox`.
    pub(crate) fn of_domain(domain: &str) -> Self {
        match domain {
            "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => Self { host: "docker.io".to_owned() },
            other => Self { host: other.to_owned() },
        }
    }

    pub(crate) fn is_hub(&self) -> bool {
        self.host == "docker.io"
    }

    /// The key its credentials are kept under.
    pub(crate) fn key(&self) -> String {
        if self.is_hub() { HUB.to_owned() } else { self.host.clone() }
    }

    /// All names it may be kept under, the best first.
    pub(crate) fn names(&self) -> Vec<String> {
        let host = if self.is_hub() { "index.docker.io" } else { &self.host };
        let mut names = vec![self.key(), host.to_owned(), format!("https://{host}"), format!("http://{host}")];
        if self.is_hub() {
            names.push("docker.io".to_owned());
        }
        names.dedup();
        names
    }

    /// Whether `key`, found in a file, means this registry.
    pub(crate) fn is(&self, key: &str) -> bool {
        *self == Self::parse(key)
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_registry_has_one_key() {
        for (text, key) in [
            ("", HUB),
            ("docker.io", HUB),
            ("https://index.docker.io/v1/", HUB),
            ("registry-1.docker.io", HUB),
            ("localhost:5000", "localhost:5000"),
            ("http://Localhost:5000/v2/", "localhost:5000"),
            ("https://ghcr.io", "ghcr.io"),
        ] {
            assert_eq!(Server::parse(text).key(), key, "{text}");
        }
        assert!(Server::parse("a:1").is("https://a:1/v1/"));
        assert!(!Server::parse("a:1").is("a"));
    }
}
