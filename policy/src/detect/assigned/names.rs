//! The names that secrets are given to.

use crate::entity::Entity;

/// Ends of names, without dashes and in lower case, and what is given to such a name.
pub(super) const NAMES: [(&[u8], Entity); 108] = [
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
    (b"passwords", Entity::Password),
    (b"requirepass", Entity::Password),
    (b"masterauth", Entity::Password),
    (b"storepass", Entity::Password),
    (b"keypass", Entity::Password),
    (b"rootpass", Entity::Password),
    (b"adminpass", Entity::Password),
    (b"psk", Entity::Password),
    (b"clave", Entity::Password),
    (b"parool", Entity::Password),
    (b"slaptazodis", Entity::Password),
    (b"contrasenya", Entity::Password),
    (b"pasahitza", Entity::Password),
    (b"laluan", Entity::Password),
    (b"nenosiri", Entity::Password),
    (b"wagwoord", Entity::Password),
    (b"sifreniz", Entity::Password),
    (b"sifresi", Entity::Password),
    (b"jelszava", Entity::Password),
    (b"apikeys", Entity::ApiKey),
    (b"secrets", Entity::ApiKey),
    (b"cledapi", Entity::ApiKey),
    (b"clavedeapi", Entity::ApiKey),
    (b"chavedeapi", Entity::ApiKey),
    (b"chavedaapi", Entity::ApiKey),
    (b"chiavedellapi", Entity::ApiKey),
    (b"kluczapi", Entity::ApiKey),
    (b"kluczdoapi", Entity::ApiKey),
    (b"kunciapi", Entity::ApiKey),
    (b"khoaapi", Entity::ApiKey),
    (b"klicapi", Entity::ApiKey),
    (b"jeton", Entity::AccessToken),
    (b"tokens", Entity::AccessToken),
    (b"zugriffstoken", Entity::AccessToken),
    (b"zugangstoken", Entity::AccessToken),
    (b"bearerauth", Entity::AccessToken),
];
/// Ends of names that other things have as well: what is given to them has to look drawn.
pub(super) const LOOSE: [(&[u8], Entity); 14] = [
    (b"key", Entity::ApiKey),
    (b"keys", Entity::ApiKey),
    (b"pat", Entity::ApiKey),
    (b"appid", Entity::ApiKey),
    (b"schlussel", Entity::ApiKey),
    (b"schluessel", Entity::ApiKey),
    (b"sleutel", Entity::ApiKey),
    (b"nyckel", Entity::ApiKey),
    (b"nokkel", Entity::ApiKey),
    (b"anahtari", Entity::ApiKey),
    (b"kulcs", Entity::ApiKey),
    (b"chiave", Entity::ApiKey),
    (b"klucz", Entity::ApiKey),
    (b"bearer", Entity::AccessToken),
];
/// Before `key`: what is given to these opens nothing.
pub(super) const HARMLESS_KEYS: [&[u8]; 52] = [
    b"recv",
    b"blob",
    b"cache",
    b"candidate",
    b"chart",
    b"composite",
    b"dedup",
    b"dedupe",
    b"event",
    b"field",
    b"file",
    b"foreign",
    b"gpg",
    b"group",
    b"hash",
    b"host",
    b"i18n",
    b"idempotency",
    b"idempotent",
    b"image",
    b"index",
    b"item",
    b"join",
    b"lock",
    b"lookup",
    b"map",
    b"measurement",
    b"message",
    b"object",
    b"order",
    b"partition",
    b"pgp",
    b"pub",
    b"public",
    b"publishable",
    b"primary",
    b"range",
    b"record",
    b"redis",
    b"routing",
    b"row",
    b"s3",
    b"shard",
    b"site",
    b"sort",
    b"ssh",
    b"translation",
    b"unique",
    b"verification",
    b"verify",
    b"websocket",
    b"ws",
];
/// What may stand behind a name, parted by a dash.
pub(super) const TAILS: [&[u8]; 28] = [
    b"base",
    b"admin",
    b"app",
    b"backup",
    b"base64",
    b"current",
    b"db",
    b"dev",
    b"development",
    b"eu",
    b"live",
    b"local",
    b"main",
    b"new",
    b"old",
    b"prd",
    b"prod",
    b"production",
    b"primary",
    b"qa",
    b"ro",
    b"root",
    b"rw",
    b"secondary",
    b"stage",
    b"staging",
    b"test",
    b"us",
];
/// With which three letters names end: of the last and the last but one a bit for the one before them.
const ENDS: [[u32; 26]; 26] = ends();

const fn ends() -> [[u32; 26]; 26] {
    with_ends(&LOOSE, with_ends(&NAMES, [[0; 26]; 26]))
}

const fn with_ends(names: &[(&[u8], Entity)], given: [[u32; 26]; 26]) -> [[u32; 26]; 26] {
    let (mut ends, mut rest) = (given, names);
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

/// Which letters may stand before these two at the end of a name, a bit for each.
#[inline]
pub(super) fn thirds(before: u8, last: u8) -> u32 {
    let letter = |byte: u8| usize::from(byte.to_ascii_lowercase().wrapping_sub(b'a'));
    let thirds = ENDS.get(letter(last)).and_then(|ends| ends.get(letter(before)));
    thirds.copied().unwrap_or(0)
}

/// Whether this is one of them.
#[inline]
pub(super) fn may_be_third(third: u8, thirds: u32) -> bool {
    match third.to_ascii_lowercase().wrapping_sub(b'a') {
        nth @ 0..26 => thirds & 1 << nth != 0,
        // A dash may stand within a name, and something else before one of two letters.
        _ if matches!(third, b'-' | b'_') => thirds != 0,
        _ => thirds == u32::MAX,
    }
}

/// Names of other tokens.
pub(super) const HARMLESS: [&[u8]; 13] = [
    b"pagetoken",
    b"nexttoken",
    b"continuationtoken",
    b"maxtoken",
    b"csrftoken",
    b"synctoken",
    b"resumetoken",
    b"pagetokens",
    b"maxtokens",
    b"totaltokens",
    b"prompttokens",
    b"xsrftoken",
    b"devicetoken",
];
/// The same in scripts that are not Latin, as the fold leaves them. They are looked for before the sign: what they begin
/// with is no letter that a detector begins at.
pub(super) const FOREIGN: [(&str, Entity); 51] = [
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
    ("πpoσβaσης", Entity::Password),
    ("люч", Entity::ApiKey),
    ("キー", Entity::ApiKey),
    ("密钥", Entity::ApiKey),
    ("金鑰", Entity::ApiKey),
    ("키", Entity::ApiKey),
    ("oзинka", Entity::Password),
    ("OЗИHKA", Entity::Password),
    ("apoлa", Entity::Password),
    ("APOЛA", Entity::Password),
    ("პაროლი", Entity::Password),
    ("প\u{9be}সওয\u{9bc}\u{9be}র\u{9cd}ড", Entity::Password),
    ("கடவுச\u{bcd}சொல\u{bcd}", Entity::Password),
    ("گذرواژه", Entity::Password),
    ("پسورد", Entity::Password),
    ("پاس ورڈ", Entity::Password),
    ("패스워드", Entity::Password),
    ("Գաղտնաբառ", Entity::Password),
    ("գաղտնաբառ", Entity::Password),
    ("ωδikoς", Entity::Password),
    ("ΩΔIKOΣ", Entity::Password),
    ("құпияcөз", Entity::Password),
    ("مفتاح", Entity::ApiKey),
    ("מפתח", Entity::ApiKey),
    ("क\u{941}\u{902}जी", Entity::ApiKey),
    ("ค\u{e35}ย\u{e4c}", Entity::ApiKey),
    ("λεiδi", Entity::ApiKey),
    ("ЛЮЧ", Entity::ApiKey),
    ("okeн", Entity::AccessToken),
    ("okeн дocтyпa", Entity::AccessToken),
    ("令牌", Entity::AccessToken),
    ("トークン", Entity::AccessToken),
    ("토큰", Entity::AccessToken),
    ("رمز الوصول", Entity::AccessToken),
    ("אסימון", Entity::AccessToken),
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
