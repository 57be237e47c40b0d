//! Postgres' protocol, version 3: statements, transactions and round trips.

use std::collections::HashMap;

use super::wire::{Counts, Frames, Reader, add};

/// Type and length, which counts itself and not the type.
const HEAD: usize = 5;

/// In front of the text of every statement among the counts.
pub const STATEMENT: &str = "> ";

pub fn protocol() -> (Box<dyn Reader>, Box<dyn Reader>) {
    (Box::<Client>::default(), Box::new(Server { frames: frames() }))
}

fn frames() -> Frames {
    Frames::new(HEAD, |head| 1 + u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize)
}

struct Client {
    frames: Frames,
    /// The first message has no type.
    started: bool,
    /// Texts of prepared statements, by name.
    prepared: HashMap<Vec<u8>, String>,
    bound: String,
    in_transaction: bool,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            frames: frames(),
            started: false,
            prepared: HashMap::new(),
            bound: String::new(),
            in_transaction: false,
        }
    }
}

impl Client {
    fn ran(&mut self, text: &str, counts: &mut Counts) {
        let word = text.split_whitespace().next().unwrap_or_default().to_lowercase();
        match word.trim_end_matches(';') {
            "" => return,
            "begin" => self.in_transaction = true,
            "commit" => {
                self.in_transaction = false;
                add(counts, "transactions", 1);
            }
            "rollback" => {
                self.in_transaction = false;
                add(counts, "rollbacks", 1);
            }
            _ if !self.in_transaction => add(counts, "transactions", 1),
            _ => {}
        }
        add(counts, "statements", 1);
        add(counts, &format!("{STATEMENT}{}", beginning(text)), 1);
    }
}

impl Reader for Client {
    fn read(&mut self, bytes: &[u8], counts: &mut Counts) {
        self.frames.push(bytes);
        if !self.started {
            let Some(length) = self.frames.buffered().get(..4) else { return };
            let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
            if !self.frames.skip(length as usize) {
                return;
            }
            self.started = true;
        }
        while let Some(frame) = self.frames.next() {
            let body = &frame[HEAD..];
            match frame[0] {
                b'P' => {
                    let (name, rest) = text(body);
                    let statement = String::from_utf8_lossy(text(rest).0).into_owned();
                    self.prepared.insert(name.to_vec(), statement);
                }
                b'B' => {
                    let name = text(text(body).1).0;
                    self.bound = self.prepared.get(name).cloned().unwrap_or_default();
                }
                b'E' => {
                    let bound = std::mem::take(&mut self.bound);
                    self.ran(&bound, counts);
                    self.bound = bound;
                }
                b'Q' => {
                    let statement = String::from_utf8_lossy(text(body).0).into_owned();
                    self.ran(&statement, counts);
                }
                _ => {}
            }
        }
    }
}

struct Server {
    frames: Frames,
}

impl Reader for Server {
    fn read(&mut self, bytes: &[u8], counts: &mut Counts) {
        self.frames.push(bytes);
        while let Some(frame) = self.frames.next() {
            // Ready for the next query: the answer to what was asked is complete.
            if frame[0] == b'Z' {
                add(counts, "round trips", 1);
            }
        }
    }
}

/// Up to the next zero, and what follows it.
fn text(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

/// As much of a statement as tells it from others.
fn beginning(statement: &str) -> String {
    let line: Vec<&str> = statement.split_whitespace().collect();
    line.join(" ").chars().take(90).collect()
}
