//! What stands at a path of a container, as Docker writes it: Go's file modes and names.

use serde::Serialize;
use shipway_engine::containers::PathStat;
use shipway_engine::values::FileKind;

/// The document in the `X-Docker-Container-Path-Stat` header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PathStatBody {
    name: String,
    size: u64,
    mode: u32,
    mtime: String,
    link_target: String,
}

pub(crate) fn path_stat(stat: &PathStat) -> PathStatBody {
    PathStatBody {
        name: stat.name.clone(),
        size: stat.size,
        mode: go_mode(stat.kind, stat.mode),
        mtime: stat.mtime.to_rfc3339_nano(),
        link_target: stat.link_target.clone(),
    }
}

/// Go's `os.FileMode`: kinds and special bits stand at the upper end of the word.
fn go_mode(kind: FileKind, mode: u32) -> u32 {
    let kind = match kind {
        FileKind::Directory => 1 << 31,
        FileKind::Symlink => 1 << 27,
        FileKind::BlockDevice => 1 << 26,
        FileKind::CharDevice => 1 << 26 | 1 << 21,
        FileKind::Fifo => 1 << 25,
        FileKind::Socket => 1 << 24,
        FileKind::Unknown => 1 << 19,
        FileKind::Regular => 0,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    special.iter().filter(|(bit, _)| mode & bit != 0).fold(kind | mode & 0o777, |word, (_, go)| word | go)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        for (kind, mode, expected) in [
            (FileKind::Directory, 0o755, 2_147_484_141),
            (FileKind::Regular, 0o644, 420),
            (FileKind::Symlink, 0o777, 134_218_239),
            (FileKind::Directory, 0o1777, 2_148_532_735),
            (FileKind::Regular, 0o4755, 8_389_101),
        ] {
            assert_eq!(go_mode(kind, mode), expected, "{kind:?} {mode:o}");
        }
    }
}
