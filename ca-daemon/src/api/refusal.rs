//! The one place where errors become gRPC statuses.

use tonic::{Code, Status};

use crate::{
    access::Denied,
    authority::{JwtSignError, RequestError, SignError},
    issuance::IssueError,
    jwt_svids::JwtIssueError,
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

fn our_fault(error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::error!(error, "a call failed");
    Status::internal("the authority could not do this; its log says why")
}
