//! The gRPC face of the SPIFFE Workload API.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use http::Extensions;
use secplane_proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, WitBundlesRequest, WitBundlesResponse, WitsvidRequest, WitsvidResponse,
    X509BundlesRequest, X509BundlesResponse, X509svidRequest, X509svidResponse,
    spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer},
};
use tonic::{Request, Response, Status, service::Routes};

use super::{
    Agent,
    room::Room,
    updates::{ATTESTATION_FAILED, View},
};
use crate::{
    api::{AcceptedUnix, Admission, with_reflection},
    attest::AttestedProcess,
};

/// Every call must carry this, so that a browser or a proxy cannot be made to send one by accident
/// (SPIFFE Workload Endpoint, section 4.1).
const SECURITY_HEADER: &str = "workload.spiffe.io";

/// The SPIFFE Workload API of a node.
pub struct WorkloadApi(Arc<Agent>);

impl WorkloadApi {
    /// The routes to put on a Unix socket: the service, and reflection. The latter asks for no security header: it
    /// tells nothing of any workload.
    #[must_use]
    pub fn routes(agent: Arc<Agent>) -> Routes {
        let (counting, stop) = (Arc::clone(&agent), agent.shutdown.clone());
        let admit = move |extensions: &Extensions| -> Result<Admission, Status> {
            let process = process(extensions)?;
            Ok(Box::new(counting.begin_call(&process)?))
        };
        let routes = Routes::new(SpiffeWorkloadApiServer::new(Self(agent)));
        with_reflection(routes, &[secplane_proto::WORKLOAD_DESCRIPTORS], admit, stop)
    }

    fn view<T>(&self, request: &Request<T>) -> Result<View, Status> {
        let header = request.metadata().get(SECURITY_HEADER);
        if header.is_none_or(|value| value != "true") {
            return Err(Status::invalid_argument("security header missing from request"));
        }
        View::new(Arc::clone(&self.0), process(request.extensions())?, Room::of(request.metadata()))
    }
}

/// The process at the other end of a connection.
fn process(extensions: &Extensions) -> Result<Arc<AttestedProcess>, Status> {
    extensions
        .get::<AcceptedUnix>()
        .and_then(AcceptedUnix::process)
        .ok_or_else(|| Status::unavailable(ATTESTATION_FAILED))
}

fn no_wit() -> Status {
    Status::unimplemented("workload identity tokens are not issued by this authority; use an X.509-SVID")
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for WorkloadApi {
    type FetchX509SVIDStream = BoxStream<'static, Result<X509svidResponse, Status>>;
    type FetchX509BundlesStream = BoxStream<'static, Result<X509BundlesResponse, Status>>;
    type FetchJWTBundlesStream = BoxStream<'static, Result<JwtBundlesResponse, Status>>;
    type FetchWITSVIDStream = BoxStream<'static, Result<WitsvidResponse, Status>>;
    type FetchWITBundlesStream = BoxStream<'static, Result<WitBundlesResponse, Status>>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        Ok(Response::new(Box::pin(self.view(&request)?.x509_svids())))
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        Ok(Response::new(Box::pin(self.view(&request)?.x509_bundles())))
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        self.view(&request)?.jwt_svids(request.into_inner()).await.map(Response::new)
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        Ok(Response::new(Box::pin(self.view(&request)?.jwt_bundles())))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        self.view(&request)?.validate_jwt_svid(request.into_inner()).await.map(Response::new)
    }

    async fn fetch_witsvid(
        &self,
        request: Request<WitsvidRequest>,
    ) -> Result<Response<Self::FetchWITSVIDStream>, Status> {
        self.view(&request)?;
        Err(no_wit())
    }

    async fn fetch_wit_bundles(
        &self,
        request: Request<WitBundlesRequest>,
    ) -> Result<Response<Self::FetchWITBundlesStream>, Status> {
        self.view(&request)?;
        Err(no_wit())
    }
}
