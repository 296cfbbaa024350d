//! The stores on a Redis of their own. One binary for all of it, so that it links once.

#[cfg(test)]
mod backend;
#[cfg(test)]
mod corruption;
#[cfg(test)]
mod entries;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/entry_suite.rs"]
mod entry_suite;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod flights;
#[cfg(test)]
mod layered;
#[cfg(test)]
mod lease_model;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/lease_suite.rs"]
mod lease_suite;
#[cfg(test)]
mod leases;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/log_suite.rs"]
mod log_suite;
#[cfg(test)]
mod logs;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/rate_suite.rs"]
mod rate_suite;
#[cfg(test)]
mod rates;
#[cfg(test)]
#[path = "../../../../sidecar-cache/tests/sidecar/support.rs"]
#[expect(dead_code, reason = "the sidecar's own tests need more of it")]
mod sidecars;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod topologies;
