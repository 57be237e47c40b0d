//! Whether the client accepts what a route answers with, and sends what a route takes.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

/// True when one of `produced` (each `type/subtype`) is acceptable, RFC 9110 section 12.5.1: the most
/// specific range that matches decides, and a weight of 0 refuses. No header accepts everything.
pub(super) fn accepts(headers: &HeaderMap, produced: &[&str]) -> bool {
    let mut ranges = Vec::new();
    for value in headers.get_all(ACCEPT) {
        // A value that is no text names no media type of ours.
        let value = value.to_str().unwrap_or("-/-");
        ranges.extend(value.split(',').map(str::trim).filter(|range| !range.is_empty()));
    }
    ranges.is_empty() || produced.iter().any(|media_type| allowed(media_type, &ranges))
}

fn allowed(media_type: &str, ranges: &[&str]) -> bool {
    let matching = ranges.iter().filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let specificity = specificity(media_type, parts.next()?)?;
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let refused = weight.is_some_and(|weight| weight.parse::<f32>() == Ok(0.0));
        Some((specificity, !refused))
    });
    matching.max().is_some_and(|(_, allowed)| allowed)
}

fn specificity(media_type: &str, range: &str) -> Option<u8> {
    let kind = media_type.split('/').next().unwrap_or_default();
    match range.split_once('/') {
        Some(("*", "*")) => Some(0),
        Some((wanted, "*")) if wanted.eq_ignore_ascii_case(kind) => Some(1),
        _ if range.eq_ignore_ascii_case(media_type) => Some(2),
        _ => None,
    }
}

/// True when the body is sent as `media_type`, also with `charset=utf-8`, said exactly once.
pub(super) fn sent_as(headers: &HeaderMap, media_type: &str) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Ok(value) = value.to_str() else { return false };
    let mut parts = value.split(';').map(str::trim);
    parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(media_type))
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
                value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_range_decides() {
        let json = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            accepts(&headers, &["application/json"])
        };
        assert!(accepts(&HeaderMap::new(), &["application/json"]));
        for good in [
            "*/*",
            "application/*",
            "Application/JSON",
            "text/html, */*;q=0.1",
            "",
            "application/json; charset=utf-8",
            "application/json;q=0.5, */*;q=0",
        ] {
            assert!(json(good), "{good}");
        }
        for bad in ["text/html", "application/xml", "application/json;q=0, */*", "*/*;q=0.0"] {
            assert!(!json(bad), "{bad}");
        }
    }

    #[test]
    fn only_json_in_utf_8_is_json() {
        let json = |value: &str| {
            let value = value.parse().unwrap();
            sent_as(&HeaderMap::from_iter([(CONTENT_TYPE, value)]), "application/json")
        };
        assert!(json("application/json"));
        assert!(json("Application/JSON; Charset=\"UTF-8\""));
        for bad in ["text/plain", "application/json; charset=latin1", "application/jsonx", ""] {
            assert!(!json(bad), "{bad}");
        }
        assert!(!sent_as(&HeaderMap::new(), "application/json"));
    }
}
