//! `spire.api.server.agent.v1.Agent`: how node agents prove themselves, and what admins do with them.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures_util::{StreamExt, stream, stream::BoxStream};
use secplane_identity::{Origin, SpiffeId};
use secplane_proto::spire::api::{
    server::agent::v1::{
        AgentX509svidParams, AttestAgentRequest, AttestAgentResponse, BanAgentRequest, CountAgentsRequest,
        CountAgentsResponse, CreateJoinTokenRequest, DeleteAgentRequest, GetAgentRequest, ListAgentsRequest,
        ListAgentsResponse, PostStatusRequest, PostStatusResponse, RenewAgentRequest, RenewAgentResponse,
        agent_server::Agent as AgentService, attest_agent_request, attest_agent_response,
        count_agents_request, list_agents_request,
    },
    types,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::{not_given::named, page, refusal::ToStatus, selector_match, services::Services};
use crate::{
    access::{Caller, Permission},
    agents::{
        Agent, AgentFilter, AgentSvid, AgentsError, JOIN_TOKEN, JoinToken, LONGEST_TTL, MAX_VERSION_BYTES,
        TokenRecord,
    },
    attest::AttestedNode,
    audit::{Action, Event},
    authority::{CertificateRequest, Subject},
    instant::unix,
    issuance::{Order, Requester},
    registry::{Match, Selector, spiffe_id_from_wire, spiffe_id_to_wire},
    store::Commit,
};

const DEFAULT_PAGE: usize = 200;
const LARGEST_PAGE: usize = 500;
/// The longest evidence that is looked at, in bytes.
const MAX_EVIDENCE_BYTES: usize = 16 * 1024;
/// How long a node may take for each message of its attestation.
const NODE_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct AgentApi(pub(super) Arc<Services>);

#[tonic::async_trait]
impl AgentService for AgentApi {
    async fn count_agents(
        &self,
        request: Request<CountAgentsRequest>,
    ) -> Result<Response<CountAgentsResponse>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        let filter = request.into_inner().filter.map(FilterParts::from).unwrap_or_default().read()?;
        let count = i32::try_from(self.0.agents.count(&filter)).unwrap_or(i32::MAX);
        Ok(Response::new(CountAgentsResponse { count }))
    }

    async fn list_agents(
        &self,
        request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        let wire = request.into_inner();
        let filter = wire.filter.map(FilterParts::from).unwrap_or_default().read()?;
        let size = match usize::try_from(wire.page_size) {
            Ok(0) => DEFAULT_PAGE,
            Ok(size) => size.min(LARGEST_PAGE),
            Err(_) => return Err(Status::invalid_argument("the page size is negative")),
        };
        let after = match wire.page_token.as_str() {
            "" => None,
            token => Some(SpiffeId::parse(token).map_err(|_| {
                Status::invalid_argument("the page token is not one that this authority gave out")
            })?),
        };
        let found = self.0.agents.list(&filter, after.as_ref(), size);
        let agents = page::fitting(found.iter().map(|agent| shown(agent, wire.output_mask.as_ref())));
        let may_have_more = found.len() == size || agents.len() < found.len();
        let next_page_token = match found[..agents.len()].last() {
            Some(last) if may_have_more => last.id.to_string(),
            _ => String::new(),
        };
        Ok(Response::new(ListAgentsResponse { agents, next_page_token }))
    }

    async fn get_agent(&self, request: Request<GetAgentRequest>) -> Result<Response<types::Agent>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        let GetAgentRequest { id, output_mask } = request.into_inner();
        let id = self.agent_id(id)?;
        let agent = self.0.agents.agent(&id).ok_or_else(|| Status::not_found("agent not found"))?;
        Ok(Response::new(shown(&agent, output_mask.as_ref())))
    }

    async fn delete_agent(&self, request: Request<DeleteAgentRequest>) -> Result<Response<()>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        let wire = request.into_inner().id;
        let named = named(wire.as_ref());
        let evicted = self.evict(wire, &caller).await;
        let id = self.0.noted(&caller, Action::AgentEvict, &named, evicted)?;
        self.heed_revocation().await;
        tracing::info!(%caller, agent = %id, "an agent was evicted");
        Ok(Response::new(()))
    }

    async fn ban_agent(&self, request: Request<BanAgentRequest>) -> Result<Response<()>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        let wire = request.into_inner().id;
        let named = named(wire.as_ref());
        let banned = self.ban(wire, &caller).await;
        let id = self.0.noted(&caller, Action::AgentBan, &named, banned)?;
        self.heed_revocation().await;
        tracing::info!(%caller, agent = %id, "an agent was banned");
        Ok(Response::new(()))
    }

    type AttestAgentStream = BoxStream<'static, Result<AttestAgentResponse, Status>>;

    /// The one call of this service that needs no certificate: what the node brings is what it is judged by.
    async fn attest_agent(
        &self,
        request: Request<Streaming<AttestAgentRequest>>,
    ) -> Result<Response<Self::AttestAgentStream>, Status> {
        let caller = self.0.authorize(&request, Permission::Public)?;
        let brought = evidence(request.into_inner()).await;
        // Only attempts that fail are counted, and who brings a token that opens to them goes on even then: many nodes
        // may come through one address, and be honest beside one that guesses.
        let origin = Origin::of(caller.address());
        let attestations = &self.0.limits.attestations;
        if let Err(over) = attestations.check(&origin, Instant::now())
            && !self.brings_own_token(brought.as_ref().ok()).await
        {
            self.0.within_limit(Err(over))?;
        }
        let attested = self.attest(brought, &caller).await;
        let node = attested.inspect_err(|_| attestations.charge(&origin, Instant::now()))?;
        tracing::info!(%caller, agent = %node.id, "an agent was attested");
        let answer = AttestAgentResponse {
            step: Some(attest_agent_response::Step::Result(attest_agent_response::Result {
                svid: Some(node_svid(node)),
                reattestable: false,
            })),
        };
        Ok(Response::new(stream::iter([Ok(answer)]).boxed()))
    }

    async fn renew_agent(
        &self,
        request: Request<RenewAgentRequest>,
    ) -> Result<Response<RenewAgentResponse>, Status> {
        let caller = self.0.caller(&request)?;
        let agent = self.0.agent(&caller).await?;
        self.0.within_limit(self.0.limits.signatures.hold_back(&agent.id, 1).await)?;
        let renewed = self.renew(&agent, &caller, request.into_inner()).await;
        let svid = self.0.noted(&caller, Action::AgentRenew, agent.id.as_str(), renewed)?;
        Ok(Response::new(RenewAgentResponse { svid: Some(svid) }))
    }

    /// Answers a token that is kept nowhere: whoever loses it has another one created.
    async fn create_join_token(
        &self,
        request: Request<CreateJoinTokenRequest>,
    ) -> Result<Response<types::JoinToken>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        let request = request.into_inner();
        // The token that was asked for is a secret, so it does not name what failed.
        let named = named(request.agent_id.as_ref());
        let created = self.create_token(request, &caller).await;
        self.0.noted(&caller, Action::TokenCreate, &named, created).map(Response::new)
    }

    async fn post_status(
        &self,
        request: Request<PostStatusRequest>,
    ) -> Result<Response<PostStatusResponse>, Status> {
        let caller = self.0.caller(&request)?;
        let agent = self.0.agent(&caller).await?;
        self.0.within_limit(self.0.limits.status_reports.hold_back(&agent.id, 1).await)?;
        let PostStatusRequest { current_bundle_serial, agent_version } = request.into_inner();
        if agent_version.len() > MAX_VERSION_BYTES {
            return Err(Status::invalid_argument(format!(
                "the agent's version is longer than {MAX_VERSION_BYTES} bytes"
            )));
        }
        self.0
            .agents
            .change(&agent.id, Commit::default(), |agent| {
                let is_known =
                    agent.bundle_sequence == current_bundle_serial && agent.version == agent_version;
                Ok((!is_known).then(|| Agent {
                    bundle_sequence: current_bundle_serial,
                    version: agent_version.clone(),
                    revision: agent.revision + 1,
                    ..agent.clone()
                }))
            })
            .await
            .map_err(|error| error.to_status())?;
        Ok(Response::new(PostStatusResponse {}))
    }
}

impl AgentApi {
    /// Whether a node brings a token that lets it in. That costs one read of the database, and a failing one lets
    /// nobody past a limit.
    async fn brings_own_token(&self, brought: Option<&(JoinToken, Vec<u8>)>) -> bool {
        let Some((token, csr)) = brought else { return false };
        self.0.join_tokens.opens_to(token, csr).await.unwrap_or_else(|error| {
            tracing::warn!(token_sha256 = token.hash().prefix(), %error, "a join token cannot be read");
            false
        })
    }

    /// Judges a node by what it brings.
    async fn attest(
        &self,
        brought: Result<(JoinToken, Vec<u8>), Status>,
        caller: &Caller,
    ) -> Result<AttestedNode, Status> {
        let (token, csr) = brought.inspect_err(|status| {
            self.0.witness.attestation_refused(caller, JOIN_TOKEN, status.message());
        })?;
        let lifetime = self.0.settings.load().validity.agent;
        self.0.join_tokens.attest(&token, &csr, lifetime, caller).await.map_err(|error| {
            tracing::warn!(%caller, token_sha256 = token.hash().prefix(), %error, "an attestation is refused");
            self.0.witness.attestation_refused(caller, JOIN_TOKEN, &error.to_string());
            error.to_status()
        })
    }

    /// Gives an agent its next SVID. The one that it holds counts until the next is used.
    async fn renew(
        &self,
        agent: &Agent,
        caller: &Caller,
        wire: RenewAgentRequest,
    ) -> Result<types::X509svid, Status> {
        let csr = checked_csr(wire.params.ok_or_else(|| malformed("missing params"))?)?;
        let held = caller.holder().map(|holder| holder.serial.clone()).unwrap_or_default();
        let renews = self.0.issuance.record(&held).await.map_err(|error| error.to_status())?;
        let order = Order {
            request: CertificateRequest::parse(&csr).map_err(|error| error.to_status())?,
            subject: Subject::X509Svid { id: agent.id.clone(), dns_names: Vec::new() },
            lifetime: Some(self.0.settings.load().validity.agent),
            requester: Requester::from(caller),
            entry_id: None,
            renews: Some(renews),
        };
        let (signed, mut with) = self.0.issuance.prepare(order).map_err(|error| error.to_status())?;
        with.events.push(
            Event::by(caller, Action::AgentRenew, agent.id.as_str())
                .with("serial", signed.serial.clone())
                .with("renews", held.clone()),
        );
        let svid = AgentSvid { serial: signed.serial.clone(), not_after: signed.not_after() };
        self.0
            .agents
            .change(&agent.id, with, |agent| {
                // It may have been banned since the call was let in.
                agent.standing(&held)?;
                Ok(Some(agent.renewed(&held, svid.clone())))
            })
            .await
            .map_err(|error| error.to_status())?;
        Ok(types::X509svid {
            cert_chain: signed.chain.iter().map(|der| der.to_vec()).collect(),
            id: Some(spiffe_id_to_wire(&agent.id)),
            expires_at: unix(signed.not_after()),
            hint: String::new(),
        })
    }

    async fn create_token(
        &self,
        wire: CreateJoinTokenRequest,
        caller: &Caller,
    ) -> Result<types::JoinToken, Status> {
        let CreateJoinTokenRequest { ttl, token, agent_id } = wire;
        let ttl = match u64::try_from(ttl) {
            Ok(0) | Err(_) => {
                return Err(Status::invalid_argument("ttl is required, you must provide one"));
            }
            Ok(seconds) => Duration::from_secs(seconds),
        };
        if ttl > LONGEST_TTL {
            return Err(Status::invalid_argument(format!(
                "the ttl is longer than {} s; let the node join sooner",
                LONGEST_TTL.as_secs()
            )));
        }
        let alias = agent_id.map(|id| self.alias(id)).transpose()?;
        let token = if token.is_empty() { JoinToken::random() } else { JoinToken::parse(&token) }
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let agent = token
            .agent_id(self.0.issuance.trust_domain())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        // It stands in that agent's ID, for all to read, and would admit nobody.
        if self.0.agents.has_joined(&agent).await.map_err(|error| error.to_status())? {
            return Err(AgentsError::TokenTaken.to_status());
        }
        let now = self.0.issuance.clock().now();
        let record = TokenRecord { hash: token.hash(), expires_at: now + ttl, alias, used: None };
        let event = Event::by(caller, Action::TokenCreate, record.hash.prefix())
            .with("expires_at", unix(record.expires_at).to_string())
            .with("agent_id", record.alias.as_ref().map(ToString::to_string).unwrap_or_default());
        self.0.agents.create_token(&record, now, event).await.map_err(|error| error.to_status())?;
        tracing::info!(%caller, token_sha256 = record.hash.prefix(), "a join token was created");
        Ok(types::JoinToken { value: token.secret().to_owned(), expires_at: unix(record.expires_at) })
    }

    async fn evict(&self, wire: Option<types::Spiffeid>, caller: &Caller) -> Result<SpiffeId, Status> {
        let id = self.agent_id(wire)?;
        let event = Event::by(caller, Action::AgentEvict, id.as_str());
        let with = self.with_revocation(&id, "the agent was evicted", event);
        self.0.agents.evict(&id, with).await.map_err(|error| error.to_status())?;
        Ok(id)
    }

    async fn ban(&self, wire: Option<types::Spiffeid>, caller: &Caller) -> Result<SpiffeId, Status> {
        let id = self.agent_id(wire)?;
        let event = Event::by(caller, Action::AgentBan, id.as_str());
        let with = self.with_revocation(&id, "the agent was banned", event);
        self.0.agents.ban(&id, with).await.map_err(|error| error.to_status())?;
        Ok(id)
    }

    /// What is written with an agent's end: everybody refuses its SVIDs and its workloads' from then on.
    fn with_revocation(&self, id: &SpiffeId, reason: &str, event: Event) -> Commit {
        Commit { changes: self.0.revoker.revocations_of_agent(id, reason), events: vec![event] }
    }

    /// The agent is out, whatever becomes of this; its calls are refused by its row.
    async fn heed_revocation(&self) {
        if let Err(error) = self.0.revoker.heed().await {
            tracing::error!(%error, "what was revoked could not be read; it is tried again");
        }
    }

    fn agent_id(&self, wire: Option<types::Spiffeid>) -> Result<SpiffeId, Status> {
        let refuse = |reason: String| Status::invalid_argument(format!("invalid agent ID: {reason}"));
        let id = spiffe_id_from_wire(wire, "agent ID").map_err(|error| refuse(error.to_string()))?;
        if id.trust_domain() != self.0.issuance.trust_domain() {
            return Err(refuse(format!(
                "{id} is not a member of trust domain {}",
                self.0.issuance.trust_domain()
            )));
        }
        if !id.path().starts_with("/spire/agent/") {
            return Err(refuse(format!("{id} is not below /spire/agent")));
        }
        Ok(id)
    }

    /// The further ID of a token: what an entry could give.
    fn alias(&self, wire: types::Spiffeid) -> Result<SpiffeId, Status> {
        let refuse = |reason: String| Status::invalid_argument(format!("invalid agent ID: {reason}"));
        let id = spiffe_id_from_wire(Some(wire), "agent ID").map_err(|error| refuse(error.to_string()))?;
        let own = self.0.issuance.trust_domain();
        if id.trust_domain() != own {
            return Err(refuse(format!("{id} is not a member of trust domain {own}")));
        }
        if id.is_reserved() {
            return Err(refuse(format!("{id} lies below /spire, which is kept for servers and agents")));
        }
        Ok(id)
    }
}

/// A node's token and its certificate request.
async fn evidence(messages: Streaming<AttestAgentRequest>) -> Result<(JoinToken, Vec<u8>), Status> {
    let (data, csr) = first_message(messages).await?;
    Ok((read_evidence(data)?, csr))
}

/// What a node brings, and its certificate request. Sizes are checked before anything of them is verified.
async fn first_message(
    mut messages: Streaming<AttestAgentRequest>,
) -> Result<(types::AttestationData, Vec<u8>), Status> {
    let first = timeout(NODE_WITHIN, messages.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the node sent nothing; send the attestation's parameters"))??
        .ok_or_else(|| Status::invalid_argument("failed to receive request from stream: it is empty"))?;
    let params = match first.step {
        Some(attest_agent_request::Step::Params(params)) => params,
        _ => return Err(malformed("missing params")),
    };
    let data = params.data.ok_or_else(|| malformed("missing attestation data"))?;
    let csr = checked_csr(params.params.ok_or_else(|| malformed("missing X509-SVID parameters"))?)?;
    Ok((data, csr))
}

fn read_evidence(data: types::AttestationData) -> Result<JoinToken, Status> {
    let types::AttestationData { r#type: kind, payload } = data;
    if kind.is_empty() {
        return Err(malformed("missing attestation data type"));
    }
    if payload.is_empty() {
        return Err(malformed("missing attestation data payload"));
    }
    if kind != JOIN_TOKEN {
        // The refusal goes into logs. Whoever mixed up the two sent their token for the kind.
        return Err(Status::invalid_argument(format!(
            "nodes cannot be attested by this kind of evidence here; supported: `{JOIN_TOKEN}`"
        )));
    }
    if payload.len() > MAX_EVIDENCE_BYTES {
        return Err(malformed("the attestation data payload is too large"));
    }
    let text = std::str::from_utf8(&payload).map_err(|_| malformed("the join token is not text"))?;
    JoinToken::parse(text).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn checked_csr(params: AgentX509svidParams) -> Result<Vec<u8>, Status> {
    if params.csr.is_empty() { Err(malformed("missing CSR")) } else { Ok(params.csr) }
}

fn malformed(what: &str) -> Status {
    Status::invalid_argument(format!("malformed param: {what}"))
}

fn node_svid(node: AttestedNode) -> types::X509svid {
    types::X509svid {
        cert_chain: node.chain,
        id: Some(spiffe_id_to_wire(&node.id)),
        expires_at: node.expires_at,
        hint: String::new(),
    }
}

/// An agent as a message with the fields that a mask names; no mask names them all.
fn shown(agent: &Agent, mask: Option<&types::AgentMask>) -> types::Agent {
    let wants = |pick: fn(&types::AgentMask) -> bool| mask.is_none_or(pick);
    let mut wire = types::Agent { id: Some(spiffe_id_to_wire(&agent.id)), ..Default::default() };
    if wants(|mask| mask.attestation_type) {
        wire.attestation_type = agent.attestation_type.clone();
    }
    if wants(|mask| mask.x509svid_serial_number) {
        wire.x509svid_serial_number = decimal(&agent.svid.serial);
    }
    if wants(|mask| mask.x509svid_expires_at) {
        wire.x509svid_expires_at = unix(agent.svid.not_after);
    }
    if wants(|mask| mask.selectors) {
        wire.selectors = agent
            .selectors
            .iter()
            .map(|s| types::Selector { r#type: s.kind().to_owned(), value: s.value().to_owned() })
            .collect();
    }
    wire.banned = agent.banned && wants(|mask| mask.banned);
    wire.can_reattest = agent.can_reattest && wants(|mask| mask.can_reattest);
    if wants(|mask| mask.agent_version) {
        wire.agent_version = agent.version.clone();
    }
    wire
}

/// A serial number as this API's clients know it.
fn decimal(hex: &str) -> String {
    u128::from_str_radix(hex, 16).map_or_else(|_| hex.to_owned(), |serial| serial.to_string())
}

/// The parts of a filter: listing and counting have a message each, with the same fields.
#[derive(Default)]
struct FilterParts {
    attestation_type: String,
    selectors: Option<types::SelectorMatch>,
    banned: Option<bool>,
    can_reattest: Option<bool>,
    expires_before: String,
}

impl From<list_agents_request::Filter> for FilterParts {
    fn from(wire: list_agents_request::Filter) -> Self {
        Self {
            attestation_type: wire.by_attestation_type,
            selectors: wire.by_selector_match,
            banned: wire.by_banned,
            can_reattest: wire.by_can_reattest,
            expires_before: wire.by_expires_before,
        }
    }
}

impl From<count_agents_request::Filter> for FilterParts {
    fn from(wire: count_agents_request::Filter) -> Self {
        Self {
            attestation_type: wire.by_attestation_type,
            selectors: wire.by_selector_match,
            banned: wire.by_banned,
            can_reattest: wire.by_can_reattest,
            expires_before: wire.by_expires_before,
        }
    }
}

impl FilterParts {
    fn read(self) -> Result<AgentFilter, Status> {
        let expires_before = match self.expires_before.as_str() {
            "" => None,
            text => Some(instant(text).ok_or_else(|| {
                Status::invalid_argument(format!(
                    "`{text}` is not an instant such as 2030-01-31T12:00:00Z or 2030-01-31 12:00:00 +0000 +00"
                ))
            })?),
        };
        Ok(AgentFilter {
            attestation_type: Some(self.attestation_type).filter(|kind| !kind.is_empty()),
            selectors: self.selectors.map(selectors).transpose()?,
            banned: self.banned,
            can_reattest: self.can_reattest,
            expires_before,
        })
    }
}

fn selectors(wire: types::SelectorMatch) -> Result<(Match, BTreeSet<Selector>), Status> {
    let how = selector_match::behavior(&wire)?;
    if wire.selectors.is_empty() {
        return Err(Status::invalid_argument("malformed filter: empty selector set"));
    }
    let given = wire
        .selectors
        .iter()
        .map(|s| Selector::new(&s.r#type, &s.value))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_status())?;
    Ok((how, given))
}

/// An instant as RFC 3339 has it, or in the form that this API's own clients send.
fn instant(text: &str) -> Option<SystemTime> {
    const CLIENTS: &[time::format_description::BorrowedFormatItem<'_>] = format_description!(
        "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
    );
    let read = OffsetDateTime::parse(text, &Rfc3339).ok().or_else(|| {
        let (date_time, offset_again) = text.rsplit_once(' ')?;
        let is_offset = offset_again.len() == 3 && offset_again.starts_with(['+', '-']);
        is_offset.then(|| OffsetDateTime::parse(date_time, CLIENTS).ok()).flatten()
    })?;
    Some(read.into())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::instant::from_unix;

    #[rstest]
    #[case("2030-01-31T12:00:00Z", Some(1_896_091_200))]
    #[case("2030-01-31T13:00:00+01:00", Some(1_896_091_200))]
    #[case("2030-01-31 13:00:00 +0100 +01", Some(1_896_091_200))]
    #[case("2030-01-31 12:00:00 +0000 UTC+", None)]
    #[case("2030-01-31 12:00:00", None)]
    #[case("soon", None)]
    fn reads_instants(#[case] text: &str, #[case] expected: Option<i64>) {
        assert_eq!(instant(text), expected.map(from_unix));
    }

    #[test]
    fn shows_serials_in_decimal() {
        assert_eq!(decimal("ff"), "255");
    }
}
