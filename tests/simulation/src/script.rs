//! What is to happen in a world, apart from what goes wrong.

use chrono::TimeDelta;
use messaging::simulation::Draws;
use shop::verify::Service;

/// One order, and the shop that it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) on_hand: u32,
    pub(crate) quantity: u32,
    pub(crate) price_minor: u32,
    pub(crate) payment_method: &'static str,
    /// The customer cancels, at any time after the order.
    pub(crate) cancels: bool,
    /// The order has to be finished within this time.
    pub(crate) deadline: TimeDelta,
    /// Services that run twice.
    pub(crate) doubled: Vec<Service>,
}

impl Script {
    /// What the draws say.
    pub(crate) fn draw(draws: &mut Draws) -> Self {
        let methods = ["pm_ok", "pm_ok", "pm_ok", "pm_declined", "pm_timeout", "pm_flaky"];
        let mut script = Self {
            on_hand: 5,
            quantity: 1 + draws.below(5) as u32,
            price_minor: 100 + draws.below(900) as u32,
            payment_method: methods[draws.below(methods.len())],
            cancels: false,
            deadline: TimeDelta::minutes(15),
            doubled: Vec::new(),
        };
        match draws.below(8) {
            0 => script.quantity = 6,
            1 | 2 => script.cancels = true,
            3 => script.deadline = TimeDelta::milliseconds(200 + draws.below(20_000) as i64),
            _ => {}
        }
        script.doubled = Service::ALL.into_iter().filter(|_| draws.one_in(3)).collect();
        script
    }
}
