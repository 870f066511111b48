//! Resources, their templates and their contents.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use crate::content::Annotations;
use crate::json::RawJson;
use crate::number::Number;
use crate::structure::{structure, words};

words! {
    /// The background an icon is made for.
    pub open enum IconTheme {
        /// Light background.
        Light "light",
        /// Dark background.
        Dark "dark",
    }
}

structure! {
    /// A picture for a user interface; since 2025-11-25.
    ///
    /// Only `https:` and `data:` sources are to be fetched, without credentials.
    pub struct Icon {
        /// Where the picture is: a URL or a `data:` URI.
        req src "src": Box<str>;
        /// The media type.
        opt mime_type "mimeType": Box<str>;
        /// Sizes such as `48x48`, or `any`.
        opt sizes "sizes": Vec<Box<str>>;
        /// The background it is made for.
        opt theme "theme": IconTheme;
    }
}

structure! {
    /// Something a server lets clients read.
    pub struct Resource {
        /// Where it is.
        req uri "uri": Box<str>;
        /// Its programmatic name.
        req name "name": Box<str>;
        /// Its name for people; since 2025-06-18.
        opt title "title": Box<str>;
        /// What it is, for models.
        opt description "description": Box<str>;
        /// The media type.
        opt mime_type "mimeType": Box<str>;
        /// Size of the raw content in bytes.
        opt size "size": Number;
        /// How to use it.
        opt annotations "annotations": Annotations;
        /// Pictures; since 2025-11-25.
        opt icons "icons": Vec<Icon>;
        /// Metadata; since 2025-06-18.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// A family of resources, addressed by an RFC 6570 template.
    pub struct ResourceTemplate {
        /// The template.
        req uri_template "uriTemplate": Box<str>;
        /// Its programmatic name.
        req name "name": Box<str>;
        /// Its name for people; since 2025-06-18.
        opt title "title": Box<str>;
        /// What it is, for models.
        opt description "description": Box<str>;
        /// The media type of all its resources, if they share one.
        opt mime_type "mimeType": Box<str>;
        /// How to use them.
        opt annotations "annotations": Annotations;
        /// Pictures; since 2025-11-25.
        opt icons "icons": Vec<Icon>;
        /// Metadata; since 2025-06-18.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// Contents that are text.
    pub struct TextResourceContents {
        /// Where they come from.
        req uri "uri": Box<str>;
        /// The text.
        req text "text": Box<str>;
        /// The media type.
        opt mime_type "mimeType": Box<str>;
        /// Metadata; since 2025-06-18.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// Contents that are bytes.
    pub struct BlobResourceContents {
        /// Where they come from.
        req uri "uri": Box<str>;
        /// The bytes in Base64.
        req blob "blob": Box<str>;
        /// The media type.
        opt mime_type "mimeType": Box<str>;
        /// Metadata; since 2025-06-18.
        opt meta "_meta": RawJson;
    }
}

/// The contents of a resource: text or bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceContents {
    /// Text.
    Text(TextResourceContents),
    /// Bytes.
    Blob(BlobResourceContents),
}

impl ResourceContents {
    /// Where the contents come from.
    #[must_use]
    pub fn uri(&self) -> &str {
        match self {
            Self::Text(contents) => &contents.uri,
            Self::Blob(contents) => &contents.uri,
        }
    }
}

impl Serialize for ResourceContents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(contents) => contents.serialize(serializer),
            Self::Blob(contents) => contents.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ResourceContents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawJson::deserialize(deserializer)?;
        if raw.get("text").is_some() {
            raw.to().map(Self::Text).map_err(D::Error::custom)
        } else {
            raw.to().map(Self::Blob).map_err(D::Error::custom)
        }
    }
}

structure! {
    /// What `resources/read` asks for.
    pub struct ReadResourceParams {
        /// The resource.
        req uri "uri": Box<str>;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// What `resources/read` answers.
    pub struct ReadResourceResult {
        /// The contents; several if the URI names a collection.
        req contents "contents": Vec<ResourceContents>;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// What `resources/subscribe` and `resources/unsubscribe` ask for (handshake era).
    pub struct SubscribeParams {
        /// The resource.
        req uri "uri": Box<str>;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// What `notifications/resources/updated` says.
    pub struct ResourceUpdatedParams {
        /// The resource that changed; possibly a part of the one subscribed to.
        req uri "uri": Box<str>;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}
