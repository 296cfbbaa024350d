//! The chain as it is run: what its policies find in a body, and what follows for the whole of it.

mod edits;
mod list;

use std::collections::{BTreeMap, BTreeSet};

use kt_contract::policy::{self, Check, Decision, Entities, Entity, Phase};

pub(crate) use edits::{Inner, escape_rest};
use list::List;

use crate::json::{Author, Edit, Form, Text, texts};
use crate::scan::scan_for;
use crate::words::Rejected;
use crate::{EntitySet, Finding, injection, toxicity};

/// What stands in the place of what a list of words has found.
const REDACTED: &str = "[REDACTED]";
/// How much of a text that goes on is held back for the heuristics: about the phrases that they know.
const PHRASE_BYTES: usize = 64;

/// The policies that read texts of one phase, ready to run.
#[derive(Debug)]
pub struct Chain {
    phase: Phase,
    steps: Vec<Step>,
    /// Every kind of entity that is replaced or blocks: a text is scanned once for all.
    wanted: EntitySet,
    /// Every kind that is only watched. Looked for apart, so that it hides nothing of the others.
    watched: EntitySet,
}

/// Whether a text is all that there is of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Yes,
    /// It goes on, and some of it was read before.
    No,
}

/// A policy of the chain.
#[derive(Debug)]
struct Step {
    policy: &'static str,
    check: Compiled,
}

#[derive(Debug)]
enum Compiled {
    Entities(BTreeMap<Entity, Decision>),
    Injection(Decision),
    Words(Decision, List),
    Toxicity(Decision),
}

/// Something that a policy has found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Triggered {
    /// The policy's name.
    pub policy: &'static str,
    /// What it has found: the kind, never the thing.
    pub found: &'static str,
    /// What follows.
    pub decision: Decision,
}

/// What the chain says of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What was found, each kind once, in the order of the chain.
    pub triggered: Vec<Triggered>,
    /// Why the body does not go on, if it does not: the first policy of the chain that says so.
    pub blocked: Option<Blocked>,
    /// What is replaced in it, in order.
    pub edits: Vec<Edit>,
    /// Whether more would have to be replaced than may be. Then not all of it is in `edits`.
    pub has_more_edits: bool,
}

/// Why a body does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The policy's name.
    pub policy: &'static str,
    /// What it has found.
    pub found: &'static str,
    /// Why it is not redacted, if it would have been elsewhere.
    pub irreplaceable: Option<Irreplaceable>,
}

/// Why something cannot be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Irreplaceable {
    /// It is the name of a field, or in it.
    Name,
    /// Its beginning has gone on, because something else was said before its end.
    Begun,
}

/// What was found at one place: by which step, what, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub(crate) step: usize,
    pub(crate) found: &'static str,
    pub(crate) decision: Decision,
    /// Bytes of the text, and what replaces them. `None`: it concerns the text as a whole.
    pub(crate) place: Option<(usize, usize, &'static str)>,
}

impl Default for Chain {
    /// One that reads nothing.
    fn default() -> Self {
        let (wanted, watched) = (EntitySet::NONE, EntitySet::NONE);
        Self { phase: Phase::Input, steps: Vec::new(), wanted, watched }
    }
}

// === impl Chain ===

impl Chain {
    /// The part of a configured chain that reads texts of `phase`.
    ///
    /// # Errors
    /// A term or pattern that cannot be looked for. The check of the configuration has refused it before.
    pub fn compile(chain: &policy::Chain, phase: Phase) -> Result<Self, Rejected> {
        let of_phase = chain.steps.iter().filter(|step| step.phases.contains(&phase));
        let mut steps = Vec::new();
        let (mut wanted, mut watched) = (EntitySet::NONE, EntitySet::NONE);
        for policy::Step { phases: _, check } in of_phase {
            let policy = check.policy();
            let check = match check {
                Check::PiiDetector(Entities(of)) | Check::SecretDetector(Entities(of)) => {
                    for (entity, decision) in of {
                        // The first policy that has a word on a kind decides about it.
                        if wanted.has(*entity) || watched.has(*entity) {
                            continue;
                        }
                        let set = if decision.enforces() { &mut wanted } else { &mut watched };
                        *set = set.with(*entity);
                    }
                    Compiled::Entities(of.clone())
                }
                Check::PromptInjection(decision) => Compiled::Injection(*decision),
                Check::ToxicityFilter(decision) => Compiled::Toxicity(*decision),
                Check::ContentPolicy(words) => {
                    Compiled::Words(words.decision, List::new(&words.terms, &words.patterns)?)
                }
            };
            steps.push(Step { policy, check });
        }
        Ok(Self { phase, steps, wanted, watched })
    }

    /// Whether nothing is read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether something that it finds is replaced or blocks. Else it only watches: a body that it cannot read goes on.
    #[must_use]
    pub fn enforces(&self) -> bool {
        let is_strict = |decision: &Decision| *decision != Decision::Monitor;
        self.steps.iter().any(|step| match &step.check {
            Compiled::Entities(of) => of.values().any(is_strict),
            Compiled::Injection(decision)
            | Compiled::Words(decision, _)
            | Compiled::Toxicity(decision) => is_strict(decision),
        })
    }

    /// Which texts it reads.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// What it says of a JSON body.
    #[must_use]
    pub fn read(&self, body: &[u8]) -> Verdict {
        self.read_with(body, Tally::default())
    }

    /// The same, and no more edits are kept than `edits_max`, about: each has its place in memory.
    #[must_use]
    pub fn read_within(&self, body: &[u8], edits_max: usize) -> Verdict {
        self.read_with(body, Tally { edits_max: Some(edits_max), ..Tally::default() })
    }

    fn read_with(&self, body: &[u8], mut tally: Tally) -> Verdict {
        if !self.is_empty() {
            for text in texts(body) {
                self.read_text(&text, &mut tally);
            }
        }
        tally.verdict(self)
    }

    /// The kinds of entities that are replaced or block, and those that are only watched.
    pub(crate) const fn wanted(&self) -> [EntitySet; 2] {
        [self.wanted, self.watched]
    }

    /// How much of a text that goes on is held back, so that a phrase is found whole.
    pub(crate) fn hold_bytes(&self) -> usize {
        let of = |step: &Step| match &step.check {
            Compiled::Entities(_) => 0,
            Compiled::Injection(_) | Compiled::Toxicity(_) => PHRASE_BYTES,
            Compiled::Words(_, list) => list.hold_bytes(),
        };
        self.steps.iter().map(of).max().unwrap_or(0)
    }

    /// What is found in a text whose entities are looked for elsewhere.
    pub(crate) fn find_words(&self, text: &str, found: &mut impl FnMut(Hit)) {
        self.find_phrases(text, Author::Anybody, Whole::No, found);
    }

    fn find_phrases(&self, text: &str, author: Author, whole: Whole, found: &mut impl FnMut(Hit)) {
        for (step, Step { policy: _, check }) in self.steps.iter().enumerate() {
            match check {
                Compiled::Entities(_) => {}
                Compiled::Injection(decision) => {
                    if author == Author::Anybody && is_injection(text) {
                        found(Hit::whole(step, "injection", *decision));
                    }
                }
                Compiled::Toxicity(decision) => {
                    if is_toxic(text) {
                        found(Hit::whole(step, "toxicity", *decision));
                    }
                }
                Compiled::Words(decision, list) => {
                    let mut take = |start, end| {
                        let place = Some((start, end, REDACTED));
                        found(Hit { step, found: "words", decision: *decision, place });
                    };
                    // Of a text that goes on, the first match may have been found before, and hide the next.
                    if *decision == Decision::Redact || whole == Whole::No {
                        list.find(text, &mut take);
                    } else {
                        list.find_some(text, &mut take);
                    }
                }
            }
        }
    }

    fn policy(&self, step: usize) -> &'static str {
        self.steps.get(step).map_or("", |step| step.policy)
    }

    fn find_entities(&self, text: &str, found: &mut impl FnMut(Hit)) {
        for wanted in self.wanted() {
            if !wanted.is_empty() {
                scan_for(text, wanted, &mut |finding| {
                    self.decide(finding).into_iter().for_each(&mut *found);
                });
            }
        }
    }

    /// The first policy of the chain that has a word on this kind decides.
    pub(crate) fn decide(&self, finding: Finding) -> Option<Hit> {
        let Finding { start, end, entity } = finding;
        self.steps.iter().enumerate().find_map(|(step, Step { policy: _, check })| match check {
            Compiled::Entities(of) => of.get(&entity).map(|decision| Hit {
                step,
                found: entity.as_str(),
                decision: *decision,
                place: Some((start, end, entity.placeholder())),
            }),
            Compiled::Injection(_) | Compiled::Words(..) | Compiled::Toxicity(_) => None,
        })
    }

    /// Reads a text that is whole.
    pub(crate) fn read_text(&self, text: &Text<'_>, tally: &mut Tally) {
        let irreplaceable = (text.form == Form::Name).then_some(Irreplaceable::Name);
        let mut places = edits::Places::at_most(tally.edits_left());
        let mut take = |hit: Hit| {
            tally.count(&hit, irreplaceable);
            if hit.decision == Decision::Redact && irreplaceable.is_none() {
                hit.place.into_iter().for_each(|place| places.push(place));
            }
        };
        self.find_entities(text.says.text(), &mut take);
        self.find_phrases(text.says.text(), text.author, Whole::Yes, &mut take);
        tally.has_more_edits |= places.has_more();
        tally.edits.extend(edits::of(text, places));
    }
}

fn is_injection(text: &str) -> bool {
    injection::score(text).points >= injection::THRESHOLD
}

fn is_toxic(text: &str) -> bool {
    toxicity::score(text).points >= toxicity::THRESHOLD
}

// === impl Hit ===

impl Hit {
    /// It concerns the text as a whole.
    pub(crate) const fn whole(step: usize, found: &'static str, decision: Decision) -> Self {
        Self { step, found, decision, place: None }
    }
}

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By step, kind and what follows.
    found: BTreeSet<(usize, &'static str, Decision)>,
    /// The first step that blocks.
    blocked: Option<(usize, &'static str, Option<Irreplaceable>)>,
    pub(crate) edits: Vec<Edit>,
    /// How many of them are kept, if that is bounded.
    edits_max: Option<usize>,
    /// Whether some were not.
    has_more_edits: bool,
}

// === impl Tally ===

impl Tally {
    fn edits_left(&self) -> Option<usize> {
        self.edits_max.map(|max| max.saturating_sub(self.edits.len()))
    }

    pub(crate) fn count(&mut self, hit: &Hit, irreplaceable: Option<Irreplaceable>) {
        let irreplaceable = irreplaceable.filter(|_| hit.decision == Decision::Redact);
        let decision = if irreplaceable.is_some() { Decision::Block } else { hit.decision };
        self.found.insert((hit.step, hit.found, decision));
        if decision == Decision::Block && self.blocked.is_none_or(|(step, ..)| hit.step < step) {
            self.blocked = Some((hit.step, hit.found, irreplaceable));
        }
    }

    fn verdict(self, chain: &Chain) -> Verdict {
        let (triggered, blocked) = (self.triggered(chain), self.blocked(chain));
        let is_beyond = self.edits_max.is_some_and(|max| self.edits.len() > max);
        let has_more_edits = self.has_more_edits || is_beyond;
        Verdict { triggered, blocked, edits: self.edits, has_more_edits }
    }

    pub(crate) fn triggered(&self, chain: &Chain) -> Vec<Triggered> {
        let found = self.found.iter();
        found
            .map(|(step, found, decision)| Triggered {
                policy: chain.policy(*step),
                found,
                decision: *decision,
            })
            .collect()
    }

    pub(crate) fn blocked(&self, chain: &Chain) -> Option<Blocked> {
        self.blocked.map(|(step, found, irreplaceable)| Blocked {
            policy: chain.policy(step),
            found,
            irreplaceable,
        })
    }
}

// === impl Triggered ===

impl std::fmt::Display for Triggered {
    /// As logs have it: `pii-detector:email:redact`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { policy, found, decision } = self;
        write!(f, "{policy}:{found}:{}", decision.as_str())
    }
}

// === impl Blocked ===

impl Blocked {
    /// Why, in words that follow "Refused by policy …: ".
    #[must_use]
    pub fn what(&self, phase: Phase) -> String {
        let whose = match phase {
            Phase::Input => "the request",
            Phase::Output => "the model's answer",
        };
        let Self { policy: _, found, irreplaceable } = self;
        let place = match irreplaceable {
            None => "",
            Some(Irreplaceable::Name) => " in the name of a field",
            Some(Irreplaceable::Begun) => " in parts, with something else between them",
        };
        match *found {
            "injection" => format!("{whose} reads like an attempt to override instructions"),
            "toxicity" => format!("{whose} reads like an insult or a threat"),
            "words" => format!("{whose} has words that this gateway does not pass{place}"),
            entity => format!("{whose} has what looks like: {entity}{place}"),
        }
    }
}

#[cfg(test)]
mod tests;
