//! Orders from a file of invoice lines, in the columns of the data set "Online Retail" (UCI, 2015).
//!
//! A row is goods when its stock code starts with five digits (`85123A`); all other codes there are
//! postage, fees, discounts and manual entries. Every invoice that holds goods becomes an order.
//! What does not fit into one (100 lines, 1000 pieces of a product) goes on in the next,
//! `536592/2`, so that no goods are left out.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, bail};
use contracts::{Currency, Money};
use csv::ByteRecord;

use super::plan::{Customer, MOST_LINES, MOST_PIECES, Order, Plan, Product, Skipped, Tally};
use crate::commands::client::NewLine;

const COLUMNS: [&str; 6] =
    ["InvoiceNo", "StockCode", "Description", "Quantity", "UnitPrice", "CustomerID"];
/// More than this would be more orders of one row than anybody meant.
const MOST_PIECES_OF_ROW: i64 = 100_000;
const LONGEST_NAME: usize = 200;

/// The plan for a file.
///
/// # Errors
/// When the file cannot be read, or a column is missing.
pub(super) fn read_file(path: &Path) -> anyhow::Result<Plan> {
    let file =
        std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    read(file).with_context(|| format!("cannot use {}", path.display()))
}

/// The plan for the rows of a file.
///
/// # Errors
/// When they cannot be read, or a column is missing.
pub(super) fn read(input: impl Read) -> anyhow::Result<Plan> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
    let columns = columns(reader.byte_headers()?)?;
    let mut ledger = Ledger::default();
    let mut record = ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => return Ok(ledger.into_plan()),
            Ok(true) => ledger.enter(Row::parse(&record, &columns)),
            Err(error) if error.is_io_error() => return Err(error.into()),
            Err(_) => ledger.enter(Err(Skipped::BadRow)),
        }
    }
}

/// Where each of [`COLUMNS`] stands.
fn columns(headings: &ByteRecord) -> anyhow::Result<[usize; COLUMNS.len()]> {
    let mut places = [0; COLUMNS.len()];
    for (place, wanted) in places.iter_mut().zip(COLUMNS) {
        let found = headings.iter().position(|heading| {
            let heading = heading.strip_prefix(b"\xef\xbb\xbf").unwrap_or(heading);
            heading == wanted.as_bytes()
        });
        let Some(found) = found else {
            bail!("no column {wanted}; needed are {}", COLUMNS.join(", "));
        };
        *place = found;
    }
    Ok(places)
}

/// A row that is goods.
#[derive(Debug)]
struct Row {
    invoice: String,
    sku: String,
    name: String,
    pieces: u64,
    pence: i64,
    customer: Option<String>,
}

impl Row {
    fn parse(record: &ByteRecord, columns: &[usize]) -> Result<Self, Skipped> {
        // The full data set is not UTF-8 everywhere; only names are concerned.
        let text = |column: usize| {
            String::from_utf8_lossy(
                columns.get(column).and_then(|at| record.get(*at)).unwrap_or(b""),
            )
        };
        let (invoice, sku) = (text(0).into_owned(), text(1).into_owned());
        let quantity: i64 = text(3).parse().map_err(|_| Skipped::BadRow)?;
        let price: f64 = text(4).parse().map_err(|_| Skipped::BadRow)?;
        if invoice.is_empty() || sku.is_empty() || !price.is_finite() {
            return Err(Skipped::BadRow);
        }
        if invoice.starts_with(['C', 'c']) {
            return Err(Skipped::Cancellation);
        }
        if !is_goods(&sku) {
            return Err(Skipped::NotGoods);
        }
        if quantity <= 0 {
            return Err(Skipped::NoQuantity);
        }
        let pence = (price * 100.0).round() as i64;
        if pence <= 0 {
            return Err(Skipped::NoPrice);
        }
        if quantity > MOST_PIECES_OF_ROW {
            return Err(Skipped::TooMany);
        }
        let customer = text(5);
        let customer = customer.strip_suffix(".0").unwrap_or(&customer);
        Ok(Self {
            name: name(&text(2), &sku),
            invoice,
            sku,
            pieces: quantity.unsigned_abs(),
            pence,
            customer: (!customer.is_empty()).then(|| customer.to_owned()),
        })
    }
}

/// Five digits, then whatever tells variants apart, in the letters of a SKU.
fn is_goods(code: &str) -> bool {
    let letters = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    let numbered = code.len() >= 5 && code.bytes().take(5).all(|c| c.is_ascii_digit());
    numbered && code.len() <= 64 && code.bytes().all(letters)
}

fn name(description: &str, sku: &str) -> String {
    let name: String = description.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    if name.is_empty() { sku.to_owned() } else { name }
}

/// What an invoice holds so far.
#[derive(Debug)]
struct Invoice {
    number: String,
    customer: Option<String>,
    /// Each SKU once, with all its pieces, in the order of first mention.
    lines: Vec<(String, u64)>,
    line_of: HashMap<String, usize>,
}

#[derive(Default)]
struct Ledger {
    invoices: Vec<Invoice>,
    invoice_of: HashMap<String, usize>,
    products: Vec<Product>,
    known: HashSet<String>,
    tally: Tally,
}

impl Ledger {
    fn enter(&mut self, row: Result<Row, Skipped>) {
        self.tally.rows += 1;
        match row {
            Ok(row) => self.book(row),
            Err(reason) => *self.tally.skipped.entry(reason).or_default() += 1,
        }
    }

    fn book(&mut self, row: Row) {
        let Row { invoice: number, sku, name, pieces, pence, customer } = row;
        if self.known.insert(sku.clone()) {
            let unit_price = Money::new(pence, Currency::GBP);
            self.products.push(Product { sku: sku.clone(), name, unit_price });
        }
        let at = *self.invoice_of.entry(number.clone()).or_insert_with(|| {
            let (lines, line_of) = (Vec::new(), HashMap::new());
            self.invoices.push(Invoice { number, customer: None, lines, line_of });
            self.invoices.len() - 1
        });
        let invoice = &mut self.invoices[at];
        invoice.customer = invoice.customer.take().or(customer);
        match invoice.line_of.get(&sku) {
            Some(line) => {
                invoice.lines[*line].1 += pieces;
                self.tally.merged += 1;
            }
            None => {
                invoice.line_of.insert(sku.clone(), invoice.lines.len());
                invoice.lines.push((sku, pieces));
            }
        }
    }

    fn into_plan(mut self) -> Plan {
        let mut orders = Vec::with_capacity(self.invoices.len());
        for invoice in &self.invoices {
            let parts = parts(&invoice.lines);
            self.tally.invoices += 1;
            self.tally.split += u64::from(parts.len() > 1);
            // Nobody's invoice is a guest's, and each guest is somebody else.
            let customer = match &invoice.customer {
                Some(id) => Customer::named(&format!("customer-{id}")),
                None => Customer::named(&format!("guest-{}", invoice.number)),
            };
            let several = parts.len() > 1;
            orders.extend(parts.into_iter().zip(1..).map(|(lines, part)| Order {
                name: if several {
                    format!("{}/{part}", invoice.number)
                } else {
                    invoice.number.clone()
                },
                customer: customer.clone(),
                lines,
            }));
        }
        Plan { products: self.products, orders, tally: self.tally }
    }
}

/// The lines in as many orders as they need.
fn parts(lines: &[(String, u64)]) -> Vec<Vec<NewLine>> {
    let mut parts = Vec::new();
    let mut left = lines.to_vec();
    while !left.is_empty() {
        let round: Vec<NewLine> = left
            .iter()
            .map(|(sku, pieces)| NewLine {
                sku: sku.clone(),
                quantity: (*pieces).min(MOST_PIECES) as u32,
            })
            .collect();
        parts.extend(round.chunks(MOST_LINES).map(<[NewLine]>::to_vec));
        left.retain_mut(|(_, pieces)| {
            *pieces = pieces.saturating_sub(MOST_PIECES);
            *pieces > 0
        });
    }
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    const HEADINGS: &str =
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    fn plan(rows: &str) -> Plan {
        read(format!("{HEADINGS}{rows}").as_bytes()).unwrap()
    }

    fn lines(order: &Order) -> Vec<(&str, u32)> {
        order.lines.iter().map(|line| (line.sku.as_str(), line.quantity)).collect()
    }

    #[test]
    fn rows_of_one_invoice_are_one_order_even_when_others_stand_between_them() {
        let plan = plan(
            "100001,10001A,TEA POT,2,2011-01-01 09:00:00,3.25,501,France\n\
             100002,10002,TEA CUP,1,2011-01-01 09:01:00,0.85,502,France\n\
             100001,10002,TEA CUP,6,2011-01-01 09:00:00,0.95,501,France\n",
        );
        let names: Vec<_> = plan.orders.iter().map(|order| order.name.as_str()).collect();
        assert_eq!(names, ["100001", "100002"]);
        assert_eq!(lines(&plan.orders[0]), [("10001A", 2), ("10002", 6)]);
        assert_eq!(plan.orders[0].customer, Customer::named("customer-501"));
        // The first price counts.
        let prices: Vec<_> = plan.products.iter().map(|p| p.unit_price.amount_minor).collect();
        assert_eq!(prices, [325, 85]);
    }

    #[test]
    fn every_row_that_is_no_goods_is_counted_under_its_reason() {
        let plan = plan(
            "C100003,10001,TEA POT,-1,2011-01-01 09:00:00,3.25,501,France\n\
             100004,POST,POSTAGE,1,2011-01-01 09:00:00,18.00,501,France\n\
             100004,BANK CHARGES,Bank Charges,1,2011-01-01 09:00:00,15.00,501,France\n\
             100004,10001,TEA POT,0,2011-01-01 09:00:00,3.25,501,France\n\
             100004,10001,damaged,-3,2011-01-01 09:00:00,0.00,,France\n\
             100004,10001,TEA POT,1,2011-01-01 09:00:00,0.001,501,France\n\
             100004,10001,TEA POT,many,2011-01-01 09:00:00,3.25,501,France\n\
             100004,10001\n\
             100004,10001,TEA POT,100001,2011-01-01 09:00:00,3.25,501,France\n",
        );
        assert!(plan.orders.is_empty() && plan.products.is_empty());
        let counted: Vec<_> =
            plan.tally.skipped.iter().map(|(reason, count)| (reason.name(), *count)).collect();
        assert_eq!(
            counted,
            [
                ("bad_row", 2),
                ("cancellation", 1),
                ("not_goods", 2),
                ("no_quantity", 2),
                ("no_price", 1),
                ("too_many_pieces", 1),
            ]
        );
        assert_eq!((plan.tally.rows, plan.tally.invoices), (9, 0));
    }

    #[test]
    fn a_product_that_stands_twice_on_an_invoice_is_one_line() {
        let plan = plan(
            "100005,10001,TEA POT,2,2011-01-01 09:00:00,3.25,501,France\n\
             100005,10001,TEA POT,3,2011-01-01 09:00:00,3.25,501,France\n",
        );
        assert_eq!(lines(&plan.orders[0]), [("10001", 5)]);
        assert_eq!((plan.tally.merged, plan.tally.split), (1, 0));
    }

    #[test]
    fn an_invoice_over_the_limits_goes_on_in_further_orders_and_loses_nothing() {
        let mut rows = String::new();
        for n in 0..150 {
            rows += &format!("100006,{},THING,1,2011-01-01 09:00:00,1.00,501,France\n", 20_000 + n);
        }
        rows += "100007,10001,TEA POT,2500,2011-01-01 09:00:00,3.25,501,France\n";
        let plan = plan(&rows);
        let sizes: Vec<_> = plan
            .orders
            .iter()
            .map(|order| (order.name.as_str(), order.lines.len(), order.lines[0].quantity))
            .collect();
        assert_eq!(
            sizes,
            [
                ("100006/1", 100, 1),
                ("100006/2", 50, 1),
                ("100007/1", 1, 1000),
                ("100007/2", 1, 1000),
                ("100007/3", 1, 500),
            ]
        );
        assert_eq!((plan.tally.invoices, plan.tally.split), (2, 2));
        assert_eq!(plan.pieces()["10001"], 2_500);
    }

    #[test]
    fn an_invoice_of_nobody_is_a_guests() {
        let plan = plan(
            "100008,10001,TEA POT,1,2011-01-01 09:00:00,3.25,,France\n\
             100009,10001,TEA POT,1,2011-01-01 09:00:00,3.25,,France\n",
        );
        assert_eq!(plan.orders[0].customer.email, "guest-100008@example.com");
        assert_ne!(plan.orders[0].customer.id, plan.orders[1].customer.id);
    }

    #[test]
    fn a_limit_cuts_orders_and_the_products_that_only_they_needed() {
        let plan = plan(
            "100001,10001,TEA POT,1,2011-01-01 09:00:00,3.25,501,France\n\
             100002,10002,TEA CUP,1,2011-01-01 09:00:00,0.85,501,France\n",
        );
        let plan = plan.limited(Some(1));
        assert_eq!((plan.orders.len(), plan.products.len()), (1, 1));
        assert_eq!(plan.products[0].sku, "10001");
    }

    #[test]
    fn a_file_without_a_needed_column_is_refused_by_the_columns_name() {
        let error = read("InvoiceNo,StockCode\n1,2\n".as_bytes()).expect_err("no Description");
        assert!(error.to_string().contains("no column Description"), "{error}");
    }

    #[test]
    fn bytes_that_are_no_utf8_spoil_a_name_and_nothing_else() {
        let mut file = HEADINGS.as_bytes().to_vec();
        file.extend(b"100001,10001,CAF\xc9 SET,1,2011-01-01 09:00:00,3.25,501.0,France\n");
        let plan = read(file.as_slice()).unwrap();
        assert_eq!(plan.orders[0].customer.email, "customer-501@example.com");
        assert!(plan.products[0].name.starts_with("CAF"));
    }
}
