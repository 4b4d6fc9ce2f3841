//! Which policies apply to which SPIFFE ID.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use secplane_identity::{SpiffeId, TrustDomain};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    policy::{ResourceKey, Scope},
    refusal::Refusal,
};

/// The three kinds of tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TierKind {
    /// The administrator's, which decides.
    Global,
    /// A namespace's.
    Namespace,
    /// One client's.
    Client,
}

impl TierKind {
    /// The package that all of the tier lies in, and its folder in an archive.
    #[must_use]
    pub fn root(self) -> &'static [&'static str] {
        match self {
            Self::Global => &["authbridge"],
            Self::Namespace => &["authbridge", "ns"],
            Self::Client => &["authbridge", "client"],
        }
    }

    /// Its folder in an archive.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Namespace => "ns",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for TierKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "global",
            Self::Namespace => "namespace",
            Self::Client => "client",
        })
    }
}

/// One tier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TierKey {
    /// The one global tier.
    Global,
    /// That of a namespace.
    Namespace(String),
    /// That of a client in a namespace.
    Client(Workload),
}

impl TierKey {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> TierKind {
        match self {
            Self::Global => TierKind::Global,
            Self::Namespace(_) => TierKind::Namespace,
            Self::Client(_) => TierKind::Client,
        }
    }

    /// The namespace that it is of; `None` for the global one.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Global => None,
            Self::Namespace(namespace) => Some(namespace),
            Self::Client(workload) => Some(&workload.namespace),
        }
    }
}

impl fmt::Display for TierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Namespace(namespace) => write!(f, "namespace/{namespace}"),
            Self::Client(Workload { namespace, service_account }) => {
                write!(f, "client/{namespace}/{service_account}")
            }
        }
    }
}

/// The text names no tier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no tier; write it as global, namespace/<namespace> or client/<namespace>/<client>")]
pub struct NoTierKey(String);

impl FromStr for TierKey {
    type Err = NoTierKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split('/').collect::<Vec<_>>().as_slice() {
            ["global"] => Ok(Self::Global),
            ["namespace", namespace] if !namespace.is_empty() => Ok(Self::Namespace((*namespace).to_owned())),
            ["client", namespace, client] if !namespace.is_empty() && !client.is_empty() => {
                let (namespace, service_account) = ((*namespace).to_owned(), (*client).to_owned());
                Ok(Self::Client(Workload { namespace, service_account }))
            }
            _ => Err(NoTierKey(text.to_owned())),
        }
    }
}

impl Serialize for TierKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TierKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A workload, as a SPIFFE ID names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
}

/// What of a resource with `scope: client` names the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ClientSelector {
    /// `metadata.name`, as existing clusters depend on.
    #[default]
    #[serde(rename = "name")]
    Name,
    /// `spec.clientID`.
    #[serde(rename = "clientID")]
    ClientId,
}

/// How the path of a SPIFFE ID names namespace and service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Namespace,
    ServiceAccount,
}

const NAMESPACE: &str = "{namespace}";
const SERVICE_ACCOUNT: &str = "{service_account}";

impl Default for PathTemplate {
    fn default() -> Self {
        Self(vec![
            Part::Literal("ns".to_owned()),
            Part::Namespace,
            Part::Literal("sa".to_owned()),
            Part::ServiceAccount,
        ])
    }
}

impl PathTemplate {
    /// The workload that an ID names, if its path fits.
    #[must_use]
    pub fn workload(&self, id: &SpiffeId) -> Option<Workload> {
        let segments: Vec<&str> = id.segments().collect();
        if segments.len() != self.0.len() {
            return None;
        }
        let (mut namespace, mut service_account) = (None, None);
        for (part, segment) in self.0.iter().zip(segments) {
            match part {
                Part::Literal(literal) if literal == segment => {}
                Part::Literal(_) => return None,
                Part::Namespace => namespace = Some(segment.to_owned()),
                Part::ServiceAccount => service_account = Some(segment.to_owned()),
            }
        }
        Some(Workload { namespace: namespace?, service_account: service_account? })
    }

    /// The path by which an ID names a workload.
    #[must_use]
    pub fn path(&self, workload: &Workload) -> String {
        let mut path = String::new();
        for part in &self.0 {
            path.push('/');
            path.push_str(match part {
                Part::Literal(literal) => literal,
                Part::Namespace => &workload.namespace,
                Part::ServiceAccount => &workload.service_account,
            });
        }
        path
    }
}

impl FromStr for PathTemplate {
    type Err = PathTemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_prefix('/').ok_or(PathTemplateError::NoSlash)?;
        let parts = path.split('/').map(|segment| match segment {
            NAMESPACE => Ok(Part::Namespace),
            SERVICE_ACCOUNT => Ok(Part::ServiceAccount),
            literal if literal.contains(['{', '}']) => Err(PathTemplateError::Segment(literal.to_owned())),
            literal => Ok(Part::Literal(literal.to_owned())),
        });
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        for (part, name) in [(Part::Namespace, NAMESPACE), (Part::ServiceAccount, SERVICE_ACCOUNT)] {
            if parts.iter().filter(|other| **other == part).count() != 1 {
                return Err(PathTemplateError::Placeholder(name));
            }
        }
        // What no SPIFFE ID can have would never match.
        let sample = text.replace(NAMESPACE, "a").replace(SERVICE_ACCOUNT, "b");
        SpiffeId::parse(&format!("spiffe://example.org{sample}"))
            .map_err(|error| PathTemplateError::Path(error.to_string()))?;
        Ok(Self(parts))
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Literal(literal) => write!(f, "/{literal}"),
            Part::Namespace => write!(f, "/{NAMESPACE}"),
            Part::ServiceAccount => write!(f, "/{SERVICE_ACCOUNT}"),
        })
    }
}

impl Serialize for PathTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PathTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text is no path template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathTemplateError {
    /// No leading slash.
    #[error("a path template begins with `/`")]
    NoSlash,
    /// A placeholder that is not a whole segment, or an unknown one.
    #[error("`{0}` is neither a plain segment nor `{NAMESPACE}` or `{SERVICE_ACCOUNT}` alone")]
    Segment(String),
    /// A placeholder is missing or there more than once.
    #[error("a path template has `{0}` exactly once")]
    Placeholder(&'static str),
    /// Not the path of a SPIFFE ID.
    #[error("no SPIFFE ID has such a path: {0}")]
    Path(String),
}

/// The rules by which policies and identities meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The trust domain whose identities have tiers of their own.
    pub trust_domain: TrustDomain,
    /// The namespace whose resources may have `scope: global`.
    pub system_namespace: String,
    /// How an ID names namespace and service account.
    pub path_template: PathTemplate,
    /// What of a resource names the client.
    pub client_selector: ClientSelector,
}

impl Selection {
    /// The usual rules for a trust domain.
    #[must_use]
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            system_namespace: "secplane-system".to_owned(),
            path_template: PathTemplate::default(),
            client_selector: ClientSelector::default(),
        }
    }

    /// The workload that an ID names; `None` for those that only the global tier applies to: IDs of other trust
    /// domains, and IDs of another form.
    #[must_use]
    pub fn workload(&self, id: &SpiffeId) -> Option<Workload> {
        if *id.trust_domain() != self.trust_domain {
            return None;
        }
        self.path_template.workload(id)
    }

    /// The tier that a resource belongs to.
    ///
    /// # Errors
    /// When there is none: a global one outside the system namespace, or a client one that names no client.
    pub fn tier(
        &self,
        key: &ResourceKey,
        scope: Scope,
        client_id: Option<&str>,
    ) -> Result<TierKey, Box<Refusal>> {
        let refuse = |message: String, advice: &str| {
            Err(Box::new(Refusal::new("scope", message).of(key).suggest(advice)))
        };
        let client = |name: &str| {
            let (namespace, service_account) = (key.namespace.clone(), name.to_owned());
            Ok(TierKey::Client(Workload { namespace, service_account }))
        };
        match (scope, self.client_selector) {
            (Scope::Global, _) if key.namespace == self.system_namespace => Ok(TierKey::Global),
            (Scope::Global, _) => refuse(
                format!(
                    "`scope: global` is only allowed in the namespace `{}`, not in `{}`",
                    self.system_namespace, key.namespace
                ),
                "use `scope: namespace`, or ask the administrator",
            ),
            (Scope::Namespace, _) => Ok(TierKey::Namespace(key.namespace.clone())),
            (Scope::Client, ClientSelector::Name) => client(&key.name),
            (Scope::Client, ClientSelector::ClientId) => match client_id {
                Some(id) => client(id),
                None => refuse(
                    "`scope: client` names its client by `spec.clientID`, which is missing".to_owned(),
                    "set spec.clientID to the service account",
                ),
            },
        }
    }

    /// A warning when a resource's name and its `spec.clientID` name two clients.
    #[must_use]
    pub fn disagreement(&self, key: &ResourceKey, scope: Scope, client_id: Option<&str>) -> Option<Refusal> {
        let id = client_id.filter(|id| scope == Scope::Client && *id != key.name)?;
        let used = match self.client_selector {
            ClientSelector::Name => &key.name,
            ClientSelector::ClientId => id,
        };
        let message = format!(
            "metadata.name is `{}` and spec.clientID is `{id}`; the policy applies to `{used}`",
            key.name
        );
        Some(Refusal::new("client_disagrees", message).of(key).warning().suggest("make the two equal"))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn selection() -> Selection {
        Selection::new(TrustDomain::parse("example.org").unwrap())
    }

    #[rstest]
    #[case("spiffe://example.org/ns/a/sa/b", Some(("a", "b")))]
    #[case("spiffe://example.org/ns/a/sa/b/c", None)]
    #[case("spiffe://example.org/ns/a/b", None)]
    #[case("spiffe://example.org/NS/a/sa/b", None)]
    #[case("spiffe://other.org/ns/a/sa/b", None)]
    fn names_workloads_of_the_own_trust_domain(#[case] id: &str, #[case] expected: Option<(&str, &str)>) {
        let found = selection().workload(&SpiffeId::parse(id).unwrap());
        assert_eq!(found.as_ref().map(|w| (w.namespace.as_str(), w.service_account.as_str())), expected);
    }

    #[rstest]
    #[case("/k8s/{service_account}/in/{namespace}", "spiffe://example.org/k8s/b/in/a", true)]
    #[case("/k8s/{service_account}/in/{namespace}", "spiffe://example.org/k8s/b/of/a", false)]
    fn follows_the_template(#[case] template: &str, #[case] id: &str, #[case] fits: bool) {
        let template: PathTemplate = template.parse().unwrap();
        let workload = template.workload(&SpiffeId::parse(id).unwrap());
        let expected = Workload { namespace: "a".to_owned(), service_account: "b".to_owned() };
        assert_eq!(id.ends_with(&template.path(&expected)), fits);
        assert_eq!(workload, fits.then_some(expected));
    }

    #[rstest]
    #[case("ns/{namespace}/sa/{service_account}", PathTemplateError::NoSlash)]
    #[case("/ns/{namespace}", PathTemplateError::Placeholder(SERVICE_ACCOUNT))]
    #[case("/{namespace}/{namespace}/{service_account}", PathTemplateError::Placeholder(NAMESPACE))]
    #[case("/ns-{namespace}/{service_account}", PathTemplateError::Segment("ns-{namespace}".to_owned()))]
    fn refuses_other_templates(#[case] text: &str, #[case] error: PathTemplateError) {
        assert_eq!(text.parse::<PathTemplate>(), Err(error));
    }

    #[test]
    fn prints_a_template_as_it_is_written() {
        assert_eq!(PathTemplate::default().to_string(), "/ns/{namespace}/sa/{service_account}");
        assert_eq!(PathTemplate::default().to_string().parse(), Ok(PathTemplate::default()));
    }

    #[test]
    fn global_is_for_the_system_namespace() {
        let system = ResourceKey::new("secplane-system", "x");
        assert_eq!(selection().tier(&system, Scope::Global, None), Ok(TierKey::Global));
        let refusal = selection().tier(&ResourceKey::new("team-a", "x"), Scope::Global, None).unwrap_err();
        assert_eq!(refusal.code, "scope");
    }

    #[rstest]
    #[case("global", Some(TierKey::Global))]
    #[case("namespace/team-a", Some(TierKey::Namespace("team-a".to_owned())))]
    #[case("client/team-a/agent", Some(TierKey::Client(Workload {
        namespace: "team-a".to_owned(), service_account: "agent".to_owned()
    })))]
    #[case("namespace", None)]
    #[case("namespace/", None)]
    #[case("client/team-a", None)]
    #[case("global/x", None)]
    #[case("", None)]
    fn a_tier_has_a_name(#[case] text: &str, #[case] expected: Option<TierKey>) {
        assert_eq!(text.parse::<TierKey>().ok(), expected);
        assert!(expected.is_none_or(|tier| tier.to_string() == text));
    }

    #[test]
    fn the_client_is_selected_as_set() {
        let key = ResourceKey::new("team-a", "one");
        let workload = |sa: &str| {
            TierKey::Client(Workload { namespace: "team-a".to_owned(), service_account: sa.to_owned() })
        };
        assert_eq!(selection().tier(&key, Scope::Client, Some("two")), Ok(workload("one")));
        let by_id = Selection { client_selector: ClientSelector::ClientId, ..selection() };
        assert_eq!(by_id.tier(&key, Scope::Client, Some("two")), Ok(workload("two")));
        assert!(by_id.tier(&key, Scope::Client, None).is_err());
        let warning = by_id.disagreement(&key, Scope::Client, Some("two")).unwrap();
        assert!(warning.message.contains("applies to `two`"), "{warning}");
        assert_eq!(by_id.disagreement(&key, Scope::Namespace, Some("two")), None);
        assert_eq!(by_id.disagreement(&key, Scope::Client, Some("one")), None);
    }
}
