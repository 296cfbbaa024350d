//! The names that secrets are given to.

use crate::entity::Entity;

/// Ends of names, without dashes and in lower case, and what is given to such a name.
pub(super) const NAMES: [(&[u8], Entity); 72] = [
    (b"password", Entity::Password),
    (b"passwd", Entity::Password),
    (b"pwd", Entity::Password),
    (b"passphrase", Entity::Password),
    (b"passcode", Entity::Password),
    (b"passwort", Entity::Password),
    (b"kennwort", Entity::Password),
    (b"contrasena", Entity::Password),
    (b"wachtwoord", Entity::Password),
    (b"senha", Entity::Password),
    (b"haslo", Entity::Password),
    (b"passe", Entity::Password),
    (b"dbpass", Entity::Password),
    (b"userpass", Entity::Password),
    (b"pass", Entity::Password),
    (b"pw", Entity::Password),
    (b"passw", Entity::Password),
    (b"pswd", Entity::Password),
    (b"psw", Entity::Password),
    (b"mdp", Entity::Password),
    (b"sshpass", Entity::Password),
    (b"smtppass", Entity::Password),
    (b"contrasenia", Entity::Password),
    (b"adgangskode", Entity::Password),
    (b"kodeord", Entity::Password),
    (b"losenord", Entity::Password),
    (b"salasana", Entity::Password),
    (b"jelszo", Entity::Password),
    (b"heslo", Entity::Password),
    (b"parola", Entity::Password),
    (b"sifre", Entity::Password),
    (b"lozinka", Entity::Password),
    (b"geslo", Entity::Password),
    (b"khau", Entity::Password),
    (b"sandi", Entity::Password),
    (b"passord", Entity::Password),
    (b"paswoord", Entity::Password),
    (b"apikey", Entity::ApiKey),
    (b"apitoken", Entity::ApiKey),
    (b"apischlussel", Entity::ApiKey),
    (b"apischluessel", Entity::ApiKey),
    (b"servicekey", Entity::ApiKey),
    (b"storagekey", Entity::ApiKey),
    (b"licensekey", Entity::ApiKey),
    (b"licencekey", Entity::ApiKey),
    (b"deploykey", Entity::ApiKey),
    (b"webhookkey", Entity::ApiKey),
    (b"appkey", Entity::ApiKey),
    (b"secretkey", Entity::ApiKey),
    (b"accesskey", Entity::ApiKey),
    (b"accountkey", Entity::ApiKey),
    (b"authkey", Entity::ApiKey),
    (b"signingkey", Entity::ApiKey),
    (b"encryptionkey", Entity::ApiKey),
    (b"subscriptionkey", Entity::ApiKey),
    (b"functionskey", Entity::ApiKey),
    (b"masterkey", Entity::ApiKey),
    (b"cleapi", Entity::ApiKey),
    (b"claveapi", Entity::ApiKey),
    (b"chaveapi", Entity::ApiKey),
    (b"chiaveapi", Entity::ApiKey),
    (b"clientsecret", Entity::ApiKey),
    (b"appsecret", Entity::ApiKey),
    (b"apisecret", Entity::ApiKey),
    (b"secret", Entity::ApiKey),
    (b"accesstoken", Entity::AccessToken),
    (b"authtoken", Entity::AccessToken),
    (b"refreshtoken", Entity::AccessToken),
    (b"sessiontoken", Entity::AccessToken),
    (b"bearertoken", Entity::AccessToken),
    (b"bottoken", Entity::AccessToken),
    (b"token", Entity::AccessToken),
];
/// With which three letters names end: of the last and the last but one a bit for the one before them.
const ENDS: [[u32; 26]; 26] = ends();

const fn ends() -> [[u32; 26]; 26] {
    let mut ends = [[0; 26]; 26];
    let mut rest: &[(&[u8], Entity)] = &NAMES;
    while let Some(((name, _), others)) = rest.split_first() {
        let (before, last, third) = match name {
            [.., third, before, last] => (*before, *last, 1 << (*third - b'a')),
            [before, last] => (*before, *last, u32::MAX),
            [] | [_] => (b'a', b'a', 0),
        };
        #[expect(
            clippy::indexing_slicing,
            reason = "names are of small letters, which a test says, and this is known when compiled"
        )]
        {
            ends[(last - b'a') as usize][(before - b'a') as usize] |= third;
        }
        rest = others;
    }
    ends
}

/// Whether a name may end with these three characters. Most are passed over by one look at them.
#[inline]
pub(super) fn may_end_with(third: u8, before: u8, last: u8) -> bool {
    let letter = |byte: u8| usize::from(byte.to_ascii_lowercase().wrapping_sub(b'a'));
    let thirds = ENDS.get(letter(last)).and_then(|ends| ends.get(letter(before)));
    let thirds = thirds.copied().unwrap_or(0);
    match letter(third) {
        nth @ 0..26 => thirds & 1 << nth != 0,
        // A dash may stand within a name, and something else before a short one.
        _ => thirds != 0,
    }
}

/// Names of other tokens.
pub(super) const HARMLESS: [&[u8]; 7] = [
    b"pagetoken",
    b"nexttoken",
    b"continuationtoken",
    b"maxtoken",
    b"csrftoken",
    b"synctoken",
    b"resumetoken",
];
/// The same in scripts that are not Latin, as the fold leaves them. They are looked for before the sign: what they begin
/// with is no letter that a detector begins at.
pub(super) const FOREIGN: [(&str, Entity); 23] = [
    ("apoль", Entity::Password),
    ("APOЛЬ", Entity::Password),
    ("パスワード", Entity::Password),
    ("暗証番号", Entity::Password),
    ("密码", Entity::Password),
    ("密碼", Entity::Password),
    ("口令", Entity::Password),
    ("비밀번호", Entity::Password),
    ("암호", Entity::Password),
    ("पासवर्ड", Entity::Password),
    ("كلمة المرور", Entity::Password),
    ("كلمة السر", Entity::Password),
    ("رمز عبور", Entity::Password),
    ("סיסמה", Entity::Password),
    ("סיסמא", Entity::Password),
    ("รหัสผ่าน", Entity::Password),
    ("kωδikoς", Entity::Password),
    ("πpoσβaσης", Entity::Password),
    ("kлюч", Entity::ApiKey),
    ("キー", Entity::ApiKey),
    ("密钥", Entity::ApiKey),
    ("金鑰", Entity::ApiKey),
    ("키", Entity::ApiKey),
];

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn names_are_written_as_the_fold_leaves_them() {
        for (name, _) in FOREIGN {
            assert_eq!(crate::fold::Folded::of(name).as_str(), name);
            assert!(!name.is_ascii(), "{name}");
        }
        for (name, _) in NAMES {
            assert!(name.iter().all(u8::is_ascii_lowercase), "{name:?}");
        }
    }
}
