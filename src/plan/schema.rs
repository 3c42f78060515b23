//! The JSON Schema (draft-07) of the plan file, for editors. Made from the table of
//! [`super::keys`]; `schemas/plan.v1.json` is this value printed, and a test keeps it so.

use serde_json::{Map, Value, json};

use super::keys::{self, Kind, Shape};

/// The whole schema.
pub fn plan_schema() -> Value {
    let mut schema = map_of(&keys::PLAN);
    let head = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "plan.v1.json",
        "title": "Towpath plan",
    });
    merge(&mut schema, head);
    schema
}

/// The schema as the file holds it.
pub fn render_schema() -> String {
    let mut text = serde_json::to_string_pretty(&plan_schema()).unwrap_or_default();
    text.push('\n');
    text
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

fn map_of(shape: &Shape) -> Value {
    let properties: Map<_, _> = shape
        .keys
        .iter()
        .map(|key| {
            let mut value = value_of(&key.kind);
            merge(&mut value, json!({ "description": key.about }));
            (key.name.to_string(), value)
        })
        .collect();
    let required: Vec<_> = shape.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    if !required.is_empty() {
        merge(&mut schema, json!({ "required": required }));
    }
    schema
}

fn value_of(kind: &Kind) -> Value {
    match kind {
        Kind::Version => json!({ "enum": [1, "1"] }),
        Kind::Text { example } => json!({ "type": "string", "minLength": 1, "examples": [example] }),
        Kind::PlanName => json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$" }),
        Kind::Null => json!({ "enum": [null, "null"] }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Choice { words, .. } => json!({ "enum": words }),
        Kind::Words(words) => json!({
            "type": "array", "uniqueItems": true, "items": { "enum": words },
        }),
        Kind::Whole { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Size { .. } => json!({
            "type": "string", "pattern": "^[0-9]+(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$", "examples": ["1GiB"],
        }),
        Kind::Span { .. } => json!({
            "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d|w)$", "examples": ["5s"],
        }),
        Kind::Names { example } => json!({
            "type": "array", "uniqueItems": true, "minItems": 1,
            "items": { "type": "string", "minLength": 1, "examples": [example] },
        }),
        Kind::WordOr(words, shape) => json!({ "anyOf": [{ "enum": words }, map_of(shape)] }),
        Kind::Date => json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" }),
        Kind::Hazard => {
            let codes = keys::HAZARDS.iter().filter(|(_, acceptable)| *acceptable);
            json!({ "enum": codes.map(|(code, _)| *code).collect::<Vec<_>>() })
        }
        Kind::Map(shape) => map_of(shape),
        Kind::List(shape) => json!({ "type": "array", "items": map_of(shape) }),
        Kind::Named(shape) => json!({
            "type": "object", "additionalProperties": { "anyOf": [{ "const": "skip" }, map_of(shape)] },
        }),
    }
}

#[cfg(test)]
mod tests {
    /// `TOWPATH_BLESS=1 cargo test` writes it anew.
    #[test]
    fn the_schema_file_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/plan.v1.json");
        if std::env::var_os("TOWPATH_BLESS").is_some() {
            std::fs::write(path, super::render_schema()).expect("schemas/ is writable");
        }
        let file = std::fs::read_to_string(path).expect("schemas/plan.v1.json");
        assert_eq!(file, super::render_schema(), "run TOWPATH_BLESS=1 cargo test the_schema_file_is_current");
    }
}
