//! Denied calls are seen by the audit log, whichever service denied them.

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use http::{HeaderMap, Uri};
use http_body_util::BodyExt;
use tonic::{Code, Status, service::Routes};

use super::services::Origin;
use crate::witness::Witness;

/// Who the callers of some routes are.
#[derive(Debug, Clone, Copy)]
pub enum Callers {
    /// Those of the management services.
    OfServices {
        /// Whether anybody is let in.
        insecure: bool,
    },
    /// Workloads of this machine.
    Workloads,
}

/// The routes, with a witness of each call that they deny.
pub fn witnessed(routes: Routes, witness: Witness, callers: Callers) -> Routes {
    Routes::from(routes.into_axum_router().layer(from_fn_with_state((witness, callers), call)))
}

async fn call(
    State((witness, callers)): State<(Witness, Callers)>,
    request: Request,
    next: Next,
) -> Response {
    let call =
        Call { witness, callers, origin: Origin::of(request.extensions()), method: request.uri().clone() };
    let response = next.run(request).await;
    if call.ended(response.headers()) {
        return response;
    }
    // What was begun ends with trailers.
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            if let Some(trailers) = frame.trailers_ref() {
                call.ended(trailers);
            }
            frame
        }))
    })
}

struct Call {
    witness: Witness,
    callers: Callers,
    origin: Origin,
    method: Uri,
}

impl Call {
    /// Whether these say how the call ended. If it was denied, that is taken note of.
    fn ended(&self, headers: &HeaderMap) -> bool {
        let Some(status) = Status::from_header_map(headers) else { return false };
        if matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated) {
            self.denied(status.message());
        }
        true
    }

    fn denied(&self, reason: &str) {
        let method = self.method.path();
        match self.callers {
            Callers::OfServices { insecure } => {
                if let Some(caller) = self.origin.caller(insecure) {
                    self.witness.denied(&caller, method, reason);
                }
            }
            Callers::Workloads => {
                if let Some(peer) = self.origin.local_peer() {
                    self.witness.process_denied(&peer, method, reason);
                }
            }
        }
    }
}
