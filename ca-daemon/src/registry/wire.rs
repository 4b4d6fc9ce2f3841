//! An entry as the protobuf message `spire.api.types.Entry`: on the wire and at rest.

use std::time::Duration;

use secplane_identity::{SpiffeId, TrustDomain, spiffe_id::SpiffeIdError};
use secplane_proto::spire::api::types;

use super::{Entry, EntryError, EntryFields, EntryId, Selector, SortedSet};
use crate::{
    authority::DnsName,
    instant::{from_unix, unix},
};

impl Entry {
    /// The whole entry as a message.
    #[must_use]
    pub fn to_wire(&self) -> types::Entry {
        let fields = self.fields();
        types::Entry {
            id: self.id().as_str().to_owned(),
            spiffe_id: Some(spiffe_id_to_wire(&fields.spiffe_id)),
            parent_id: Some(spiffe_id_to_wire(&fields.parent_id)),
            selectors: fields
                .selectors
                .iter()
                .map(|s| types::Selector { r#type: s.kind().to_owned(), value: s.value().to_owned() })
                .collect(),
            x509_svid_ttl: seconds(fields.x509_svid_ttl),
            federates_with: fields.federates_with.iter().map(TrustDomain::to_string).collect(),
            admin: fields.admin,
            downstream: fields.downstream,
            expires_at: fields.expires_at.map_or(0, unix),
            dns_names: fields.dns_names.iter().map(|name| name.as_str().to_owned()).collect(),
            revision_number: self.revision(),
            store_svid: fields.store_svid,
            jwt_svid_ttl: seconds(fields.jwt_svid_ttl),
            hint: fields.hint.clone(),
            created_at: unix(self.created_at()),
            additional_attributes: Some(types::entry::AdditionalAttributes {
                disable_x509_svid_prefetch: fields.disable_x509_svid_prefetch,
                jwt_svid_include_jti: fields.jwt_svid_include_jti,
            }),
        }
    }
}

impl EntryFields {
    /// Reads the fields of a message. Its revision and time of creation are not the sender's to say. The name of
    /// `own`, this authority's trust domain, is shared by all that are read.
    ///
    /// # Errors
    /// Names the field that cannot be used.
    pub fn from_wire(wire: types::Entry, own: &TrustDomain) -> Result<Self, EntryError> {
        let attributes = wire.additional_attributes.unwrap_or_default();
        let selectors = wire
            .selectors
            .iter()
            .map(|s| Selector::new(&s.r#type, &s.value))
            .collect::<Result<SortedSet<_>, _>>()?;
        let federates_with = wire
            .federates_with
            .iter()
            .map(|name| TrustDomain::parse(name).map_err(|e| EntryError::TrustDomain(e.to_string())))
            .collect::<Result<SortedSet<_>, _>>()?;
        let mut dns_names = Vec::with_capacity(wire.dns_names.len());
        for name in &wire.dns_names {
            let name = DnsName::parse(name)?;
            if !dns_names.contains(&name) {
                dns_names.push(name);
            }
        }
        if wire.expires_at < 0 {
            return Err(EntryError::Negative("expires_at"));
        }
        Ok(Self {
            id: if wire.id.is_empty() { None } else { Some(EntryId::parse(&wire.id)?) },
            spiffe_id: shared_id(wire.spiffe_id, "SPIFFE ID", own)?,
            parent_id: shared_id(wire.parent_id, "parent ID", own)?,
            selectors,
            x509_svid_ttl: lifetime(wire.x509_svid_ttl, "x509_svid_ttl")?,
            jwt_svid_ttl: lifetime(wire.jwt_svid_ttl, "jwt_svid_ttl")?,
            federates_with,
            admin: wire.admin,
            downstream: wire.downstream,
            expires_at: (wire.expires_at > 0).then(|| from_unix(wire.expires_at)),
            dns_names,
            store_svid: wire.store_svid,
            hint: wire.hint,
            disable_x509_svid_prefetch: attributes.disable_x509_svid_prefetch,
            jwt_svid_include_jti: attributes.jwt_svid_include_jti,
        })
    }

    /// Takes the fields that a mask names from another message; no mask names them all.
    ///
    /// # Errors
    /// As [`EntryFields::from_wire`], for the fields that are taken.
    pub fn apply(
        &mut self,
        wire: types::Entry,
        mask: Option<&types::EntryMask>,
        own: &TrustDomain,
    ) -> Result<(), EntryError> {
        // What the mask leaves out may be missing from the message, so it is filled up before it is read.
        let mut merged = wire;
        let kept = |taken: bool| mask.is_some() && !taken;
        let mask = mask.cloned().unwrap_or_default();
        let old = self.clone();
        if kept(mask.spiffe_id) {
            merged.spiffe_id = Some(spiffe_id_to_wire(&old.spiffe_id));
        }
        if kept(mask.parent_id) {
            merged.parent_id = Some(spiffe_id_to_wire(&old.parent_id));
        }
        let new = Self::from_wire(merged, own)?;
        *self = Self {
            id: old.id,
            spiffe_id: new.spiffe_id,
            parent_id: new.parent_id,
            selectors: if kept(mask.selectors) { old.selectors } else { new.selectors },
            x509_svid_ttl: if kept(mask.x509_svid_ttl) { old.x509_svid_ttl } else { new.x509_svid_ttl },
            jwt_svid_ttl: if kept(mask.jwt_svid_ttl) { old.jwt_svid_ttl } else { new.jwt_svid_ttl },
            federates_with: if kept(mask.federates_with) { old.federates_with } else { new.federates_with },
            admin: if kept(mask.admin) { old.admin } else { new.admin },
            downstream: if kept(mask.downstream) { old.downstream } else { new.downstream },
            expires_at: if kept(mask.expires_at) { old.expires_at } else { new.expires_at },
            dns_names: if kept(mask.dns_names) { old.dns_names } else { new.dns_names },
            store_svid: if kept(mask.store_svid) { old.store_svid } else { new.store_svid },
            hint: if kept(mask.hint) { old.hint } else { new.hint },
            disable_x509_svid_prefetch: if kept(mask.additional_attributes) {
                old.disable_x509_svid_prefetch
            } else {
                new.disable_x509_svid_prefetch
            },
            jwt_svid_include_jti: if kept(mask.additional_attributes) {
                old.jwt_svid_include_jti
            } else {
                new.jwt_svid_include_jti
            },
        };
        Ok(())
    }
}

/// Reads a SPIFFE ID of the wire: a trust domain and a path.
///
/// # Errors
/// When it is missing or not the ID of a workload.
pub fn spiffe_id_from_wire(
    wire: Option<types::Spiffeid>,
    role: &'static str,
) -> Result<SpiffeId, EntryError> {
    read_id(wire, role, TrustDomain::parse)
}

/// As [`spiffe_id_from_wire`], with one copy of the name of `own` for all that are read.
fn shared_id(
    wire: Option<types::Spiffeid>,
    role: &'static str,
    own: &TrustDomain,
) -> Result<SpiffeId, EntryError> {
    read_id(wire, role, |name| if name == own.as_str() { Ok(own.clone()) } else { TrustDomain::parse(name) })
}

fn read_id(
    wire: Option<types::Spiffeid>,
    role: &'static str,
    trust_domain: impl FnOnce(&str) -> Result<TrustDomain, SpiffeIdError>,
) -> Result<SpiffeId, EntryError> {
    let refuse = |reason: String| EntryError::SpiffeId { role, reason };
    let wire = wire.ok_or_else(|| refuse("it is missing".into()))?;
    let trust_domain = trust_domain(&wire.trust_domain).map_err(|e| refuse(e.to_string()))?;
    SpiffeId::from_parts(&trust_domain, &wire.path).map_err(|e| refuse(e.to_string()))
}

/// A SPIFFE ID as the wire has it.
#[must_use]
pub fn spiffe_id_to_wire(id: &SpiffeId) -> types::Spiffeid {
    types::Spiffeid { trust_domain: id.trust_domain().to_string(), path: id.path().to_owned() }
}

fn seconds(lifetime: Option<Duration>) -> i32 {
    lifetime.map_or(0, |lifetime| i32::try_from(lifetime.as_secs()).unwrap_or(i32::MAX))
}

fn lifetime(seconds: i32, field: &'static str) -> Result<Option<Duration>, EntryError> {
    let seconds = u64::try_from(seconds).map_err(|_| EntryError::Negative(field))?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}
