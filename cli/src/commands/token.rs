//! `secctl token`: join tokens, with which a node proves itself once.

use std::time::Duration;

use clap::{Args, Subcommand};
use secplane_identity::SpiffeId;
use secplane_proto::spire::api::server::agent::v1::CreateJoinTokenRequest;
use serde::Serialize;

use super::wire_ttl;
use crate::{
    ca_client::{CaOptions, wire_id},
    failure::Failure,
    output::{Instant, Output, Report, facts, shown},
};

/// Join tokens: each lets one node prove itself once
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  secctl token create")]
pub(crate) enum TokenCommand {
    /// Create a token and show it; the CA keeps only its hash
    #[command(after_help = "Examples:\n  secctl token create\n  secctl token create --ttl 1h --agent-id \
                            spiffe://example.org/nodes/one")]
    Create(CreateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// How long it may be used, such as 10m
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// The token itself, of 16 to 128 letters, digits, `-`, `_` and `.`; a random one otherwise
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    token: String,
    /// One more SPIFFE ID for the node, to be the parent of entries
    #[arg(long, value_name = "ID")]
    agent_id: Option<SpiffeId>,
    #[command(flatten)]
    ca: CaOptions,
}

impl TokenCommand {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Create(args) => output.report(&create(&args).await?),
        }
    }
}

async fn create(args: &CreateArgs) -> Result<CreatedToken, Failure> {
    let what = "create a join token";
    let ttl = i32::try_from(wire_ttl(Some(args.ttl)))
        .map_err(|_| Failure::usage(what, "the validity is too long"))?;
    let request = CreateJoinTokenRequest {
        ttl,
        token: args.token.clone(),
        agent_id: args.agent_id.as_ref().map(wire_id),
    };
    let created = args
        .ca
        .connect()
        .await?
        .agent()
        .create_join_token(request)
        .await
        .map_err(|status| Failure::from_status(what, &status))?
        .into_inner();
    Ok(CreatedToken { token: created.value, expires_at: Instant::from_unix(created.expires_at) })
}

#[derive(Serialize)]
struct CreatedToken {
    token: String,
    expires_at: Option<Instant>,
}

impl Report for CreatedToken {
    fn table(&self) -> String {
        facts([("Token", self.token.clone()), ("Expires", shown(self.expires_at))])
    }
}
