//! The program `shop load` against a shop that answers badly, and one that answers no.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod load_shop;

use std::process::{Output, Stdio};

use load_shop::{FakeShop, Manners};
use serde_json::Value;
use tokio::process::Command;

const HEADINGS: &str =
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";
const ROWS: &str = "\
700001,30001,EGG TIMER,2,2011-02-01 09:00:00,1.95,601,France\n\
700001,30002,EGG CUP,12,2011-02-01 09:00:00,0.42,601,France\n\
700002,30001,EGG TIMER,1,2011-02-01 09:05:00,1.95,,France\n\
700002,POST,POSTAGE,1,2011-02-01 09:05:00,18.00,,France\n\
C700003,30002,EGG CUP,-3,2011-02-01 09:10:00,0.42,601,France\n\
700004,POST,POSTAGE,1,2011-02-01 09:15:00,18.00,602,France\n\
700005,30003,TOAST RACK,1500,2011-02-01 09:20:00,3.25,603,France\n";

async fn load(shop: &FakeShop, args: &[&str]) -> (Output, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_shop"))
        .args(["load", "-o", "json", "--order-url", shop.url(), "--inventory-url", shop.url()])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, report)
}

#[tokio::test]
async fn answers_that_are_lost_cost_repetitions_and_no_order() {
    let shop = FakeShop::with(Manners::LosesFirstAnswers).await;
    let args = ["--limit", "40", "--concurrency", "4", "--pay", "pm_ok:3,pm_declined:1"];
    let (output, report) = load(&shop, &args).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let orders = &report["orders"];
    assert_eq!((orders["planned"].as_u64(), orders["accepted"].as_u64()), (Some(40), Some(40)));
    assert_eq!(orders["confirmed"], 30);
    assert_eq!(orders["cancelled"]["payment_declined"], 10);
    // Every order was asked for twice, under one key, and is one order.
    assert_eq!(report["repeated_requests"], 40);
    assert_eq!(shop.orders(), 40);
    assert_eq!(report["answer_ms"]["count"], 40);
    assert_eq!(report["placed_to_terminal_ms"]["p50"], 12.5);
}

#[tokio::test]
async fn every_invoice_with_goods_becomes_an_order_and_every_other_row_is_counted() {
    let shop = FakeShop::with(Manners::Good).await;
    let file = std::env::temp_dir().join(format!("invoices-{}.csv", std::process::id()));
    std::fs::write(&file, format!("{HEADINGS}{ROWS}")).unwrap();
    let (output, report) = load(&shop, &["--file", file.to_str().unwrap(), "--rate", "200"]).await;
    std::fs::remove_file(&file).unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let rows = &report["rows"];
    assert_eq!((rows["read"].as_u64(), rows["invoices"].as_u64()), (Some(7), Some(3)));
    assert_eq!(rows["skipped"]["not_goods"], 2);
    assert_eq!(rows["skipped"]["cancellation"], 1);
    // 1500 toast racks are two orders.
    assert_eq!((rows["split_invoices"].as_u64(), shop.orders()), (Some(1), 4));
    assert_eq!(report["orders"]["confirmed"], 4);
    assert_eq!(report["products"]["created"], 3);
    let stock = shop.on_hand("30003");
    assert!(stock >= 1_500, "{stock}");
}

#[tokio::test]
async fn refused_orders_are_counted_by_their_code_and_the_load_is_done_partly() {
    let shop = FakeShop::with(Manners::Refuses).await;
    let (output, report) = load(&shop, &["--limit", "5"]).await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(report["orders"]["accepted"], 0);
    assert_eq!(report["orders"]["refused"]["unknown_sku"], 5);
    assert_eq!(report["repeated_requests"], 0);
}

#[tokio::test]
async fn orders_that_do_not_end_in_time_are_named() {
    let shop = FakeShop::with(Manners::NeverEnds).await;
    let (output, report) = load(&shop, &["--limit", "3", "--wait", "300ms"]).await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(report["orders"]["accepted"], 3);
    assert_eq!(report["orders"]["not_terminal"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn a_shop_that_is_not_there_is_one_clear_message() {
    let nobody = format!("http://127.0.0.1:{}", testkit::free_port().unwrap());
    let output = Command::new(env!("CARGO_BIN_EXE_shop"))
        .args(["load", "--limit", "1", "--order-url", &nobody, "--inventory-url", &nobody])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("is the shop up?") && words.contains(&nobody), "{words}");
}
