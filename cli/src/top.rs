//! What `kt top` shows: looks at a sidecar become frames. Pure, but for [`screen`], which writes to the terminal, and
//! [`keys`], which hears from it.

pub(crate) mod frame;
pub(crate) mod keys;
pub(crate) mod metrics;
pub(crate) mod savings;
pub(crate) mod screen;
