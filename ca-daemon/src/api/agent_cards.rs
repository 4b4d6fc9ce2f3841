//! `secplane.ca.v1.AgentCards`: verifying cards for callers who hold no trust bundle.

use std::{
    num::NonZero,
    sync::Arc,
    thread::available_parallelism,
    time::{Duration, SystemTime},
};

use secplane_agent_card::{
    Canonicalization, KnownRevocations, MAX_CARD_BYTES, SignatureReport, Verification, VerifyOptions,
    verify_bytes,
};
use secplane_identity::{Revocations, SpiffeId, TrustBundle, TrustBundleSet, TrustDomain};
use secplane_proto::secplane::ca::v1::{
    AgentCardCheck, AgentCardSignatureReport, VerifyAgentCardRequest, VerifyAgentCardResponse,
    agent_cards_server::{AgentCards, AgentCardsServer},
};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::services::Services;
use crate::{access::Permission, instant::unix};

/// A request has its card and a few words.
const MAX_REQUEST_BYTES: usize = MAX_CARD_BYTES + 16 * 1024;

pub(super) struct AgentCardsApi {
    services: Arc<Services>,
    /// A large card with many signatures takes a core for a while: never all of them at once.
    room: Arc<Semaphore>,
}

impl AgentCardsApi {
    pub(super) fn server(services: Arc<Services>) -> AgentCardsServer<Self> {
        let cores = available_parallelism().map_or(1, NonZero::get);
        let api = Self { services, room: Arc::new(Semaphore::new((cores / 2).max(1))) };
        AgentCardsServer::new(api).max_decoding_message_size(MAX_REQUEST_BYTES)
    }
}

#[tonic::async_trait]
impl AgentCards for AgentCardsApi {
    async fn verify(
        &self,
        request: Request<VerifyAgentCardRequest>,
    ) -> Result<Response<VerifyAgentCardResponse>, Status> {
        self.services.authorize(&request, Permission::Authenticated)?;
        let order = Order::read(request.into_inner())?;
        let now = self.services.issuance.clock().now();
        let knowledge = Knowledge::of(&self.services);
        let turn = Arc::clone(&self.room).acquire_owned().await;
        let turn = turn.map_err(|_| Status::unavailable("the authority is stopping"))?;
        let work = move || {
            // Held until the work is done: a caller who goes away does not make room for another by that.
            let _turn = turn;
            order.verify(&knowledge, now)
        };
        let answer = tokio::task::spawn_blocking(work).await;
        answer.map(Response::new).map_err(|_| Status::internal("the verification did not end well"))
    }
}

/// Whom this authority believes, at one moment.
struct Knowledge {
    trust_domain: TrustDomain,
    bundles: TrustBundleSet,
    revocations: Arc<Revocations>,
}

impl Knowledge {
    fn of(services: &Services) -> Self {
        let mut bundles = TrustBundleSet::default();
        bundles.insert(TrustBundle::clone(&services.issuance.bundle().borrow()));
        for federated in services.federation.bundles() {
            bundles.insert(federated.trust_bundle().clone());
        }
        Self {
            trust_domain: services.issuance.trust_domain().clone(),
            bundles,
            revocations: Arc::clone(&services.revoker.revoked().changes().borrow()),
        }
    }
}

/// What is to be verified, once it is known to make sense.
struct Order {
    card: Vec<u8>,
    expected_id: Option<SpiffeId>,
    trust_domain: Option<TrustDomain>,
    at: Option<SystemTime>,
    canonicalization: Option<Canonicalization>,
    accept_uncovered: bool,
}

impl Order {
    fn read(wire: VerifyAgentCardRequest) -> Result<Self, Status> {
        Ok(Self {
            expected_id: optional(&wire.expected_id, SpiffeId::parse)?,
            trust_domain: optional(&wire.trust_domain, TrustDomain::parse)?,
            at: wire.at.map(instant).transpose()?,
            canonicalization: optional(&wire.canonicalization, str::parse)?,
            accept_uncovered: wire.accept_uncovered,
            card: wire.card,
        })
    }

    fn verify(&self, knowledge: &Knowledge, now: SystemTime) -> VerifyAgentCardResponse {
        let options = VerifyOptions {
            expected_id: self.expected_id.as_ref(),
            trust_domain: self.trust_domain.as_ref(),
            canonicalization: self.canonicalization,
            accept_uncovered: self.accept_uncovered,
            revocations: KnownRevocations::OfAuthority {
                trust_domain: &knowledge.trust_domain,
                revocations: &knowledge.revocations,
            },
            ..VerifyOptions::new(&knowledge.bundles, self.at.unwrap_or(now))
        };
        to_wire(&verify_bytes(&self.card, &options))
    }
}

/// Empty text stands for nothing.
fn optional<T, E: std::fmt::Display>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, Status> {
    match text {
        "" => Ok(None),
        text => parse(text).map(Some).map_err(|error| Status::invalid_argument(error.to_string())),
    }
}

fn instant(seconds: i64) -> Result<SystemTime, Status> {
    let refused =
        || Status::invalid_argument(format!("{seconds} is not an instant that a certificate is valid at"));
    let seconds = u64::try_from(seconds).map_err(|_| refused())?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or_else(refused)
}

fn to_wire(verification: &Verification) -> VerifyAgentCardResponse {
    VerifyAgentCardResponse {
        outcome: verification.outcome.to_string(),
        reason: verification.reason.clone(),
        agent: verification.agent.clone().unwrap_or_default(),
        signer: verification.signer.as_ref().map(ToString::to_string).unwrap_or_default(),
        canonicalization: verification.canonicalization.map(|form| form.to_string()).unwrap_or_default(),
        at: unix(verification.at),
        signatures: verification.signatures.iter().map(signature_to_wire).collect(),
        covered_card: verification
            .covered_card()
            .map(|card| card.to_string().into_bytes())
            .unwrap_or_default(),
    }
}

fn signature_to_wire(report: &SignatureReport) -> AgentCardSignatureReport {
    AgentCardSignatureReport {
        outcome: report.outcome.to_string(),
        checks: report
            .checks
            .iter()
            .map(|check| AgentCardCheck {
                name: check.name.to_string(),
                status: check.status.to_string().replace(' ', "-"),
                detail: check.detail.clone(),
            })
            .collect(),
        canonicalization: report.canonicalization.map(|form| form.to_string()).unwrap_or_default(),
        algorithm: report.algorithm.map(|algorithm| algorithm.to_string()).unwrap_or_default(),
        key_id: report.key_id.clone().unwrap_or_default(),
        uncovered: report.uncovered.iter().map(|member| member.member.clone()).collect(),
    }
}
