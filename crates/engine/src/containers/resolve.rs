//! Who a process runs as: user and group names looked up in the container's own files, never the host's.
//!
//! The files come from the image or from a process that wrote them, so they are read as hostile bytes: regular files only, inside the
//! root, bounded (S-115, S-116, S-117).

use std::io::Read;
use std::path::Path;

use shipway_model::UserSpec;
use shipway_runtime::UserIds;
use shipway_store::Tree;
use shipway_sys::path::Root;

use crate::{Error, Result};

/// More than this of /etc/passwd or /etc/group is not read.
const FILE_LIMIT: usize = 1 << 20;

/// Where account files are looked up: the container's own changes first, then its image.
pub(crate) struct Accounts {
    passwd: String,
    group: String,
}

/// A file of the image; nothing when it is missing, no regular file, or too large.
fn read_below(tree: &Tree, path: &str) -> Option<Vec<u8>> {
    let file = tree.open(Path::new(path)).ok()?;
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A user as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResolvedUser {
    pub(crate) ids: UserIds,
    /// Home directory, for `HOME`; `/` when the file does not know the user.
    pub(crate) home: String,
}

impl Accounts {
    /// Reads the account files of a tree, with `upper` (a writable layer's folder) on top when there is one.
    pub(crate) fn read(tree: &Tree, upper: Option<&Root>) -> Self {
        let read = |path: &str| {
            let own = upper.and_then(|root| root.read_limited(Path::new(path), FILE_LIMIT).ok());
            let bytes = own.or_else(|| read_below(tree, path)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Self { passwd: read("/etc/passwd"), group: read("/etc/group") }
    }

    /// The ids that `user` (as in USER or `-u`) and `group_add` mean.
    ///
    /// # Errors
    /// `Invalid` with dockerd's words when a name is not in the files.
    pub(crate) fn resolve(&self, user: &str, group_add: &[String]) -> Result<ResolvedUser> {
        let spec = UserSpec::parse(user).map_err(|error| Error::invalid(error.to_string()))?;
        let entry = self.passwd_entries().find(|entry| match spec.user_id() {
            Some(uid) => entry.uid == uid,
            None => entry.name == spec.user_name(),
        });
        let uid = match (spec.user_id(), &entry) {
            (Some(uid), _) => uid,
            (None, Some(entry)) => entry.uid,
            (None, None) => {
                return Err(Error::invalid(format!("unable to find user {}: no matching entries in passwd file", spec.user_name())));
            }
        };
        let gid = match spec.group() {
            Some(group) => self.group_id(group)?,
            None => entry.as_ref().map_or(0, |entry| entry.gid),
        };
        let mut additional = Vec::new();
        // Memberships of the file count only when the group was not given, as dockerd does.
        if let (None, Some(entry)) = (spec.group(), &entry) {
            additional.extend(self.group_entries().filter(|group| group.members.contains(&entry.name)).map(|group| group.gid));
        }
        for group in group_add {
            additional.push(self.group_id(group)?);
        }
        if !additional.contains(&gid) {
            additional.insert(0, gid);
        }
        additional.dedup();
        let home = entry.map(|entry| entry.home.to_owned()).filter(|home| !home.is_empty()).unwrap_or_else(|| "/".to_owned());
        Ok(ResolvedUser { ids: UserIds { uid, gid, additional }, home })
    }

    fn group_id(&self, group: &str) -> Result<u32> {
        if let Some(gid) = shipway_model::user::parse_id(group).map_err(|error| Error::invalid(error.to_string()))? {
            return Ok(gid);
        }
        let found = self.group_entries().find(|entry| entry.name == group);
        found
            .map(|entry| entry.gid)
            .ok_or_else(|| Error::invalid(format!("unable to find group {group}: no matching entries in group file")))
    }

    fn passwd_entries(&self) -> impl Iterator<Item = PasswdEntry<'_>> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            let home = fields.nth(1).unwrap_or_default();
            Some(PasswdEntry { name, uid: uid.trim().parse().ok()?, gid: gid.trim().parse().ok()?, home })
        })
    }

    fn group_entries(&self) -> impl Iterator<Item = GroupEntry<'_>> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
            let members = fields.next().unwrap_or_default().split(',').filter(|member| !member.is_empty()).collect();
            Some(GroupEntry { name, gid: gid.trim().parse().ok()?, members })
        })
    }
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: Vec<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\n1001:x:0:0::/:\nweb:x:101:102:Web:/srv/web:/bin/sh\nbroken line\n".to_owned(),
            group: "root:x:0:\nweb:x:102:\nlogs:x:200:web,other\nmedia:x:201:web\n".to_owned(),
        }
    }

    #[track_caller]
    fn check(user: &str, group_add: &[&str], uid: u32, gid: u32, additional: &[u32], home: &str) {
        let group_add: Vec<String> = group_add.iter().map(|text| (*text).to_owned()).collect();
        let found = accounts().resolve(user, &group_add).unwrap();
        assert_eq!(
            (found.ids.uid, found.ids.gid, found.ids.additional.as_slice(), found.home.as_str()),
            (uid, gid, additional, home),
            "{user}"
        );
    }

    #[test]
    fn users_and_groups_come_from_the_image() {
        check("", &[], 0, 0, &[0], "/root");
        check("web", &[], 101, 102, &[102, 200, 201], "/srv/web");
        check("web:media", &[], 101, 201, &[201], "/srv/web");
        check("1000:2000", &["3000"], 1000, 2000, &[2000, 3000], "/");
        check("101", &[], 101, 102, &[102, 200, 201], "/srv/web");
    }

    #[test]
    fn a_number_is_never_a_name() {
        check("1001", &[], 1001, 0, &[0], "/");
    }

    #[test]
    fn unknown_names_are_refused() {
        let error = accounts().resolve("nobody", &[]).unwrap_err();
        assert_eq!(error.to_string(), "unable to find user nobody: no matching entries in passwd file");
        assert!(accounts().resolve("web:nogroup", &[]).is_err());
        for bad in ["2147483648", "4294967296", "-1"] {
            assert!(accounts().resolve(bad, &[]).is_err(), "{bad}");
        }
    }
}
