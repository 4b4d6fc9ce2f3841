//! `secctl dev`: the whole stack in one process, and the main job done once against it.
//!
//! | file | holds |
//! |---|---|
//! | [`folder`] | what lies in `--dir` |
//! | [`stack`] | the daemons, started and stopped in order, and the registration entries that they need |
//! | [`self_check`] | the main job, step by step |
//! | [`screen`] | what is printed |

mod folder;
mod screen;
mod self_check;
mod stack;

use std::path::PathBuf;

use clap::Args;
use secplane_identity::TrustDomain;

use self::{folder::DevFolder, screen::Screen, stack::Stack};
use crate::{end_signals::EndSignals, failure::Failure, output::Output};

/// The folder that the other commands look into by themselves.
const DEFAULT_DIR: &str = "./secplane-dev";

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// The folder for keys, database, sockets and log; made the first time, used again later
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    dir: PathBuf,
    /// The folder of AuthorizationPolicy manifests
    #[arg(long, value_name = "DIR", default_value = "./policies")]
    policies: PathBuf,
    /// The trust domain; the example policies name example.org
    #[arg(long, value_name = "NAME", default_value = "example.org")]
    trust_domain: TrustDomain,
    /// The CA's port on 127.0.0.1; a free one otherwise
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    ca_port: u16,
    /// The bundle service's port on 127.0.0.1; a free one otherwise
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    bundle_port: u16,
    /// The bundle service's port for health and metrics on 127.0.0.1; a free one otherwise
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    health_port: u16,
    /// Stop after the self-check: with status 0, or with another and the failed step named
    #[arg(long)]
    exit: bool,
}

/// Starts everything, checks it, and runs until it is told to end.
pub(crate) async fn run(args: DevArgs, output: Output) -> Result<(), Failure> {
    let mut end = EndSignals::new()?;
    let folder = DevFolder::prepare(&args.dir, &args.policies)?;
    folder.log_to_file()?;
    let screen = Screen::new(output);
    screen.starting(&folder)?;

    let mut stack = tokio::select! {
        started = Stack::start(&args, folder) => started?,
        () = end.received() => return Ok(()),
    };
    let ended = until_the_end(&args, screen, &mut stack, &mut end).await;
    let stopped = stack.stop().await;
    ended.and(stopped)
}

async fn until_the_end(
    args: &DevArgs,
    screen: Screen,
    stack: &mut Stack,
    end: &mut EndSignals,
) -> Result<(), Failure> {
    screen.started(stack)?;
    let checked = tokio::select! {
        checked = self_check::run(stack, screen) => checked,
        () = end.received() => return Ok(()),
    };
    if args.exit {
        return checked;
    }
    match checked {
        Ok(()) => screen.what_next(stack)?,
        // What runs may still be looked at, and its log says more.
        Err(failure) => screen.check_failed(stack, &failure),
    }
    tokio::select! {
        failure = stack.failed() => Err(failure),
        () = end.received() => screen.ending(),
    }
}
