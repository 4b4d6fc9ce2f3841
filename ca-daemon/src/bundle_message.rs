//! Trust bundles on the wire: our own as it is served, and foreign ones as they are fetched and kept.

use secplane_identity::TrustBundle;
use secplane_proto::spire::api::types;

use crate::instant::unix;

/// A trust bundle as a message.
pub(crate) fn to_wire(bundle: &TrustBundle) -> types::Bundle {
    types::Bundle {
        trust_domain: bundle.trust_domain().to_string(),
        x509_authorities: bundle
            .authorities()
            .map(|root| types::X509Certificate { asn1: root.der.to_vec(), tainted: bundle.is_tainted(root) })
            .collect(),
        jwt_authorities: bundle
            .jwt_authorities()
            .iter()
            .map(|key| types::JwtKey {
                public_key: key.public_key_info.clone(),
                key_id: key.key_id.clone(),
                expires_at: key.expires_at.map(unix).unwrap_or_default(),
                tainted: key.tainted,
            })
            .collect(),
        refresh_hint: i64::try_from(bundle.refresh_hint_seconds()).unwrap_or(i64::MAX),
        sequence_number: bundle.sequence(),
        ..Default::default()
    }
}
