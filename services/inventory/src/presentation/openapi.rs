//! What the API says of itself beyond its types.

use chassis::http::KeyedCsv;
use chassis::http::openapi::{About, Describe as _, Operation};
use chassis::problem::{FieldError, Problem, code};
use http::StatusCode;

use super::answers::{ProductBody, ReservationBody, StockBody, StockPage};
use super::http::below_reserved;
use super::import::ReportBody;

/// The API as a whole.
pub(super) const ABOUT: About = About {
    title: "inventory",
    description: "Products, their stock, and what of it is set aside for orders.",
};

pub(super) fn put_product(route: Operation<'_>) -> Operation<'_> {
    putting(route)
        .id("putProduct")
        .summary("List a product, or make it what the body says")
        .refuses(&Problem::not_found())
}

pub(super) fn put_import(route: Operation<'_>) -> Operation<'_> {
    putting(route).id("putImport").summary("The same for the product whose SKU is `import`")
}

fn putting(route: Operation<'_>) -> Operation<'_> {
    route
        .description("The same body again changes nothing and tells nobody.")
        .answers::<ProductBody>(StatusCode::OK, "It was known, and is now as the body says.")
        .answers::<ProductBody>(StatusCode::CREATED, "It is new.")
        .header(StatusCode::CREATED, "Location", "The address of its stock.")
        .refuses(&below_reserved())
        .refuses(&Problem::request_in_progress())
}

pub(super) fn import(route: Operation<'_>) -> Operation<'_> {
    route
        .id("importProducts")
        .summary("List or change many products")
        .description(
            "CSV (RFC 4180, UTF-8) with the header `sku,name,unit_price_minor,currency,on_hand`, at \
             most 10 MiB. In the mode `good_rows` every good row is taken and the bad ones are \
             reported by their line; in the mode `all_or_nothing` one bad row refuses all of them.",
        )
        .input::<KeyedCsv>()
        .example("sku,name,unit_price_minor,currency,on_hand\nMUG,A mug,850,GBP,120\n")
        .answers::<ReportBody>(StatusCode::OK, "What became of the rows.")
        .refuses(&Problem::malformed_request())
        .refuses(&Problem::validation_failed([FieldError::new("/2/sku", code::FORMAT)]))
}

pub(super) fn list_stock(route: Operation<'_>) -> Operation<'_> {
    route
        .id("listStock")
        .summary("Stock, newest products first")
        .answers::<StockPage>(StatusCode::OK, "A page of stock.")
}

pub(super) fn get_stock(route: Operation<'_>) -> Operation<'_> {
    route
        .id("getStock")
        .summary("The stock of a product")
        .answers::<StockBody>(StatusCode::OK, "As it is now.")
        .refuses(&Problem::not_found())
}

pub(super) fn post_arrival(route: Operation<'_>) -> Operation<'_> {
    route
        .id("replenishStock")
        .summary("Take in goods")
        .answers::<StockBody>(StatusCode::OK, "The stock with them.")
        .refuses(&Problem::not_found())
}

pub(super) fn get_reservation(route: Operation<'_>) -> Operation<'_> {
    route
        .id("getReservation")
        .summary("What is set aside for an order")
        .answers::<ReservationBody>(StatusCode::OK, "As it is now.")
        .refuses(&Problem::not_found())
}
