//! Invalidation and inspection, for operators: what is asked for is checked and named, and what was done is
//! told. What it means for entries is the business of [`super::generations`] and [`super::cache`].

use kt_contract::hex::Digest;
use kt_contract::id::{BadId, check_id};
use kt_contract::key::{CacheKey, OrgKeys};
use kt_contract::wire::admin::{
    CacheStatsReply, EntryReply, EntryRequest, InvalidateReply, InvalidateRequest, OrgEntries,
    StoredShape, StoredUsage,
};
use kt_providers::Recorded;

use super::cache::Inspected;
use super::{Failure, Sidecar};
use crate::generation::Tag;
use crate::store::StoreError;

/// The longest name of a model or a fabric artifact set.
const NAME_BYTES_MAX: usize = 256;

// === impl Sidecar ===

impl Sidecar {
    /// Invalidates what the request names: when it is answered, nothing that was made before is served by this
    /// sidecar, whatever happens to it, and every gateway is being told. Replies that are kept for an
    /// `Idempotency-Key` are forgotten, all of the organization: what was theirs, they do not say.
    ///
    /// # Errors
    /// A field that is missing or wrong; a store that does not take it.
    pub async fn invalidate(&self, request: InvalidateRequest) -> Result<InvalidateReply, Failure> {
        let (org, tag, name) = checked(request)?;
        let (kind, whole_org) = (tag.kind().to_owned(), tag == Tag::Org);
        let one = if let Tag::Entry(key) = tag { Some(key) } else { None };
        let generation = self.bump(&org, tag).await?;
        // The others are removed when somebody asks for them: which they are, only their headers say.
        let dropped = match one {
            Some(key) => self.cache.drop_entry(&org, key).await,
            None if whole_org => self.cache.drop_org(&org).await,
            None => Ok(0),
        };
        let entries_dropped = match dropped {
            // They are still there, and told to nobody: they are invalidated.
            Err(StoreError::Away(_)) => 0,
            dropped => dropped?,
        };
        self.replies.forget_org(&org).await?;
        let entries_held = self.cache.held_by(&org);
        tracing::info!(org, kind, name, generation = generation.0, entries_dropped, "invalidated");
        let generation = generation.0;
        Ok(InvalidateReply { org, kind, name, generation, entries_dropped, entries_held })
    }

    /// What the cache holds and what came of it.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStatsReply {
        let held = self.cache.held();
        let (hits, misses) = self.metrics.hits_and_misses();
        let (invalidated_tags, newest) = self.cache.generations().count_and_newest();
        CacheStatsReply {
            entries: held.entries,
            entry_bytes: held.bytes,
            evicted: held.evicted,
            expired: held.expired,
            hits,
            misses,
            flights: self.flights.count().0 as u64,
            invalidated_tags: invalidated_tags as u64,
            generation: newest.0,
            orgs: self
                .cache
                .held_by_org()
                .into_iter()
                .map(|held| OrgEntries {
                    org: held.org,
                    entries: held.entries,
                    entry_bytes: held.bytes,
                })
                .collect(),
        }
    }

    /// An entry as it is stored. Changes nothing, not even when it goes.
    ///
    /// # Errors
    /// A field that is wrong; no such entry, or none that can be read.
    pub async fn entry_of(&self, request: EntryRequest) -> Result<EntryReply, Failure> {
        let EntryRequest { org, key, body: with_body } = request;
        check("org", &org)?;
        let key = CacheKey(digest("key", &key)?);
        let not_found = || Failure::NotFound { what: format!("entry of '{org}' under this key") };
        let inspected = self.cache.inspect(key, &OrgKeys::derive(&org)).await?;
        let Inspected { entry, age, fresh, stale, is_current } = inspected
            .filter(|inspected| inspected.entry.header.gates.org == org)
            .ok_or_else(not_found)?;
        let header = entry.header;
        Ok(EntryReply {
            key,
            gates: header.gates,
            is_current,
            generations: header.generations.numbers().iter().map(|number| number.0).collect(),
            created_at: header.created,
            age_ms: age.0,
            fresh_ms: fresh.0,
            stale_ms: stale.0,
            shape: match header.recorded {
                Recorded::Json => StoredShape::Json,
                Recorded::Sse => StoredShape::Sse,
            },
            usage: header.usage.map(|usage| StoredUsage {
                input_tokens: usage.input_tokens(),
                cache_read_tokens: usage.cache_read_tokens,
                cache_write_tokens: usage.written_tokens(),
                output_tokens: usage.output_tokens,
            }),
            served_by: header.served_by,
            body_bytes: entry.body.len() as u64,
            body: with_body.then(|| String::from_utf8_lossy(&entry.body).into_owned()),
        })
    }
}

/// The organization, what is to be invalidated there, and its name.
fn checked(request: InvalidateRequest) -> Result<(String, Tag, Option<String>), Failure> {
    let InvalidateRequest { org, codebase, fabric, model, policy, key, all } = request;
    check("org", &org)?;
    let mut chosen = [
        ("codebase", codebase),
        ("fabric", fabric),
        ("model", model),
        ("policy", policy),
        ("key", key),
    ]
    .into_iter()
    .filter_map(|(field, name)| name.map(|name| (field, name)));
    let first = chosen.next();
    if chosen.next().is_some() || (first.is_some() && all) {
        let what = "is one of two selectors: name one of codebase, fabric, model, policy, key, all";
        return Err(Failure::Invalid { field: first.map_or("all", |(field, _)| field), what });
    }
    let Some((field, name)) = first else {
        return match all {
            true => Ok((org, Tag::Org, None)),
            false => Err(Failure::Invalid {
                field: "all",
                what: "must be true where no codebase, fabric, model, policy or key is named",
            }),
        };
    };
    let tag = match field {
        "codebase" => {
            check("codebase", &name)?;
            Tag::Codebase(name.clone())
        }
        "policy" => Tag::Policy(digest("policy", &name)?),
        "key" => Tag::Entry(CacheKey(digest("key", &name)?)),
        "fabric" => Tag::Fabric(text("fabric", &name)?),
        _ => Tag::Model(text("model", &name)?),
    };
    Ok((org, tag, Some(name)))
}

fn check(field: &'static str, name: &str) -> Result<(), Failure> {
    check_id(field, name).map_err(|BadId { field, what }| Failure::Invalid { field, what })
}

fn text(field: &'static str, name: &str) -> Result<String, Failure> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(name.to_owned());
    }
    Err(Failure::Invalid { field, what: "must have 1 to 256 bytes" })
}

fn digest(field: &'static str, text: &str) -> Result<Digest, Failure> {
    let what = "must be 64 lower-case hexadecimal digits, as `kt explain` shows them";
    Digest::from_hex(text).map_err(|_| Failure::Invalid { field, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<(String, Tag, Option<String>), String> {
        checked(serde_json::from_str(json).unwrap()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn one_selector_is_one_tag() {
        let digits = "0a".repeat(32);
        let digest = Digest([10; 32]);
        for (selector, tag) in [
            (r#""all":true"#.to_owned(), Tag::Org),
            (r#""codebase":"acme/web""#.to_owned(), Tag::Codebase("acme/web".to_owned())),
            (r#""fabric":"f 7""#.to_owned(), Tag::Fabric("f 7".to_owned())),
            (r#""model":"gpt-4o""#.to_owned(), Tag::Model("gpt-4o".to_owned())),
            (format!(r#""policy":"{digits}""#), Tag::Policy(digest)),
            (format!(r#""key":"{digits}""#), Tag::Entry(CacheKey(digest))),
        ] {
            let (org, found, _) = of(&format!(r#"{{"org":"acme",{selector}}}"#)).unwrap();
            assert_eq!((org.as_str(), found), ("acme", tag), "{selector}");
        }
    }

    #[test]
    fn what_is_wrong_names_its_field() {
        for (json, field) in [
            (r#"{"org":""}"#, "'org' must not be empty"),
            (r#"{"org":"a b","all":true}"#, "'org' may have"),
            (r#"{"org":"acme"}"#, "'all' must be true where no"),
            (r#"{"org":"acme","all":false}"#, "'all' must be true where no"),
            (r#"{"org":"acme","model":"m","all":true}"#, "'model' is one of two selectors"),
            (r#"{"org":"acme","model":"m","key":"k"}"#, "'model' is one of two selectors"),
            (r#"{"org":"acme","codebase":"a b"}"#, "'codebase' may have"),
            (r#"{"org":"acme","model":""}"#, "'model' must have 1 to 256"),
            (r#"{"org":"acme","policy":"x"}"#, "'policy' must be 64"),
            (r#"{"org":"acme","key":"x"}"#, "'key' must be 64"),
        ] {
            let said = of(json).unwrap_err();
            assert!(said.starts_with(field), "{json}: {said}");
        }
    }
}
