//! The one place where errors become gRPC statuses.

use prost::Message;
use secplane_proto::{
    google::{protobuf::Any, rpc},
    spire::api::types::{self, permission_denied_details::Reason},
};
use tonic::{Code, Status};

use crate::{
    access::Denied,
    agents::{AgentsError, NotAnAgent},
    attest,
    authority::{CaError, JwtSignError, RequestError, SignError},
    instant::unix,
    issuance::IssueError,
    jwt_svids::JwtIssueError,
    lifecycle::{LifecycleError, StepError},
    limits::OverLimit,
    registry::{EntryError, RegistryError},
    revocation::RevocationError,
    store::StoreError,
};

/// The status that says an error to a caller. What is our fault is logged in full and told in brief.
pub(super) trait ToStatus {
    fn to_status(&self) -> Status;
}

impl ToStatus for Denied {
    fn to_status(&self) -> Status {
        let code = match self {
            Self::Unauthenticated | Self::NeedsIdentity | Self::NoCertificate | Self::Expired(_) => {
                Code::Unauthenticated
            }
            Self::NotAdmin(_) | Self::NotDownstream(_) | Self::NotLocal | Self::Revoked(_) => {
                Code::PermissionDenied
            }
            Self::NotAnAgent(not_an_agent) => return not_an_agent.to_status(),
        };
        Status::new(code, self.to_string())
    }
}

impl ToStatus for NotAnAgent {
    fn to_status(&self) -> Status {
        let reason = match self {
            Self::Anonymous => return Status::unauthenticated(self.to_string()),
            Self::NoSvid => return Status::permission_denied(self.to_string()),
            Self::NotAttested(_) => Reason::AgentNotAttested,
            Self::Expired(_) => Reason::AgentExpired,
            Self::NotActive { .. } => Reason::AgentNotActive,
            Self::Banned(_) => Reason::AgentBanned,
        };
        denied_with(reason, self.to_string())
    }
}

impl ToStatus for AgentsError {
    fn to_status(&self) -> Status {
        match self {
            Self::NotFound(_) => Status::not_found("agent not found"),
            Self::NotAnAgent(error) => error.to_status(),
            Self::Busy(_) => Status::aborted(self.to_string()),
            Self::TokenTaken => Status::already_exists(self.to_string()),
            Self::Store(error) => error.to_status(),
        }
    }
}

impl ToStatus for attest::NodeError {
    fn to_status(&self) -> Status {
        match self {
            Self::UnknownToken | Self::TokenExpired | Self::Id(_) => {
                Status::invalid_argument(self.to_string())
            }
            Self::Banned(_) => denied_with(Reason::AgentBanned, self.to_string()),
            Self::Forged => Status::failed_precondition(self.to_string()),
            Self::Names => Status::permission_denied(self.to_string()),
            Self::Busy => Status::aborted(self.to_string()),
            Self::Issue(error) => error.to_status(),
            Self::Agents(error) => error.to_status(),
            Self::Alias(error) => error.to_status(),
        }
    }
}

impl ToStatus for OverLimit {
    fn to_status(&self) -> Status {
        Status::resource_exhausted(self.to_string())
    }
}

/// `PermissionDenied` with the reason in a form that agents act on: they prove themselves again, or give up. It stands
/// in the details as gRPC's own status message has them.
fn denied_with(reason: Reason, message: String) -> Status {
    let details = types::PermissionDeniedDetails { reason: reason.into() };
    let status = rpc::Status {
        code: Code::PermissionDenied.into(),
        message: message.clone(),
        details: vec![Any {
            type_url: "type.googleapis.com/spire.api.types.PermissionDeniedDetails".to_owned(),
            value: details.encode_to_vec(),
        }],
    };
    Status::with_details(Code::PermissionDenied, message, status.encode_to_vec().into())
}

impl ToStatus for RequestError {
    fn to_status(&self) -> Status {
        let code = match self {
            Self::Empty
            | Self::TooLarge(_)
            | Self::Malformed(_)
            | Self::Signature
            | Self::WeakSignature
            | Self::KeyKind(_)
            | Self::Curve(_)
            | Self::RsaSize(_)
            | Self::NameKind(_) => Code::InvalidArgument,
            Self::WantsCa | Self::NotGranted { .. } => Code::PermissionDenied,
        };
        Status::new(code, self.to_string())
    }
}

impl ToStatus for SignError {
    fn to_status(&self) -> Status {
        match self {
            Self::TooLong { .. } => Status::invalid_argument(self.to_string()),
            Self::IssuerExpired => Status::unavailable(self.to_string()),
            Self::Randomness | Self::Encode(_) | Self::SelfCheck(_) => our_fault(self),
        }
    }
}

impl ToStatus for StoreError {
    fn to_status(&self) -> Status {
        match self {
            Self::Closed => Status::unavailable(self.to_string()),
            Self::Refused(_) => Status::failed_precondition(self.to_string()),
            Self::Conflict(_) => Status::aborted(self.to_string()),
            _ => our_fault(self),
        }
    }
}

impl ToStatus for IssueError {
    fn to_status(&self) -> Status {
        match self {
            Self::Request(error) => error.to_status(),
            Self::Sign(error) => error.to_status(),
            Self::Store(error) => error.to_status(),
            Self::Unrecorded(error) => error.to_status(),
            Self::KeyRevoked(_) => Status::permission_denied(self.to_string()),
            Self::NotFound(_) => Status::not_found(self.to_string()),
            Self::Record { .. } => our_fault(self),
        }
    }
}

impl ToStatus for JwtIssueError {
    fn to_status(&self) -> Status {
        match self {
            Self::Sign(JwtSignError::Audience) => Status::invalid_argument(self.to_string()),
            Self::NoKey | Self::Sign(JwtSignError::KeyExpired) => Status::unavailable(self.to_string()),
            Self::Store(error) => error.to_status(),
            Self::Agent(error) => error.to_status(),
            Self::Sign(JwtSignError::Sign) | Self::Keys(_) | Self::Randomness => our_fault(self),
        }
    }
}

impl ToStatus for EntryError {
    fn to_status(&self) -> Status {
        match self {
            Self::Randomness => our_fault(self),
            _ => Status::invalid_argument(self.to_string()),
        }
    }
}

impl ToStatus for RegistryError {
    fn to_status(&self) -> Status {
        match self {
            Self::Invalid(error) => error.to_status(),
            Self::NotFound(_) => Status::not_found(self.to_string()),
            Self::IdTaken(_) | Self::Similar(_) => Status::already_exists(self.to_string()),
            Self::Raced(_) => Status::aborted(self.to_string()),
            Self::Forged(_) => Status::failed_precondition(self.to_string()),
            Self::Store(error) => error.to_status(),
        }
    }
}

impl ToStatus for RevocationError {
    fn to_status(&self) -> Status {
        match self {
            Self::NotFound(_) => Status::not_found(self.to_string()),
            Self::OtherTrustDomain(..) => Status::invalid_argument(self.to_string()),
            Self::Store(error) => error.to_status(),
            Self::Interrupted => Status::unavailable(self.to_string()),
        }
    }
}

impl ToStatus for StepError {
    fn to_status(&self) -> Status {
        let code = match self {
            Self::NoId
            | Self::NoSubjectKeyId
            | Self::UpstreamOfActive
            | Self::UnexpectedUpstream
            | Self::UnexpectedId
            | Self::TaintsActive(_)
            | Self::TaintsOther(_)
            | Self::RevokesActive(_)
            | Self::RevokesOther
            | Self::RevokesPreparedKey => Code::InvalidArgument,
            // Clients know these two by this code.
            Self::NotPrepared | Self::NotTainted(_) => Code::Internal,
            Self::NotBegun => Code::Unavailable,
            Self::NotPublished { .. } => Code::FailedPrecondition,
        };
        Status::new(code, self.to_string())
    }
}

/// In the metadata of a refusal that time alone lifts: from when on the call will be let through, in Unix seconds.
const RETRY_AT: &str = "secplane-retry-at";

impl ToStatus for LifecycleError {
    fn to_status(&self) -> Status {
        let mut status = match self {
            Self::Step(error) => error.to_status(),
            Self::Upstream(_)
            | Self::TaintedUpstream(_)
            | Self::NoUpstream
            | Self::SignedOutside
            | Self::StillSigning(_)
            | Self::StillValid { .. }
            | Self::CasOfOthers { .. }
            | Self::RootOfAnother(_)
            | Self::AgentsBehind { .. }
            | Self::TokensStillValid(_) => Status::failed_precondition(self.to_string()),
            Self::KeyRevoked(_) => Status::permission_denied(self.to_string()),
            Self::IdTaken(_) => Status::already_exists(self.to_string()),
            Self::Unfit(_) => Status::invalid_argument(self.to_string()),
            Self::TooMany(_) => Status::resource_exhausted(self.to_string()),
            Self::Ca(error @ CaError::Expired { .. }) => Status::unavailable(error.to_string()),
            Self::Overtaken => Status::aborted(self.to_string()),
            Self::Interrupted => Status::unavailable(self.to_string()),
            Self::Store(error) => error.to_status(),
            Self::Outside(error) => error.to_status(),
            Self::NoRoot
            | Self::NoJwtKey
            | Self::ForeignKey(_)
            | Self::Ca(_)
            | Self::Bundle(_)
            | Self::KeyStore(_)
            | Self::JwtKey(_)
            | Self::Key(_) => our_fault(self),
        };
        if let Some(until) = self.wait_until() {
            status.metadata_mut().insert(RETRY_AT, unix(until).into());
        }
        status
    }
}

fn our_fault(error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::error!(error, "a call failed");
    Status::internal("the authority could not do this; its log says why")
}

#[cfg(test)]
mod tests {
    use secplane_identity::SpiffeId;

    use super::*;

    #[test]
    fn tells_agents_the_reason_in_the_details() {
        let id = SpiffeId::parse("spiffe://example.org/spire/agent/a").unwrap();
        let status = NotAnAgent::Banned(id).to_status();
        let details = rpc::Status::decode(status.details()).unwrap();
        assert_eq!(details.code, i32::from(Code::PermissionDenied));
        assert_eq!(details.message, status.message());
        let [any] = details.details.as_slice() else { panic!("{details:?}") };
        assert_eq!(any.type_url, "type.googleapis.com/spire.api.types.PermissionDeniedDetails");
        let denied = types::PermissionDeniedDetails::decode(any.value.as_slice()).unwrap();
        assert_eq!(denied.reason(), Reason::AgentBanned);
    }
}
