//! The one place where errors become gRPC statuses.

use tonic::{Code, Status};

use crate::{
    access::Denied,
    authority::{JwtSignError, RequestError, SignError},
    instant::unix,
    issuance::IssueError,
    jwt_svids::JwtIssueError,
    lifecycle::{LifecycleError, StepError},
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
            Self::Unauthenticated | Self::NoCertificate | Self::Expired(_) => Code::Unauthenticated,
            Self::NotAdmin(_) | Self::NotLocal | Self::Revoked(_) => Code::PermissionDenied,
        };
        Status::new(code, self.to_string())
    }
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
            Self::TooLong { .. } | Self::Sign(JwtSignError::Audience) => {
                Status::invalid_argument(self.to_string())
            }
            Self::NoKey | Self::Sign(JwtSignError::KeyExpired) => Status::unavailable(self.to_string()),
            Self::Store(error) => error.to_status(),
            Self::Sign(JwtSignError::Sign) | Self::Randomness => our_fault(self),
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
            Self::Upstream
            | Self::SignedOutside
            | Self::StillSigning(_)
            | Self::StillValid { .. }
            | Self::TokensStillValid(_) => Status::failed_precondition(self.to_string()),
            Self::Overtaken => Status::aborted(self.to_string()),
            Self::Interrupted => Status::unavailable(self.to_string()),
            Self::Store(error) => error.to_status(),
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
