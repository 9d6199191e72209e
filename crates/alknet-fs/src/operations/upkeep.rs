//! `fs/gc` and `fs/fsck`: content of the whole node that nobody needs any more, and content that is not as it should be.

use alknet_call::{CallError, Item, Operation, OperationContext, RegisterError, RegistryBuilder};
use alknet_core::{AccessRule, Effect, ResourceId};
use futures_util::stream::{Stream, unfold};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    refusal::{declaring, refusal},
    service::Service,
    views::{CheckFiles, CheckItem, CheckSummary, CollectGarbage, Collected, Finding, FindingKind},
};
use crate::{
    access::{Access, Right},
    content::{self, Check, Found},
    error::FsError,
    limits::{FINDINGS_AHEAD, LONG_TIMEOUT},
    tree::{FoundWrong, Wrong},
};

pub(super) fn register(registry: &mut RegistryBuilder, service: &Service) -> Result<(), RegisterError> {
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/gc"))
            .title("Remove content that nothing refers to")
            .description("Of all buckets, after its time of grace. The node does it by itself; this does it now.")
            .access(administering())
            .idempotent()
            .timeout(LONG_TIMEOUT)
            .handler(move |context, input: CollectGarbage| {
                let fs = fs.clone();
                async move {
                    everywhere(&context, Effect::Mutation)?;
                    let collected = fs.content().collect(fs.gc_grace(), input.dry_run).await.map_err(refusal)?;
                    let content::Collected { blobs, bytes, left } = collected;
                    Ok(Collected { blobs, bytes, left })
                }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::subscription("fs/fsck"))
            .title("Check all stored content and the trees")
            .description(
                "Gives what is not as it should be, and at last a summary. It goes on while others read and write, and ends when \
                 nobody listens any more.",
            )
            .access(administering())
            .items(move |context, input: CheckFiles| {
                let fs = fs.clone();
                async move {
                    // A subscription only looks, as far as the gate knows: a repair is written down as the change that it is.
                    everywhere(&context, if input.repair { Effect::Mutation } else { Effect::Query })?;
                    Ok(check(&fs, &input))
                }
            }),
    )?;
    Ok(())
}

/// The rule of what concerns the node as a whole, and no bucket.
fn administering() -> AccessRule {
    let scope = Right::Admin.as_str().parse().expect("because the names of rights are scopes");
    AccessRule::scoped([scope])
}

/// Content has no bucket: who looks after one of them does not look after all.
fn everywhere(context: &OperationContext, effect: Effect) -> Result<(), CallError> {
    let all = ResourceId::new("bucket", "*").expect("because it is short and printable");
    context.authorize(context.permit.action(), &Access::rule(Right::Admin), Some(&all), effect)?;
    Ok(())
}

/// A check under way; it ends when the receiver is dropped.
struct Checking {
    findings: mpsc::Receiver<Found>,
    /// After those of the content.
    trees: mpsc::Receiver<FoundWrong>,
    task: Option<JoinHandle<Result<u64, FsError>>>,
    summary: CheckSummary,
}

fn check(fs: &Service, input: &CheckFiles) -> impl Stream<Item = Result<Item<CheckItem>, CallError>> + Send + use<> {
    let (sender, findings) = mpsc::channel(FINDINGS_AHEAD);
    let (of_trees, trees) = mpsc::channel(FINDINGS_AHEAD);
    let (content, tree, how) =
        (fs.content().clone(), fs.tree().clone(), Check { deep: input.deep, repair: input.repair });
    let task = Some(tokio::spawn(async move {
        let blobs = content.check(how, sender).await?;
        tree.check(how, &of_trees).await?;
        Ok(blobs)
    }));
    let checking = Checking { findings, trees, task, summary: CheckSummary { blobs: 0, findings: 0, repaired: 0 } };
    unfold(checking, |mut checking| async move { Some((checking.next().await?.map(Item::new), checking)) })
}

impl Checking {
    async fn next(&mut self) -> Option<Result<CheckItem, CallError>> {
        if let Some(Found { finding, repaired }) = self.findings.recv().await {
            self.summary.findings += 1;
            self.summary.repaired += u64::from(repaired);
            return Some(Ok(CheckItem::Finding(finding_view(&finding, repaired))));
        }
        if let Some(FoundWrong { wrong, repaired }) = self.trees.recv().await {
            self.summary.findings += 1;
            self.summary.repaired += u64::from(repaired);
            return Some(Ok(CheckItem::Finding(wrong_view(&wrong, repaired))));
        }
        let checked = self.task.take()?.await;
        Some(match checked {
            Ok(Ok(blobs)) => Ok(CheckItem::Summary(CheckSummary { blobs, ..self.summary.clone() })),
            Ok(Err(error)) => Err(refusal(error)),
            Err(error) => Err(CallError::internal(error)),
        })
    }
}

fn wrong_view(wrong: &Wrong, repaired: bool) -> Finding {
    let kind = match wrong {
        Wrong::Usage { .. } => FindingKind::Usage,
        Wrong::NoInode { .. } => FindingKind::NoInode,
        Wrong::Places { .. } => FindingKind::Places,
        Wrong::Loop { .. } => FindingKind::Loop,
        Wrong::Table { .. } => FindingKind::Table,
    };
    Finding { kind, what: wrong.to_string(), hash: None, repaired }
}

fn finding_view(finding: &content::Finding, repaired: bool) -> Finding {
    let (kind, hash) = match finding {
        content::Finding::Damaged { hash, .. } => (FindingKind::Damaged, Some(*hash)),
        content::Finding::Outboard { hash } => (FindingKind::Outboard, Some(*hash)),
        content::Finding::References { hash, .. } => (FindingKind::References, Some(*hash)),
        content::Finding::Unknown { .. } => (FindingKind::Unknown, None),
        content::Finding::Orphan { .. } => (FindingKind::Orphan, None),
        content::Finding::Strange { .. } => (FindingKind::Strange, None),
    };
    Finding { kind, what: finding.to_string(), hash, repaired }
}
