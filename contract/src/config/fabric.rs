//! `fabric`: codebase context, not built yet. The one section that is accepted all the same, because every
//! answer says so (`X-Fabric-Attached: false`).

use super::raw;
use super::report::Report;

pub(super) fn check(raw: &raw::Fabric, report: &mut Report) {
    if raw.enabled == Some(true) {
        report.warning(
            "fabric.enabled",
            "fabric is not built yet: no context is attached, and every answer says \
             X-Fabric-Attached: false",
        );
    }
}
