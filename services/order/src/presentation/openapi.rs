//! What the API says of itself beyond its types.

use chassis::http::openapi::{About, Describe as _, Operation};
use chassis::problem::{FieldError, Problem};
use http::StatusCode;

use super::answers::{ChangeBody, OrderBody, OrdersPage, ProductBody, ProductsPage};
use super::events::EVENT;
use super::http::price_changed;

/// The API as a whole.
pub(super) const ABOUT: About = About {
    title: "order",
    description: "Takes orders, prices them from its catalogue, and tells what becomes of them.",
};

const EVENTS: &str = "First what has been, then what happens; a comment every 15 s while nothing \
                      does. Ends when the service stops.";

pub(super) fn post_order(route: Operation<'_>) -> Operation<'_> {
    let location = "The order's address.";
    let unknown = FieldError::new("/lines/0/sku", "unknown_sku");
    route
        .id("placeOrder")
        .summary("Place an order")
        .description(
            "Answers as soon as the order is stored. Goods and money follow: read the order again, or \
             follow its events, until its status is `confirmed` or `cancelled`.",
        )
        .answers::<OrderBody>(StatusCode::ACCEPTED, "The order, `pending`.")
        .header(StatusCode::ACCEPTED, "Location", location)
        .refuses(&price_changed())
        .refuses(&Problem::validation_failed([unknown]))
}

pub(super) fn list_orders(route: Operation<'_>) -> Operation<'_> {
    route
        .id("listOrders")
        .summary("Orders, newest first")
        .answers::<OrdersPage>(StatusCode::OK, "A page of orders.")
}

pub(super) fn get_order(route: Operation<'_>) -> Operation<'_> {
    route
        .id("getOrder")
        .summary("An order")
        .answers::<OrderBody>(StatusCode::OK, "As it is now.")
        .refuses(&Problem::not_found())
}

pub(super) fn post_cancellation(route: Operation<'_>) -> Operation<'_> {
    route
        .id("cancelOrder")
        .summary("Cancel an order")
        .description(
            "The order is `cancelled` at once; its goods and its money follow. May be repeated.",
        )
        .answers::<OrderBody>(StatusCode::ACCEPTED, "Its customer has cancelled it.")
        .refuses(&Problem::not_found())
        .refuses(&Problem::invalid_state())
}

pub(super) fn events_of_order(route: Operation<'_>) -> Operation<'_> {
    route
        .id("followOrder")
        .summary("The changes of an order's status, as they happen")
        .description("Each event's id is the order's version. Ends after a last status.")
        .streams::<ChangeBody<'_>>(EVENT, EVENTS)
        .answers_nothing(StatusCode::NO_CONTENT, "`Last-Event-ID` was the last there is.")
        .refuses(&Problem::not_found())
}

pub(super) fn events_of_all(route: Operation<'_>) -> Operation<'_> {
    route
        .id("followOrders")
        .summary("The changes of all orders, as they happen")
        .description("Each event's id is its number in a sequence that all replicas share.")
        .streams::<ChangeBody<'_>>(EVENT, EVENTS)
}

pub(super) fn list_products(route: Operation<'_>) -> Operation<'_> {
    route
        .id("listProducts")
        .summary("The catalogue, newest products first")
        .description("It follows inventory: a new product is known here a moment later.")
        .answers::<ProductsPage>(StatusCode::OK, "A page of products.")
}

pub(super) fn get_product(route: Operation<'_>) -> Operation<'_> {
    route
        .id("getProduct")
        .summary("A product of the catalogue")
        .answers::<ProductBody>(StatusCode::OK, "As it is known here.")
        .refuses(&Problem::not_found())
}
