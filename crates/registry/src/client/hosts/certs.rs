//! Folders of certificates by host, as Docker has them.
//!
//! ```text
//! FOLDER/HOST[:PORT]/*.crt            authorities trusted for that host beside the system's
//! FOLDER/HOST[:PORT]/NAME.cert .key   who we are to that host
//! ```
//!
//! What must stay true: a certificate without its key, or the other way round, is an error, because somebody meant it to be used.
//!
//! # Source
//! Docker docs, "Verify repository client with certificates".

use std::io;
use std::path::{Path, PathBuf};

use super::file::read_bounded;
use super::{ClientIdentity, HostTrust};
use crate::{Error, Origin};

/// What the first of `folders` that knows the host says about it.
pub(in crate::client) fn find(folders: &[PathBuf], origin: &Origin) -> Result<HostTrust, Error> {
    let mut names = vec![origin.authority()];
    if origin.port == 443 {
        names.insert(0, origin.host.to_string());
    }
    // A host cannot lead out of the folder.
    for name in names.iter().filter(|name| !name.starts_with('.')) {
        for folder in folders {
            let place = folder.join(name);
            match std::fs::read_dir(&place) {
                Ok(entries) => return read(entries, &place),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => return Err(wrong(&place, error)),
            }
        }
    }
    Ok(HostTrust::default())
}

fn read(entries: std::fs::ReadDir, place: &Path) -> Result<HostTrust, Error> {
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>().map_err(|error| wrong(place, error))?;
    paths.sort();
    let ends = |path: &Path, end: &str| path.extension().is_some_and(|extension| extension == end);
    let content = |path: &Path| read_bounded(path).map(String::into_bytes).map_err(|error| wrong(path, error));
    let mut trust = HostTrust::default();
    for path in &paths {
        if ends(path, "crt") {
            trust.roots.push(content(path)?);
        } else if ends(path, "cert") {
            let key = path.with_extension("key");
            if !paths.contains(&key) {
                return Err(wrong(path, "its key is missing beside it; authorities end in .crt"));
            }
            trust.identity.get_or_insert(ClientIdentity { certificate: content(path)?, key: content(&key)? });
        } else if ends(path, "key") && !paths.contains(&path.with_extension("cert")) {
            return Err(wrong(path, "its certificate is missing beside it; client certificates end in .cert"));
        }
    }
    Ok(trust)
}

fn wrong(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Settings { reason: format!("\"{}\": {reason}", path.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Url;

    #[test]
    fn a_folder_speaks_for_its_host_and_port_only() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("reg.test:5000");
        std::fs::create_dir(&place).unwrap();
        for (name, text) in [("ca.crt", "CA"), ("me.cert", "CERT"), ("me.key", "KEY"), ("notes.txt", "x")] {
            std::fs::write(place.join(name), text).unwrap();
        }
        let find = |url: &str| find(&[PathBuf::from("/nonexistent"), folder.path().to_owned()], &Url::parse(url).unwrap().origin());
        let trust = find("https://reg.test:5000").unwrap();
        assert_eq!((trust.roots, trust.identity.map(|identity| identity.key)), (vec![b"CA".to_vec()], Some(b"KEY".to_vec())));
        for other in ["https://reg.test", "https://reg.test:5001", "https://x.reg.test:5000"] {
            assert_eq!(find(other).unwrap(), HostTrust::default(), "{other}");
        }
        std::fs::remove_file(place.join("me.cert")).unwrap();
        assert!(find("https://reg.test:5000").unwrap_err().to_string().contains("its certificate is missing"));
    }
}
