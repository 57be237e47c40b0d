//! Stock keeping units.

/// Whether a text has the form of a SKU: 1 to 64 of `A-Z a-z 0-9 . _ -`. It stands in a path and in
/// a subject as it is.
pub fn is_sku(text: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sku_is_plain() {
        assert!(is_sku("85123A") && is_sku("a.b_c-d") && is_sku(&"x".repeat(64)));
        for bad in ["", "BANK CHARGES", "a/b", "é", "a\0", &"x".repeat(65)] {
            assert!(!is_sku(bad), "{bad}");
        }
    }
}
