//! Why a command failed, and the exit status that says so.
//!
//! There is one shape: what could not be done and to what, why, and what to do about it. The statuses are
//! documented in `secctl --help`; every gRPC code is mapped to one of them here and nowhere else.

use std::{error::Error, fmt, io, process::ExitCode};

use tonic::{Code, Status};

/// What kind of failure it is: decides the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything that has no status of its own.
    Other = 1,
    /// The command line asks for something that cannot be.
    Usage = 2,
    /// The other side cannot be reached.
    Unreachable = 3,
    /// The other side does not accept who is asking, or does not let them.
    Denied = 4,
    /// What was named does not exist.
    NotFound = 5,
    /// The request or a file is invalid or was refused.
    Refused = 6,
    /// The check was made and its answer is no.
    CheckFailed = 7,
    /// An AgentCard is not from a signer that is trusted or expected.
    CardUntrusted = 10,
    /// An AgentCard's signature is not right for what it says.
    CardTampered = 11,
    /// An AgentCard's signer has a certificate that is out of date.
    CardExpired = 12,
    /// An AgentCard's signer has a certificate that is revoked.
    CardRevoked = 13,
    /// An AgentCard has no signature.
    CardUnsigned = 14,
    /// A document is no AgentCard, or its signature none, that can be verified.
    CardMalformed = 15,
}

/// The exit statuses as `--help` shows them.
pub(crate) const EXIT_STATUSES: &str = "\
Exit statuses:
  0  done
  1  failed for a reason that has no status of its own
  2  the command line is wrong
  3  the server or socket cannot be reached
  4  the caller is not authenticated or not allowed
  5  what was named does not exist
  6  the request or a file is invalid and was refused
  7  a check was made and failed (policy check, agentcard lint, audit verify, a denied
     decision)
  10  an AgentCard is untrusted: not from a signer that is trusted or expected
  11  an AgentCard is tampered with: the signature is not right for what it says
  12  an AgentCard is expired: its signer's certificate is
  13  an AgentCard is revoked: its signer's certificate is
  14  an AgentCard is unsigned
  15  an AgentCard is malformed: it cannot be read, or its signature cannot";

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    what: String,
    why: String,
    remedy: Option<String>,
}

impl Failure {
    /// `what` completes "cannot …"; `why` is a sentence without a full stop.
    pub(crate) fn new(kind: Kind, what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { kind, what: what.into(), why: why.to_string(), remedy: None }
    }

    /// A command line that asks for something that cannot be.
    pub(crate) fn usage(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, what, why)
    }

    /// Invalid input.
    pub(crate) fn refused(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::new(Kind::Refused, what, why)
    }

    /// Says what to do about it.
    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The answer of a gRPC call that failed.
    pub(crate) fn from_status(what: impl Into<String>, status: &Status) -> Self {
        if let Some(kind) = transport_kind(status) {
            return Self::new(kind, what, deepest(status));
        }
        let failure = Self::new(kind_of_code(status.code()), what, status.message());
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => {
                failure.remedy("use the admin socket, or the certificate of an admin entry")
            }
            Code::DeadlineExceeded => failure.remedy("see whether the server is overloaded, then try again"),
            _ => failure,
        }
    }

    /// A file that cannot be read or written.
    pub(crate) fn from_io(what: impl Into<String>, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => Kind::NotFound,
            io::ErrorKind::PermissionDenied => Kind::Denied,
            io::ErrorKind::InvalidInput => Kind::Refused,
            _ => Kind::Other,
        };
        Self::new(kind, what, error)
    }

    /// A connection that could not be made.
    pub(crate) fn from_connect(what: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        let kind = if is_refused_certificate(error) { Kind::Denied } else { Kind::Unreachable };
        Self::new(kind, what, deepest(error))
    }

    /// The status with which the process ends.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }

    /// What kind of failure it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, self.why)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  what to do: {remedy}"),
            None => Ok(()),
        }
    }
}

fn kind_of_code(code: Code) -> Kind {
    match code {
        Code::Unauthenticated | Code::PermissionDenied => Kind::Denied,
        Code::NotFound => Kind::NotFound,
        Code::InvalidArgument
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::ResourceExhausted => Kind::Refused,
        Code::Unavailable | Code::DeadlineExceeded => Kind::Unreachable,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::Aborted
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => Kind::Other,
    }
}

/// A status that no server sent: the connection broke, which is also how a server refuses a certificate, since in
/// TLS 1.3 the client has finished its handshake by then.
fn transport_kind(status: &Status) -> Option<Kind> {
    let source = status.source()?;
    Some(if is_refused_certificate(source) { Kind::Denied } else { Kind::Unreachable })
}

/// Whether one of the two sides refused the other's certificate.
fn is_refused_certificate(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|cause| {
        let tls = cause
            .downcast_ref::<rustls::Error>()
            .or_else(|| cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>());
        matches!(
            tls,
            Some(
                rustls::Error::AlertReceived(_)
                    | rustls::Error::InvalidCertificate(_)
                    | rustls::Error::General(_)
            )
        )
    })
}

/// The innermost cause: the outer ones of a transport say "transport error" only.
fn deepest(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map_or_else(String::new, ToString::to_string)
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| (*cause).source())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Code::Unauthenticated, Kind::Denied)]
    #[case(Code::PermissionDenied, Kind::Denied)]
    #[case(Code::NotFound, Kind::NotFound)]
    #[case(Code::InvalidArgument, Kind::Refused)]
    #[case(Code::AlreadyExists, Kind::Refused)]
    #[case(Code::FailedPrecondition, Kind::Refused)]
    #[case(Code::Unavailable, Kind::Unreachable)]
    #[case(Code::Internal, Kind::Other)]
    fn maps_grpc_codes(#[case] code: Code, #[case] kind: Kind) {
        assert_eq!(Failure::from_status("try", &Status::new(code, "because")).kind, kind);
    }

    #[test]
    fn says_what_why_and_what_to_do() {
        let failure = Failure::refused("read `a.pem`", "it is empty").remedy("write it again");
        assert_eq!(failure.to_string(), "cannot read `a.pem`: it is empty\n  what to do: write it again");
    }

    #[test]
    fn tells_a_refused_certificate_from_a_dead_server() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired);
        let refused = io::Error::other(alert);
        assert_eq!(Failure::from_connect("reach it", &refused).kind, Kind::Denied);
        let dead = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(Failure::from_connect("reach it", &dead).kind, Kind::Unreachable);
    }

    #[test]
    fn documents_every_status() {
        for kind in [
            Kind::Other,
            Kind::Usage,
            Kind::Unreachable,
            Kind::Denied,
            Kind::NotFound,
            Kind::Refused,
            Kind::CheckFailed,
            Kind::CardUntrusted,
            Kind::CardTampered,
            Kind::CardExpired,
            Kind::CardRevoked,
            Kind::CardUnsigned,
            Kind::CardMalformed,
        ] {
            assert!(EXIT_STATUSES.contains(&format!("\n  {}  ", kind as u8)), "{kind:?}");
        }
    }
}
