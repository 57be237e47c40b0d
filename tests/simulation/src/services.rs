//! The five services, each put together of the parts that its `lib.rs` puts it together of, around the
//! time and the broker of the simulation.

use std::net::SocketAddr;
use std::rc::Rc;

use chrono::TimeDelta;
use envelope::Identity;
use envelope::signature::{KeyDocument, KeyRing, Signer};
use messaging::simulation::{Process, Seat};
use messaging::step::Signal;
use messaging::{Handlers, Messaging, Pool};
use order::presentation::deadlines::Deadlines;
use shop::verify::Service;
use sqlx::PgPool;

use crate::customer::Customer;

/// The first part of every event type, as in production.
pub(crate) const NAMESPACE: &str = "shop";

/// What the processes of a world have in common.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) gateway_url: String,
    pub(crate) mail_addr: SocketAddr,
    pub(crate) order_deadline: TimeDelta,
    pub(crate) customer: Rc<Customer>,
}

/// A process of a service on its database.
pub(crate) fn process(
    service: Service,
    pg: &PgPool,
    seat: &Seat,
    around: &Surroundings,
) -> Process {
    let pool = Pool::new(pg.clone(), identity(service), signer(service), seat.clock.clone());
    match service {
        Service::Order => order_process(pool, seat, around),
        Service::Inventory => inventory_process(pool, seat, around),
        Service::Payment => payment_process(pool, seat, around),
        Service::Email => email_process(pool, seat, around),
        Service::Audit => audit_process(pool, seat),
    }
}

fn order_process(pool: Pool, seat: &Seat, around: &Surroundings) -> Process {
    let app = order::App::new(pool.clone(), around.order_deadline);
    let handlers = order::presentation::messages::handlers(app.feed.changed());
    let deadlines = Deadlines::new(app.clone());
    let (placing, cancelling) = (around.customer.clone(), around.customer.clone());
    let (place, cancel) = (app.clone(), app);
    kit(pool, seat, handlers)
        .step("deadlines", None, deadlines)
        .request("place", move |_| placing.clone().place(place.clone()))
        .request("cancel", move |_| cancelling.clone().cancel(cancel.clone()))
}

fn inventory_process(pool: Pool, seat: &Seat, around: &Surroundings) -> Process {
    let app = inventory::App::new(pool.clone());
    let customer = around.customer.clone();
    kit(pool, seat, inventory::presentation::messages::handlers())
        .request("list", move |_| customer.clone().list(app.clone()))
}

fn payment_process(pool: Pool, seat: &Seat, around: &Surroundings) -> Process {
    let app = payment::App::new(pool.clone(), &around.gateway_url);
    let app = app.unwrap_or_else(|error| unreachable!("the client has no setting: {error}"));
    let (handlers, wanted) =
        (payment::presentation::messages::handlers(&app.wanted), app.wanted.clone());
    let settlement = payment::presentation::settlement::Settlement::new(app).in_turn();
    kit(pool, seat, handlers).step("settlement", Some(wanted), settlement)
}

fn email_process(pool: Pool, seat: &Seat, around: &Surroundings) -> Process {
    let (host, port) = (around.mail_addr.ip().to_string(), around.mail_addr.port());
    let server = email::infrastructure::SmtpServer { host, port };
    let from = "Shop <orders@shop.example>".parse();
    let from = from.unwrap_or_else(|_| unreachable!("an address"));
    let app = email::App::new(pool.clone(), server, from);
    let handlers = email::presentation::messages::handlers(&app.wanted, app.mailer.domain());
    let wanted = app.wanted.clone();
    let delivery = email::presentation::delivery::Delivery::new(app).in_turn();
    kit(pool, seat, handlers).step("delivery", Some(wanted), delivery)
}

fn audit_process(pool: Pool, seat: &Seat) -> Process {
    kit(pool, seat, audit::presentation::messages::handlers(&Signal::new()))
}

fn kit(pool: Pool, seat: &Seat, handlers: Handlers) -> Process {
    Process::new(Messaging::new(pool, seat.broker.clone(), keys(), handlers))
}

fn identity(service: Service) -> Identity {
    Identity::new(NAMESPACE, "simulation", service.name())
}

fn signer(service: Service) -> Signer {
    Signer::from_seed(format!("{service}-1"), [service as u8 + 1; 32])
}

/// Everybody's public key.
fn keys() -> KeyRing {
    let keys = Service::ALL.map(|service| signer(service).public_for(&identity(service)));
    let keys = KeyRing::new(&KeyDocument { keys: keys.to_vec() });
    keys.unwrap_or_else(|_| unreachable!("good keys under names of their own"))
}
