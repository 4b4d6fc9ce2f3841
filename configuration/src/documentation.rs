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
    rows(root, &definitions, prefix, "", &mut page);
    page
}

fn rows(schema: &Value, definitions: &Map<String, Value>, prefix: &str, path: &str, page: &mut String) {
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
            rows(target, definitions, prefix, &key, page);
            continue;
        }
        let description = property.get("description").or_else(|| target.get("description"));
        let description = description.and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        let default = match property.get("default") {
            _ if required.contains(&name.as_str()) => "*required*".to_owned(),
            None | Some(Value::Null) => "–".to_owned(),
            Some(value) => format!("`{value}`"),
        };
        if let Some(choices) = target.get("oneOf").and_then(Value::as_array) {
            choice_rows(choices, prefix, &key, &default, &description, page);
            continue;
        }
        row(&key, &default, prefix, &description, page);
    }
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
    }
}
