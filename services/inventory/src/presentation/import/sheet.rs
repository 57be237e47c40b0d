//! The rows of a body: where they stand, without holding what they say.

use bytes::Bytes;
use chassis::problem::{FieldError, code};
use csv_core::{ReadRecordResult, Reader};

use super::report::Report;
use super::row::{self, COLUMNS, Values};
use crate::domain::product::Description;

/// Rows of one statement, and of one transaction where the good rows are taken.
const BATCH: usize = 500;
/// Bytes that the values of a row may have together. All that keep to their limits need a third.
const WIDEST: usize = 1_024;

/// The first line is not the header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WrongHeader;

/// The good rows of a body, each SKU once, in the order of their SKUs.
pub(super) struct Sheet {
    body: Bytes,
    rows: Vec<Row>,
}

/// Small, because there may be many: a body has at most 10 MiB, so its places fit.
struct Row {
    line: u32,
    start: u32,
    end: u32,
    sku_at: u32,
    sku_len: u32,
}

impl Row {
    fn sku<'a>(&self, skus: &'a str) -> &'a str {
        let start = self.sku_at as usize;
        skus.get(start..start + self.sku_len as usize).unwrap_or_default()
    }
}

impl Sheet {
    /// Reads the body; the rows that are no products stand in the report. Of rows with one SKU the
    /// first counts.
    pub(super) fn read(body: Bytes) -> Result<(Self, Report), WrongHeader> {
        let (mut records, mut report) = (Records::new(), Report::default());
        // The SKUs stand one behind the other, and are forgotten with the order made of them.
        let (mut skus, mut rows) = (String::new(), Vec::new());
        let header = records.next(&body).ok_or(WrongHeader)?;
        if !header.values.is_ok_and(Values::are_the_header) {
            return Err(WrongHeader);
        }
        while let Some(Record { line, start, end, values }) = records.next(&body) {
            match values.map_err(|fault| vec![fault]).and_then(row::read) {
                Ok((sku, _)) => {
                    let (sku_at, sku_len) = (skus.len() as u32, sku.len() as u32);
                    skus.push_str(&sku);
                    rows.push(Row { line, start, end, sku_at, sku_len });
                }
                Err(faults) => report.reject(line, faults),
            }
        }
        rows.sort_unstable_by_key(|row| (row.sku(&skus), row.start));
        rows.dedup_by(|row, first| {
            let again = row.sku(&skus) == first.sku(&skus);
            if again {
                report.reject(row.line, vec![FieldError::new("/sku", code::DUPLICATE)]);
            }
            again
        });
        Ok((Self { body, rows }, report))
    }

    /// The rows with their lines, a few at a time.
    pub(super) fn batches(&self) -> impl Iterator<Item = Vec<(u32, (String, Description))>> {
        let mut records = Records::new();
        self.rows.chunks(BATCH).map(move |rows| {
            let read = |row: &Row| {
                let values = records.again(&self.body[row.start as usize..row.end as usize])?;
                // It was good the first time.
                Some((row.line, row::read(values).ok()?))
            };
            rows.iter().filter_map(read).collect()
        })
    }
}

/// A row as it stands in the body.
struct Record<'a> {
    line: u32,
    /// Of its first byte.
    start: u32,
    /// Behind the line break that ends it.
    end: u32,
    values: Result<Values<'a>, FieldError>,
}

/// Reads records into a buffer that does not grow, whatever they hold.
struct Records {
    reader: Reader,
    values: [u8; WIDEST],
    ends: [usize; COLUMNS.len() + 1],
    at: usize,
    /// The number of the line that `counted` stands on.
    line: u32,
    counted: usize,
}

/// How a record came out of the reader.
enum Shape {
    Whole { columns: usize },
    TooLong { column: usize },
}

impl Records {
    fn new() -> Self {
        let (values, ends) = ([0; WIDEST], [0; COLUMNS.len() + 1]);
        Self { reader: Reader::new(), values, ends, at: 0, line: 1, counted: 0 }
    }

    /// The next record of `body`. Empty lines are none.
    fn next(&mut self, body: &[u8]) -> Option<Record<'_>> {
        let left = body.get(self.at..)?;
        let blank = left.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let start = self.at + blank;
        let (shape, length) = self.record(&body[start..])?;
        self.at = start + length;
        self.count_lines(body, start);
        let (line, start, end) = (self.line, start as u32, self.at as u32);
        let values = match shape {
            Shape::Whole { columns } => {
                Ok(Values { bytes: &self.values, ends: &self.ends[..columns] })
            }
            Shape::TooLong { column } => {
                let column = COLUMNS.get(column).copied().unwrap_or_default();
                Err(FieldError::new(format!("/{column}"), code::LENGTH))
            }
        };
        Some(Record { line, start, end, values })
    }

    /// The values of a record that was whole before.
    fn again(&mut self, record: &[u8]) -> Option<Values<'_>> {
        self.reader.reset();
        match self.record(record)? {
            (Shape::Whole { columns }, _) => {
                Some(Values { bytes: &self.values, ends: &self.ends[..columns] })
            }
            (Shape::TooLong { .. }, _) => None,
        }
    }

    /// One record from the beginning of `input`, and how many bytes of it that took.
    fn record(&mut self, input: &[u8]) -> Option<(Shape, usize)> {
        let (mut taken, mut written, mut columns) = (0, 0, 0);
        let (mut too_many, mut longest) = (false, None);
        loop {
            let (result, read, wrote, ended) = self.reader.read_record(
                &input[taken..],
                &mut self.values[written..],
                &mut self.ends[columns..],
            );
            (taken, written, columns) = (taken + read, written + wrote, columns + ended);
            match result {
                // The reader wants to hear that nothing follows.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => {
                    longest.get_or_insert_with(|| longest_of(&self.ends[..columns], written));
                    written = 0;
                }
                ReadRecordResult::OutputEndsFull => (too_many, columns) = (true, 0),
                ReadRecordResult::End => return None,
                ReadRecordResult::Record => break,
            }
        }
        let columns = if too_many { self.ends.len() } else { columns };
        let shape = match longest {
            Some(column) if columns <= COLUMNS.len() => Shape::TooLong { column },
            _ => Shape::Whole { columns },
        };
        Some((shape, taken))
    }

    /// Goes on to the line of `to`: a line ends with LF, CRLF or CR, also inside of quotes.
    fn count_lines(&mut self, body: &[u8], to: usize) {
        let passed = &body[self.counted..to];
        let of = |byte: u8| passed.iter().filter(|passed| **passed == byte).count();
        let both = passed.windows(2).filter(|pair| pair == b"\r\n").count();
        self.line += (of(b'\n') + of(b'\r') - both) as u32;
        self.counted = to;
    }
}

/// Which value takes most of `written` bytes, the last of them unended.
fn longest_of(ends: &[usize], written: usize) -> usize {
    let (mut start, mut longest) = (0, (0, 0));
    for (column, end) in ends.iter().copied().chain([written]).enumerate() {
        longest = longest.max((end.saturating_sub(start), column));
        start = end;
    }
    longest.1
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lines and columns of the records; None where one was too long.
    fn records(body: &[u8]) -> Vec<(u32, Option<usize>)> {
        let (mut records, mut found) = (Records::new(), Vec::new());
        while let Some(record) = records.next(body) {
            found.push((record.line, record.values.ok().map(|values| values.ends.len())));
        }
        found
    }

    #[test]
    fn a_record_stands_on_the_line_where_it_begins_however_lines_end() {
        for body in ["a,b\nc,d\n\n\ne,f", "a,b\r\nc,d\r\n\r\n\r\ne,f\r\n", "a,b\rc,d\r\r\re,f\r"] {
            let lines = [(1, Some(2)), (2, Some(2)), (5, Some(2))];
            assert_eq!(records(body.as_bytes()), lines, "{body:?}");
        }
        assert_eq!(records(b"\n\"a\r\nb\",c\nd"), [(2, Some(2)), (4, Some(1))]);
        assert_eq!(records(b"\xef\xbb\xbfa\nb"), [(1, Some(1)), (2, Some(1))]);
        assert_eq!(records(b"\n\r\n\r"), []);
    }

    #[test]
    fn a_record_of_any_size_is_one_record() {
        let wide = format!("{}\na", ",".repeat(100_000));
        assert_eq!(records(wide.as_bytes()), [(1, Some(6)), (2, Some(1))]);
        let long = format!("a,{},b\na", "x".repeat(100_000));
        assert_eq!(records(long.as_bytes()), [(1, None), (2, Some(1))]);
        let unclosed = format!("a,\"{}", "b,c\n".repeat(100_000));
        assert_eq!(records(unclosed.as_bytes()), [(1, None)]);
        let full = "x".repeat(WIDEST);
        assert_eq!(records(full.as_bytes()), [(1, Some(1))]);
    }

    #[test]
    fn rows_come_in_the_order_of_their_skus_and_the_first_of_two_counts() {
        let body = "sku,name,unit_price_minor,currency,on_hand\n\
            b,1,1,GBP,1\na,2,1,GBP,1\nb,3,1,GBP,1\nB,\"4,\"\"\n\",1,GBP,1\n";
        let (sheet, report) = Sheet::read(Bytes::from(body)).unwrap();
        let rows = sheet.batches().flatten();
        let rows: Vec<_> = rows.map(|(line, (sku, of))| (line, sku, of.name)).collect();
        let row = |line: u32, sku: &str, name: &str| (line, sku.to_owned(), name.to_owned());
        // The name of the last holds a line break, so it is none.
        assert_eq!(rows, [row(3, "a", "2"), row(2, "b", "1")]);
        assert_eq!(report.rejected(), 2);
    }

    proptest! {
        #[test]
        fn the_reader_finds_what_the_csv_crate_finds(body in "[ab,\"\r\n]{0,60}") {
            let mut csv = csv::ReaderBuilder::new();
            let mut csv = csv.has_headers(false).flexible(true).from_reader(body.as_bytes());
            let mut columns = Vec::new();
            for record in csv.byte_records() {
                columns.push(Some(record.unwrap().len().min(COLUMNS.len() + 1)));
            }
            let found: Vec<_> = records(body.as_bytes()).into_iter().map(|(_, of)| of).collect();
            prop_assert_eq!(found, columns);
        }

        #[test]
        fn any_bytes_are_read_to_their_end(rows in prop::collection::vec(any::<u8>(), 0..4_000)) {
            let header = b"sku,name,unit_price_minor,currency,on_hand\n".to_vec();
            let body = Bytes::from([header, rows].concat());
            let (sheet, _) = Sheet::read(body).unwrap();
            let (read, known) = (sheet.batches().flatten().count(), sheet.rows.len());
            prop_assert_eq!(read, known);
        }

        #[test]
        fn a_table_is_read_row_by_row_as_the_csv_crate_writes_and_counts_it(
            rows in prop::collection::vec(
                prop::array::uniform5("([ab,\" é;]|\n|\r\n){0,3}"), 0..12,
            ),
        ) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).unwrap();
            }
            let body = writer.into_inner().unwrap();
            let mut csv = csv::ReaderBuilder::new();
            let mut csv = csv.has_headers(false).from_reader(body.as_slice());
            let (mut known, mut records) = (csv::ByteRecord::new(), Records::new());
            for row in &rows {
                prop_assert!(csv.read_byte_record(&mut known).unwrap());
                let record = records.next(&body).unwrap();
                prop_assert_eq!(u64::from(record.line), known.position().unwrap().line());
                let values = record.values.unwrap();
                prop_assert_eq!(values.ends.len(), COLUMNS.len());
                let found = (0..COLUMNS.len()).map(|n| values.get(n).unwrap_or_default());
                prop_assert!(found.eq(row.iter().map(String::as_bytes)));
            }
            prop_assert!(records.next(&body).is_none());
        }
    }
}
