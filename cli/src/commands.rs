//! The commands, one file each.

pub(crate) mod audit;
pub(crate) mod cache;
pub(crate) mod config;
pub(crate) mod db;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod gateway;
mod gateway_args;
pub(crate) mod gateway_run;
pub(crate) mod gateway_status;
pub(crate) mod key;
pub(crate) mod savings;
pub(crate) mod top;
pub(crate) mod wallet;
