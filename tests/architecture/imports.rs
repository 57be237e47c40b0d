//! Reads which modules and crates a source file names.

use std::collections::BTreeSet;

/// Stands for all that the root of the crate holds.
pub(crate) const ROOT: &str = "*";

/// What a file of a crate names, in `use` and in paths: the top module of each path into its own crate,
/// and the first segment of every other path. `path` is the file's, from `src/`.
pub(crate) fn imports(path: &str, text: &str) -> BTreeSet<String> {
    let tokens = tokens(text);
    let mut module = module_of(path);
    // The depth of the braces of each module inside the file.
    let (mut inner, mut depth) = (Vec::new(), 0_usize);
    let (mut found, mut at) = (BTreeSet::new(), 0);
    while let Some(token) = tokens.get(at) {
        let mut paths = Vec::new();
        match (token, tokens.get(at + 1), tokens.get(at + 2)) {
            (Token::Word("mod"), Some(Token::Word(name)), Some(Token::Open)) => {
                depth += 1;
                inner.push(depth);
                module.push((*name).to_owned());
                at += 3;
            }
            (Token::Open, ..) => {
                depth += 1;
                at += 1;
            }
            (Token::Close, ..) => {
                if inner.pop_if(|opened| *opened == depth).is_some() {
                    module.pop();
                }
                depth = depth.saturating_sub(1);
                at += 1;
            }
            (Token::Word("use"), ..) => {
                at += 1;
                tree(&tokens, &mut at, &[], &mut paths);
            }
            (Token::Word(_), Some(Token::Colons), _) => tree(&tokens, &mut at, &[], &mut paths),
            _ => at += 1,
        }
        found.extend(paths.iter().filter_map(|path| top(&module, path)));
    }
    found
}

/// `infrastructure/orders.rs` is the module `infrastructure::orders`.
fn module_of(path: &str) -> Vec<String> {
    let mut module: Vec<String> =
        path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    module.pop_if(|last| matches!(last.as_str(), "mod" | "lib" | "main"));
    module
}

/// Reads a path, with everything in its braces.
fn tree<'a>(
    tokens: &[Token<'a>],
    at: &mut usize,
    before: &[&'a str],
    found: &mut Vec<Vec<&'a str>>,
) {
    // Between two words stand colons, else the path is over.
    let (mut path, mut goes_on) = (before.to_vec(), true);
    while let Some(token) = tokens.get(*at) {
        match token {
            Token::Word("as") if !goes_on => *at += 1,
            Token::Word(word) if goes_on => {
                path.push(word);
                goes_on = false;
            }
            Token::Colons => goes_on = true,
            Token::Open if goes_on => {
                *at += 1;
                while !matches!(tokens.get(*at), None | Some(Token::Close)) {
                    tree(tokens, at, &path, found);
                    // What ended the branch, unless it is the end of the group.
                    *at += usize::from(!matches!(tokens.get(*at), None | Some(Token::Close)));
                }
                *at += 1;
                return;
            }
            _ => break,
        }
        *at += 1;
    }
    if path.len() > before.len() {
        found.push(path);
    }
}

/// The first segment of a path as seen from the root of the crate, or of the path to another crate.
fn top(module: &[String], path: &[&str]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let mut rest = match *first {
        "crate" | "self" => rest,
        "super" => path,
        other => return Some(other.to_owned()),
    };
    let mut from = if *first == "crate" { &[] } else { module };
    while let Some(("super", after)) = rest.split_first().map(|(word, after)| (*word, after)) {
        from = &from[..from.len().saturating_sub(1)];
        rest = after;
    }
    let rest = rest.iter().filter(|word| **word != "self").map(|word| (*word).to_owned());
    Some(from.iter().cloned().chain(rest).next().unwrap_or_else(|| ROOT.to_owned()))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    /// A word, or a `*`.
    Word(&'a str),
    Colons,
    Open,
    Close,
    Other,
}

/// Of strings only the words, because attributes name paths in them; of comments nothing.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        let length = if let Some((whole, inside)) = string(rest) {
            found.push(Token::Other);
            let words = tokens(inside).into_iter();
            found.extend(words.filter(|token| matches!(token, Token::Word(_) | Token::Colons)));
            found.push(Token::Other);
            whole
        } else if word > 0 {
            found.push(Token::Word(&rest[..word]));
            word
        } else if let Some(length) = comment(rest).or_else(|| character(rest)) {
            length
        } else if rest.starts_with("::") {
            found.push(Token::Colons);
            2
        } else {
            match first {
                '{' => found.push(Token::Open),
                '}' => found.push(Token::Close),
                '*' => found.push(Token::Word(ROOT)),
                space if space.is_whitespace() => {}
                _ => found.push(Token::Other),
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the comment at the start of the text.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let mut at = text.strip_prefix("/*").map(|_| 2)?;
    let mut open = 1;
    while open > 0 && at < text.len() {
        let rest = &text[at..];
        let step = if rest.starts_with("/*") { 1 } else { -i32::from(rest.starts_with("*/")) };
        open += step;
        at += if step == 0 { rest.chars().next().map_or(1, char::len_utf8) } else { 2 };
    }
    Some(at)
}

/// The length of the character at the start of the text, or of the mark of a lifetime.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    if let Some(escaped) = inside.strip_prefix('\\') {
        let after = escaped.chars().next().map_or(0, char::len_utf8);
        return Some(3 + after + escaped[after..].find('\'')?);
    }
    let one = inside.chars().next()?.len_utf8();
    Some(if inside[one..].starts_with('\'') { one + 2 } else { 1 })
}

/// The length of the string at the start of the text, and what is inside.
fn string(text: &str) -> Option<(usize, &str)> {
    let raw = text.strip_prefix("br").or_else(|| text.strip_prefix('r')).unwrap_or("");
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    if raw[hashes..].starts_with('"') {
        let begin = text.len() - raw.len() + hashes + 1;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = text[begin..].find(&end).unwrap_or(text.len() - begin);
        return Some(((begin + length + end.len()).min(text.len()), &text[begin..begin + length]));
    }
    let inside = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = inside.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let end = end.unwrap_or(inside.len());
    Some(((end + 2).min(text.len()), &inside[..end]))
}

#[test]
fn every_way_to_write_a_path_is_read() {
    let named = |text: &str| imports("domain/order.rs", text).into_iter().collect::<Vec<_>>();
    let outside =
        |text: &str| named(text).into_iter().filter(|name| name != "domain").collect::<Vec<_>>();
    for text in [
        "use crate::infrastructure;",
        "use crate::infrastructure::Store as Other;",
        "use crate::{infrastructure};",
        "use crate::{infrastructure::{a, b::C}};",
        "use {crate::infrastructure::Store};",
        "use super::super::infrastructure::Store;",
        "use self::super::super::{infrastructure as room};",
        "pub(crate) use crate :: infrastructure :: *;",
        "fn f(x: &super::super::infrastructure::Store) {}",
        "fn f() -> Vec<crate::infrastructure::Store> {}",
        "impl crate::domain::A for crate::infrastructure::B {}",
        "const A: u8 = self::B * super::super::infrastructure::C as u8;",
        "mod inner { mod deep { use super::super::super::super::infrastructure; } }",
        "mod inner { fn f() {} } use super::super::infrastructure;",
        "const A: char = '{'; mod b { } use super::super::infrastructure;",
        "const A: &str = \"\\\"{ //\"; use super::super::infrastructure;",
        "const A: &str = r#\"\"{ /* \"#; use super::super::infrastructure;",
        "/* { /* */ */ use super::super::infrastructure; // {",
        "fn f<'a>(x: &'a str) {} use super::super::infrastructure;",
        "#[serde(with = \"crate::infrastructure::money\")]",
    ] {
        assert_eq!(outside(text), ["infrastructure"], "{text}");
    }
    assert_eq!(named("use crate::{a, b::{self, c}, d::*};"), ["a", "b", "d"]);
    assert_eq!(named("use messaging; let x = contracts::A::b();"), ["contracts", "messaging"]);
    assert_eq!(named("use super::Total; mod tests { use super::*; }"), ["domain"]);
    assert_eq!(named("use crate::*;"), [ROOT]);
    assert_eq!(named("use crate::{self as all};"), [ROOT]);
    assert!(
        named("// use messaging::Tx;\n/* use messaging::Tx; */ let messaging = a * b;").is_empty()
    );
    assert_eq!(imports("domain/mod.rs", "use super::{application};").len(), 1);
    assert!(imports("domain/mod.rs", "use super::{application};").contains("application"));
}
