//! The lock that [`super::log`] uses. The model check of `tests/log_model.rs` puts loom's in its place.

pub(super) use std::sync::Mutex;
