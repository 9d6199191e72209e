//! Whom a process runs as.

use std::{collections::BTreeMap, io, path::PathBuf};

use alknet_core::Identity;
use rustix::{
    io::Errno,
    process::{Gid, Uid, geteuid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid, set_thread_uid},
};

use crate::{SshConfig, SystemUser};

/// Which peers' processes run as which users of the system.
pub(crate) type Users = BTreeMap<String, String>;

/// A user of the system, as far as starting a process needs it.
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) home: PathBuf,
    pub(crate) shell: PathBuf,
    /// What to become; nothing when it is the node's own user.
    pub(crate) ids: Option<Ids>,
}

/// The numbers of a user.
pub(crate) struct Ids {
    pub(crate) uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

/// Why nobody was found whom a process could run as.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    /// The node's own user has the owner's power.
    #[error("`{0}` is mapped to no user of this machine")]
    NotMapped(String),
    #[error("there is no user `{0}` on this machine")]
    Unknown(String),
    /// The same, under another name.
    #[error("the user `{0}` is the one that the node itself runs as")]
    Own(String),
    #[error("the users of this machine cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

impl Account {
    /// Whom processes of `identity` run as: the user that it is mapped to, else the node's own, but only for an owner. The system's files
    /// are read anew each time, for groups change.
    pub(crate) fn of(identity: &Identity, users: &Users, config: &SshConfig) -> Result<Self, AccountError> {
        let Some(name) = users.get(identity.id()) else {
            return match identity.is_owner() {
                true => Ok(Self::own(config)),
                false => Err(AccountError::NotMapped(identity.id().to_owned())),
            };
        };
        let user = SystemUser::named(name)?.ok_or_else(|| AccountError::Unknown(name.clone()))?;
        if user.uid == geteuid().as_raw() {
            return Err(AccountError::Own(name.clone()));
        }
        let groups = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        let ids = Ids { uid: Uid::from_raw(user.uid), gid: Gid::from_raw(user.gid), groups };
        Ok(Self { name: user.name, home: user.home, shell: user.shell, ids: Some(ids) })
    }

    fn own(config: &SshConfig) -> Self {
        let (name, home, shell) = (config.system_user.clone(), config.home.clone(), config.shell.clone());
        Self { name, home, shell, ids: None }
    }
}

impl Ids {
    /// Makes the calling thread this user, for good. For a child between fork and exec: makes system calls and nothing else.
    pub(crate) fn assume(&self) -> io::Result<()> {
        set_thread_groups(&self.groups)?;
        set_thread_res_gid(self.gid, self.gid, self.gid)?;
        set_thread_res_uid(self.uid, self.uid, self.uid)?;
        // Whoever could go back would not have gone.
        match set_thread_uid(Uid::ROOT) {
            Ok(()) => Err(Errno::PERM.into()),
            Err(_) => Ok(()),
        }
    }
}
