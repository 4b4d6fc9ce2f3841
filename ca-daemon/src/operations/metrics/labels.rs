//! The labels. Each is a word out of a list that is known when the program is built.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use tonic::Code;

/// What stands for a word that is on no list.
const OTHER: &str = "other";

/// Kinds of what is issued.
pub(super) const KINDS: &[&str] = &["x509-svid", "server", "client", "jwt-svid"];
/// Tables whose rows carry a proof of who wrote them.
pub(super) const TABLES: &[&str] = &[
    "authorities",
    "entries",
    "agents",
    "join_tokens",
    "revoked_keys",
    "federation_relationships",
    "federated_bundles",
];
/// Kinds of authorities.
pub(super) const AUTHORITY_KINDS: &[&str] = &["root", "issuing", "jwt", "mesh", "downstream"];
/// States of authorities.
pub(super) const AUTHORITY_STATES: &[&str] = &["prepared", "active", "old", "tainted", "revoked"];

/// The word of a list, or `other`.
pub(super) fn known_word(word: &str, list: &'static [&'static str]) -> &'static str {
    list.iter().copied().find(|known| *known == word).unwrap_or(OTHER)
}

/// The path of a method that the contracts define, or `other`.
pub(super) fn known_method(path: &str) -> &'static str {
    let methods = secplane_proto::METHODS;
    match methods.binary_search(&path) {
        Ok(found) => methods[found],
        Err(_) => known_word(path, METHODS_OF_GRPC),
    }
}

/// What gRPC itself defines.
const METHODS_OF_GRPC: &[&str] = &[
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// The name of a status code, as the gRPC documentation spells it.
pub(super) fn code(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// What became of a request for a certificate or token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Result {
    /// It was signed, recorded and handed out.
    Issued,
    /// The request was refused: it asked for what is not granted.
    Refused,
    /// The authority could not do it.
    Failed,
}

/// Where connections come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listener {
    /// gRPC with TLS, or without it under `--insecure`.
    Grpc,
    /// The admin socket.
    Admin,
    /// The Workload API's socket.
    Workload,
    /// Health, metrics, revocation lists.
    Operations,
}

/// Why a call was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DenialReason {
    /// No certificate where one is needed.
    Unauthenticated,
    /// A caller without the permission.
    NotPermitted,
    /// A revoked certificate.
    Revoked,
    /// An expired certificate.
    Expired,
    /// An agent that is banned, unknown or no longer current.
    Agent,
    /// Over a limit.
    Limited,
}

/// As a label's value.
macro_rules! label_value {
    ($kind:ty { $($variant:ident => $text:literal,)+ }) => {
        impl EncodeLabelValue for $kind {
            fn encode(
                &self,
                encoder: &mut prometheus_client::encoding::LabelValueEncoder,
            ) -> std::result::Result<(), std::fmt::Error> {
                let text = match self {
                    $(Self::$variant => $text,)+
                };
                text.encode(encoder)
            }
        }
    };
}

label_value!(Result { Issued => "issued", Refused => "refused", Failed => "failed", });
label_value!(Listener {
    Grpc => "grpc",
    Admin => "admin",
    Workload => "workload",
    Operations => "operations",
});
label_value!(DenialReason {
    Unauthenticated => "unauthenticated",
    NotPermitted => "not_permitted",
    Revoked => "revoked",
    Expired => "expired",
    Agent => "agent",
    Limited => "limited",
});

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Build {
    version: &'static str,
}

impl Build {
    pub(super) const THIS: Self = Self { version: env!("CARGO_PKG_VERSION") };
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Issued {
    pub(super) kind: &'static str,
    pub(super) result: Result,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabel {
    pub(super) kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ListenerLabel {
    pub(super) listener: Listener,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LimitLabel {
    pub(super) limit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct MethodLabel {
    pub(super) method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Denial {
    pub(super) reason: DenialReason,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TableLabel {
    pub(super) table: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AuthorityLabels {
    pub(super) kind: &'static str,
    pub(super) state: &'static str,
}
