//! Opening a ledger: whose file it is, what is in it, and where a crash tore it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::model::Entry;

/// The first line of every ledger; a file without it is never written to.
const HEADER: &str = "{\"ledger\":\"tidings payment gateway\",\"version\":1}\n";
const HEADER_OF_ANY_VERSION: &str = "{\"ledger\":\"tidings payment gateway\",";

/// Why a ledger cannot be opened. In every case the file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be made, read or written.
    #[error("cannot use the ledger {}: {source}", path.display())]
    Io {
        /// The ledger.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("the ledger {} is in use by another gateway: stop that one first", path.display())]
    InUse {
        /// The ledger.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{} is not a ledger of the payment gateway: name another file", path.display())]
    NotALedger {
        /// The file.
        path: PathBuf,
    },
    /// It was written by another version.
    #[error("the ledger {} was written by another version of the gateway", path.display())]
    Version {
        /// The ledger.
        path: PathBuf,
    },
    /// A line in the middle cannot be understood. What was answered must not be forgotten, so it is
    /// not skipped.
    #[error("the ledger {} is damaged at line {line}: restore it, or move it away", path.display())]
    Damaged {
        /// The ledger.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
}

/// A ledger that is ready for appending, locked for this process.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) entries: Vec<Entry>,
    pub(super) bytes_cut: u64,
    pub(super) damage: Damage,
}

/// Makes the errors about one file.
#[derive(Debug)]
pub(super) struct Damage {
    path: PathBuf,
}

impl Damage {
    pub(super) fn io(&self, source: io::Error) -> OpenError {
        OpenError::Io { path: self.path.clone(), source }
    }

    pub(super) fn at_line(&self, line: usize) -> OpenError {
        OpenError::Damaged { path: self.path.clone(), line }
    }
}

/// Opens, locks, reads and, where a crash left a torn end, cuts the file.
pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    let damage = Damage { path: path.to_owned() };
    let mut file = open_file(path).map_err(|source| damage.io(source))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => return Err(damage.io(source)),
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content).map_err(|source| damage.io(source))?;
    if HEADER.as_bytes().starts_with(&content) && content.len() < HEADER.len() {
        begin(&mut file, path).map_err(|source| damage.io(source))?;
        return Ok(Opened { file, entries: Vec::new(), bytes_cut: 0, damage });
    }
    let Some(lines) = content.strip_prefix(HEADER.as_bytes()) else {
        let path = path.to_owned();
        let ours = content.starts_with(HEADER_OF_ANY_VERSION.as_bytes());
        return Err(if ours {
            OpenError::Version { path }
        } else {
            OpenError::NotALedger { path }
        });
    };
    let (entries, sound) = read(lines, &damage)?;
    let bytes_cut = (lines.len() - sound) as u64;
    if bytes_cut > 0 {
        tracing::warn!(path = %path.display(), bytes_cut, "cut the torn end of the ledger");
        let length = (HEADER.len() + sound) as u64;
        file.set_len(length).and_then(|()| file.sync_all()).map_err(|source| damage.io(source))?;
    }
    Ok(Opened { file, entries, bytes_cut, damage })
}

fn open_file(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

fn begin(file: &mut File, path: &Path) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(HEADER.as_bytes())?;
    file.sync_all()?;
    // The new file's name is in its folder, which is synchronised separately.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The entries, and the length of the part that is sound.
///
/// A crash leaves a line without its end, and a power failure may leave lines of which only parts
/// reached the disk; none of them was answered. So whatever follows the last sound line is cut, but
/// a bad line before a sound one is damage of another kind.
fn read(lines: &[u8], damage: &Damage) -> Result<(Vec<Entry>, usize), OpenError> {
    let (mut entries, mut sound, mut first_bad) = (Vec::new(), 0, None);
    let mut seen = 0;
    for (at, line) in lines.split_inclusive(|byte| *byte == b'\n').enumerate() {
        seen += line.len();
        let number = at + 2;
        let Some(text) = line.strip_suffix(b"\n") else { break };
        match serde_json::from_slice(text) {
            Ok(entry) => match first_bad {
                None => {
                    entries.push(entry);
                    sound = seen;
                }
                Some(bad) => return Err(damage.at_line(bad)),
            },
            // Whole JSON of an unknown shape was not torn: somebody wrote it so.
            Err(error) if error.is_data() => return Err(damage.at_line(number)),
            Err(_) => first_bad = first_bad.or(Some(number)),
        }
    }
    Ok((entries, sound))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn line(number: u32) -> String {
        format!(
            "{{\"refund\":{{\"key\":\"k{number}\",\"status\":201,\"answer\":{{}},\"record\":{{\"refund_id\":\
             \"re_{number}\",\"charge_id\":\"ch\",\"order_id\":\"o\",\"amount_minor\":1,\"currency\":\"GBP\",\
             \"created_at\":\"2026-01-01T00:00:00Z\"}}}}}}\n"
        )
    }

    fn read_all(text: &str) -> Result<(usize, usize), OpenError> {
        let damage = Damage { path: PathBuf::from("ledger") };
        read(text.as_bytes(), &damage).map(|(entries, sound)| (entries.len(), sound))
    }

    #[test]
    fn a_torn_end_is_cut_wherever_it_was_torn() {
        let (whole, last) = (line(1) + &line(2), line(3));
        for cut in 0..last.len() {
            let text = format!("{whole}{}", &last[..cut]);
            assert_eq!(read_all(&text).unwrap(), (2, whole.len()), "cut after {cut} bytes");
        }
        assert_eq!(read_all(&(whole + &last)).unwrap().0, 3);
    }

    #[test]
    fn several_torn_lines_at_the_end_are_cut_together() {
        let text = format!("{}{}\n\0\0\0\n", line(1), &line(2)[..20]);
        assert_eq!(read_all(&text).unwrap(), (1, line(1).len()));
    }

    #[test]
    fn a_bad_line_before_a_good_one_stops_the_opening() {
        let text = format!("{}garbage\n{}", line(1), line(2));
        assert!(matches!(read_all(&text), Err(OpenError::Damaged { line: 3, .. })));
    }

    #[test]
    fn an_entry_of_an_unknown_kind_is_not_taken_for_a_torn_one() {
        let text = format!("{}{{\"dispute\":{{}}}}\n", line(1));
        assert!(matches!(read_all(&text), Err(OpenError::Damaged { line: 3, .. })));
    }
}
