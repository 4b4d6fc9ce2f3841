//! `secctl agent`: the nodes that proved themselves.

use clap::{Args, Subcommand};
use secplane_identity::SpiffeId;
use secplane_proto::spire::api::{
    server::agent::v1::{
        BanAgentRequest, CountAgentsRequest, DeleteAgentRequest, GetAgentRequest, ListAgentsRequest,
        count_agents_request, list_agents_request,
    },
    types,
};
use serde::Serialize;

use self::attest::AttestArgs;
use crate::{
    ca_client::{CaClient, CaOptions, shown_id, wire_id},
    failure::Failure,
    output::{Instant, Output, Report, facts, rows, shown},
};

mod attest;

const PAGE_SIZE: i32 = 500;

/// Node agents: the nodes that proved themselves
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  secctl agent list")]
pub(crate) enum AgentCommand {
    /// List the agents
    #[command(after_help = "Examples:\n  secctl agent list\n  secctl agent list --banned")]
    List(ListArgs),
    /// Show one agent
    #[command(
        after_help = "Example:\n  secctl agent show spiffe://example.org/spire/agent/join_token/0123456789abcdef"
    )]
    Show(OneArgs),
    /// Shut an agent out: it can neither act nor prove itself again until it is evicted
    ///
    /// Its X.509-SVIDs are revoked, and so are those that it was given for its workloads, with all that renewed them.
    #[command(
        after_help = "Example:\n  secctl agent ban spiffe://example.org/spire/agent/join_token/0123456789abcdef"
    )]
    Ban(OneArgs),
    /// Forget an agent: it has to prove itself again
    ///
    /// Its X.509-SVIDs are revoked, and so are those that it was given for its workloads, with all that renewed them.
    #[command(
        after_help = "Example:\n  secctl agent evict spiffe://example.org/spire/agent/join_token/0123456789abcdef"
    )]
    Evict(OneArgs),
    /// Count the agents
    #[command(after_help = "Example:\n  secctl agent count")]
    Count(ListArgs),
    /// Prove by hand that this is a node, and write svid.pem, key.pem and bundle.pem
    ///
    /// A key that lies in the folder already is used again: when the answer was lost, the same command with the same
    /// token gets it once more.
    #[command(
        after_help = "Example:\n  secctl agent attest --server 127.0.0.1:8081 --trust-bundle bundle.pem \
                            --trust-domain example.org --join-token 0123456789abcdef --out ./agent"
    )]
    Attest(AttestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only those that are banned
    #[arg(long)]
    banned: bool,
    /// Only those that proved themselves in this way, such as join_token
    #[arg(long, value_name = "TYPE", default_value = "", hide_default_value = true)]
    attestation_type: String,
    #[command(flatten)]
    ca: CaOptions,
}

#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// The agent, as `secctl agent list` shows it
    #[arg(value_name = "ID")]
    id: SpiffeId,
    #[command(flatten)]
    ca: CaOptions,
}

impl AgentCommand {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::List(args) => output.report(&list(&args).await?),
            Self::Show(args) => output.report(&show(&args).await?),
            Self::Ban(args) => output.report(&ban(&args).await?),
            Self::Evict(args) => output.report(&evict(&args).await?),
            Self::Count(args) => output.report(&count(&args).await?),
            Self::Attest(args) => output.report(&attest::attest(&args).await?),
        }
    }
}

async fn list(args: &ListArgs) -> Result<AgentList, Failure> {
    let ca: CaClient = args.ca.connect().await?;
    let filter = list_agents_request::Filter {
        by_banned: args.banned.then_some(true),
        by_attestation_type: args.attestation_type.clone(),
        ..list_agents_request::Filter::default()
    };
    let mut agents = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListAgentsRequest {
            filter: Some(filter.clone()),
            output_mask: None,
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = ca
            .agent()
            .list_agents(request)
            .await
            .map_err(|status| Failure::from_status("list the agents", &status))?
            .into_inner();
        agents.extend(page.agents.into_iter().map(AgentReport::from));
        if page.next_page_token.is_empty() {
            return Ok(AgentList { agents });
        }
        page_token = page.next_page_token;
    }
}

async fn count(args: &ListArgs) -> Result<AgentCount, Failure> {
    let filter = count_agents_request::Filter {
        by_banned: args.banned.then_some(true),
        by_attestation_type: args.attestation_type.clone(),
        ..count_agents_request::Filter::default()
    };
    let counted = args
        .ca
        .connect()
        .await?
        .agent()
        .count_agents(CountAgentsRequest { filter: Some(filter) })
        .await
        .map_err(|status| Failure::from_status("count the agents", &status))?;
    Ok(AgentCount { count: counted.into_inner().count })
}

async fn show(args: &OneArgs) -> Result<AgentReport, Failure> {
    let request = GetAgentRequest { id: Some(wire_id(&args.id)), output_mask: None };
    let agent = args
        .ca
        .connect()
        .await?
        .agent()
        .get_agent(request)
        .await
        .map_err(|status| Failure::from_status(format!("show the agent {}", args.id), &status))?;
    Ok(agent.into_inner().into())
}

async fn ban(args: &OneArgs) -> Result<Changed, Failure> {
    let request = BanAgentRequest { id: Some(wire_id(&args.id)) };
    let mut agents = args.ca.connect().await?.agent();
    agents
        .ban_agent(request)
        .await
        .map_err(|status| Failure::from_status(format!("ban the agent {}", args.id), &status))?;
    Ok(Changed { agent: args.id.clone(), done: "banned" })
}

async fn evict(args: &OneArgs) -> Result<Changed, Failure> {
    let request = DeleteAgentRequest { id: Some(wire_id(&args.id)) };
    let mut agents = args.ca.connect().await?.agent();
    agents
        .delete_agent(request)
        .await
        .map_err(|status| Failure::from_status(format!("evict the agent {}", args.id), &status))?;
    Ok(Changed { agent: args.id.clone(), done: "evicted" })
}

/// One agent as it is shown.
#[derive(Debug, Serialize)]
struct AgentReport {
    spiffe_id: String,
    attestation_type: String,
    /// Hexadecimal, as `secctl cert` names certificates.
    serial_number: String,
    expires_at: Option<Instant>,
    selectors: Vec<String>,
    banned: bool,
    can_reattest: bool,
    version: String,
}

impl From<types::Agent> for AgentReport {
    fn from(agent: types::Agent) -> Self {
        Self {
            spiffe_id: shown_id(agent.id.as_ref()),
            attestation_type: agent.attestation_type,
            serial_number: hexadecimal(agent.x509svid_serial_number),
            expires_at: Instant::from_unix(agent.x509svid_expires_at),
            selectors: agent.selectors.into_iter().map(|s| format!("{}:{}", s.r#type, s.value)).collect(),
            banned: agent.banned,
            can_reattest: agent.can_reattest,
            version: agent.agent_version,
        }
    }
}

/// A serial number of this API, which is decimal, as everything else here has it.
fn hexadecimal(serial: String) -> String {
    serial.parse::<u128>().map_or(serial, |serial| format!("{serial:x}"))
}

impl Report for AgentReport {
    fn table(&self) -> String {
        let yes = |is: bool| if is { "yes".to_owned() } else { String::new() };
        facts([
            ("Agent", self.spiffe_id.clone()),
            ("Attested by", self.attestation_type.clone()),
            ("Serial number", self.serial_number.clone()),
            ("Expires", shown(self.expires_at)),
            ("Selectors", self.selectors.join("\n")),
            ("Banned", yes(self.banned)),
            ("Can attest again", yes(self.can_reattest)),
            ("Version", self.version.clone()),
        ])
    }
}

#[derive(Serialize)]
struct AgentList {
    agents: Vec<AgentReport>,
}

impl Report for AgentList {
    fn table(&self) -> String {
        rows(
            ["AGENT", "ATTESTED BY", "EXPIRES", "BANNED"],
            self.agents.iter().map(|agent| {
                let banned = if agent.banned { "yes" } else { "" };
                [
                    agent.spiffe_id.clone(),
                    agent.attestation_type.clone(),
                    shown(agent.expires_at),
                    banned.into(),
                ]
            }),
            "no agents",
        )
    }
}

#[derive(Serialize)]
struct AgentCount {
    count: i32,
}

impl Report for AgentCount {
    fn table(&self) -> String {
        self.count.to_string()
    }
}

#[derive(Serialize)]
struct Changed {
    agent: SpiffeId,
    #[serde(rename = "result")]
    done: &'static str,
}

impl Report for Changed {
    fn table(&self) -> String {
        format!("{} {}", self.done, self.agent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_serials_as_certificates_have_them() {
        assert_eq!(hexadecimal("255".to_owned()), "ff");
        assert_eq!(hexadecimal("?".to_owned()), "?");
    }
}
