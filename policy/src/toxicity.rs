//! Hints that a text insults, threatens or harasses. A heuristic on a list of words and phrases: it knows no irony,
//! no quotation and no context, and what is not on the list it does not see. Operators who need other words
//! add them as terms of their own.

use std::sync::OnceLock;

use crate::disguise::readings;
use crate::words::Terms;

/// At this score and above a text is best treated as toxic.
pub const THRESHOLD: u8 = 50;

/// How near, in words, a name and whom it is given to have to be.
const NEAR_WORDS: usize = 5;

/// What kind of toxicity a word or phrase hints at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hint {
    /// A threat of violence.
    Threat,
    /// A call to harm oneself.
    SelfHarm,
    /// An insult of somebody.
    Insult,
    /// A slur or dehumanizing phrase.
    Hate,
    /// A vulgar word, which alone is not toxic.
    Profanity,
}

/// What a text scored, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Score {
    /// From 0 to 100.
    pub points: u8,
    /// The hints, each once.
    pub hints: Vec<Hint>,
}

/// What a phrase says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A hint, and its points.
    Hint(Hint, u8),
    /// A name that insults whom it is given to; texts speak of such names as well, so it needs somebody nearby.
    Name,
    /// Somebody who is addressed.
    Address,
}

/// What says what; parted by commas.
#[rustfmt::skip]
const PHRASES: &[(Part, &str)] = &[
    (Part::Hint(Hint::Threat, 80), "put your nudes, ruin your life, ruin your pathetic life, i will ruin you, te crever, \
        найду и убью, je vais te retrouver, i will kill you, i'll kill you, i am going to kill you, i'm going to kill you, gonna kill you, \
        i will hurt you, i'll hurt you, i will find you and, i will beat you, you will pay for this with, \
        you should be shot, you deserve to die, hope you die, i hope you get hurt, watch your back, \
        i will destroy you, i know where you live, break your legs, burn your house, smash your face, \
        slit your throat, you're dead, wish you were dead, i will end you, beat the crap out of you, \
        beat you up, ich bringe dich um, ich töte dich, ich mach dich fertig, ich weiß wo du wohnst, \
        du sollst sterben, je vais te tuer, je vais te frapper, je sais où tu habites, te voy a matar, \
        voy a matarte, sé dónde vives, ojalá te mueras, vou te matar, ti ammazzo, ti uccido, я тебя убью, \
        убью тебя, zabiję cię, 我要杀了你, 我会杀了你, 去死, 殺すぞ, 殺してやる, 죽여버릴, seni öldüreceğim"),
    (Part::Hint(Hint::SelfHarm, 90), "kill yourself, kys, go die, go kill yourself, end your life, hang yourself, drink bleach, \
        neck yourself, jump off a bridge, the world would be better without you, nobody would miss you, \
        better off dead, better off without you, bring dich um, geh sterben, suicide-toi, va mourir, mátate, \
        suicídate, muérete, se mate, vai morrer, ammazzati, убей себя, 死んでしまえ, 死ね, 뒈져"),
    (Part::Hint(Hint::Insult, 55), "you are stupid, you're stupid, you stupid, stupid bot, so stupid, dumbass, dumb ass, asshole, \
        assholes, son of a bitch, piece of shit, piece of garbage, piece of trash, scumbag, dickhead, \
        douchebag, jackass, fuck you, fuck off, shut the fuck up, stfu, screw you, you are worthless, \
        you're worthless, worthless piece, you are pathetic, you're pathetic, pathetic excuse, \
        you disgust me, you are disgusting, you're disgusting, brain dead, braindead, dimwit, halfwit, \
        numbskull, nobody likes you, waste of space, waste of oxygen, you make me sick, you are useless, \
        you're useless, useless piece, go to hell, shut up you, ugly pig, fat pig, you clown, total clown, \
        you are trash, you're trash, you are garbage, you're garbage, i hate you, everyone hates you, \
        arschloch, vollidiot, du idiot, wichser, hurensohn, dummkopf, du bist dumm, fick dich, \
        verpiss dich, halt die fresse, halt's maul, missgeburt, drecksau, schlampe, du bist wertlos, \
        connard, connasse, salope, enculé, va te faire foutre, ta gueule, espèce de, fils de pute, \
        sale con, pauvre con, gilipollas, hijo de puta, pendejo, cabrón, eres un idiota, vete a la mierda, \
        puta madre, eres basura, filho da puta, vai se foder, vai tomar no, otário, babaca, stronzo, \
        vaffanculo, figlio di puttana, coglione, testa di cazzo, klootzak, kankerlijer, spierdalaj, kurwa, \
        мудак, заткнись, ублюдок, 傻逼, 蠢货, 白痴, 废物, 混蛋, 滚开, バカ野郎, 馬鹿野郎, クズ, 바보, 병신, 개새끼, aptal, salak, \
        orospu, you disgusting, you worthless, you pathetic, you incompetent, you smelly, you filthy, \
        you miserable, you ugly, you useless, disgusting pig, incompetent cow, little shit, piece of filth, \
        hates you, laughs about you, laughs at you, rot in hell, stay home and rot, you freak, \
        you parasite, you vermin, you scum, go fuck yourself, depperter, schleich di, zu blöd, du trottel, \
        du depp, du versager, du arsch, skurwysyn, skurwysynu, zamknij się, jesteś zerem, мразь, يا كلب, \
        يا حقير, يا حمار, kutte ki, chutiya, madarchod, bhenchod, sale pute, pauvre type, eres un inútil, \
        sei un fallito, you are a joke, you're a joke, you are nothing, you're nothing"),
    (Part::Name, "idiot, idiots, moron, morons, imbecile, bastard, bitch, bitches, loser, losers, prick, twat, \
        wanker, burro, cretino, debil, debiel, idiota, imbécil, imbécile, crétin, abruti, сука, тварь, \
        дурак, идиот, estúpido, vermin, trottel, depp"),
    (Part::Address, "you, your, you re, u, ur, du, dich, dein, deine, tu, te, toi, ton, eres, você, sei, ty, jesteś, ты, тебя, \
        你, お前, 너"),
    (Part::Hint(Hint::Hate, 80), "subhuman, subhumans, are vermin, are all vermin, should be exterminated, should all die, deserve to die, \
        should be wiped out, go back to your country, inferior race, are animals not people, are a plague, \
        are parasites, don't deserve rights, do not deserve rights, faggot, faggots, retard, retards, retarded, \
        tranny, cunt, cunts, whore, whores, slut, sluts, are all criminals, are all terrorists, \
        belong in the kitchen, untermensch, untermenschen, kanake, kanaken, sale race, retourne dans ton pays, \
        raza inferior, vuelve a tu país, geh zurück in dein land"),
    (Part::Hint(Hint::Profanity, 20), "fuck, fucking, fucked, shit, shitty, bullshit, damn, crap, scheiße, scheisse, merde, putain, mierda, \
        joder, merda, cazzo, блять, 他妈的, くそ, 씨발, stupid, dumb"),
];

struct Phrases {
    terms: Terms,
    parts: Vec<Part>,
}

/// Scores a text. The time is linear in its length.
#[must_use]
pub fn score(text: &str) -> Score {
    let mut score = Score::default();
    readings(text, &phrases().terms, &mut |reading| score.read(reading));
    score
}

// === impl Score ===

impl Score {
    fn read(&mut self, text: &str) {
        let phrases = phrases();
        let (mut name, mut address) = (None, None);
        phrases.terms.find(text, &mut |hit| {
            match phrases.parts.get(hit.term) {
                Some(Part::Name) => name = Some(hit.word),
                Some(Part::Address) => address = Some(hit.word),
                Some(Part::Hint(hint, points)) => self.add(*hint, *points),
                None => {}
            }
            if let (Some(name), Some(address)) = (name, address)
                && usize::abs_diff(name, address) <= NEAR_WORDS
            {
                self.add(Hint::Insult, 55);
            }
        });
    }

    fn add(&mut self, hint: Hint, points: u8) {
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
            self.points = self.points.saturating_add(points).min(100);
        }
    }
}

fn phrases() -> &'static Phrases {
    static PHRASES_ONCE: OnceLock<Phrases> = OnceLock::new();
    PHRASES_ONCE.get_or_init(|| {
        let all: Vec<(&str, Part)> = PHRASES
            .iter()
            .flat_map(|(part, texts)| texts.split(", ").map(|text| (text, *part)))
            .collect();
        let texts: Vec<&str> = all.iter().map(|(text, _)| *text).collect();
        // No phrase is empty: a test says so.
        let terms = Terms::new(&texts).unwrap_or_default();
        Phrases { terms, parts: all.into_iter().map(|(_, part)| part).collect() }
    })
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn an_insult_is_hinted_at_and_a_vulgar_word_alone_is_not_toxic() {
        assert_eq!(score("You absolute moron.").hints, [Hint::Insult]);
        assert_eq!(score("you m\u{200B}oron").hints, [Hint::Insult]);
        assert!(score("Damn, the build is red again.").points < THRESHOLD);
        assert_eq!(score("Would you kindly look into it?"), Score::default());
    }
}
