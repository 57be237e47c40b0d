//! Lists in pages: how long one is, and where the next begins.

use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize};

use crate::problem::{Problem, code};

pub(super) const LONGEST: u16 = 200;
pub(super) const USUAL: u16 = 50;

/// The query parameter `limit`: entries per page, 1 to 200, 50 when it is absent. One out of range is
/// refused as a fault of its field, and never clamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(u16);

impl Default for Limit {
    fn default() -> Self {
        Self(USUAL)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let limit = u16::deserialize(from)?;
        let fits = (1..=LONGEST).contains(&limit);
        if fits { Ok(Self(limit)) } else { Err(serde::de::Error::custom(code::RANGE)) }
    }
}

impl Limit {
    /// Rows to ask the database for: one more than the page holds tells whether another follows.
    pub fn rows(self) -> i64 {
        i64::from(self.0) + 1
    }

    /// Cuts the rows found to the page, and gives the cursor of the next if there is one;
    /// `cursor_behind` makes it from the page's last entry.
    ///
    /// ```
    /// use chassis::http::{Cursor, Limit};
    ///
    /// let (page, next) = Limit::default().cut(vec!["A", "B"], |sku| Cursor::behind(sku));
    /// assert_eq!((page, next), (vec!["A", "B"], None));
    /// ```
    pub fn cut<T>(
        self,
        mut found: Vec<T>,
        cursor_behind: impl FnOnce(&T) -> Cursor,
    ) -> (Vec<T>, Option<Cursor>) {
        let more = found.len() > usize::from(self.0);
        found.truncate(self.0.into());
        let next = found.last().filter(|_| more).map(cursor_behind);
        (found, next)
    }
}

/// The query parameter `cursor`, which is the `next_cursor` of the page before: the key of that page's
/// last entry, opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(String);

impl Cursor {
    /// The cursor of the page behind the entry with this key.
    pub fn behind(key: impl Display) -> Self {
        Self(URL_SAFE_NO_PAD.encode(key.to_string()))
    }

    /// The same for lists in the order of time: `micros` since 1970, and the key that tells entries of
    /// the same time apart.
    pub fn behind_time(micros: i64, key: impl Display) -> Self {
        Self::behind(format_args!("{micros}.{key}"))
    }

    /// The key, as `read` understands it.
    ///
    /// # Errors
    /// `400 invalid_cursor` when it is none of ours.
    pub fn key<T>(&self, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Problem> {
        let key = URL_SAFE_NO_PAD.decode(&self.0).ok().and_then(|key| String::from_utf8(key).ok());
        key.and_then(|key| read(&key)).ok_or_else(Problem::invalid_cursor)
    }

    /// Time and key of a cursor made by [`behind_time`](Self::behind_time), as `read` understands them.
    ///
    /// # Errors
    /// `400 invalid_cursor` when it is none of ours.
    pub fn time_and_key<T>(&self, read: impl FnOnce(i64, &str) -> Option<T>) -> Result<T, Problem> {
        self.key(|text| {
            let (micros, key) = text.split_once('.')?;
            // As we write it: `+1` and `01` are numbers, and none of ours.
            let time = micros.parse().ok().filter(|time: &i64| *time >= 0)?;
            if time.to_string() == micros { read(time, key) } else { None }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn limit(text: &str) -> Result<Limit, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn a_limit_out_of_range_is_refused_and_not_clamped() {
        assert_eq!(limit("1").unwrap(), Limit(1));
        assert_eq!(limit("200").unwrap(), Limit(200));
        assert_eq!(Limit::default().rows(), 51);
        for bad in ["0", "201", "-1", "65536", "1.0", "\"x\"", "null"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_page_that_another_follows_has_a_cursor() {
        let cut = |found: Vec<u8>| Limit(2).cut(found, |entry| Cursor::behind(entry));
        assert_eq!(cut(vec![]), (vec![], None));
        assert_eq!(cut(vec![1, 2]), (vec![1, 2], None));
        assert_eq!(cut(vec![1, 2, 3]), (vec![1, 2], Some(Cursor::behind(2))));
    }

    #[test]
    fn only_our_own_cursors_are_taken() {
        let number = |cursor: &Cursor| cursor.key(|key| key.parse::<u8>().ok());
        assert_eq!(number(&Cursor::behind(7)).unwrap(), 7);
        let padded = format!("{}==", Cursor::behind(7).0);
        for bad in ["", "!", "Nw==", "é", &padded, &URL_SAFE_NO_PAD.encode(b"\xff")] {
            let refused = number(&Cursor(bad.into())).unwrap_err();
            assert_eq!(refused.code(), "invalid_cursor", "{bad}");
        }
    }

    #[test]
    fn a_cursor_in_time_has_a_time_and_a_key() {
        let read = |cursor: &Cursor| cursor.time_and_key(|at, key| Some((at, key.to_owned())));
        // The key may hold what parts the two.
        assert_eq!(read(&Cursor::behind_time(15, "a.b")).unwrap(), (15, "a.b".to_owned()));
        for bad in ["", "15", "x.a", ".a", "-1.a", "+1.a", "01.a", "9223372036854775808.a"] {
            assert_eq!(read(&Cursor::behind(bad)).unwrap_err().code(), "invalid_cursor", "{bad}");
        }
        let refused = Cursor::behind_time(15, "a").time_and_key(|_, _| None::<()>);
        assert_eq!(refused.unwrap_err().code(), "invalid_cursor");
    }
}
