//! Denied calls are seen by the audit log, whichever service denied them.

use axum::{
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use tonic::{Code, Status, service::Routes};

use super::services::Origin;
use crate::witness::Witness;

/// The routes, with a witness of each call that they deny.
pub(super) fn witnessed(routes: Routes, witness: Witness, insecure: bool) -> Routes {
    Routes::from(routes.into_axum_router().layer(from_fn_with_state((witness, insecure), call)))
}

async fn call(State((witness, insecure)): State<(Witness, bool)>, request: Request, next: Next) -> Response {
    let method = request.uri().clone();
    let origin = Origin::of(request.extensions());
    let response = next.run(request).await;
    // An answer that is nothing but a status has it in its headers.
    if let Some(status) = Status::from_header_map(response.headers())
        && matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated)
        && let Some(caller) = origin.caller(insecure)
    {
        witness.denied(&caller, method.path(), status.message());
    }
    response
}
