//! Which of the credentials that a configuration names are not here: said before something is started that wants them.

use kt_contract::config::{Backend, Config, Judge, Ledger, RedisUrl, SecretRef};

use crate::envoy::credentials::Lookup;

/// Whether a file can be read; else why not.
pub(crate) type Probe<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// What the configuration refers to and is not set or cannot be read here, one line each. No value is ever in one.
pub(crate) fn missing(config: &Config, variable: Lookup<'_>, file: Probe<'_>) -> Vec<String> {
    let problem = |secret: &SecretRef| match secret {
        SecretRef::Env(name) => {
            let is_set = variable(name).is_some_and(|value| !value.trim().is_empty());
            (!is_set).then(|| format!("the environment variable {name}, which is not set here"))
        }
        SecretRef::File(path) => {
            file(path).err().map(|why| format!("the file {path}, which cannot be read here: {why}"))
        }
    };
    let mut found = Vec::new();
    for (whose, secret) in referred(config) {
        if let Some(problem) = problem(secret) {
            found.push(format!("{whose} wants {problem}"));
        }
    }
    found
}

/// Whether the file can be opened. A pipe is not: whoever opens one waits for its other end.
pub(crate) fn probe(path: &str) -> Result<(), String> {
    let meta = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("it is no regular file".to_owned());
    }
    std::fs::File::open(path).map(|_open| ()).map_err(|error| error.to_string())
}

/// Every reference, and what it is for.
fn referred(config: &Config) -> Vec<(String, &SecretRef)> {
    let mut all: Vec<(String, &SecretRef)> = Vec::new();
    for target in &config.targets {
        all.extend(target.secret.iter().map(|secret| (format!("target '{}'", target.id), secret)));
    }
    if let Some(database) = &config.database {
        all.push(("database.url".to_owned(), &database.url));
    }
    if let Backend::Redis(redis) = &config.cache.backend
        && let RedisUrl::Kept(secret) = &redis.url
    {
        all.push(("workflow_cache.redis.url".to_owned(), secret));
    }
    if let Some(wallet) = &config.wallet
        && let Ledger::Database(secret) = &wallet.ledger
        && config.database.as_ref().is_none_or(|database| database.url != *secret)
    {
        all.push(("wallet.url".to_owned(), secret));
    }
    for judge in &config.policy.judges {
        if let Judge::External(external) = judge {
            let whose = format!("policy '{}'", external.name);
            all.extend(external.secret.iter().map(|secret| (whose.clone(), secret)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use kt_contract::config;

    use super::*;

    const FILE: &str = "
gateway: {on_sidecar_loss: unavailable}
database: {url: {env: KT_DB}}
wallet: {backend: postgres}
workflow_cache: {backend: redis, redis: {url: {file: /run/redis-url}}}
providers:
  targets:
    - {id: open, provider: openai, models: [a], base_url: 'http://127.0.0.1:1'}
    - {id: paid, provider: openai, models: [b], secret_key_ref: {env: KT_KEY}}
";

    #[test]
    fn every_credential_that_is_not_here_is_named_and_none_that_is() {
        let config = config::load("a.yaml", FILE).unwrap().config;
        let nothing = missing(&config, &|_| None, &|_| Err("no such file".to_owned()));
        assert_eq!(
            nothing,
            [
                "target 'paid' wants the environment variable KT_KEY, which is not set here",
                "database.url wants the environment variable KT_DB, which is not set here",
                "workflow_cache.redis.url wants the file /run/redis-url, which cannot be read here: no such file",
            ]
        );
        let blank = missing(&config, &|_| Some(" ".to_owned()), &|_| Ok(()));
        assert_eq!(blank.len(), 2, "{blank:?}");
        assert!(missing(&config, &|_| Some("x".to_owned()), &|_| Ok(())).is_empty());
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        assert_eq!(probe("/dev/null"), Err("it is no regular file".to_owned()));
        assert!(probe("/no/such/file").is_err());
        assert_eq!(probe(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")), Ok(()));
    }
}
