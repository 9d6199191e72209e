//! `gate/*`: who misbehaves, why the gate thinks so, and pardons.

use alknet_call::{CallError, Operation, RegisterError, RegistryBuilder};
use alknet_net::{AbuseGate, GateReport, GateTarget};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Foundation, scoped};

/// Input of `gate/list`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListGate {
    /// Only those who are penalised now.
    #[serde(default)]
    pub penalised: bool,
}

/// Input of `gate/why`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskGate {
    /// An address (with or without a port), an IPv6 /64 or /48, a fingerprint, or a node id.
    pub source: String,
}

/// Input of `gate/forgive`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Forgive {
    /// Whom; as in `gate/why`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Everybody.
    #[serde(default)]
    pub all: bool,
}

/// One past offence.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct OffenceView {
    /// When, in seconds since 1970.
    pub at: u64,
    /// `failed authentication`, `no authentication in time`, `protocol crash`, `bad frame` or `flood`.
    pub offence: String,
    /// At which service or listener.
    pub door: String,
}

/// How an address, a prefix or a key stands.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SourceView {
    /// An IPv4 address, an IPv6 /64 or /48, or a fingerprint.
    pub source: String,
    /// Points at present; one goes each minute.
    pub points: f64,
    /// Points at which it is penalised.
    pub penalty_at: f64,
    /// How much longer it is penalised, in seconds; absent when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalised_for_s: Option<u64>,
    /// How many penalties count for the length of the next one.
    pub level: u32,
    /// The last offences, oldest first.
    pub offences: Vec<OffenceView>,
}

/// Output of `gate/list`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct GateList {
    /// The penalised first, then by points.
    pub sources: Vec<SourceView>,
}

/// Output of `gate/why`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct GateAnswer {
    /// What the source counts as, the narrowest first.
    pub sources: Vec<SourceView>,
    /// Whether the address keeps no score (`gate.exempt`).
    pub exempt: bool,
    /// Unfinished handshakes of the address at present.
    pub unfinished: u64,
}

/// Output of `gate/forgive`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Forgiven {
    /// Whose slate was wiped.
    pub forgiven: Vec<String>,
}

/// Registers `gate/*`.
pub fn register(registry: &mut RegistryBuilder, foundation: &Foundation) -> Result<(), RegisterError> {
    register_questions(registry, &foundation.gate)?;
    let gate = foundation.gate.clone();
    registry.register(
        Operation::mutation("gate/forgive")
            .title("Forget what somebody did")
            .description(
                "Wipes the points, penalties and past offences of an address, a prefix or a key, or of everybody.",
            )
            .access(scoped("gate:write"))
            .idempotent()
            .handler(move |context, input: Forgive| {
                let gate = gate.clone();
                async move {
                    let target = whom(&input)?;
                    let forgiven = gate.forgive(&context.permit, target.as_ref())?;
                    gate.save().await.map_err(|error| CallError::unavailable(error.to_string()))?;
                    Ok(Forgiven { forgiven })
                }
            }),
    )?;
    Ok(())
}

fn register_questions(registry: &mut RegistryBuilder, gate: &AbuseGate) -> Result<(), RegisterError> {
    let asked = gate.clone();
    registry.register(
        Operation::query("gate/list")
            .title("List who misbehaved")
            .description("Addresses, prefixes and keys with points or penalties; the longest penalties first.")
            .access(scoped("gate:read"))
            .handler(move |context, input: ListGate| {
                let reports = asked.list(&context.permit).map_err(CallError::from);
                std::future::ready(reports.map(|reports| {
                    let wanted = reports.into_iter().filter(|it| !input.penalised || it.penalised_for.is_some());
                    GateList { sources: wanted.map(view).collect() }
                }))
            }),
    )?;
    let asked = gate.clone();
    registry.register(
        Operation::query("gate/why")
            .title("Explain how somebody stands with the gate")
            .access(scoped("gate:read"))
            .handler(move |context, input: AskGate| {
                let answer = parsed(&input.source).and_then(|target| {
                    let (sources, place) = asked.why(&context.permit, &target)?;
                    Ok(GateAnswer {
                        sources: sources.into_iter().map(view).collect(),
                        exempt: place.is_some_and(|place| place.exempt),
                        unfinished: place.map_or(0, |place| place.unfinished as u64),
                    })
                });
                std::future::ready(answer)
            }),
    )?;
    Ok(())
}

/// Nobody is forgiven by mistake: it is somebody, or everybody in so many words.
fn whom(input: &Forgive) -> Result<Option<GateTarget>, CallError> {
    match (&input.source, input.all) {
        (Some(source), false) => parsed(source).map(Some),
        (None, true) => Ok(None),
        _ => Err(CallError::invalid_input("/source", "name whom to forgive, or say all")),
    }
}

fn parsed(source: &str) -> Result<GateTarget, CallError> {
    source
        .parse()
        .map_err(|error: alknet_net::InvalidGateTarget| CallError::invalid_input("/source", error.to_string()))
}

fn view(report: GateReport) -> SourceView {
    let past = report.history.into_iter();
    SourceView {
        source: report.source,
        points: points(report.points),
        penalty_at: points(report.threshold),
        penalised_for_s: report.penalised_for.map(|left| left.as_millis().div_ceil(1000) as u64),
        level: report.level,
        offences: past
            .map(|past| OffenceView { at: past.at_ms / 1000, offence: past.offence.to_string(), door: past.door })
            .collect(),
    }
}

fn points(thousandths: u64) -> f64 {
    thousandths as f64 / 1000.0
}
