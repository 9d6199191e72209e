//! One wish of a client, on its way past the rules and the gate.

use std::{fmt, future::Future, sync::Arc};

use alknet_core::{Authorizer, Caller, Demand, Effect, Identity, Permit, ResourceId};
use tokio::time::timeout;

use super::{
    account::Place,
    direction::Direction,
    forward_policy::{ForwardPolicy, subject},
    granted::{Granted, Hold},
    judge::{Verdict, Wanted},
    refusal::{ForwardRefusal, Reason},
};
use crate::{
    key_options::KeyOptions,
    limits::{CONNECT_TIMEOUT, MAX_ASKED_CHARS},
};

/// Who asks, and with what rights besides the policy's rules.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) authorizer: &'a Authorizer,
    /// What the key they logged in with may be used for.
    pub(crate) options: &'a KeyOptions,
}

/// One wish.
pub(super) struct Request<'a> {
    policy: &'a ForwardPolicy,
    asker: Asker<'a>,
    direction: Direction,
    /// What was asked for, escaped and cut: for the audit.
    asked: String,
}

impl ForwardPolicy {
    /// Says no for a reason that is not the policy's own, and writes it down as if it were.
    pub(crate) fn refuse(
        &self,
        asker: Asker<'_>,
        direction: Direction,
        asked: fmt::Arguments<'_>,
        why: &str,
    ) -> ForwardRefusal {
        Request::new(self, asker, direction, asked).prohibited(why)
    }
}

impl<'a> Request<'a> {
    pub(super) fn new(
        policy: &'a ForwardPolicy,
        asker: Asker<'a>,
        direction: Direction,
        asked: fmt::Arguments<'_>,
    ) -> Self {
        let asked: String = asked.to_string().chars().take(MAX_ASKED_CHARS).flat_map(char::escape_debug).collect();
        Self { policy, asker, direction, asked }
    }

    pub(super) const fn options(&self) -> &'a KeyOptions {
        self.asker.options
    }

    /// Whoever asks, if it may forward anything at all.
    pub(super) fn who(&self) -> Result<&'a Arc<Identity>, ForwardRefusal> {
        match &self.asker.caller.identity {
            Some(who) if !who.standing().is_current() => Err(self.prohibited("its rights were taken away")),
            // A credential with scopes of its own was made for calls; it says nothing about forwards.
            Some(who) if who.is_limited() => Err(self.prohibited("the credential is limited to its scopes")),
            Some(_) if !self.options().port_forwarding => Err(self.prohibited("the key's options")),
            Some(who) => Ok(who),
            None => Err(self.prohibited("nobody in particular asks")),
        }
    }

    /// Takes a place in the account of whoever asks.
    pub(super) fn enter(&self, listens: bool) -> Result<Place, ForwardRefusal> {
        self.policy.accounts.enter(self.who()?, listens).map_err(|full| self.refused(Reason::TooMany, full))
    }

    /// What the rules say now about one thing.
    pub(super) fn judge(&self, wanted: &Wanted) -> Result<Verdict, ForwardRefusal> {
        Ok(self.policy.rules().judge(subject(self.who()?), wanted))
    }

    /// Whether every one of these is allowed; they are written down first, so that rules which change meanwhile find them.
    pub(super) fn judge_all(&self, place: &Place, wanted: &[Wanted]) -> Result<(), ForwardRefusal> {
        place.uses(wanted.to_vec());
        wanted.iter().try_for_each(|one| {
            let verdict = self.judge(one)?;
            if verdict.allowed { Ok(()) } else { Err(self.prohibited(verdict.basis)) }
        })
    }

    /// Asks the gate, after the rules have allowed it.
    pub(super) fn permit(&self) -> Result<Permit, ForwardRefusal> {
        let who = self.who()?;
        let Caller { credential, addr, .. } = self.asker.caller;
        let identity = Some(Arc::new(who.acting(&self.policy.authority)));
        let acting = Caller { identity, credential: credential.clone(), addr: *addr };
        let permit = self.with_demand(|demand| self.asker.authorizer.authorize(&acting, demand));
        permit.map_err(|denial| ForwardRefusal::new(Reason::Prohibited, denial.to_string()))
    }

    /// Hands out what came about.
    pub(super) fn grant<T>(&self, what: T, permit: Permit, place: Place) -> Granted<T> {
        tracing::debug!(identity = self.asker.caller.id(), direction = %self.direction, asked = self.asked, "forward");
        Granted { what, hold: Hold::new(permit, place) }
    }

    /// A no by the rules, the key's options, or because nothing could be meant.
    pub(super) fn prohibited(&self, why: impl fmt::Display) -> ForwardRefusal {
        self.refused(Reason::Prohibited, why)
    }

    fn refused(&self, reason: Reason, why: impl fmt::Display) -> ForwardRefusal {
        let why = why.to_string();
        self.with_demand(|demand| self.asker.authorizer.refused(self.asker.caller, demand, &why));
        let (identity, addr) = (self.asker.caller.id(), self.asker.caller.addr);
        tracing::info!(identity, %addr, direction = %self.direction, "forward refused: {why}");
        tracing::debug!(identity, direction = %self.direction, asked = self.asked, "the refused forward");
        ForwardRefusal::new(reason, why)
    }

    fn with_demand<T>(&self, then: impl FnOnce(&Demand<'_>) -> T) -> T {
        let resource = ResourceId::new("forward", &self.asked).ok();
        // What listens changes the node; what connects is counted, or the audit would hold nothing else.
        let effect = if self.direction == Direction::Remote { Effect::Mutation } else { Effect::Query };
        let (action, rule) = (self.direction.action(), &self.policy.demanded);
        then(&Demand { action, rule, resource: resource.as_ref(), effect })
    }

    /// A connection that is made in time, or why not.
    pub(super) async fn in_time<T>(
        &self,
        connecting: impl Future<Output = Result<T, ForwardRefusal>>,
    ) -> Result<T, ForwardRefusal> {
        let made = timeout(CONNECT_TIMEOUT, connecting).await;
        let made = made.unwrap_or_else(|_| Err(ForwardRefusal::new(Reason::TimedOut, "nobody answered in time")));
        made.inspect_err(|refusal| self.failed(refusal))
    }

    /// Notes that an allowed forward did not come about.
    pub(super) fn failed(&self, refusal: &ForwardRefusal) {
        let (identity, cause) = (self.asker.caller.id(), refusal.cause());
        tracing::debug!(identity, direction = %self.direction, asked = self.asked, "forward failed: {cause}");
    }
}
