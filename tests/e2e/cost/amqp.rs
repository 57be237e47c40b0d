//! AMQP 0-9-1 frames and methods.

use super::wire::{Counts, Frames, Reader, add};

/// "AMQP", a zero and the version.
const HEADER: usize = 8;
/// Type, channel and size.
const HEAD: usize = 7;
const METHOD: u8 = 1;
const HEARTBEAT: u8 = 8;

pub fn protocol() -> (Box<dyn Reader>, Box<dyn Reader>) {
    (Box::new(Amqp::new(HEADER, "out")), Box::new(Amqp::new(0, "back")))
}

struct Amqp {
    frames: Frames,
    /// Bytes before the first frame.
    before: usize,
    way: &'static str,
}

impl Amqp {
    fn new(before: usize, way: &'static str) -> Self {
        // A frame ends with one more byte.
        let length = |head: &[u8]| {
            HEAD + u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize + 1
        };
        Self { frames: Frames::new(HEAD, length), before, way }
    }
}

impl Reader for Amqp {
    fn read(&mut self, bytes: &[u8], counts: &mut Counts) {
        self.frames.push(bytes);
        if self.before > 0 && !self.frames.skip(self.before) {
            return;
        }
        self.before = 0;
        while let Some(frame) = self.frames.next() {
            assert_eq!(frame.last(), Some(&0xCE), "a frame ends where it says");
            if frame[0] == HEARTBEAT {
                continue;
            }
            add(counts, &format!("frames {}", self.way), 1);
            if frame[0] == METHOD {
                let class = u16::from_be_bytes([frame[7], frame[8]]);
                let method = u16::from_be_bytes([frame[9], frame[10]]);
                let name = match (class, method) {
                    (60, 40) => "publishes",
                    (60, 60) => "deliveries",
                    (60, 80) if self.way == "out" => "acks",
                    _ => continue,
                };
                add(counts, name, 1);
            }
        }
    }
}
