//! A page about a configuration, made of its type: the doc comments are the documentation.

use std::fmt::Write;

use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value};

/// A Markdown table of every key of `T`: what it is for, its default, its environment variable.
#[must_use]
pub fn markdown<T: JsonSchema>(prefix: &str) -> String {
    let schema = schema_for!(T);
    let mut page =
        String::from("| key | default | environment variable | what it is for |\n|---|---|---|---|\n");
    let root = schema.as_value();
    let definitions = root.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    rows(root, Place { definitions: &definitions, prefix, path: "", optional: None }, &mut page);
    page
}

/// Where in the configuration a table's rows belong.
#[derive(Clone, Copy)]
struct Place<'a> {
    definitions: &'a Map<String, Value>,
    prefix: &'a str,
    path: &'a str,
    /// The group that need not be there, with all that is in it.
    optional: Option<&'a str>,
}

fn rows(schema: &Value, place: Place<'_>, page: &mut String) {
    let Place { definitions, prefix, path, optional } = place;
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for (name, property) in properties {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let target = resolve(property, definitions);
        if target.get("properties").is_some() {
            rows(target, Place { path: &key, ..place }, page);
            continue;
        }
        let description = property.get("description").or_else(|| target.get("description"));
        let description = description.and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        let default = match (property.get("default"), optional) {
            (_, None) if required.contains(&name.as_str()) => "*required*".to_owned(),
            (_, Some(group)) if required.contains(&name.as_str()) => format!("*required in* `{group}`"),
            (None | Some(Value::Null), _) => "–".to_owned(),
            (Some(value), _) => format!("`{value}`"),
        };
        if let Some(choices) = target.get("oneOf").and_then(Value::as_array) {
            choice_rows(choices, prefix, &key, &default, &description, page);
            continue;
        }
        row(&key, &default, prefix, &description, page);
        if let Some(group) = optional_group(target, definitions) {
            rows(group, Place { path: &key, optional: Some(&key), ..place }, page);
        }
    }
}

/// The group of keys that a value is when it is there at all.
fn optional_group<'a>(schema: &'a Value, definitions: &'a Map<String, Value>) -> Option<&'a Value> {
    let forms = schema.get("anyOf").and_then(Value::as_array)?;
    let groups = forms.iter().map(|form| resolve(form, definitions));
    groups.into_iter().find(|group| group.get("properties").is_some())
}

/// A value that is one of several keyed forms: a row for each.
fn choice_rows(
    choices: &[Value],
    prefix: &str,
    key: &str,
    default: &str,
    description: &str,
    page: &mut String,
) {
    let keyed: Vec<_> = choices
        .iter()
        .filter_map(|choice| choice.get("properties").and_then(Value::as_object).map(|p| (choice, p)))
        .collect();
    if keyed.is_empty() {
        return row(key, default, prefix, description, page);
    }
    for (choice, properties) in keyed {
        let own = choice.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        for name in properties.keys() {
            let key = format!("{key}.{name}");
            row(&key, "*one of these*", prefix, &format!("{description} {own}"), page);
        }
    }
}

fn row(key: &str, default: &str, prefix: &str, description: &str, page: &mut String) {
    let variable = format!("{prefix}{}", key.to_uppercase().replace('.', "__"));
    // Writing to a string cannot fail.
    let _ = writeln!(page, "| `{key}` | {default} | `{variable}` | {} |", description.replace('|', "\\|"));
}

fn resolve<'a>(schema: &'a Value, definitions: &'a Map<String, Value>) -> &'a Value {
    schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| reference.strip_prefix("#/$defs/"))
        .and_then(|name| definitions.get(name))
        .unwrap_or(schema)
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    /// An example.
    #[derive(Serialize, JsonSchema)]
    struct Example {
        /// What it is called.
        name: String,
        /// How it looks.
        #[serde(default)]
        look: Look,
        /// Who made it.
        #[serde(default)]
        maker: Option<Maker>,
    }

    #[derive(Serialize, JsonSchema)]
    struct Maker {
        /// Where they live.
        town: String,
    }

    #[derive(Serialize, JsonSchema)]
    #[serde(default)]
    struct Look {
        /// Its colour, a | b.
        colour: String,
    }

    impl Default for Look {
        fn default() -> Self {
            Self { colour: "red".into() }
        }
    }

    #[test]
    fn names_each_key_with_its_default_and_variable() {
        let page = markdown::<Example>("X_");
        assert!(page.contains("| `name` | *required* | `X_NAME` | What it is called. |"), "{page}");
        assert!(
            page.contains(r#"| `look.colour` | `"red"` | `X_LOOK__COLOUR` | Its colour, a \| b. |"#),
            "{page}"
        );
        assert!(page.contains("| `maker` | – | `X_MAKER` | Who made it. |"), "{page}");
        let town = "| `maker.town` | *required in* `maker` | `X_MAKER__TOWN` | Where they live. |";
        assert!(page.contains(town), "{page}");
    }
}
