//! Unix sockets: made in a private folder with their final permissions, then moved into place, so that there is no moment at which a stranger can connect.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use super::ListenError;

/// The folder of the socket may be entered by everybody; the socket decides who connects.
const FOLDER_MODE: u32 = 0o755;
const GROUP_MODE: u32 = 0o660;
const OWNER_MODE: u32 = 0o600;
/// Folder in which the socket is made; nobody else may look into it.
const PRIVATE_MODE: u32 = 0o700;

/// The file of a listening socket. Removed when dropped, unless somebody has put another one in its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Ok(found) = std::fs::symlink_metadata(&self.path)
            && (found.dev(), found.ino()) == self.identity
        {
            // A file left behind is recognised as stale at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Listens on `path`, for the members of `group` when it exists.
pub(super) fn bind(path: &Path, group: &str) -> Result<(UnixListener, SocketFile), ListenError> {
    let failed = |doing: &str| {
        let doing = format!("cannot {doing} \"{}\"", path.display());
        move |source: io::Error| ListenError::Io { doing, source }
    };
    let folder =
        path.parent().ok_or_else(|| ListenError::BadAddress { text: path.display().to_string(), reason: "it has no folder".to_owned() })?;
    std::fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(failed("make the folder of"))?;
    check_free(path)?;

    let private = folder.join(format!(".s{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&private);
    std::fs::DirBuilder::new().mode(PRIVATE_MODE).create(&private).map_err(failed("prepare"))?;
    let outcome = bind_private(&private.join("s"), path, group).map_err(failed("listen on"));
    let _ = std::fs::remove_dir_all(&private);
    outcome
}

fn bind_private(made: &Path, path: &Path, group: &str) -> io::Result<(UnixListener, SocketFile)> {
    let listener = UnixListener::bind(made)?;
    let mode = match group_id(group) {
        Some(id) if chown(made, None, Some(id)).is_ok() => GROUP_MODE,
        _ => OWNER_MODE,
    };
    std::fs::set_permissions(made, std::fs::Permissions::from_mode(mode))?;
    let metadata = std::fs::symlink_metadata(made)?;
    std::fs::rename(made, path)?;
    Ok((listener, SocketFile { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) }))
}

/// Makes sure that nobody listens on `path`, and that what is there may be replaced.
fn check_free(path: &Path) -> Result<(), ListenError> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(ListenError::InTheWay { path: path.to_owned() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        // A socket without a listener was left behind by a daemon that was killed.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        _ => Err(ListenError::InUse { name: path.display().to_string() }),
    }
}

/// The number of a group by /etc/group. The static binary has no NSS (decision D15).
fn group_id(name: &str) -> Option<u32> {
    if let Ok(id) = name.parse() {
        return Some(id);
    }
    let text = std::fs::read_to_string("/etc/group").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}
