//! The places of an Envoy configuration that kt depends on, wherever they stand: in a bootstrap file, or in the dump of
//! a running Envoy, where listeners, routes and filters may have come from a control plane. Pure.

use std::collections::BTreeSet;

use kt_contract::constants::{CLUSTER_LANE, CLUSTER_SIDECAR};
use kt_contract::wire::headers;
use serde_json::Value;

/// What a dump has beside what is in force: updates that were refused, and listeners that are on their way out.
const NOT_IN_FORCE: [&str; 4] = ["error_state", "errorState", "draining_state", "drainingState"];
/// What Envoy holds of a body where nothing says otherwise.
const BUFFER_BYTES_DEFAULT: u64 = 1 << 20;

/// A configuration, searched.
#[derive(Debug, Default)]
pub(super) struct View<'a> {
    /// The configurations of kt's filter.
    pub(super) filters: Vec<&'a Value>,
    /// The listeners in which it stands.
    pub(super) ingress: Vec<&'a Value>,
    /// The listeners through which the sidecar goes out.
    pub(super) egress: Vec<&'a Value>,
    /// The virtual hosts with the sidecar's lane.
    pub(super) ingress_hosts: Vec<&'a Value>,
    /// The virtual hosts with the ways to targets.
    pub(super) egress_hosts: Vec<&'a Value>,
    /// The connection managers in which kt's filter stands.
    pub(super) managers: Vec<&'a Value>,
    /// The secrets that say how certificates are verified, wherever they came from.
    pub(super) validations: Vec<&'a Value>,
    /// The clusters of the sidecar.
    pub(super) clusters: Vec<&'a Value>,
    /// The headers that are added to answers.
    pub(super) added: BTreeSet<&'a str>,
}

// === impl View ===

impl<'a> View<'a> {
    pub(super) fn of(config: &'a Value) -> Self {
        let mut view = Self::default();
        walk(config, &mut |value| view.look(value));
        view
    }

    fn look(&mut self, value: &'a Value) {
        if field(value, "vm_config").is_some() && (is(value, "root_id") || is(value, "name")) {
            self.filters.push(value);
        }
        if field(value, "filter_chains").is_some() || field(value, "default_filter_chain").is_some()
        {
            if holds(value, &|it| has_filter(it) || is_ingress_host(it)) {
                self.ingress.push(value);
            } else if holds(value, &is_egress_host) {
                self.egress.push(value);
            }
        }
        if is_ingress_host(value) {
            self.ingress_hosts.push(value);
        } else if is_egress_host(value) {
            self.egress_hosts.push(value);
        }
        if has_filter(value) {
            self.managers.push(value);
        }
        if field(value, "validation_context").is_some() && text(value, "name").is_some() {
            self.validations.push(value);
        }
        let is_ours = [CLUSTER_SIDECAR, CLUSTER_LANE].map(Some).contains(&text(value, "name"));
        if is_ours && field(value, "load_assignment").is_some() {
            self.clusters.push(value);
        }
        for header in list(value, "response_headers_to_add") {
            self.added.extend(field(header, "header").and_then(|header| text(header, "key")));
        }
    }
}

/// Whether it is kt's by this field.
fn is(value: &Value, name: &str) -> bool {
    text(value, name) == Some("kt")
}

/// Whether it is a connection manager with kt's filter in it.
fn has_filter(value: &Value) -> bool {
    list(value, "http_filters").iter().any(|filter| {
        is(filter, "name")
            || holds(filter, &|it| field(it, "vm_config").is_some() && is(it, "root_id"))
    })
}

fn is_ingress_host(value: &Value) -> bool {
    list(value, "routes").iter().any(|route| leads_by(route, headers::LANE))
}

fn is_egress_host(value: &Value) -> bool {
    list(value, "routes").iter().any(|route| leads_by(route, headers::TARGET))
}

/// Whether a route is for requests with this header only.
pub(super) fn leads_by(route: &Value, header: &str) -> bool {
    let conditions = field(route, "match").map(|it| list(it, "headers")).unwrap_or_default();
    conditions.iter().any(|condition| text(condition, "name") == Some(header))
}

/// What a listener holds of a connection, or of a body where nothing else says more.
pub(super) fn connection_bytes(listeners: &[&Value]) -> u64 {
    let of = |listener: &&Value| number(listener, "per_connection_buffer_limit_bytes");
    listeners
        .iter()
        .map(|it| of(it).unwrap_or(BUFFER_BYTES_DEFAULT))
        .min()
        .unwrap_or(BUFFER_BYTES_DEFAULT)
}

/// What a virtual host holds of a body: the least that one of its routes does, each by its own word, else by the host's,
/// else by the connection's.
pub(super) fn host_bytes(host: &Value, connection: u64) -> u64 {
    let of = |value: &Value| number(value, "request_body_buffer_limit");
    let inherited = of(host).unwrap_or(connection);
    let routes = list(host, "routes").iter().map(|route| of(route).unwrap_or(inherited));
    routes.min().unwrap_or(inherited)
}

/// A field, in either of the spellings that Envoy reads.
pub(super) fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).or_else(|| value.get(camel(name)))
}

pub(super) fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    field(value, name)?.as_str()
}

pub(super) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    field(value, name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A number; those of 64 bits are texts in a dump.
pub(super) fn number(value: &Value, name: &str) -> Option<u64> {
    let value = field(value, name)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// A length of time, in seconds.
pub(super) fn seconds(value: &Value, name: &str) -> Option<f64> {
    text(value, name)?.strip_suffix('s')?.parse().ok()
}

/// Whether something within it is so.
pub(super) fn holds(value: &Value, is_so: &dyn Fn(&Value) -> bool) -> bool {
    let mut found = false;
    walk(value, &mut |it| found |= is_so(it));
    found
}

/// Everything within it that stands under this name.
pub(super) fn objects<'a>(value: &'a Value, name: &str) -> Vec<&'a Value> {
    let mut found = Vec::new();
    walk(value, &mut |it| found.extend(field(it, name)));
    found
}

/// Visits it and everything in it that is in force.
fn walk<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !NOT_IN_FORCE.contains(&name.as_str()))
            .for_each(|(_, field)| walk(field, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn camel(name: &str) -> String {
    let mut is_next = false;
    let mut text = String::with_capacity(name.len());
    for char in name.chars() {
        match char {
            '_' => is_next = true,
            char if is_next => {
                text.push(char.to_ascii_uppercase());
                is_next = false;
            }
            char => text.push(char),
        }
    }
    text
}
