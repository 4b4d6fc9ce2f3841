//! JWT-SVIDs for the workloads of this node: tokens, the keys to verify them with, and verifying them for a workload.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::{Stream, future::try_join_all};
use prost_types::{ListValue, Struct, Value as WireValue, value::Kind};
use secplane_identity::{SpiffeId, TrustBundleSet, trust_bundle::TrustBundleError};
use secplane_proto::workload::{
    JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse,
};
use serde_json::Value;
use tonic::{Code, Status};

use super::updates::{Answer, NO_IDENTITY, View};
use crate::{
    authority::{JwtSignError, JwtSubject, verify_jwt_svid},
    issuance::Requester,
    jwt_svids::{JwtIssueError, JwtOrder, token_id},
    registry::Entry,
};

const NO_AUDIENCE: &str = "audience must be specified";

impl View {
    /// One token for each identity of the workload, or for the one that it asks for.
    pub(super) async fn jwt_svids(mut self, request: JwtsvidRequest) -> Result<JwtsvidResponse, Status> {
        let JwtsvidRequest { audience, spiffe_id } = request;
        if audience.is_empty() {
            return Err(Status::invalid_argument(NO_AUDIENCE));
        }
        let wanted = match spiffe_id.as_str() {
            "" => None,
            text => Some(SpiffeId::parse(text).map_err(|error| {
                Status::invalid_argument(format!("the requested SPIFFE ID is not usable: {error}"))
            })?),
        };
        let mut entries = self.entries_or_hold().await?;
        let mut hints = BTreeSet::new();
        // The older entry has the hint; a second identity under it could not be told apart.
        entries.retain(|entry| {
            let hint = &entry.fields().hint;
            hint.is_empty() || hints.insert(hint.clone())
        });
        if let Some(wanted) = wanted {
            entries.retain(|entry| entry.fields().spiffe_id == wanted);
        }
        if entries.is_empty() {
            return Err(Status::permission_denied(NO_IDENTITY));
        }
        // Together, so that they share one durable write.
        let svids = try_join_all(entries.iter().map(|entry| self.jwt_svid(entry, &audience))).await?;
        Ok(JwtsvidResponse { svids })
    }

    /// The entries of the workload; if there are none yet, those that come within the time of holding.
    async fn entries_or_hold(&mut self) -> Result<Vec<Arc<Entry>>, Status> {
        loop {
            match self.entries_of_workload().await {
                Err(status) if status.code() == Code::PermissionDenied => {
                    if !self.hold().await? {
                        return Err(status);
                    }
                }
                result => return result,
            }
        }
    }

    async fn jwt_svid(&self, entry: &Entry, audience: &[String]) -> Result<Jwtsvid, Status> {
        let fields = entry.fields();
        let issued = async {
            let token_id = fields.jwt_svid_include_jti.then(token_id).transpose()?;
            let order = JwtOrder {
                subject: JwtSubject { id: fields.spiffe_id.clone(), audience: audience.to_vec(), token_id },
                lifetime: self.agent.jwt_svids.granted_lifetime(entry),
                requester: Requester::local(self.requester()),
                entry_id: Some(entry.id().clone()),
            };
            self.agent.jwt_svids.issue(order).await
        };
        let signed = issued.await.map_err(|error| match error {
            JwtIssueError::Sign(JwtSignError::Audience) => Status::invalid_argument(error.to_string()),
            error => {
                tracing::error!(entry = %entry.id(), %error, "a JWT-SVID could not be issued");
                Status::unavailable(format!("no JWT-SVID could be issued for {}", fields.spiffe_id))
            }
        })?;
        Ok(Jwtsvid { spiffe_id: fields.spiffe_id.to_string(), svid: signed.token, hint: fields.hint.clone() })
    }

    /// The keys that the workload verifies tokens with.
    pub(super) fn jwt_bundles(self) -> impl Stream<Item = Result<JwtBundlesResponse, Status>> {
        self.updates(async |view: &mut Self| view.jwt_bundles_answer().await)
    }

    async fn jwt_bundles_answer(&mut self) -> Result<Answer<JwtBundlesResponse>, Status> {
        let entries = self.entries_of_workload().await?;
        let until = entries.iter().filter_map(|entry| entry.fields().expires_at).min();
        let bundle = Arc::clone(&self.bundle.borrow_and_update());
        let foreign = self.foreign_bundles(&entries);
        let own_and_foreign =
            std::iter::once(bundle.as_ref()).chain(foreign.iter().map(|b| b.trust_bundle()));
        let bundles = own_and_foreign
            .map(|bundle| Ok((bundle.trust_domain().id(), bundle.to_jwt_key_set()?.to_string().into_bytes())))
            .collect::<Result<_, TrustBundleError>>();
        let bundles = bundles.map_err(|error| {
            tracing::error!(%error, "the JWT keys cannot be said");
            Status::unavailable("the JWT keys cannot be handed out; the authority's log says why")
        })?;
        Ok(Answer { message: JwtBundlesResponse { bundles }, until })
    }

    /// Verifies a token for the workload, which may have no identity itself.
    pub(super) async fn validate_jwt_svid(
        mut self,
        request: ValidateJwtsvidRequest,
    ) -> Result<ValidateJwtsvidResponse, Status> {
        let ValidateJwtsvidRequest { audience, svid } = request;
        if audience.is_empty() {
            return Err(Status::invalid_argument(NO_AUDIENCE));
        }
        if svid.is_empty() {
            return Err(Status::invalid_argument("svid must be specified"));
        }
        let selectors = self.attest().await?;
        let now = self.agent.issuance.clock().now();
        let entries = self.agent.registry.of_workload(&self.agent.id, &selectors, now);
        let mut bundles: TrustBundleSet = self.bundle.borrow().as_ref().clone().into();
        for foreign in self.foreign_bundles(&entries) {
            bundles.insert(foreign.trust_bundle().clone());
        }
        let verified = verify_jwt_svid(&svid, &bundles, &audience, now)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let claims = verified.claims.into_iter().map(|(name, value)| (name, to_wire(value))).collect();
        Ok(ValidateJwtsvidResponse {
            spiffe_id: verified.id.to_string(),
            claims: Some(Struct { fields: claims }),
        })
    }
}

/// JSON as the well-known message says it. Its depth is bounded by the parser's (128).
fn to_wire(value: Value) -> WireValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text),
        Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.into_iter().map(to_wire).collect() })
        }
        Value::Object(members) => {
            let fields = members.into_iter().map(|(name, value)| (name, to_wire(value))).collect();
            Kind::StructValue(Struct { fields })
        }
    };
    WireValue { kind: Some(kind) }
}
