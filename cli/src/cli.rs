//! The command line.

use bundle_service::policy_tests::{WORKER_COMMAND, worker};
use clap::{Args, Parser, Subcommand};

use crate::{
    commands::{
        agent::AgentCommand, agentcard::AgentCardCommand, audit::AuditCommand, bundle::BundleCommand,
        ca::CaCommand, cert::CertCommand, entry::EntryCommand, federation::FederationCommand,
        policy::PolicyCommand, svid::SvidCommand, token::TokenCommand, trust_bundle::TrustBundleCommand,
    },
    dev::{self, DevArgs},
    failure::{EXIT_STATUSES, Failure, Kind},
    output::{Format, Output},
};

/// The admin command of Secplane, a zero-trust control plane
#[derive(Debug, Parser)]
#[command(name = "secctl", version, propagate_version = true, after_help = help_end())]
pub(crate) struct Cli {
    /// The form of results
    #[arg(long, global = true, value_name = "FORMAT", default_value = "table")]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

fn help_end() -> String {
    format!("Example:\n  secctl dev\n\n{EXIT_STATUSES}")
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole stack here, for development, and do the main job once
    ///
    /// Starts a CA, the SPIFFE Workload API and the bundle service in this process, then issues an SVID, pulls that
    /// identity's bundle over mutual TLS, decides an allowed and a denied request with it, signs an AgentCard and
    /// verifies it. Everything stays in --dir, which is used again the next time. Ctrl-C ends it.
    #[command(
        after_help = "Examples:\n  secctl dev\n  secctl dev --exit\n  secctl dev --dir ./other-dev --policies \
                            ./my-policies --trust-domain example.org"
    )]
    Dev(DevArgs),
    #[command(subcommand)]
    Ca(CaCommand),
    #[command(subcommand)]
    Svid(SvidCommand),
    #[command(subcommand)]
    Audit(AuditCommand),
    #[command(subcommand)]
    Cert(CertCommand),
    #[command(subcommand)]
    Entry(EntryCommand),
    #[command(subcommand)]
    Federation(FederationCommand),
    #[command(subcommand)]
    Agent(AgentCommand),
    #[command(subcommand)]
    Token(TokenCommand),
    #[command(subcommand)]
    TrustBundle(TrustBundleCommand),
    #[command(subcommand)]
    Bundle(BundleCommand),
    #[command(subcommand)]
    Policy(PolicyCommand),
    #[command(subcommand, name = "agentcard")]
    AgentCard(AgentCardCommand),
    /// Runs the tests of policies in a process of its own; it is started when there are some
    #[command(name = WORKER_COMMAND, hide = true)]
    PolicyTestWorker(WorkerArgs),
}

/// The limits of a process that runs tests.
#[derive(Debug, Args)]
struct WorkerArgs {
    /// How much processor time it may take, in seconds
    seconds: u64,
    /// How large its address space may be, in bytes
    bytes: u64,
}

impl Cli {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let output = Output::new(self.output);
        match self.command {
            Command::Dev(args) => dev::run(args, output).await,
            Command::Ca(command) => command.run(output).await,
            Command::Svid(command) => command.run(output).await,
            Command::Audit(command) => command.run(output).await,
            Command::Cert(command) => command.run(output).await,
            Command::Entry(command) => command.run(output).await,
            Command::Federation(command) => command.run(output).await,
            Command::Agent(command) => command.run(output).await,
            Command::Token(command) => command.run(output).await,
            Command::TrustBundle(command) => command.run(output).await,
            Command::Bundle(command) => command.run(output).await,
            Command::Policy(command) => command.run(output).await,
            Command::AgentCard(command) => command.run(output).await,
            Command::PolicyTestWorker(WorkerArgs { seconds, bytes }) => {
                let what = || "run the tests of policies";
                let done = tokio::task::spawn_blocking(move || worker::run(seconds, bytes)).await;
                let done = done.map_err(|error| Failure::new(Kind::Other, what(), error))?;
                done.map_err(|error| Failure::from_io(what(), &error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Calls `check` for every command that a person would type, with its words.
    fn for_every_command(command: &clap::Command, words: &str, check: &mut impl FnMut(&clap::Command, &str)) {
        check(command, words);
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()) {
            for_every_command(sub, &format!("{words} {}", sub.get_name()), check);
        }
    }

    fn examples(command: &clap::Command) -> Vec<String> {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        help.lines().filter_map(|line| line.strip_prefix("  secctl ")).map(str::to_owned).collect()
    }

    #[test]
    fn is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn gives_every_command_an_example_that_parses() {
        for_every_command(&Cli::command(), "secctl", &mut |command, words| {
            let examples = examples(command);
            assert!(!examples.is_empty(), "`{words} --help` has no example");
            for example in examples {
                let line = std::iter::once("secctl").chain(example.split_whitespace());
                let error = Cli::try_parse_from(line).err().map(|error| error.to_string());
                assert_eq!(error, None, "the example of `{words}` does not parse: secctl {example}");
            }
        });
    }

    #[test]
    fn says_what_every_command_and_option_is_for() {
        for_every_command(&Cli::command(), "secctl", &mut |command, words| {
            assert!(command.get_about().is_some(), "`{words}` has no description");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "`{words}`: `{}` has no help", argument.get_id());
            }
        });
    }
}
