//! The policy of a node: its rules, who has what open, and the way out.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use alknet_core::{AccessRule, Identity, ResourceGrants, Scope, ScopeSet};
use arc_swap::ArcSwap;

use super::{
    account::Accounts,
    judge::{RuleSet, Subject},
    resolve::Resolver,
    rule::ForwardRule,
};

/// What a permit for a forward covers. A rule of the policy gives it; holding it as a scope is not asked for and gives nothing.
const FORWARD_SCOPE: &str = "ssh:forward";

/// What is forwarded, for whom, and where to: rules in order, of which the first that is about a forward decides.
///
/// One for the life of a node: other rules are put into it.
pub struct ForwardPolicy {
    rules: ArcSwap<RuleSet>,
    pub(super) accounts: Accounts,
    pub(super) resolver: Resolver,
    /// What an allowed forward is authorised with, and what is asked of it.
    pub(super) authority: Identity,
    pub(super) demanded: AccessRule,
}

impl fmt::Debug for ForwardPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForwardPolicy").field(&self.rules.load().rules).finish()
    }
}

impl Default for ForwardPolicy {
    /// Forwards nothing for anybody.
    fn default() -> Self {
        let scope: Scope = FORWARD_SCOPE.parse().expect("because the constant above is a scope");
        let scopes = ScopeSet::from_iter([scope.clone()]);
        Self {
            rules: ArcSwap::default(),
            accounts: Accounts::default(),
            resolver: Resolver::default(),
            authority: Identity::new("", scopes, ResourceGrants::default()),
            demanded: AccessRule::scoped([scope]),
        }
    }
}

impl ForwardPolicy {
    /// Judges by `rules`, and keeps everybody from sockets in the folder `data`.
    pub fn new(rules: Vec<ForwardRule>, data: &Path) -> Self {
        let policy = Self::default();
        let data = data.canonicalize().or_else(|_| std::path::absolute(data)).unwrap_or_else(|_| PathBuf::from(data));
        policy.change(|set| set.data = Some(data.clone()));
        policy.set_rules(rules);
        policy
    }

    /// Judges by other rules from now on. What they no longer allow ends. Follows symbolic links in the rules' paths.
    pub fn set_rules(&self, mut rules: Vec<ForwardRule>) {
        rules.iter_mut().for_each(ForwardRule::follow_links);
        self.change(|set| set.rules = rules.clone());
        let now = self.rules.load();
        self.accounts.end_unless(|who, wanted| now.judge(subject(who), wanted).allowed);
    }

    /// Tells which port the node itself listens on.
    pub fn set_own_port(&self, port: u16) {
        self.change(|set| set.own_port = Some(port));
    }

    fn change(&self, change: impl Fn(&mut RuleSet)) {
        self.rules.rcu(|set| {
            let mut set = RuleSet::clone(set);
            change(&mut set);
            set
        });
    }

    /// The rules in force.
    pub(super) fn rules(&self) -> Arc<RuleSet> {
        self.rules.load_full()
    }
}

/// Somebody, as rules see them.
pub(super) fn subject(who: &Identity) -> Subject<'_> {
    Subject { id: who.id(), role: who.role() }
}
