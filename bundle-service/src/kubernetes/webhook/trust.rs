//! The `caBundle` of the ValidatingWebhookConfiguration: the roots by which the API server knows this service, kept
//! current as they rotate, and the `failurePolicy` that is configured.
//!
//! The holder of the lease writes, by server-side apply of these fields alone: the rest belongs to whoever installed the
//! configuration.

use std::time::Duration;

use k8s_openapi::{ByteString, api::admissionregistration::v1::ValidatingWebhookConfiguration};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use secplane_identity::{IdentitySource, TrustDomain};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::kubernetes::{MANAGER, config::FailurePolicy, lease::Leadership};

/// How often it is looked whether somebody else changed the configuration.
const LOOK: Duration = Duration::from_secs(30);
/// The pause after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// How long one call may take.
const CALL_WITHIN: Duration = Duration::from_secs(10);

/// Keeps a ValidatingWebhookConfiguration current.
pub(crate) struct Trust {
    pub(crate) client: Client,
    pub(crate) configuration: String,
    pub(crate) failure_policy: Option<FailurePolicy>,
    pub(crate) identity: IdentitySource,
    pub(crate) leadership: Leadership,
}

impl Trust {
    /// Keeps it current until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.keep() => {}
        }
    }

    async fn keep(mut self) {
        let mut failing = false;
        loop {
            self.leadership.held().await;
            let done = timeout(CALL_WITHIN, self.bring_up_to_date()).await;
            let pause = match done {
                Ok(Ok(())) => {
                    failing = false;
                    LOOK
                }
                failed => {
                    if !failing {
                        let error = match failed {
                            Ok(Err(error)) => error.to_string(),
                            _ => "the API server does not answer".to_owned(),
                        };
                        tracing::warn!(
                            configuration = self.configuration,
                            error,
                            "the webhook's configuration is not current; trying again"
                        );
                    }
                    failing = true;
                    AFTER_FAILURE
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = self.identity.changed() => {}
            }
        }
    }

    async fn bring_up_to_date(&self) -> Result<(), TrustError> {
        let snapshot = self.identity.current();
        let own = snapshot.identity.as_ref().map(|identity| identity.id().trust_domain().clone());
        let own: TrustDomain = own.ok_or(TrustError::NoRoots)?;
        let roots = snapshot.bundles.get(&own).ok_or(TrustError::NoRoots)?.to_pem();
        let api: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let found = api.get_opt(&self.configuration).await?.ok_or(TrustError::NotThere)?;
        let Some(patch) = patch(&found, &roots, self.failure_policy) else { return Ok(()) };
        let parameters = PatchParams::apply(MANAGER).force();
        api.patch(&self.configuration, &parameters, &Patch::Apply(&patch)).await?;
        tracing::info!(
            configuration = self.configuration,
            "the webhook's configuration has the current roots"
        );
        Ok(())
    }
}

/// Why the configuration is not current.
#[derive(Debug, thiserror::Error)]
enum TrustError {
    #[error("the service has no roots of its own trust domain at the moment")]
    NoRoots,
    #[error("there is no such ValidatingWebhookConfiguration; apply it, or correct webhook.configuration")]
    NotThere,
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// What to apply; `None` when everything is as it should be.
fn patch(
    found: &ValidatingWebhookConfiguration,
    roots: &str,
    failure_policy: Option<FailurePolicy>,
) -> Option<Value> {
    let webhooks = found.webhooks.as_deref().unwrap_or_default();
    let failure_policy = failure_policy.map(|policy| match policy {
        FailurePolicy::Ignore => "Ignore",
        FailurePolicy::Fail => "Fail",
    });
    let roots = ByteString(roots.as_bytes().to_vec());
    let current = webhooks.iter().all(|webhook| {
        webhook.client_config.ca_bundle.as_ref() == Some(&roots)
            && failure_policy.is_none_or(|policy| webhook.failure_policy.as_deref() == Some(policy))
    });
    if current {
        return None;
    }
    let fields = |name: &String| {
        let mut fields = json!({ "name": name, "clientConfig": { "caBundle": roots } });
        if let Some(policy) = failure_policy {
            fields["failurePolicy"] = policy.into();
        }
        fields
    };
    let webhooks: Vec<Value> = webhooks.iter().map(|webhook| fields(&webhook.name)).collect();
    Some(json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": found.metadata.name },
        "webhooks": webhooks,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(roots: &str, policy: &str) -> ValidatingWebhookConfiguration {
        serde_json::from_value(json!({
            "metadata": { "name": "policies" },
            "webhooks": [{
                "name": "a.example.org",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": policy,
                "clientConfig":
                    { "url": "https://localhost/validate", "caBundle": ByteString(roots.as_bytes().to_vec()) },
            }],
        }))
        .unwrap()
    }

    #[test]
    fn writes_only_what_is_not_so() {
        let found = configuration("roots", "Fail");
        assert_eq!(patch(&found, "roots", None), None);
        assert_eq!(patch(&found, "roots", Some(FailurePolicy::Fail)), None);
        let other_roots = patch(&found, "others", None).unwrap();
        assert_eq!(other_roots["webhooks"][0]["clientConfig"]["caBundle"], "b3RoZXJz");
        assert_eq!(other_roots["webhooks"][0].get("failurePolicy"), None);
        let other_policy = patch(&found, "roots", Some(FailurePolicy::Ignore)).unwrap();
        assert_eq!(other_policy["webhooks"][0]["failurePolicy"], "Ignore");
    }
}
