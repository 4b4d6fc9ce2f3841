//! The Workload API as a workload calls it: by its contract on the wire, without a client library.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
};

use http_body_util::{Either, Empty, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use secplane_identity::PrivateKey;
use secplane_proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, X509BundlesRequest, X509BundlesResponse,
    X509svid, X509svidRequest, X509svidResponse, spiffe_workload_api_client::SpiffeWorkloadApiClient,
};
use tonic::{
    Request, Status, Streaming,
    transport::{Channel, Endpoint},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{holder::Holder, soon};

/// A workload at a Workload API socket.
#[derive(Clone)]
pub struct Workload {
    socket: PathBuf,
    client: SpiffeWorkloadApiClient<Channel>,
}

impl Workload {
    /// Connects to a socket.
    ///
    /// # Panics
    /// When the path is not UTF-8.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        let uri = format!("unix:{}", socket.to_str().unwrap());
        let channel = Endpoint::from_shared(uri).unwrap().connect_lazy();
        Self { socket: socket.to_owned(), client: SpiffeWorkloadApiClient::new(channel) }
    }

    /// The endpoint in the form that SPIFFE libraries take.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("unix:{}", self.socket.display())
    }

    /// The client itself, for calls that are not made as they should be.
    #[must_use]
    pub fn client(&self) -> SpiffeWorkloadApiClient<Channel> {
        self.client.clone()
    }

    /// Opens a stream of the X.509-SVIDs.
    ///
    /// # Errors
    /// As the API says.
    pub async fn x509_svids(&self) -> Result<Updates<X509svidResponse>, Status> {
        let stream = self.client().fetch_x509svid(asking(X509svidRequest {})).await?;
        Ok(Updates(stream.into_inner()))
    }

    /// Opens a stream of the X.509 trust bundles.
    ///
    /// # Errors
    /// As the API says.
    pub async fn x509_bundles(&self) -> Result<Updates<X509BundlesResponse>, Status> {
        let stream = self.client().fetch_x509_bundles(asking(X509BundlesRequest {})).await?;
        Ok(Updates(stream.into_inner()))
    }

    /// Opens a stream of the keys of JWT-SVIDs.
    ///
    /// # Errors
    /// As the API says.
    pub async fn jwt_bundles(&self) -> Result<Updates<JwtBundlesResponse>, Status> {
        let stream = self.client().fetch_jwt_bundles(asking(JwtBundlesRequest {})).await?;
        Ok(Updates(stream.into_inner()))
    }

    /// Fetches JWT-SVIDs for an audience: all of them, or that of one SPIFFE ID.
    ///
    /// # Errors
    /// As the API says.
    pub async fn jwt_svids(&self, audience: &[&str], spiffe_id: &str) -> Result<Vec<Jwtsvid>, Status> {
        let audience = audience.iter().map(ToString::to_string).collect();
        let request = JwtsvidRequest { audience, spiffe_id: spiffe_id.to_owned() };
        Ok(self.client().fetch_jwtsvid(asking(request)).await?.into_inner().svids)
    }
}

/// A request with the header that every call must carry.
#[must_use]
pub fn asking<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", tonic::metadata::MetadataValue::from_static("true"));
    request
}

/// Begins a call at a Workload API socket and never finishes it. The call lives as long as what this answers.
///
/// # Panics
/// When there is no such socket.
pub async fn begin_and_never_finish(socket: &Path) -> impl Sized {
    let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = |path| {
        http::Request::post(format!("http://workload{path}"))
            .header("content-type", "application/grpc")
            .header("workload.spiffe.io", "true")
    };
    let endless = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let endless = request("/SpiffeWorkloadAPI/FetchX509SVID").body(Either::Left(endless)).unwrap();
    let call = tokio::spawn(sender.send_request(endless));
    // The server has the call once it has answered what was sent after it.
    let next = request("/nothing/Here").body(Either::Right(Empty::<Bytes>::new())).unwrap();
    sender.send_request(next).await.unwrap();
    (sender, connection, call)
}

/// A stream of the Workload API.
pub struct Updates<T>(Streaming<T>);

impl<T> Updates<T> {
    /// The next message.
    ///
    /// # Panics
    /// When none comes.
    pub async fn next(&mut self) -> T {
        soon("an update of the Workload API", self.0.message())
            .await
            .expect("the stream goes on")
            .expect("the stream does not end")
    }

    /// As [`Updates::next`], however long it takes.
    ///
    /// # Panics
    /// When the stream ends.
    pub async fn next_whenever(&mut self) -> T {
        self.0.message().await.expect("the stream goes on").expect("the stream does not end")
    }

    /// How the stream ends, when no further message comes before.
    ///
    /// # Panics
    /// When a message comes, or the stream ends without a status.
    pub async fn end(&mut self) -> Status {
        match soon("the end of a stream of the Workload API", self.0.message()).await {
            Err(status) => status,
            Ok(_) => panic!("the stream should have ended with an error"),
        }
    }
}

impl Updates<X509svidResponse> {
    /// The next message, which must hold one identity.
    ///
    /// # Panics
    /// When it does not.
    pub async fn next_svid(&mut self) -> X509svid {
        let mut message = self.next().await;
        assert_eq!(message.svids.len(), 1, "{:?}", message.svids);
        message.svids.remove(0)
    }
}

/// The identity of a message as the holder of its certificate.
///
/// # Panics
/// When the key or the chain cannot be read.
#[must_use]
pub fn holder(svid: &X509svid) -> Holder {
    let key = PrivateKey::from_pkcs8(svid.x509_svid_key.clone()).unwrap();
    Holder::new(key, split(&svid.x509_svid))
}

/// The certificates of a field that holds one after another.
///
/// # Panics
/// When it holds anything else.
#[must_use]
pub fn split(concatenated: &[u8]) -> Vec<Vec<u8>> {
    let mut certificates = Vec::new();
    let mut left = concatenated;
    while !left.is_empty() {
        let (rest, _) = X509Certificate::from_der(left).unwrap();
        certificates.push(left[..left.len() - rest.len()].to_vec());
        left = rest;
    }
    certificates
}
