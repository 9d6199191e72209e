//! What the hosts of a simulated world can be asked for.

use std::{panic::resume_unwind, sync::Arc, time::Duration};

use alknet_call::{Authority, CallError, Item, Operation, OperationBuilder, OperationContext};
use alknet_core::AccessRule;
use futures_util::{future::try_join_all, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::sleep;

use super::simulation_ledger::Ledger;

/// How long `sim/short` may take.
pub const SHORT: Duration = Duration::from_millis(700);

#[derive(Deserialize, JsonSchema)]
struct Work {
    /// What is given back.
    n: u64,
    /// After how long, in milliseconds.
    #[serde(default)]
    ms: u64,
}

#[derive(Deserialize, JsonSchema)]
struct Once {
    key: String,
    ms: u64,
}

#[derive(Deserialize, JsonSchema)]
struct Items {
    items: u64,
    gap_ms: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
struct Tree {
    depth: u64,
    width: u64,
    ms: u64,
}

fn rule() -> AccessRule {
    AccessRule::scoped(["sim:run".parse().unwrap()])
}

/// The operations of a host.
pub fn operations(ledger: &Ledger) -> Vec<Operation> {
    let (echo, slow, short, fails, once) =
        (ledger.clone(), ledger.clone(), ledger.clone(), ledger.clone(), ledger.clone());
    let work = |ledger: Ledger| {
        move |context: Arc<OperationContext>, input: Work| {
            let execution = ledger.execution(&context);
            async move {
                let _execution = execution;
                sleep(Duration::from_millis(input.ms)).await;
                Ok::<_, CallError>(input.n)
            }
        }
    };
    let (count, log, tree, continues) = (ledger.clone(), ledger.clone(), ledger.clone(), ledger.clone());
    vec![
        Operation::query("sim/echo").access(rule()).handler(move |context, input: Work| {
            let _execution = echo.execution(&context);
            async move { Ok::<_, CallError>(input.n) }
        }),
        Operation::query("sim/slow").access(rule()).handler(work(slow)),
        Operation::query("sim/short").timeout(SHORT).access(rule()).handler(work(short)),
        Operation::query("sim/fails").error("BROKEN", "As asked.").access(rule()).handler(
            move |context, input: Work| {
                let execution = fails.execution(&context);
                async move {
                    let _execution = execution;
                    sleep(Duration::from_millis(input.ms)).await;
                    match input.n % 3 {
                        0 => Err::<u64, _>(CallError::declared("BROKEN", "as asked")),
                        1 => Err(CallError::declared("UNDECLARED", "not said before")),
                        // A panic without a word on the terminal.
                        _ => resume_unwind(Box::new("as the simulation wants")),
                    }
                }
            },
        ),
        Operation::mutation("sim/once").access(rule()).handler(move |context, input: Once| {
            let execution = once.execution(&context);
            once.run_once(&input.key);
            async move {
                let _execution = execution;
                sleep(Duration::from_millis(input.ms)).await;
                Ok::<_, CallError>(input.key)
            }
        }),
        Operation::subscription("sim/count").access(rule()).items(move |context, input: Items| {
            let execution = count.execution(&context);
            let numbers = stream::unfold((0, execution), move |(next, execution)| async move {
                sleep(Duration::from_millis(input.gap_ms)).await;
                (next < input.items).then(|| (Ok(Item::new(next)), (next + 1, execution)))
            });
            async move { Ok::<_, CallError>(numbers) }
        }),
        Operation::subscription("sim/log").resumable().access(rule()).items(move |context, input: Items| {
            let execution = log.execution(&context);
            let first = context.after_seq.map_or(1, |seq| seq + 1);
            let numbers = stream::unfold((first, execution), move |(next, execution)| async move {
                sleep(Duration::from_millis(input.gap_ms)).await;
                (next <= input.items).then(|| (Ok(Item::numbered(next, next)), (next + 1, execution)))
            });
            async move { Ok::<_, CallError>(numbers) }
        }),
        composing(Operation::query("sim/tree")).handler(move |context, input: Tree| {
            let execution = tree.execution(&context);
            async move {
                let _execution = execution;
                if input.depth == 0 {
                    sleep(Duration::from_millis(input.ms)).await;
                    return Ok::<_, CallError>(1);
                }
                let below = |_| context.call("sim/tree", Tree { depth: input.depth - 1, ..input });
                let counts: Vec<u64> = try_join_all((0..input.width).map(below)).await?;
                Ok(counts.iter().sum())
            }
        }),
        composing(Operation::mutation("sim/continues")).handler(move |context, input: Work| {
            let execution = continues.execution(&context);
            let ledger = continues.clone();
            async move {
                let _execution = execution;
                let composer = context.continuing();
                tokio::spawn(async move {
                    let outcome = composer.call_value("sim/slow", json!({"n": input.n, "ms": input.ms})).await;
                    let words = outcome.map_or_else(|error| error.code.to_string(), |output| output.to_string());
                    ledger.note(format!("a continuing call gives {words}"));
                });
                sleep(Duration::from_millis(input.ms / 2)).await;
                Ok::<_, CallError>(input.n)
            }
        }),
    ]
}

/// An operation that reaches those of this file.
fn composing(operation: OperationBuilder) -> OperationBuilder {
    let authority = Authority::scoped(["sim:run".parse().unwrap()]);
    operation.access(rule()).authority(authority).reaches(["sim/slow", "sim/tree"])
}
