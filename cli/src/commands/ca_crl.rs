//! `secctl ca crl`: the revocation lists of the CA.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use secplane_identity::revocation::RevocationList;
use serde::Serialize;

use crate::{
    ca_client::CaOptions,
    failure::Failure,
    files,
    output::{Instant, Output, Report, rows, shown},
};

/// The form of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ListFormat {
    /// DER, as CRLs are published.
    Der,
    /// PEM, as OpenSSL's tools take it.
    Pem,
}

#[derive(Debug, Args)]
pub(crate) struct CrlArgs {
    /// Write each list into a file of this folder, named by its issuer's key ID
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The form of the lists: der or pem into a folder, pem on standard output
    #[arg(long, value_name = "FORMAT")]
    format: Option<ListFormat>,
    #[command(flatten)]
    ca: CaOptions,
}

pub(crate) async fn crl(args: CrlArgs, output: Output) -> Result<(), Failure> {
    let what = "get the revocation lists";
    let ca = args.ca.connect().await?;
    let lists = ca.revocation_lists().await.map_err(|status| Failure::from_status(what, &status))?;
    let lists = lists
        .iter()
        .map(|list| RevocationList::parse_own(&list.crl).map_err(|error| Failure::refused(what, error)))
        .collect::<Result<Vec<_>, _>>()?;
    match (&args.dir, args.format) {
        (None, Some(ListFormat::Der)) => {
            return Err(Failure::usage(what, "several lists in DER have no place on standard output")
                .remedy("give --dir DIR, or --format pem"));
        }
        (None, Some(ListFormat::Pem)) => {
            return output.text(&lists.iter().map(RevocationList::to_pem).collect::<String>());
        }
        (None, None) => {}
        (Some(folder), format) => {
            files::make_folder(folder)?;
            for list in &lists {
                let (ending, contents) = match format {
                    Some(ListFormat::Pem) => ("pem", list.to_pem().into_bytes()),
                    Some(ListFormat::Der) | None => ("crl", list.der().to_vec()),
                };
                let path = folder.join(format!("{}.{ending}", list.issuer_key_id()));
                files::write(&path, &contents, files::PUBLIC)?;
            }
        }
    }
    output.report(&ListsReport { lists: lists.iter().map(ListReport::from).collect() })
}

#[derive(Serialize)]
struct ListsReport {
    lists: Vec<ListReport>,
}

#[derive(Serialize)]
struct ListReport {
    issuer_key_id: String,
    number: String,
    this_update: Option<Instant>,
    next_update: Option<Instant>,
    revoked: Vec<String>,
}

impl From<&RevocationList> for ListReport {
    fn from(list: &RevocationList) -> Self {
        let mut revoked: Vec<_> = list.serials().copied().collect();
        revoked.sort();
        Self {
            issuer_key_id: list.issuer_key_id().to_owned(),
            number: list.number().to_string(),
            this_update: Some(list.this_update().into()),
            next_update: Some(list.next_update().into()),
            revoked: revoked.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Report for ListsReport {
    fn table(&self) -> String {
        rows(
            ["ISSUER", "NUMBER", "REVOKED", "MADE", "NEXT BY"],
            self.lists.iter().map(|list| {
                [
                    list.issuer_key_id.clone(),
                    list.number.clone(),
                    list.revoked.len().to_string(),
                    shown(list.this_update),
                    shown(list.next_update),
                ]
            }),
            "no issuing CA has a revocation list",
        )
    }
}
