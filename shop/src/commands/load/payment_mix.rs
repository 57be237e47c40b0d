//! Which order is paid how.

use std::str::FromStr;

/// Tokens of the gateway and how often each is used: `pm_ok`, or `pm_ok:9,pm_declined:1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PaymentMix(Vec<(String, u64)>);

impl PaymentMix {
    /// The token of order number `n`. Of any run of orders as long as the sum of all weights, each
    /// token gets exactly its weight.
    #[must_use]
    pub(super) fn token(&self, n: usize) -> &str {
        let total: u64 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut place = n as u64 % total.max(1);
        for (token, weight) in &self.0 {
            if place < *weight {
                return token;
            }
            place -= weight;
        }
        ""
    }
}

impl FromStr for PaymentMix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mix: Result<Vec<_>, String> = text.split(',').map(part).collect();
        Ok(Self(mix?))
    }
}

fn part(text: &str) -> Result<(String, u64), String> {
    let (token, weight) = text.trim().split_once(':').unwrap_or((text.trim(), "1"));
    let weight = weight.parse().ok().filter(|weight| (1..=1_000_000).contains(weight));
    match weight {
        Some(weight) if !token.is_empty() => Ok((token.to_owned(), weight)),
        _ => Err("expected TOKEN or TOKEN:WEIGHT,TOKEN:WEIGHT with weights from 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_token_gets_its_share_of_every_round() {
        let mix: PaymentMix = "pm_ok:3, pm_declined:1".parse().unwrap();
        let tokens: Vec<_> = (4..8).map(|n| mix.token(n)).collect();
        assert_eq!(tokens, ["pm_ok", "pm_ok", "pm_ok", "pm_declined"]);
        assert_eq!("pm_ok".parse::<PaymentMix>().unwrap().token(77), "pm_ok");
    }

    #[test]
    fn a_mix_that_says_nothing_is_refused() {
        for bad in ["", "pm_ok:0", "pm_ok:x", ":3", "pm_ok,,pm_declined"] {
            assert!(bad.parse::<PaymentMix>().is_err(), "{bad}");
        }
    }
}
