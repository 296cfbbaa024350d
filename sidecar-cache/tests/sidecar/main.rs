//! The sidecar from outside. One binary for all of it, so that it links once.

#[cfg(test)]
mod admit;
#[cfg(test)]
mod allotments;
#[cfg(test)]
mod audit_log;
#[cfg(test)]
mod audit_stores;
#[cfg(test)]
mod audit_suite;
#[cfg(test)]
mod call_lines;
#[cfg(test)]
mod crowded;
#[cfg(test)]
mod distant;
#[cfg(test)]
mod elsewhere;
#[cfg(test)]
mod entry_stores;
#[cfg(test)]
mod entry_suite;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod flight_logs;
#[cfg(test)]
mod flights;
#[cfg(test)]
mod freshness;
#[cfg(test)]
mod generation_stores;
#[cfg(test)]
mod generation_suite;
#[cfg(test)]
mod identified;
#[cfg(test)]
mod invalidation;
#[cfg(test)]
mod judges;
#[cfg(test)]
mod key_stores;
#[cfg(test)]
mod key_suite;
#[cfg(test)]
mod keyed;
#[cfg(test)]
mod lane;
#[cfg(test)]
mod layered;
#[cfg(test)]
mod lease_stores;
#[cfg(test)]
mod lease_suite;
#[cfg(test)]
mod ledger_bills;
#[cfg(test)]
mod ledger_clocks;
#[cfg(test)]
mod ledger_file;
#[cfg(test)]
mod ledger_levels;
#[cfg(test)]
mod ledger_midnight;
#[cfg(test)]
mod ledger_model;
#[cfg(test)]
mod ledger_open;
#[cfg(test)]
mod ledger_over;
#[cfg(test)]
mod ledger_payers;
#[cfg(test)]
mod ledger_savings;
#[cfg(test)]
mod ledger_stores;
#[cfg(test)]
mod ledger_support;
#[cfg(test)]
mod live;
#[cfg(test)]
mod log_suite;
#[cfg(test)]
mod open_calls;
#[cfg(test)]
mod pace;
mod police;
mod rate_stores;
#[cfg(test)]
mod rate_suite;
mod reply_stores;
#[cfg(test)]
mod reply_suite;
#[cfg(test)]
mod room;
#[cfg(test)]
mod savings;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod shared_database;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod spool;
#[cfg(test)]
mod spool_stores;
#[cfg(test)]
mod store_away;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod unattended;
#[cfg(test)]
mod upkeep;
#[cfg(test)]
mod version_stores;
#[cfg(test)]
mod wallet;
#[cfg(test)]
mod wallet_alerts;
#[cfg(test)]
mod wallet_api;
#[cfg(test)]
mod wallet_audit;
#[cfg(test)]
mod wallet_bounds;
#[cfg(test)]
mod wallet_calls;
#[cfg(test)]
mod wallet_clock;
#[cfg(test)]
mod wallet_prices;
#[cfg(test)]
mod wallet_takeovers;
#[cfg(test)]
mod wallet_unread;
#[cfg(test)]
mod wallet_zones;
