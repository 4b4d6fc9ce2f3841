//! Kubernetes ConfigMaps as documents: signed cards and trust bundles lie in them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The key of a card.
pub(crate) const CARD_KEY: &str = "agent-card.json";

/// A ConfigMap, as far as it matters here.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigMap {
    api_version: String,
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
}

/// The first of some keys that a ConfigMap (YAML or JSON) has, with its value.
pub(crate) fn value(text: &str, keys: &[&str]) -> Result<(String, String), ConfigMapError> {
    let map: ConfigMap =
        serde_saphyr::from_str(text).map_err(|error| ConfigMapError::Unreadable(error.to_string()))?;
    if map.kind != "ConfigMap" {
        return Err(ConfigMapError::Kind(map.kind));
    }
    keys.iter()
        .find_map(|key| Some(((*key).to_owned(), map.data.get(*key)?.clone())))
        .ok_or_else(|| ConfigMapError::NoKey(keys.join("` or `")))
}

/// Whether a text claims to be a ConfigMap.
pub(crate) fn is_config_map(text: &str) -> bool {
    serde_saphyr::from_str::<ConfigMap>(text).is_ok_and(|map| map.kind == "ConfigMap")
}

/// The ConfigMap in which an agent's signed card lies: `<agent>-card-signed`.
pub(crate) fn of_card(agent: &str, namespace: Option<&str>, card: &str) -> Result<String, ConfigMapError> {
    for name in std::iter::once(agent).chain(namespace) {
        if !is_name(name) {
            return Err(ConfigMapError::Name(name.to_owned()));
        }
    }
    let map = ConfigMap {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        metadata: Metadata { name: format!("{agent}-card-signed"), namespace: namespace.map(str::to_owned) },
        data: [(CARD_KEY.to_owned(), card.to_owned())].into(),
    };
    serde_saphyr::to_string(&map).map_err(|error| ConfigMapError::Unreadable(error.to_string()))
}

/// A DNS label, which every Kubernetes name may be, short enough for the suffix.
fn is_name(name: &str) -> bool {
    let is_inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=50).contains(&name.len())
        && name.bytes().all(|byte| is_inner(&byte) || byte == b'-')
        && name.as_bytes().first().is_some_and(is_inner)
        && name.as_bytes().last().is_some_and(is_inner)
}

/// Why a ConfigMap cannot be read or written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ConfigMapError {
    Unreadable(String),
    Kind(String),
    NoKey(String),
    Name(String),
}

impl std::fmt::Display for ConfigMapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(why) => write!(f, "it is no ConfigMap: {why}"),
            Self::Kind(kind) => write!(f, "it is a {kind:?}, not a ConfigMap"),
            Self::NoKey(keys) => write!(f, "the ConfigMap has no `{keys}`"),
            Self::Name(name) => write!(
                f,
                "{name:?} is no Kubernetes name: lower-case letters, digits and `-`, at most 50 characters"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[test]
    fn writes_what_the_habit_is() {
        let text = of_card("web", Some("demo"), "{\n  \"name\": \"Web\"\n}\n").unwrap();
        let document: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(document["apiVersion"], "v1");
        assert_eq!(document["kind"], "ConfigMap");
        assert_eq!(document["metadata"]["name"], "web-card-signed");
        assert_eq!(document["metadata"]["namespace"], "demo");
        assert_eq!(document["data"]["agent-card.json"], "{\n  \"name\": \"Web\"\n}\n");
    }

    #[test]
    fn takes_the_first_key_that_is_there() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: spire-bundle, uid: x}\ndata:\n  bundle.crt: |\n    PEM\n";
        assert_eq!(
            value(text, &["bundle.spiffe", "bundle.crt"]),
            Ok(("bundle.crt".to_owned(), "PEM\n".to_owned()))
        );
        assert_eq!(value(text, &[CARD_KEY]), Err(ConfigMapError::NoKey(CARD_KEY.to_owned())));
        let json = r#"{"apiVersion":"v1","kind":"ConfigMap","data":{"agent-card.json":"{}"}}"#;
        assert_eq!(value(json, &[CARD_KEY]).unwrap().1, "{}");
    }

    #[rstest]
    #[case("apiVersion: v1\nkind: Secret\ndata: {}\n")]
    #[case("{}")]
    #[case("-----BEGIN CERTIFICATE-----\n")]
    #[case(": :\n- ")]
    fn rejects_other_documents(#[case] text: &str) {
        assert!(value(text, &[CARD_KEY]).is_err());
        assert!(!is_config_map(text));
    }

    #[rstest]
    #[case("", false)]
    #[case("web", true)]
    #[case("web-2", true)]
    #[case("Web", false)]
    #[case("web-", false)]
    #[case("a\nb", false)]
    fn knows_names(#[case] name: &str, #[case] is_good: bool) {
        assert_eq!(of_card(name, None, "{}").is_ok(), is_good);
    }

    proptest! {
        #[test]
        fn keeps_every_card(card in "\\PC{0,40}\n?") {
            let text = of_card("web", None, &card).unwrap();
            prop_assert_eq!(value(&text, &[CARD_KEY]).unwrap().1, card);
        }
    }
}
