//! Whose processes run as which user of the system: `ssh.users`.

use std::collections::BTreeMap;

use alknet_core::PeerName;
use alknet_ssh::SystemUser;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::error::quoted;

/// Peers and the users that their processes run as; each user is there, and is not the node's own.
pub(super) fn system_users<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<PeerName, String>, D::Error> {
    let written = BTreeMap::<String, String>::deserialize(from)?;
    if !written.is_empty() && !rustix::process::geteuid().is_root() {
        return Err(D::Error::custom("only a node that runs as root can run processes as other users"));
    }
    let one = |(peer, user): (String, String)| {
        let problem = |what: String| D::Error::custom(format!("{}: {what}", quoted(&peer)));
        let name = peer.parse::<PeerName>().map_err(|error| problem(error.to_string()))?;
        let found = SystemUser::named(&user).map_err(|error| problem(format!("the users cannot be read: {error}")))?;
        let uid = found.ok_or_else(|| problem(format!("there is no user {} on this machine", quoted(&user))))?.uid;
        if uid == rustix::process::geteuid().as_raw() {
            let why = "is the one that the node itself runs as; an owner's processes run as that one anyway";
            return Err(problem(format!("the user {} {why}, and nobody else's may", quoted(&user))));
        }
        Ok((name, user))
    };
    written.into_iter().map(one).collect()
}
