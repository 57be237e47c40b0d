//! Amounts of money.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// An amount of money in whole minor units of its currency: 1234 GBP minor units are 12.34 GBP,
/// 1234 JPY minor units are 1234 JPY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Money {
    /// Whole minor units of the currency (pence, cents, ...); never a fraction.
    pub amount_minor: i64,
    /// ISO 4217 alphabetic code.
    pub currency: Currency,
}

impl Money {
    /// `amount_minor` minor units of `currency`.
    pub const fn new(amount_minor: i64, currency: Currency) -> Self {
        Self { amount_minor, currency }
    }
}

impl fmt::Display for Money {
    /// As people write it: `12.34 GBP`, `1234 JPY`, `-0.05 EUR`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.amount_minor < 0 { "-" } else { "" };
        let digits = usize::from(self.currency.minor_digits());
        let padded = format!("{:0width$}", self.amount_minor.unsigned_abs(), width = digits + 1);
        let (major, minor) = padded.split_at(padded.len() - digits);
        let point = if minor.is_empty() { "" } else { "." };
        write!(f, "{sign}{major}{point}{minor} {}", self.currency)
    }
}

/// A currency code of three upper-case letters.
///
/// What comes from people goes through [`Currency::parse`], which knows the active codes. What
/// comes in an event is only checked for its shape: the producer has decided, and a consumer with
/// an older list must not refuse a currency that was born since.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Currency([u8; 3]);

/// A text that is no currency code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CurrencyError {
    /// Not three upper-case ASCII letters.
    Shape,
    /// Three letters that are no active ISO 4217 code with minor units.
    NotActive,
}

impl fmt::Display for CurrencyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shape => "a currency is three upper-case letters",
            Self::NotActive => "no active currency of ISO 4217 has this code",
        })
    }
}

impl std::error::Error for CurrencyError {}

impl Currency {
    /// Pound sterling.
    pub const GBP: Self = Self(*b"GBP");
    /// Euro.
    pub const EUR: Self = Self(*b"EUR");
    /// US dollar.
    pub const USD: Self = Self(*b"USD");

    /// The active ISO 4217 currency that `code` stands for. Codes without a minor unit (precious
    /// metals, special drawing rights, `XTS`, `XXX`) are refused: no amount can be given in them.
    ///
    /// # Errors
    /// [`CurrencyError::Shape`] or [`CurrencyError::NotActive`].
    pub fn parse(code: &str) -> Result<Self, CurrencyError> {
        let currency = Self::from_shape(code)?;
        if ACTIVE.split_ascii_whitespace().any(|active| active == code) {
            Ok(currency)
        } else {
            Err(CurrencyError::NotActive)
        }
    }

    fn from_shape(code: &str) -> Result<Self, CurrencyError> {
        let letters: [u8; 3] = code.as_bytes().try_into().map_err(|_| CurrencyError::Shape)?;
        if letters.iter().all(u8::is_ascii_uppercase) {
            Ok(Self(letters))
        } else {
            Err(CurrencyError::Shape)
        }
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        // Always ASCII: both constructors and the constants see to it.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// How many decimal digits its minor unit has, by ISO 4217; 2 for a code not on the list.
    pub fn minor_digits(&self) -> u8 {
        let among = |codes: &str| codes.split_ascii_whitespace().any(|code| code == self.as_str());
        if among(NO_DIGITS) {
            0
        } else if among(THREE_DIGITS) {
            3
        } else if among(FOUR_DIGITS) {
            4
        } else {
            2
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Currency({self})")
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl TryFrom<String> for Currency {
    type Error = CurrencyError;

    /// Checks the shape only, as reading an event does.
    fn try_from(code: String) -> Result<Self, CurrencyError> {
        Self::from_shape(&code)
    }
}

impl JsonSchema for Currency {
    fn schema_name() -> Cow<'static, str> {
        "Currency".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "ISO 4217 alphabetic code.",
            "type": "string",
            "pattern": "^[A-Z]{3}$"
        })
    }
}

/// ISO 4217 list one, entries with a minor unit, as of January 2026.
const ACTIVE: &str = "\
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN \
    BZD CAD CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR \
    FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY \
    KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU \
    MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON \
    RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP \
    TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER \
    ZAR ZMW ZWG";

const NO_DIGITS: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF";
const THREE_DIGITS: &str = "BHD IQD JOD KWD LYD OMR TND";
const FOUR_DIGITS: &str = "CLF UYW";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_active_codes_of_the_right_shape_are_parsed() {
        for good in ["GBP", "EUR", "JPY", "ZWG"] {
            assert_eq!(Currency::parse(good).unwrap().as_str(), good);
        }
        for shapeless in ["", "GB", "GBPP", "gbp", "GB1", "£££", " GB", "ÀB"] {
            assert_eq!(Currency::parse(shapeless), Err(CurrencyError::Shape), "{shapeless}");
        }
        for inactive in ["DEM", "HRK", "XAU", "XXX", "XTS", "ZZZ"] {
            assert_eq!(Currency::parse(inactive), Err(CurrencyError::NotActive), "{inactive}");
        }
    }

    #[test]
    fn the_lists_hold_each_code_once_and_every_exponent_belongs_to_an_active_code() {
        let codes: Vec<&str> = ACTIVE.split_ascii_whitespace().collect();
        assert!(codes.is_sorted_by(|a, b| a < b));
        for list in [NO_DIGITS, THREE_DIGITS, FOUR_DIGITS] {
            assert!(list.split_ascii_whitespace().all(|code| Currency::parse(code).is_ok()));
        }
    }

    #[test]
    fn an_event_may_carry_a_currency_that_is_not_on_our_list_but_no_shapeless_one() {
        assert_eq!(serde_json::from_str::<Currency>("\"ZZZ\"").unwrap().as_str(), "ZZZ");
        for bad in ["\"eur\"", "\"EURO\"", "\"\"", "978", "null"] {
            assert!(serde_json::from_str::<Currency>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn money_is_written_with_the_digits_of_its_currency() {
        let show = |amount, code| Money::new(amount, Currency::parse(code).unwrap()).to_string();
        assert_eq!(show(1_234, "GBP"), "12.34 GBP");
        assert_eq!(show(-5, "EUR"), "-0.05 EUR");
        assert_eq!(show(0, "EUR"), "0.00 EUR");
        assert_eq!(show(1_234, "JPY"), "1234 JPY");
        assert_eq!(show(1_234, "KWD"), "1.234 KWD");
        assert_eq!(show(i64::MIN, "USD"), "-92233720368547758.08 USD");
    }

    #[test]
    fn money_is_two_plain_fields_on_the_wire() {
        let money = Money::new(1_234, Currency::GBP);
        let text = r#"{"amount_minor":1234,"currency":"GBP"}"#;
        assert_eq!(serde_json::to_string(&money).unwrap(), text);
        assert_eq!(serde_json::from_str::<Money>(text).unwrap(), money);
    }
}
