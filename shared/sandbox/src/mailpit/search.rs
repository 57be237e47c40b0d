//! The part of Mailpit's search language that is used: words that all must occur, `"several words"`,
//! `to:`, `from:`, `subject:` and `message-id:`, and `-` or `!` before what must not occur.

use super::json;
use crate::smtp::{Mail, MailAddress};

/// A parsed search.
#[derive(Debug)]
pub(super) struct Search {
    terms: Vec<Term>,
}

#[derive(Debug, Eq, PartialEq)]
struct Term {
    field: Field,
    /// Lower case.
    wanted: String,
    unwanted: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Field {
    Any,
    To,
    From,
    Subject,
    MessageId,
}

const PREFIXES: [(&str, Field); 4] = [
    ("to:", Field::To),
    ("from:", Field::From),
    ("subject:", Field::Subject),
    ("message-id:", Field::MessageId),
];

impl Search {
    pub(super) fn parse(query: &str) -> Self {
        Self { terms: words(query).iter().filter_map(|word| Term::parse(word)).collect() }
    }

    pub(super) fn matches(&self, mail: &Mail) -> bool {
        self.terms.iter().all(|term| term.occurs_in(mail) != term.unwanted)
    }
}

impl Term {
    fn parse(word: &str) -> Option<Self> {
        let word = word.to_lowercase();
        let negated = word.strip_prefix(['-', '!']).filter(|rest| !rest.is_empty());
        let (unwanted, word) = (negated.is_some(), negated.unwrap_or(&word));
        let field = PREFIXES
            .iter()
            .find_map(|(prefix, field)| word.strip_prefix(prefix).map(|rest| (*field, rest)));
        let (field, wanted) = field.unwrap_or((Field::Any, word));
        let wanted = match field {
            Field::MessageId => wanted.trim_start_matches('<').trim_end_matches('>'),
            _ => wanted,
        };
        (!wanted.is_empty()).then(|| Self { field, wanted: wanted.to_owned(), unwanted })
    }

    fn occurs_in(&self, mail: &Mail) -> bool {
        let occurs = |text: &str| text.to_lowercase().contains(&self.wanted);
        let within =
            |address: &MailAddress| occurs(&format!("{} {}", address.name, address.address));
        let to = || mail.header_to.iter().any(within);
        let from = || within(&json::from(mail));
        let message_id = || mail.message_id.as_deref().is_some_and(occurs);
        match self.field {
            Field::To => to(),
            Field::From => from(),
            Field::Subject => occurs(&mail.subject),
            Field::MessageId => message_id(),
            Field::Any => {
                occurs(&mail.subject)
                    || to()
                    || from()
                    || message_id()
                    || mail.header_cc.iter().any(within)
                    || mail.to.iter().any(|recipient| occurs(recipient))
                    || mail.text.as_deref().is_some_and(occurs)
                    || mail.html.as_deref().is_some_and(occurs)
            }
        }
    }
}

/// Splits at blanks outside double quotes; the quotes themselves are left out, and one that is never
/// closed reaches to the end.
fn words(query: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in query.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_split_into_terms() {
        let search =
            Search::parse("  Ada subject:\"Order confirmed\" -to:bob message-id:<M1@x> - ");
        let term =
            |field, wanted: &str, unwanted| Term { field, wanted: wanted.to_owned(), unwanted };
        let expected = vec![
            term(Field::Any, "ada", false),
            term(Field::Subject, "order confirmed", false),
            term(Field::To, "bob", true),
            term(Field::MessageId, "m1@x", false),
            term(Field::Any, "-", false),
        ];
        assert_eq!(search.terms, expected);
    }
}
