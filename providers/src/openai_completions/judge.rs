//! Is an answer complete? See [`crate::openai::judge`].

use crate::answer::{Complete, Incomplete, Recorded, Terms};
use crate::openai::judge::{self, Rule};

const RULE: Rule = Rule { ends_well: &["stop"], has_content: |choice| choice.text.is_some() };

/// See [`crate::Dialect::judge`].
pub(crate) fn judge(recorded: Recorded, body: &[u8], terms: Terms) -> Result<Complete, Incomplete> {
    judge::judge(RULE, recorded, body, terms)
}
