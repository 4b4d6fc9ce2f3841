//! `secctl ca prepare|activate|taint|revoke`: one step in the life of a root or JWT key.

use clap::Args;
use secplane_proto::spire::api::server::localauthority::v1::{
    ActivateJwtAuthorityRequest, ActivateX509AuthorityRequest, AuthorityState, GetJwtAuthorityStateRequest,
    GetX509AuthorityStateRequest, PrepareJwtAuthorityRequest, PrepareX509AuthorityRequest,
    RevokeJwtAuthorityRequest, RevokeX509AuthorityRequest, RevokeX509UpstreamAuthorityRequest,
    TaintJwtAuthorityRequest, TaintX509AuthorityRequest, TaintX509UpstreamAuthorityRequest,
    local_authority_client::LocalAuthorityClient,
};
use serde::Serialize;
use tonic::{Request, Status, metadata::MetadataValue, transport::Channel};

use crate::{
    ca_client::CaOptions,
    failure::{Failure, Kind},
    output::{Instant, Report, facts, shown},
};

/// Which line, and how firmly.
#[derive(Debug, Args)]
pub(crate) struct LineOptions {
    /// The keys that sign JWT-SVIDs instead of the roots
    #[arg(long)]
    pub(super) jwt: bool,
    /// Take the step though somebody may be left without trust
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) ca: CaOptions,
}

/// As [`LineOptions`], and which authority.
#[derive(Debug, Args)]
pub(crate) struct StepArgs {
    /// The authority's ID; by default the one whose turn it is
    #[arg(value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    line: LineOptions,
}

/// As [`StepArgs`], for what does not sign any more.
#[derive(Debug, Args)]
pub(crate) struct WithdrawalArgs {
    #[command(flatten)]
    step: StepArgs,
    /// The ID is the subject key identifier of an outside root, which goes with every CA of ours below it
    #[arg(long, requires = "id", conflicts_with = "jwt")]
    upstream: bool,
}

/// A step that is taken with one authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Activate,
    Taint,
    Revoke,
}

/// What a step did.
#[derive(Serialize)]
pub(super) struct Taken {
    id: String,
    step: &'static str,
    expires_at: Option<Instant>,
}

impl Report for Taken {
    fn table(&self) -> String {
        facts([
            ("Authority", self.id.clone()),
            ("Done", self.step.to_owned()),
            ("Expires", shown(self.expires_at)),
        ])
    }
}

pub(super) async fn prepare(options: &LineOptions) -> Result<Taken, Failure> {
    let mut line = Line::connect(options).await?;
    let state = line.prepare(options.force).await.map_err(|status| failed("prepare", &status))?;
    Ok(Taken::of(state, "prepared"))
}

pub(super) async fn take(step: Step, args: &StepArgs) -> Result<Taken, Failure> {
    let mut line = Line::connect(&args.line).await?;
    let id = match &args.id {
        Some(id) => id.clone(),
        None => line.whose_turn(step).await?,
    };
    let state = line.take(step, &id, args.line.force).await.map_err(|status| failed(step.verb(), &status))?;
    Ok(Taken::of(state, step.done()))
}

/// Taints or revokes an old authority, or an outside root with what is below it.
pub(super) async fn withdraw(step: Step, args: &WithdrawalArgs) -> Result<Taken, Failure> {
    let StepArgs { id, line: options } = &args.step;
    match id {
        Some(id) if args.upstream => {
            let mut line = Line::connect(options).await?;
            let taken = line.withdraw_outside_root(step, id, options.force).await;
            taken.map_err(|status| failed(step.verb(), &status))?;
            Ok(Taken { id: id.clone(), step: step.done(), expires_at: None })
        }
        _ => take(step, &args.step).await,
    }
}

impl Taken {
    fn of(state: AuthorityState, step: &'static str) -> Self {
        Self { id: state.authority_id, step, expires_at: Instant::from_unix(state.expires_at) }
    }
}

impl Step {
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Taint => "taint",
            Self::Revoke => "revoke",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Activate => "activated",
            Self::Taint => "tainted",
            Self::Revoke => "revoked",
        }
    }
}

pub(super) fn failed(verb: &str, status: &Status) -> Failure {
    Failure::from_status(format!("{verb} an authority"), status)
}

/// Those of a line that have a turn.
pub(super) struct States {
    pub(super) active: Option<AuthorityState>,
    pub(super) prepared: Option<AuthorityState>,
    pub(super) old: Option<AuthorityState>,
}

/// The roots or the JWT keys of a CA.
pub(super) struct Line {
    client: LocalAuthorityClient<Channel>,
    jwt: bool,
}

impl Line {
    pub(super) async fn connect(options: &LineOptions) -> Result<Self, Failure> {
        Ok(Self { client: options.ca.connect().await?.local_authority(), jwt: options.jwt })
    }

    pub(super) async fn states(&mut self) -> Result<States, Failure> {
        let found = if self.jwt {
            let states = self.client.get_jwt_authority_state(GetJwtAuthorityStateRequest {}).await;
            states.map(|states| {
                let states = states.into_inner();
                States { active: states.active, prepared: states.prepared, old: states.old }
            })
        } else {
            let states = self.client.get_x509_authority_state(GetX509AuthorityStateRequest {}).await;
            states.map(|states| {
                let states = states.into_inner();
                States { active: states.active, prepared: states.prepared, old: states.old }
            })
        };
        found.map_err(|status| Failure::from_status("look at the authorities", &status))
    }

    async fn whose_turn(&mut self, step: Step) -> Result<String, Failure> {
        let states = self.states().await?;
        let (found, state) = match step {
            Step::Activate => (states.prepared, "prepared"),
            Step::Taint | Step::Revoke => (states.old, "old"),
        };
        found.map(|state| state.authority_id).ok_or_else(|| {
            Failure::new(
                Kind::NotFound,
                format!("{} an authority", step.verb()),
                format_args!("none is {state}"),
            )
            .remedy("`secctl ca authorities` shows where each one stands")
        })
    }

    pub(super) async fn prepare(&mut self, force: bool) -> Result<AuthorityState, Status> {
        let state = if self.jwt {
            let request = asking(PrepareJwtAuthorityRequest {}, force);
            self.client.prepare_jwt_authority(request).await?.into_inner().prepared_authority
        } else {
            let request = asking(PrepareX509AuthorityRequest {}, force);
            self.client.prepare_x509_authority(request).await?.into_inner().prepared_authority
        };
        state.ok_or_else(no_authority)
    }

    async fn withdraw_outside_root(&mut self, step: Step, id: &str, force: bool) -> Result<(), Status> {
        let subject_key_id = id.to_owned();
        match step {
            Step::Taint => {
                let request = asking(TaintX509UpstreamAuthorityRequest { subject_key_id }, force);
                self.client.taint_x509_upstream_authority(request).await.map(drop)
            }
            Step::Revoke => {
                let request = asking(RevokeX509UpstreamAuthorityRequest { subject_key_id }, force);
                self.client.revoke_x509_upstream_authority(request).await.map(drop)
            }
            Step::Activate => Err(Status::invalid_argument("an outside root signs nothing here")),
        }
    }

    pub(super) async fn take(&mut self, step: Step, id: &str, force: bool) -> Result<AuthorityState, Status> {
        let authority_id = id.to_owned();
        let client = &mut self.client;
        let state = match (step, self.jwt) {
            (Step::Activate, false) => {
                let request = asking(ActivateX509AuthorityRequest { authority_id }, force);
                client.activate_x509_authority(request).await?.into_inner().activated_authority
            }
            (Step::Activate, true) => {
                let request = asking(ActivateJwtAuthorityRequest { authority_id }, force);
                client.activate_jwt_authority(request).await?.into_inner().activated_authority
            }
            (Step::Taint, false) => {
                let request = asking(TaintX509AuthorityRequest { authority_id }, force);
                client.taint_x509_authority(request).await?.into_inner().tainted_authority
            }
            (Step::Taint, true) => {
                let request = asking(TaintJwtAuthorityRequest { authority_id }, force);
                client.taint_jwt_authority(request).await?.into_inner().tainted_authority
            }
            (Step::Revoke, false) => {
                let request = asking(RevokeX509AuthorityRequest { authority_id }, force);
                client.revoke_x509_authority(request).await?.into_inner().revoked_authority
            }
            (Step::Revoke, true) => {
                let request = asking(RevokeJwtAuthorityRequest { authority_id }, force);
                client.revoke_jwt_authority(request).await?.into_inner().revoked_authority
            }
        };
        state.ok_or_else(no_authority)
    }
}

fn no_authority() -> Status {
    Status::internal("the CA answered without an authority")
}

/// A request with the metadata that forces a step.
fn asking<T>(message: T, force: bool) -> Request<T> {
    let mut request = Request::new(message);
    if force {
        request.metadata_mut().insert("secplane-force", MetadataValue::from_static("true"));
    }
    request
}
