//! Users of this machine, as passwd(5) and group(5) list them.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use crate::limits::MAX_USER_FILE_BYTES;

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";
/// What runs for a user whose entry names no shell (passwd(5)).
const DEFAULT_SHELL: &str = "/bin/sh";

/// A user of this machine. Users that only a directory service knows are not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemUser {
    /// The name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The number of the primary group.
    pub gid: u32,
    /// Every group that the user is in, the primary one first.
    pub groups: Vec<u32>,
    /// The home folder.
    pub home: PathBuf,
    /// The login shell.
    pub shell: PathBuf,
}

impl SystemUser {
    /// Finds a user by name.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn named(name: &str) -> io::Result<Option<Self>> {
        let users = text_of(USERS)?;
        let Some(user) = find(&users, |user| user.name == name) else { return Ok(None) };
        let groups = text_of(GROUPS)?;
        Ok(Some(user.with_groups(&groups)))
    }

    /// Finds the first user of a number.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn numbered(uid: u32) -> io::Result<Option<Self>> {
        let users = text_of(USERS)?;
        let Some(user) = find(&users, |user| user.uid == uid) else { return Ok(None) };
        let groups = text_of(GROUPS)?;
        Ok(Some(user.with_groups(&groups)))
    }

    /// The user that this process runs as.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn own() -> io::Result<Option<Self>> {
        Self::numbered(rustix::process::geteuid().as_raw())
    }

    fn with_groups(mut self, groups: &str) -> Self {
        for line in groups.lines() {
            let mut fields = line.split(':');
            let (Some(gid), Some(members)) = (fields.nth(2).and_then(|gid| gid.parse().ok()), fields.next()) else {
                continue;
            };
            if members.split(',').any(|member| member.trim() == self.name) && !self.groups.contains(&gid) {
                self.groups.push(gid);
            }
        }
        self
    }
}

fn find(users: &str, wanted: impl Fn(&SystemUser) -> bool) -> Option<SystemUser> {
    users.lines().filter_map(user_of).find(wanted)
}

/// A line of passwd(5); `None` for anything else.
fn user_of(line: &str) -> Option<SystemUser> {
    let fields: Vec<_> = line.split(':').collect();
    let [name, _password, uid, gid, _comment, home, shell] = fields[..] else { return None };
    let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
    let shell = if shell.trim().is_empty() { DEFAULT_SHELL } else { shell.trim() };
    let named = !name.is_empty() && !name.starts_with(['+', '-', '#']);
    named.then(|| SystemUser {
        name: name.to_owned(),
        uid,
        gid,
        groups: vec![gid],
        home: PathBuf::from(home),
        shell: PathBuf::from(shell),
    })
}

fn text_of(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_USER_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_USER_FILE_BYTES {
        return Err(io::Error::other(format!("{path} is larger than {MAX_USER_FILE_BYTES} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_with_their_groups() {
        let users = "root:x:0:0:root:/root:/bin/bash\nbad line\n+nis::::::\nme:x:1000:100:,,,:/home/me:\n";
        let groups =
            "users:x:100:\nadm:x:4:you,me\nnone:x:5:\nusers2:x:100:me\nme:x:x:me\nmee:x:7:mee\nwheel:x:10:me\n";
        let me = find(users, |user| user.uid == 1000).unwrap().with_groups(groups);
        assert_eq!((me.name.as_str(), me.home.to_str(), me.shell.to_str()), ("me", Some("/home/me"), Some("/bin/sh")));
        assert_eq!((me.gid, me.groups.as_slice()), (100, [100, 4, 10].as_slice()));
        assert_eq!(find(users, |user| user.name == "root").unwrap().shell.to_str(), Some("/bin/bash"));
        assert!(find(users, |user| user.uid == 7 || user.name.starts_with('+')).is_none());
    }

    #[test]
    fn this_process_runs_as_somebody_that_both_ways_find() {
        if let Some(own) = SystemUser::own().unwrap() {
            assert_eq!(own.uid, rustix::process::geteuid().as_raw());
            assert_eq!(SystemUser::named(&own.name).unwrap().map(|user| user.name), Some(own.name));
        }
        assert_eq!(SystemUser::named("no-such-user-here").unwrap(), None);
    }
}
