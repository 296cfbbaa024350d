//! Checksums and dates that numbers of cards and persons have. Digits are values, not characters.

/// The check digit of Luhn: cards, and some identity numbers.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(nth, digit)| {
            let value = u32::from(*digit) * if nth % 2 == 1 { 2 } else { 1 };
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// The sum of digits with their weights.
pub(super) fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| u32::from(*digit) * weight).sum()
}

/// The check digit of ISO 7064 mod 11,10: the German tax number.
pub(super) fn mod_11_10(digits: &[u8]) -> bool {
    let Some((check, body)) = digits.split_last() else { return false };
    let mut product = 10;
    for digit in body {
        let sum = (u32::from(*digit) + product) % 10;
        product = (if sum == 0 { 10 } else { sum }) * 2 % 11;
    }
    (11 - product) % 10 == u32::from(*check)
}

/// The check digit of Verhoeff: Aadhaar.
pub(super) fn verhoeff(digits: &[u8]) -> bool {
    const PERMUTED: [[u8; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    let product =
        digits.iter().rev().zip(PERMUTED.iter().cycle()).fold(0, |product, (digit, row)| {
            dihedral(product, row.get(usize::from(*digit)).copied().unwrap_or(0))
        });
    product == 0
}

/// The product of two elements of the dihedral group of order ten.
fn dihedral(one: u8, other: u8) -> u8 {
    match (one < 5, other < 5) {
        (true, true) => (one + other) % 5,
        (true, false) => (one + other - 5) % 5 + 5,
        (false, true) => (one - 5 + 5 - other) % 5 + 5,
        (false, false) => (one + 5 - other) % 5,
    }
}

/// The two check digits of the Brazilian CPF.
pub(super) fn cpf(digits: &[u8]) -> bool {
    let check = |count: usize| {
        let body = digits.get(..count).unwrap_or_default();
        let sum: u32 =
            body.iter().zip((2..=11).rev().skip(10 - count)).map(|(d, w)| u32::from(*d) * w).sum();
        let rest = sum * 10 % 11 % 10;
        digits.get(count).is_some_and(|digit| u32::from(*digit) == rest)
    };
    digits.len() == 11 && check(9) && check(10) && !is_one_digit(digits)
}

/// The check digit of EAN-13: the Swiss insurance number.
pub(super) fn ean13(digits: &[u8]) -> bool {
    weighted(digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
}

/// Whether a month and a day can be.
pub(super) fn is_day(month: u64, day: u64) -> bool {
    (1..=12).contains(&month) && (1..=31).contains(&day)
}

/// Whether all digits are the same.
pub(super) fn is_one_digit(digits: &[u8]) -> bool {
    digits.iter().all(|digit| Some(digit) == digits.first())
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn digits(text: &str) -> Vec<u8> {
        text.bytes().map(|byte| byte - b'0').collect()
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn checksums_take_the_right_number_and_no_neighbor() {
        type Check = fn(&[u8]) -> bool;
        let rows: [(&str, Check, &str); 6] = [
            ("luhn", luhn, "4111111111111111"),
            ("mod 11,10", mod_11_10, "86095742719"),
            ("verhoeff", verhoeff, "234123412346"),
            ("cpf", cpf, "52998224725"),
            ("ean13", ean13, "7569217076985"),
            ("luhn", luhn, "046454286"),
        ];
        for (name, check, right) in rows {
            let right = digits(right);
            assert!(check(&right), "{name}");
            let mut wrong = right.clone();
            *wrong.last_mut().unwrap() = (wrong.last().unwrap() + 1) % 10;
            assert!(!check(&wrong), "{name}");
        }
        assert!(!cpf(&digits("11111111111")));
    }
}
