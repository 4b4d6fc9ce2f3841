//! Registration entries as a YAML file says them: what `export` writes and `apply` and `import` read.

use std::{collections::BTreeSet, fmt, path::Path, time::Duration};

use secplane_identity::{SpiffeId, TrustDomain};
use secplane_proto::spire::api::types;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        self, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

use super::{Selector, local_agent};
use crate::{
    ca_client::{shown_id, wire_id},
    commands::wire_ttl,
    failure::Failure,
    files,
    output::Instant,
};

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: usize = 256 * 1024 * 1024;

/// One entry. What is left out has its default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryDocument {
    /// The entry's ID. Without it the entry is recognized by SPIFFE ID, parent and selectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    pub(super) spiffe_id: SpiffeId,
    /// The CA's own agent when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) parent_id: Option<SpiffeId>,
    pub(super) selectors: BTreeSet<Selector>,
    #[serde(default, skip_serializing_if = "Ttl::is_default")]
    x509_svid_ttl: Ttl,
    #[serde(default, skip_serializing_if = "Ttl::is_default")]
    jwt_svid_ttl: Ttl,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    federates_with: BTreeSet<TrustDomain>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dns_names: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) hint: String,
    #[serde(default, skip_serializing_if = "is_false")]
    admin: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    downstream: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    store_svid: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Instant>,
    #[serde(default, skip_serializing_if = "is_false")]
    disable_x509_svid_prefetch: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    jwt_svid_include_jti: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// What makes an entry the same as another.
pub(super) type Key = (SpiffeId, SpiffeId, BTreeSet<Selector>);

impl EntryDocument {
    /// The same entry as the CA would show it, so that two documents that say the same are equal.
    fn normalized(mut self) -> Result<Self, Failure> {
        let mut seen = BTreeSet::new();
        self.dns_names = std::mem::take(&mut self.dns_names)
            .into_iter()
            .map(|name| name.to_ascii_lowercase())
            .filter(|name| seen.insert(name.clone()))
            .collect();
        if self.parent_id.is_none() {
            self.parent_id = Some(local_agent(self.spiffe_id.trust_domain())?);
        }
        Ok(self)
    }

    pub(super) fn key(&self) -> Key {
        let parent = self.parent_id.clone().unwrap_or_else(|| self.spiffe_id.clone());
        (self.spiffe_id.clone(), parent, self.selectors.clone())
    }

    /// The fields other than the ID, as text for people and for comparing; an empty text is the default.
    pub(super) fn fields(&self) -> [(Field, String); 14] {
        let yes = |value: bool| if value { "yes".to_owned() } else { String::new() };
        [
            (Field::SpiffeId, self.spiffe_id.to_string()),
            (Field::ParentId, self.parent_id.as_ref().map(ToString::to_string).unwrap_or_default()),
            (Field::Selectors, joined(&self.selectors)),
            (Field::X509SvidTtl, self.x509_svid_ttl.to_string()),
            (Field::JwtSvidTtl, self.jwt_svid_ttl.to_string()),
            (Field::FederatesWith, joined(&self.federates_with)),
            (Field::DnsNames, self.dns_names.join(" ")),
            (Field::Hint, self.hint.clone()),
            (Field::Admin, yes(self.admin)),
            (Field::Downstream, yes(self.downstream)),
            (Field::StoreSvid, yes(self.store_svid)),
            (Field::ExpiresAt, self.expires_at.map(|at| at.to_string()).unwrap_or_default()),
            (Field::DisableX509SvidPrefetch, yes(self.disable_x509_svid_prefetch)),
            (Field::JwtSvidIncludeJti, yes(self.jwt_svid_include_jti)),
        ]
    }

    /// The entry as a message.
    pub(super) fn to_wire(&self) -> types::Entry {
        types::Entry {
            id: self.id.clone().unwrap_or_default(),
            spiffe_id: Some(wire_id(&self.spiffe_id)),
            parent_id: self.parent_id.as_ref().map(wire_id),
            selectors: self
                .selectors
                .iter()
                .map(|s| types::Selector { r#type: s.kind.clone(), value: s.value.clone() })
                .collect(),
            x509_svid_ttl: self.x509_svid_ttl.0,
            jwt_svid_ttl: self.jwt_svid_ttl.0,
            federates_with: self.federates_with.iter().map(ToString::to_string).collect(),
            dns_names: self.dns_names.clone(),
            hint: self.hint.clone(),
            admin: self.admin,
            downstream: self.downstream,
            store_svid: self.store_svid,
            expires_at: self.expires_at.map_or(0, Instant::unix),
            additional_attributes: Some(types::entry::AdditionalAttributes {
                disable_x509_svid_prefetch: self.disable_x509_svid_prefetch,
                jwt_svid_include_jti: self.jwt_svid_include_jti,
            }),
            ..types::Entry::default()
        }
    }

    /// An entry of the CA.
    pub(super) fn from_wire(wire: types::Entry) -> Result<Self, Failure> {
        let what = format!("read the entry {}", wire.id);
        let unreadable = |why: &dyn fmt::Display| Failure::refused(what.clone(), why);
        let id = |wire| shown_id(Option::as_ref(wire)).parse::<SpiffeId>().map_err(|e| unreadable(&e));
        let attributes = wire.additional_attributes.unwrap_or_default();
        Ok(Self {
            spiffe_id: id(&wire.spiffe_id)?,
            parent_id: Some(id(&wire.parent_id)?),
            selectors: wire
                .selectors
                .into_iter()
                .map(|s| Selector { kind: s.r#type, value: s.value })
                .collect(),
            x509_svid_ttl: Ttl(wire.x509_svid_ttl),
            jwt_svid_ttl: Ttl(wire.jwt_svid_ttl),
            federates_with: wire
                .federates_with
                .iter()
                .map(|name| TrustDomain::parse(name).map_err(|e| unreadable(&e)))
                .collect::<Result<_, _>>()?,
            dns_names: wire.dns_names,
            hint: wire.hint,
            admin: wire.admin,
            downstream: wire.downstream,
            store_svid: wire.store_svid,
            expires_at: Instant::from_unix(wire.expires_at),
            disable_x509_svid_prefetch: attributes.disable_x509_svid_prefetch,
            jwt_svid_include_jti: attributes.jwt_svid_include_jti,
            id: Some(wire.id),
        })
    }
}

fn joined<T: ToString>(members: &BTreeSet<T>) -> String {
    members.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// A field of an entry, as files name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Field {
    SpiffeId,
    ParentId,
    Selectors,
    #[serde(rename = "x509_svid_ttl")]
    X509SvidTtl,
    JwtSvidTtl,
    FederatesWith,
    DnsNames,
    Hint,
    Admin,
    Downstream,
    StoreSvid,
    ExpiresAt,
    #[serde(rename = "disable_x509_svid_prefetch")]
    DisableX509SvidPrefetch,
    JwtSvidIncludeJti,
}

impl Field {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SpiffeId => "spiffe_id",
            Self::ParentId => "parent_id",
            Self::Selectors => "selectors",
            Self::X509SvidTtl => "x509_svid_ttl",
            Self::JwtSvidTtl => "jwt_svid_ttl",
            Self::FederatesWith => "federates_with",
            Self::DnsNames => "dns_names",
            Self::Hint => "hint",
            Self::Admin => "admin",
            Self::Downstream => "downstream",
            Self::StoreSvid => "store_svid",
            Self::ExpiresAt => "expires_at",
            Self::DisableX509SvidPrefetch => "disable_x509_svid_prefetch",
            Self::JwtSvidIncludeJti => "jwt_svid_include_jti",
        }
    }

    /// Marks the field in a mask.
    pub(super) fn mark(self, mask: &mut types::EntryMask) {
        let field = match self {
            Self::SpiffeId => &mut mask.spiffe_id,
            Self::ParentId => &mut mask.parent_id,
            Self::Selectors => &mut mask.selectors,
            Self::X509SvidTtl => &mut mask.x509_svid_ttl,
            Self::JwtSvidTtl => &mut mask.jwt_svid_ttl,
            Self::FederatesWith => &mut mask.federates_with,
            Self::DnsNames => &mut mask.dns_names,
            Self::Hint => &mut mask.hint,
            Self::Admin => &mut mask.admin,
            Self::Downstream => &mut mask.downstream,
            Self::StoreSvid => &mut mask.store_svid,
            Self::ExpiresAt => &mut mask.expires_at,
            Self::DisableX509SvidPrefetch | Self::JwtSvidIncludeJti => &mut mask.additional_attributes,
        };
        *field = true;
    }
}

/// A validity in whole seconds, 0 for the CA's default; `30m` in files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ttl(i32);

impl Ttl {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_default(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u64::try_from(self.0) {
            Ok(0) | Err(_) => Ok(()),
            Ok(seconds) => write!(f, "{}", humantime::format_duration(Duration::from_secs(seconds))),
        }
    }
}

impl Serialize for Ttl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let ttl = humantime::parse_duration(&text)
            .map_err(|error| de::Error::custom(format!("`{text}` is no duration such as 30m: {error}")))?;
        i32::try_from(wire_ttl(Some(ttl)))
            .map(Self)
            .map_err(|_| de::Error::custom(format!("`{text}` is too long a validity")))
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|why| de::Error::custom(format!("`{text}`: {why}")))
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One YAML document: an entry, or a list of entries.
struct Documents(Vec<EntryDocument>);

impl<'de> Deserialize<'de> for Documents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Documents;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an entry or a list of entries")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Documents, A::Error> {
                let entry = EntryDocument::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Documents(vec![entry]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Documents, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Documents)
            }

            fn visit_unit<E>(self) -> Result<Documents, E> {
                Ok(Documents(Vec::new()))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

/// Reads the entries of a file; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Vec<EntryDocument>, Failure> {
    let text = files::read_text(path, MAX_FILE_BYTES)?;
    let entries = parse(&text).map_err(|why| {
        let what = format!("read the entries of `{}`", path.display());
        Failure::refused(what, why).remedy("see `secctl entry export` for the form of the file")
    })?;
    entries.into_iter().map(EntryDocument::normalized).collect()
}

pub(super) fn parse(text: &str) -> Result<Vec<EntryDocument>, String> {
    let options = serde_saphyr::options! { with_snippet: false };
    let documents: Vec<Documents> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| error.to_string())?;
    Ok(documents.into_iter().flat_map(|Documents(entries)| entries).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const WEB: &str = "spiffe_id: spiffe://example.org/web\nselectors: [unix:uid:1]\n";

    fn one(text: &str) -> EntryDocument {
        let mut entries = parse(text).unwrap();
        assert_eq!(entries.len(), 1);
        entries.remove(0)
    }

    #[rstest]
    #[case::one(WEB.to_owned(), 1)]
    #[case::several(format!("# two\n---\n{WEB}---\n{WEB}"), 2)]
    #[case::list(format!("- {}\n- {}\n", WEB.trim_end().replace('\n', "\n  "), WEB.trim_end().replace('\n', "\n  ")), 2)]
    #[case::nothing(String::new(), 0)]
    #[case::empty_list("[]\n".to_owned(), 0)]
    #[case::json(r#"[{"spiffe_id": "spiffe://example.org/web", "selectors": ["unix:uid:1"]}]"#.to_owned(), 1)]
    fn reads_documents_and_lists(#[case] text: String, #[case] count: usize) {
        assert_eq!(parse(&text).unwrap().len(), count);
    }

    #[rstest]
    #[case::unknown_field(format!("{WEB}ttl: 30m\n"), "ttl")]
    #[case::no_selectors("spiffe_id: spiffe://example.org/web\n".to_owned(), "selectors")]
    #[case::half_a_selector("spiffe_id: spiffe://example.org/web\nselectors: [unix]\n".to_owned(), "TYPE:VALUE")]
    #[case::bad_id("spiffe_id: spiffe://Example.org/web\nselectors: [unix:uid:1]\n".to_owned(), "a-z")]
    #[case::bad_duration(format!("{WEB}x509_svid_ttl: soon\n"), "soon")]
    #[case::long_duration(format!("{WEB}x509_svid_ttl: 100y\n"), "too long")]
    #[case::bad_instant(format!("{WEB}expires_at: tomorrow\n"), "tomorrow")]
    #[case::text("web\n".to_owned(), "an entry or a list of entries")]
    fn says_what_is_wrong_in_a_file(#[case] text: String, #[case] said: &str) {
        let why = parse(&text).unwrap_err();
        assert!(why.contains(said), "{why}");
    }

    #[test]
    fn keeps_every_field() {
        let text = "id: web\nspiffe_id: spiffe://example.org/web\nparent_id: spiffe://example.org/spire/agent/a\n\
                    selectors: [unix:uid:1, 'unix:path:/a:b']\nx509_svid_ttl: 30m\njwt_svid_ttl: 90s\n\
                    federates_with: [b.net, a.net]\ndns_names: [b.example.org, a.example.org]\nhint: main\n\
                    admin: true\ndownstream: true\nstore_svid: true\nexpires_at: 2096-10-02T07:06:40Z\n\
                    disable_x509_svid_prefetch: true\njwt_svid_include_jti: true\n";
        let entry = one(text);
        assert!(entry.fields().iter().all(|(_, value)| !value.is_empty()), "{:?}", entry.fields());
        assert_eq!(EntryDocument::from_wire(entry.to_wire()).unwrap(), entry);
        assert_eq!(one(&serde_saphyr::to_string(&entry).unwrap()), entry);
    }

    #[test]
    fn leaves_out_what_is_the_default() {
        let mut mask = types::EntryMask::default();
        let entry = one(WEB).normalized().unwrap();
        assert_eq!(entry.parent_id.as_ref().unwrap().path(), "/spire/agent/local");
        let written = serde_saphyr::to_string(&entry).unwrap();
        assert_eq!(written.lines().count(), 4, "SPIFFE ID, parent, and a list of one selector: {written}");
        for (field, _) in entry.fields() {
            field.mark(&mut mask);
            assert_eq!(serde_json::to_value(field).unwrap(), field.name());
        }
        let all = types::EntryMask {
            spiffe_id: true,
            parent_id: true,
            selectors: true,
            x509_svid_ttl: true,
            federates_with: true,
            admin: true,
            downstream: true,
            expires_at: true,
            dns_names: true,
            revision_number: false,
            store_svid: true,
            jwt_svid_ttl: true,
            hint: true,
            created_at: false,
            additional_attributes: true,
        };
        assert_eq!(mask, all, "whatever an admin can say can be changed");
    }

    #[test]
    fn reads_dns_names_as_the_ca_does() {
        let entry = one(&format!("{WEB}dns_names: [B.org, a.org, b.ORG]\n")).normalized().unwrap();
        assert_eq!(entry.dns_names, ["b.org", "a.org"]);
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }
    }
}
