//! `grpc.reflection`: what there is to call on a socket, for tools that have no `.proto` files, such as grpcurl.
//!
//! It tells nothing that the published `.proto` files do not. But its calls stay open for as long as the callers like,
//! so each is admitted as the other calls of the socket are, and ends when the daemon stops.

use std::{
    convert::Infallible,
    future,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{StreamExt, future::BoxFuture};
use http::Extensions;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body, server::NamedService, service::Routes};
use tonic_reflection::{pb, server::Builder};
use tower::Service;

/// The largest request, in bytes: it holds a name.
const LARGEST_REQUEST: usize = 64 * 1024;

/// What an admitted call holds until it ends.
pub(crate) type Admission = Box<dyn Send>;

/// Who may ask: decided by what the connection says of the caller.
type Admit = Arc<dyn Fn(&Extensions) -> Result<Admission, Status> + Send + Sync>;

/// Adds reflection to the routes of a socket, in both versions that clients speak. The services are those of
/// `descriptors`, each an encoded `FileDescriptorSet`.
pub(crate) fn with_reflection(
    routes: Routes,
    descriptors: &[&'static [u8]],
    admit: impl Fn(&Extensions) -> Result<Admission, Status> + Send + Sync + 'static,
    stop: CancellationToken,
) -> Routes {
    let built = builder(descriptors)
        .build_v1()
        .and_then(|v1| builder(descriptors).build_v1alpha().map(|v1alpha| (v1, v1alpha)));
    let (v1, v1alpha) = match built {
        Ok(built) => built,
        Err(error) => {
            tracing::error!(%error, "the descriptors in this program cannot be read; there is no gRPC reflection");
            return routes;
        }
    };
    let admit: Admit = Arc::new(admit);
    routes
        .add_service(Admitting {
            service: v1.max_decoding_message_size(LARGEST_REQUEST),
            admit: Arc::clone(&admit),
            stop: stop.clone(),
        })
        .add_service(Admitting { service: v1alpha.max_decoding_message_size(LARGEST_REQUEST), admit, stop })
}

/// Both versions tell of one another.
fn builder(descriptors: &[&'static [u8]]) -> Builder<'static> {
    let of_reflection = [pb::v1::FILE_DESCRIPTOR_SET, pb::v1alpha::FILE_DESCRIPTOR_SET];
    let mut builder = Builder::configure().include_reflection_service(false);
    for set in descriptors.iter().copied().chain(of_reflection) {
        builder = builder.register_encoded_file_descriptor_set(set);
    }
    builder
}

/// A service whose calls are admitted first, and asked nothing more once the daemon stops.
#[derive(Clone)]
struct Admitting<S> {
    service: S,
    admit: Admit,
    stop: CancellationToken,
}

impl<S: NamedService> NamedService for Admitting<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Admitting<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let admission = match (self.admit)(request.extensions()) {
            Ok(admission) => admission,
            Err(refused) => return Box::pin(future::ready(Ok(refused.into_http()))),
        };
        let stopped = self.stop.clone().cancelled_owned();
        let request =
            request.map(|asked| Body::new(StreamBody::new(BodyStream::new(asked).take_until(stopped))));
        let answer = self.service.call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(response.map(|answers| {
                Body::new(answers.map_frame(move |frame| {
                    let _until_the_end = &admission;
                    frame
                }))
            }))
        })
    }
}
