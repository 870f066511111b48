//! Examples from a schema: random but repeatable.

use serde_json::{Map, Number, Value, json};

use crate::files::Schema;

/// Generates values that satisfy definitions of one schema.
pub(crate) struct Generator<'a> {
    schema: &'a Schema,
    state: u64,
    /// Every member the schema names and none besides.
    complete: bool,
}

/// Nesting below which optional members are left out and arrays stay empty.
const DEEP: usize = 5;

impl<'a> Generator<'a> {
    pub(crate) fn new(schema: &'a Schema, seed: u64) -> Self {
        Self { schema, state: seed, complete: false }
    }

    /// Generates every optional member and no unknown one.
    pub(crate) fn complete(schema: &'a Schema, seed: u64) -> Self {
        Self { complete: true, ..Self::new(schema, seed) }
    }

    /// A value of a definition.
    pub(crate) fn definition(&mut self, name: &str) -> Value {
        let schema = self.schema.definition(name).unwrap_or_else(|| panic!("no definition {name}"));
        self.value(schema, 0)
    }

    fn value(&mut self, schema: &'a Value, depth: usize) -> Value {
        let Some(keywords) = schema.as_object() else { return self.anything(depth) };
        if let Some(reference) = schema["$ref"].as_str() {
            let target = self.schema.resolve(reference);
            return self.value(target, depth);
        }
        if let Some(value) = keywords.get("const") {
            return value.clone();
        }
        if let Some(values) = schema["enum"].as_array() {
            return self.pick(values).clone();
        }
        for union in ["anyOf", "oneOf"] {
            if let Some(schemas) = schema[union].as_array() {
                let choice = self.pick(schemas);
                return self.value(choice, depth);
            }
        }
        if let Some(schemas) = schema["allOf"].as_array() {
            return self.merged(schemas, depth);
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => self.pick(kinds).as_str(),
            Value::String(kind) => Some(kind.as_str()),
            _ => None,
        };
        match kind {
            Some("object") => self.object(keywords, depth),
            Some("array") => self.array(schema, depth),
            Some("string") => Value::String(self.string(schema["format"].as_str())),
            Some("integer") => self.integer(schema),
            Some("number") => self.number(schema),
            Some("boolean") => Value::Bool(self.below(2) == 0),
            Some("null") => Value::Null,
            None => self.anything(depth),
            Some(other) => panic!("unknown type {other}"),
        }
    }

    /// Later schemas win, because in these files they narrow the earlier ones.
    fn merged(&mut self, schemas: &'a [Value], depth: usize) -> Value {
        let mut merged = Map::new();
        for schema in schemas {
            if let Value::Object(members) = self.value(schema, depth) {
                merged.extend(members);
            }
        }
        Value::Object(merged)
    }

    fn object(&mut self, keywords: &'a Map<String, Value>, depth: usize) -> Value {
        let mut object = Map::new();
        let empty = Vec::new();
        let required = keywords.get("required").and_then(Value::as_array).unwrap_or(&empty);
        if let Some(Value::Object(properties)) = keywords.get("properties") {
            for (name, schema) in properties {
                let wanted = required.iter().any(|required| required == name);
                if wanted || (depth < DEEP && (self.complete || self.below(2) == 0)) {
                    object.insert(name.clone(), self.value(schema, depth + 1));
                }
            }
        }
        if depth < DEEP && !self.complete {
            for _ in 0..self.below(3) {
                let name = format!("com.example/{}", self.string(None));
                let value = match keywords.get("additionalProperties") {
                    Some(schema @ Value::Object(_)) => self.value(schema, depth + 1),
                    _ => self.anything(depth + 1),
                };
                object.insert(name, value);
            }
        }
        Value::Object(object)
    }

    fn array(&mut self, schema: &'a Value, depth: usize) -> Value {
        let len = if depth < DEEP { self.below(4) } else { 0 };
        Value::Array((0..len).map(|_| self.value(&schema["items"], depth + 1)).collect())
    }

    fn string(&mut self, format: Option<&str>) -> String {
        let number = self.below(1000);
        match format {
            Some("uri") => format!("https://example.com/{number}?q=%20"),
            Some("uri-template") => format!("file:///{{path}}/{number}"),
            Some("byte") => ["", "aGk=", "AAECAw=="][self.below(3)].to_owned(),
            Some(other) => panic!("unknown format {other}"),
            None => {
                let parts =
                    ["", "a", "snake_case", "ü", "世界", "\"", "\\", "\n", "\u{0}", "\u{2028}", "🦀", "/"];
                (0..self.below(4)).map(|_| parts[self.below(parts.len())]).collect()
            }
        }
    }

    fn integer(&mut self, schema: &Value) -> Value {
        let values = [0, 1, 7, -1, -40, i64::MAX, i64::MIN, 1 << 53];
        let value = values[self.below(values.len())];
        match schema["minimum"].as_i64() {
            Some(least) => json!(value.max(least)),
            None => json!(value),
        }
    }

    fn number(&mut self, schema: &Value) -> Value {
        let bounded = schema.get("maximum").is_some();
        let values: &[f64] = if bounded { &[0.0, 0.25, 0.5, 1.0] } else { &[-1.5, 0.0, 1e30, 42.0, 0.125] };
        match self.below(3) {
            0 if !bounded => self.integer(schema),
            0 => json!(self.below(2)),
            _ => Number::from_f64(values[self.below(values.len())]).map_or(Value::Null, Value::Number),
        }
    }

    fn anything(&mut self, depth: usize) -> Value {
        let nested = depth < DEEP;
        match self.below(if nested { 7 } else { 5 }) {
            0 => Value::Null,
            1 => Value::Bool(true),
            2 => self.integer(&Value::Null),
            3 => self.number(&Value::Null),
            4 => Value::String(self.string(None)),
            5 => (0..self.below(3)).map(|_| self.anything(depth + 1)).collect(),
            _ => {
                let members = 0..self.below(3);
                members.map(|at| (format!("{}{at}", self.string(None)), self.anything(depth + 1))).collect()
            }
        }
    }

    fn pick<'v>(&mut self, values: &'v [Value]) -> &'v Value {
        &values[self.below(values.len())]
    }

    /// A number below `end`, from the generator known as splitmix64.
    fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}
