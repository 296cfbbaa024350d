//! `workflow_cache.redis`, as it stands there. Its address is a text, or says where the address stands.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::SecretKeyRef;

/// Settings of the backend `redis`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Redis {
    /// Its address, without a login: redis://host:6379/0, unix:///path, redis-sentinel://host,host#master or
    /// redis-cluster://host,host. One with a login stands in an environment variable or a file.
    pub(in super::super) url: Option<RedisUrl>,
    /// What its keys begin with. Default: kt:cache:.
    pub(in super::super) prefix: Option<String>,
    /// How many bytes the entries of one organization may have there. Default: 1073741824.
    pub(in super::super) max_bytes_per_org: Option<u64>,
}

/// The address, or where it stands.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub(in super::super) enum RedisUrl {
    /// This one.
    Written(String),
    /// There.
    Kept(SecretKeyRef),
}

// By hand: an untagged enum would answer "did not match any variant" to every typo.
impl<'de> Deserialize<'de> for RedisUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextOrReference;

        impl<'de> Visitor<'de> for TextOrReference {
            type Value = RedisUrl;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, or a map with 'env' or 'file'")
            }

            fn visit_str<E: Error>(self, url: &str) -> Result<RedisUrl, E> {
                Ok(RedisUrl::Written(url.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RedisUrl, A::Error> {
                SecretKeyRef::deserialize(MapAccessDeserializer::new(map)).map(RedisUrl::Kept)
            }
        }

        from.deserialize_any(TextOrReference)
    }
}
