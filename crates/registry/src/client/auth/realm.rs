//! Which token server may see a registry's credentials.
//!
//! What must stay true: a registry cannot send a person's password to a third party by naming it as its realm (S-506; CVE-2020-15157, CVE-2026-33540). A
//! realm is trusted on the registry's own host, or over TLS on its registrable host, or over TLS on a host of the allow list.

use crate::{Host, Origin, Url};

/// Token servers that well-known registries use outside their own domain: registry domain, realm host.
const KNOWN: &[(&str, &str)] = &[("docker.com", "auth.docker.io")];

/// Suffixes below which strangers rent names: one label more tells tenants apart. The public suffix list has thousands; these are the ones that registries
/// and token servers are rented under. A two-letter end with a short label before it (`co.uk`, `com.au`) is taken for such a suffix by its shape.
const RENTED: &[&str] = &[
    "amazonaws.com",
    "appspot.com",
    "azurecontainerapps.io",
    "azurecr.io",
    "azurefd.net",
    "azurewebsites.net",
    "cloudapp.net",
    "cloudflare.net",
    "cloudfront.net",
    "cloudfunctions.net",
    "dyndns.org",
    "duckdns.org",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "herokuapp.com",
    "jfrog.io",
    "lambda-url.aws",
    "netlify.app",
    "ngrok.app",
    "ngrok.dev",
    "ngrok.io",
    "ngrok-free.app",
    "nip.io",
    "onrender.com",
    "pages.dev",
    "railway.app",
    "run.app",
    "scw.cloud",
    "sslip.io",
    "trycloudflare.com",
    "vercel.app",
    "web.app",
    "windows.net",
    "workers.dev",
];

/// Whether credentials for `registry` may be shown at `realm`.
pub(super) fn is_trusted(registry: &Origin, realm: &Url, allowed: &[String]) -> bool {
    let secure = realm.is_secure();
    let (home, away) = (&registry.host, realm.host());
    if *home == away {
        // Never weaker than the way to the registry itself.
        return secure || !registry.secure;
    }
    let (Host::Name(home), Host::Name(away)) = (home, &away) else {
        return secure && is_listed(&away, realm.port(), allowed);
    };
    let related = registrable(home).is_some_and(|domain| registrable(away) == Some(domain));
    let known = KNOWN.iter().any(|(domain, host)| registrable(home) == Some(domain) && away == host);
    secure && (related || known || is_listed(&Host::Name(away.clone()), realm.port(), allowed))
}

fn is_listed(host: &Host, port: u16, allowed: &[String]) -> bool {
    let host = host.to_string();
    allowed.iter().any(|listed| listed.eq_ignore_ascii_case(&host) || listed.eq_ignore_ascii_case(&format!("{host}:{port}")))
}

/// The part of a name that somebody registered: `docker.io` of `auth.docker.io`. None for names that are a suffix themselves, or have one label only.
fn registrable(name: &str) -> Option<&str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let labels = suffix_labels(name) + 1;
    let start = name.rmatch_indices('.').nth(labels - 1).map_or(0, |(dot, _)| dot + 1);
    (name.split('.').count() >= labels).then(|| &name[start..])
}

/// How many labels of `name` are a suffix under which anybody may register.
fn suffix_labels(name: &str) -> usize {
    if let Some(suffix) = RENTED.iter().find(|suffix| name == **suffix || name.ends_with(&format!(".{suffix}"))) {
        // Between the suffix and the tenant some clouds have a region or a service: such names count whole.
        return (suffix.split('.').count()).max(name.split('.').count().saturating_sub(1));
    }
    let mut labels = name.rsplit('.');
    match (labels.next(), labels.next()) {
        (Some(country), Some(second)) if country.len() == 2 && second.len() <= 3 && name.split('.').count() > 2 => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(registry: &str, realm: &str) -> bool {
        is_trusted(
            &Url::parse(registry).unwrap().origin(),
            &Url::parse(realm).unwrap(),
            &["sso.example:8443".to_owned(), "SSO2.example".to_owned()],
        )
    }

    #[test]
    fn realms_of_real_registries_are_trusted() {
        for (registry, realm) in [
            ("https://registry-1.docker.io", "https://auth.docker.io/token"),
            ("https://registry.hub.docker.com", "https://auth.docker.io/token"),
            ("https://ghcr.io", "https://ghcr.io/token"),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"),
            ("https://registry.connect.redhat.com", "https://sso.redhat.com/auth"),
            ("https://mine.azurecr.io", "https://mine.azurecr.io/oauth2/token"),
            ("https://registry.firm.co.uk", "https://auth.firm.co.uk/token"),
            ("https://10.0.0.5:5000", "https://10.0.0.5:5001/token"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token"),
            ("https://registry.local", "https://sso.example:8443/token"),
            ("https://10.0.0.5", "https://sso2.example/token"),
        ] {
            assert!(trusted(registry, realm), "{registry} {realm}");
        }
    }

    #[test]
    fn strangers_are_not() {
        for (registry, realm) in [
            ("https://registry-1.docker.io", "https://auth.docker.io.evil.test/token"),
            ("https://registry-1.docker.io", "https://evil.io/token"),
            ("https://registry-1.docker.io", "http://auth.docker.io/token"),
            ("https://registry.firm.test", "http://registry.firm.test/token"),
            ("http://registry.firm.test", "http://auth.firm.test/token"),
            ("https://mine.azurecr.io", "https://yours.azurecr.io/token"),
            ("https://a.eu-west-1.amazonaws.com", "https://b.eu-west-1.amazonaws.com/token"),
            ("https://a.run.app", "https://a.b.run.app/token"),
            ("https://firm.co.uk", "https://evil.co.uk/token"),
            ("https://registry.com.au", "https://evil.com.au/token"),
            ("https://10.0.0.5", "https://10.0.0.6/token"),
            ("https://10.0.0.5", "https://sso.example/token"),
            ("https://localhost", "https://otherhost/token"),
            ("https://a.internal", "https://internal/token"),
            ("https://registry.firm.test", "https://sso.example:444/token"),
        ] {
            assert!(!trusted(registry, realm), "{registry} {realm}");
        }
    }

    #[test]
    fn what_was_registered_is_found() {
        for (name, domain) in [
            ("a.b.c.test", Some("c.test")),
            ("c.test", Some("c.test")),
            ("test", None),
            ("co.uk", Some("co.uk")),
            ("x.co.uk.", Some("x.co.uk")),
        ] {
            assert_eq!(registrable(name), domain, "{name}");
        }
    }
}
