//! `secctl agentcard`: signed A2A AgentCards.

mod card_file;
mod fetch;
mod key_sets;
mod lint;
mod report;
mod sign;
mod trust;
mod verify;
mod web;

use clap::{Subcommand, ValueEnum};
use secplane_agent_card::Canonicalization;

use crate::{failure::Failure, output::Output};

/// Signed A2A AgentCards
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  secctl agentcard verify signed.json --svid-dir ./web")]
pub(crate) enum AgentCardCommand {
    /// Sign a card with an X.509-SVID; the chain travels in the signature
    ///
    /// Verifiers disagree about what a signature covers. A card of which they do is refused, and what makes the
    /// difference is named; --portable signs it for all of them, --canonicalization for one.
    #[command(after_help = "Examples:\n  secctl agentcard sign card.json --svid-dir ./web --portable --out \
                            signed.json\n  secctl agentcard sign card.json --workload-api \
                            ./secplane-dev/workload.sock --portable --out mine.json\n  secctl agentcard sign \
                            card.json --svid-dir ./web --portable --write-configmap web --namespace demo --out \
                            web-card-signed.yaml\n  secctl agentcard sign card.json --workload-api \
                            ./secplane-dev/workload.sock --portable --watch --out mine.json")]
    Sign(Box<sign::SignArgs>),
    /// Verify the signatures of a card, every check by itself; the exit status says the class
    ///
    /// Trusts what the Workload API, a file or the CA says; without any of these options, the CA at its admin socket.
    #[command(after_help = "Examples:\n  secctl agentcard verify signed.json --svid-dir ./web\n  secctl \
                            agentcard verify signed.json --trust-bundle bundle.pem --trust-domain \
                            example.org --expect-id spiffe://example.org/ns/demo/sa/web\n  secctl agentcard \
                            verify signed.json --workload-api ./secplane-dev/workload.sock\n  secctl \
                            agentcard verify signed.json --admin-socket ./secplane-dev/ca/admin.sock\n  secctl \
                            agentcard verify signed.json --via-ca\n\nExit statuses of this command:\n  0 valid, 10 \
                            untrusted, 11 tampered, 12 expired, 13 revoked, 14 unsigned, 15 malformed")]
    Verify(Box<verify::VerifyArgs>),
    /// Get the card of a running agent over mutual TLS, and verify it
    ///
    /// Says who served the card, by the SPIFFE ID in the server's certificate, and whether the same identity signed
    /// it. Without a path in the URL the well-known ones are tried, the new and the old.
    #[command(
        after_help = "Examples:\n  secctl agentcard fetch https://localhost:9443 --svid-dir ./web\n  secctl \
                            agentcard fetch https://localhost:9443 --svid-dir ./web --expect-id \
                            spiffe://example.org/ns/demo/sa/web --out fetched.json"
    )]
    Fetch(Box<fetch::FetchArgs>),
    /// Hold a card against the A2A 1.0 schema, and name what would make verifiers disagree
    #[command(after_help = "Example:\n  secctl agentcard lint card.json")]
    Lint(lint::LintArgs),
}

/// A canonical form of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// The card as it stands.
    Raw,
    /// The text of A2A 1.0.
    Presence,
    /// The Python and JavaScript SDKs.
    Sdk,
    /// The Kagenti operator.
    Kagenti,
}

impl From<Form> for Canonicalization {
    fn from(form: Form) -> Self {
        match form {
            Form::Raw => Self::Raw,
            Form::Presence => Self::Presence,
            Form::Sdk => Self::Sdk,
            Form::Kagenti => Self::Kagenti,
        }
    }
}

impl AgentCardCommand {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Sign(args) => sign::run(output, &args).await,
            Self::Verify(args) => verify::run(output, &args).await,
            Self::Fetch(args) => fetch::run(output, &args).await,
            Self::Lint(args) => lint::run(output, &args),
        }
    }
}
