//! `secctl ca rekey`: another wrapping key for the CA's private keys.

use std::path::PathBuf;

use clap::Args;
use secplane_proto::secplane::ca::v1::{RekeyRequest, rekey_request::NewWrappingKey};
use serde::Serialize;

use crate::{
    ca_client::CaOptions,
    failure::Failure,
    output::{Report, facts},
};

/// Where the daemon finds the new wrapping key, on its own machine.
#[derive(Debug, Args)]
pub(crate) struct RekeyArgs {
    #[command(flatten)]
    new: NewKeyArgs,
    /// The CA's admin socket [env: SECCTL_ADMIN_SOCKET] [default: ./secplane-dev/ca/admin.sock]
    #[arg(long, value_name = "PATH")]
    admin_socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct NewKeyArgs {
    /// A file that only the daemon can read; make one with `ca-daemon wrapping-key --out FILE`
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The name of a systemd credential of the daemon
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
    /// The name of an environment variable of the daemon
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
}

pub(super) async fn rekey(args: RekeyArgs) -> Result<Rekeyed, Failure> {
    let what = "seal the CA's private keys under another wrapping key";
    let RekeyArgs { new, admin_socket } = args;
    let (source, setting) = match new {
        NewKeyArgs { file: Some(path), .. } => {
            // The daemon runs in another folder.
            let path = std::path::absolute(&path).map_err(|error| Failure::usage(what, error))?;
            let path =
                path.to_str().ok_or_else(|| Failure::usage(what, "the file's name is not UTF-8"))?.to_owned();
            let setting = format!("{{file: {path}}}");
            (NewWrappingKey::File(path), setting)
        }
        NewKeyArgs { credential: Some(name), .. } => {
            let setting = format!("{{credential: {name}}}");
            (NewWrappingKey::Credential(name), setting)
        }
        NewKeyArgs { env, .. } => {
            let name = env.unwrap_or_default();
            let setting = format!("{{env: {name}}}");
            (NewWrappingKey::Env(name), setting)
        }
    };
    let ca = CaOptions { admin_socket, ..CaOptions::default() }.connect().await?;
    let answer = ca
        .authority()
        .rekey(RekeyRequest { new_wrapping_key: Some(source) })
        .await
        .map_err(|status| Failure::from_status(what, &status))?;
    Ok(Rekeyed { sealed: answer.into_inner().sealed, wrapping_key: setting })
}

/// What was sealed anew, and what the configuration must say from now on.
#[derive(Debug, Serialize)]
pub(super) struct Rekeyed {
    sealed: i64,
    wrapping_key: String,
}

impl Report for Rekeyed {
    fn table(&self) -> String {
        let next = format!(
            "set `wrapping_key: {}` in the configuration of every replica before it starts again",
            self.wrapping_key
        );
        facts([("Sealed anew", self.sealed.to_string()), ("Now", next)])
    }
}
