//! Agents and join tokens as rows of the database: protobuf, and a MAC over all of it.

use prost::Message;
use secplane_identity::{SpiffeId, spiffe_id::SpiffeIdError};
use secplane_proto::{
    secplane::ca::store::v1::{AgentBody, AgentSvid as SvidBody, JoinTokenBody, TokenUse as TokenUseBody},
    spire::api::types,
};

use super::{
    agent::{Agent, AgentSvid},
    join_token::{TokenHash, TokenRecord, TokenUse},
};
use crate::{
    instant::{from_unix, unix},
    keys::RowMac,
    registry::{EntryError, Selector},
    store::{AgentRow, JoinTokenRow},
};

const AGENTS: &str = "agents";
const TOKENS: &str = "join_tokens";

pub(super) fn seal_agent(agent: &Agent, mac: &RowMac) -> AgentRow {
    let svid = |svid: &AgentSvid| SvidBody { serial: svid.serial.clone(), not_after: unix(svid.not_after) };
    let body = AgentBody {
        attestation_type: agent.attestation_type.clone(),
        svid: Some(svid(&agent.svid)),
        previous: agent.previous.as_ref().map(svid),
        selectors: agent
            .selectors
            .iter()
            .map(|s| types::Selector { r#type: s.kind().to_owned(), value: s.value().to_owned() })
            .collect(),
        banned: agent.banned,
        can_reattest: agent.can_reattest,
        version: agent.version.clone(),
        bundle_sequence: agent.bundle_sequence,
        attested_at: unix(agent.attested_at),
        revision: agent.revision,
    }
    .encode_to_vec();
    let spiffe_id = agent.id.to_string();
    let mac = mac.of(AGENTS, &[spiffe_id.as_bytes(), &body]);
    AgentRow { spiffe_id, body, mac }
}

pub(super) fn open_agent(row: &AgentRow, mac: &RowMac) -> Result<Agent, RowError> {
    if !mac.is_of(&row.mac, AGENTS, &[row.spiffe_id.as_bytes(), &row.body]) {
        return Err(RowError::Forged);
    }
    let body = AgentBody::decode(row.body.as_slice())?;
    let svid = |svid: SvidBody| AgentSvid { serial: svid.serial, not_after: from_unix(svid.not_after) };
    Ok(Agent {
        id: SpiffeId::parse(&row.spiffe_id)?,
        attestation_type: body.attestation_type,
        svid: svid(body.svid.ok_or(RowError::Missing("the SVID"))?),
        previous: body.previous.map(svid),
        selectors: body
            .selectors
            .iter()
            .map(|s| Selector::new(&s.r#type, &s.value))
            .collect::<Result<_, _>>()?,
        banned: body.banned,
        can_reattest: body.can_reattest,
        version: body.version,
        bundle_sequence: body.bundle_sequence,
        attested_at: from_unix(body.attested_at),
        revision: body.revision,
    })
}

pub(super) fn seal_token(token: &TokenRecord, mac: &RowMac) -> JoinTokenRow {
    let body = JoinTokenBody {
        agent_id: token.alias.as_ref().map(ToString::to_string).unwrap_or_default(),
        r#use: token.used.as_ref().map(|used| TokenUseBody {
            key_sha256: used.key_sha256.to_vec(),
            serial: used.serial.clone(),
            chain: used.chain.clone(),
            not_after: unix(used.not_after),
        }),
    }
    .encode_to_vec();
    let token_sha256 = token.hash.as_bytes().to_vec();
    let expires_at = unix(token.expires_at);
    let mac = mac.of(TOKENS, &[&token_sha256, &expires_at.to_be_bytes(), &body]);
    JoinTokenRow { token_sha256, expires_at, body, mac }
}

pub(super) fn open_token(hash: TokenHash, row: &JoinTokenRow, mac: &RowMac) -> Result<TokenRecord, RowError> {
    let is_ours = mac.is_of(&row.mac, TOKENS, &[&row.token_sha256, &row.expires_at.to_be_bytes(), &row.body]);
    if !is_ours || row.token_sha256 != hash.as_bytes() {
        return Err(RowError::Forged);
    }
    let body = JoinTokenBody::decode(row.body.as_slice())?;
    let alias = if body.agent_id.is_empty() { None } else { Some(SpiffeId::parse(&body.agent_id)?) };
    let used = match body.r#use {
        None => None,
        Some(used) => Some(TokenUse {
            key_sha256: used.key_sha256.try_into().map_err(|_| RowError::Missing("the key's hash"))?,
            serial: used.serial,
            chain: used.chain,
            not_after: from_unix(used.not_after),
        }),
    };
    Ok(TokenRecord { hash, expires_at: from_unix(row.expires_at), alias, used })
}

/// Why a row is not one of ours.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowError {
    #[error("its MAC is wrong: this authority did not write it; somebody changed the database")]
    Forged,
    #[error("it cannot be decoded: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("it lacks {0}")]
    Missing(&'static str),
    #[error(transparent)]
    Id(#[from] SpiffeIdError),
    #[error(transparent)]
    Selector(#[from] EntryError),
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::agents::{
        agent::tests::{agent, svid},
        join_token::JoinToken,
    };

    fn mac() -> RowMac {
        RowMac::new(&[7; 32])
    }

    fn token() -> TokenRecord {
        TokenRecord {
            hash: JoinToken::parse("0123456789abcdef").unwrap().hash(),
            expires_at: SystemTime::UNIX_EPOCH + Duration::from_secs(60),
            alias: Some(SpiffeId::parse("spiffe://example.org/node").unwrap()),
            used: Some(TokenUse {
                key_sha256: [7; 32],
                serial: "1f".to_owned(),
                chain: vec![vec![1], vec![2, 3]],
                not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(90),
            }),
        }
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let agent = Agent {
            selectors: [Selector::new("node", "a").unwrap()].into(),
            bundle_sequence: 7,
            ..agent("/spire/agent/a").renewed("1", svid("2"))
        };
        assert_eq!(open_agent(&seal_agent(&agent, &mac()), &mac()).unwrap(), agent);
        for token in [token(), TokenRecord { alias: None, used: None, ..token() }] {
            assert_eq!(open_token(token.hash, &seal_token(&token, &mac()), &mac()).unwrap(), token);
        }
    }

    #[test]
    fn refuses_rows_that_somebody_edited() {
        let agent = Agent { banned: true, ..agent("/spire/agent/a") };
        let row = seal_agent(&agent, &mac());
        let unbanned = seal_agent(&Agent { banned: false, ..agent }, &mac());
        for edited in [
            AgentRow { body: unbanned.body, ..row.clone() },
            AgentRow { spiffe_id: "spiffe://example.org/spire/agent/b".to_owned(), ..row.clone() },
            AgentRow { mac: Vec::new(), ..row },
        ] {
            assert!(matches!(open_agent(&edited, &mac()), Err(RowError::Forged)));
        }

        let row = seal_token(&token(), &mac());
        let unused = seal_token(&TokenRecord { used: None, ..token() }, &mac());
        let other = JoinToken::parse("fedcba9876543210").unwrap().hash();
        for edited in [
            JoinTokenRow { body: unused.body, ..row.clone() },
            JoinTokenRow { expires_at: row.expires_at + 1, ..row.clone() },
        ] {
            assert!(matches!(open_token(token().hash, &edited, &mac()), Err(RowError::Forged)));
        }
        assert!(matches!(open_token(other, &row, &mac()), Err(RowError::Forged)), "another token's row");
    }
}
