//! Names of users and groups, looked up in the tree being built, never on the machine.
//!
//! What must stay true (S-116): digits are a number, never a name; numbers beyond 2^31-1 are refused, so that none wraps to root.

use std::path::Path;

use shipway_model::ErrorKind;

use crate::ops::{OpFailure, OpFinding};

/// Reads a file of the tree; none when it is not there.
pub(crate) type ReadFile<'a> = &'a dyn Fn(&Path) -> Result<Option<Vec<u8>>, OpFailure>;

/// The largest id; beyond it a signed 32-bit reader would see a negative one.
const LARGEST_ID: u32 = i32::MAX as u32;

/// One line of /etc/passwd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PasswdEntry {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
}

/// The owner `--chown` (or the USER a WORKDIR belongs to) names: `user[:group]`, each a name or a number. Without a group it is the user's own, or for
/// a number the same number.
///
/// # Errors
/// A name the tree does not know, a number out of range.
pub(crate) fn resolve(text: &str, read: ReadFile<'_>) -> Result<(u32, u32), OpFailure> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let (uid, own_group) = match number(user)? {
        Some(uid) => (uid, uid),
        None if user.is_empty() => (0, 0),
        None => {
            let users = passwd(read)?;
            let found = users.iter().find(|entry| entry.name == user);
            let entry = found.ok_or_else(|| unknown("user", user, "/etc/passwd", users.iter().map(|entry| entry.name.as_str())))?;
            (entry.uid, entry.gid)
        }
    };
    let gid = match group {
        None | Some("") => own_group,
        Some(group) => match number(group)? {
            Some(gid) => gid,
            None => {
                let groups = groups(read)?;
                let found = groups.iter().find(|(name, _)| name == group);
                found.ok_or_else(|| unknown("group", group, "/etc/group", groups.iter().map(|(name, _)| name.as_str())))?.1
            }
        },
    };
    Ok((uid, gid))
}

/// The home folder of the user a process runs as; `/` when the tree does not say, as Docker has it.
pub(crate) fn home(user: &str, read: ReadFile<'_>) -> String {
    let name = user.split(':').next().unwrap_or_default();
    let uid = if name.is_empty() { Some(0) } else { number(name).ok().flatten() };
    let users = passwd(read).unwrap_or_default();
    let found = users.iter().find(|entry| match uid {
        Some(uid) => entry.uid == uid,
        None => entry.name == name,
    });
    match found {
        Some(entry) if !entry.home.is_empty() => entry.home.clone(),
        _ if uid == Some(0) => "/root".to_owned(),
        _ => "/".to_owned(),
    }
}

/// A number when `text` is all digits.
fn number(text: &str) -> Result<Option<u32>, OpFailure> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= LARGEST_ID => Ok(Some(id)),
        _ => {
            let message = format!("id {text} is out of range: ids go from 0 to {LARGEST_ID}");
            Err(OpFailure::finding("E-USER-RANGE", ErrorKind::Invalid, message))
        }
    }
}

fn passwd(read: ReadFile<'_>) -> Result<Vec<PasswdEntry>, OpFailure> {
    let bytes = read(Path::new("etc/passwd"))?.unwrap_or_default();
    Ok(lines(&bytes)
        .filter_map(|fields| match fields.as_slice() {
            [name, _, uid, gid, rest @ ..] => {
                let home = rest.get(1).cloned().unwrap_or_default();
                Some(PasswdEntry { name: name.clone(), uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
            }
            _ => None,
        })
        .collect())
}

fn groups(read: ReadFile<'_>) -> Result<Vec<(String, u32)>, OpFailure> {
    let bytes = read(Path::new("etc/group"))?.unwrap_or_default();
    Ok(lines(&bytes).filter_map(|fields| Some((fields.first()?.clone(), fields.get(2)?.parse().ok()?))).collect())
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = Vec<String>> + '_ {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').map(|line| {
        let line = String::from_utf8_lossy(line);
        line.trim_end_matches('\r').split(':').map(|field| field.trim().to_owned()).collect()
    })
}

fn unknown<'a>(noun: &str, name: &str, file: &str, known: impl Iterator<Item = &'a str>) -> OpFailure {
    let known: Vec<&str> = known.collect();
    let finding = OpFinding::new("E-USER-UNKNOWN", ErrorKind::Invalid, format!("the image has no {noun} \"{name}\""))
        .because(if known.is_empty() { format!("the image has no {file}") } else { format!("{file} of the image does not name it") })
        .docker(format!(
            "unable to convert uid/gid chown string to host mapping: can't find {}id for {noun} {name}: no such {noun}: {name}",
            &noun[..1]
        ));
    match crate::suggestions::nearest(name, known) {
        Some(nearest) => finding.hint(format!("did you mean {nearest}?")),
        None => finding.hint(format!("create it with RUN before, or give its number: {noun} 1000")),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(u32, u32), &str>) {
        let read = |path: &Path| {
            Ok(match path.to_str() {
                Some("etc/passwd") => {
                    Some(b"root:x:0:0:root:/root:/bin/sh\n1001:x:0:0::/:\nnode:x:1000:1001:Node:/home/node:/bin/sh\n".to_vec())
                }
                Some("etc/group") => Some(b"root:x:0:\nstaff:x:50:node\n".to_vec()),
                _ => None,
            })
        };
        match (resolve(text, &read), expected) {
            (Ok(got), Ok(wanted)) => assert_eq!(got, wanted, "{text}"),
            (Err(error), Err(words)) => assert!(error.line().contains(words), "{text}: {}", error.line()),
            (got, wanted) => panic!("{text}: {got:?} instead of {wanted:?}"),
        }
    }

    #[test]
    fn names_come_from_the_image_and_digits_are_never_names() {
        check("node", Ok((1000, 1001)));
        check("node:staff", Ok((1000, 50)));
        check("node:7", Ok((1000, 7)));
        check("1001", Ok((1001, 1001)));
        check("55:2", Ok((55, 2)));
        check("", Ok((0, 0)));
        check("nobody", Err("no user \"nobody\""));
        check("root:wheel", Err("no group \"wheel\""));
        for text in ["2147483648", "4294967296", "99999999999999999999"] {
            check(text, Err("out of range"));
        }
        check("0x0", Err("no user"));
        check("-1", Err("no user"));
    }

    #[test]
    fn home_is_the_one_of_the_image() {
        let read = |_: &Path| Ok(Some(b"node:x:1000:1001:Node:/home/node:/bin/sh\n".to_vec()));
        for (user, expected) in [("node", "/home/node"), ("1000:5", "/home/node"), ("", "/root"), ("0", "/root"), ("7", "/"), ("x", "/")] {
            assert_eq!(home(user, &read), expected, "{user}");
        }
    }
}
