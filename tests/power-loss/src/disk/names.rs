//! The names in a folder.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::Node;
use super::history::{Content, Touched};

#[derive(Clone, Debug, Default)]
pub(super) struct Names(pub(super) BTreeMap<OsString, Node>);

#[derive(Clone, Debug)]
pub(super) enum Change {
    Add { name: OsString, node: Node },
    Remove { name: OsString },
    Rename { from: OsString, to: OsString },
}

// === impl Names ===

impl Content for Names {
    type Change = Change;
    type Cell = OsString;

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Add { name, node } => _ = self.0.insert(name.clone(), *node),
            Change::Remove { name } => _ = self.0.remove(name),
            Change::Rename { from, to } => {
                if let Some(node) = self.0.remove(from) {
                    self.0.insert(to.clone(), node);
                }
            }
        }
    }

    fn touched(change: &Change) -> Touched<OsString> {
        match change {
            Change::Add { name, .. } | Change::Remove { name } => Touched::One(name.clone()),
            Change::Rename { from, to } => Touched::Two(from.clone(), to.clone()),
        }
    }
}
