//! Attestation by join token: whoever brings the token first, with the key that it will use, is the node.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use secplane_identity::SpiffeId;
use secplane_proto::spire::api::types;

use crate::{
    access::Caller,
    agents::{
        Agent, AgentSvid, Agents, AgentsError, JOIN_TOKEN, JoinToken, TokenHash, TokenRecord, TokenUse,
    },
    audit::{Action, Event},
    authority::{CertificateRequest, Subject},
    instant::{from_unix, unix},
    issuance::{Issuance, IssueError, Order, Requester},
    registry::{EntryFields, Registry, RegistryError, spiffe_id_to_wire},
    store::StoreError,
};

/// How often it looks again because somebody else used the token at the same moment.
const ATTEMPTS: usize = 3;

/// Lets nodes prove themselves with join tokens.
pub struct JoinTokenAttestor {
    agents: Arc<Agents>,
    issuance: Arc<Issuance>,
    registry: Arc<Registry>,
}

/// A node that proved itself, and its SVID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestedNode {
    /// Who it is.
    pub id: SpiffeId,
    /// DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// Unix seconds.
    pub expires_at: i64,
}

impl JoinTokenAttestor {
    /// Issues by `issuance` to those whom it admits to `agents`.
    #[must_use]
    pub fn new(agents: Arc<Agents>, issuance: Arc<Issuance>, registry: Arc<Registry>) -> Self {
        Self { agents, issuance, registry }
    }

    /// Takes a token and a certificate request for the node's key, whose SVID lives for `lifetime`. The token is used up in the commit that records
    /// the SVID; the same node gets the same answer again for as long as the token would have lived.
    ///
    /// # Errors
    /// When there is no such token, it was used by another node or has expired, the agent is banned or its row somebody
    /// else's, or the request asks for a name that is not the agent's.
    pub async fn attest(
        &self,
        token: &JoinToken,
        request: &[u8],
        lifetime: Duration,
        caller: &Caller,
    ) -> Result<AttestedNode, NodeError> {
        let hash = token.hash();
        // Looked for before anything of the request is verified: who has no token costs nothing else.
        let mut found = self.agents.token(hash).await?;
        for _ in 0..ATTEMPTS {
            let (record, mac) = found.ok_or(NodeError::UnknownToken)?;
            if self.issuance.clock().now() >= record.expires_at {
                return Err(NodeError::TokenExpired);
            }
            let alias = record.alias.clone();
            let request = CertificateRequest::parse(request).map_err(IssueError::from)?;
            let id = token.agent_id(self.issuance.trust_domain())?;
            let node = match &record.used {
                Some(used) => Some(self.repeat(&id, used, &request).await?),
                None => self.first_use(id, (record, mac), request, lifetime, caller).await?,
            };
            if let Some(node) = node {
                self.give_alias(&node.id, alias, caller).await?;
                return Ok(node);
            }
            found = self.agents.token(hash).await?;
        }
        Err(NodeError::Busy)
    }

    /// Whether a token still lets in the node that asks: nobody used it, or this node did, by its key. A used token
    /// alone proves nothing, for it stands in the agent's SPIFFE ID.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn opens_to(&self, token: &JoinToken, request: &[u8]) -> Result<bool, StoreError> {
        let Some((record, _)) = self.agents.token(token.hash()).await? else { return Ok(false) };
        if self.issuance.clock().now() >= record.expires_at {
            return Ok(false);
        }
        let is_key_of = |used: TokenUse| {
            CertificateRequest::parse(request).is_ok_and(|request| request.key().sha256() == used.key_sha256)
        };
        Ok(record.used.is_none_or(is_key_of))
    }

    /// Admits the node; `None` when somebody else used the token, or changed the agent, at the same moment.
    async fn first_use(
        &self,
        id: SpiffeId,
        (token, token_mac): (TokenRecord, Vec<u8>),
        request: CertificateRequest,
        lifetime: Duration,
        caller: &Caller,
    ) -> Result<Option<AttestedNode>, NodeError> {
        self.agent(&id).await?;
        if self.agents.has_joined(&id).await? {
            return self.refuse_used(token.hash).await;
        }
        let subject = Subject::X509Svid { id: id.clone(), dns_names: Vec::new() };
        // The refusal goes into logs. It must not tell the names: the agent's holds the token, which can still be used.
        request.check_names(&subject).map_err(|_| NodeError::Names)?;
        let now = from_unix(unix(self.issuance.clock().now()));
        let key_sha256 = request.key().sha256();
        let (signed, mut with) = self.issuance.prepare(Order {
            request,
            subject,
            lifetime: Some(lifetime),
            requester: Requester::from(caller),
            entry_id: None,
            renews: None,
        })?;
        let chain: Vec<_> = signed.chain.iter().map(|der| der.to_vec()).collect();
        let used = TokenUse {
            key_sha256,
            serial: signed.serial.clone(),
            chain: chain.clone(),
            not_after: signed.not_after(),
        };
        let agent = Agent {
            id: id.clone(),
            attestation_type: JOIN_TOKEN.to_owned(),
            svid: AgentSvid { serial: signed.serial.clone(), not_after: signed.not_after() },
            previous: None,
            selectors: BTreeSet::new(),
            banned: false,
            can_reattest: false,
            version: String::new(),
            bundle_sequence: 0,
            attested_at: now,
            revision: 0,
        };
        with.events.push(
            Event::by(caller, Action::AgentAttest, id.as_str())
                .with("type", JOIN_TOKEN)
                .with("token_sha256", token.hash.prefix())
                .with("serial", signed.serial.clone()),
        );
        with.changes.push(self.agents.use_of_token(&TokenRecord { used: Some(used), ..token }, token_mac));
        match self.agents.admit(agent, with).await {
            Ok(_) => Ok(Some(AttestedNode { id, chain, expires_at: unix(signed.not_after()) })),
            Err(AgentsError::Store(StoreError::Conflict(_))) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The agent by now, if there is one: another replica may have banned it a moment ago.
    async fn agent(&self, id: &SpiffeId) -> Result<Option<Arc<Agent>>, NodeError> {
        let agent = self.agents.reload(id).await?;
        if agent.as_ref().is_some_and(|agent| agent.banned) {
            return Err(NodeError::Banned(id.clone()));
        }
        if agent.is_none() && self.agents.is_refused(id) {
            return Err(NodeError::Forged);
        }
        Ok(agent)
    }

    /// Refuses a token whose row says that nobody used it although its agent has a certificate; `None` when somebody else
    /// has used it since the row was read. Both are written in one commit, so what is read now knows of it.
    async fn refuse_used(&self, hash: TokenHash) -> Result<Option<AttestedNode>, NodeError> {
        match self.agents.token(hash).await? {
            Some((record, _)) if record.used.is_none() => {
                self.agents.refuse_used_token(hash);
                Err(NodeError::UnknownToken)
            }
            _ => Ok(None),
        }
    }

    /// Answers the node that used the token once more, for its answer may have been lost on the way.
    async fn repeat(
        &self,
        id: &SpiffeId,
        used: &TokenUse,
        request: &CertificateRequest,
    ) -> Result<AttestedNode, NodeError> {
        if used.key_sha256 != request.key().sha256() {
            return Err(NodeError::UnknownToken);
        }
        let agent = self.agent(id).await?;
        // Evicted since, or renewed since and so not in need of it.
        let holds_it = agent.is_some_and(|agent| agent.svid.serial == used.serial);
        if !holds_it || self.issuance.clock().now() >= used.not_after {
            return Err(NodeError::UnknownToken);
        }
        Ok(AttestedNode { id: id.clone(), chain: used.chain.clone(), expires_at: unix(used.not_after) })
    }

    /// Gives the agent the further SPIFFE ID that the token was made with: an entry below the agent. It is made only
    /// now, for its parent names the token.
    async fn give_alias(
        &self,
        agent: &SpiffeId,
        alias: Option<SpiffeId>,
        caller: &Caller,
    ) -> Result<(), NodeError> {
        let Some(alias) = alias else { return Ok(()) };
        let wire = types::Entry {
            spiffe_id: Some(spiffe_id_to_wire(&alias)),
            parent_id: Some(spiffe_id_to_wire(agent)),
            selectors: vec![types::Selector { r#type: "spiffe_id".to_owned(), value: agent.to_string() }],
            ..Default::default()
        };
        let fields =
            EntryFields::from_wire(wire, self.issuance.trust_domain()).map_err(RegistryError::from)?;
        match self.registry.create(fields, caller, self.issuance.clock().now()).await {
            Ok(_) | Err(RegistryError::Similar(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Why a node is not attested.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No such token, or another node used it.
    #[error("failed to attest: join token does not exist or has already been used")]
    UnknownToken,
    /// Too late.
    #[error("join token expired; have another one created")]
    TokenExpired,
    /// The agent was shut out.
    #[error("failed to attest: agent {0} is banned")]
    Banned(SpiffeId),
    /// Its row in the database is somebody else's. The refusal goes into logs, so it does not name the agent: its ID
    /// holds the token, which can still be used.
    #[error(
        "failed to attest: the database holds a row of this agent that this authority did not write; `secctl agent evict` \
         with its SPIFFE ID deletes it, then try again"
    )]
    Forged,
    /// The request asks for a name that is not the agent's.
    #[error(
        "the certificate request asks for a name that is not the agent's; leave it out: the token decides"
    )]
    Names,
    /// Others use the token all the time.
    #[error("others use the same join token at this moment; try again")]
    Busy,
    /// The SVID cannot be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The token makes no SPIFFE ID.
    #[error("the token makes no SPIFFE ID: {0}")]
    Id(#[from] secplane_identity::spiffe_id::SpiffeIdError),
    /// The agent cannot be admitted.
    #[error(transparent)]
    Agents(#[from] AgentsError),
    /// The further ID cannot be given.
    #[error(transparent)]
    Alias(#[from] RegistryError),
}

impl From<StoreError> for NodeError {
    fn from(error: StoreError) -> Self {
        Self::Agents(error.into())
    }
}
