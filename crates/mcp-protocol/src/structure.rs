//! How the typed structures read and write: known members by name, unknown ones kept as they came.
//!
//! `#[serde(flatten)]` would buffer members in a form that rounds big numbers and cannot hold raw JSON,
//! hence two small macros: [`structure!`] for objects and [`words!`] for strings with known values.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::de::MapAccess;

use crate::json::{DUPLICATE, RawJson};

/// The members of a structure that this build has no field for, each as the JSON it came in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unknown(BTreeMap<Box<str>, RawJson>);

impl Unknown {
    /// The value of one member.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RawJson> {
        self.0.get(name)
    }

    /// Adds or replaces a member. A name that a field of the structure has would be written twice.
    pub fn insert(&mut self, name: &str, value: RawJson) {
        self.0.insert(name.into(), value);
    }

    /// Removes a member and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<RawJson> {
        self.0.remove(name)
    }

    /// The members, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawJson)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match self.0.entry(name.into()) {
            Entry::Vacant(entry) => {
                entry.insert(map.next_value()?);
                Ok(())
            }
            Entry::Occupied(_) => Err(duplicate(name)),
        }
    }
}

pub(crate) fn duplicate<E: serde::de::Error>(name: &str) -> E {
    E::custom(format_args!("{DUPLICATE}{name}"))
}

/// Declares a structure.
///
/// One line a member: `kind field "wireName": Type;` where kind is
/// - `req`: must be there;
/// - `opt`: becomes an `Option`; absent and `null` are the same;
/// - `any`: becomes an `Option`; `null` is a value like any other.
///
/// `("type" = "text")` after the name is a member with one fixed value and no field.
macro_rules! structure {
    (
        $(#[$doc:meta])*
        pub struct $name:ident $(($tag:literal = $value:literal))? {
            $($(#[$field_doc:meta])* $kind:ident $field:ident $wire:literal : $type:ty;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $crate::structure::structure!(@field $kind $type),)*
            /// Members this build has no field for.
            pub unknown: $crate::structure::Unknown,
        }

        $crate::structure::structure!(@new $name [] [] $($kind $field: $type,)*);

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(None)?;
                $(map.serialize_entry($tag, $value)?;)?
                $($crate::structure::structure!(@write $kind map, self.$field, $wire);)*
                for (name, value) in self.unknown.iter() {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl<'de> serde::de::Visitor<'de> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("an object (", stringify!($name), ")"))
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        $(let mut $field: $crate::structure::structure!(@slot $kind $type) = None;)*
                        $(let mut tagged = $crate::structure::Tag::new($tag, $value);)?
                        let mut unknown = $crate::structure::Unknown::default();
                        while let Some($crate::members::Name(name)) = map.next_key()? {
                            match &*name {
                                $($tag => tagged.read(&mut map)?,)?
                                $($wire => {
                                    if $field.is_some() {
                                        return Err($crate::structure::duplicate($wire));
                                    }
                                    $field = Some(map.next_value()?);
                                })*
                                other => unknown.read(other, &mut map)?,
                            }
                        }
                        $($crate::structure::structure!(@check $tag tagged);)?
                        Ok($name {
                            $($field: $crate::structure::structure!(@take $kind $field, $wire),)*
                            unknown,
                        })
                    }
                }
                deserializer.deserialize_map(Visitor)
            }
        }
    };

    (@field req $type:ty) => { $type };
    (@field $optional:ident $type:ty) => { Option<$type> };

    (@slot opt $type:ty) => { Option<Option<$type>> };
    (@slot $other:ident $type:ty) => { Option<$type> };

    (@write req $map:ident, $value:expr, $wire:literal) => { $map.serialize_entry($wire, &$value)? };
    (@write $optional:ident $map:ident, $value:expr, $wire:literal) => {
        if let Some(value) = &$value {
            $map.serialize_entry($wire, value)?;
        }
    };

    (@check $tag:literal $tagged:ident) => { $tagged.check()? };

    (@take req $slot:ident, $wire:literal) => {
        $slot.ok_or_else(|| serde::de::Error::missing_field($wire))?
    };
    (@take opt $slot:ident, $wire:literal) => { $slot.flatten() };
    (@take any $slot:ident, $wire:literal) => { $slot };

    // The constructor takes the required members in order; the rest starts absent.
    (@new $name:ident [$($req:ident: $req_type:ty,)*] [$($opt:ident,)*]) => {
        impl $name {
            /// The structure with its required members; the others are absent.
            #[must_use]
            #[allow(clippy::new_without_default, reason = "a default would hide which members are required")]
            pub fn new($($req: impl Into<$req_type>),*) -> Self {
                Self { $($req: $req.into(),)* $($opt: None,)* unknown: Default::default() }
            }
        }
    };
    (@new $name:ident [$($req:tt)*] [$($opt:tt)*] req $field:ident: $type:ty, $($rest:tt)*) => {
        $crate::structure::structure!(@new $name [$($req)* $field: $type,] [$($opt)*] $($rest)*);
    };
    (@new $name:ident [$($req:tt)*] [$($opt:tt)*] $kind:ident $field:ident: $type:ty, $($rest:tt)*) => {
        $crate::structure::structure!(@new $name [$($req)*] [$($opt)* $field,] $($rest)*);
    };
}
pub(crate) use structure;

/// Reads the member that says which structure it is.
pub(crate) struct Tag {
    name: &'static str,
    wanted: &'static str,
    seen: bool,
}

impl Tag {
    pub(crate) fn new(name: &'static str, wanted: &'static str) -> Self {
        Self { name, wanted, seen: false }
    }

    pub(crate) fn read<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        use serde::de::Error;
        if std::mem::replace(&mut self.seen, true) {
            return Err(duplicate(self.name));
        }
        let found: Box<str> = map.next_value()?;
        if *found == *self.wanted {
            return Ok(());
        }
        Err(A::Error::custom(format_args!("{} must be {:?}, found {found:?}", self.name, self.wanted)))
    }

    pub(crate) fn check<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.seen { Ok(()) } else { Err(E::missing_field(self.name)) }
    }
}

/// Declares a string with known values: `enum` refuses other values, `open enum` keeps them in `Other`.
macro_rules! words {
    (
        $(#[$doc:meta])*
        pub enum $name:ident { $($(#[$word_doc:meta])* $variant:ident $word:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$word_doc])* $variant,)* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The value as it stands on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Reads the value from its text on the wire.
            #[must_use]
            pub fn from_wire(text: &str) -> Option<Self> {
                match text {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Box::<str>::deserialize(deserializer)?;
                Self::from_wire(&text).ok_or_else(|| serde::de::Error::unknown_variant(&text, &[$($word),*]))
            }
        }
    };
    (
        $(#[$doc:meta])*
        pub open enum $name:ident { $($(#[$word_doc:meta])* $variant:ident $word:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$word_doc])* $variant,)*
            /// A value this build does not know.
            Other(Box<str>),
        }

        impl $name {
            /// The value as it stands on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($word => Self::$variant,)*
                    other => Self::Other(other.into()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self::from(&*Box::<str>::deserialize(deserializer)?))
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use crate::content::TextContent;
    use crate::json::{InvalidJson, RawJson};
    use crate::tool::Tool;

    fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, InvalidJson> {
        RawJson::parse(text.to_owned(), &crate::limits::Limits::default())?.to()
    }

    #[test]
    fn unknown_members_and_big_numbers_survive() {
        let text =
            r#"{"name":"a","inputSchema":{"type": "object", "x":12345678901234567890123},"vendor":[1.10]}"#;
        let tool: Tool = read(text).unwrap();
        assert_eq!(tool.unknown.get("vendor").unwrap().as_str(), "[1.10]");
        assert_eq!(RawJson::encode(&tool).unwrap().as_str(), text);
    }

    #[test]
    fn null_is_absent_unless_it_is_a_value() {
        let tool: Tool = read(r#"{"name":"a","title":null,"inputSchema":{}}"#).unwrap();
        assert_eq!(tool.title, None);
        let result: crate::tool::CallToolResult = read(r#"{"content":[],"structuredContent":null}"#).unwrap();
        assert_eq!(result.structured_content.unwrap().as_str(), "null");
        let result: crate::tool::CallToolResult = read(r#"{"content":[]}"#).unwrap();
        assert_eq!(result.structured_content, None);
    }

    #[test]
    fn members_stand_once_and_tags_match() {
        for (text, name) in [
            (r#"{"type":"text","text":"a","text":"b"}"#, "text"),
            (r#"{"type":"text","text":"a","x":1,"\u0078":2}"#, "x"),
            (r#"{"type":"text","text":"a","type":"text"}"#, "type"),
        ] {
            let error = read::<TextContent>(text).unwrap_err();
            assert_eq!(error, InvalidJson::DuplicateMember { name: name.into() }, "{text}");
        }
        for text in [r#"{"text":"a"}"#, r#"{"type":"image","text":"a"}"#, r#"{"type":"text"}"#, "[]"] {
            assert!(read::<TextContent>(text).is_err(), "{text}");
        }
    }
}
