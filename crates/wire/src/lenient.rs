//! Reads JSON the way the servers that Docker's clients grew up with read it.
//!
//! Three habits of Go's `encoding/json` are load-bearing for clients and unknown to serde: `null` for a field means "absent", keys match without regard
//! to case, and unknown keys are ignored. A fourth is ours: a number may come as a string and a string as a number, because several clients send that.
//! What must stay true: a type read here is a plain derived struct with `#[serde(default)]`; `flatten` would hide its field names from us.

use std::fmt;

use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

/// Why a JSON document could not be read; the text is meant for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    reason: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.reason)
    }
}

impl std::error::Error for JsonError {}

impl serde::de::Error for JsonError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { reason: message.to_string() }
    }
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        Self { reason: error.to_string() }
    }
}

/// Reads one JSON document of a request.
///
/// # Errors
/// When `text` is not one JSON document, or a field has a type that cannot be read as the wanted one.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    from_value(serde_json::from_slice(text)?)
}

/// Reads an already parsed document.
///
/// # Errors
/// When a field has a type that cannot be read as the wanted one.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, JsonError> {
    T::deserialize(Lenient(value))
}

/// A JSON value that deserializes with Go's habits.
struct Lenient(Value);

impl Lenient {
    /// The number this value is or spells.
    fn number<T: std::str::FromStr>(self) -> Result<Result<T, Value>, JsonError> {
        match &self.0 {
            Value::String(text) => match text.trim().parse() {
                Ok(number) => Ok(Ok(number)),
                Err(_) if text.trim().is_empty() => Ok(Err(Value::from(0))),
                Err(_) => Err(JsonError { reason: format!("cannot read the string {text:?} as a number") }),
            },
            // Some languages only know floating point: 1e9 and 2.0 are whole numbers all the same.
            Value::Number(number) if number.is_f64() => match number.as_f64() {
                Some(float) if float.fract() == 0.0 => format!("{float:.0}").parse().map(Ok).or_else(|_| Ok(Err(self.0))),
                _ => Ok(Err(self.0)),
            },
            _ => Ok(Err(self.0)),
        }
    }
}

macro_rules! numbers {
    ($($method:ident $type:ty, $visit:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
            match self.number::<$type>()? {
                Ok(number) => visitor.$visit(number),
                Err(value) => value.$method(visitor).map_err(JsonError::from),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Lenient {
    type Error = JsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            // A map with typed values: a null value is the zero value of that type, as Go leaves it.
            Value::Object(map) => visitor.visit_map(Entries { entries: map.into_iter(), value: None }),
            scalar => scalar.deserialize_any(visitor).map_err(JsonError::from),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::Object(map) => visitor.visit_map(Entries { entries: known_fields(map, fields).into_iter(), value: None }),
            // Go reads null into a struct as "leave it as it is".
            Value::Null => visitor.visit_map(Entries { entries: Map::new().into_iter(), value: None }),
            // serde would take a list as the fields in order; no client means that.
            other => Err(JsonError { reason: format!("expected an object for {name}, found {}", kind_of(&other)) }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            value => visitor.visit_some(Lenient(value)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::Null => visitor.visit_str(""),
            Value::Number(number) => visitor.visit_string(number.to_string()),
            other => other.deserialize_string(visitor).map_err(JsonError::from),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match &self.0 {
            Value::String(text) if text.eq_ignore_ascii_case("true") || text == "1" => visitor.visit_bool(true),
            Value::String(text) if text.is_empty() || text.eq_ignore_ascii_case("false") || text == "0" => visitor.visit_bool(false),
            Value::Number(number) if number.as_u64().is_some_and(|number| number < 2) => visitor.visit_bool(number.as_u64() == Some(1)),
            _ => self.0.deserialize_bool(visitor).map_err(JsonError::from),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(text.into_deserializer()),
            Value::Object(map) => match map.into_iter().next() {
                Some((variant, value)) => visitor.visit_enum(Variant { variant, value }),
                None => Err(JsonError { reason: "expected an object with one key".to_owned() }),
            },
            other => Err(JsonError { reason: format!("expected a string, found {other}") }),
        }
    }

    numbers! {
        deserialize_i8 i8, visit_i8; deserialize_i16 i16, visit_i16; deserialize_i32 i32, visit_i32; deserialize_i64 i64, visit_i64;
        deserialize_u8 u8, visit_u8; deserialize_u16 u16, visit_u16; deserialize_u32 u32, visit_u32; deserialize_u64 u64, visit_u64;
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// What a value is, in JSON's words.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Keeps the fields a struct knows, under the spelling it knows; the later of two spellings wins, null never does.
fn known_fields(map: Map<String, Value>, fields: &'static [&'static str]) -> Map<String, Value> {
    let mut known = Map::with_capacity(map.len());
    for (key, value) in map {
        if value.is_null() {
            continue;
        }
        let field = fields.iter().find(|field| **field == key).or_else(|| fields.iter().find(|field| field.eq_ignore_ascii_case(&key)));
        if let Some(field) = field {
            known.insert((*field).to_owned(), value);
        }
    }
    known
}

/// The items of an array.
struct Items(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Items {
    type Error = JsonError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, JsonError> {
        self.0.next().map(|item| seed.deserialize(Lenient(item))).transpose()
    }
}

/// The entries of an object.
struct Entries {
    entries: serde_json::map::IntoIter,
    value: Option<Value>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = JsonError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, JsonError> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        let key: StringDeserializer<JsonError> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, JsonError> {
        seed.deserialize(Lenient(self.value.take().unwrap_or(Value::Null)))
    }
}

/// An externally tagged enum variant with content.
struct Variant {
    variant: String,
    value: Value,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = JsonError;
    type Variant = VariantContent;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, VariantContent), JsonError> {
        let variant: StringDeserializer<JsonError> = self.variant.into_deserializer();
        Ok((seed.deserialize(variant)?, VariantContent(self.value)))
    }
}

/// What follows the tag of an enum variant.
struct VariantContent(Value);

impl<'de> VariantAccess<'de> for VariantContent {
    type Error = JsonError;

    fn unit_variant(self) -> Result<(), JsonError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, JsonError> {
        seed.deserialize(Lenient(self.0))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, JsonError> {
        Lenient(self.0).deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, JsonError> {
        Lenient(self.0).deserialize_struct("", fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Sample {
        memory: i64,
        privileged: bool,
        name: String,
        list: Option<Vec<String>>,
        labels: BTreeMap<String, String>,
        inner: Option<Box<Sample>>,
    }

    fn read(text: &str) -> Sample {
        from_slice(text.as_bytes()).unwrap()
    }

    #[test]
    fn null_is_absent_for_every_kind_of_field() {
        assert_eq!(read(r#"{"Memory":null,"Privileged":null,"Name":null,"List":null,"Labels":null,"Inner":null}"#), Sample::default());
        assert_eq!(read("null"), Sample::default());
    }

    #[test]
    fn keys_match_without_case_and_unknown_ones_are_ignored() {
        let sample = read(r#"{"memory":5,"PRIVILEGED":true,"Nonsense":{"a":[1]}}"#);
        assert_eq!((sample.memory, sample.privileged), (5, true));
    }

    #[test]
    fn labels_keep_their_case() {
        assert_eq!(
            read(r#"{"Labels":{"memory":"x","Memory":"y","z":null}}"#).labels.into_iter().collect::<Vec<_>>(),
            [("Memory".to_owned(), "y".to_owned()), ("memory".to_owned(), "x".to_owned()), ("z".to_owned(), String::new())]
        );
    }

    #[test]
    fn numbers_and_strings_stand_for_each_other() {
        assert_eq!(
            read(r#"{"Memory":"64","Name":80,"Inner":{"Memory":1e3,"Privileged":"true"}}"#),
            Sample {
                memory: 64,
                name: "80".to_owned(),
                inner: Some(Box::new(Sample { memory: 1000, privileged: true, ..Sample::default() })),
                ..Sample::default()
            }
        );
    }

    #[test]
    fn an_empty_list_is_not_an_absent_one() {
        assert_eq!(read(r#"{"List":[]}"#).list, Some(Vec::new()));
    }

    #[test]
    fn wrong_types_are_refused_with_a_reason() {
        for text in [r#"{"Memory":{}}"#, r#"{"Memory":"many"}"#, r#"{"Memory":1.5}"#, r#"{"List":"a"}"#, r#"{"Name":[]}"#, "[]", "{", ""] {
            let error = from_slice::<Sample>(text.as_bytes()).unwrap_err();
            assert!(!error.to_string().is_empty(), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
        let text = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(from_slice::<Value>(text.as_bytes()).is_err());
    }
}
