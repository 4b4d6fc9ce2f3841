//! Reading the configuration again while the daemon runs.
//!
//! Some keys take effect at once; the others are named, keep their value, and take effect at the next start. A
//! configuration that is not usable changes nothing at all.

use std::{collections::BTreeMap, sync::Arc};

use secplane_configuration::logging;
use serde_json::Value;

use crate::{
    api::Services,
    audit::{Action, Event},
    config::{Config, ConfigError},
};

/// The keys, or groups of keys, that can change while the daemon runs.
const RELOADABLE: &[&str] = &[
    "log.filter",
    "validity",
    "rotation",
    "jwt",
    "limits",
    "pruning",
    "workload_api.hold",
    "crl.validity",
    "wrapping_key",
];
/// The keys whose values are compared and replaced whole: they are of one kind or another.
const WHOLE: &[&str] = &["wrapping_key"];

/// What a new configuration changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The keys that have a new value now.
    pub changed: Vec<String>,
    /// The keys whose new value needs a restart.
    pub need_restart: Vec<String>,
}

/// Takes what was read into effect, and says in the log and in the audit log what became of it.
pub async fn reload(services: &Services, read: Result<Config, ConfigError>) {
    let event = Event::by_daemon(Action::ConfigurationReload, "configuration");
    let applied = match read {
        Ok(new) => apply(services, &new).await,
        Err(error) => Err(error),
    };
    let event = match applied {
        Ok(done) => {
            tracing::info!(changed = ?done.changed, "the configuration was read again");
            if !done.need_restart.is_empty() {
                tracing::warn!(keys = ?done.need_restart, "these keys keep their value until the next start");
            }
            event.with("changed", done.changed.join(" ")).with("need_restart", done.need_restart.join(" "))
        }
        Err(error) => {
            tracing::error!(%error, "the configuration was read again and is refused; nothing changes");
            event.failed(error.to_string())
        }
    };
    if let Err(error) = services.issuance.store().record(event).await {
        tracing::error!(%error, "the reload could not be written to the audit log");
    }
}

/// Takes a new configuration into effect as far as that can be done.
///
/// # Errors
/// When the new values contradict those that stay; then nothing has changed.
async fn apply(services: &Services, new: &Config) -> Result<Reloaded, ConfigError> {
    let current = services.settings.load_full();
    let (next, reloaded) = merge(&current, new)?;
    // First what can be refused.
    if next.wrapping_key != current.wrapping_key {
        services
            .keys
            .read_wrapping_key_from(next.wrapping_key.clone())
            .await
            .map_err(|error| ConfigError::Invalid { key: "wrapping_key", reason: error.to_string() })?;
    }
    if reloaded.changed.iter().any(|key| key == "log.filter")
        && let Some(filter) = logging::filter()
    {
        filter
            .set(&next.log.filter)
            .map_err(|error| ConfigError::Invalid { key: "log.filter", reason: error.to_string() })?;
    }
    services.issuance.set_lifetimes(next.lifetimes());
    services.jwt_svids.set_settings(next.jwt_settings());
    services.lifecycle.set_settings(next.lifecycle(), next.authority_lifetimes());
    services.revoker.set_list_validity(next.crl.validity);
    services.limits.set(&next.limits);
    services.settings.store(Arc::new(next));
    Ok(reloaded)
}

/// The current configuration with those values of the new one that can change.
fn merge(current: &Config, new: &Config) -> Result<(Config, Reloaded), ConfigError> {
    let unreadable = |error: serde_json::Error| ConfigError::Invalid { key: "", reason: error.to_string() };
    let mut next = serde_json::to_value(current).map_err(unreadable)?;
    let new = serde_json::to_value(new).map_err(unreadable)?;
    let (before, after) = (leaves(&next), leaves(&new));
    let mut reloaded = Reloaded::default();
    for key in before.keys().chain(after.keys().filter(|key| !before.contains_key(*key))) {
        if before.get(key) == after.get(key) {
            continue;
        }
        if is_reloadable(key) {
            set(&mut next, key, after.get(key).cloned().unwrap_or(Value::Null));
            reloaded.changed.push(key.clone());
        } else {
            reloaded.need_restart.push(key.clone());
        }
    }
    let next: Config = serde_json::from_value(next).map_err(unreadable)?;
    next.check()?;
    Ok((next, reloaded))
}

fn is_reloadable(key: &str) -> bool {
    RELOADABLE.iter().any(|group| key == *group || key.starts_with(&format!("{group}.")))
}

/// Every value with its path, such as `validity.x509_svid`. Lists count as values.
fn leaves(config: &Value) -> BTreeMap<String, Value> {
    fn collect(value: &Value, path: &str, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(members) if !WHOLE.contains(&path) => {
                for (name, member) in members {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    collect(member, &path, into);
                }
            }
            value => {
                into.insert(path.to_owned(), value.clone());
            }
        }
    }
    let mut leaves = BTreeMap::new();
    collect(config, "", &mut leaves);
    leaves
}

fn set(config: &mut Value, path: &str, value: Value) {
    let place = path.split('.').try_fold(config, |place, name| {
        place.as_object_mut().map(|members| members.entry(name).or_insert(Value::Null))
    });
    if let Some(place) = place {
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secplane_configuration::from_yaml;

    use super::*;
    use crate::keys::WrappingKeySource;

    const LEAST: &str = "trust_domain: example.org\ndata_dir: data\nwrapping_key: {file: key}\n";

    fn config(more: &str) -> Config {
        from_yaml(&format!("{LEAST}{more}")).unwrap()
    }

    #[test]
    fn takes_what_can_change_and_names_what_cannot() {
        let more = "validity: {x509_svid: 30m}\nlisten: 127.0.0.1:9\nlog: {filter: debug, format: json}\nlimits: {signatures: 7}\ncrl: {url: http://ca/crl}\nworkload_api: {hold: 1s, agent_path: /a}";
        let new = Config { wrapping_key: WrappingKeySource::Env("KEY".to_owned()), ..config(more) };
        let (next, reloaded) = merge(&config(""), &new).unwrap();
        assert_eq!(
            reloaded.changed,
            ["limits.signatures", "log.filter", "validity.x509_svid", "workload_api.hold", "wrapping_key"]
        );
        assert_eq!(reloaded.need_restart, ["crl.url", "listen", "log.format", "workload_api.agent_path"]);
        let mut expected = config("");
        expected.validity.x509_svid = Duration::from_secs(30 * 60);
        expected.workload_api.hold = Duration::from_secs(1);
        expected.limits.signatures = 7;
        expected.wrapping_key = WrappingKeySource::Env("KEY".to_owned());
        expected.log.filter = "debug".to_owned();
        assert_eq!(next, expected);
    }

    #[test]
    fn finds_nothing_to_do_in_the_same_configuration() {
        let (next, reloaded) = merge(&config(""), &config("")).unwrap();
        assert_eq!((next, reloaded), (config(""), Reloaded::default()));
    }

    #[test]
    fn refuses_what_is_not_usable() {
        let mut new = config("validity: {x509_svid: 30m}");
        new.validity.longest = Duration::ZERO;
        let refused = merge(&config(""), &new).unwrap_err().to_string();
        assert!(refused.contains("validity.longest"), "{refused}");
    }
}
