//! `spire.api.server.svid.v1.SVID`.

use std::{sync::Arc, time::Duration};

use secplane_identity::SpiffeId;
use secplane_proto::spire::api::{
    server::svid::v1::{
        BatchNewWitsvidRequest, BatchNewWitsvidResponse, BatchNewX509svidRequest, BatchNewX509svidResponse,
        MintJwtsvidRequest, MintJwtsvidResponse, MintWitsvidRequest, MintWitsvidResponse,
        MintX509svidRequest, MintX509svidResponse, NewDownstreamX509caRequest, NewDownstreamX509caResponse,
        NewJwtsvidRequest, NewJwtsvidResponse, svid_server::Svid,
    },
    types,
};
use tonic::{Request, Response, Status};

use super::{downstream, refusal::ToStatus, services::Services, svid_jwt};
use crate::{
    access::Permission,
    audit::Action,
    authority::{CertificateRequest, DnsName, RequestError, Subject},
    instant::unix,
    issuance::{Order, Requester},
};

pub(super) struct SvidApi(pub(super) Arc<Services>);

#[tonic::async_trait]
impl Svid for SvidApi {
    /// An admin mints an X.509-SVID for any workload of the trust domain: the request's URI name says which, its
    /// DNS names come along. The admin is who grants them.
    async fn mint_x509svid(
        &self,
        request: Request<MintX509svidRequest>,
    ) -> Result<Response<MintX509svidResponse>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        let MintX509svidRequest { csr, ttl } = request.into_inner();
        let wanted = self.wanted(&csr, ttl);
        let Wanted { request, id, dns_names, lifetime } =
            self.0.noted(&caller, Action::CertificateIssue, "", wanted)?;
        let signed = self
            .0
            .issuance
            .issue(Order {
                request,
                subject: Subject::X509Svid { id: id.clone(), dns_names },
                lifetime,
                requester: Requester::from(&caller),
                entry_id: None,
                renews: None,
            })
            .await
            .map_err(|error| error.to_status())?;
        Ok(Response::new(MintX509svidResponse {
            svid: Some(types::X509svid {
                cert_chain: signed.chain.iter().map(|der| der.to_vec()).collect(),
                id: Some(types::Spiffeid {
                    trust_domain: id.trust_domain().to_string(),
                    path: id.path().to_owned(),
                }),
                expires_at: unix(signed.not_after()),
                hint: String::new(),
            }),
        }))
    }

    async fn mint_jwtsvid(
        &self,
        request: Request<MintJwtsvidRequest>,
    ) -> Result<Response<MintJwtsvidResponse>, Status> {
        svid_jwt::mint(&self.0, request).await
    }

    async fn mint_witsvid(
        &self,
        request: Request<MintWitsvidRequest>,
    ) -> Result<Response<MintWitsvidResponse>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        Err(Status::unimplemented("workload identity tokens are not issued by this authority"))
    }

    async fn batch_new_x509svid(
        &self,
        request: Request<BatchNewX509svidRequest>,
    ) -> Result<Response<BatchNewX509svidResponse>, Status> {
        let caller = self.0.caller(&request)?;
        let agent = self.0.agent(&caller).await?;
        self.0.new_x509_svids(&caller, &agent, request.into_inner().params).await.map(Response::new)
    }

    async fn new_jwtsvid(
        &self,
        request: Request<NewJwtsvidRequest>,
    ) -> Result<Response<NewJwtsvidResponse>, Status> {
        let caller = self.0.caller(&request)?;
        let agent = self.0.agent(&caller).await?;
        svid_jwt::new_for_entry(&self.0, &caller, &agent, request.into_inner()).await.map(Response::new)
    }

    async fn batch_new_witsvid(
        &self,
        request: Request<BatchNewWitsvidRequest>,
    ) -> Result<Response<BatchNewWitsvidResponse>, Status> {
        self.0.agent(&self.0.caller(&request)?).await?;
        Err(Status::unimplemented("workload identity tokens are not issued by this authority"))
    }

    async fn new_downstream_x509ca(
        &self,
        request: Request<NewDownstreamX509caRequest>,
    ) -> Result<Response<NewDownstreamX509caResponse>, Status> {
        downstream::new_ca(&self.0, request).await.map(Response::new)
    }
}

/// What an admin wants minted.
struct Wanted {
    request: CertificateRequest,
    id: SpiffeId,
    dns_names: Vec<DnsName>,
    lifetime: Option<Duration>,
}

impl SvidApi {
    fn wanted(&self, csr: &[u8], ttl: i32) -> Result<Wanted, Status> {
        let lifetime = lifetime(ttl.into())?;
        let request = CertificateRequest::parse(csr)
            .map_err(|error| csr_refusal(&error, "failed to verify CSR signature"))?;
        let id = self.requested_id(&request)?;
        let dns_names = request
            .names()
            .dns_names
            .iter()
            .map(|name| DnsName::parse(name))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Status::invalid_argument(format!("CSR DNS name is not valid: {error}")))?;
        Ok(Wanted { request, id, dns_names, lifetime })
    }

    fn requested_id(&self, request: &CertificateRequest) -> Result<SpiffeId, Status> {
        let refuse = |reason: String| Err(Status::invalid_argument(reason));
        let uri = match request.names().uris.as_slice() {
            [uri] => uri,
            [] => {
                return refuse(
                    "CSR URI SAN is required: the certificate request names no SPIFFE ID; give it one URI name"
                        .into(),
                );
            }
            many => {
                return refuse(format!(
                    "only one URI SAN is expected: the certificate request has {} URI names",
                    many.len()
                ));
            }
        };
        if let Some(address) = request.names().ip_addresses.first() {
            return Err(Status::permission_denied(format!(
                "the certificate request asks for IP:{address}; an X.509-SVID carries no IP addresses here"
            )));
        }
        let id = SpiffeId::parse(uri).map_err(|error| {
            Status::invalid_argument(format!("CSR URI SAN is not a valid SPIFFE ID: `{uri}`: {error}"))
        })?;
        let own = self.0.issuance.trust_domain();
        if id.trust_domain() != own {
            return refuse(format!("CSR URI SAN is invalid: {id} is not a member of trust domain {own}"));
        }
        if id.is_reserved() {
            return refuse(format!(
                "CSR URI SAN is invalid: {id} lies below /spire, which is kept for servers and agents"
            ));
        }
        Ok(id)
    }
}

/// Why a certificate request is refused, beginning as clients of this API know it; `signature` is how that begins when
/// its signature is wrong.
pub(super) fn csr_refusal(error: &RequestError, signature: &str) -> Status {
    let status = error.to_status();
    let beginning = match error {
        RequestError::Empty => return Status::invalid_argument("missing CSR"),
        RequestError::Signature | RequestError::WeakSignature => signature,
        RequestError::WantsCa | RequestError::NotGranted { .. } => return status,
        _ => "malformed CSR",
    };
    Status::new(status.code(), format!("{beginning}: {}", status.message()))
}

/// A wanted lifetime in seconds; 0 is the default.
pub(super) fn lifetime(seconds: i64) -> Result<Option<Duration>, Status> {
    let seconds = u64::try_from(seconds).map_err(|_| Status::invalid_argument("the ttl is negative"))?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}
