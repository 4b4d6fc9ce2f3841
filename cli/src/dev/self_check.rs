//! The main job, once, against the running stack: over its sockets, with the same code that the commands use.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bundle_service::compile::Archive;
use secplane_agent_card::{AgentCard, SignOptions, VerifyOptions, sign, verify};
use secplane_identity::{IdentitySnapshot, SpiffeId, X509Identity, tls::ExpectedServer};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{screen::Screen, stack::Stack};
use crate::{
    bundle_client::{BundleAnswer, BundleRequest, pull},
    client_identity::{ClientIdentity, from_workload_api},
    decision::{Decision, DecisionPoint, decide},
    failure::{Failure, Kind},
    files,
};

/// How long the bundle service may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(20);
const READY_PAUSE: Duration = Duration::from_millis(50);
/// Where the worked example keeps its inputs.
const EXAMPLE: &str = "agent-to-agent/inputs";
const MAX_INPUT_BYTES: usize = 1024 * 1024;

/// A step that was done.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) result: StepResult,
    pub(super) detail: String,
    #[serde(rename = "milliseconds", serialize_with = "milliseconds")]
    pub(super) took: Duration,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StepResult {
    Ok,
    Failed,
    /// The policies are not the examples that it needs.
    Skipped,
}

fn milliseconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1e6).round() / 1e3)
}

/// Does the main job. The first step that fails ends it and is named.
pub(super) async fn run(stack: &Stack, screen: Screen) -> Result<(), Failure> {
    let mut steps = Steps { screen, done: Vec::new() };
    let outcome = main_job(stack, &mut steps).await;
    screen.checked(stack, &steps.done)?;
    outcome
}

async fn main_job(stack: &Stack, steps: &mut Steps) -> Result<(), Failure> {
    let identity = steps.step("issue an SVID", issue(stack)).await?;
    let own = identity.own.clone();
    let bundle = steps.step("pull its bundle over mTLS", pull_own(stack, &identity)).await?;
    steps.step("refuse it another's bundle", pull_anothers(stack, &identity)).await?;
    let examples = Examples::of(stack);
    if examples.are_there() {
        steps.step("decide an allowed request", decided(&bundle, examples.allowed(), true)).await?;
        steps.step("decide a denied request", decided(&bundle, examples.denied(), false)).await?;
    } else {
        let why = format!("the policies have no {EXAMPLE}/: try `secctl policy eval` with an input of yours");
        steps.skip("decide an allowed request", &why)?;
        steps.skip("decide a denied request", &why)?;
    }
    let card = steps.step("sign an AgentCard", async { sign_card(&own) }).await?;
    steps.step("verify the AgentCard", async { verify_card(&card, &identity) }).await
}

/// What a step leaves for the ones after it, and what is printed of it.
type Done<T> = Result<(T, String), Failure>;

struct Steps {
    screen: Screen,
    done: Vec<Step>,
}

impl Steps {
    async fn step<T>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Done<T>>,
    ) -> Result<T, Failure> {
        let started = Instant::now();
        let ended = work.await;
        let took = started.elapsed();
        match ended {
            Ok((value, detail)) => {
                self.push(Step { name, result: StepResult::Ok, detail, took })?;
                Ok(value)
            }
            Err(failure) => {
                let detail = failure.to_string();
                self.push(Step { name, result: StepResult::Failed, detail: detail.clone(), took })?;
                let what = format!("do the main job: the step \"{name}\" failed");
                Err(Failure::new(Kind::CheckFailed, what, detail))
            }
        }
    }

    fn skip(&mut self, name: &'static str, why: &str) -> Result<(), Failure> {
        self.push(Step { name, result: StepResult::Skipped, detail: why.to_owned(), took: Duration::ZERO })
    }

    fn push(&mut self, step: Step) -> Result<(), Failure> {
        self.screen.step(&step)?;
        self.done.push(step);
        Ok(())
    }
}

/// The identity of the self-check, with its certificate.
struct Demo {
    own: X509Identity,
    client: ClientIdentity,
}

async fn issue(stack: &Stack) -> Done<Demo> {
    let snapshot = from_workload_api(&stack.folder.workload_api(), Some(&stack.demo_id)).await?;
    let own = snapshot
        .identity
        .clone()
        .ok_or_else(|| Failure::new(Kind::Denied, "get an SVID", "the Workload API gave no identity"))?;
    let valid = own.leaf().not_after.duration_since(SystemTime::now()).unwrap_or_default();
    let minutes = (valid.as_secs() + 30) / 60;
    let detail = format!("{}, valid for {minutes} min", own.id());
    let trust_domain = stack.trust_domain.clone();
    let client = ClientIdentity {
        snapshot: IdentitySnapshot { identity: Some(own.clone()), ..snapshot },
        trust_domain,
    };
    Ok((Demo { own, client }, detail))
}

/// Asks until the service is ready: it has just been started.
async fn pull_own(stack: &Stack, demo: &Demo) -> Done<Arc<Archive>> {
    let deadline = Instant::now() + READY_WITHIN;
    let answer = loop {
        match ask(stack, demo, None).await {
            Err(failure) if failure.kind() == Kind::Unreachable && Instant::now() < deadline => {
                sleep(READY_PAUSE).await;
            }
            answer => break answer?,
        }
    };
    let BundleAnswer::Bundle { archive, .. } = answer else {
        return Err(Failure::new(Kind::Other, "pull the bundle", "the service says that it is unchanged"));
    };
    let bundle = Archive::read(&archive).map_err(|error| Failure::refused("read the bundle", error))?;
    let detail = format!(
        "{} bytes, {} modules, revision {:.12}",
        archive.len(),
        bundle.modules.len(),
        bundle.manifest.revision
    );
    Ok((Arc::new(bundle), detail))
}

/// The certificate decides: naming another identity must not help.
async fn pull_anothers(stack: &Stack, demo: &Demo) -> Done<()> {
    let another = SpiffeId::from_parts(&stack.trust_domain, "/ns/travel/sa/planner")
        .map_err(|error| Failure::usage("name another identity", error))?;
    match ask(stack, demo, Some(another.clone())).await {
        Err(failure) if failure.kind() == Kind::Denied => {
            Ok(((), format!("asked for {}: 403, the certificate decides", another.path())))
        }
        Err(failure) => Err(failure),
        Ok(_) => Err(Failure::new(
            Kind::CheckFailed,
            format!("keep the bundle of {another} from {}", demo.own.id()),
            "the service handed it out",
        )),
    }
}

async fn ask(stack: &Stack, demo: &Demo, named: Option<SpiffeId>) -> Result<BundleAnswer, Failure> {
    let request = BundleRequest { identity: named, ..BundleRequest::default() };
    let service = ExpectedServer::Id(stack.bundle_service_id.clone());
    pull(&stack.bundle_address.to_string(), &demo.client, service, &request).await
}

/// The requests of the worked example `agent-to-agent`.
struct Examples(PathBuf);

struct Example {
    input: PathBuf,
    point: DecisionPoint,
    told: &'static str,
}

impl Examples {
    fn of(stack: &Stack) -> Self {
        Self(stack.folder.policies.join(EXAMPLE))
    }

    fn are_there(&self) -> bool {
        self.allowed().input.exists() && self.denied().input.exists()
    }

    fn allowed(&self) -> Example {
        Example {
            input: self.0.join("planner-calls-booking.json"),
            point: DecisionPoint::InboundRequest,
            told: "the planner calls booking",
        }
    }

    fn denied(&self) -> Example {
        Example {
            input: self.0.join("booking-sends-to-planner.json"),
            point: DecisionPoint::OutboundRequest,
            told: "booking calls the planner",
        }
    }
}

async fn decided(bundle: &Arc<Archive>, example: Example, expected: bool) -> Done<()> {
    let text = files::read_text(&example.input, MAX_INPUT_BYTES)?;
    let input: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::refused(format!("read `{}`", example.input.display()), error))?;
    let (bundle, point) = (Arc::clone(bundle), example.point);
    let work = move || decide(&bundle, point, &input);
    let decision = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::new(Kind::Other, format!("decide {point}"), error))??;
    let Decision { allow, reason, .. } = decision;
    let verdict = if allow { "allow" } else { "deny" };
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    if allow == expected {
        return Ok(((), format!("{}: {verdict}{reason}", example.told)));
    }
    let wanted = if expected { "allow" } else { "deny" };
    Err(Failure::new(
        Kind::CheckFailed,
        format!("{wanted} that {}", example.told),
        format_args!("the bundle says {verdict}{reason}"),
    ))
}

/// A small card on whose signature all verifiers agree.
fn sign_card(own: &X509Identity) -> Done<AgentCard> {
    let what = "sign an AgentCard";
    let card = json!({
        "name": "Booking",
        "description": "Takes work from the planner",
        "version": "1.0.0",
    });
    let card =
        AgentCard::parse(card.to_string().as_bytes()).map_err(|error| Failure::refused(what, error))?;
    let signed = sign(&card, own, &SignOptions::default()).map_err(|error| Failure::refused(what, error))?;
    Ok((signed, format!("\"Booking\", signed as {}", own.id())))
}

fn verify_card(card: &AgentCard, demo: &Demo) -> Done<()> {
    let options = VerifyOptions {
        expected_id: Some(demo.own.id()),
        ..VerifyOptions::new(&demo.client.snapshot.bundles, SystemTime::now())
    };
    let verification = verify(card, &options);
    if verification.is_valid() {
        return Ok(((), format!("{}: {}", verification.outcome, verification.reason)));
    }
    Err(Failure::new(
        Kind::CheckFailed,
        "verify the AgentCard",
        format_args!("it is {}: {}", verification.outcome, verification.reason),
    ))
}
