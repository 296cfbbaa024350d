//! Running children: they start through [`launch`], are restarted with [`backoff`], and end when `kt` does.

pub(crate) mod backoff;
pub(crate) mod child;
pub(crate) mod drain;
pub(crate) mod launch;
pub(crate) mod ready;
pub(crate) mod stop;
