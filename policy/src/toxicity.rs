//! Hints that a text insults, threatens or harasses. A heuristic on a list of words and phrases: it knows no irony,
//! no quotation and no context, and what is not on the list it does not see. Operators who need other words
//! add them as terms of their own.

use std::sync::OnceLock;

use crate::words::Terms;

/// At this score and above a text is best treated as toxic.
pub const THRESHOLD: u8 = 50;

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

/// What hints at what, and its points; parted by commas.
#[rustfmt::skip]
const PHRASES: &[(Hint, u8, &str)] = &[
    (Hint::Threat, 80, "i will kill you, i'll kill you, i am going to kill you, i'm going to kill you, gonna kill you, \
        i will hurt you, i'll hurt you, i will find you and, i will beat you, you will pay for this with, \
        you should be shot, you deserve to die, hope you die, i hope you get hurt, watch your back, \
        i will destroy you, i know where you live, break your legs, burn your house, smash your face, \
        slit your throat, you're dead, wish you were dead, i will end you, beat the crap out of you, \
        beat you up, ich bringe dich um, ich töte dich, ich mach dich fertig, ich weiß wo du wohnst, \
        du sollst sterben, je vais te tuer, je vais te frapper, je sais où tu habites, te voy a matar, \
        voy a matarte, sé dónde vives, ojalá te mueras, vou te matar, ti ammazzo, ti uccido, я тебя убью, \
        убью тебя, zabiję cię, 我要杀了你, 我会杀了你, 去死, 殺すぞ, 殺してやる, 죽여버릴, seni öldüreceğim"),
    (Hint::SelfHarm, 90, "kill yourself, kys, go die, go kill yourself, end your life, hang yourself, drink bleach, \
        neck yourself, jump off a bridge, the world would be better without you, nobody would miss you, \
        better off dead, better off without you, bring dich um, geh sterben, suicide-toi, va mourir, mátate, \
        suicídate, muérete, se mate, vai morrer, ammazzati, убей себя, 死んでしまえ, 死ね, 뒈져"),
    (Hint::Insult, 55, "idiot, idiots, moron, morons, imbecile, you are stupid, you're stupid, you stupid, stupid bot, \
        so stupid, dumbass, dumb ass, asshole, assholes, bastard, bitch, bitches, son of a bitch, \
        piece of shit, piece of garbage, piece of trash, scumbag, dickhead, douchebag, jackass, fuck you, \
        fuck off, shut the fuck up, stfu, screw you, loser, losers, you are worthless, you're worthless, \
        worthless piece, you are pathetic, you're pathetic, pathetic excuse, you disgust me, \
        you are disgusting, you're disgusting, brain dead, braindead, dimwit, halfwit, numbskull, \
        nobody likes you, waste of space, waste of oxygen, you make me sick, you are useless, you're useless, \
        useless piece, wanker, prick, twat, go to hell, shut up you, ugly pig, fat pig, you clown, total clown, \
        you are trash, you're trash, you are garbage, you're garbage, i hate you, everyone hates you, \
        arschloch, vollidiot, du idiot, wichser, hurensohn, dummkopf, du bist dumm, fick dich, verpiss dich, \
        halt die fresse, halt's maul, missgeburt, drecksau, schlampe, du bist wertlos, connard, connasse, \
        salope, enculé, va te faire foutre, ta gueule, espèce de, fils de pute, abruti, crétin, imbécile, \
        sale con, pauvre con, gilipollas, hijo de puta, pendejo, cabrón, imbécil, eres un idiota, estúpido, \
        vete a la mierda, idiota, puta madre, eres basura, filho da puta, vai se foder, vai tomar no, burro, \
        otário, babaca, stronzo, vaffanculo, figlio di puttana, coglione, cretino, testa di cazzo, klootzak, \
        kankerlijer, debiel, spierdalaj, kurwa, debil, идиот, дурак, сука, мудак, заткнись, ублюдок, тварь, 傻逼, \
        蠢货, 白痴, 废物, 混蛋, 滚开, バカ野郎, 馬鹿野郎, クズ, 바보, 병신, 개새끼, aptal, salak, orospu"),
    (Hint::Hate, 80, "subhuman, subhumans, vermin, should be exterminated, should all die, deserve to die, \
        should be wiped out, go back to your country, inferior race, are animals not people, are a plague, \
        are parasites, don't deserve rights, do not deserve rights, faggot, faggots, retard, retards, retarded, \
        tranny, cunt, cunts, whore, whores, slut, sluts, are all criminals, are all terrorists, \
        belong in the kitchen, untermensch, untermenschen, kanake, kanaken, sale race, retourne dans ton pays, \
        raza inferior, vuelve a tu país, geh zurück in dein land"),
    (Hint::Profanity, 20, "fuck, fucking, fucked, shit, shitty, bullshit, damn, crap, scheiße, scheisse, merde, putain, mierda, \
        joder, merda, cazzo, блять, 他妈的, くそ, 씨발, stupid, dumb"),
];

struct Phrases {
    terms: Terms,
    hints: Vec<(Hint, u8)>,
}

/// Scores a text. The time is linear in its length.
#[must_use]
pub fn score(text: &str) -> Score {
    let phrases = phrases();
    let mut hits = Vec::new();
    phrases.terms.find(text, &mut hits);
    let mut score = Score::default();
    for (hint, points) in hits.iter().filter_map(|hit| phrases.hints.get(hit.term)) {
        if !score.hints.contains(hint) {
            score.hints.push(*hint);
            score.points = score.points.saturating_add(*points).min(100);
        }
    }
    score
}

fn phrases() -> &'static Phrases {
    static PHRASES_ONCE: OnceLock<Phrases> = OnceLock::new();
    PHRASES_ONCE.get_or_init(|| {
        let all: Vec<(&str, (Hint, u8))> = PHRASES
            .iter()
            .flat_map(|(hint, points, texts)| {
                texts.split(", ").map(|text| (text, (*hint, *points)))
            })
            .collect();
        let texts: Vec<&str> = all.iter().map(|(text, _)| *text).collect();
        // No phrase is empty: a test says so.
        let terms = Terms::new(&texts).unwrap_or_default();
        Phrases { terms, hints: all.into_iter().map(|(_, hint)| hint).collect() }
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
