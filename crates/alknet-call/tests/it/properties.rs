//! Composition against a model: what is reached, and what outlives what.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use alknet_call::{
    Authority, CallError, CallNumber, CallOptions, CallRequest, Ending, LocalClient, Operation, OperationContext,
    Registry,
};
use alknet_core::{AccessRule, Authorizer, Caller, Identity, PeerAddr, ResourceGrants, Scope, ScopeSet, Sessions};
use alknet_testkit::identities::KeptAudit;
use futures_util::future::join_all;
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const SCOPES: [&str; 3] = ["a:x", "b:y", "c:z"];
const NAMES: [&str; 5] = ["s/one", "s/two", "t/one", "t/two", "u/one"];

fn scopes(bits: u8) -> BTreeSet<usize> {
    (0..SCOPES.len()).filter(|nth| bits & (1 << nth) != 0).collect()
}

fn parsed(held: &BTreeSet<usize>) -> Vec<Scope> {
    held.iter().map(|nth| SCOPES[*nth].parse().unwrap()).collect()
}

fn caller(identity: Option<Identity>) -> Caller {
    Caller { identity: identity.map(Arc::new), credential: None, addr: PeerAddr::LocalOwner { pid: 1 } }
}

fn registry(operations: impl IntoIterator<Item = Operation>, sessions: &Sessions) -> Arc<Registry> {
    let mut builder = Registry::builder(Authorizer::new(Arc::new(KeptAudit::default())), sessions.clone());
    for operation in operations {
        builder.register(operation).unwrap();
    }
    builder.build().unwrap()
}

/// Who may call an operation, in the model.
#[derive(Debug, Clone)]
enum Rule {
    Public,
    Nobody,
    Scoped(BTreeSet<usize>),
}

impl Rule {
    fn admits(&self, rights: Option<&BTreeSet<usize>>) -> bool {
        match self {
            Self::Public => true,
            Self::Nobody => false,
            Self::Scoped(needed) => !needed.is_empty() && rights.is_some_and(|rights| needed.is_subset(rights)),
        }
    }
    fn real(&self) -> AccessRule {
        match self {
            Self::Public => AccessRule::public(),
            Self::Nobody => AccessRule::default(),
            Self::Scoped(needed) => AccessRule::scoped(parsed(needed)),
        }
    }
}

#[derive(Debug, Clone)]
struct Declared {
    rule: Rule,
    internal: bool,
    authority: BTreeSet<usize>,
    reaches: Vec<&'static str>,
    within: bool,
}

impl Declared {
    fn reaches(&self, name: &str) -> bool {
        let service = format!("{}/*", name.split_once('/').unwrap().0);
        self.reaches.iter().any(|pattern| *pattern == name || *pattern == service)
    }
}

fn declared() -> impl Strategy<Value = Declared> {
    let rule =
        prop_oneof![Just(Rule::Public), Just(Rule::Nobody), (0u8..8).prop_map(|bits| Rule::Scoped(scopes(bits)))];
    let pattern = prop::sample::select(vec!["s/one", "s/two", "t/one", "t/two", "u/one", "s/*", "t/*", "u/*", "v/*"]);
    let reaches = prop::collection::vec(pattern, 0..5);
    (rule, prop::bool::weighted(0.3), 0u8..8, reaches, prop::bool::weighted(0.3)).prop_map(
        |(rule, internal, authority, reaches, within)| Declared {
            rule,
            internal,
            authority: scopes(authority),
            reaches,
            within,
        },
    )
}

/// The names that a chain reaches, by the model.
fn model(known: &BTreeMap<&str, Declared>, chain: &[&str], caller: Option<&BTreeSet<usize>>) -> Vec<String> {
    let mut reached: Vec<String> = Vec::new();
    let mut rights = caller.cloned();
    let mut from: Option<&Declared> = None;
    for name in chain {
        let Some(to) = known.get(name) else { break };
        let open = match from {
            None => !to.internal && to.rule.admits(rights.as_ref()),
            Some(from) => {
                let own = to.rule.admits(Some(&from.authority));
                from.reaches(name) && own && (!from.within || to.rule.admits(rights.as_ref()))
            }
        };
        if !open {
            break;
        }
        // What acts from here on is this operation; a stranger stays one, whatever it acts with.
        if let Some(from) = from {
            rights = rights.map(|_| from.authority.clone());
        }
        from = Some(to);
        reached.push((*name).to_owned());
    }
    reached
}

fn real(known: &BTreeMap<&str, Declared>, reached: &Arc<Mutex<Vec<String>>>) -> Vec<Operation> {
    let operation = |(name, declared): (&&str, &Declared)| {
        let (reached, own) = (reached.clone(), (*name).to_owned());
        let existing = declared.reaches.iter().copied().filter(|to| to.ends_with('*') || known.contains_key(to));
        let mut builder = Operation::mutation(*name)
            .access(declared.rule.real())
            .authority(Authority::scoped(parsed(&declared.authority)))
            .reaches(existing);
        if declared.internal {
            builder = builder.internal();
        }
        if declared.within {
            builder = builder.within_caller();
        }
        builder.handler(move |context: Arc<OperationContext>, chain: Vec<String>| {
            reached.lock().unwrap().push(own.clone());
            async move {
                match chain.split_first() {
                    None => Ok(Value::Null),
                    Some((next, rest)) => context.call_value(next, json!(rest)).await,
                }
            }
        })
    };
    known.iter().map(operation).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    // CALL-47 CALL-48: reached exactly when every edge of the chain allows it, whatever else anybody on it may do.
    #[test]
    fn a_chain_reaches_what_each_of_its_edges_allows(
        declared in prop::collection::vec(declared(), NAMES.len()),
        missing in 0..2 * NAMES.len(),
        chains in prop::collection::vec(prop::collection::vec(prop::sample::select(NAMES.to_vec()), 1..6), 1..12),
        rights in prop::option::weighted(0.8, 0u8..8),
    ) {
        let mut known: BTreeMap<_, _> = NAMES.into_iter().zip(declared).collect();
        if let Some(name) = NAMES.get(missing) {
            known.remove(name);
        }
        let reached = Arc::new(Mutex::new(Vec::new()));
        let registry = registry(real(&known, &reached), &Sessions::default());
        let rights = rights.map(scopes);
        let identity = rights.as_ref().map(|rights| {
            Identity::new("alice", ScopeSet::from_iter(parsed(rights)), ResourceGrants::default())
        });
        let client = LocalClient::new(registry.clone(), caller(identity));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for chain in chains {
            let input = json!(chain[1..]);
            let outcome = runtime.block_on(client.call(chain[0], input, CallOptions::default()));
            let expected = model(&known, &chain, rights.as_ref());
            let reached = std::mem::take(&mut *reached.lock().unwrap());
            prop_assert_eq!(&reached, &expected, "{:?}", chain);
            prop_assert_eq!(outcome.is_ok(), expected.len() == chain.len());
        }
        prop_assert_eq!(registry.graph().live(), 0);
    }
}

/// A call that begins others, and then waits or is done.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Tree {
    id: usize,
    waits: bool,
    children: Vec<Branch>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Branch {
    continuing: bool,
    tree: Tree,
}

impl Tree {
    fn number(&mut self, next: &mut usize) {
        self.id = *next;
        *next += 1;
        self.children.iter_mut().for_each(|branch| branch.tree.number(next));
    }
    fn find(&self, id: usize) -> Option<&Self> {
        if self.id == id { Some(self) } else { self.children.iter().find_map(|branch| branch.tree.find(id)) }
    }
    /// Everything below and itself; without what continues, if so wanted.
    fn all(&self, continuing_too: bool) -> Vec<usize> {
        let below = self.children.iter().filter(|branch| continuing_too || !branch.continuing);
        std::iter::once(self.id).chain(below.flat_map(|branch| branch.tree.all(continuing_too))).collect()
    }
    /// Whether nothing of it is left to wait for: it was ended, or is done as all that it waits for is.
    fn is_done(&self, ended: &BTreeSet<usize>) -> bool {
        ended.contains(&self.id) || (!self.waits && self.children.iter().all(|branch| branch.tree.is_done(ended)))
    }
    /// Those that run, by the model.
    fn running(&self, ended: &BTreeSet<usize>) -> BTreeSet<usize> {
        let below = self.children.iter().flat_map(|branch| branch.tree.running(ended));
        below.chain((!self.is_done(ended)).then_some(self.id)).collect()
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = any::<bool>().prop_map(|waits| Tree { id: 0, waits, children: Vec::new() });
    leaf.prop_recursive(4, 24, 4, |inner| {
        let branch = (prop::bool::weighted(0.3), inner).prop_map(|(continuing, tree)| Branch { continuing, tree });
        (any::<bool>(), prop::collection::vec(branch, 0..4)).prop_map(|(waits, children)| Tree {
            id: 0,
            waits,
            children,
        })
    })
    .prop_map(|mut tree| {
        tree.number(&mut 0);
        tree
    })
}

#[derive(Debug, Clone, Copy)]
enum End {
    /// Its caller calls it off.
    CallOff,
    /// Somebody calls it off in the graph, with everything below it.
    Abort,
}

type Running = Arc<Mutex<BTreeMap<usize, CallNumber>>>;

struct Entered(Running, usize);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.lock().unwrap().remove(&self.1);
    }
}

fn grow(running: Running) -> Operation {
    Operation::mutation("tree/grow").access(AccessRule::public()).reaches(["tree/grow"]).handler(
        move |context: Arc<OperationContext>, tree: Tree| {
            let running = running.clone();
            async move {
                running.lock().unwrap().insert(tree.id, context.node().number());
                let _entered = Entered(running, tree.id);
                let calls = tree.children.into_iter().map(|Branch { continuing, tree }| {
                    let context = context.clone();
                    async move {
                        if continuing {
                            context.continuing().call::<Tree, ()>("tree/grow", tree).await
                        } else {
                            context.call_value("tree/grow", json!(tree)).await.map(drop)
                        }
                    }
                });
                join_all(calls).await;
                if tree.waits {
                    std::future::pending::<()>().await;
                }
                Ok::<_, CallError>(())
            }
        },
    )
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..60 {
        tokio::task::yield_now().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    // CALL-49: nothing outlives what it ends with, and everything else goes on; in the end nothing is left of any of it.
    #[test]
    fn trees_end_as_their_calls_are_bound(
        tree in trees(),
        ends in prop::collection::vec((0usize..24, prop_oneof![Just(End::CallOff), Just(End::Abort)]), 0..6),
        by_rights in any::<bool>(),
    ) {
        let (running, sessions) = (Running::default(), Sessions::default());
        let registry = registry([grow(running.clone())], &sessions);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let request = CallRequest::new("tree/grow", json!(tree));
            let abort = request.abort.clone();
            let (asked, alice) = (registry.clone(), caller(Some(Identity::owner("alice"))));
            let root = tokio::spawn(async move { asked.invoke(alice, request).await });
            settle().await;
            let mut ended = BTreeSet::new();
            let now = || running.lock().unwrap().keys().copied().collect::<BTreeSet<_>>();
            assert_eq!(now(), tree.running(&ended));
            for (id, end) in ends {
                let Some(number) = running.lock().unwrap().get(&id).copied() else { continue };
                let node = registry.graph().get(number).unwrap();
                let below = tree.find(id).unwrap();
                match end {
                    End::CallOff => node.call_off(Ending::Aborted).unwrap(),
                    End::Abort => assert!(registry.graph().abort(number).unwrap() > 0),
                }
                ended.extend(below.all(matches!(end, End::Abort)));
                settle().await;
                assert_eq!(now(), tree.running(&ended), "{id} {end:?}");
                assert_eq!(registry.graph().live(), now().len());
            }
            if by_rights {
                sessions.cancel_identity("alice");
            } else {
                abort.cancel();
                settle().await;
                ended.extend(tree.all(false));
                assert_eq!(now(), tree.running(&ended));
                for number in running.lock().unwrap().values().copied().collect::<Vec<_>>() {
                    registry.graph().abort(number);
                }
            }
            settle().await;
            assert!(root.is_finished());
            assert_eq!((now().len(), registry.graph().live(), sessions.list().len()), (0, 0, 0));
            let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
            assert_eq!(tasks, 0, "no task is left");
        });
    }
}
